"""How the weights of TensorFlow's SEGAN start."""

from __future__ import annotations

from torch import nn


def truncated_normal(module: nn.Module) -> None:
    """For Module.apply: convolutions start as N(0, 0.02), nothing beyond two deviations; biases as 0."""
    if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
        nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
