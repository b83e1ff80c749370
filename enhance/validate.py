"""How good a generator is on held-out speakers and noises: log-mel error on noisy and on clean input.

Log-mel error, not SI-SDR: it orders systems as the word error rate does, and clean input shows the harm done.
"""

from __future__ import annotations

import torch
from torch import Tensor

from enhance.losses.mel import LogMel
from enhance.losses.waveform import clipped_si_sdr
from enhance.models import Generator

BATCH = 16  # pairs a forward pass


class Validation:
    """A fixed set of pairs.  pairs: (noisy, clean) batches, [batch, samples]."""

    def __init__(self, pairs: list[tuple[Tensor, Tensor]], sample_rate: int, clean_weight: float) -> None:
        self.pairs = [
            (noisy[first : first + BATCH], clean[first : first + BATCH])
            for noisy, clean in pairs
            for first in range(0, len(noisy), BATCH)
        ]
        self.clean_weight = clean_weight
        self.log_mel = LogMel(sample_rate=sample_rate, bands=40).to(pairs[0][0].device)

    @torch.no_grad()
    def scores(self, model: Generator) -> dict[str, float]:
        """Means over the set; `score` is what the best checkpoint minimises.  The model is left in training mode."""
        model.eval()
        rows = [self._row(model(noisy), model(clean), noisy, clean) for noisy, clean in self.pairs]
        model.train()
        names = ("log_mel_noisy", "log_mel_clean", "log_mel_unprocessed", "si_sdr", "si_sdr_unprocessed")
        means = dict(zip(names, torch.stack(rows).mean(0).tolist(), strict=True))
        return means | {"score": means["log_mel_noisy"] + self.clean_weight * means["log_mel_clean"]}

    def _row(self, enhanced: Tensor, passed: Tensor, noisy: Tensor, clean: Tensor) -> Tensor:
        truth = self.log_mel(clean)
        errors = [(self.log_mel(samples) - truth).abs().mean() for samples in (enhanced, passed, noisy)]
        return torch.stack(
            [*errors, clipped_si_sdr(enhanced, clean, 60.0).mean(), clipped_si_sdr(noisy, clean, 60.0).mean()]
        )
