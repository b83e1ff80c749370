#!/usr/bin/env bash
# Synthetic children: the whole experiment in minutes on two cores; nothing is downloaded.  ./run.sh
# shellcheck source=recipes/lib/stages.sh
. "$(dirname "$0")/../lib/stages.sh"
# shellcheck source=recipes/lib/experiment.sh
. "$(dirname "$0")/../lib/experiment.sh"
# shellcheck source=recipes/lib/experiment_stages.sh
. "$(dirname "$0")/../lib/experiment_stages.sh"
# shellcheck disable=SC2034 # read by the libraries
corpus_config='' trainings="clean multi" enhancer=train am_size=tiny baselines='' stages_more="[option of the recipe]..."
cfg=$SCHOOLYARD_ROOT/cfg
enhancer_cfg=$cfg/enhance/compact_toy.yaml ladder_cfg=$cfg/hmm/ladder_toy.yaml ladder_multi_cfg=$cfg/hmm/ladder_toy.yaml
report_title="Toy recipe: synthetic children"

recipe_option() {
  case $1 in
    --corpus-config) corpus_config=$2 ;;
    *) experiment_option "$@" ;;
  esac
}

recipe_check() {
  check_given --corpus-config "$corpus_config"
  check_experiment
}

recipe_help() { # the third training takes two minutes more
  cat <<'TEXT'
  --corpus-config FILE  YAML with a ToyConfig (recipes/toy/prepare.py): a larger or smaller corpus
TEXT
  experiment_help
}

stages_begin "$@"
begin_kaldi
noise_train=${noise_train:-$data/noise/train} noise_test=${noise_test:-$data/noise/test}

if stage 0 "make the corpus" --in "$recipe_dir/prepare.py" --in "$recipe_dir/speech.py" --in "$recipe_dir/noises.py" \
  --in "$recipe_dir/sentences.py" --in "$recipe_dir/lexicon.txt" ${corpus_config:+--in "$corpus_config"} \
  --out "$data/train" --out "$data/dev" --out "$data/test" --out "$data/noise/train" --out "$data/noise/test" \
  --out "$data/local/lexicon.txt"; then
  python "$recipe_dir/prepare.py" --out "$data" ${corpus_config:+--config "$corpus_config"}
fi

experiment_stages
stages_end
say_where
