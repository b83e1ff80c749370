# shellcheck shell=bash disable=SC2154 # data and exp come from stages.sh
# sourced by the recipes after stages.sh: what stages 5 to 9 do, for every training and test condition.
# The functions at the end run the programs of this project; kaldi.sh puts a real Kaldi's in their place (--kaldi).
#
# Trainings: clean; multi (clean + noisy); multi_enhanced (clean + noisy + enhanced).  Copies carry the ids of their
# originals with the condition before them (noisy-..., enhanced-...) and share the alignments of the clean originals.
# Tests: clean, noisy, enhanced, mixed (enhanced with observation adding), clean_enhanced.

stages_libraries+=("${BASH_SOURCE[0]}")
trainings="clean multi multi_enhanced"
tests="clean noisy enhanced mixed clean_enhanced"
tuned="clean noisy enhanced" # conditions of dev; mixed takes the weight of enhanced, clean_enhanced that of clean

choose_tests() { # NAMES: these alone, and of dev what they are tuned on
  local test
  tests=$1 tuned=''
  for test in $tests; do
    case $test in
      clean | noisy | enhanced | mixed | clean_enhanced) ;;
      *) stages_wrong "unknown test condition '$test': clean noisy enhanced mixed clean_enhanced" ;;
    esac
  done
  for test in clean noisy enhanced; do
    case " $(for each in $tests; do tuned_as "$each"; done | tr '\n' ' ')" in *" $test "*) tuned+="$test " ;; esac
  done
}

g2p=no   # whether words that the lexicon lacks get guessed pronunciations (--g2p)
rungs='' # those below tri3b that are decoded and scored too (--rungs)

recipe_flag() {
  case $1 in
    --rungs) rungs="mono tri1 tri2b" ;;
    --g2p) g2p=yes ;;
    --kaldi)
      # shellcheck disable=SC2034 # read by stages.sh
      stages_variant=_kaldi
      # shellcheck source=recipes/lib/kaldi.sh
      . "$SCHOOLYARD_ROOT/recipes/lib/kaldi.sh"
      ;;
    *) return 1 ;;
  esac
}

copies_of() {
  case $1 in
    clean) ;;
    multi) echo noisy ;;
    multi_enhanced) echo noisy enhanced ;;
    *) stages_fail "unknown training condition '$1'" "choose from: clean multi multi_enhanced" ;;
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
    features_of "$set"
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

guess_pronunciations() { # for words of train and dev that the lexicon lacks; the guesses alone: dict/oov_pronunciations.txt
  sort "$data/train/text" "$data/dev/text" >"$data/local/known.text"
  rm -rf "$data/local/dict_with_guesses"
  python -m hmm g2p "$data/dict" "$data/local/dict_with_guesses" --text "$data/local/known.text"
  rm -rf "$data/dict"
  mv "$data/local/dict_with_guesses" "$data/dict"
}

prepare_lms() { # OPEN_ARPA CLOSED_ARPA ('' makes the open one of train + dev text, and leaves the closed one out)
  [ ! -f "$data/local/lexicon.txt" ] || python -m hmm prepare-dict "$data/local/lexicon.txt" "$data/dict" --force
  [ "$g2p" = no ] || guess_pronunciations
  make_lang
  python -m hmm train-lm "$data/train/text" "$data/local/dev.arpa.gz" --lang "$data/lang"
  format_lm "$data/local/dev.arpa.gz" "$data/lang_dev"
  local open=$1
  if [ -z "$open" ]; then
    open=$data/local/open.arpa.gz
    sort "$data/train/text" "$data/dev/text" >"$data/local/open.text"
    python -m hmm train-lm "$data/local/open.text" "$open" --lang "$data/lang"
  fi
  format_lm "$open" "$data/lang_open"
  [ -z "$2" ] || format_lm "$2" "$data/lang_closed"
}

train_gmm() { # CFG of the clean ladder ('' for the defaults), CFG of the multi-condition SAT rungs
  local training set
  for training in $trainings; do
    for set in train dev; do combine_copies $set "$training"; done
    if [ "$training" = clean ]; then
      train_ladder "$data/train_for_clean" "$exp/clean" "$1"
      align_set "$data/dev" "$exp/clean/tri3b" "$exp/clean/dev_ali"
    else
      share_alignments "$training"
      train_sat "$data/train_for_$training" "$exp/$training/clean_ali" "$exp/$training" "$2"
    fi
    align_set "$data/dev_for_$training" "$exp/$training/tri3b" "$exp/$training/tri3b_ali_dev"
    make_graphs "$exp/$training/tri3b"
  done
}

share_alignments() { # TRAINING: the clean alignments for originals and copies, of train and dev
  copy_alignments "$data/train_for_$1" "$exp/clean/tri3b_ali" "$exp/$1/clean_ali" "$(copies_of "$1")"
  copy_alignments "$data/dev_for_$1" "$exp/clean/dev_ali" "$exp/$1/clean_ali_dev" "$(copies_of "$1")"
}

lms() { if [ -d "$data/lang_closed" ]; then echo open closed; else echo open; fi; }

make_graphs() { # GMM directory
  local lm
  for lm in dev $(lms); do
    make_graph "$data/lang_$lm" "$1" "$1/graph_$lm"
  done
}

tests_of() { # LM: the second language model gets the main conditions
  local test
  if [ "$1" = open ]; then echo "$tests" && return; fi
  for test in $tests; do if [ "$(tuned_as "$test")" = "$test" ]; then echo "$test"; fi; done
}

dev_graph_of() { if [ "$1" = open ]; then echo graph_dev; else echo "graph_$1"; fi; } # open: one that lacks dev's own text

decode_gmm() { # TRAINING: lattices and fMLLR transforms of every condition
  local gmm=$exp/$1/tri3b test lm
  for lm in $(lms); do
    for test in $tuned; do
      decode_set "$gmm" "$(set_of dev "$test")" "$gmm/$(dev_graph_of "$lm")" "$gmm/dev_${test}_$lm"
    done
    for test in $(tests_of "$lm"); do
      decode_set "$gmm" "$(set_of test "$test")" "$gmm/graph_$lm" "$gmm/decode_${test}_$lm"
    done
  done
}

decode_rungs() { # the rungs below tri3b, on clean speech with the open language model
  local rung gmm lm
  for rung in $rungs; do
    gmm=$exp/clean/$rung
    for lm in dev open; do make_graph "$data/lang_$lm" "$gmm" "$gmm/graph_$lm"; done
    decode_set "$gmm" "$data/dev" "$gmm/graph_dev" "$gmm/dev_clean_open"
    decode_set "$gmm" "$data/test" "$gmm/graph_open" "$gmm/decode_clean_open"
  done
}

score_rungs() {
  local rung gmm
  for rung in $rungs; do
    gmm=$exp/clean/$rung
    score_decode "$gmm/decode_clean_open" "$data/test" "$gmm/graph_open" "$gmm/dev_clean_open" "$data/dev"
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
  decode_loglikes "$exp/$1/$2/loglikes_$3/loglikes.scp" "$exp/clean/tri3b" "$exp/clean/tri3b/$4" "$exp/$1/$2/$3_$5"
}

score_model() { # TRAINING NAME: weight and penalty from dev, errors on test
  local test lm dev
  for lm in $(lms); do
    for test in $(tests_of "$lm"); do
      dev=$(tuned_as "$test")
      score_decode "$exp/$1/$2/decode_${test}_$lm" "$(set_of test "$test")" "$exp/clean/tri3b/graph_$lm" \
        "$exp/$1/$2/dev_${dev}_$lm" "$(set_of dev "$dev")"
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

# ---- the steps that kaldi.sh runs otherwise ----

begin_kaldi() { :; }

features_of() { # DATA
  python -m kaldi_bridge features "$1" --out "$exp/mfcc"
  python -m kaldi_bridge cmvn "$1" --out "$exp/mfcc"
}

make_lang() { python -m hmm prepare-lang "$data/dict" "$data/lang" --text "$data/train/text" --force; }

format_lm() { python -m hmm format-lm "$data/lang" "$1" "$2" --force; } # ARPA OUT

train_ladder() { # DATA EXP CFG: EXP/{mono,tri1,tri2b,tri3b}{,_ali}
  python -m hmm gmm --data "$1" --lang "$data/lang" --out "$2" ${3:+--config "$3"}
}

train_sat() { # DATA ALI EXP CFG: EXP/tri3b{,_ali}
  python -m hmm gmm --data "$1" --lang "$data/lang" --ali "$2" --out "$3" --config "$4"
}

align_set() { # DATA GMM OUT
  python -m hmm align --data "$1" --lang "$data/lang" --model "$2" --out "$3"
}

copy_alignments() { # DATA ALI OUT PREFIXES: of the originals, for the originals and the copies in DATA
  local prefix words=()
  for prefix in $4; do words+=(--prefix "$prefix-"); done
  python -m hmm copy-ali --data "$1" --ali "$2" --out "$3" "${words[@]}"
}

make_graph() { python -m hmm make-graph "$1" "$2" "$3" --force; } # LANG GMM OUT

decode_set() { # GMM DATA GRAPH OUT
  python -m hmm decode-gmm --model "$1" --data "$2" --graph "$3" --out "$4"
}

decode_loglikes() { # LOGLIKES_SCP GMM GRAPH OUT
  python -m hmm decode --graph "$3" --model "$2/final.mdl" --set acoustic_scale=0.1 --loglikes "$1" --out "$4"
}

score_decode() { # DECODE DATA GRAPH DEV_DECODE DEV_DATA: weight and penalty from dev
  python -m am score --decode "$1" --data "$2" --graph "$3" --dev-decode "$4" --dev-data "$5"
}
