"""The best generators of a run: best.pt, and the next ones where more than one is kept.

best.pt is always the first.  With `keep` above 1, kept/step_N.pt holds each of the best, and kept/ranking.json their
order; every file is whole at any time, and is the same when a killed run does the step again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from harness.atomic import write_whole


class Ranking:
    """entries: (score, step), the best first."""

    def __init__(self, out: Path, *, lower_is_better: bool, keep: int) -> None:
        self.out, self.keep = out, keep
        self.sign = 1.0 if lower_is_better else -1.0
        self.entries: list[tuple[float, int]] = []

    def leads(self, score: float) -> bool:
        """Whether a score is better than all before it."""
        return not self.entries or self.sign * score < self.sign * self.entries[0][0]

    def offer(self, score: float, step: int, write: Callable[[Path], None]) -> bool:
        """Keep this step's generator if it is among the best (`write` puts it into a file); returns whether it leads.

        The earlier of two equal ones ranks first.
        """
        leads = self.leads(score)
        ranked = sorted([*self.entries, (score, step)], key=lambda entry: (self.sign * entry[0], entry[1]))
        self.entries = ranked[: self.keep]
        if self.keep > 1 and (score, step) in self.entries:
            write(self._file(step))
        if leads:
            write(self.out / "best.pt")
        return leads

    def tidy(self) -> None:
        """Write the order and remove generators that fell out; call it once the run's own state is on the disk."""
        if self.keep == 1:
            return
        rows = [
            {"rank": rank, "score": score, "step": step, "file": self._file(step).name}
            for rank, (score, step) in enumerate(self.entries, start=1)
        ]
        with write_whole(self.out / "kept" / "ranking.json") as stream:
            json.dump(rows, stream, indent=1)
        named = {row["file"] for row in rows}
        for path in (self.out / "kept").glob("step_*.pt"):
            if path.name not in named:
                path.unlink()

    def _file(self, step: int) -> Path:
        return self.out / "kept" / f"step_{step:08d}.pt"
