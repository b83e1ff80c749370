"""Mixed precision: a net's own arithmetic in bfloat16 or float16, its results (and so the losses) in float32."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn


def compute_in(module: nn.Module, device: str, precision: str) -> None:
    """From now on the module's forward runs under autocast of that precision; float32 changes nothing.

    Autocast itself leaves to float32 what needs it (Fourier transforms, sums, logarithms).
    """
    match precision:
        case "float32":
            return
        case "bfloat16" | "float16":
            kind = {"bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
        case _:
            raise ValueError(f"precision must be float32, bfloat16 or float16, got {precision!r}")
    plain = module.forward
    device_type = torch.device(device).type

    def forward(*inputs: Any, **named: Any) -> Any:
        with torch.autocast(device_type, kind):
            result = plain(*inputs, **named)
        return _in_float32(result)

    module.forward = forward


def _in_float32(result: Any) -> Any:
    """Tensors, lists of them, and dataclasses of these (a critic's Opinion)."""
    if isinstance(result, Tensor):
        return result.float()
    if isinstance(result, (list, tuple)):
        return type(result)(_in_float32(item) for item in result)
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        fields = dataclasses.fields(result)
        return dataclasses.replace(result, **{field.name: _in_float32(getattr(result, field.name)) for field in fields})
    return result
