"""A differentiable relative of PESQ: the disturbance a listener hears between degraded and clean speech, as a loss.

After ITU-T P.862 (2001) and P.862.2 (wideband): levels aligned in the speech band, Bark spectra, the linear response
and slow gain changes partly compensated, Zwicker loudness, a dead zone for masking, symmetric disturbance and
asymmetric disturbance (what was added hurts more than what was taken).  As in PMSQE (Martin-Donas et al. 2018,
doi:10.1109/LSP.2018.2871419) the signals must be aligned in time already.  Differs from P.862: bands and thresholds
follow formulas instead of tables, filters act on spectra, the asymmetry sets in and disturbance is bounded gradually,
no bad intervals, no weights over long recordings.  So its scores rank as PESQ's do; they are not PESQ.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from enhance.layers.decimate import Decimate, factor_to

RATE, SIZE = 16000, 512  # Hz; samples a frame (32 ms), overlapping by half
BANDS = 49
SPEECH_BAND = (325.0, 3250.0)  # Hz, where the level is taken
LEVEL = 1.0e7  # power there after alignment; about 79 dB SPL
POWER = 55.0 * 6.910853e-6  # Bark spectra per squared magnitude, so that 1 kHz at 40 dB SPL peaks at 1e4
SONE = 0.1866055  # loudness per unit, so that the same tone has one sone
THRESHOLD = (  # (Hz, dB re the spectra's unit) of just audible tones
    (8, 77.1), (32, 63.9), (64, 48.5), (96, 36.9), (130, 30.7), (162, 25.9), (230, 16.6), (300, 9.9), (410, 2.8),
    (530, -1.4), (730, -4.8), (1000, -6.0), (1310, -5.8), (1870, -4.0), (2510, -3.0), (3800, -2.8), (4620, -3.2),
    (5640, -4.3), (6230, -4.4), (6950, -3.8), (7800, -2.7),
)  # fmt: skip


class PesqLoss(nn.Module):
    """speech, clean [batch, samples] -> 0.1 d + 0.0309 d_a, mean over the batch.

    About 0 for equal signals; it falls as quality rises.
    """

    window: Tensor
    speech_bins: Tensor
    response: Tensor
    bands: Tensor
    width: Tensor
    threshold: Tensor
    exponent: Tensor

    def __init__(self, sample_rate: int = RATE) -> None:
        super().__init__()
        self.decimate = Decimate(factor_to(sample_rate, RATE))
        hertz = np.arange(SIZE // 2 + 1) * RATE / SIZE
        matrix, centres, widths = bark_bands(hertz)
        tables = {
            "window": np.hanning(SIZE + 1)[:-1], "response": _input_response(hertz), "bands": matrix, "width": widths,
            "speech_bins": (hertz >= SPEECH_BAND[0]) & (hertz <= SPEECH_BAND[1]),
            "threshold": 10 ** (np.interp(hertz_of(centres), *np.array(THRESHOLD).T) / 10),
            "exponent": 0.23 * np.clip(6 / (centres + 2), 1, 2) ** 0.15,  # Zwicker's, steeper in the lowest bands
        }  # fmt: skip
        for name, table in tables.items():
            self.register_buffer(name, torch.from_numpy(table.astype(np.float32)), persistent=False)

    def forward(self, speech: Tensor, clean: Tensor) -> Tensor:
        symmetric, asymmetric = self.disturbances(speech, clean)
        return (0.1 * symmetric + 0.0309 * asymmetric).mean()

    def scores(self, speech: Tensor, clean: Tensor) -> Tensor:
        """On PESQ's scale by the mapping of P.862.2: [batch], at most 4.64; for comparison, not a PESQ score."""
        symmetric, asymmetric = self.disturbances(speech, clean)
        raw = 4.5 - 0.1 * symmetric - 0.0309 * asymmetric
        return 0.999 + 4 / (1 + torch.exp(-1.3669 * raw + 3.8224))

    def disturbances(self, speech: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Symmetric and asymmetric disturbance of the whole, [batch] each."""
        heard, meant = self._bark(self.decimate(speech)), self._bark(self.decimate(clean))
        audible = self._audible(meant, 100.0) > 1.0e7  # frames that are not silent
        meant = meant * self._band_gains(heard, meant, audible)
        heard = heard * self._frame_gains(heard, meant)
        loudness, wanted = self._loudness(heard), self._loudness(meant)
        apart = loudness - wanted
        masked = 0.25 * torch.minimum(loudness, wanted)
        apart = apart.sign() * (apart.abs() - masked).clamp(min=0)
        weight = ((self._audible(meant, 1.0) + 1.0e5) / 1.0e7) ** 0.04  # loud frames count less
        asymmetry = ((heard + 50) / (meant + 50)) ** 1.2
        asymmetry = asymmetry.clamp(max=12) * (asymmetry - 2.5).clamp(0, 1)
        symmetric = self._over_bands(apart, 2) / weight
        asymmetric = self._over_bands(apart * asymmetry, 1) / weight
        return _over_time(_bounded(symmetric)), _over_time(_bounded(asymmetric))

    def _bark(self, samples: Tensor) -> Tensor:
        """[batch, samples] -> power in Bark bands [batch, frames, bands], after level alignment and input filter."""
        samples = nn.functional.pad(samples, (0, max(0, SIZE - samples.shape[-1])))
        values = torch.fft.rfft(samples.unfold(-1, SIZE, SIZE // 2) * self.window)
        power = values.real.square() + values.imag.square()
        # Parseval: the mean square of the samples that lie in the speech band
        level = 2 * (power * self.speech_bins).sum(-1).mean(-1) / (SIZE * self.window.square().sum())
        power = power * (LEVEL / level.clamp(min=1e-12))[:, None, None]
        bark: Tensor = (power * self.response) @ self.bands * POWER
        return bark

    def _audible(self, bark: Tensor, factor: float) -> Tensor:
        """Power of the audible bands [batch, frames]; the lowest band never counts."""
        return (bark * (bark > factor * self.threshold))[..., 1:].sum(-1)

    def _band_gains(self, heard: Tensor, meant: Tensor, audible: Tensor) -> Tensor:
        """The linear response [batch, 1, bands], over frames with speech, within 20 dB."""
        frames = audible[..., None] / audible.sum(-1).clamp(min=1)[:, None, None]
        means = [((bark > 100 * self.threshold) * bark * frames).sum(1, keepdim=True) for bark in (heard, meant)]
        return ((means[0] + 1000) / (means[1] + 1000)).clamp(0.01, 100)

    def _frame_gains(self, heard: Tensor, meant: Tensor) -> Tensor:
        """Gain of each frame [batch, frames, 1], smoothed over two."""
        ratio = (self._audible(meant, 1.0) + 5000) / (self._audible(heard, 1.0) + 5000)
        before = torch.cat([ratio[:, :1], ratio[:, :-1]], dim=-1)
        return (0.8 * ratio + 0.2 * before).clamp(3.0e-4, 5.0)[..., None]

    def _loudness(self, bark: Tensor) -> Tensor:
        """Zwicker's law, in sone per Bark; nothing below the threshold."""
        louder = (bark / self.threshold).clamp(min=1)
        grown = (2 * self.threshold) ** self.exponent * ((0.5 + 0.5 * louder) ** self.exponent - 1)
        return SONE * grown

    def _over_bands(self, apart: Tensor, power: int) -> Tensor:
        """Weighted norm over Bark [batch, frames] without the lowest band."""
        weighted = (apart * self.width)[..., 1:].abs()
        total = self.width[1:].sum()
        summed = (weighted**power).sum(-1)
        return total * ((summed + 1e-12) / total) ** (1 / power)


def _bounded(disturbance: Tensor) -> Tensor:
    """At most 45, where P.862 cuts; approached gradually, so that the worst frames can still be bettered."""
    return disturbance / (1 + (disturbance / 45) ** 4) ** 0.25


def _over_time(disturbance: Tensor) -> Tensor:
    """[batch, frames] -> [batch]: L6 within 20 frames (320 ms), which stress the worst, then L2 over all of them."""
    short = max(0, 20 - disturbance.shape[-1])
    pieces = nn.functional.pad(disturbance, (0, short)).unfold(-1, 20, 10)
    within = ((pieces**6).sum(-1) / (20 - short) + 1e-12) ** (1 / 6)
    return within.square().mean(-1).sqrt()


def bark_of(hertz: np.ndarray) -> np.ndarray:
    """Critical-band rate, 7 asinh(f / 650) (Schroeder et al. 1979)."""
    return 7 * np.arcsinh(hertz / 650)


def hertz_of(bark: np.ndarray) -> np.ndarray:
    """The inverse of bark_of."""
    return 650 * np.sinh(bark / 7)


def bark_bands(hertz: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bands of equal width on the Bark scale: matrix [bins, bands], centres [bands] and widths [bands] in Bark.

    A bin that lies across an edge is shared by the two bands.
    """
    step = hertz[1] - hertz[0]
    edges = np.linspace(0, bark_of(hertz[-1]), BANDS + 1)
    low, high = hertz_of(edges[:-1]), hertz_of(edges[1:])
    shared = np.minimum(hertz[:, None] + step / 2, high) - np.maximum(hertz[:, None] - step / 2, low)
    matrix = np.clip(shared / step, 0, 1)
    matrix[0] = 0  # no constant
    return matrix, (edges[:-1] + edges[1:]) / 2, np.diff(edges)


def _input_response(hertz: np.ndarray) -> np.ndarray:
    """Power response of the wideband input filter, flat from 100 Hz on (P.862.2: two poles, two zeros)."""
    z = np.exp(-2j * math.pi * hertz / RATE)
    return np.abs(2.740826 * (1 - z) ** 2 / (1 - 1.9444777 * z + 0.94597794 * z**2)) ** 2
