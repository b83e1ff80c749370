"""A band of mel frequencies taken out of input and target alike (denoiser's BandMask; SpecAugment for waveforms).

Paper: Defossez et al. 2020, arXiv:2006.12847.  Differs: a band for each pair, not one for the batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enhance.augment.chance import Chance

PERIODS = 8  # of the band's lower edge that the filter reaches to each side, as far as LONGEST allows
LONGEST = 0.1  # seconds


@dataclass(frozen=True, kw_only=True)
class BandMaskConfig(Chance):
    width: float = 0.2  # largest share of the mel bands that goes
    bands: int = 120
    lowest: float = 40.0  # Hz, lower edge of the first band; the last one ends at half the sample rate

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.width < 1:
            raise ValueError(f"width must lie in (0, 1), got {self.width}")
        if self.bands < 2 or round(self.width * self.bands) < 1 or self.lowest <= 0:
            raise ValueError("bands must be at least 2, and enough that width takes one; lowest must be positive")


def draw_band(config: BandMaskConfig, sample_rate: int, rng: np.random.Generator) -> tuple[float, float]:
    """Edges in Hz of the band to take out."""
    mels = np.linspace(_mel(config.lowest), _mel(sample_rate / 2), config.bands + 1)
    low = int(rng.integers(config.bands))
    high = min(config.bands, low + int(rng.integers(1, round(config.width * config.bands) + 1)))
    edges = 700 * (10 ** (mels[[low, high]] / 2595) - 1)
    return float(edges[0]), float(edges[1])


def band_stop(band: tuple[float, float], sample_rate: int) -> np.ndarray:
    """[2 * lead + 1] odd-length filter of linear phase: one, less a Hann-windowed ideal band-pass."""
    half = band_stop_lead(sample_rate)
    reach = min(half, int(PERIODS / band[0] * sample_rate))
    time = np.arange(-reach, reach + 1)
    ideal = [2 * edge / sample_rate * np.sinc(2 * edge / sample_rate * time) for edge in band]
    kernel = np.zeros(2 * half + 1)
    kernel[half - reach : half + reach + 1] = (ideal[0] - ideal[1]) * np.hanning(2 * reach + 3)[1:-1]
    kernel[half] += 1
    return kernel.astype(np.float32)


def band_stop_lead(sample_rate: int) -> int:
    """Samples before the middle of every band_stop filter at this rate."""
    return round(LONGEST * sample_rate)


def _mel(hertz: float) -> float:
    return float(2595 * np.log10(1 + hertz / 700))
