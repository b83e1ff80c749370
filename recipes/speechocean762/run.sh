#!/usr/bin/env bash
# Children of speechocean762 (SLR101): WER with and without enhancement.  ./run.sh --recipe speechocean762 --source CORPUS
#   and the options of recipes/lib/experiment_stages.sh
# shellcheck source=recipes/lib/stages.sh
. "$(dirname "$0")/../lib/stages.sh"
# shellcheck source=recipes/lib/experiment.sh
. "$(dirname "$0")/../lib/experiment.sh"
# shellcheck source=recipes/lib/experiment_stages.sh
. "$(dirname "$0")/../lib/experiment_stages.sh"
source_dir=''
# shellcheck disable=SC2034 # the usage text of the library shows it
stages_more="--source DIR $experiment_more"
report_title="speechocean762: children, with and without enhancement"

recipe_option() {
  case $1 in
    --source) source_dir=$2 ;;
    *) experiment_option "$@" ;;
  esac
}

stages_begin "$@"
begin_experiment
stages_needs --source "$source_dir" --noise-train "$noise_train" --noise-test "$noise_test"
if stage 0 "prepare the corpus" --in "$recipe_dir/prepare.py" --in "$source_dir/train" --in "$source_dir/test" \
  --out "$data/train" --out "$data/dev" --out "$data/test" --out "$data/local/lexicon.txt"; then
  python "$recipe_dir/prepare.py" --source "$source_dir" --out "$data"
fi

experiment_stages
stages_end
say_where
