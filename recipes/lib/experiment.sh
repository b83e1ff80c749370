# shellcheck shell=bash disable=SC2154 # data and exp come from stages.sh
# sourced by the recipes after stages.sh: what stages 5 to 9 do, for every training and test condition.
#
# Trainings: clean; multi (clean + noisy); multi_enhanced (clean + noisy + enhanced).  Copies carry the ids of their
# originals with the condition before them (noisy-..., enhanced-...) and share the alignments of the clean originals.
# Tests: clean, noisy, enhanced, mixed (enhanced with observation adding), clean_enhanced.

stages_libraries+=("${BASH_SOURCE[0]}")
trainings="clean multi multi_enhanced"
tests="clean noisy enhanced mixed clean_enhanced"
tuned="clean noisy enhanced" # conditions of dev; mixed takes the weight of enhanced, clean_enhanced that of clean

copies_of() {
  case $1 in
    clean) ;;
    multi) echo noisy ;;
    multi_enhanced) echo noisy enhanced ;;
    *) stages_fail "unknown training condition $1" "choose from: $trainings" ;;
  esac
}

set_of() { if [ "$2" = clean ]; then echo "$data/$1"; else echo "$data/$1_$2"; fi; }

tuned_as() {
  case $1 in
    mixed) echo enhanced ;;
    clean_enhanced) echo clean ;;
    *) echo "$1" ;;
  esac
}

mix_sets() { # NOISE_TRAIN NOISE_TEST: every set, an SNR of 0, 5, 10 or 15 dB for each utterance; test has noises of its own
  local set noise
  for set in train dev test; do
    noise=$1
    [ "$set" != test ] || noise=$2
    python -m enhance mix --data "$data/$set" --noise "$noise" --snr 0,5,10,15 --seed 1 --out "$data/${set}_noisy" --force
  done
}

denoise_sets() { # MODEL MIX: every noisy set, test with observation adding, clean speech through the enhancer
  local set
  for set in train dev test; do
    python -m enhance denoise --model "$1" --data "$data/${set}_noisy" --out "$data/${set}_enhanced" --force
  done
  python -m enhance denoise --model "$1" --mix "$2" --data "$data/test_noisy" --out "$data/test_mixed" --force
  python -m enhance denoise --model "$1" --data "$data/test" --out "$data/test_clean_enhanced" --force
}

score_quality() {
  local condition
  for condition in noisy enhanced mixed clean_enhanced; do
    python -m enhance score --reference "$data/test" --estimate "$data/test_$condition" --out "$exp/score/$condition"
  done
  gate_of_sound
}

gate_of_sound() { # what enhancement did to clean speech, against cfg/gate.yaml; reported, and the recipe goes on
  python -m enhance gate --reference "$data/test" --estimate "$data/test_clean_enhanced" --scores "$exp/score/clean_enhanced" \
    --limits "$SCHOOLYARD_ROOT/cfg/gate.yaml" --out "$exp/score/gate.json" --warn
}

gate_of_words() { # TRAINING/NAME: the same in word errors
  python -m enhance gate --before "$exp/$1/decode_clean_open" --after "$exp/$1/decode_clean_enhanced_open" \
    --limits "$SCHOOLYARD_ROOT/cfg/gate.yaml" --out "$exp/score/gate_wer.json" --warn
}

make_features() { # MFCC and CMVN of every set
  local set
  for set in "$data"/{train,dev,test}{,_noisy,_enhanced} "$data"/test_{mixed,clean_enhanced}; do
    python -m kaldi_bridge features "$set" --out "$exp/mfcc"
    python -m kaldi_bridge cmvn "$set" --out "$exp/mfcc"
  done
}

combine_copies() { # SET TRAINING: $data/SET_for_TRAINING, the clean set and its renamed copies
  local copy parts=("$data/$1")
  for copy in $(copies_of "$2"); do
    python -m kaldi_bridge copy --utt-prefix "$copy-" --spk-prefix "$copy-" --force "$data/$1_$copy" "$data/local/$1_$copy"
    parts+=("$data/local/$1_$copy")
  done
  python -m kaldi_bridge combine --force "$data/$1_for_$2" "${parts[@]}"
}

prepare_lms() { # OPEN_ARPA CLOSED_ARPA ('' makes the open one of train + dev text, and leaves the closed one out)
  [ ! -f "$data/local/lexicon.txt" ] || python -m hmm prepare-dict "$data/local/lexicon.txt" "$data/dict" --force
  python -m hmm prepare-lang "$data/dict" "$data/lang" --text "$data/train/text" --force
  python -m hmm train-lm "$data/train/text" "$data/local/dev.arpa.gz" --lang "$data/lang"
  python -m hmm format-lm "$data/lang" "$data/local/dev.arpa.gz" "$data/lang_dev" --force
  local open=$1
  if [ -z "$open" ]; then
    open=$data/local/open.arpa.gz
    sort "$data/train/text" "$data/dev/text" >"$data/local/open.text"
    python -m hmm train-lm "$data/local/open.text" "$open" --lang "$data/lang"
  fi
  python -m hmm format-lm "$data/lang" "$open" "$data/lang_open" --force
  [ -z "$2" ] || python -m hmm format-lm "$data/lang" "$2" "$data/lang_closed" --force
}

train_gmm() { # CFG of the clean ladder ('' for the defaults), CFG of the multi-condition SAT rungs
  local training set
  for training in $trainings; do
    for set in train dev; do combine_copies $set "$training"; done
    if [ "$training" = clean ]; then
      python -m hmm gmm --data "$data/train_for_clean" --lang "$data/lang" --out "$exp/clean" ${1:+--config "$1"}
      python -m hmm align --data "$data/dev" --lang "$data/lang" --model "$exp/clean/tri3b" --out "$exp/clean/dev_ali"
    else
      share_alignments "$training"
      python -m hmm gmm --data "$data/train_for_$training" --lang "$data/lang" --out "$exp/$training" \
        --ali "$exp/$training/clean_ali" --config "$2"
    fi
    python -m hmm align --data "$data/dev_for_$training" --lang "$data/lang" \
      --model "$exp/$training/tri3b" --out "$exp/$training/tri3b_ali_dev"
    make_graphs "$exp/$training/tri3b"
  done
}

share_alignments() { # TRAINING: the clean alignments for originals and copies, of train and dev
  local copy prefixes=()
  for copy in $(copies_of "$1"); do prefixes+=(--prefix "$copy-"); done
  python -m hmm copy-ali --data "$data/train_for_$1" --ali "$exp/clean/tri3b_ali" --out "$exp/$1/clean_ali" "${prefixes[@]}"
  python -m hmm copy-ali --data "$data/dev_for_$1" --ali "$exp/clean/dev_ali" --out "$exp/$1/clean_ali_dev" "${prefixes[@]}"
}

lms() { if [ -d "$data/lang_closed" ]; then echo open closed; else echo open; fi; }

make_graphs() { # GMM directory
  local lm
  for lm in dev $(lms); do
    python -m hmm make-graph "$data/lang_$lm" "$1" "$1/graph_$lm" --force
  done
}

tests_of() { if [ "$1" = open ]; then echo "$tests"; else echo "$tuned"; fi; } # the second language model gets the main conditions

dev_graph_of() { if [ "$1" = open ]; then echo graph_dev; else echo "graph_$1"; fi; } # open: one that lacks dev's own text

decode_gmm() { # TRAINING: lattices and fMLLR transforms of every condition
  local gmm=$exp/$1/tri3b test lm
  for lm in $(lms); do
    for test in $tuned; do
      python -m hmm decode-gmm --model "$gmm" --data "$(set_of dev "$test")" \
        --graph "$gmm/$(dev_graph_of "$lm")" --out "$gmm/dev_${test}_$lm"
    done
    for test in $(tests_of "$lm"); do
      python -m hmm decode-gmm --model "$gmm" --data "$(set_of test "$test")" \
        --graph "$gmm/graph_$lm" --out "$gmm/decode_${test}_$lm"
    done
  done
}

am_config() { # NAME SIZE TRAINING: NAME_SIZE_xN.yaml for N conditions where there is one (as many updates), else NAME_SIZE.yaml
  local conditions
  conditions=$(copies_of "$3" | wc -w)
  local file=$SCHOOLYARD_ROOT/cfg/am/$1_$2_x$((conditions + 1)).yaml
  if [ -f "$file" ]; then echo "$file"; else echo "$SCHOOLYARD_ROOT/cfg/am/$1_$2.yaml"; fi
}

train_am() { # TRAINING NAME CFG: an acoustic model on fMLLR features and the clean originals' alignments
  local gmm=$exp/$1/tri3b ali=$exp/$1/clean_ali dev=$exp/$1/clean_ali_dev
  if [ "$1" = clean ]; then ali=$exp/clean/tri3b_ali dev=$exp/clean/dev_ali; fi
  python -m am train --config "$3" --out "$exp/$1/$2" --gmm "$gmm" \
    --data "$data/train_for_$1" --ali "$ali" --fmllr "$exp/$1/tri3b_ali" \
    --dev-data "$data/dev_for_$1" --dev-ali "$dev" --dev-fmllr "$exp/$1/tri3b_ali_dev"
}

train_ams() { # SIZE TRAINING/NAME...: side by side, since one takes one core; one after another where they share a GPU
  local size=$1 each running=0 most code=0
  most=$(env -u OMP_NUM_THREADS nproc) # which would count threads
  shift
  if nvidia-smi -L >/dev/null 2>&1; then most=1; fi
  for each in "$@"; do
    if ((running >= most)); then
      wait -n || code=$?
      running=$((running - 1))
    fi
    train_am "${each%/*}" "${each#*/}" "$(am_config "${each#*/}" "$size" "${each%/*}")" 2>&1 | named "$each" &
    running=$((running + 1))
  done
  for (( ; running > 0; running--)); do wait -n || code=$?; done
  return "$code"
}

named() { # WORD: before each line
  local line
  while IFS= read -r line; do printf '%s: %s\n' "$1" "$line"; done
}

decode_am() { # TRAINING NAME: with the graph of the clean ladder, whose pdfs the model has
  local test lm
  for test in $tuned; do forward_am "$1" "$2" "dev_$test" "$(set_of dev "$test")"; done
  for test in $tests; do forward_am "$1" "$2" "decode_$test" "$(set_of test "$test")"; done
  for lm in $(lms); do
    for test in $tuned; do lattices_am "$1" "$2" "dev_$test" "$(dev_graph_of "$lm")" "$lm"; done
    for test in $(tests_of "$lm"); do lattices_am "$1" "$2" "decode_$test" "graph_$lm" "$lm"; done
  done
}

forward_am() { # TRAINING NAME CONDITION DATA: likelihoods on the fMLLR features of the GMM's own decoding
  python -m am forward --model "$exp/$1/$2/best.pt" --data "$4" --gmm "$exp/$1/tri3b" \
    --fmllr "$exp/$1/tri3b/$3_open" --out "$exp/$1/$2/loglikes_$3" --force
}

lattices_am() { # TRAINING NAME CONDITION GRAPH LM
  python -m hmm decode --graph "$exp/clean/tri3b/$4" --model "$exp/clean/tri3b/final.mdl" --set acoustic_scale=0.1 \
    --loglikes "$exp/$1/$2/loglikes_$3/loglikes.scp" --out "$exp/$1/$2/$3_$5"
}

score_model() { # TRAINING NAME: weight and penalty from dev, errors on test
  local test lm dev
  for lm in $(lms); do
    for test in $(tests_of "$lm"); do
      dev=$(tuned_as "$test")
      python -m am score --decode "$exp/$1/$2/decode_${test}_$lm" --data "$(set_of test "$test")" \
        --graph "$exp/clean/tri3b/graph_$lm" \
        --dev-decode "$exp/$1/$2/dev_${dev}_$lm" --dev-data "$(set_of dev "$dev")"
    done
  done
}

write_report() { # TITLE [NOTES]: RESULTS.md and the page
  python -m am report --work "$work" --out "$work/RESULTS.md" --html "$work/report.html" --title "$1" \
    --command "$stages_command ${stages_given[*]}" ${2:+--note "$2"}
}

say_where() { # after stages_end: the last line of the recipe
  $stages_list || [ ! -f "$work/report.html" ] || echo "report: $work/report.html, and $work/RESULTS.md"
}
