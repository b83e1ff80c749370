"""How the tests run the preparation of a corpus, and what holds for every corpus."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_bridge.data_dir import DataDir

ROOT = Path(__file__).resolve().parents[2]


@cache
def preparation_of(corpus: str) -> Any:
    """recipes/CORPUS/prepare.py as a module."""
    name = f"prepare_{corpus}"
    spec = importlib.util.spec_from_file_location(name, ROOT / "recipes" / corpus / "prepare.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def prepared(corpus: str, source: Path, out: Path, **options: Any) -> dict[str, DataDir]:
    """Run it; {"train", "dev", "test": the data directory that was written}, each valid, with recordings that exist."""
    preparation_of(corpus).prepare(source=source, out=out, **options)
    sets = {name: DataDir.read(out / name) for name in ("train", "dev", "test")}
    for data in sets.values():
        assert all(Path(wav).is_file() and Path(wav).is_absolute() for wav in (data.wav_scp or {}).values())
        assert set(data.utterances) == set(data.wav_scp or {}) == set(data.text or {})
    assert len({speaker for data in sets.values() for speaker in data.speakers}) == sum(
        len(data.speakers) for data in sets.values()
    )
    return sets


def report(out: Path) -> dict[str, Any]:
    """local/prepared.json"""
    content: dict[str, Any] = json.loads((out / "local/prepared.json").read_text())
    return content


def all_bytes(out: Path) -> dict[str, bytes]:
    """{path below out: content}, the path of out itself taken out of the contents."""
    return {
        str(file.relative_to(out)): file.read_bytes().replace(str(out.resolve()).encode(), b"OUT")
        for file in sorted(out.rglob("*"))
        if file.is_file()
    }


def sound(path: Path, seconds: float = 0.2, rate: int = 16000, level: float = 0.1, **options: Any) -> Path:
    """A recording of noise, the same for the same name; its format is the suffix's, or as soundfile is told."""
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(path.stem.encode()))
    soundfile.write(path, level * rng.standard_normal(round(seconds * rate)), rate, **options)
    return path


class QuietHandler(SimpleHTTPRequestHandler):
    """Says nothing of what it serves."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of a server of our own for the files of a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
