"""HMM topologies for a lang directory: left-to-right phones, and silences whose middle states are fully connected.

Source: kaldi's utils/gen_topo.pl, whose text is reproduced to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable

from kaldi_bridge.models import HmmState, HmmTopology

STAY = 0.75  # first probability of a self-loop; training replaces it


def make_topology(
    nonsilence: Iterable[int], silence: Iterable[int], nonsilence_states: int = 3, silence_states: int = 5
) -> HmmTopology:
    """The topology of the given phone ids. silence_states: 1, or at least 3 (with 2 there are no middle states)."""
    if nonsilence_states < 1 or silence_states < 1 or silence_states == 2:
        raise ValueError(
            f"need nonsilence_states >= 1 and silence_states 1 or >= 3, got {nonsilence_states}, {silence_states}"
        )
    phone_entry = dict.fromkeys(sorted(nonsilence), 0) | dict.fromkeys(sorted(silence), 1)
    entries = (left_to_right(nonsilence_states), left_to_right(1) if silence_states == 1 else ergodic(silence_states))
    return HmmTopology(phone_entry, entries)


def left_to_right(states: int) -> tuple[HmmState, ...]:
    """Each state stays or goes on to the next."""
    emitting = [HmmState(state, ((state, STAY), (state + 1, 1 - STAY))) for state in range(states)]
    return (*emitting, HmmState(-1, ()))


def ergodic(states: int) -> tuple[HmmState, ...]:
    """A first state, middle states that reach each other and the last, and a last state that cannot be skipped."""
    share = 1.0 / (states - 1)
    first = HmmState(0, tuple((to, share) for to in range(states - 1)))
    middle = [HmmState(state, tuple((to, share) for to in range(1, states))) for state in range(1, states - 1)]
    last = HmmState(states - 1, ((states - 1, STAY), (states, 1 - STAY)))
    return (first, *middle, last, HmmState(-1, ()))
