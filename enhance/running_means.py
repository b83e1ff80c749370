"""Means of the losses since the last line of the log, over steps and processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from enhance.distributed import Processes


class RunningMeans:
    """Sums stay on the device until they are taken; a part that only some steps have is averaged over these."""

    def __init__(self, processes: Processes, device: str) -> None:
        self.processes, self.device = processes, device
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, parts: Mapping[str, Tensor]) -> None:
        for name, part in parts.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=self.device)) + part
            self.counts[name] = self.counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """The means so far; then it begins anew."""
        sums = self._shared()
        means = {name: float(sums[name]) / count for name, count in self.counts.items()}
        self.sums, self.counts = {}, {}
        return means

    def _shared(self) -> dict[str, Tensor]:
        if not self.sums:
            return {}
        return dict(zip(self.sums, self.processes.mean(torch.stack(list(self.sums.values()))), strict=True))

    def state(self) -> dict[str, Any]:
        return {"sums": self._shared(), "counts": self.counts}

    def load_state(self, state: dict[str, Any]) -> None:
        self.sums = {name: value.to(self.device) for name, value in state["sums"].items()}
        self.counts = dict(state["counts"])
