"""python -m am: acoustic models, from features and alignments to word error rates."""

from __future__ import annotations

from am import verbs_import, verbs_kaldi, verbs_report, verbs_score, verbs_train, verbs_wer
from harness.cli import app_for, run

app = app_for("am", "Acoustic models: train on features and alignments, give likelihoods, decode and score.")
verbs_train.register(app)
verbs_score.register(app)
verbs_wer.register(app)
verbs_report.register(app)
verbs_import.register(app)
verbs_kaldi.register(app)

if __name__ == "__main__":
    run(app)
