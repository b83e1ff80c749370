#!/bin/sh
# What stands for the programs of Kaldi's src/featbin in recipes with --kaldi, under their names ($work/kaldi/watched): runs
# the program, and says in the log that a signal ended it.  Within the pipes that Kaldi's own programs open
# ("ark:apply-cmvn ... | splice-feats ... |") nobody else tells: /bin/sh knows only how the last of them ended.
name=${0##*/}
"$KALDI_ROOT/src/featbin/$name" "$@"
code=$?
if [ $code -gt 128 ] && [ $code -ne 141 ]; then # 141: its reader had enough
  echo "ERROR (${name}[watched.sh]): ended by signal $((code - 128))" >&2
fi
exit $code
