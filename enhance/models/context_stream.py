"""Generators that see a bounded stretch of signal: a block with context on both sides gives what the whole gives."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from enhance.layers.emphasis import de_emphasis, pre_emphasis
from enhance.models.generator import Generator, Stream


class ContextGenerator(Generator):
    """A network in the pre-emphasised domain whose output depends on `context` samples either way.

    alignment: samples that a frame of the deepest layer stands for; blocks start at multiples of it.
    context: samples on each side that a block needs, a multiple of alignment; behind it `lookahead`, if that is less.
    emphasis: of the filter before the network, undone after it; 0 for none.
    floor: where set, the network sees the signal at unit level: divided by floor + its root mean square.
    """

    emphasis: float = 0.0
    floor: float | None = None

    @property
    @abstractmethod
    def alignment(self) -> int: ...

    @property
    @abstractmethod
    def context(self) -> int: ...

    @property
    def lookahead(self) -> int:
        """Samples behind a block that it needs."""
        return self.context

    @property
    def levelled(self) -> bool:
        """Whether `floor` is set."""
        return self.floor is not None

    @property
    def latency(self) -> float:
        """Seconds: one deepest frame and what it needs behind it."""
        return (self.alignment + self.lookahead) / self.sample_rate

    @abstractmethod
    def raw(self, samples: Tensor, frame: int) -> Tensor:
        """The network itself: [batch, samples] -> [batch, samples]; frame: the place of the first deepest frame."""

    def forward(self, noisy: Tensor) -> Tensor:
        """[batch, samples] -> [batch, samples]."""
        scale = self._scale(noisy.square().mean(-1, keepdim=True).sqrt())
        return de_emphasis(self.raw(pre_emphasis(noisy / scale, self.emphasis), 0), self.emphasis) * scale

    def open_stream(self, level: float) -> Stream:
        """A stream that holds back `lookahead` samples."""
        return ContextStream(self, float(self._scale(torch.tensor(level))))

    def _scale(self, level: Tensor) -> Tensor:
        return torch.ones_like(level) if self.floor is None else level + self.floor


class ContextStream(Stream):
    """Blocks of whole deepest frames, with context on both sides."""

    def __init__(self, model: ContextGenerator, scale: float = 1.0) -> None:
        self.model, self.scale = model, scale
        device = next(model.parameters()).device
        self.held = torch.zeros(0, device=device)  # scaled, pre-emphasised samples, from `first` on
        self.first = self.given = self.taken = 0  # places in the recording
        self.last_in = self.last_out = torch.zeros(1, device=device)  # memory of the emphasis filters

    def push(self, samples: Tensor) -> Tensor:
        """[samples] -> [ready]."""
        if not samples.shape[0]:
            return samples
        samples = samples.to(self.held) / self.scale
        before = torch.cat([self.last_in, samples[:-1]])
        self.last_in = samples[-1:]
        self.held = torch.cat([self.held, samples - self.model.emphasis * before])
        self.taken += samples.shape[0]
        alignment = self.model.alignment
        return self._ready((self.taken - self.model.lookahead) // alignment * alignment)

    def finish(self) -> Tensor:
        """The rest of the recording."""
        return self._ready(self.taken)

    def _ready(self, last: int) -> Tensor:
        """Samples up to place `last`, or none if they are out already."""
        if last <= self.given:
            return self.held[:0]
        alignment, context = self.model.alignment, self.model.context
        until = min(self.taken, last + self.model.lookahead)
        block = self.held[None, : until - self.first]
        enhanced = self.model.raw(block, self.first // alignment)[0, self.given - self.first : last - self.first]
        out = de_emphasis(enhanced[None], self.model.emphasis, self.last_out)[0]
        self.last_out, self.given = out[-1:], last
        keep = max(0, (last - context) // alignment * alignment)
        self.held, self.first = self.held[keep - self.first :], keep
        return out * self.scale
