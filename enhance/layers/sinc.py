"""A first layer of band-pass filters of which only the two edges are learnt, with nine windows to cut them.

Paper: Ravanelli and Bengio 2018 (arXiv:1808.00158).  Windows: generalised cosines with the coefficients of Nuttall 1981
and Harris 1978 (and a triangle), symmetric.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

WindowName = Literal[
    "rectangular", "triangular", "hann", "hamming", "blackman", "nuttall", "blackman_nuttall", "blackman_harris",
    "flat_top",
]  # fmt: skip
COSINES = {
    "rectangular": (1.0,),
    "hann": (0.5, 0.5),
    "hamming": (0.54, 0.46),
    "blackman": (0.42, 0.5, 0.08),
    "nuttall": (0.355768, 0.487396, 0.144232, 0.012604),  # its first derivative is continuous
    "blackman_nuttall": (0.3635819, 0.4891775, 0.1365995, 0.0106411),
    "blackman_harris": (0.35875, 0.48829, 0.14128, 0.01168),
    "flat_top": (0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368),
}
LEAST_HERTZ = 50.0  # of a filter's lower edge, and of its band


def window(name: str, width: int) -> Tensor:
    """Symmetric window [width], float64: sum over k of (-1)^k a_k cos(2 pi k n / (width - 1)), or the triangle."""
    place = torch.arange(width, dtype=torch.float64)
    if name == "triangular":
        return 1 - (2 * place - (width - 1)).abs() / (width + width % 2)
    if name not in COSINES:
        raise ValueError(f"window must be triangular, {', '.join(COSINES)}, got {name!r}")
    angle = 2 * math.pi * place / max(1, width - 1)
    terms = [(-1) ** k * factor * torch.cos(k * angle) for k, factor in enumerate(COSINES[name])]
    return torch.stack(terms).sum(0)


class SincConv(nn.Module):
    """[batch, channels, samples] -> [batch, channels * filters, samples / stride]: the same filters on every channel.

    width: taps, odd.  The edges start equally spaced on the mel scale; a lower edge is at least LEAST_HERTZ, so is a
    band, and an upper edge at most the Nyquist frequency.
    """

    taper: Tensor

    def __init__(self, filters: int, width: int, stride: int, *, sample_rate: int, window_name: str) -> None:
        super().__init__()
        if width % 2 == 0:
            raise ValueError(f"width must be odd, got {width}")
        self.width, self.stride, self.sample_rate = width, stride, sample_rate
        edges = _mel_edges(filters, sample_rate)
        self.low = nn.Parameter(edges[:-1] - LEAST_HERTZ)  # Hz above the least
        self.band = nn.Parameter((edges[1:] - edges[:-1] - LEAST_HERTZ).clamp(min=0))  # Hz above the least
        self.register_buffer("taper", window(window_name, width).float(), persistent=False)

    def edges(self) -> tuple[Tensor, Tensor]:
        """Lower and upper edges in Hz, [filters] each."""
        low = LEAST_HERTZ + self.low.abs()
        return low, (low + LEAST_HERTZ + self.band.abs()).clamp(max=self.sample_rate / 2)

    def taps(self) -> Tensor:
        """[filters, width]: the difference of two low-passes, its ideal gain at the centre tap one, windowed."""
        low, high = self.edges()
        place = torch.arange(self.width, device=low.device) - self.width // 2

        def low_pass(edge: Tensor) -> Tensor:
            cut = 2 * edge[:, None] / self.sample_rate
            return cut * torch.sinc(cut * place)

        band = 2 * (high - low)[:, None].clamp(min=1.0) / self.sample_rate
        return (low_pass(high) - low_pass(low)) / band * self.taper

    def forward(self, samples: Tensor) -> Tensor:
        batch, channels, count = samples.shape
        flat = nn.functional.pad(samples.reshape(batch * channels, 1, count), (self.width // 2, self.width // 2))
        out = nn.functional.conv1d(flat, self.taps()[:, None], stride=self.stride)
        return out.view(batch, -1, out.shape[-1])


def _mel_edges(filters: int, sample_rate: int) -> Tensor:
    """[filters + 1] Hz from LEAST_HERTZ to just below the Nyquist frequency, equally spaced in mel."""
    top = sample_rate / 2 - LEAST_HERTZ
    mels = torch.linspace(2595 * math.log10(1 + LEAST_HERTZ / 700), 2595 * math.log10(1 + top / 700), filters + 1)
    return 700 * (10 ** (mels / 2595) - 1)
