"""Log-mel energies as Kaldi's compute-fbank-feats computes them, differentiable: what a recogniser will see.

16-bit scale, 25 ms Povey windows every 10 ms, pre-emphasis 0.97, no DC, power spectrum, triangular mel bands from
20 Hz to the Nyquist frequency.  Differs: instead of dither, the power that noise of `dither` would add is added, so
silence has the same floor each time; snip-edges is true.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

FULL_SCALE = 32768.0  # 16-bit samples per unit


class LogMel(nn.Module):
    """[batch, samples] in [-1, 1] -> [batch, frames, bands], natural logarithm.

    dither: root mean square of the floor in 16-bit steps; 0 for none (then Kaldi's own floor, 1.2e-7).
    """

    window: Tensor
    matrix: Tensor
    floor: Tensor

    def __init__(self, *, sample_rate: int = 16000, bands: int = 40, dither: float = 1.0) -> None:
        super().__init__()
        self.length, self.hop = sample_rate * 25 // 1000, sample_rate // 100
        self.size = 2 ** math.ceil(math.log2(self.length))
        place = torch.arange(self.length, dtype=torch.float64)
        window = (0.5 - 0.5 * torch.cos(2 * math.pi * place / (self.length - 1))).pow(0.85)  # Povey's
        angle = torch.arange(self.size // 2 + 1, dtype=torch.float64) * 2 * math.pi / self.size
        emphasis = 1 + 0.97**2 - 2 * 0.97 * torch.cos(angle)
        floor = dither**2 * window.square().sum() * emphasis
        matrix = mel_matrix(self.size, bands, sample_rate)
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("matrix", matrix.float(), persistent=False)
        self.register_buffer("floor", floor.float(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        if samples.shape[-1] < self.length:
            raise ValueError(f"samples must be at least {self.length} long, got {samples.shape[-1]}")
        frames = (samples * FULL_SCALE).unfold(-1, self.length, self.hop)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
        spectrum = torch.fft.rfft((frames - 0.97 * before) * self.window, self.size)
        power = spectrum.real.square() + spectrum.imag.square() + self.floor
        energies: Tensor = (power @ self.matrix).clamp(min=torch.finfo(torch.float32).eps).log()
        return energies


def mel_matrix(size: int, bands: int, sample_rate: int, low: float = 20.0) -> Tensor:
    """Kaldi's triangular mel bands [size / 2 + 1, bands], float64; equal widths on its mel scale."""
    hertz = torch.arange(size // 2 + 1, dtype=torch.float64) * sample_rate / size
    mel = 1127.0 * torch.log1p(hertz / 700.0)
    bottom, top = 1127.0 * math.log1p(low / 700.0), 1127.0 * math.log1p(sample_rate / 2 / 700.0)
    width = (top - bottom) / (bands + 1)
    left = bottom + width * torch.arange(bands, dtype=torch.float64)
    place = (mel[:, None] - left) / width
    matrix = torch.minimum(place, 2 - place).clamp(min=0)
    matrix[-1] = 0  # Kaldi leaves the Nyquist bin out
    return matrix
