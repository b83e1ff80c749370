#!/usr/bin/env bash
# CMU Kids (LDC97S63), children of 6 to 11 reading aloud: WER with and without enhancement, no child in two sets.
#   ./run.sh --recipe cmu_kids --source CORPUS --noise-train DIR --noise-test DIR
#   --prepare WORDS                      for prepare.py, such as '--set partial=drop --seed 2'
#   --noise-train DIR --noise-test DIR   noise recordings, other ones for test
#   --enhancer builtin|train|PATH        shipped weights (default), trained here on data/train, or a checkpoint
#   --open-lm ARPA --closed-lm ARPA      language models; without: an open one, of the text of train and dev
#   --am-size SIZE --baselines NAMES     cfg/am/NAME_SIZE.yaml; default small ('paper' is 5 x 550) and 'lstm gru mlp'
# shellcheck source=recipes/lib/stages.sh
. "$(dirname "$0")/../lib/stages.sh"
# shellcheck source=recipes/lib/experiment.sh
. "$(dirname "$0")/../lib/experiment.sh"
source_dir='' prepare_words='' noise_train='' noise_test='' enhancer=builtin open_lm='' closed_lm='' am_size=small baselines='lstm gru mlp'
stages_more="--source DIR [--prepare WORDS] --noise-train DIR --noise-test DIR [--enhancer builtin|train|PATH] [--open-lm ARPA] [--closed-lm ARPA] [--am-size small|paper] [--baselines 'lstm gru mlp']"

recipe_option() {
  case $1 in
    --source) source_dir=$2 ;;
    --prepare) prepare_words=$2 ;;
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

noisy_in=() noisy_out=() enhanced_in=() enhanced_out=() # what several stages read or write, as words of stage
for name in train dev test; do
  noisy_in+=(--in "$data/${name}_noisy") noisy_out+=(--out "$data/${name}_noisy")
  enhanced_in+=(--in "$data/${name}_enhanced") enhanced_out+=(--out "$data/${name}_enhanced")
done
for name in mixed clean_enhanced; do
  enhanced_in+=(--in "$data/test_$name") enhanced_out+=(--out "$data/test_$name")
done
clean_in=(--in "$data/train" --in "$data/dev" --in "$data/test")
gmm_in=() gmm_out=() models=() cfg_in=() model_in=() model_out=() decoded_in=() decoded_out=()
for training in $trainings; do
  gmm_in+=(--in "$exp/$training/tri3b/final.mdl")
  gmm_out+=(--out "$exp/$training/tri3b/graph_open" --redo "$exp/$training")
  models+=("$training/ligru")
done
for name in $baselines; do models+=("clean/$name"); done
for name in "${models[@]}"; do
  cfg_in+=(--in "$(am_config "${name#*/}" "$am_size" "${name%/*}")")
  model_in+=(--in "$exp/$name/best.pt") model_out+=(--out "$exp/$name/best.pt" --redo "$exp/$name")
  decoded_in+=(--in "$exp/$name/decode_clean_enhanced_open/lat.1.gz") decoded_out+=(--out "$exp/$name/decode_clean_enhanced_open")
done

stages_needs --source "$source_dir" --noise-train "$noise_train" --noise-test "$noise_test"
stages_options=$prepare_words
if stage 0 "prepare the corpus" --in "$recipe_dir/prepare.py" --in "$SCHOOLYARD_ROOT/recipes/lib/transcripts.py" --in "$source_dir" \
  --out "$data/train" --out "$data/dev" --out "$data/test" --out "$data/local/lexicon.txt"; then
  # shellcheck disable=SC2086 # words
  python "$recipe_dir/prepare.py" --source "$source_dir" --out "$data" $prepare_words
fi
stages_options=''

if stage 1 "mix with noise" "${clean_in[@]}" --in "$noise_train" --in "$noise_test" "${noisy_out[@]}"; then
  mix_sets "$noise_train" "$noise_test"
fi

stages_options=$enhancer
if [ "$enhancer" = train ]; then
  if stage 2 "train the enhancer" --in "$data/train" --in "$noise_train" --in "$cfg/enhance/compact_cpu.yaml" \
    --out "$model" --redo "$(dirname "$model")"; then
    python -m enhance train --data "$data/train" --noise "$noise_train" --config "$cfg/enhance/compact_cpu.yaml" --out "$(dirname "$model")"
  fi
fi

weights_in=() # of a model that is no part of the program
[ "$enhancer" = builtin ] || weights_in=(--in "$model")
if stage 3 "denoise every set with $enhancer" "${weights_in[@]}" "${noisy_in[@]}" --in "$data/test" "${enhanced_out[@]}"; then
  denoise_sets "$model" 0.2
fi

if stage 4 "score the enhanced speech" --in "$data/test" "${noisy_in[@]}" "${enhanced_in[@]}" --in "$cfg/gate.yaml" \
  --out "$exp/score/clean_enhanced" --out "$exp/score/gate.json"; then
  score_quality
fi

if stage 5 "features and CMVN" "${clean_in[@]}" "${noisy_in[@]}" "${enhanced_in[@]}" --out "$data/test_clean_enhanced/cmvn.scp"; then
  make_features
fi

lms_in=()
for name in "$open_lm" "$closed_lm"; do [ -z "$name" ] || lms_in+=(--in "$name"); done
stages_options="$enhancer $open_lm $closed_lm"
if stage 6 "language models and the GMM ladder, mono to tri3b, of each training" --in "$data/local/lexicon.txt" "${lms_in[@]}" \
  --in "$data/train/feats.scp" --in "$data/train_enhanced/feats.scp" --in "$data/test_mixed/feats.scp" --in "$cfg/hmm/ladder_multicondition.yaml" "${gmm_out[@]}"; then
  prepare_lms "$open_lm" "$closed_lm"
  train_gmm "" "$cfg/hmm/ladder_multicondition.yaml"
  for training in $trainings; do decode_gmm "$training"; done
fi

stages_options="$am_size $baselines"
if stage 7 "train the Li-GRU of each training, and the baselines on clean" "${gmm_in[@]}" "${cfg_in[@]}" "${model_out[@]}"; then
  train_ams "$am_size" "${models[@]}"
fi

if stage 8 "decode every model on every test condition" "${model_in[@]}" "${decoded_out[@]}"; then
  for name in "${models[@]}"; do decode_am "${name%/*}" "${name#*/}"; done
fi

if stage 9 "score and report" "${decoded_in[@]}" --in "$recipe_dir/NOTES.md" --in "$cfg/gate.yaml" \
  --out "$work/RESULTS.md" --out "$work/report.html"; then
  for training in $trainings; do score_model "$training" tri3b; done
  for name in "${models[@]}"; do score_model "${name%/*}" "${name#*/}"; done
  gate_of_words clean/ligru
  write_report "CMU Kids: children reading aloud, with and without enhancement" "$recipe_dir/NOTES.md"
fi
stages_end
say_where
