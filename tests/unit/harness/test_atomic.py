from __future__ import annotations

import errno
import os
import threading
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


def test_a_link_to_a_directory_stays_and_the_directory_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "large disk").mkdir()
    (tmp_path / "large disk/old").touch()
    (tmp_path / "data").symlink_to("large disk")
    with whole_dir(tmp_path / "data", force=True) as aside:
        (aside / "text").write_text("a")
    assert (tmp_path / "data").is_symlink()
    assert [entry.name for entry in (tmp_path / "large disk").iterdir()] == ["text"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["data", "large disk"]


def test_a_file_that_a_directory_replaces_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with whole_dir(tmp_path / "data", force=True) as aside:
        (aside / "text").write_text("a")
    assert [entry.name for entry in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("name", [".", ".."])
def test_the_working_directory_is_not_replaced(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(DiskError, match="is the working directory, or above it"), whole_dir(name, force=True):
        pass
    assert (tmp_path / "here").is_dir()


@pytest.mark.parametrize("name", ["", "folder"])
def test_a_directory_in_place_of_a_file_is_refused_before_the_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DiskError, match="is a directory, where a file is to be written"), write_whole(name):
        raise AssertionError


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()), daemon=True)
    reader.start()
    with write_whole(pipe) as stream:
        stream.write("through")
    reader.join(timeout=30)
    assert read == ["through"]
    assert pipe.is_fifo()
