"""The command ``schoolyard ROOM VERB ...``: the same as ``python -m ROOM VERB ...``."""

from __future__ import annotations

import runpy
import sys

ROOMS = {
    "enhance": "noisy speech -> clean speech",
    "am": "features -> words: Li-GRU training, decoding, scoring, report",
    "hmm": "the classic system: lang, language model, GMM ladder, graphs",
    "kaldi_bridge": "Kaldi data directories, features, tables",
}


def main() -> None:
    """Hand over to a room's command line; with no or an unknown room, list the rooms (exit code 2)."""
    if len(sys.argv) > 1 and sys.argv[1] in ROOMS:
        room = sys.argv.pop(1)
        runpy.run_module(room, run_name="__main__", alter_sys=True)
        return
    wanted = len(sys.argv) > 1 and sys.argv[1] not in ("-h", "--help")
    lines = [f"  {name:13} {text}" for name, text in ROOMS.items()]
    text = "usage: schoolyard ROOM VERB ...   (schoolyard ROOM --help lists its verbs)\n" + "\n".join(lines) + "\n"
    (sys.stderr if wanted else sys.stdout).write(f"no room {sys.argv[1]!r}\n{text}" if wanted else text)
    sys.exit(2 if wanted else 0)
