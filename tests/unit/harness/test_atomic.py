from __future__ import annotations

import errno
from pathlib import Path

import pytest

from harness.atomic import whole_dir, write_whole
from harness.errors import DiskError


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "table"
    path.write_text("old")
    with pytest.raises(RuntimeError), write_whole(path) as stream:
        stream.write("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table"]


def test_a_full_disk_is_named_with_its_mend(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"table: no space left on the disk\n  mend: free some space"):
        with write_whole(tmp_path / "table"):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_really_full_device_is_named(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with pytest.raises(DiskError, match="no space left"), write_whole(tmp_path / "table"):
        with open("/dev/full", "w") as full:
            full.write("x")


def test_a_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole_dir(tmp_path / "data") as aside:
        (aside / "text").write_text("a")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with whole_dir(tmp_path / "data") as aside:
        (aside / "text").write_text("a")
    assert (tmp_path / "data" / "text").read_text() == "a"


def test_an_existing_directory_is_kept_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "text").write_text("mine")
    with pytest.raises(DiskError, match="already exists"), whole_dir(tmp_path / "data"):
        pass
    with whole_dir(tmp_path / "data", force=True) as aside:
        (aside / "wav.scp").write_text("b")
    assert [entry.name for entry in (tmp_path / "data").iterdir()] == ["wav.scp"]
