"""Log-mel spectrogram as HiFi-GAN's generator and loss see it: Slaney's bands, magnitudes, natural logarithm.

Paper: Kong et al. 2020 (arXiv:2010.05646); bands of Slaney's Auditory Toolbox (1998): linear to 1 kHz, above it
logarithmic, each with area one.  Frame t is centred on the middle of hop t: the signal is reflected by (size - hop) / 2
samples at both ends.  Differs: the last hop is filled up with zeros, and recordings too short to be reflected are
lengthened with zeros.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from enhance.layers.filled import parts_of
from enhance.layers.short_time import ShortTime

KNEE = 1000.0  # Hz, where Slaney's scale turns from linear to logarithmic
HERTZ_A_MEL = 200.0 / 3  # below the knee
LOG_STEP = math.log(6.4) / 27  # above the knee: 27 mels for a factor of 6.4


class MelSpectrogram(nn.Module):
    """[batch, samples] in [-1, 1] -> [batch, bands, ceil(samples / hop)].

    size: samples of the Hann window and of the transform.  high: upper edge in Hz; None for the Nyquist frequency.
    """

    matrix: Tensor  # [bins, bands]

    def __init__(
        self, *, sample_rate: int = 16000, size: int = 1024, hop: int = 256, bands: int = 80, low: float = 0.0,
        high: float | None = 8000.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 < hop <= size:
            raise ValueError(f"hop must lie in (0, {size}], the size of the window, got {hop}")
        self.size, self.hop = size, hop
        matrix = slaney_matrix(size, bands, sample_rate, low, sample_rate / 2 if high is None else high)
        self.transform = ShortTime(size, hop)
        self.register_buffer("matrix", matrix.float(), persistent=False)

    @property
    def reach(self) -> int:
        """Hops on each side of a hop's own that its frame covers, in whole or in part."""
        return math.ceil((self.size - self.hop) / 2 / self.hop)

    def forward(self, samples: Tensor) -> Tensor:
        frames = parts_of(samples.shape[-1], self.hop)
        before = (self.size - self.hop) // 2
        after = self.size - self.hop - before
        hops = max(frames, after // self.hop + 1)  # what can be reflected must be longer than the reflection
        samples = nn.functional.pad(samples, (0, hops * self.hop - samples.shape[-1]))
        samples = nn.functional.pad(samples[:, None], (before, after), mode="reflect")[:, 0]
        real, imag = self.transform(samples)
        magnitudes = (real.square() + imag.square() + 1e-9).sqrt()
        energies: Tensor = (self.matrix.T @ magnitudes)[..., :frames].clamp(min=1e-5).log()
        return energies


def mel_of(hertz: Tensor) -> Tensor:
    """Slaney's mel scale."""
    above = KNEE / HERTZ_A_MEL + (hertz.clamp(min=KNEE) / KNEE).log() / LOG_STEP
    return torch.where(hertz < KNEE, hertz / HERTZ_A_MEL, above)


def hertz_of(mel: Tensor) -> Tensor:
    """The inverse of mel_of."""
    knee = KNEE / HERTZ_A_MEL
    above = KNEE * ((mel.clamp(min=knee) - knee) * LOG_STEP).exp()
    return torch.where(mel < knee, mel * HERTZ_A_MEL, above)


def slaney_matrix(size: int, bands: int, sample_rate: int, low: float, high: float) -> Tensor:
    """Triangular bands [size / 2 + 1, bands], float64, equally spaced on Slaney's scale, each of area 1 (over Hz).

    Raises ValueError if a band has no bin of the transform inside.
    """
    if not 0 <= low < high <= sample_rate / 2:
        raise ValueError(f"low and high must rise within [0, {sample_rate / 2:g}] Hz, got {low:g}, {high:g}")
    hertz = torch.arange(size // 2 + 1, dtype=torch.float64, device="cpu") * sample_rate / size
    ends = mel_of(torch.tensor([low, high], dtype=torch.float64, device="cpu"))
    edges = hertz_of(torch.linspace(float(ends[0]), float(ends[1]), bands + 2, dtype=torch.float64, device="cpu"))
    rising = (hertz[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz[:, None]) / (edges[2:] - edges[1:-1])
    triangles = torch.minimum(rising, falling).clamp(min=0) * 2 / (edges[2:] - edges[:-2])
    if bool((triangles.sum(0) == 0).any()):
        raise ValueError(f"{bands} bands are too many for a transform of {size} samples at {sample_rate} Hz")
    return triangles


def mel_to_linear(matrix: Tensor) -> Tensor:
    """Interpolation from bands back to bins [bins, bands]: straight lines between the bands' centres.

    matrix: [bins, bands] as slaney_matrix gives it.  A band's centre is taken where the next band begins, as HiFi++
    does; below the first and above the last centre the lines fall to zero.
    """
    inside = matrix > 0
    first = inside.double().argmax(0)
    end = int(inside[:, -1].nonzero()[-1]) + 1
    knots = torch.cat([first, first.new_tensor([end])]).double()
    bins = torch.arange(matrix.shape[0], dtype=torch.float64, device=matrix.device)[:, None]
    rising = (bins - knots[:-1]) / (knots[1:] - knots[:-1])
    after = torch.cat([knots[2:], knots[-1:] + 1])  # the last line falls at once
    falling = (after - bins) / (after - knots[1:])
    return torch.minimum(rising, falling).clamp(min=0).to(matrix.dtype)
