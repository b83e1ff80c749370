# shellcheck shell=bash
# sourced: schoolyard_setup [dev] makes the virtual environment with the locked versions, once, and activates it.
#   SCHOOLYARD_VENV   where it is (default: .venv beside run.sh); one of your own, made elsewhere, is used as it is
#   SCHOOLYARD_PYTHON the Python to make it with (default: the first of python3, python3.14 ... python3.11 that will do)
# An installation that was cut off is started over; one whose lock files have changed is brought up to date.
unset CDPATH # with it cd may go elsewhere, and says so on standard output
SCHOOLYARD_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
setup_megabytes=3000 # needed on the disk

setup_fail() {
  printf 'ERROR setup: %s\n  mend: %s\n' "$1" "$2" >&2
  exit 1
}

schoolyard_setup() {
  local kind=${1:-run} venv=${SCHOOLYARD_VENV:-$SCHOOLYARD_ROOT/.venv}
  if [ -z "${SCHOOLYARD_VENV:-}" ] || [ ! -f "$venv/bin/activate" ] || [ -d "$venv/.schoolyard" ]; then
    setup_is_current "$kind" "$venv" || setup_environment "$kind" "$venv"
  fi
  # shellcheck disable=SC1091
  . "$venv/bin/activate"
  export PYTHONPATH=$SCHOOLYARD_ROOT${PYTHONPATH:+:$PYTHONPATH}
}

setup_locks() { # KIND: the lock files it installs
  printf '%s\n' "$SCHOOLYARD_ROOT/requirements.lock" "$SCHOOLYARD_ROOT/requirements-metrics.lock"
  [ "$1" = run ] || printf "%s\n" "$SCHOOLYARD_ROOT"/requirements-{dev,extras}.lock
}

setup_wanted() {
  local locks
  mapfile -t locks < <(setup_locks "$1") # not xargs, to which blanks and quotes in a path are no letters
  cat -- "${locks[@]}" | cksum
}

setup_is_current() { [ "$(cat "$2/.schoolyard/$1" 2>/dev/null)" = "$(setup_wanted "$1")" ]; }

setup_environment() {
  local kind=$1 venv=$2 python
  setup_refuse_other_folder "$venv"
  python=$(setup_find_python) || exit 1
  setup_check_disk "$python" "$venv"
  mkdir -p "$(dirname "$venv")" 2>/dev/null || true
  exec {setup_lock}>"$venv.lock" || setup_fail "$(dirname "$venv") cannot be written" "set SCHOOLYARD_VENV to a folder of yours"
  "$python" -c "import fcntl; fcntl.flock($setup_lock, fcntl.LOCK_EX)" # another run may be installing just now
  if ! setup_is_current "$kind" "$venv"; then
    echo "setup: virtual environment at $venv (once; some minutes, 1.5 GB with torch's CPU build)"
    setup_make_venv "$python" "$venv"
    setup_install "$kind" "$venv"
  fi
  exec {setup_lock}>&-
}

setup_refuse_other_folder() { # VENV: a folder with other things in it, which an installation that is started over would remove
  [ -d "$1" ] || return 0
  [ ! -d "$1/.schoolyard" ] && [ ! -f "$1/bin/activate" ] && [ -n "$(ls -A "$1")" ] || return 0
  setup_fail "$1 is there and is no virtual environment" "set SCHOOLYARD_VENV to a folder that is empty or not there yet"
}

setup_make_venv() { # PYTHON VENV
  if [ -f "$2/.schoolyard/begun" ]; then
    echo "setup: the last installation was cut off, starting over"
    rm -rf "$2"
  fi
  if [ ! -x "$2/bin/python" ]; then
    mkdir -p "$2/.schoolyard"
    touch "$2/.schoolyard/begun"
    "$1" -m venv "$2" || {
      rm -rf "$2"
      setup_fail "$1 cannot make a virtual environment" "install its venv module (Debian, Ubuntu: apt install python3-venv)"
    }
  fi
  mkdir -p "$2/.schoolyard"
}

setup_install() { # KIND VENV
  local lock
  rm -f "$2/.schoolyard/run" "$2/.schoolyard/dev"
  touch "$2/.schoolyard/begun"
  setup_pip "$2" "torch" torch==2.13.0
  setup_pip "$2" "the locked packages" -r "$SCHOOLYARD_ROOT/requirements.lock"
  if [ "$1" != run ]; then
    setup_pip "$2" "the tools of the developers" -r "$SCHOOLYARD_ROOT/requirements-dev.lock"
    setup_pip "$2" "the packages of optional parts" --no-deps -r "$SCHOOLYARD_ROOT/requirements-extras.lock"
  fi
  setup_pip "$2" "the command schoolyard" --no-deps -e "$SCHOOLYARD_ROOT"
  (setup_pip "$2" "PESQ" -r "$SCHOOLYARD_ROOT/requirements-metrics.lock" 2>/dev/null) ||
    echo "setup: no PESQ, it needs a C compiler (Debian, Ubuntu: apt install g++); score tables will say so" >&2
  rm -f "$2/.schoolyard/begun"
  for lock in run "$1"; do
    setup_wanted "$lock" >"$2/.schoolyard/$lock.tmp" && mv "$2/.schoolyard/$lock.tmp" "$2/.schoolyard/$lock"
  done
}

setup_pip() { # VENV WHAT ARGUMENT...
  local log=$1/.schoolyard/pip.log what=$2
  echo "setup: installing $what"
  "$1/bin/python" -m pip install --disable-pip-version-check --progress-bar off "${@:3}" 2>&1 | tee "$log" |
    { grep --line-buffered -E '^(Collecting|Installing|ERROR)' || true; } && return
  if grep -qiE 'connection|resolve|network|timed out|proxy' "$log"; then
    setup_fail "pip could not reach the package index for $what (log: $log)" \
      "check the network or the proxy settings, then run the same command again"
  fi
  setup_fail "pip could not install $what (log: $log)" "read the last lines of the log, mend, run the same command again"
}

setup_find_python() {
  local candidate
  for candidate in ${SCHOOLYARD_PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2>/dev/null; then
      "$candidate" -c 'import ensurepip, venv' 2>/dev/null ||
        setup_fail "$candidate lacks its venv module" "install it (Debian, Ubuntu: apt install python3-venv)"
      command -v "$candidate"
      return
    fi
  done
  setup_fail "no Python from 3.11 to 3.14 (tried: ${SCHOOLYARD_PYTHON:-python3, python3.14 to python3.11})" \
    "install one, or name it: SCHOOLYARD_PYTHON=/path/to/python3 $0"
}

setup_check_disk() { # PYTHON VENV
  local free
  free=$("$1" -c 'import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free // 2**20)' "$(setup_nearest "$2")")
  [ "$free" -ge "$setup_megabytes" ] ||
    setup_fail "$free MB are free for $2, $setup_megabytes are needed" "free some space, or set SCHOOLYARD_VENV to a larger disk"
}

setup_nearest() { # PATH: the first folder above it that exists
  if [ -d "$1" ]; then echo "$1"; else setup_nearest "$(dirname "$1")"; fi
}
