#!/usr/bin/env bash
# Children of speechocean762 (SLR101): WER with and without enhancement.  ./run.sh --recipe speechocean762 --source CORPUS
#   --prepare WORDS                      for prepare.py, such as '--max-age 12 --seed 2'
#   and the options of recipes/lib/experiment_stages.sh
# shellcheck source=recipes/lib/stages.sh
. "$(dirname "$0")/../lib/stages.sh"
# shellcheck source=recipes/lib/experiment.sh
. "$(dirname "$0")/../lib/experiment.sh"
# shellcheck source=recipes/lib/experiment_stages.sh
. "$(dirname "$0")/../lib/experiment_stages.sh"
source_dir='' prepare_words=''
# shellcheck disable=SC2034 # the usage text of the library shows it
stages_more="--source DIR [--prepare WORDS] $experiment_more"
report_title="speechocean762: children, with and without enhancement"

recipe_option() {
  case $1 in
    --source) source_dir=$2 ;;
    --prepare) prepare_words=$2 ;;
    *) experiment_option "$@" ;;
  esac
}

stages_begin "$@"
begin_experiment
stages_needs --source "$source_dir" --noise-train "$noise_train" --noise-test "$noise_test"
stages_options=$prepare_words
if stage 0 "prepare the corpus" --in "$recipe_dir/prepare.py" --in "$source_dir/train" --in "$source_dir/test" \
  --out "$data/train" --out "$data/dev" --out "$data/test" --out "$data/local/lexicon.txt"; then
  # shellcheck disable=SC2086 # words
  python "$recipe_dir/prepare.py" --source "$source_dir" --out "$data" $prepare_words
fi

experiment_stages
stages_end
say_where
