# shellcheck shell=bash
# sourced: how the jobs of Kaldi's scripts are started, in recipes with --kaldi.
#   run.pl     on this machine (default)
#   queue.pl   Grid Engine (qsub), options in conf/queue.conf of the recipe's work directory: export KALDI_CMD="queue.pl --mem 4G"
#   slurm.pl   Slurm, options in conf/slurm.conf:  export KALDI_CMD="slurm.pl --mem 4G"
# train_cmd and decode_cmd, where set, go before KALDI_CMD.  KALDI_NJ: parts that the data are split into (default: all cores).
export train_cmd=${train_cmd:-${KALDI_CMD:-run.pl}}
export decode_cmd=${decode_cmd:-${KALDI_CMD:-run.pl}}
export KALDI_NJ=${KALDI_NJ:-$(env -u OMP_NUM_THREADS nproc)}
