"""python -m hmm: the classic Kaldi system, from a lexicon to lattices."""

from __future__ import annotations

from harness.cli import app_for, run
from hmm import verbs_decode, verbs_gmm, verbs_graph

app = app_for("hmm", "The classic Kaldi system: lexicon, language model, GMM ladder, graphs, decoding, lattices.")
verbs_graph.register(app)
verbs_gmm.register(app)
verbs_decode.register(app)

if __name__ == "__main__":
    run(app)
