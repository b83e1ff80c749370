"""Recordings in one archive."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import TableError
from kaldi_bridge.sound_files import wav_header
from kaldi_bridge.wav_ark import write_wav_ark


def test_an_archive_is_key_blank_and_file_one_after_the_other(tmp_path: Path) -> None:
    first, second = wav_header(2, 8000) + b"\1\2\3\4", wav_header(1, 8000) + b"\5\6"
    (tmp_path / "a.wav").write_bytes(first)
    (tmp_path / "b.wav").write_bytes(second)
    places = write_wav_ark(tmp_path / "x.ark", [("u1", tmp_path / "a.wav"), ("u2", tmp_path / "b.wav")])
    assert (tmp_path / "x.ark").read_bytes() == b"u1 " + first + b"u2 " + second
    assert places == {"u1": 3, "u2": 3 + len(first) + 3}


@pytest.mark.parametrize(("key", "said"), [("u 2", "has blanks"), ("", "is empty"), ("u1", "comes twice")])
def test_a_key_that_no_table_may_hold_is_refused_and_nothing_is_written(key: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav_header(0, 8000))
    with pytest.raises(TableError, match=said):
        write_wav_ark(tmp_path / "x.ark", [("u1", tmp_path / "a.wav"), (key, tmp_path / "a.wav")])
    assert not (tmp_path / "x.ark").exists()


def test_a_file_that_is_no_wav_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"fLaC")
    with pytest.raises(TableError, match="is no wav"):
        write_wav_ark(tmp_path / "x.ark", [("u1", tmp_path / "a.wav")])
