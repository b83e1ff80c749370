"""Short-time spectrum whose frames depend on two hops of signal only: sample-exact, and the same in blocks as at once.

Frame t covers hops t-1 and t, so hop j is rebuilt from frames j and j+1.  The window is the square root of a periodic
Hann window, applied twice, whose squares add to one: analysis followed by synthesis is the identity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Spectrum(nn.Module):
    """Analysis and synthesis with windows of two hops.

    hop: samples.  A signal of n samples has ceil(n / hop) + 1 frames of hop + 1 bins.
    """

    window: Tensor

    def __init__(self, hop: int) -> None:
        super().__init__()
        self.hop = hop
        self.register_buffer("window", torch.hann_window(2 * hop).sqrt(), persistent=False)

    def hops(self, samples: Tensor) -> Tensor:
        """[batch, samples] -> [batch, ceil(samples / hop), hop], the last hop filled up with zeros."""
        short = -samples.shape[-1] % self.hop
        return nn.functional.pad(samples, (0, short)).view(samples.shape[0], -1, self.hop)

    def of_hops(self, hops: Tensor) -> Tensor:
        """[batch, hops, hop] -> complex [batch, hops - 1, hop + 1]: the frames between neighbouring hops."""
        frames: Tensor = torch.fft.rfft(torch.cat([hops[:, :-1], hops[:, 1:]], dim=-1) * self.window)
        return frames

    def forward(self, samples: Tensor) -> Tensor:
        """[batch, samples] -> complex [batch, frames, bins]."""
        return self.of_hops(nn.functional.pad(self.hops(samples), (0, 0, 1, 1)))

    def halves(self, spectrum: Tensor) -> tuple[Tensor, Tensor]:
        """Complex [batch, frames, bins] -> the first and the second windowed hop of each frame."""
        frames = torch.fft.irfft(spectrum, n=2 * self.hop) * self.window
        return frames[..., : self.hop], frames[..., self.hop :]

    def inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        """Complex [batch, frames, bins] -> [batch, samples]."""
        first, second = self.halves(spectrum)
        return (second[:, :-1] + first[:, 1:]).flatten(1)[:, :samples]
