#!/usr/bin/env bash
# Children of speechocean762 (SLR101): WER with and without enhancement.  ./run.sh --recipe speechocean762 --source CORPUS
# shellcheck source=recipes/lib/stages.sh
. "$(dirname "$0")/../lib/stages.sh"
# shellcheck source=recipes/lib/experiment.sh
. "$(dirname "$0")/../lib/experiment.sh"
# shellcheck source=recipes/lib/experiment_stages.sh
. "$(dirname "$0")/../lib/experiment_stages.sh"
source_dir='' prepare_words=''
# shellcheck disable=SC2034 # the usage text of the library shows it
stages_more="--source DIR --noise-train DIR --noise-test DIR [option of the recipe]..."
report_title="speechocean762: children, with and without enhancement"

recipe_option() {
  case $1 in
    --source) source_dir=$2 ;;
    --prepare) prepare_words=$2 ;;
    *) experiment_option "$@" ;;
  esac
}

recipe_check() {
  stages_unnamed source_dir
  stages_needs --source "$source_dir"
  needs_noise
  check_experiment
}

recipe_help() {
  cat <<'TEXT'
  --source DIR         the corpus, unpacked: WAVE, train, test and resource
  --prepare WORDS      options of prepare.py, such as '--max-age 12 --seed 2'
TEXT
  experiment_help
}

stages_begin "$@"
begin_kaldi
corpus=$source_dir # or a folder below it, as archives unpack (recipes/lib/corpus_root.py)
for place in "$source_dir"/ "$source_dir"/*/ "$source_dir"/*/*/; do
  if [ -d "${place}WAVE" ]; then corpus=${place%/} && break; fi
done
corpus_in=() # what is there; prepare.py says what is missing
for place in "$corpus/train" "$corpus/test"; do
  if $stages_list || [ -e "$place" ]; then corpus_in+=(--in "$place"); fi
done

stages_options=$prepare_words
if stage 0 "prepare the corpus" --in "$recipe_dir/prepare.py" "${corpus_in[@]}" \
  --out "$data/train" --out "$data/dev" --out "$data/test" --out "$data/local/lexicon.txt"; then
  # shellcheck disable=SC2086 # words
  python "$recipe_dir/prepare.py" --source "$source_dir" --out "$data" $prepare_words
fi

experiment_stages
stages_end
say_where
