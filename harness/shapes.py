"""Shape checks at the door of a public function."""

from __future__ import annotations

from typing import Any


def expect_shape(array: Any, *dims: int | None, name: str) -> None:
    """Raise ValueError unless ``array`` has these dimensions; None stands for any size."""
    shape = tuple(array.shape)
    if len(shape) != len(dims) or any(want is not None and want != got for want, got in zip(dims, shape, strict=True)):
        wanted = ", ".join("any" if want is None else str(want) for want in dims)
        raise ValueError(f"{name} must be [{wanted}], got {list(shape)}")
