from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from harness.checkpoint import load_checkpoint, load_weights, save_checkpoint
from harness.errors import CheckpointError, DiskError
from tests.full_disk import largest_file


class Bomb:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return exec, ("raise SystemExit('executed')",)


def test_a_checkpoint_returns_what_was_saved(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best.pt", "am", {"weights": {"a": torch.arange(3.0)}, "epoch": 4})
    state = load_checkpoint(tmp_path / "best.pt", "am")
    assert state["epoch"] == 4 and torch.equal(state["weights"]["a"], torch.arange(3.0))


@pytest.mark.parametrize("numbers", [10, 2000, 20_000])
def test_a_disk_that_fills_up_under_a_checkpoint_is_named_and_the_old_one_stays(tmp_path: Path, numbers: int) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(b"of the epoch before")
    state = {f"w{n}": torch.zeros(numbers) for n in range(10)}
    problem = r"last\.pt: became larger than the limit on file sizes"
    with largest_file(1024), pytest.raises(DiskError, match=problem):
        save_checkpoint(path, "am", state)
    assert path.read_bytes() == b"of the epoch before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best.pt", "enhance", {})
    with pytest.raises(CheckpointError, match="holds a model of kind 'enhance', not 'am'"):
        load_checkpoint(tmp_path / "best.pt", "am")


def test_damaged_missing_and_executable_checkpoints_are_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best.pt", "am", {"weights": {"a": torch.randn(1000)}})
    whole = (tmp_path / "best.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bomb.pt").write_bytes(pickle.dumps(Bomb()))
    for name in ("cut.pt", "bomb.pt"):
        with pytest.raises(CheckpointError, match="cannot be read as a checkpoint"):
            load_checkpoint(tmp_path / name, "am")
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "absent.pt", "am")


def test_weights_of_another_model_name_every_difference(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 2)
    weights = {"weight": torch.zeros(2, 4), "scale": torch.zeros(1)}
    message = r"1 missing \(bias\); 1 unexpected \(scale\); 1 misshapen \(weight \[2, 4\]"
    with pytest.raises(CheckpointError, match=message):
        load_weights(module, weights, tmp_path / "best.pt")
