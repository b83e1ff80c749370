"""Low-passed speech: the input of bandwidth extension, and telephone-like channels as an augmentation.

The filters run forward and backward (zero phase), so that input and target stay aligned: a soft filter of random kind
and order keeps a model from learning one filter's edge (Wang & Wang 2021, NVSR; HiFi++, arXiv:2203.13086).  `sinc` is
the ideal low-pass, as resampling in the Fourier domain gives it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from enhance.augment.chance import Chance, check_range

MARGIN = 1024  # samples of silence on each side, into which the filters ring


@dataclass(frozen=True, kw_only=True)
class LowPassConfig(Chance):
    cutoffs: tuple[float, ...] = (1000.0, 2000.0, 4000.0)  # Hz, one drawn for each pair
    filters: tuple[Literal["sinc", "butterworth", "chebyshev", "elliptic", "bessel"], ...] = ("sinc",)  # one drawn
    order: tuple[int, int] = (2, 10)  # of all but sinc, drawn, both ends included
    decimate: bool = False  # keep every n-th sample only, so that what a soft filter lets pass folds back

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.cutoffs or min(self.cutoffs) <= 0:
            raise ValueError(f"cutoffs must be frequencies in Hz, got {list(self.cutoffs)}")
        if not self.filters:
            raise ValueError("filters must name at least one filter")
        check_range("order", self.order, 1, 20)


@dataclass(frozen=True)
class LowPass:
    """One drawn filter."""

    kind: str
    order: int
    cutoff: float  # Hz

    @classmethod
    def draw(cls, config: LowPassConfig, rng: np.random.Generator) -> LowPass:
        kind, order = config.filters[rng.integers(len(config.filters))], int(rng.integers(*config.order, endpoint=True))
        return cls(kind, order, float(config.cutoffs[rng.integers(len(config.cutoffs))]))


def low_passed(samples: Tensor, filters: list[LowPass], sample_rate: int, *, decimate: bool) -> Tensor:
    """[rows, samples] -> the same shape, each row through its own filter; a cut-off above half the rate passes all."""
    padded = torch.nn.functional.pad(samples, (MARGIN, MARGIN))
    length = padded.shape[-1]
    bins = length // 2 + 1
    responses = np.stack([_response(one.kind, one.order, one.cutoff, bins, sample_rate) for one in filters])
    filtered: Tensor = torch.fft.irfft(torch.fft.rfft(padded) * torch.from_numpy(responses).to(samples), n=length)
    if decimate:
        steps = [max(1, round(sample_rate / (2 * one.cutoff))) for one in filters]
        place = torch.arange(-MARGIN, length - MARGIN, device=samples.device)
        comb = torch.stack([(place % step == 0) * float(step) for step in steps])
        ideal = np.stack([_response("sinc", 0, sample_rate / (2 * step), bins, sample_rate) for step in steps])
        spectrum = torch.fft.rfft(filtered * comb.to(samples)) * torch.from_numpy(ideal).to(samples)
        filtered = torch.fft.irfft(spectrum, n=length)
    return filtered[:, MARGIN : length - MARGIN]


@lru_cache(maxsize=256)
def _response(kind: str, order: int, cutoff: float, bins: int, sample_rate: int) -> np.ndarray:
    """[bins] gain of the filter run forward and backward: the squared magnitude of its response."""
    frequencies = np.linspace(0, sample_rate / 2, bins)
    if cutoff >= sample_rate / 2:
        return np.ones(bins, np.float32)
    if kind == "sinc":
        return (frequencies < cutoff).astype(np.float32)
    from scipy import signal

    match kind:
        case "butterworth":
            sections = signal.butter(order, cutoff, fs=sample_rate, output="sos")
        case "chebyshev":
            sections = signal.cheby1(order, 0.05, cutoff, fs=sample_rate, output="sos")
        case "elliptic":
            sections = signal.ellip(order, 0.05, 60, cutoff, fs=sample_rate, output="sos")
        case "bessel":
            sections = signal.bessel(order, cutoff, norm="mag", fs=sample_rate, output="sos")
        case _:
            raise ValueError(f"filters must be sinc, butterworth, chebyshev, elliptic or bessel, got {kind!r}")
    _, response = signal.sosfreqz(sections, frequencies, fs=sample_rate)
    power: np.ndarray = (np.abs(response) ** 2).astype(np.float32)
    return power
