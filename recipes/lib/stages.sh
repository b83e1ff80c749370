# shellcheck shell=bash
# sourced by every recipe: numbered stages that are skipped while their inputs, options and outputs stand.
#
#   . "$(dirname "$0")/../lib/stages.sh"; stages_begin "$@"      # reads --stage --stop-stage --list --force --work
#   if stage 3 "denoise every set" --in "$data/test_noisy" --out "$data/test_enhanced"; then
#     ...commands; the first that fails ends the recipe, with the stage, its log and the command that reruns it
#   fi
#   stages_end
# An option of a recipe that shapes a stage goes into stages_options before the stage.

set -euo pipefail
# shellcheck source=recipes/lib/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
stages_first=0 stages_last=99 stages_list=false stages_force=false stages_options='' stages_open='' stages_more=''
stages_command=$0
recipe_dir=$(cd "$(dirname "$0")" && pwd)
recipe=$(basename "$recipe_dir")
work=$SCHOOLYARD_ROOT/work/$recipe

stages_usage() {
  cat <<TEXT
usage: $stages_command [--stage N] [--stop-stage N] [--list] [--force] [--work DIR]${stages_more:+ $stages_more}
  --stage N       start at stage N            --list    print the stages and stop
  --stop-stage N  stop after stage N          --force   run stages although nothing changed
  --work DIR      where data/ and exp/ go (default: $work)
TEXT
}

# Calls recipe_option NAME VALUE for words that are not its own; that returns 1 for an unknown one.
stages_begin() {
  while [ $# -gt 0 ]; do
    case $1 in
      --list) stages_list=true && shift && continue ;;
      --force) stages_force=true && shift && continue ;;
      -h | --help) stages_usage && exit 0 ;;
    esac
    [ $# -ge 2 ] || stages_wrong "$1 needs a value, or is no option"
    case $1 in
      --stage) stages_first=$(stages_number "$1" "$2") ;;
      --stop-stage) stages_last=$(stages_number "$1" "$2") ;;
      --work) work=$2 ;;
      *) recipe_option "$1" "$2" || stages_wrong "unknown option $1" ;;
    esac
    shift 2
  done
  data=$work/data exp=$work/exp
  $stages_list && return
  schoolyard_setup
  export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 LC_ALL=C
  mkdir -p "$exp/log" "$exp/stamps" "$data"
  exec {stages_lock}>"$exp/.lock"
  flock -n "$stages_lock" || stages_fail "$work: another run is at work here" "wait for it, or choose another --work"
  trap 'stages_trap $?' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
}

recipe_option() { return 1; }

stages_number() {
  case $2 in
    '' | *[!0-9]*) stages_wrong "$1 takes a number, got '$2'" ;;
    *) printf '%s' "$2" ;;
  esac
}

stages_needs() { # OPTION VALUE...: each value must be an existing directory or file
  $stages_list && return
  while [ $# -gt 0 ]; do
    [ -n "$2" ] || stages_wrong "$1 is needed"
    [ -e "$2" ] || stages_fail "$1 $2: no such file or directory" "check the path"
    shift 2
  done
}

stages_wrong() {
  echo "ERROR $stages_command: $1" >&2
  stages_usage >&2
  exit 2
}

stages_fail() {
  printf 'ERROR %s\n  mend: %s\n' "$1" "$2" >&2
  exit 1
}

# stage N TITLE [--in PATH]... [--out PATH]...: true if the stage is to run now
stage() {
  stages_close
  local number=$1 title=$2 code=0
  shift 2
  if $stages_list; then
    printf '%3d  %s\n' "$number" "$title"
    return 1
  fi
  [ "$number" -ge "$stages_first" ] && [ "$number" -le "$stages_last" ] || return 1
  stages_stamp=$exp/stamps/stage$number.json
  python -m harness.stamp check "$stages_stamp" "$stages_options" "$@" || code=$?
  stages_number_now=$number stages_title=$title stages_paths=("$@") stages_log=$exp/log/stage$number.log
  case $code in
    0)
      $stages_force || {
        echo "[stage $number] $title: nothing changed, skipped"
        return 1
      }
      ;;
    3) ;;
    *) exit 1 ;;
  esac
  rm -f "$stages_stamp"
  stages_open=yes stages_started=$SECONDS
  echo "[stage $number] $title"
  stages_say "$@"
  exec {stages_out}>&1 {stages_err}>&2
  exec > >(tee "$stages_log") 2>&1
  stages_tee=$!
}

stages_say() {
  local reads=() writes=()
  while [ $# -gt 0 ]; do
    case $1 in
      --in) reads+=("$2") ;;
      --out) writes+=("$2") ;;
    esac
    shift 2
  done
  echo "  reads: ${reads[*]:-nothing}"
  echo "  writes: ${writes[*]:-nothing}"
}

stages_close() {
  [ -n "$stages_open" ] || return 0
  stages_restore_output
  local seconds=$((SECONDS - stages_started))
  python -m harness.stamp write "$stages_stamp" "$stages_options" "$stages_number_now" "$stages_title" "$seconds" "${stages_paths[@]}"
  stages_open=''
  echo "[stage $stages_number_now] done in $seconds s"
}

stages_restore_output() {
  [ -n "${stages_out:-}" ] || return 0
  exec 1>&"$stages_out" 2>&"$stages_err"
  exec {stages_out}>&- {stages_err}>&-
  stages_out=''
  wait "$stages_tee" 2>/dev/null || true
}

stages_end() {
  stages_close
  $stages_list || echo "$recipe: finished, work in $work"
}

stages_trap() {
  local code=$1
  trap - EXIT INT TERM
  [ "$code" = 0 ] && return
  if [ -n "$stages_open" ]; then
    stages_restore_output
    printf 'ERROR stage %s (%s) failed with exit code %s\n  log: %s\n  mend: rerun with  %s --work %s --stage %s\n' \
      "$stages_number_now" "$stages_title" "$code" "$stages_log" "$stages_command" "$work" "$stages_number_now" >&2
  fi
  exit "$code"
}
