#!/bin/sh
# What stands for every program of Kaldi in recipes with --kaldi, under its name ($work/kaldi/watched): runs the program, and
# says in the log that a signal ended it.  Within the pipes that Kaldi's own programs open
# ("ark:apply-cmvn ... | splice-feats ... |"), and in those of a cluster's jobs, nobody else tells: a shell knows only how
# the last of them ended.
name=${0##*/}
for program in "$KALDI_ROOT"/src/*bin/"$name"; do break; done
"$program" "$@"
code=$?
if [ $code -gt 128 ] && [ $code -ne 141 ]; then # 141: its reader had enough
  echo "ERROR (${name}[watched.sh]): ended by signal $((code - 128))" >&2
fi
exit $code
