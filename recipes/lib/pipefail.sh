# shellcheck shell=bash
# BASH_ENV of Kaldi's scripts in recipes with --kaldi: a pipeline that run.pl hands to bash fails where any program of it
# fails, not only the last.  Scripts are left alone: they were not written for it.
case $0 in
  bash | */bash) [ -n "${BASH_EXECUTION_STRING:-}" ] || set -o pipefail ;;
esac
