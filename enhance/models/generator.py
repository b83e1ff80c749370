"""What every generator promises: samples in, as many samples out, at once (training) or as a stream (denoising)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from torch import Tensor, nn


class Stream(ABC):
    """One recording on its way through a generator; blocks of any size go in, the same samples come out later.

    The samples of all pushes and of the finish, put together, equal the whole-file result.
    """

    @abstractmethod
    def push(self, samples: Tensor) -> Tensor:
        """[samples] of the recording's next block -> [ready], what can be said for certain now (may be empty)."""

    @abstractmethod
    def finish(self) -> Tensor:
        """The samples still held back; after it as many samples came out as went in."""


class Generator(nn.Module, ABC):
    """Noisy speech to clean speech at one sample rate.

    causal: whether no layer over frames looks ahead; a frame is then all that a stream waits for.
    """

    sample_rate: int = 16000
    causal: bool = False

    @property
    def levelled(self) -> bool:
        """Whether the network sees the signal at unit level, so that a stream must be told the recording's."""
        return True

    @property
    def latency(self) -> float:
        """Seconds of sound, its own included, that a stream must have before a sample comes out, at most.

        Algorithmic: frame and look-ahead, no time of processing.  Infinite where the whole recording is needed.
        """
        return math.inf

    def completed(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """What to start training from, given a trained generator of this kind: its weights, here as they are.

        A generator that grows adds its own where the smaller one has none.
        """
        return weights

    @abstractmethod
    def forward(self, noisy: Tensor) -> Tensor:
        """[batch, samples] -> [batch, samples], any number of samples from 1 on."""

    @abstractmethod
    def open_stream(self, level: float) -> Stream:
        """A stream for one recording.  level: its root mean square over all samples (1 = full scale)."""
