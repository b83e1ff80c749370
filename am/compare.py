"""Two systems on the same utterances: is the difference of their word error rates more than chance, here and by group?

Three judges stand side by side: the paired bootstrap over speakers (ours), NIST's matched pairs (sc_stats' mapsswe) and
compute-wer-bootci's probability of improvement.  The last two take segments or utterances for independent, and so are
surer than they may be where a child speaks many of them.  p-values are not corrected for the number of groups.  Of
fewer than FEW speakers all lean one way in one of 16 cases by chance alone (2 x 0.5 ** 5), and the bootstrap's interval
is too narrow: it gets no p-value, and the line says so.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from am.aligned import Aligned, read_aligned
from am.bootci import kaldi_comparison
from am.bootstrap import REPLICAS, Difference, Errors, Unit, check_same, difference
from am.matched_pairs import MatchedPairs, matched_pairs
from am.wer import count_pairs
from harness.atomic import write_whole
from harness.bootstrap import FEW
from harness.errors import ConfigError
from kaldi_bridge.groups import in_order


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Second system against first on one group of utterances."""

    dimension: str  # "all", or snr, noise, age, gender, grade, speaker
    group: str
    first: Errors
    second: Errors
    change: Difference | None  # None where there is but one speaker (or utterance) to draw
    pairs: MatchedPairs
    improvement: float  # share of compute-wer-bootci's replicas in which the second has fewer errors

    def row(self) -> dict[str, Any]:
        """The figures by name, as in compare.csv and compare.json; None where there is no figure."""
        first, second = self.first, self.second
        low, high = (self.change.low, self.change.high) if self.change else (None, None)
        p_value = self.change.p_value if self.change and self.change.blocks >= FEW else None
        return {
            "dimension": self.dimension, "group": self.group, "utterances": len(first.utterances),
            "speakers": len(set(first.speakers)), "words": int(first.words.sum()),
            "errors_a": int(first.errors.sum()), "errors_b": int(second.errors.sum()),
            "wer_a": round(first.percent, 4), "wer_b": round(second.percent, 4),
            "difference": round(second.percent - first.percent, 4), "relative": _rounded(relative(first, second), 4),
            "low": _rounded(low, 4), "high": _rounded(high, 4), "p_bootstrap": _rounded(p_value, 6),
            "segments": self.pairs.segments,
            "z_matched_pairs": _rounded(self.pairs.statistic, 6), "p_matched_pairs": _rounded(self.pairs.p_value, 6),
            "improvement_bootci": round(self.improvement, 6),
        }  # fmt: skip


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)


def relative(first: Errors, second: Errors) -> float | None:
    """Change in percent of the first system's rate; None where that is 0."""
    return 100.0 * (second.percent - first.percent) / first.percent if first.percent else None


def compare_dirs(first: str | Path, second: str | Path, **options: Any) -> list[Comparison]:
    """Compare two scored decode directories (their aligned.tsv); options are those of compare_systems."""
    return compare_systems(read_aligned(first), read_aligned(second), **options)


def compare_systems(
    first: Aligned,
    second: Aligned,
    *,
    by: Sequence[str] = (),
    draw: Unit = "speaker",
    replicas: int = REPLICAS,
    seed: int = 0,
) -> list[Comparison]:
    """Compare over all utterances, then within every group of the dimensions ``by``.

    draw: what the bootstrap draws.  Groups without a reference word are left out.  Raises DataDirError where the two
    differ in utterances, speakers or references, ConfigError for a dimension that neither knows.
    """
    systems = first, second
    check_same(first.errors(), second.errors())
    groups = _groups(systems, by)
    parts = [("all", "all", list(first.pairs))]
    for dimension, of in groups.items():
        for group in in_order(of):
            chosen = [utterance for utterance in first.pairs if of[utterance] == group]
            if any(count_pairs(first.pairs[utterance]).words for utterance in chosen):
                parts.append((dimension, group, chosen))
    return [_compare(dimension, group, systems, of, draw, replicas, seed) for dimension, group, of in parts]


def _groups(systems: tuple[Aligned, Aligned], by: Sequence[str]) -> dict[str, Mapping[str, str]]:
    """{dimension: {utterance: group}} of the dimensions asked for, from whichever system knows them."""
    first, second = systems
    known = {**second.groups, **first.groups, "speaker": first.speakers}
    for dimension in by:
        if dimension not in known:
            mend = f"choose from: {', '.join(known)}"
            raise ConfigError("--by", f"neither directory knows {dimension!r} of its utterances", mend=mend)
    return {dimension: known[dimension] for dimension in by}


def _compare(
    dimension: str, group: str, systems: tuple[Aligned, Aligned], utterances: Sequence[str],
    draw: Unit, replicas: int, seed: int,
) -> Comparison:  # fmt: skip
    first, second = (system.errors(utterances) for system in systems)
    blocks = len(set(first.speakers)) if draw == "speaker" else len(first.utterances)
    change = difference(first, second, by=draw, replicas=replicas, seed=seed) if blocks > 1 else None
    one, other = ({utterance: system.pairs[utterance] for utterance in utterances} for system in systems)
    improvement = kaldi_comparison(first, second, replicas)[2]
    return Comparison(
        dimension=dimension, group=group, first=first, second=second, change=change,
        pairs=matched_pairs(one, other), improvement=improvement,
    )  # fmt: skip


def write_comparisons(out: Path, comparisons: Sequence[Comparison], request: Mapping[str, Any]) -> None:
    """compare.csv and compare.json (the request, then the rows) in the folder ``out``."""
    rows = [comparison.row() for comparison in comparisons]
    with write_whole(out / "compare.csv") as stream:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    with write_whole(out / "compare.json") as stream:
        stream.write(json.dumps({"version": 1, **request, "rows": rows}, indent=1, ensure_ascii=False) + "\n")


def lines(comparisons: Sequence[Comparison], draw: Unit = "speaker") -> list[str]:
    """The comparisons in words: all utterances first, then a line a group."""
    whole, *parts = comparisons
    pairs = whole.pairs
    text = [
        f"a {whole.first.percent:.2f} %  b {whole.second.percent:.2f} %  difference {_change(whole, draw)}",
        f"matched pairs: {pairs.segments} segments, mean {pairs.mean:+.3f}, z = {pairs.statistic:.3f}, "
        f"p = {pairs.p_value:.4f}",
        f"as compute-wer-bootci: probability of b improving a {100 * whole.improvement:.2f} %",
    ]
    width = max((len(part.group) for part in parts), default=0)
    dimension = ""
    for part in parts:
        if part.dimension != dimension:
            dimension = part.dimension
            text.append(f"by {dimension}:")
        rates = f"a {part.first.percent:6.2f}  b {part.second.percent:6.2f}"
        text.append(f"  {part.group:<{width}}  {len(part.first.utterances):5d} utt  {rates}  {_change(part, draw)}")
    return text


def _change(comparison: Comparison, draw: Unit) -> str:
    value = comparison.second.percent - comparison.first.percent
    share = relative(comparison.first, comparison.second)
    text = f"{value:+.2f}" + (f" ({share:+.1f} %)" if share is not None else "")
    found = comparison.change
    if found is None:
        return f"{text}, one {draw}: no interval"
    surety = "too few to tell" if found.blocks < FEW else f"p = {found.p_value:.4f}"
    return f"{text} [{found.low:+.2f}, {found.high:+.2f}] over {found.blocks} {draw}s, {surety}"
