# shellcheck shell=bash
# sourced: puts the programs and scripts of a real Kaldi on the PATH, for recipes with --kaldi and for your own work with Kaldi.
#   KALDI_ROOT   a built Kaldi; where it is not set: kaldi beside this project, ~/kaldi, /opt/kaldi
# A program that Kaldi's scripts need and this Kaldi lacks gets a stand-in of ours, and a line says so.

kaldi_found() { [ -x "$1/src/featbin/compute-mfcc-feats" ] && [ -d "$1/egs/wsj/s5/steps" ]; }

path_root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
if [ -z "${KALDI_ROOT:-}" ]; then
  for path_folder in "$path_root/../kaldi" "${HOME:-/}/kaldi" /opt/kaldi; do
    if kaldi_found "$path_folder"; then
      KALDI_ROOT=$(cd "$path_folder" && pwd)
      break
    fi
  done
fi
if ! kaldi_found "${KALDI_ROOT:-}"; then
  printf 'ERROR %s: no built Kaldi there\n  mend: git clone https://github.com/kaldi-asr/kaldi, build it as its INSTALL says, then export KALDI_ROOT=/path/to/kaldi\n' \
    "${KALDI_ROOT:-KALDI_ROOT is not set}" >&2
  # shellcheck disable=SC2317 # where it is run, not sourced
  return 1 2>/dev/null || exit 1
fi
KALDI_ROOT=$(CDPATH='' cd -- "$KALDI_ROOT" && pwd) # Kaldi's scripts run in another folder
export KALDI_ROOT LC_ALL=C
for path_folder in "$KALDI_ROOT"/src/*bin "$KALDI_ROOT/tools/openfst/bin" "$KALDI_ROOT/egs/wsj/s5/utils"; do
  case :$PATH: in
    *":$path_folder:"*) ;;
    *) [ ! -d "$path_folder" ] || PATH=$path_folder:$PATH ;;
  esac
done
export PATH
if ! command -v fstconvert >/dev/null; then # utils/mkgraph.sh ends with it
  PATH=$PATH:$path_root/recipes/lib/stand_ins
  echo "path.sh: this Kaldi has no fstconvert; ours stands in (recipes/lib/stand_ins)" >&2
fi
