#!/usr/bin/env bash
# prepare_data.sh: one corpus on disk -> validated Kaldi data directories, split by speaker.
#   ./prepare_data.sh --corpus NAME [--source DIR] --out DIR [options of the corpus]
# NAME is a folder of recipes/ with a prepare.py; its options: ./prepare_data.sh --corpus NAME --help.
# DIR after --source holds the corpus as its publisher unpacks it.  DIR after --out gets train, dev and test,
# and local/lexicon.txt where the corpus has a lexicon or --lexicon gives one; of noises noise/ or rooms/ (docs/corpora.md).
set -euo pipefail
# shellcheck source=recipes/lib/setup.sh
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/recipes/lib/setup.sh"

corpora() { (cd "$SCHOOLYARD_ROOT/recipes" && dirname -- */prepare.py | tr '\n' ' '); }

wrong() {
  printf 'ERROR prepare_data.sh: %s\n  mend: choose from: %s\n' "$1" "$(corpora)" >&2
  exit 2
}

corpus=''
rest=()
while [ $# -gt 0 ]; do
  case $1 in
    --corpus)
      [ $# -ge 2 ] || wrong "--corpus needs a name"
      corpus=$2
      shift 2
      ;;
    *)
      rest+=("$1")
      shift
      ;;
  esac
done
if [ -z "$corpus" ]; then
  for word in ${rest[@]+"${rest[@]}"}; do
    case $word in
      -h | --help) sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 0 ;;
    esac
  done
  wrong "--corpus is missing"
fi
[ -f "$SCHOOLYARD_ROOT/recipes/$corpus/prepare.py" ] || wrong "there is no corpus '$corpus'"
schoolyard_setup
export PREPARE_COMMAND="./prepare_data.sh --corpus $corpus"
exec python "$SCHOOLYARD_ROOT/recipes/$corpus/prepare.py" ${rest[@]+"${rest[@]}"}
