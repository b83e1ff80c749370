"""Self-attention within a bounded stretch of frames, so that a block with context gives what the whole gives.

After SASEGAN (Phan et al. 2020, arXiv:2010.09132) and SAGAN (arXiv:1805.08318): queries, keys and values of an eighth
of the channels, a learnt factor that starts at zero.  Differs: a frame sees `span` frames each way instead of the
whole window, keys are not pooled, and scores are divided by the root of their width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

REDUCTION = 8  # channels to one of queries, keys and values


class LocalAttention(nn.Module):
    """[batch, channels, frames] -> the same shape: what is attended to, added to the input.

    span: frames that a frame sees on each side.
    """

    def __init__(self, channels: int, span: int) -> None:
        super().__init__()
        self.span, inner = span, max(1, channels // REDUCTION)
        self.query = nn.Conv1d(channels, inner, 1, bias=False)
        self.key = nn.Conv1d(channels, inner, 1, bias=False)
        self.value = nn.Conv1d(channels, inner, 1, bias=False)
        self.out = nn.Conv1d(inner, channels, 1, bias=False)
        self.strength = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor) -> Tensor:
        """Blocks of `span` frames attend to themselves and to their neighbours, within the span."""
        frames, span = hidden.shape[-1], self.span
        query = _blocks(self.query(hidden), span)  # [batch, blocks, span, inner]
        keys, values = (_with_neighbours(_blocks(part, span)) for part in (self.key(hidden), self.value(hidden)))
        scores = query @ keys.transpose(-1, -2) / math.sqrt(query.shape[-1])  # [batch, blocks, span, 3 span]
        scores = scores.masked_fill(~self._visible(frames, hidden.device), -torch.inf)
        attended = (scores.softmax(-1) @ values).flatten(1, 2)[:, :frames].transpose(1, 2)
        added: Tensor = self.out(attended)
        return hidden + self.strength * added

    def _visible(self, frames: int, device: torch.device) -> Tensor:
        """Which key a query may see: [blocks, span, 3 span], at most `span` frames off and inside the recording."""
        blocks = -(-frames // self.span)
        start = torch.arange(blocks, device=device)[:, None, None] * self.span
        query = torch.arange(self.span, device=device)[:, None]
        key = torch.arange(3 * self.span, device=device)[None] - self.span
        inside = (start + key >= 0) & (start + key < frames)
        filled = start + query >= frames  # queries of padding see anything, so that none sees nothing
        return (inside & ((query - key).abs() <= self.span)) | filled


class AttentionAtLevels(nn.ModuleDict):
    """Self-attention at chosen levels of an encoder ("encoder3") and, above the deepest, of its decoder ("decoder3").

    levels: 1 is the first, whose frames are `stride` samples apart.  span: samples each way.
    channels: of each level.
    """

    def __init__(self, levels: Sequence[int], span: int, channels: Sequence[int], stride: int) -> None:
        super().__init__()
        for level in levels:
            for way in ("encoder", "decoder") if level < len(channels) else ("encoder",):
                self[f"{way}{level}"] = LocalAttention(channels[level - 1], span // stride**level)
        self.reach = len(self) * span  # samples each way that all of them together see

    def forward(self, place: str, hidden: Tensor) -> Tensor:
        """[batch, channels, frames] -> the same shape; as it is where the place has no attention."""
        out: Tensor = self[place](hidden) if place in self else hidden
        return out


def check_levels(levels: Sequence[int], span: int, deepest: int, stride: int) -> None:
    """Raises ValueError if a level is not there, or if its span is less than one frame."""
    for level in levels:
        if not 1 <= level <= deepest:
            raise ValueError(f"attention names levels from 1 to {deepest}, got {level}")
        if span < stride**level:
            raise ValueError(f"attention_span must be a frame of level {level} or more, got {span}")


def _blocks(hidden: Tensor, span: int) -> Tensor:
    """[batch, inner, frames] -> [batch, blocks, span, inner], the last block filled up with zeros."""
    padded = nn.functional.pad(hidden, (0, -hidden.shape[-1] % span)).transpose(1, 2)
    return padded.reshape(hidden.shape[0], -1, span, hidden.shape[1])


def _with_neighbours(blocks: Tensor) -> Tensor:
    """[batch, blocks, span, inner] -> [batch, blocks, 3 span, inner]: the block before, itself, the one behind."""
    padded = nn.functional.pad(blocks, (0, 0, 0, 0, 1, 1))
    return torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], dim=2)
