"""Distances between short-time spectra: compressed magnitudes, log powers, several resolutions at once.

The first as in Braun and Tashev 2020 (arXiv:2009.12286).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

EXPONENT = 0.3  # of the magnitudes, about how loudness grows


def spectrum(samples: Tensor, size: int, hop: int) -> Tensor:
    """[batch, samples] -> complex [batch, bins, frames] with a Hann window of `size` samples."""
    window = torch.hann_window(size, device=samples.device)
    return torch.stft(samples, size, hop, window=window, pad_mode="constant", return_complex=True)


def compressed_distance(estimate: Tensor, clean: Tensor, size: int, hop: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean squared differences of compressed spectra: magnitudes; complex values; magnitudes where speech was removed.

    estimate, clean: [batch, samples] at about unit level.  Returns three scalars; the third counts only bins where the
    estimate is below clean, the error that hurts a recogniser most.
    """
    ours, theirs = spectrum(estimate, size, hop), spectrum(clean, size, hop)
    our_size, their_size = _magnitude(ours), _magnitude(theirs)
    our_loudness, their_loudness = our_size.pow(EXPONENT), their_size.pow(EXPONENT)
    lacking = their_loudness - our_loudness
    apart = ours * (our_loudness / our_size) - theirs * (their_loudness / their_size)
    complex_distance = (apart.real.square() + apart.imag.square()).mean()
    return lacking.square().mean(), complex_distance, lacking.clamp(min=0).square().mean()


def log_power_distance(
    estimate: Tensor, clean: Tensor, *, size: int = 2048, length: int = 320, hop: int = 160, floor: float = 1e-19
) -> Tensor:
    """Mean absolute difference of power spectra in dB (WSEGAN, Pascual et al. 2018, arXiv:1808.10687).  Scalar.

    estimate, clean: [batch, samples].  Hann windows of `length` samples in transforms of `size` (of the signal's own
    length where it is shorter), divided by the square root of the size; floor: power added to each bin.
    """
    size = min(size, estimate.shape[-1])
    window = torch.hann_window(min(length, size), dtype=estimate.dtype, device=estimate.device)

    def decibels(samples: Tensor) -> Tensor:
        values = torch.stft(
            samples, size, hop, window.numel(), window, pad_mode="constant", normalized=True, return_complex=True
        )
        return 10 * torch.log10(values.real.square() + values.imag.square() + floor)

    return (decibels(estimate) - decibels(clean)).abs().mean()


def multi_resolution_distance(
    estimate: Tensor, clean: Tensor, resolutions: Sequence[tuple[int, int, int]]
) -> tuple[Tensor, Tensor]:
    """Spectral convergence and log-magnitude distance (Yamamoto et al. 2020, arXiv:1910.11480), means over resolutions.

    estimate, clean: [batch, samples].  resolutions: (transform, hop, Hann window), samples.  Convergence is
    |S - S'| / |S| in Frobenius norms over the whole batch, the other the mean of |log S - log S'|, in nepers.  Scalars.
    """
    convergences, distances = [], []
    for size, hop, width in resolutions:
        ours, theirs = _amplitude(estimate, size, hop, width), _amplitude(clean, size, hop, width)
        convergences.append(torch.linalg.vector_norm(theirs - ours) / torch.linalg.vector_norm(theirs))
        distances.append((theirs.log() - ours.log()).abs().mean())
    return torch.stack(convergences).mean(), torch.stack(distances).mean()


def _amplitude(samples: Tensor, size: int, hop: int, width: int) -> Tensor:
    """[batch, samples] -> [batch, bins, frames], never below the root of 1e-7; the signal is mirrored at its ends."""
    mode = "reflect" if samples.shape[-1] > size // 2 else "constant"
    window = torch.hann_window(width, device=samples.device)
    values = torch.stft(samples, size, hop, width, window, pad_mode=mode, return_complex=True)
    return (values.real.square() + values.imag.square()).clamp(min=1e-7).sqrt()


def _magnitude(values: Tensor) -> Tensor:
    return (values.real.square() + values.imag.square() + 1e-8).sqrt()
