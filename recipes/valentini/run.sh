#!/usr/bin/env bash
# VoiceBank-DEMAND: quality of enhanced speech in the table of the papers.  ./run.sh --recipe valentini --source CORPUS
# shellcheck source=recipes/lib/stages.sh
. "$(dirname "$0")/../lib/stages.sh"
source_dir='' models='builtin segan_plus' speakers=28 device=auto prepare_words=()
# shellcheck disable=SC2034 # the usage text of the library shows it
stages_more="--source DIR [option of the recipe]..."

recipe_option() {
  case $1 in
    --source) source_dir=$2 ;;
    --models) models=$2 ;;
    --speakers) speakers=$2 ;;
    --device) device=$2 ;;
    --partial | --download) [ "$2" = no ] || prepare_words+=("$1") ;;
    *) return 1 ;;
  esac
}

recipe_check() {
  local name
  stages_unnamed source_dir
  stages_needs --source "$source_dir"
  for name in $models; do
    [ "$name" = builtin ] || [ -f "$SCHOOLYARD_ROOT/cfg/enhance/$name.yaml" ] ||
      stages_wrong "--models: there is no '$name'; choose from: builtin $(cd "$SCHOOLYARD_ROOT/cfg/enhance" && printf '%s ' *.yaml | sed 's/\.yaml//g')"
  done
  case $speakers in 28 | 56) ;; *) stages_wrong "--speakers '$speakers': choose from: 28 56" ;; esac
  case $device in cpu | auto | cuda*) ;; *) stages_wrong "--device '$device': choose from: cpu cuda auto" ;; esac
}

recipe_help() {
  cat <<TEXT
  --source DIR         the corpus: its zip files, or their folders
  --models NAMES       rows of the table: builtin (shipped weights), or NAME of cfg/enhance/NAME.yaml, trained here (default: '$models')
  --speakers 28|56     which training set (default: $speakers)
  --device DEVICE      cpu, cuda or auto: where to train and denoise (default: $device)
  --partial yes        a part of the corpus will do: the published noisy row is then not asked for
  --download yes       fetch the sound into --source (datashare.ed.ac.uk/handle/10283/2791)
TEXT
}

score() { # SET CONDITION
  python -m enhance score --reference "$data/$1" --estimate "$data/$1_$2" --out "$exp/score/$1_$2" \
    --metrics pesq,csig,cbak,covl,ssnr,stoi,si_sdr
}

trained() { for name in $models; do [ "$name" = builtin ] || echo "$name"; done; }

weights_of() { if [ "$1" = builtin ]; then echo builtin; else echo "$exp/enhance/$1/best.pt"; fi; }

stages_begin "$@"
cfg=$SCHOOLYARD_ROOT/cfg/enhance
cfg_in=() best_in=() best_out=() enhanced=() scored=() rows=() dev_rows=()
for name in $models; do
  enhanced+=("$data/test_$name" "$data/dev_$name") scored+=("$exp/score/test_$name" "$exp/score/dev_$name")
  rows+=(--score "$name=$exp/score/test_$name") dev_rows+=(--dev "$name=$exp/score/dev_$name")
  [ "$name" != builtin ] || continue
  cfg_in+=(--in "$cfg/$name.yaml") best_in+=(--in "$exp/enhance/$name/best.pt")
  best_out+=(--out "$exp/enhance/$name/best.pt" --redo "$exp/enhance/$name")
done
words() { # KIND PATH...: as words of stage
  local path
  for path in "${@:2}"; do printf '%s\n%s\n' "$1" "$path"; done
}
mapfile -t enhanced_in < <(words --in "${enhanced[@]}")
mapfile -t enhanced_out < <(words --out "${enhanced[@]}")
mapfile -t scored_in < <(words --in "${scored[@]}")
mapfile -t scored_out < <(words --out "${scored[@]}")
pairs_in=(--in "$data/train" --in "$data/train_noisy")
tests_in=(--in "$data/test" --in "$data/test_noisy" --in "$data/dev" --in "$data/dev_noisy")

stages_options="$speakers ${prepare_words[*]}"
if stage 0 "prepare the pairs" --in "$recipe_dir/prepare.py" --in "$source_dir" --out "$data/train" --out "$data/train_noisy" \
  --out "$data/dev" --out "$data/dev_noisy" --out "$data/test" --out "$data/test_noisy" --out "$data/local/prepared.json"; then
  python "$recipe_dir/prepare.py" --source "$source_dir" --out "$data" --speakers "$speakers" "${prepare_words[@]}"
fi

stages_options=''
if stage 1 "score the noisy speech and compare it with the published row" "${tests_in[@]}" --in "$recipe_dir/quality.py" \
  --out "$exp/score/test_noisy" --out "$exp/score/dev_noisy"; then
  score test noisy
  score dev noisy
  python "$recipe_dir/quality.py" check --score "$exp/score/test_noisy" --prepared "$data/local/prepared.json"
fi

stages_options="$models $device"
if [ -n "$(trained)" ]; then
  if stage 2 "train $(trained | paste -sd ' ')" --in "$exp/score/test_noisy" "${pairs_in[@]}" "${cfg_in[@]}" "${best_out[@]}"; then
    for name in $(trained); do
      python -m enhance train --data "$data/train" --noisy "$data/train_noisy" --config "$cfg/$name.yaml" \
        --out "$exp/enhance/$name" --device "$device"
    done
  fi
fi

if stage 3 "denoise with $models" "${tests_in[@]}" "${best_in[@]}" "${enhanced_out[@]}"; then
  for name in $models; do
    for set in test dev; do
      python -m enhance denoise --model "$(weights_of "$name")" --data "$data/${set}_noisy" --out "$data/${set}_$name" \
        --device "$device" --force
    done
  done
fi

if stage 4 "score the enhanced speech" "${tests_in[@]}" "${enhanced_in[@]}" "${scored_out[@]}"; then
  for name in $models; do
    for set in test dev; do score "$set" "$name"; done
  done
fi

if stage 5 "write the table" --in "$exp/score/test_noisy" "${scored_in[@]}" --in "$recipe_dir/quality.py" --out "$work/RESULTS.md"; then
  python "$recipe_dir/quality.py" table --prepared "$data/local/prepared.json" --out "$work/RESULTS.md" \
    --score "noisy=$exp/score/test_noisy" "${rows[@]}" --dev "noisy=$exp/score/dev_noisy" "${dev_rows[@]}"
fi
stages_end
