"""The short-time Fourier transform with its real and imaginary parts apart, and its inverse; a Hann window.

A module of its own, so that a graph without complex numbers may put cosines and sines in its place (enhance/export.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ShortTime(nn.Module):
    """size: samples of the window and of the transform.  hop: samples from frame to frame."""

    window: Tensor

    def __init__(self, size: int, hop: int) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.register_buffer("window", torch.hann_window(size, device="cpu"), persistent=False)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """[rows, samples] -> two of [rows, size / 2 + 1, frames]: of all frames that lie within the samples."""
        values = torch.stft(rows, self.size, self.hop, window=self.window, center=False, return_complex=True)
        return values.real, values.imag

    def inverse(self, real: Tensor, imag: Tensor, samples: int) -> Tensor:
        """Two of [rows, size / 2 + 1, frames] -> [rows, samples], where frame 0 is centred on sample 0."""
        values = torch.complex(real, imag)
        return torch.istft(values, self.size, self.hop, window=self.window, length=samples)
