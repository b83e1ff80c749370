# shellcheck shell=bash disable=SC2154 # data, exp and work come from stages.sh
# sourced for --kaldi, after experiment.sh: the same steps by the programs and scripts of a real Kaldi.  The Li-GRU between
# them is ours: am train reads Kaldi's alignments and transforms, latgen-faster-mapped reads the likelihoods of am forward.
#
# Scripts run in $work/kaldi, which has steps/, utils/, local/, conf/, path.sh and cmd.sh as a recipe of Kaldi; their own
# output goes to exp/log/kaldi.  A step that is finished leaves .done_NAME beside its output and is not run again.

stages_libraries+=("${BASH_SOURCE[0]}")

begin_kaldi() { # after stages_begin: finds Kaldi and makes the folder its scripts run in
  local name
  ! $stages_list || return 0
  case $work in
    *[[:blank:]]*) stages_fail "$work has a blank in its path, which Kaldi's scripts take apart" "choose another --work" ;;
  esac
  # shellcheck source=path.sh
  . "$SCHOOLYARD_ROOT/path.sh"
  # shellcheck source=cmd.sh
  . "$SCHOOLYARD_ROOT/cmd.sh"
  command -v perl >/dev/null || stages_fail "Kaldi's scripts need perl" "install it (Debian, Ubuntu: apt install perl)"
  kaldi=$work/kaldi
  mkdir -p "$kaldi/conf" "$kaldi/local" "$exp/log/kaldi"
  for name in steps utils; do ln -sfn "$KALDI_ROOT/egs/wsj/s5/$name" "$kaldi/$name"; done
  ln -sf ../steps/score_kaldi.sh "$kaldi/local/score.sh"
  ln -sf "$SCHOOLYARD_ROOT/cmd.sh" "$kaldi/cmd.sh"
  rm -rf "$kaldi/watched" && mkdir "$kaldi/watched"
  for name in "$KALDI_ROOT"/src/*bin/*; do # not the sources that lie beside them
    if [ -f "$name" ] && [ -x "$name" ]; then ln -sf "$SCHOOLYARD_ROOT/recipes/lib/watched.sh" "$kaldi/watched/${name##*/}"; fi
  done
  # shellcheck disable=SC2016 # its PATH, not ours
  printf 'export KALDI_ROOT=%q\n. %q\nexport PATH=%q:"$PATH"\n' \
    "$KALDI_ROOT" "$SCHOOLYARD_ROOT/path.sh" "$kaldi/watched" >"$kaldi/path.sh"
  ln -sf "$SCHOOLYARD_ROOT/cfg/kaldi/mfcc.conf" "$kaldi/conf/mfcc.conf"
}

kaldi_step() { # NAME [--in FOLDER | --made FILE | --done FILE]... -- WORD...
  BASH_ENV=$SCHOOLYARD_ROOT/recipes/lib/pipefail.sh python -m kaldi_bridge.kaldi_step --name "$1" --workspace "$kaldi" --log "$exp/log/kaldi/${1//\//.}.log" \
    --times "$exp/log/kaldi/cpu_seconds" "${@:2}"
}

kaldi_jobs() { # DATA: parts to split it into, at most one a speaker
  local speakers
  speakers=$(wc -l <"$1/spk2utt")
  if ((speakers < KALDI_NJ)); then echo "$speakers"; else echo "$KALDI_NJ"; fi
}

name_of() { echo "${1#"$work"/}"; } # PATH in the work directory, as the name of a step

features_of() { # DATA
  kaldi_step "mfcc $(name_of "$1")" --in "$exp/mfcc/log" --made "$1/feats.scp" -- \
    steps/make_mfcc.sh --nj "$(kaldi_jobs "$1")" --cmd "$train_cmd" --mfcc-config conf/mfcc.conf "$1" "$exp/mfcc/log" "$exp/mfcc"
  kaldi_step "cmvn $(name_of "$1")" --in "$exp/mfcc/log" --made "$1/cmvn.scp" -- \
    steps/compute_cmvn_stats.sh "$1" "$exp/mfcc/log" "$exp/mfcc"
  python -m kaldi_bridge validate "$1"
}

make_lang() {
  kaldi_step lang --made "$data/lang/L.fst" --made "$data/lang/L_disambig.fst" -- \
    utils/prepare_lang.sh "$data/dict" '<unk>' "$data/local/lang" "$data/lang"
}

format_lm() { # ARPA OUT
  local arpa
  arpa=$(readlink -f -- "$1")          # the script runs in another folder
  if [ "${arpa%.gz}" = "$arpa" ]; then # the script takes only zipped ones
    arpa=$data/local/$(basename "$1").gz
    gzip -c "$1" >"$arpa.tmp"
    mv "$arpa.tmp" "$arpa"
  fi
  kaldi_step "lm $(name_of "$2")" --made "$2/G.fst" -- \
    utils/format_lm.sh "$data/lang" "$arpa" "$data/dict/lexicon.txt" "$2"
}

train_ladder() { # DATA EXP CFG: EXP/{mono,tri1,tri2b,tri3b}{,_ali}
  local schedule words
  schedule=$(python -m hmm.kaldi_schedule mono "$3")
  mapfile -t words <<<"$schedule"
  kaldi_train "$2/mono" train_mono.sh --nj "$(kaldi_jobs "$1")" "${words[@]}" -- "$1" "$data/lang"
  align_set "$1" "$2/mono" "$2/mono_ali"
  kaldi_rung tri1 train_deltas.sh "$1" "$2/mono_ali" "$2" "$3"
  align_set "$1" "$2/tri1" "$2/tri1_ali"
  kaldi_rung tri2b train_lda_mllt.sh "$1" "$2/tri1_ali" "$2" "$3"
  align_set "$1" "$2/tri2b" "$2/tri2b_ali" --use-graphs true
  train_sat "$1" "$2/tri2b_ali" "$2" "$3"
}

train_sat() { # DATA ALI EXP CFG: EXP/tri3b{,_ali}
  kaldi_rung tri3b train_sat.sh "$1" "$2" "$3" "$4"
  align_set "$1" "$3/tri3b" "$3/tri3b_ali"
}

kaldi_rung() { # RUNG SCRIPT DATA ALI EXP CFG
  local schedule words sizes
  schedule=$(python -m hmm.kaldi_schedule "$1" "$6")
  mapfile -t words <<<"$schedule"
  sizes=("${words[@]: -2}") # leaves and Gaussians
  kaldi_train "$5/$1" "$2" "${words[@]::${#words[@]}-2}" -- "${sizes[@]}" "$3" "$data/lang" "$4"
}

kaldi_train() { # GMM SCRIPT OPTION... -- ARGUMENT...
  local gmm=$1 script=$2
  shift 2
  local options=()
  while [ "$1" != -- ]; do options+=("$1") && shift; done
  kaldi_step "$(name_of "$gmm")" --in "$gmm" --made "$gmm/final.mdl" --done "$gmm/.done" -- \
    "steps/$script" --cmd "$train_cmd" "${options[@]}" "${@:2}" "$gmm"
}

align_set() { # DATA GMM OUT [OPTION...]: with fMLLR where the model is speaker-adaptive
  local script=align_si.sh
  [ ! -f "$2/final.alimdl" ] || script=align_fmllr.sh
  kaldi_step "$(name_of "$3")" --in "$3" --made "$3/ali.1.gz" --done "$3/.done" -- \
    "steps/$script" --nj "$(kaldi_jobs "$1")" --cmd "$train_cmd" "${@:4}" "$1" "$data/lang" "$2" "$3"
}

copy_alignments() { # DATA ALI OUT PREFIXES: of the originals, for the originals and the copies in DATA
  local file
  kaldi_step "$(name_of "$3")" --in "$3" --made "$3/ali.1.gz" -- \
    steps/copy_ali_dir.sh --nj "$(kaldi_jobs "$1")" --cmd "$train_cmd" --prefixes "$4" "$1" "$2" "$3"
  for file in final.mat full.mat; do # train_sat.sh wants them, copy_ali_dir.sh leaves them behind
    [ ! -f "$2/$file" ] || cp "$2/$file" "$3/"
  done
}

make_graph() { # LANG GMM OUT
  kaldi_step "$(name_of "$3")" --made "$3/HCLG.fst" -- utils/mkgraph.sh "$1" "$2" "$3"
}

decode_set() { # GMM DATA GRAPH OUT
  local script=decode.sh
  [ ! -f "$1/final.alimdl" ] || script=decode_fmllr.sh
  forget_lattices "$4"
  kaldi_step "$(name_of "$4")" --in "$4" --in "$4.si" --made "$4/lat.1.gz" --done "$4/.done" -- \
    "steps/$script" --nj "$(kaldi_jobs "$2")" --cmd "$decode_cmd" --skip-scoring true "$3" "$2" "$4"
}

decode_loglikes() { # LOGLIKES_SCP GMM GRAPH OUT: as steps/nnet/decode.sh does
  local jobs=$KALDI_NJ lines part parts=()
  lines=$(wc -l <"$1")
  ((lines >= jobs)) || jobs=$lines
  mkdir -p "$4/log"
  if [ -f "$4/.done" ]; then jobs=$(cat "$4/num_jobs"); fi # there may have been more cores then
  forget_lattices "$4"
  echo "$jobs" >"$4/num_jobs"
  for ((part = 1; part <= jobs; part++)); do parts+=("$4/log/loglikes.$part.scp"); done
  "$kaldi/utils/split_scp.pl" "$1" "${parts[@]}"
  # shellcheck disable=SC2086 # words
  kaldi_step "$(name_of "$4")" --in "$4" --made "$4/lat.1.gz" --done "$4/.done" -- \
    $decode_cmd "JOB=1:$jobs" "$4/log/decode.JOB.log" \
    latgen-faster-mapped --min-active=200 --max-active=7000 --beam=13.0 --lattice-beam=6.0 --acoustic-scale=0.1 \
    --allow-partial=true "--word-symbol-table=$3/words.txt" "$2/final.mdl" "$3/HCLG.fst" \
    "scp:$4/log/loglikes.JOB.scp" "ark:|gzip -c >$4/lat.JOB.gz"
}

forget_lattices() { # OUT: of a run that was cut off, which may have had more jobs; Kaldi's scoring takes all that are there
  [ -f "$1/.done" ] || rm -f "$1"/lat.*.gz
}

score_decode() { # DECODE DATA GRAPH DEV_DECODE DEV_DATA: weight and penalty from dev; Kaldi's scoring there must count the same
  local setting weight penalty
  python -m am score --decode "$1" --data "$2" --graph "$3" --dev-decode "$4" --dev-data "$5"
  setting=$(python -m am.kaldi_scoring setting "$1")
  read -r weight penalty <<<"$setting"
  kaldi_step "score $(name_of "$1")" --in "$1/scoring_kaldi" --made "$1/scoring_kaldi/best_wer" -- \
    local/score.sh --cmd "$decode_cmd" --min-lmwt "$weight" --max-lmwt "$weight" --word-ins-penalty "$penalty" "$2" "$3" "$1"
  python -m am.kaldi_scoring check "$1"
}
