"""What a gate found: one check a limit, and the verdict of all of them, for people and as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from harness.atomic import write_whole
from harness.errors import SchoolyardError


class GateError(SchoolyardError):
    """An enhancer broke a limit of the gate."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One limit.  value, low, high: what was found and its interval; limit: what was allowed, `at_least` or at most.

    worst: the utterances that count most against it, (name, what it has); None: could not be judged, so not kept.
    """

    name: str
    unit: str
    limit: float
    at_least: bool
    value: float | None
    low: float | None = None
    high: float | None = None
    kept: bool
    worst: tuple[tuple[str, str], ...] = ()

    @property
    def broken_by(self) -> float:
        """How far the deciding figure lies beyond the limit, in the unit of the check; 0 where it is kept."""
        if self.kept or self.value is None:
            return 0.0
        ends = [end for end in (self.value, self.low, self.high) if end is not None]
        beyond = self.limit - min(ends) if self.at_least else max(ends) - self.limit
        mean = self.limit - self.value if self.at_least else self.value - self.limit
        return mean if mean > 0 else beyond

    def line(self) -> str:
        """One line for people, worst utterances included where the limit is broken."""
        text = f"{'kept  ' if self.kept else 'BROKEN'} {self.name}: "
        text += "could not be judged" if self.value is None else shown(self.value, self.unit)
        if self.low is not None and self.high is not None:
            text += f" [{shown(self.low)}, {shown(self.high)}]"
        text += f", {'at least' if self.at_least else 'at most'} {shown(self.limit, self.unit)}"
        if self.kept:
            return text
        if self.value is not None:
            text += f": {shown(self.broken_by, self.unit)} beyond"
        return text + (f"; worst: {', '.join(f'{name} ({what})' for name, what in self.worst)}" if self.worst else "")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """of: what was judged: reference and estimate, before and after, or all.  limits: all that were stated, plain."""

    of: dict[str, str]
    limits: dict[str, Any]
    checks: tuple[Check, ...]

    @property
    def kept(self) -> bool:
        return all(check.kept for check in self.checks)

    def write(self, path: str | os.PathLike[str]) -> None:
        """As JSON."""
        checks = [asdict(check) | {"broken_by": check.broken_by} for check in self.checks]
        plain = {"kept": self.kept, "of": self.of, "checks": checks, "limits": self.limits}
        with write_whole(path) as stream:
            json.dump(plain, stream, indent=1)
            stream.write("\n")

    def demand(self, path: str | os.PathLike[str]) -> None:
        """GateError, naming what was broken, where a limit was.  path: where the verdict stands."""
        broken = [check for check in self.checks if not check.kept]
        if broken:
            problem = f"breaks {len(broken)} of {len(self.checks)} limits: {', '.join(check.name for check in broken)}"
            mend = f"hear the worst utterances ({path}); do not enhance clean speech with it, or state other limits"
            raise GateError(self.of.get("estimate") or self.of["after"], problem, mend=mend)


def shown(value: float, unit: str = "") -> str:
    """A figure with its unit."""
    number = f"{value:.0f}" if float(value).is_integer() else f"{value:.3f}"
    return f"{number} {unit}".rstrip()
