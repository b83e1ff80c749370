"""Recordings in one archive, as Kaldi's `wav-copy scp:wav.scp ark:wav.ark` writes them.

An entry is the key, a blank, and the wav file as it stands; a line of wav.scp is `key wav.ark:offset`.  AudioTable and
every program of Kaldi that takes a wav.scp read them there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from harness.atomic import write_whole
from harness.errors import TableError

MAGIC = b"RIFF"


def write_wav_ark(path: str | os.PathLike[str], wavs: Iterable[tuple[str, Path]]) -> dict[str, int]:
    """Write (key, wav file) pairs into an archive, whole; returns {key: offset}, in the order given.

    Raises TableError for a key with blanks or one that comes twice, and for a file that is no wav; DiskError.
    """
    places: dict[str, int] = {}
    with write_whole(path, "wb") as stream:
        for key, wav in wavs:
            if not key or any(letter.isspace() for letter in key) or key in places:
                raise TableError(path, f"key {key!r} is empty, has blanks or comes twice", mend="rename the recording")
            stream.write(key.encode() + b" ")
            places[key] = stream.tell()
            with open(wav, "rb") as source:
                if source.read(len(MAGIC)) != MAGIC:
                    raise TableError(wav, "is no wav, which alone may stand in an archive", mend="convert it to wav")
                source.seek(0)
                shutil.copyfileobj(source, stream, 1 << 20)
    return places
