"""Twice and half the sample rate by a windowed sinc, at once and as a stream.

As in Demucs (Defossez et al. 2020, arXiv:2006.12847; Smith's ideal resampling): samples in between are sums over ZEROS
zero crossings of a sinc on each side under a Hann window; beyond the signal lies silence.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ZEROS = 56  # zero crossings on each side: samples of look-ahead at the lower rate


def half_sample_kernel() -> Tensor:
    """[2 ZEROS]: the value half a sample away from the two middle samples, as a sum over their neighbours."""
    offsets = torch.arange(-ZEROS, ZEROS, dtype=torch.float64) + 0.5  # samples
    window = torch.cos(torch.pi * offsets / (2 * ZEROS)).square()
    return (torch.sinc(offsets) * window).float()


def doubled(samples: Tensor) -> Tensor:
    """[..., samples] -> [..., 2 samples]: the samples, each followed by the value halfway to the next."""
    return _interleaved(samples, _half_way(nn.functional.pad(samples, (ZEROS - 1, ZEROS))))


def halved(samples: Tensor) -> Tensor:
    """[..., samples] -> [..., ceil(samples / 2)]: low-passed, every other sample."""
    samples = nn.functional.pad(samples, (0, samples.shape[-1] % 2))
    even, odd = samples[..., ::2], samples[..., 1::2]
    return (even + _half_way(nn.functional.pad(odd, (ZEROS, ZEROS - 1)))) / 2


def _half_way(samples: Tensor) -> Tensor:
    """[..., n + 2 ZEROS - 1] -> [..., n]: values between sample ZEROS - 1 and the next, and so on."""
    kernel = half_sample_kernel().to(samples)[None, None]
    rows = samples.reshape(-1, 1, samples.shape[-1])
    values: Tensor = nn.functional.conv1d(rows, kernel)
    return values.view(*samples.shape[:-1], -1)


def _interleaved(first: Tensor, second: Tensor) -> Tensor:
    return torch.stack([first, second], dim=-1).flatten(-2)


class Doubler:
    """`doubled` for [samples] that come in pieces; waits for ZEROS samples of look-ahead."""

    def __init__(self, like: Tensor) -> None:
        self.held = like.new_zeros(ZEROS - 1)  # the past that the next value needs, then what waits for its future

    def __call__(self, samples: Tensor, last: bool) -> Tensor:
        """[samples] -> [ready]; last: nothing but silence follows."""
        self.held = torch.cat([self.held, samples, samples.new_zeros(ZEROS if last else 0)])
        ready = max(0, self.held.shape[0] - 2 * ZEROS + 1)
        if not ready:
            return samples[:0]
        out = _interleaved(self.held[ZEROS - 1 : ZEROS - 1 + ready], _half_way(self.held))
        self.held = self.held[ready:]
        return out

    @staticmethod
    def needed(ready: int) -> int:
        """How many samples must have come for `ready` to come out."""
        return -(-ready // 2) + ZEROS


class Halver:
    """`halved` for [samples] that come in pieces; waits for ZEROS - 1 samples of the lower rate."""

    def __init__(self, like: Tensor) -> None:
        self.even, self.odd = like.new_zeros(0), like.new_zeros(ZEROS)
        self.single = like.new_zeros(0)  # a sample whose partner is to come

    def __call__(self, samples: Tensor, last: bool) -> Tensor:
        """[samples] -> [ready]; last: nothing but silence follows."""
        samples = torch.cat([self.single, samples])
        if last:
            samples = nn.functional.pad(samples, (0, samples.shape[0] % 2))
        whole = samples.shape[0] // 2 * 2
        self.single = samples[whole:]
        self.even = torch.cat([self.even, samples[:whole:2]])
        self.odd = torch.cat([self.odd, samples[1:whole:2], samples.new_zeros(ZEROS - 1 if last else 0)])
        ready = max(0, self.odd.shape[0] - 2 * ZEROS + 1)
        if not ready:
            return samples[:0]
        out = (self.even[:ready] + _half_way(self.odd)) / 2
        self.even, self.odd = self.even[ready:], self.odd[ready:]
        return out

    @staticmethod
    def given(taken: int) -> int:
        """How many samples are out once `taken` have come; below zero: how many are lacking to the first."""
        return taken // 2 - (ZEROS - 1)
