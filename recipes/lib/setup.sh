# shellcheck shell=bash
# sourced: schoolyard_setup [dev] makes the virtual environment with the locked versions and activates it.
#   SCHOOLYARD_VENV   where it is (default: .venv beside run.sh); one of your own, made elsewhere, is used as it is
#   SCHOOLYARD_PYTHON the Python to make it with (default: python3)
# shellcheck disable=SC2034 # SCHOOLYARD_ROOT is for the files that source this one
SCHOOLYARD_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

setup_fail() {
  printf 'ERROR %s\n  mend: %s\n' "$1" "$2" >&2
  exit 1
}

schoolyard_setup() {
  local kind=${1:-run} venv=${SCHOOLYARD_VENV:-$SCHOOLYARD_ROOT/.venv} wanted stamp
  stamp=$venv/.schoolyard-$kind
  wanted=$(cat "$SCHOOLYARD_ROOT"/requirements*.lock "$SCHOOLYARD_ROOT/pyproject.toml" | cksum)
  if [ -n "${SCHOOLYARD_VENV:-}" ] && [ -f "$venv/bin/activate" ] && [ ! -f "$venv/.schoolyard-venv" ]; then
    : # an environment of the user's own
  elif [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    setup_environment "$kind" "$venv"
    printf '%s\n' "$wanted" >"$stamp"
  fi
  # shellcheck disable=SC1091
  . "$venv/bin/activate"
  export PYTHONPATH=$SCHOOLYARD_ROOT${PYTHONPATH:+:$PYTHONPATH}
}

setup_environment() {
  local kind=$1 venv=$2 python=${SCHOOLYARD_PYTHON:-python3}
  setup_check_python "$python"
  echo "setup: virtual environment at $venv (once; about 1.5 GB)"
  if [ ! -f "$venv/.schoolyard-venv" ]; then
    "$python" -m venv "$venv" ||
      setup_fail "$python cannot make a virtual environment" "install its venv module (Debian: apt install python3-venv)"
    touch "$venv/.schoolyard-venv"
  fi
  setup_pip "$venv" "torch" torch==2.13.0
  setup_pip "$venv" "the locked packages" -r "$SCHOOLYARD_ROOT/requirements.lock"
  [ "$kind" != dev ] || setup_pip "$venv" "the tools of the developers" -r "$SCHOOLYARD_ROOT/requirements-dev.lock"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$SCHOOLYARD_ROOT/requirements-metrics.lock" ||
    echo "setup: no PESQ, it needs a C compiler (Debian: apt install g++); score tables will say so" >&2
}

setup_check_python() {
  command -v "$1" >/dev/null ||
    setup_fail "there is no $1" "install Python 3.11 or newer, or name it: SCHOOLYARD_PYTHON=/path/to/python3 $0"
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    setup_fail "$("$1" --version 2>&1) is too old" "install Python 3.11 or newer, or name it: SCHOOLYARD_PYTHON=python3.11 $0"
}

setup_pip() {
  local venv=$1 what=$2
  shift 2
  echo "setup: installing $what"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check "$@" ||
    setup_fail "pip could not install $what" "check the network and the free disk space (2 GB), then run the same command again"
}
