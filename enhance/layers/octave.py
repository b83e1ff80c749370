"""Octave convolution: a share of the channels is slow, at half the frame rate, with paths from and to the rest.

Paper: Chen et al. 2019 (arXiv:1904.05049), here over time and with strides.  Slow channels stand last and are handed on
at the full rate, each value twice, so that activations, factors and sums need not know of them; the mean of the two
gives them back unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from enhance.layers.strided import Down, Up


def slow_channels(channels: int, share: float) -> int:
    """How many of the channels are slow; at least one stays fast."""
    return min(channels - 1, round(channels * share))


class Octave(nn.Module):
    """[batch, channels in, frames] -> [batch, fast + slow, frames / stride], or frames * stride if `up`.

    parts: (fast, slow) channels of each tensor that the input is concatenated of.  out: (fast, slow) of the output.
    stride: even, as must be the frames that slow channels come with.  lead, mirror: padding of the way down.
    """

    order: Tensor

    def __init__(
        self, parts: Sequence[tuple[int, int]], out: tuple[int, int], width: int, stride: int, *, up: bool,
        lead: int | None = None, mirror: bool = False, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.up, self.fast_in = up, sum(fast for fast, _ in parts)
        self.register_buffer("order", torch.tensor(_fast_first(parts)), persistent=False)

        def path(few: int, many: int, stride: int, bias: bool) -> nn.Module | None:
            if not few or not many:
                return None
            if up:
                return Up(few, many, width, stride, bias=bias)
            return Down(few, many, width, stride, lead=lead, mirror=mirror, bias=bias)

        slow_in, (fast, slow) = sum(slow for _, slow in parts), out
        self.fast_to_fast = path(self.fast_in, fast, stride, bias)
        self.fast_to_slow = path(self.fast_in, slow, stride // 2 if up else stride, bias)
        self.slow_to_fast = path(slow_in, fast, stride if up else stride // 2, False)
        self.slow_to_slow = path(slow_in, slow, stride, False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Rates, of the input's: down, fast 1/stride and slow 1/(2 stride); up, fast stride and slow stride/2."""
        hidden = hidden[:, self.order]
        fast, slow = hidden[:, : self.fast_in], _halved(hidden[:, self.fast_in :])
        to_fast, to_slow = [], []
        if self.fast_to_fast is not None:
            to_fast.append(self.fast_to_fast(fast))
        if self.slow_to_fast is not None:
            to_fast.append(_doubled(self.slow_to_fast(slow)) if self.up else self.slow_to_fast(slow))
        if self.fast_to_slow is not None:
            to_slow.append(_doubled(self.fast_to_slow(fast if self.up else _halved(fast))))
        if self.slow_to_slow is not None:
            to_slow.append(_doubled(self.slow_to_slow(slow)))
        return torch.cat([sum(paths[1:], paths[0]) for paths in (to_fast, to_slow) if paths], dim=1)


def _fast_first(parts: Sequence[tuple[int, int]]) -> list[int]:
    """Where the fast channels of all parts stand, then the slow ones."""
    fasts: list[int] = []
    slows: list[int] = []
    start = 0
    for fast, slow in parts:
        fasts += range(start, start + fast)
        slows += range(start + fast, start + fast + slow)
        start += fast + slow
    return fasts + slows


def _halved(hidden: Tensor) -> Tensor:
    """Means of neighbouring frames."""
    return nn.functional.avg_pool1d(hidden, 2) if hidden.shape[1] else hidden


def _doubled(hidden: Tensor) -> Tensor:
    return hidden.repeat_interleave(2, dim=-1)
