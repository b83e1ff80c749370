"""Whole multiples of a number of samples, put so that a traced graph computes them too: it rounds towards zero."""

from __future__ import annotations


def parts_of(count: int, size: int) -> int:
    """How many parts of a size cover so many samples."""
    return (count + size - 1) // size


def lacking(count: int, multiple: int) -> int:
    """Samples that are lacking to the next whole multiple."""
    return parts_of(count, multiple) * multiple - count
