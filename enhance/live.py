"""Sound enhanced as it comes: blocks in, the samples that are ready out, nothing looked ahead but the model's latency.

A model that wants to know the level is told it, or follows the level of the sound so far: its input is divided by that,
its output multiplied by it again, sample by sample.
"""

from __future__ import annotations

import numpy as np
import scipy.signal
import torch

from enhance.models import Generator

START_SECONDS = 0.02  # the first samples wait for each other, so that a level exists
HORIZON_SECONDS = 30.0  # the mean forgets what is longer ago (exponentially)
LEAST_LEVEL = 1e-4  # root mean square below which the sound is not amplified any further (-80 dB)


class RunningLevel:
    """Root mean square of all samples so far, the sample itself included; of the last half minute in a long run.

    The samples of the first 20 ms after digital silence get the level of these 20 ms.  The level of a sample does not
    depend on how the sound was cut into blocks.
    """

    def __init__(self, sample_rate: int) -> None:
        self.start, self.horizon = round(START_SECONDS * sample_rate), round(HORIZON_SECONDS * sample_rate)
        self.held = np.zeros(0, np.float32)  # until the start is over
        self.mean, self.count = 0.0, 0  # of the squares, and of how many

    def push(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[samples] -> [ready] samples and their levels."""
        if self.count:
            return samples, self._levels(samples)
        self.held = np.concatenate([self.held, samples])
        sounding = np.flatnonzero(self.held)
        silent = sounding[0] if len(sounding) else len(self.held)
        if len(self.held) - silent < self.start:
            ready, self.held = self.held[:silent], self.held[silent:]
            return ready, np.full(len(ready), LEAST_LEVEL, np.float32)
        return self.finish()

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The samples held back, if any."""
        samples, self.held = self.held, self.held[:0]
        sounding = np.flatnonzero(samples)
        if not len(sounding):
            return samples, np.full(len(samples), LEAST_LEVEL, np.float32)
        silent = sounding[0]
        opening = samples[silent : silent + self.start]
        self.mean, self.count = float(np.square(opening, dtype=np.float64).mean()), len(opening)
        level = np.float32(max(LEAST_LEVEL, self.mean**0.5))
        levels = [np.full(silent, LEAST_LEVEL, np.float32), np.full(len(opening), level)]
        return samples, np.concatenate([*levels, self._levels(samples[silent + self.start :])])

    def _levels(self, samples: np.ndarray) -> np.ndarray:
        squares = np.square(samples, dtype=np.float64)
        growing, steady = np.split(squares, [max(0, self.horizon - self.count)])
        counts = self.count + 1 + np.arange(len(growing))
        means = (self.mean * self.count + np.cumsum(growing)) / counts
        if len(means):
            self.mean, self.count = float(means[-1]), int(counts[-1])
        if len(steady):
            share = 1 / self.horizon
            later, _ = scipy.signal.lfilter([share], [1, share - 1], steady, zi=[(1 - share) * self.mean])
            means, self.mean = np.concatenate([means, later]), float(later[-1])
        return np.maximum(LEAST_LEVEL, np.sqrt(means)).astype(np.float32)


class LiveEnhancer:
    """One sound through a generator.  level: its root mean square, or None to follow it (see RunningLevel).

    mix: share of the unprocessed signal in the sum, 0 to 1.
    """

    def __init__(self, model: Generator, *, level: float | None = None, mix: float = 0.0) -> None:
        self.mix = mix
        self.running = RunningLevel(model.sample_rate) if level is None and model.levelled else None
        self.stream = model.open_stream(1.0 if level is None else level)
        self.device = next(model.parameters()).device
        self.noisy = np.zeros(0, np.float32)  # samples whose enhanced ones are not there yet
        self.levels = np.zeros(0, np.float32)  # of the same samples, where the level is followed

    def push(self, samples: np.ndarray) -> np.ndarray:
        """float32 [samples] -> [ready], what can be said for certain now (may be empty)."""
        if self.running is None:
            return self._through(samples, np.ones(len(samples), np.float32))
        return self._through(*self.running.push(samples))

    def finish(self) -> np.ndarray:
        """The samples still held back; after it as many came out as went in."""
        rest = self.running.finish() if self.running is not None else (self.noisy[:0], self.levels[:0])
        before = self._through(*rest)
        with torch.inference_mode():
            return np.concatenate([before, self._out(self.stream.finish())])

    @torch.inference_mode()
    def _through(self, samples: np.ndarray, levels: np.ndarray) -> np.ndarray:
        self.noisy, self.levels = np.concatenate([self.noisy, samples]), np.concatenate([self.levels, levels])
        return self._out(self.stream.push(torch.from_numpy(samples / levels).to(self.device)))

    def _out(self, ready: torch.Tensor) -> np.ndarray:
        count = ready.shape[0]
        enhanced = ready.cpu().numpy() * self.levels[:count]
        if self.mix:
            enhanced = (1 - self.mix) * enhanced + np.float32(self.mix) * self.noisy[:count]
        self.noisy, self.levels = self.noisy[count:], self.levels[count:]
        return enhanced
