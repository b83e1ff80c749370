"""A lower sample rate by a whole factor, differentiable and without delay: for nets that hear 16 kHz only."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

ZEROS = 48  # zero crossings of the sinc on each side
BETA = 10.0  # of the Kaiser window: aliases about 100 dB down
ROLLOFF = 0.96  # cut-off, share of the new Nyquist frequency


class Decimate(nn.Module):
    """[batch, samples] -> [batch, ceil(samples / factor)]; sample n of the result stands at sample n * factor.

    The filter is symmetric about its sample, so nothing is shifted; silence is assumed beyond the ends.
    """

    kernel: Tensor

    def __init__(self, factor: int) -> None:
        super().__init__()
        if factor < 1:
            raise ValueError(f"factor must be positive, got {factor}")
        self.factor = factor
        self.register_buffer("kernel", low_pass(factor)[None, None], persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        if self.factor == 1:
            return samples
        half = self.kernel.shape[-1] // 2
        filtered: Tensor = nn.functional.conv1d(
            nn.functional.pad(samples[:, None], (half, half)), self.kernel, stride=self.factor
        )
        return filtered[:, 0]


def low_pass(factor: int) -> Tensor:
    """A Kaiser-windowed sinc of odd length whose taps add to one."""
    half = ZEROS * factor
    place = torch.arange(-half, half + 1, dtype=torch.float64, device="cpu")
    window = torch.kaiser_window(2 * half + 1, periodic=False, beta=BETA, dtype=torch.float64, device="cpu")
    taps = torch.sinc(place * ROLLOFF / factor) * window
    return (taps / taps.sum()).float()


def factor_to(sample_rate: int, wanted: int = 16000) -> int:
    """How many samples of sample_rate one sample of `wanted` stands for.  Raises ValueError if not a whole number."""
    if sample_rate % wanted:
        raise ValueError(f"sample_rate must be a multiple of {wanted}, got {sample_rate}")
    return math.floor(sample_rate / wanted)
