"""Speakers held out of a corpus: the same ones on every machine, ages balanced."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping


def held_out_speakers(groups: Mapping[str, str], every: int, offset: int = 0, seed: int = 0) -> list[str]:
    """Every ``every``-th speaker of each group (such as a year of age), in order of the hash of the speaker's name.

    The count runs on from group to group, so that small groups together give their share.  seed goes before the names
    that are hashed, 0 leaves them bare.  Returns sorted names.
    """
    if every < 2:
        raise ValueError(f"every must be at least 2, got {every}")
    salt = f"{seed} " if seed else ""
    order = sorted(groups, key=lambda speaker: (_sort_key(groups[speaker]), _hash(salt + speaker)))
    return sorted(order[offset::every])


def _sort_key(group: str) -> tuple[int, str]:
    return (int(group), "") if group.isdecimal() else (1_000_000, group)


def _hash(speaker: str) -> str:
    return hashlib.sha256(speaker.encode()).hexdigest()
