"""The matched-pairs test of NIST's sc_stats (mapsswe): do two systems differ in word errors per sentence segment?

Paper: Gillick and Cox 1989, "Some statistical issues in the comparison of speech recognition algorithms".  Segments are
stretches of an utterance with an error of either system, bounded by two or more words that both have right, or by the
ends of the utterance, so that the errors of one say little about those of the next.  Their differences are tested
against zero with the normal distribution.  It takes segments for independent, also those of one speaker: where children
speak many utterances each, the bootstrap over speakers (am/bootstrap.py) is the safer judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from am.wer import GAP
from harness.errors import DataDirError

Pairs = Sequence[tuple[str, str]]
BOUNDARY = 2  # words right in both systems that end a segment


@dataclass(frozen=True, kw_only=True)
class MatchedPairs:
    """Errors of the first system minus those of the second, by segment."""

    segments: int
    mean: float
    deviation: float  # standard, of a sample; 0 for fewer than two segments
    statistic: float  # mean in standard errors; 0, as in sc_stats, where all differences are equal: no spread is known
    p_value: float  # two-sided


def matched_pairs(first: Mapping[str, Pairs], second: Mapping[str, Pairs], boundary: int = BOUNDARY) -> MatchedPairs:
    """The test over the alignments of two systems, {utterance: pairs}.

    Raises DataDirError where they do not cover the same utterances and reference words.
    """
    if only := sorted(first.keys() ^ second.keys()):
        problem = f"the systems differ in {len(only)} utterances (first: {only[0]})"
        raise DataDirError("compare", problem, mend="score both systems on the same data directory")
    differences = [
        one - other
        for utterance in sorted(first)
        for one, other in segments(first[utterance], second[utterance], boundary, utterance=utterance)
    ]
    count = len(differences)
    mean = sum(differences) / count if count else 0.0
    variance = sum((difference - mean) ** 2 for difference in differences) / (count - 1) if count > 1 else 0.0
    deviation = math.sqrt(variance)
    statistic = mean / (deviation / math.sqrt(count)) if deviation else 0.0
    p_value = math.erfc(abs(statistic) / math.sqrt(2))
    return MatchedPairs(segments=count, mean=mean, deviation=deviation, statistic=statistic, p_value=p_value)


def segments(
    first: Pairs, second: Pairs, boundary: int = BOUNDARY, *, utterance: str = "utterance"
) -> list[tuple[int, int]]:
    """Errors (of the first, of the second system) in each segment with an error, of two alignments to one reference."""
    if [word for word, _ in first if word != GAP] != [word for word, _ in second if word != GAP]:
        mend = "score both systems on the same data directory"
        raise DataDirError("compare", f"utterance {utterance} has other reference words in the two", mend=mend)
    found: list[tuple[int, int]] = []
    errors, right = (0, 0), 0
    for place, (one, other) in enumerate(zip(_steps(first), _steps(second), strict=True)):
        if one or other:
            if right >= boundary and any(errors):
                found.append(errors)
                errors = (0, 0)
            errors, right = (errors[0] + one, errors[1] + other), 0
        elif place % 2:  # a word, right in both
            right += 1
    return [*found, errors] if any(errors) else found


def _steps(pairs: Pairs) -> list[int]:
    """Errors at each place of the reference: insertions before word 0, word 0 (0 or 1), insertions before word 1 ..."""
    steps = [0]
    for reference, hypothesis in pairs:
        if reference == GAP:
            steps[-1] += 1
        else:
            steps += [int(reference != hypothesis), 0]
    return steps
