#!/usr/bin/env bash
# run.sh: from recordings of children to a table of word error rates, with and without enhancement.
#   ./run.sh [--recipe NAME] [--stage N] [--stop-stage N] [--list] [--force] [--work DIR] [options of the recipe]
# NAME is a folder of recipes/ (default: toy); the other options are the recipe's: ./run.sh --recipe NAME --help.
# The first run makes a virtual environment (.venv) with the locked versions; SCHOOLYARD_VENV names one of your own.
set -euo pipefail
unset CDPATH # with it cd may go elsewhere, and says so on standard output
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)

recipes() { (cd "$root/recipes" && dirname -- */run.sh | tr '\n' ' '); }

wrong() {
  printf 'ERROR run.sh: %s\n  mend: choose from: %s\n' "$1" "$(recipes)" >&2
  exit 2
}

recipe=toy
rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --recipe)
      [ $# -ge 2 ] || wrong "--recipe needs a name"
      recipe=$2
      shift 2
      ;;
    *)
      rest+=("$1")
      shift
      ;;
  esac
done
[ -f "$root/recipes/$recipe/run.sh" ] || wrong "there is no recipe '$recipe'"
export STAGES_COMMAND="./run.sh --recipe $recipe"
exec bash "$root/recipes/$recipe/run.sh" ${rest[@]+"${rest[@]}"}
