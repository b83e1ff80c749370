#!/usr/bin/env bash
# Synthetic children: the whole experiment in minutes on two cores; nothing is downloaded.  ./run.sh
#   --corpus-config FILE   YAML with a ToyConfig (recipes/toy/prepare.py): a larger or smaller corpus
# shellcheck source=recipes/lib/stages.sh
. "$(dirname "$0")/../lib/stages.sh"
# shellcheck source=recipes/lib/experiment.sh
. "$(dirname "$0")/../lib/experiment.sh"
corpus_config='' trainings="clean multi" # multi_enhanced too takes two minutes more
# shellcheck disable=SC2034 # the usage text of the library shows it
stages_more="[--corpus-config FILE]"

recipe_option() {
  case $1 in
    --corpus-config) corpus_config=$2 ;;
    *) return 1 ;;
  esac
}

stages_begin "$@"
cfg=$SCHOOLYARD_ROOT/cfg
model=$exp/enhance/compact/best.pt
[ -z "$corpus_config" ] || stages_needs --corpus-config "$corpus_config"

if stage 0 "make the corpus" --in "$recipe_dir/prepare.py" --in "$recipe_dir/speech.py" --in "$recipe_dir/noises.py" \
  --in "$recipe_dir/sentences.py" --in "$recipe_dir/lexicon.txt" ${corpus_config:+--in "$corpus_config"} \
  --out "$data/train" --out "$data/dev" --out "$data/test" --out "$data/noise/train" --out "$data/noise/test" \
  --out "$data/local/lexicon.txt"; then
  python "$recipe_dir/prepare.py" --out "$data" ${corpus_config:+--config "$corpus_config"}
fi

if stage 1 "mix with noise" --in "$data/train" --in "$data/dev" --in "$data/test" --in "$data/noise" \
  --out "$data/train_noisy" --out "$data/dev_noisy" --out "$data/test_noisy"; then
  mix_sets "$data/noise/train" "$data/noise/test"
fi

if stage 2 "train the enhancer" --in "$data/train" --in "$data/noise/train" --in "$cfg/enhance/compact_toy.yaml" \
  --out "$model" --redo "$(dirname "$model")"; then
  python -m enhance train --data "$data/train" --noise "$data/noise/train" \
    --config "$cfg/enhance/compact_toy.yaml" --out "$(dirname "$model")"
fi

if stage 3 "denoise every set" --in "$model" --in "$data/train_noisy" --in "$data/dev_noisy" --in "$data/test_noisy" \
  --in "$data/test" --out "$data/train_enhanced" --out "$data/dev_enhanced" --out "$data/test_enhanced" \
  --out "$data/test_mixed" --out "$data/test_clean_enhanced"; then
  denoise_sets "$model" 0.2
fi

if stage 4 "score the enhanced speech" --in "$data/test" --in "$data/test_noisy" --in "$data/test_enhanced" \
  --in "$data/test_mixed" --in "$data/test_clean_enhanced" --in "$cfg/gate.yaml" \
  --out "$exp/score/clean_enhanced" --out "$exp/score/gate.json"; then
  score_quality
fi

if stage 5 "features and CMVN" --in "$data/train" --in "$data/dev" --in "$data/train_enhanced" --in "$data/dev_enhanced" \
  --in "$data/test_clean_enhanced" --in "$data/test_mixed" --out "$data/test_clean_enhanced/cmvn.scp"; then
  make_features
fi

if stage 6 "language models and the GMM ladder, mono to tri3b, of each training" --in "$data/local/lexicon.txt" \
  --in "$data/train/feats.scp" --in "$data/train_enhanced/feats.scp" --in "$data/test_mixed/feats.scp" \
  --in "$cfg/hmm/ladder_toy.yaml" --out "$exp/clean/tri3b/graph_open" --out "$exp/multi/tri3b/graph_open" \
  --redo "$exp/clean" --redo "$exp/multi"; then
  prepare_lms '' ''
  train_gmm "$cfg/hmm/ladder_toy.yaml" "$cfg/hmm/ladder_toy.yaml"
  for training in $trainings; do decode_gmm "$training"; done
fi

if stage 7 "train the Li-GRU of each training" --in "$exp/clean/tri3b/final.mdl" --in "$exp/multi/tri3b/final.mdl" \
  --in "$cfg/am/ligru_tiny.yaml" --in "$cfg/am/ligru_tiny_x2.yaml" \
  --out "$exp/clean/ligru/best.pt" --out "$exp/multi/ligru/best.pt" \
  --redo "$exp/clean/ligru" --redo "$exp/multi/ligru"; then
  # shellcheck disable=SC2046 # words
  train_ams tiny $(for training in $trainings; do echo "$training/ligru"; done)
fi

if stage 8 "decode every model on every test condition" --in "$exp/clean/ligru/best.pt" \
  --in "$exp/multi/ligru/best.pt" --out "$exp/multi/ligru/decode_clean_enhanced_open"; then
  for training in $trainings; do decode_am "$training" ligru; done
fi

if stage 9 "score and report" --in "$exp/clean/ligru/decode_clean_open/lat.1.gz" \
  --in "$exp/multi/ligru/decode_clean_enhanced_open/lat.1.gz" --in "$cfg/gate.yaml" \
  --out "$work/RESULTS.md" --out "$work/report.html"; then
  for training in $trainings; do
    for model in tri3b ligru; do score_model "$training" "$model"; done
  done
  gate_of_words clean/ligru
  write_report "Toy recipe: synthetic children"
fi
stages_end
say_where
