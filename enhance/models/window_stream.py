"""Generators that see everything at once (recurrence both ways, attention): long recordings in overlapping windows.

The windows and their cross-fade are part of the model: a whole file and a stream are cut at the same places, so they
are equal, and memory does not grow with the recording.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from enhance.models.generator import Generator, Stream


class WindowGenerator(Generator):
    """window: samples that the network sees at once.  overlap: samples that two windows share, cross-faded.

    floor: where set, the network sees the recording at unit level: divided by floor + its root mean square.
    Training segments are not cut.
    """

    window: int = 163840
    overlap: int = 16384
    floor: float | None = None

    @property
    def levelled(self) -> bool:
        """Whether `floor` is set."""
        return self.floor is not None

    @property
    def latency(self) -> float:
        """Seconds: a window, and the sample that shows that it is not the last."""
        return (self.window + 1) / self.sample_rate

    @abstractmethod
    def net(self, samples: Tensor) -> Tensor:
        """The network itself: [batch, samples] -> [batch, samples], any number of samples from 1 on."""

    def forward(self, noisy: Tensor) -> Tensor:
        """[batch, samples] -> [batch, samples]."""
        level = noisy.square().mean(-1, keepdim=True).sqrt()
        scale = torch.ones_like(level) if self.floor is None else level + self.floor
        if self.training or noisy.shape[-1] <= self.window:
            return self.net(noisy / scale) * scale
        pieces, tail = [], None
        for window, last in self._windows(noisy / scale):
            ready, tail = cross_faded(self.net(window), tail, 0 if last else self.overlap)
            pieces.append(ready)
        return torch.cat(pieces, dim=-1) * scale

    def _windows(self, samples: Tensor) -> Iterator[tuple[Tensor, bool]]:
        """Each window, and whether it is the last; that one may be shorter, but is longer than the overlap."""
        start, count = 0, samples.shape[-1]
        while True:
            last = start + self.window >= count
            yield samples[..., start : start + self.window], last
            if last:
                return
            start += self.window - self.overlap

    def open_stream(self, level: float) -> Stream:
        """A stream that holds back a window at most."""
        return WindowStream(self, 1.0 if self.floor is None else level + self.floor)


def cross_faded(enhanced: Tensor, before: Tensor | None, overlap: int) -> tuple[Tensor, Tensor]:
    """What is ready of a window, and its last `overlap` samples, which wait for the next window.

    enhanced: [..., samples].  before: what the window before it left waiting, or None.
    """
    if before is not None:
        rise = (torch.arange(before.shape[-1], device=enhanced.device, dtype=enhanced.dtype) + 0.5) / before.shape[-1]
        shared = before + (enhanced[..., : before.shape[-1]] - before) * rise
        enhanced = torch.cat([shared, enhanced[..., before.shape[-1] :]], dim=-1)
    ready = enhanced.shape[-1] - overlap
    return enhanced[..., :ready], enhanced[..., ready:]


class WindowStream(Stream):
    """A window is enhanced once a sample behind it is known, the rest at the end."""

    def __init__(self, model: WindowGenerator, scale: float = 1.0, back: float | None = None) -> None:
        self.model, self.scale = model, scale
        self.back = scale if back is None else back  # factor of the output
        self.held = torch.zeros(0, device=next(model.parameters()).device)  # scaled samples from the window's start on
        self.tail: Tensor | None = None

    def push(self, samples: Tensor) -> Tensor:
        """[samples] -> [ready]."""
        self.held = torch.cat([self.held, samples.to(self.held) / self.scale])
        ready = [self.held[:0]]
        while self.held.shape[0] > self.model.window:
            ready.append(self._window(self.held[: self.model.window], self.model.overlap))
            self.held = self.held[self.model.window - self.model.overlap :]
        return torch.cat(ready)

    def finish(self) -> Tensor:
        """The rest of the recording."""
        return self._window(self.held, 0) if self.held.shape[0] else self.held

    def _window(self, samples: Tensor, overlap: int) -> Tensor:
        out, self.tail = cross_faded(self.model.net(samples[None])[0], self.tail, overlap)
        return out * self.back
