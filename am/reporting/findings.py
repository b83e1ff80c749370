"""What the scored decodings of a work directory say: rates, differences and parts of the test set, with intervals.

Every interval is a 95 % bootstrap over speakers; differences are paired on the same utterances (am/bootstrap.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from am.bootstrap import Difference, Errors, Interval, difference, interval
from am.results import TESTS, TRAININGS, Decoding, part_of
from harness.bootstrap import FEW
from harness.errors import DataDirError

Verdict = Literal["lowered", "raised", "unchanged", "few"]
COMPARISONS = (("noisy", "enhanced"), ("noisy", "mixed"), ("clean", "clean_enhanced"))
VERDICTS: dict[Verdict, str] = {
    "lowered": "lowered WER", "raised": "raised WER", "unchanged": "no difference shown",
    "few": "too few speakers to tell",
}  # fmt: skip


@dataclass(frozen=True, order=True)
class System:
    """An acoustic model and what it heard in training."""

    training: str
    model: str

    @property
    def heard(self) -> str:
        return TRAININGS.get(self.training, self.training)

    @property
    def name(self) -> str:
        return f"{self.model}, trained on {self.heard}"


class Findings:
    """Rates and differences of the decodings with one language model; each is computed once.

    main: (training, model) that the report speaks of first; where there is no such system, the first of the table.
    """

    def __init__(self, decodings: Sequence[Decoding], *, replicas: int, seed: int, main: tuple[str, str]) -> None:
        self.replicas, self.seed = replicas, seed
        self.cells = {(System(d.training, d.model), d.test): d for d in decodings}
        self.systems = sorted({system for system, _ in self.cells}, key=_place)
        self.tests = [test for test in TESTS if any(tested == test for _, tested in self.cells)]
        wanted = System(*main)
        self.main = wanted if wanted in self.systems else next(
            (s for s in self.systems if s.model == wanted.model), self.systems[0]
        )  # fmt: skip
        self._rates: dict[tuple[System, str], Interval] = {}
        self._changes: dict[tuple[System, str, str], Difference] = {}

    def errors(self, system: System, test: str) -> Errors | None:
        found = self.cells.get((system, test))
        return found.errors if found else None

    def rate(self, system: System, test: str) -> Interval | None:
        """WER in per cent; None where the system was not tested so."""
        errors = self.errors(system, test)
        if errors is not None and (system, test) not in self._rates:
            self._rates[system, test] = self._interval(errors)
        return self._rates.get((system, test))

    def part(self, system: System, test: str, chosen: Callable[[str, str], bool]) -> Interval | None:
        """WER on the utterances for which ``chosen(utterance, speaker)`` holds; None where no word is left."""
        errors = self.errors(system, test)
        some = part_of(errors, chosen) if errors else None
        return self._interval(some) if some else None

    def change(self, system: System, before: str, after: str) -> Difference | None:
        """WER points that ``after`` lies above ``before``; None where one of the two is missing."""
        first, second = self.errors(system, before), self.errors(system, after)
        if first is None or second is None:
            return None
        key = (system, before, after)
        if key not in self._changes:
            self._changes[key] = self._difference(first, second)
        return self._changes[key]

    def change_between(self, first: tuple[System, str], second: tuple[System, str]) -> Difference | None:
        """The same between two systems; None as well where they were not scored on the same utterances."""
        one, other = self.errors(*first), self.errors(*second)
        if one is None or other is None:
            return None
        try:
            return self._difference(one, other)
        except DataDirError:
            return None

    def relative(self, system: System, before: str, change: Difference) -> float:
        """A change in per cent of the rate before it; 0 where that is 0."""
        errors = self.errors(system, before)
        return 100 * change.value / errors.percent if errors is not None and errors.percent else 0.0

    def _interval(self, errors: Errors) -> Interval:
        return interval(errors, replicas=self.replicas, seed=self.seed)

    def _difference(self, first: Errors, second: Errors) -> Difference:
        return difference(first, second, replicas=self.replicas, seed=self.seed)


def verdict(change: Interval) -> Verdict:
    """What an interval of a difference allows to say."""
    if change.blocks < FEW:
        return "few"
    if change.high < 0:
        return "lowered"
    return "raised" if change.low > 0 else "unchanged"


def _place(system: System) -> tuple[int, str, bool, str]:
    """Where a system stands in the tables: by training, the GMM before the others."""
    known = list(TRAININGS)
    place = known.index(system.training) if system.training in known else len(known)
    return place, system.training, system.model != "tri3b", system.model
