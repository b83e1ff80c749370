#!/usr/bin/env bash
# Children of speechocean762 (SLR101): WER with and without enhancement.  ./run.sh --recipe speechocean762 --source CORPUS
#   --noise-train DIR --noise-test DIR   noise recordings, other ones for test
#   --enhancer builtin|train|PATH        shipped weights (default), trained here on data/train, or a checkpoint
#   --open-lm ARPA --closed-lm ARPA      language models; without: an open one, of the text of train and dev
#   --am NAME --am-size SIZE             cfg/am/NAME_SIZE.yaml; default ligru small (5 x 550 is ligru paper)
# shellcheck source=recipes/lib/stages.sh
. "$(dirname "$0")/../lib/stages.sh"
# shellcheck source=recipes/lib/experiment.sh
. "$(dirname "$0")/../lib/experiment.sh"
source_dir='' noise_train='' noise_test='' enhancer=builtin open_lm='' closed_lm='' am_size=small baselines='lstm gru mlp'
stages_more="--source DIR --noise-train DIR --noise-test DIR [--enhancer builtin|train|PATH] [--open-lm ARPA] [--closed-lm ARPA] [--am-size small|paper] [--baselines 'lstm gru mlp']"

recipe_option() {
  case $1 in
    --source) source_dir=$2 ;;
    --noise-train) noise_train=$2 ;;
    --noise-test) noise_test=$2 ;;
    --enhancer) enhancer=$2 ;;
    --open-lm) open_lm=$2 ;;
    --closed-lm) closed_lm=$2 ;;
    --am-size) am_size=$2 ;;
    --baselines) baselines=$2 ;;
    *) return 1 ;;
  esac
}

stages_begin "$@"
cfg=$SCHOOLYARD_ROOT/cfg
model=$enhancer
[ "$enhancer" != train ] || model=$exp/enhance/compact/best.pt

stages_needs --source "$source_dir" --noise-train "$noise_train" --noise-test "$noise_test"
if stage 0 "prepare the corpus" --in "$source_dir/train" --in "$source_dir/test" --out "$data/train" --out "$data/dev" --out "$data/test"; then
  python "$recipe_dir/prepare.py" --source "$source_dir" --out "$data"
fi

if stage 1 "mix with noise" --in "$data/train" --in "$data/dev" --in "$data/test" --in "$noise_train" --in "$noise_test" --out "$data/test_noisy"; then
  mix_sets "$noise_train" "$noise_test"
fi

stages_options=$enhancer
if [ "$enhancer" = train ]; then
  if stage 2 "train the enhancer" --in "$data/train" --in "$noise_train" --in "$cfg/enhance/compact_cpu.yaml" --out "$model"; then
    python -m enhance train --data "$data/train" --noise "$noise_train" --config "$cfg/enhance/compact_cpu.yaml" --out "$exp/enhance/compact"
  fi
fi

if stage 3 "denoise every set with $enhancer" --in "$data/train_noisy" --in "$data/dev_noisy" --in "$data/test_noisy" --out "$data/test_clean_enhanced"; then
  denoise_sets "$model" 0.2
fi

if stage 4 "score the enhanced speech" --in "$data/test_enhanced" --out "$exp/score/clean_enhanced"; then
  score_quality
fi

if stage 5 "features and CMVN" --in "$data/test_enhanced/wav.scp" --in "$data/train/wav.scp" --out "$data/test_clean_enhanced/cmvn.scp"; then
  make_features
fi

stages_options="$enhancer $open_lm $closed_lm"
if stage 6 "language models and the GMM ladder, mono to tri3b, of each training" --in "$data/train/feats.scp" --in "$data/train_enhanced/feats.scp" --in "$cfg/hmm" --out "$exp/multi_enhanced/tri3b/graph_open"; then
  prepare_lms "$open_lm" "$closed_lm"
  train_gmm "" "$cfg/hmm/ladder_multicondition.yaml"
  for training in $trainings; do decode_gmm "$training"; done
fi

stages_options="$am_size $baselines"
if stage 7 "train the Li-GRU of each training, and the baselines on clean" --in "$exp/clean/tri3b/final.mdl" --in "$exp/multi_enhanced/tri3b/final.mdl" --in "$cfg/am" --out "$exp/multi_enhanced/ligru/best.pt"; then
  for training in $trainings; do train_am "$training" ligru "$(am_config ligru "$am_size" "$training")"; done
  for name in $baselines; do train_am clean "$name" "$cfg/am/${name}_$am_size.yaml"; done
fi

if stage 8 "decode every model on every test condition" --in "$exp/clean/ligru/best.pt" --in "$exp/multi_enhanced/ligru/best.pt" --out "$exp/multi_enhanced/ligru/decode_clean_enhanced_open"; then
  for training in $trainings; do decode_am "$training" ligru; done
  for name in $baselines; do decode_am clean "$name"; done
fi

if stage 9 "score and report" --in "$exp/clean/ligru/decode_clean_open/lat.1.gz" --in "$exp/multi_enhanced/ligru/decode_clean_enhanced_open/lat.1.gz" --out "$work/RESULTS.md"; then
  for training in $trainings; do
    for name in tri3b ligru; do score_model "$training" "$name"; done
  done
  for name in $baselines; do score_model clean "$name"; done
  python -m am report --work "$work" --out "$work/RESULTS.md" --title "speechocean762: children, with and without enhancement" --note "$recipe_dir/NOTES.md"
fi
stages_end
