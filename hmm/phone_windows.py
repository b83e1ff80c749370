"""Alignments as phones in context: phone boundaries, windows, and conversion to another tree (Kaldi's convert-ali).

Alignments are in Kaldi's default, reordered form: the arc that leaves an HMM state comes first, its self-loops follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.errors import AlignmentError
from kaldi_bridge.models import TransitionModel, Tree


@dataclass(frozen=True)
class PhoneWindows:
    """Every phone of a set of alignments, and which phone each frame belongs to."""

    windows: np.ndarray  # [phones, width] phone ids, 0 beyond the utterance's edges
    phone_of_frame: np.ndarray  # [frames] row of windows


def phone_starts(tm: TransitionModel, alignment: np.ndarray, where: str = "alignment") -> np.ndarray:
    """True on the first frame of each phone, bool [frames].

    Raises AlignmentError if the alignment does not end at a phone's end, or is not of this model.
    """
    mend = "use the final.mdl of the directory that holds the alignment"
    if len(alignment) == 0 or alignment.min() < 1 or alignment.max() > tm.num_transition_ids:
        raise AlignmentError(where, "holds transition ids that the model does not have", mend=mend)
    entering = ~tm.is_self_loop[alignment]
    if not entering[0]:
        raise AlignmentError(where, "starts with a self-loop", mend=mend)
    visits = np.flatnonzero(entering)
    ends_phone = tm.is_final[alignment[visits]]
    if not ends_phone[-1]:
        raise AlignmentError(where, "does not end at the end of a phone", mend=mend)
    starts = np.zeros(len(alignment), bool)
    starts[visits[0]] = True
    starts[visits[1:][ends_phone[:-1]]] = True
    return starts


def phone_windows(
    tm: TransitionModel, alignments: list[np.ndarray], *, width: int, position: int, phone_map: np.ndarray | None = None
) -> PhoneWindows:
    """Windows of `width` phones, the modelled one at `position`, over all alignments.

    phone_map: new phone id by old one, where the phone sets differ.
    """
    windows, rows, base = [], [], 0
    for alignment in alignments:
        starts = phone_starts(tm, alignment)
        phones = tm.id2phone[alignment[starts]]
        if phone_map is not None:
            phones = phone_map[phones]
        padded = np.concatenate([np.zeros(position, np.int32), phones, np.zeros(width - 1 - position, np.int32)])
        windows.append(np.lib.stride_tricks.sliding_window_view(padded, width))
        rows.append(base + np.cumsum(starts) - 1)
        base += len(phones)
    return PhoneWindows(np.concatenate(windows).astype(np.int32), np.concatenate(rows))


def phones_of(tm: TransitionModel, alignment: np.ndarray) -> list[tuple[int, int, int]]:
    """(phone, first frame, frames) of each phone of one alignment."""
    begins = np.flatnonzero(phone_starts(tm, alignment))
    ends = np.append(begins[1:], len(alignment))
    return [(int(tm.id2phone[alignment[b]]), int(b), int(e - b)) for b, e in zip(begins, ends, strict=True)]


def convert_alignments(
    old: TransitionModel, new: TransitionModel, tree: Tree, alignments: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The same paths as transition ids of another model with the same topology (convert-ali)."""
    if not alignments:
        return {}
    everything = np.concatenate(list(alignments.values()))
    found = phone_windows(old, list(alignments.values()), width=tree.context_width, position=tree.central_position)
    states = old.id2hmm_state[everything]
    keys = np.column_stack([found.windows[found.phone_of_frame], states])
    distinct, inverse = _unique_rows(keys)
    first_id = np.empty(len(distinct), np.int64)
    for row, (*window, state) in enumerate(distinct.tolist()):
        phone = window[tree.central_position]
        pdf = tree.pdf(window, new.topology.hmm(phone)[state].pdf_class)
        first_id[row] = new.first_id[new.state_of[(phone, state, pdf)]]
    converted = (first_id[inverse] + old.id2index[everything]).astype(np.int32)
    ends = np.cumsum([len(a) for a in alignments.values()])
    return dict(zip(alignments, np.split(converted, ends[:-1]), strict=True))


def _unique_rows(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows of a small-integer table and the row number of each, by packing rows into one integer."""
    base = int(keys.max()) + 2
    packed = np.zeros(len(keys), np.int64)
    for column in keys.T:
        packed = packed * base + column
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    return keys[first], inverse
