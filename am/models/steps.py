"""A recurrence over packed rows, step by step: for cells whose backward is autograd's.

The rows are in the step layout of packing.py; a sequence that has ended leaves the state.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from am.models.packing import Packing

State = tuple[Tensor, ...]
Cell = Callable[[Tensor, State], State]


def to_step_layout(rows: Tensor, packing: Packing, groups: int) -> Tensor:
    """[directions * frames, dim / groups] terms of every step, from packed rows [frames, dim].

    groups: 1 where both directions read the same columns, packing.directions where each has its own.
    """
    if groups == 1:
        return rows.index_select(0, packing.to_steps // packing.directions)
    return rows.reshape(len(rows) * groups, -1).index_select(0, packing.to_steps)


def from_step_layout(states: Tensor, packing: Packing) -> Tensor:
    """[frames, directions * units] packed rows, from states [directions * frames, units]."""
    return states.index_select(0, packing.from_steps).view(packing.frames, -1)


def over_steps(terms: Tensor, state: State, cell: Cell, packing: Packing) -> Tensor:
    """[directions * frames, units] first part of the state after every step.

    terms: [directions * frames, dim] in the step layout.  state: parts [directions * batch, units] before the first
    step; what stays the same (a dropout mask) is a part too.  cell: (terms of the step, state) -> state.
    """
    directions, before, outputs = packing.directions, packing.batch, []
    for term, active in zip(torch.split(terms, [directions * n for n in packing.active]), packing.active, strict=True):
        if active < before:  # the shortest sequences have ended
            state = tuple(part.view(directions, before, -1)[:, :active].flatten(0, 1) for part in state)
            before = active
        state = cell(term, state)
        outputs.append(state[0])
    return torch.cat(outputs)
