"""Read what torch.save wrote without executing it: tensors and plain data come out, anything else as an inert record.

A pickle names functions and classes and has them called; torch.load(weights_only=True) therefore refuses checkpoints
that hold a class or a configuration object.  Here every name stands for one of a few functions of this file, or for a
`Reference` that only keeps its name and arguments.  Both of torch's forms are read: the zip archive and, before
torch 1.6, a row of pickles with the storages behind them.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.errors import CheckpointError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first pickle of the form before torch 1.6
DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


class Reference:
    """A function, class or object that a pickle named and that was not made: `name`, and what it was to get."""

    name = ""
    arguments: tuple[Any, ...]
    state: Any
    items: dict[Any, Any]

    def __init__(self, *arguments: Any, **_: Any) -> None:
        self.arguments = arguments

    def __new__(cls, *_: Any, **__: Any) -> Reference:
        made = super().__new__(cls)
        made.arguments, made.state, made.items = (), None, {}  # here, because pickle may call no __init__
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.items[key] = value

    def append(self, item: Any) -> None:
        self.items[len(self.items)] = item

    def extend(self, items: Any) -> None:
        for item in items:
            self.append(item)

    def __repr__(self) -> str:
        return f"Reference({self.name})"


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """The content of a file that torch.save wrote.  Raises CheckpointError: missing, damaged, cut off, or not one."""
    if not Path(path).is_file():
        raise CheckpointError(path, "no such file", mend="give the path of the foreign checkpoint")
    try:
        return _read_zip(Path(path)) if zipfile.is_zipfile(path) else _read_legacy(Path(path))
    except Exception as error:  # foreign bytes make an unpickler trip in any way
        problem = f"cannot be read as a file of torch.save ({type(error).__name__}: {str(error)[:120]})"
        raise CheckpointError(path, problem, mend="use an undamaged copy") from error


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        [main] = [name for name in names if name.endswith("/data.pkl") or name == "data.pkl"]
        root = main[: -len("data.pkl")]
        if root + "byteorder" in names and archive.read(root + "byteorder").decode() != sys.byteorder:
            raise ValueError("was written on a machine of the other byte order")
        storages: dict[str, Tensor] = {}

        def storage(kind: Any, key: str, count: int, _: Any) -> Tensor:
            if key not in storages:
                content = bytearray(archive.read(f"{root}data/{key}"))
                storages[key] = _flat(content, _dtype(kind), count)
            return storages[key]

        return _Unpickler(io.BytesIO(archive.read(main)), storage).load()


def _read_legacy(path: Path) -> Any:
    """Magic number, version, facts of the system, content, storage keys: five pickles; then count and bytes of each."""
    size = path.stat().st_size
    storages: dict[str, Tensor] = {}

    def storage(kind: Any, key: str, count: int, view: Any) -> Tensor:
        dtype = _dtype(kind)
        if key not in storages:
            if count * dtype.itemsize > size:
                raise ValueError(f"storage {key} is larger than the file")
            storages[key] = torch.zeros(count, dtype=dtype)
        return storages[key] if view is None else storages[key][view[1] : view[1] + view[2]]

    with open(path, "rb") as stream:
        if _Unpickler(stream, storage).load() != LEGACY_MAGIC:
            raise ValueError("does not start as one")
        _Unpickler(stream, storage).load()
        if not _Unpickler(stream, storage).load().get("little_endian", True):
            raise ValueError("was written on a machine of the other byte order")
        start = stream.tell()
        _Unpickler(stream, storage).load()  # says which storages there are; they stand behind it
        for key in _Unpickler(stream, storage).load():
            flat = storages[key]
            count = int.from_bytes(stream.read(8), "little")
            if count != flat.numel():
                raise ValueError(f"storage {key} holds {count} values, not {flat.numel()}")
            if count:
                flat.copy_(_flat(bytearray(stream.read(count * flat.dtype.itemsize)), flat.dtype, count))
        stream.seek(start)
        return _Unpickler(stream, storage).load()


class _Unpickler(pickle.Unpickler):
    """storage: (dtype or Reference, key, number of values, view) -> flat tensor."""

    def __init__(self, stream: Any, storage: Callable[[Any, str, int, Any], Tensor]) -> None:
        super().__init__(stream, encoding="utf-8")
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module in ("torch", "torch.storage") and name in DTYPES:
            return type(name, (_StorageKind,), {"dtype": DTYPES[name]})
        return type("Reference", (Reference,), {"name": f"{module}.{name}"})

    def persistent_load(self, saved: Any) -> Any:
        match saved:
            case ("storage", kind, str(key), _, int(count), *view):
                return self._storage(kind, key, count, view[0] if view else None)
            case ("module", kind, *_):  # a network pickled whole, with its source text
                return kind
            case _:
                raise ValueError(f"unknown kind of persistent object {str(saved)[:60]}")


class _StorageKind(Reference):
    dtype: torch.dtype


def _dtype(kind: Any) -> torch.dtype:
    if isinstance(kind, type) and issubclass(kind, _StorageKind):
        return kind.dtype
    raise ValueError(f"storage of an unknown kind {getattr(kind, 'name', kind)}")


def _flat(content: bytearray, dtype: torch.dtype, count: int) -> Tensor:
    if len(content) != count * dtype.itemsize:
        raise ValueError(f"a storage of {count} values has {len(content)} bytes")
    return torch.frombuffer(content, dtype=dtype) if count else torch.zeros(0, dtype=dtype)


def _tensor(flat: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> Tensor:
    """A tensor of its own; torch refuses shapes that reach beyond the storage."""
    view = torch.as_strided(flat, tuple(shape), tuple(strides), offset)
    if view.numel() > max(1, flat.numel()):
        raise ValueError(f"a tensor of shape {list(shape)} repeats its storage")
    return view.clone()


def _parameter(tensor: Tensor, *_: Any) -> Tensor:
    return tensor


def _encoded(text: str, _: str) -> bytes:
    return text.encode("latin1")  # bytes as protocol 2 writes them


def _reconstructed(kind: Any, *_: Any) -> Any:
    """copyreg._reconstructor: an object of a class, its state follows."""
    return kind() if isinstance(kind, type) and issubclass(kind, Reference) else Reference()


_KNOWN: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): lambda *_: defaultdict(lambda: None),
    ("torch", "Size"): tuple,
    ("_codecs", "encode"): _encoded,
    ("copyreg", "_reconstructor"): _reconstructed,
    ("copy_reg", "_reconstructor"): _reconstructed,
} | {
    (module, kind.__name__): kind
    for module in ("builtins", "__builtin__")
    for kind in (set, frozenset, list, dict, tuple, int, float)
}
