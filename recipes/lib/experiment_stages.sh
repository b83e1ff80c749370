# shellcheck shell=bash disable=SC2154,SC2034 # data, exp and the options come from the recipe, stages.sh and experiment.sh
# sourced by the recipes after experiment.sh: stages 1 to 9, which are the same for every corpus, and their options.

stages_libraries+=("${BASH_SOURCE[0]}")
noise_train='' noise_test='' enhancer=builtin open_lm='' closed_lm='' am_size=small baselines='lstm gru mlp'
enhancer_cfg=$SCHOOLYARD_ROOT/cfg/enhance/compact_cpu.yaml                         # of --enhancer train
ladder_cfg='' ladder_multi_cfg=$SCHOOLYARD_ROOT/cfg/hmm/ladder_multicondition.yaml # of the clean ladder, '' for defaults; of the others
report_title=$recipe

experiment_help() { # defaults are those of the recipe
  cat <<TEXT
  --noise-train DIR    recordings of noise to mix with train and dev
  --noise-test DIR     other ones, to mix with test
  --enhancer WHICH     builtin (shipped weights), train (trained here on data/train) or the file of a checkpoint (default: $enhancer)
  --open-lm ARPA       language model of the tests (default: made of the text of train and dev)
  --closed-lm ARPA     a second one, such as of the prompts that were read (default: none)
  --am-size SIZE       of cfg/am/NAME_SIZE.yaml; the Li-GRU has: $(am_sizes ligru) (default: $am_size)
  --baselines NAMES    other acoustic models, trained on clean speech, of: $(am_names) (default: '$baselines')
  --trainings NAMES    of 'clean multi multi_enhanced', clean first; multi: with noisy copies (default: '$trainings')
  --tests NAMES        of 'clean noisy enhanced mixed clean_enhanced', clean among them (default: '$tests')
  --rungs              decode and score mono, tri1 and tri2b too, on clean speech
  --g2p                guess pronunciations of the words that the lexicon lacks (pip install phonetisaurus==0.3.0)
  --kaldi              stages 5 to 9 by the programs of a real Kaldi (KALDI_ROOT; docs/kaldi.md)
TEXT
}

experiment_option() { # NAME VALUE, as recipe_option
  case $1 in
    --noise-train) noise_train=$2 ;;
    --noise-test) noise_test=$2 ;;
    --enhancer) enhancer=$2 ;;
    --open-lm) open_lm=$2 ;;
    --closed-lm) closed_lm=$2 ;;
    --am-size) am_size=$2 ;;
    --baselines) baselines=$2 ;;
    --trainings) trainings=$2 ;;
    --tests) choose_tests "$2" ;;
    *) return 1 ;;
  esac
}

recipe_option() { experiment_option "$@"; }

check_experiment() { # in recipe_check: what would else be found out hours later
  local training
  for training in $trainings; do copies_of "$training" >/dev/null; done
  case " $trainings " in
    " clean "*) ;;
    *) stages_wrong "--trainings '$trainings': clean must come first, the others take its alignments" ;;
  esac
  case " $tests " in
    *" clean "*) ;;
    *) stages_wrong "--tests '$tests': clean must be among them" ;;
  esac
  check_models
  check_given --noise-train "$noise_train" --noise-test "$noise_test" --open-lm "$open_lm" --closed-lm "$closed_lm"
  case $enhancer in
    builtin | train) ;;
    *) $stages_list || [ -f "$enhancer" ] || stages_wrong "--enhancer '$enhancer' is no file; choose builtin, train or a checkpoint" ;;
  esac
}

check_given() { # OPTION VALUE...: as stages_needs, but a value may be ''
  while [ $# -gt 0 ]; do
    [ -z "$2" ] || stages_needs "$1" "$2"
    shift 2
  done
}

needs_noise() { # in recipe_check, where the corpus has none of its own; stage 0 alone goes without
  stages_unnamed noise_train noise_test
  ! stages_reaches 1 2 || stages_needs --noise-train "$noise_train" --noise-test "$noise_test"
}

check_models() {
  local name sizes
  for name in ligru $baselines; do
    sizes=$(am_sizes "$name")
    [ -n "$sizes" ] || stages_wrong "--baselines: there is no model '$name'; choose from: $(am_names)"
    case " $sizes " in
      *" $am_size "*) ;;
      *) stages_wrong "--am-size '$am_size': the sizes of $name are: $sizes" ;;
    esac
  done
}

am_sizes() { # NAME: of its files in cfg/am; NAME_SIZE_xN is one for N conditions (am_config)
  local file size sizes=()
  for file in "$SCHOOLYARD_ROOT/cfg/am/$1"_*.yaml; do
    size=${file##*/"$1"_} size=${size%.yaml}
    case $size in *_* | '*') ;; *) sizes+=("$size") ;; esac
  done
  echo "${sizes[*]}"
}

am_names() { # those that there are as 'small'
  local file names=()
  for file in "$SCHOOLYARD_ROOT"/cfg/am/*_small.yaml; do
    file=${file##*/}
    [ "$file" = ligru_small.yaml ] || names+=("${file%_small.yaml}")
  done
  echo "${names[*]}"
}

words_of() { # OPTION NAME...: OPTION before each, into the array words
  local name
  words=()
  for name in "${@:2}"; do words+=("$1" "$name"); done
}

experiment_sets() { # what several stages read or write, as words of stage
  local name words
  clean_sets=("$data/train" "$data/dev" "$data/test") noisy_sets=() enhanced_sets=()
  for name in train dev test; do noisy_sets+=("$data/${name}_noisy") enhanced_sets+=("$data/${name}_enhanced"); done
  for name in mixed clean_enhanced; do enhanced_sets+=("$data/test_$name"); done
  words_of --in "${clean_sets[@]}" && clean_in=("${words[@]}")
  words_of --in "${noisy_sets[@]}" && noisy_in=("${words[@]}")
  words_of --out "${noisy_sets[@]}" && noisy_out=("${words[@]}")
  words_of --in "${enhanced_sets[@]}" && enhanced_in=("${words[@]}")
  words_of --out "${enhanced_sets[@]}" && enhanced_out=("${words[@]}")
}

experiment_models() {
  local training name test
  gmm_in=() gmm_out=() models=() cfg_in=() model_in=() model_out=() decoded_in=() decoded_out=() lms_in=() ladder_in=()
  for training in $trainings; do
    gmm_in+=(--in "$exp/$training/tri3b/final.mdl")
    gmm_out+=(--out "$exp/$training/tri3b/graph_open" --redo "$exp/$training")
    models+=("$training/ligru")
  done
  for name in $baselines; do models+=("clean/$name"); done
  for name in "${models[@]}"; do
    cfg_in+=(--in "$(am_config "${name#*/}" "$am_size" "${name%/*}")")
    model_in+=(--in "$exp/$name/best.pt") model_out+=(--out "$exp/$name/best.pt" --redo "$exp/$name")
    for test in $tests; do
      decoded_in+=(--in "$exp/$name/decode_${test}_open/lat.1.gz") decoded_out+=(--out "$exp/$name/decode_${test}_open")
    done
  done
  for name in $rungs; do
    decoded_in+=(--in "$exp/clean/$name/decode_clean_open/lat.1.gz") decoded_out+=(--out "$exp/clean/$name/decode_clean_open")
  done
  for name in "$open_lm" "$closed_lm"; do [ -z "$name" ] || lms_in+=(--in "$name"); done
  for name in "$ladder_cfg" "$ladder_multi_cfg"; do [ -z "$name" ] || ladder_in+=(--in "$name"); done
}

experiment_stages() {
  local name training model=$enhancer weights_in=() notes_in=()
  experiment_sets
  experiment_models
  [ "$enhancer" != train ] || model=$exp/enhance/compact/best.pt
  [ "$enhancer" = builtin ] || weights_in=(--in "$model") # of a model that is no part of the program
  [ ! -f "$recipe_dir/NOTES.md" ] || notes_in=(--in "$recipe_dir/NOTES.md")

  stages_options=''
  if stage 1 "mix with noise" "${clean_in[@]}" --in "$noise_train" --in "$noise_test" "${noisy_out[@]}"; then
    mix_sets "$noise_train" "$noise_test"
  fi

  stages_options=$enhancer
  if [ "$enhancer" = train ]; then
    if stage 2 "train the enhancer" --in "$data/train" --in "$noise_train" --in "$enhancer_cfg" \
      --out "$model" --redo "$(dirname "$model")"; then
      python -m enhance train --data "$data/train" --noise "$noise_train" --config "$enhancer_cfg" --out "$(dirname "$model")"
    fi
  fi

  if stage 3 "denoise every set with $enhancer" "${weights_in[@]}" "${noisy_in[@]}" --in "$data/test" "${enhanced_out[@]}"; then
    denoise_sets "$model" 0.2
  fi

  if stage 4 "score the enhanced speech" --in "$data/test" "${noisy_in[@]}" "${enhanced_in[@]}" --in "$SCHOOLYARD_ROOT/cfg/gate.yaml" \
    --out "$exp/score/clean_enhanced" --out "$exp/score/gate.json"; then
    score_quality
  fi

  if stage 5 "features and CMVN" "${clean_in[@]}" "${noisy_in[@]}" "${enhanced_in[@]}" --out "$data/test_clean_enhanced/cmvn.scp"; then
    make_features
  fi

  stages_options="$enhancer $open_lm $closed_lm"
  [ "$g2p" = no ] || stages_options+=" --g2p" # others' stamps stay
  if stage 6 "language models and the GMM ladder, mono to tri3b, of each training" --in "$data/local/lexicon.txt" "${lms_in[@]}" \
    --in "$data/train/feats.scp" --in "$data/train_enhanced/feats.scp" --in "$data/test_mixed/feats.scp" "${ladder_in[@]}" "${gmm_out[@]}"; then
    prepare_lms "$open_lm" "$closed_lm"
    train_gmm "$ladder_cfg" "$ladder_multi_cfg"
    for training in $trainings; do decode_gmm "$training"; done
  fi

  stages_options="$am_size $baselines"
  if stage 7 "train the Li-GRU of each training, and the baselines on clean" "${gmm_in[@]}" "${cfg_in[@]}" "${model_out[@]}"; then
    train_ams "$am_size" "${models[@]}"
  fi

  stages_options=$rungs
  if stage 8 "decode every model on every test condition" "${model_in[@]}" "${decoded_out[@]}"; then
    decode_rungs
    for name in "${models[@]}"; do decode_am "${name%/*}" "${name#*/}"; done
  fi

  if stage 9 "score and report" "${decoded_in[@]}" "${notes_in[@]}" --in "$SCHOOLYARD_ROOT/cfg/gate.yaml" \
    --out "$work/RESULTS.md" --out "$work/report.html"; then
    score_rungs
    for training in $trainings; do score_model "$training" tri3b; done
    for name in "${models[@]}"; do score_model "${name%/*}" "${name#*/}"; done
    case " $tests " in *" clean_enhanced "*) gate_of_words clean/ligru ;; esac
    write_report "$report_title" ${notes_in[1]+"${notes_in[1]}"}
  fi
}
