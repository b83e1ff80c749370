"""Mixed precision: the layers that multiply matrices compute in bfloat16 or float16, everything between in float32.

Layer by layer, not the whole net under autocast: spectra, masks and levels between layers then keep their precision
(torch has no complex bfloat16), and losses see float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

LAYERS = (_ConvNd, nn.Linear, nn.RNNBase)


def compute_in(net: nn.Module, device: str, precision: str) -> None:
    """From now on the net's convolutions, linear and recurrent layers run in that precision; float32 changes nothing.

    Weights, their gradients and what a layer returns stay float32.
    """
    match precision:
        case "float32":
            return
        case "bfloat16":
            kind = torch.bfloat16
        case "float16":
            kind = torch.float16
        case _:
            raise ValueError(f"precision must be float32, bfloat16 or float16, got {precision!r}")
    for layer in net.modules():
        if isinstance(layer, LAYERS):
            _compute_layer_in(layer, torch.device(device).type, kind)


def _compute_layer_in(layer: nn.Module, device_type: str, kind: torch.dtype) -> None:
    plain = layer.forward

    def forward(*inputs: Any, **named: Any) -> Any:
        with torch.autocast(device_type, kind):
            result = plain(*inputs, **named)
        return _in_float32(result)

    layer.forward = forward


def _in_float32(result: Any) -> Any:
    """A tensor, or a recurrent layer's tuples of them."""
    if isinstance(result, Tensor):
        return result.float()
    return tuple(_in_float32(item) for item in result)
