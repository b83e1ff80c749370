#!/usr/bin/env bash
# MyST (LDC2021S05), children of grades 3 to 5 talking with a tutor: WER with and without enhancement, published split.
#   ./run.sh --recipe myst --source CORPUS --lexicon FILE --noise-train DIR --noise-test DIR
# shellcheck source=recipes/lib/stages.sh
. "$(dirname "$0")/../lib/stages.sh"
# shellcheck source=recipes/lib/experiment.sh
. "$(dirname "$0")/../lib/experiment.sh"
# shellcheck source=recipes/lib/experiment_stages.sh
. "$(dirname "$0")/../lib/experiment_stages.sh"
source_dir='' lexicon='' prepare_words=''
# shellcheck disable=SC2034 # the usage text of the library shows it
stages_more="--source DIR --lexicon FILE --noise-train DIR --noise-test DIR [option of the recipe]..."
report_title="MyST: children talking with a tutor, with and without enhancement"

recipe_option() {
  case $1 in
    --source) source_dir=$2 ;;
    --lexicon) lexicon=$2 ;;
    --prepare) prepare_words=$2 ;;
    *) experiment_option "$@" ;;
  esac
}

recipe_check() {
  stages_unnamed source_dir lexicon
  stages_needs --source "$source_dir" --lexicon "$lexicon"
  needs_noise
  check_experiment
}

recipe_help() {
  cat <<'TEXT'
  --source DIR         the corpus, unpacked: data/train, data/development and data/test
  --lexicon FILE       raw lexicon, such as CMUdict
  --prepare WORDS      options of prepare.py, such as '--set partial=drop --seed 2'
TEXT
  experiment_help
}

stages_begin "$@"
begin_kaldi
stages_options=$prepare_words
if stage 0 "prepare the corpus" --in "$recipe_dir/prepare.py" --in "$SCHOOLYARD_ROOT/recipes/lib/transcripts.py" --in "$source_dir" --in "$lexicon" \
  --out "$data/train" --out "$data/dev" --out "$data/test" --out "$data/local/lexicon.txt"; then
  # shellcheck disable=SC2086 # words
  python "$recipe_dir/prepare.py" --source "$source_dir" --lexicon "$lexicon" --out "$data" $prepare_words
fi

experiment_stages
stages_end
say_where
