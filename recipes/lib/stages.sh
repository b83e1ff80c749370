# shellcheck shell=bash
# sourced by every recipe: numbered stages that are skipped while their inputs, commands and outputs stand.
#
#   . "$(dirname "$0")/../lib/stages.sh"; stages_begin "$@"      # reads --stage --stop-stage --list --force --work
#   if stage 3 "denoise every set" --in "$data/test_noisy" --out "$data/test_enhanced"; then
#     ...commands; the first that fails ends the recipe, with the stage, its log and the command that reruns it
#   fi
#   stages_end
# Before anything is made or installed, recipe_check refuses wrong options; recipe_help explains those of the recipe.
# What a stage is made of is its block, the functions of stages_libraries that it calls, and the text in stages_options:
# an option of the recipe that shapes a stage goes there before the stage.  Stages may stand in functions of a library too.
# Stamps, with the CPU time of each stage: harness/stamp.py.

set -euo pipefail
if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  printf 'ERROR bash %s is too old\n  mend: run the recipe with bash 4.4 or newer\n' "$BASH_VERSION" >&2
  exit 1
fi
# shellcheck source=recipes/lib/setup.sh
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
stages_first=0 stages_last=99 stages_list=false stages_force=false stages_options='' stages_more='' stages_open='' stages_line=''
stages_variant='' # after the recipe's name in the name of its work directory: _kaldi
stages_libraries=() stages_given=() stages_writers=() stages_named=() stages_met=() stages_reached='' stages_depth=1
stages_command=${STAGES_COMMAND:-$0}
recipe_dir=$(cd "$(dirname "$0")" && pwd)
recipe=$(basename "$recipe_dir")
work=''

stages_synopsis() {
  echo "usage: $stages_command [--stage N] [--stop-stage N] [--list] [--force] [--work DIR]${stages_more:+ $stages_more}"
}

stages_usage() {
  stages_synopsis
  cat <<TEXT
  --stage N       start at stage N            --list    print the stages and stop
  --stop-stage N  stop after stage N          --force   run stages although nothing changed
  --work DIR      where data/ and exp/ go (default: work/$recipe$stages_variant)
TEXT
  recipe_help
  [ -z "${STAGES_COMMAND:-}" ] || echo "recipes: $(cd "$SCHOOLYARD_ROOT/recipes" && dirname -- */run.sh | paste -sd ' ')"
}

# For words that are not its own calls recipe_flag NAME, then recipe_option NAME VALUE; these return 1 for an unknown one.
stages_begin() {
  local words=("$@")
  while [ $# -gt 0 ]; do
    case $1 in
      --list) stages_list=true && shift && continue ;;
      --force) stages_force=true && shift && continue ;;
      -h | --help) stages_usage && exit 0 ;;
    esac
    if recipe_flag "$1"; then
      stages_given+=("$1")
      shift && continue
    fi
    [ $# -ge 2 ] || stages_wrong "$1 needs a value, or is no option"
    case $1 in
      --stage) stages_first=$(stages_number "$1" "$2") || exit 2 ;;
      --stop-stage) stages_last=$(stages_number "$1" "$2") || exit 2 ;;
      --work) work=$2 ;;
      *) recipe_option "$1" "$2" || stages_wrong "unknown option $1" ;;
    esac
    case $1 in --stage | --stop-stage) stages_named+=("$2") ;; esac
    [ "$1" = --stage ] || stages_given+=("$1" "$2")
    shift 2
  done
  work=${work:-$SCHOOLYARD_ROOT/work/$recipe$stages_variant}
  stages_numbers=$(cat "$0" "${stages_libraries[@]}" | grep -oE '^ *if stage [0-9]+' | grep -oE '[0-9]+' | sort -nu | paste -sd ' ')
  stages_total=${stages_numbers##* }
  stages_check_bounds
  recipe_check
  if $stages_list; then
    data=$work/data exp=$work/exp
    return
  fi
  [ "${STAGES_SUPERVISOR:-}" = "$PPID" ] || stages_supervise "${words[@]}"
  schoolyard_setup
  SECONDS=0 # an installation is no part of the recipe
  export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 LC_ALL=C PYTHONUNBUFFERED=1
  mkdir -p "$work" || stages_fail "$work cannot be made" "choose another --work"
  work=$(cd "$work" && pwd)
  data=$work/data exp=$work/exp
  mkdir -p "$exp/log" "$exp/stamps" "$data"
  exec {stages_lock}>>"$exp/.lock"
  python -m harness.stamp lock --fd "$stages_lock" --file "$exp/.lock" --owner "$PPID" --group "$$" || exit 1
  set -E
  trap 'stages_line=$LINENO; ((${#BASH_SOURCE[@]} <= stages_depth)) || stages_line=${BASH_LINENO[${#BASH_SOURCE[@]} - stages_depth - 1]}' ERR
  trap 'stages_trap $?' EXIT
  stages_heed_signals
}

# Runs the recipe again as a process group of its own, so that Ctrl-C, kill and hang-up reach all that it has started.
stages_supervise() {
  local child code=0 sent=''
  [ -z "${STAGES_SUPERVISOR:-}" ] || kill -0 "$STAGES_SUPERVISOR" 2>/dev/null || exit 137 # it was killed before this began
  set -m
  STAGES_SUPERVISOR=$$ bash "$0" "$@" </dev/null &
  child=$!
  set +m
  # the first signal asks, the second ends
  trap 'kill -"${sent:-INT}" -- "-$child" 2>/dev/null; sent=KILL' INT
  trap 'kill -"${sent:-TERM}" -- "-$child" 2>/dev/null; sent=KILL' TERM HUP
  while true; do
    code=0
    wait "$child" || code=$? # first of all: a child that has ended already is asked for its code too
    kill -0 "$child" 2>/dev/null || exit "$code"
  done
}

recipe_flag() { return 1; }
recipe_option() { return 1; }
recipe_check() { :; }
recipe_help() { :; }

stages_number() {
  case $2 in
    '' | *[!0-9]*) stages_wrong "$1 takes a number, got '$2'" ;;
    *) printf '%s' "$2" ;;
  esac
}

stages_check_bounds() {
  local number
  for number in "${stages_named[@]}"; do
    case " $stages_numbers " in
      *" $number "*) ;;
      *) stages_wrong "there is no stage $number; there are: $stages_numbers" ;;
    esac
  done
  ((stages_first <= stages_last)) ||
    stages_wrong "--stage $stages_first comes after --stop-stage $stages_last; the stages in order: $stages_numbers"
}

stages_reaches() { ((stages_first <= $2 && stages_last >= $1)); } # FIRST LAST: whether any of these may run

stages_unnamed() { # VARIABLE...: with --list, the name of one that is empty stands for its path (source_dir: SOURCE)
  local name short
  $stages_list || return 0
  for name in "$@"; do
    short=${name%_dir}
    [ -n "${!name}" ] || printf -v "$name" '%s' "${short^^}"
  done
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
  stages_synopsis >&2
  echo "  mend: see --help for what each option takes" >&2
  exit 2
}

stages_fail() {
  printf 'ERROR %s\n  mend: %s\n' "$1" "$2" >&2
  exit 1
}

# stage N TITLE [--in PATH]... [--out PATH]... [--redo PATH]...: true if the stage is to run now
# --redo: a training that goes on where it stopped; removed when the stage runs again since something has changed.
stage() {
  stages_close || exit 1
  local code=0 reason
  stages_number=$1 stages_title=$2
  shift 2
  # shellcheck disable=SC2034 # the trap reads the depth
  stages_file=${BASH_SOURCE[1]} stages_depth=$((${#BASH_SOURCE[@]} - 1)) # where the block stands, for the line that fails
  stages_paths=("$@") stages_stamp=$exp/stamps/stage$stages_number.json stages_log=$exp/log/stage$stages_number.log
  if $stages_list; then
    printf '%3d  %s\n' "$stages_number" "$stages_title"
    stages_say
    return 1
  fi
  local earlier=("${stages_writers[@]}")
  stages_remember "$@"
  stages_met+=("$stages_number")
  ((stages_number >= stages_first && stages_number <= stages_last)) || return 1
  stages_reached=yes
  reason=$(python -m harness.stamp check --stamp "$stages_stamp" --script "$stages_file" --line "${BASH_LINENO[0]}" \
    --options "$stages_options" "${stages_libraries[@]/#/--library=}" "${earlier[@]}" "$@") || code=$?
  case $code in
    0)
      if ! $stages_force; then
        echo "[stage $stages_number/$stages_total] $stages_title: nothing changed, skipped"
        return 1
      fi
      ;;
    3) [ ! -f "$stages_stamp" ] || echo "[stage $stages_number/$stages_total] runs again; $reason" ;;
    *)
      printf 'ERROR stage %s (%s) cannot start\n' "$stages_number" "$stages_title" >&2
      exit 1
      ;;
  esac
  rm -f "$stages_stamp"
  stages_open=yes stages_started=$SECONDS
  times >"$exp/stamps/.cpu_before" # a redirected builtin stays in this process, whose children are counted
  echo "[stage $stages_number/$stages_total] $stages_title"
  stages_say
  exec {stages_out}>&1 {stages_err}>&2
  trap '' INT TERM HUP # tee is born deaf: a stage that fails at once ends the whole group before tee could trap anything
  exec > >(exec tee "$stages_log") 2>&1
  stages_tee=$!
  stages_heed_signals
}

stages_heed_signals() {
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}

stages_remember() { # who writes what, for the mend of a missing input
  while [ $# -gt 0 ]; do
    [ "$1" != --out ] || stages_writers+=("--writer=$stages_number=$2")
    shift 2
  done
}

stages_say() {
  local index verb
  for ((index = 0; index + 1 < ${#stages_paths[@]}; index += 2)); do
    case ${stages_paths[index]} in
      --in) verb=reads ;;
      --out) verb=writes ;;
      *) continue ;;
    esac
    printf '     %-6s %s\n' "$verb" "${stages_paths[index + 1]#"$PWD"/}"
  done
}

stages_close() {
  [ -n "$stages_open" ] || return 0
  stages_restore_output
  local seconds=$((SECONDS - stages_started))
  times >"$exp/stamps/.cpu_after"
  python -m harness.stamp finish --stamp "$stages_stamp" --title "$stages_title" --seconds "$seconds" \
    --times "$exp/stamps/.cpu_before" --times "$exp/stamps/.cpu_after" "${stages_paths[@]}" || return 1
  stages_open=''
  echo "[stage $stages_number/$stages_total] done in $((seconds / 60)) min $((seconds % 60)) s"
}

stages_restore_output() {
  [ -n "${stages_out:-}" ] || return 0
  exec 1>&"$stages_out" 2>&"$stages_err"
  exec {stages_out}>&- {stages_err}>&-
  stages_out=''
  wait "$stages_tee" 2>/dev/null || true
}

stages_end() {
  stages_close || exit 1
  $stages_list || [ -n "$stages_reached" ] ||
    stages_wrong "with these options no stage from $stages_first to $stages_last is left; there are: ${stages_met[*]}"
  $stages_list || echo "$recipe: finished in $((SECONDS / 60)) min $((SECONDS % 60)) s, work in $work"
}

stages_trap() { # EXIT_CODE
  trap - EXIT
  trap '' INT TERM HUP
  [ "$1" = 0 ] && return
  kill -TERM 0 # the group is the recipe's own: what it runs side by side would not hear of Ctrl-C
  if [ -n "$stages_open" ]; then
    stages_restore_output
    local how="failed with exit code $1 at ${stages_file/#"$recipe_dir/../"/"${recipe_dir%/*}/"}:${stages_line:-?}"
    case $1 in 130 | 143) how="was interrupted" ;; esac
    printf 'ERROR stage %s (%s) %s\n  log: %s\n  mend: see the lines above, then rerun with  %s\n' \
      "$stages_number" "$stages_title" "$how" "$stages_log" "$(stages_rerun)" >&2
  fi
  exit "$1"
}

stages_rerun() {
  printf '%s' "$stages_command"
  [ ${#stages_given[@]} -eq 0 ] || printf ' %q' "${stages_given[@]}"
  printf ' --stage %s' "$stages_number"
}
