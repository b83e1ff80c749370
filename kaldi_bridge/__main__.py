"""python -m kaldi_bridge: Kaldi's data directories, audio and features."""

from __future__ import annotations

from harness.cli import app_for, run
from kaldi_bridge import verbs_data

app = app_for("kaldi_bridge", "Kaldi's files: validate, fix, split and perturb data directories; make features.")
verbs_data.register(app)

if __name__ == "__main__":
    run(app)
