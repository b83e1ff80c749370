"""The reader of foreign pickles, judged by torch.save and by pickles that try to run something."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from harness.errors import CheckpointError
from harness.safe_pickle import Reference, read_pickle


class Trap:
    """Unpickling this with the ordinary unpickler creates a file."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (self.place,)


class Network:
    """Any class that a package may hold."""

    def __init__(self):
        self.width = 3


KINDS = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool,
)  # fmt: skip
CONTENT = {
    "state": OrderedDict((f"kind.{dtype}", torch.arange(6).to(dtype).view(2, 3)) for dtype in KINDS),
    "part": torch.arange(10.0)[2:8:2],
    "turned": torch.arange(6.0).view(2, 3).T,
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "empty": torch.zeros(0),
    "plain": [1, 2.5, "text", None, True, (1, 2), {"a": {1, 2}}, b"bytes\xff", torch.Size([2, 3])],
}  # fmt: skip


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "before torch 1.6"])
def test_it_reads_what_torch_save_wrote(tmp_path, as_zip):
    torch.save(CONTENT, tmp_path / "a.pt", _use_new_zipfile_serialization=as_zip)
    read = read_pickle(tmp_path / "a.pt")
    for key, tensor in CONTENT["state"].items():
        assert read["state"][key].dtype == tensor.dtype
        assert torch.equal(read["state"][key], tensor)
    for name in ("part", "turned", "parameter", "empty"):
        assert torch.equal(read[name], CONTENT[name].detach())
    assert read["plain"] == CONTENT["plain"]


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "before torch 1.6"])
def test_it_keeps_the_name_of_a_class_and_makes_nothing_of_it(tmp_path, as_zip):
    package = {"class": Network, "made": Network(), "kwargs": {"hidden": 48}, "state": {"w": torch.ones(2)}}
    torch.save(package, tmp_path / "a.th", _use_new_zipfile_serialization=as_zip)
    read = read_pickle(tmp_path / "a.th")
    assert read["class"].name.endswith("Network")
    assert isinstance(read["made"], Reference)
    assert read["made"].state == {"width": 3}
    assert read["kwargs"] == {"hidden": 48}
    assert torch.equal(read["state"]["w"], torch.ones(2))


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "before torch 1.6"])
def test_it_runs_nothing_that_a_file_asks_for(tmp_path, as_zip):
    place = tmp_path / "made_by_the_pickle"
    torch.save({"trap": Trap(str(place)), "w": torch.ones(1)}, tmp_path / "a.pt", _use_new_zipfile_serialization=as_zip)
    read = read_pickle(tmp_path / "a.pt")
    assert not place.exists()
    assert read["trap"].name.endswith("mkdir")
    pickle.loads(pickle.dumps(Trap(str(place))))  # noqa: S301  (the ordinary unpickler falls into it)
    assert place.exists()


@pytest.mark.parametrize("cut", [0, 10, 300, -20])
@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "before torch 1.6"])
def test_a_file_that_is_cut_off_is_refused(tmp_path, as_zip, cut):
    torch.save({"w": torch.ones(50)}, tmp_path / "a.pt", _use_new_zipfile_serialization=as_zip)
    Path(tmp_path / "a.pt").write_bytes((tmp_path / "a.pt").read_bytes()[:cut])
    with pytest.raises(CheckpointError, match=r"a.pt: cannot be read as a file of torch.save"):
        read_pickle(tmp_path / "a.pt")


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path):
    class Liar:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (torch.ones(4).storage(), 0, (4000,), (1,), False, OrderedDict())

    with pytest.warns(UserWarning, match="TypedStorage is deprecated"):
        torch.save({"w": Liar()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_pickle(tmp_path / "a.pt")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none.pt: no such file"):
        read_pickle(tmp_path / "none.pt")
