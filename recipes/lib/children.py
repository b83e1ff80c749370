"""Splitting children between parts of a corpus: by speaker, balanced by age, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

AGE_GROUPS = ((0, 8), (9, 11), (12, 15), (16, 200))  # years, both ends included; as in the reports


def age_group(age: int) -> int:
    """Index into AGE_GROUPS."""
    return next(i for i, (low, high) in enumerate(AGE_GROUPS) if low <= age <= high)


def pick_balanced(ages: Mapping[str, int], count: int) -> list[str]:
    """``count`` of the speakers, sorted, so that every age group gives its share.

    ages: speaker -> years.  Within a group the children stand in the order of the SHA-256 of their ids and every n-th
    is taken; groups get their shares by largest remainder (ties: the younger).  Raises ValueError for a bad count.
    """
    if not 0 <= count <= len(ages):
        raise ValueError(f"cannot pick {count} of {len(ages)} speakers")
    groups: dict[int, list[str]] = {}
    for speaker in sorted(ages, key=lambda name: hashlib.sha256(name.encode()).digest()):
        groups.setdefault(age_group(ages[speaker]), []).append(speaker)
    shares = {group: count * len(members) / len(ages) for group, members in groups.items()}
    quota = {group: int(share) for group, share in shares.items()}
    by_remainder = sorted(groups, key=lambda group: (quota[group] - shares[group], group))
    for group in by_remainder[: count - sum(quota.values())]:
        quota[group] += 1
    return sorted(
        members[(2 * k + 1) * len(members) // (2 * quota[group])]
        for group, members in groups.items()
        for k in range(quota[group])
    )
