"""How good a generator is on held-out speakers and noises: log-mel error on noisy and on clean input, and what else is
asked for.

Log-mel error, not SI-SDR: it orders systems as the word error rate does, and clean input shows the harm done.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from enhance.losses.mel import LogMel
from enhance.losses.waveform import clipped_si_sdr
from enhance.metrics import METRICS, chosen, measure, missing_packages
from enhance.models import Generator
from enhance.objectives import Objective
from harness.errors import AudioError, TrainingError

BATCH = 16  # pairs a forward pass
BASIC = ("log_mel_noisy", "log_mel_clean", "log_mel_unprocessed", "si_sdr", "si_sdr_unprocessed")
SCORED = {name: metric.better == "lower" for name, metric in METRICS.items() if name not in BASIC}
ON_REQUEST = ("loss", *SCORED)
LOWER_IS_BETTER = {
    "score": True, "log_mel_noisy": True, "log_mel_clean": True, "si_sdr": False, "loss": True, **SCORED,
}  # fmt: skip


class Validation:
    """A fixed set of pairs.  pairs: (noisy, clean) batches, [batch, samples].

    measures: which of ON_REQUEST are computed too; the loss is the objective's, without its critic.
    """

    def __init__(
        self, pairs: list[tuple[Tensor, Tensor]], sample_rate: int, clean_weight: float, *,
        measures: Sequence[str] = (), objective: Objective | None = None,
    ) -> None:  # fmt: skip
        self.pairs = [
            (noisy[first : first + BATCH], clean[first : first + BATCH])
            for noisy, clean in pairs
            for first in range(0, len(noisy), BATCH)
        ]
        self.sample_rate, self.clean_weight = sample_rate, clean_weight
        self.measures, self.objective = tuple(measures), objective
        self._measured()  # a package that is missing is told before the training, not after its first part
        self.log_mel = LogMel(sample_rate=sample_rate, bands=40).to(pairs[0][0].device)

    @torch.no_grad()
    def scores(self, model: Generator) -> dict[str, float]:
        """Means over the set; `score` weighs noisy against clean input.  The model is left in training mode."""
        model.eval()
        rows, losses, more = [], [], self._measured()
        for noisy, clean in self.pairs:
            enhanced = model(noisy)
            rows.append(self._row(enhanced, model(clean), noisy, clean))
            if "loss" in self.measures:
                assert self.objective is not None
                losses.append(self.objective.model_loss(enhanced, clean, noisy, adversarial=False)[0])
            more.add(clean, enhanced)
        model.train()
        counts = torch.tensor([len(noisy) for noisy, _ in self.pairs], device=rows[0].device)
        shares = counts / counts.sum()
        means = dict(zip(BASIC, (shares @ torch.stack(rows)).tolist(), strict=True))
        means["score"] = means["log_mel_noisy"] + self.clean_weight * means["log_mel_clean"]
        if losses:
            means["loss"] = (shares @ torch.stack(losses)).item()
        return means | more.means()

    @torch.no_grad()
    def examples(self, model: Generator, count: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(noisy, enhanced, clean) of the first pairs, [samples] each; the model is left in training mode."""
        if not count:
            return []
        model.eval()
        noisy, clean = (side[:count] for side in self.pairs[0])
        enhanced = model(noisy)
        model.train()
        return list(zip(noisy, enhanced, clean, strict=True))

    def _measured(self) -> _Measured:
        return _Measured([name for name in self.measures if name in SCORED], self.sample_rate)

    def _row(self, enhanced: Tensor, passed: Tensor, noisy: Tensor, clean: Tensor) -> Tensor:
        truth = self.log_mel(clean)
        errors = [(self.log_mel(samples) - truth).abs().mean() for samples in (enhanced, passed, noisy)]
        return torch.stack(
            [*errors, clipped_si_sdr(enhanced, clean, 60.0).mean(), clipped_si_sdr(noisy, clean, 60.0).mean()]
        )


class _Measured:
    """Metrics of the scoring, pair by pair on the CPU; a pair that has no score is counted and enters no mean."""

    def __init__(self, names: Sequence[str], sample_rate: int) -> None:
        self.sample_rate, self.metrics = sample_rate, chosen(names)
        for name, metric in self.metrics.items():
            if missing := missing_packages(metric):
                problem = f"needs packages that are not installed: {', '.join(missing)}"
                raise TrainingError(f"validation by {name}", problem, mend=f"pip install {' '.join(missing)}")
        self.values: dict[str, list[float]] = {name: [] for name in self.metrics}
        self.failed = dict.fromkeys(self.values, 0)

    def add(self, clean: Tensor, enhanced: Tensor) -> None:
        if not self.values:
            return
        for truth, estimate in zip(clean.cpu().numpy(), enhanced.cpu().numpy(), strict=True):
            found = self._of_pair(truth, estimate)
            for name, values in self.values.items():
                if name in found:
                    values.append(found[name])
                else:
                    self.failed[name] += 1

    def _of_pair(self, truth: np.ndarray, estimate: np.ndarray) -> dict[str, float]:
        try:
            return measure(self.metrics, truth, estimate, self.sample_rate)[0]
        except AudioError:  # silence has no measure at all
            return {}

    def means(self) -> dict[str, float]:
        """{pesq: mean, pesq_failed: pairs without a score}; the count only where there are such."""
        means: dict[str, float] = {}
        for name, values in self.values.items():
            if not values:
                mend = "give longer pairs (pairs.seconds), or another train.best_by"
                raise TrainingError(f"validation by {name}", "no validation pair has a score", mend=mend)
            means[name] = float(np.mean(values))
            if self.failed[name]:
                means[f"{name}_failed"] = self.failed[name]
        return means
