"""The Li-GRU's recurrence over time, with its backward derived by hand.

    c_t = relu(a_t + h_{t-1} U_c) * m        candidate; m is the dropout mask of the sequence, 0 or `scale`
    z_t = sigmoid(b_t + h_{t-1} U_z)         update gate
    h_t = z_t * h_{t-1} + (1 - z_t) * c_t

a, b are the (batch-normalised) feed-forward terms, computed for all frames before.  With g = dL/dh_t:

    dL/da_t = g (1 - z_t) m [c_t > 0]        dL/db_t = g (h_{t-1} - c_t) z_t (1 - z_t)
    dL/dh_{t-1} = upstream_{t-1} + g z_t + dL/da_t U_c' + dL/db_t U_z'

Everything but g is known when the forward pass is over, so those factors are computed for all frames in a few large
operations; the loop backwards holds one product and two element-wise operations a step, and dL/dU is one product at
the end.  No step is recorded by autograd.  On a GPU the two loops are one kernel each (ligru_fused.py).

Paper: Ravanelli et al. 2018, arXiv:1803.10225.  Rows: the step layout of packing.py.  Gates lie [candidate, update].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from am.models.ligru_fused import fused_loops
from am.models.packing import Packing


def ligru_recurrence(
    projected: Tensor, recurrent: Tensor, mask: Tensor | None, scale: float, packing: Packing
) -> Tensor:
    """Hidden states of all frames, both directions.

    projected: [frames, groups * 2 * units] feed-forward terms; groups is 1 where the directions share weights (tied),
    else packing.directions.  recurrent: [groups, units, 2 * units].  mask: [directions * batch, units] of 0 and scale,
    or None for no dropout (scale 1).  Returns [frames, directions * units].
    """
    states: Tensor = _Recurrence.apply(projected, recurrent, mask, scale, packing)  # type: ignore[no-untyped-call]
    return states


class _Recurrence(Function):
    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, recurrent: Tensor, mask: Tensor | None, scale: float, packing: Packing
    ) -> Tensor:
        groups, units, both = recurrent.shape
        if groups == 1:
            gates = projected.index_select(0, packing.to_steps // packing.directions)
        else:
            gates = projected.reshape(-1, both).index_select(0, packing.to_steps)
        states = gates.new_empty(len(gates), units)
        loops = fused_loops(gates)
        (run_forward if loops is None else loops[0])(gates, states, recurrent, mask, packing)
        ctx.save_for_backward(gates, states, recurrent)
        ctx.scale, ctx.packing = scale, packing
        return states.index_select(0, packing.from_steps).view(packing.frames, packing.directions * units)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        gates, states, recurrent = ctx.saved_tensors
        packing: Packing = ctx.packing
        groups, units, both = recurrent.shape
        before = states.index_select(0, packing.previous)  # h_{t-1} of every row
        before[: packing.directions * packing.batch] = 0  # the state before the first step
        local, keep = _local_derivatives(gates, before, ctx.scale)
        slope = upstream.reshape(-1, units).index_select(0, packing.to_steps)  # becomes dL/dh
        loops = fused_loops(local)
        (run_backward if loops is None else loops[1])(local, slope, keep, recurrent, packing)  # local: now dL/d(a, b)
        if groups == 1:
            slope_recurrent = (before.t() @ local)[None]
            slope_projected = local.index_select(0, packing.from_steps).view(-1, packing.directions, both).sum(1)
        else:
            slope_recurrent = torch.stack([before[rows].t() @ local[rows] for rows in packing.direction_rows])
            slope_projected = local.index_select(0, packing.from_steps).view(packing.frames, -1)
        return slope_projected, slope_recurrent, None, None, None


def _local_derivatives(gates: Tensor, before: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Factors of g in dL/da and dL/db, [rows, 2 * units], and the update gate, [rows, units]."""
    units = before.shape[1]
    candidate, keep = gates[:, :units], gates[:, units:].contiguous()
    renew = 1 - keep
    local = torch.empty_like(gates)
    torch.mul(candidate > 0, renew, out=local[:, :units])
    if scale != 1:
        local[:, :units].mul_(scale)
    torch.mul(before - candidate, keep * renew, out=local[:, units:])
    return local, keep


def run_forward(gates: Tensor, states: Tensor, recurrent: Tensor, mask: Tensor | None, packing: Packing) -> None:
    """Fills states [rows, units]; gates [rows, 2 * units] come as feed-forward terms, leave as [candidate, update]."""
    directions, (groups, units, both) = packing.directions, recurrent.shape
    masks = None if mask is None else mask.view(directions, packing.batch, units)
    rows = [directions * active for active in packing.active]
    before, active_before = None, packing.batch
    for gate, state, active in zip(torch.split(gates, rows), torch.split(states, rows), packing.active, strict=True):
        if active < active_before:  # the shortest sequences have ended
            before = (
                before.view(directions, active_before, units)[:, :active].contiguous() if before is not None else None
            )
            masks = None if masks is None else masks[:, :active].contiguous()
            active_before = active
        if before is not None and groups == 1:
            torch.addmm(gate, before.view(-1, units), recurrent[0], out=gate)
        elif before is not None:
            grouped = gate.view(groups, active, both)
            torch.baddbmm(grouped, before.view(groups, active, units), recurrent, out=grouped)
        candidate, keep = gate[:, :units], gate[:, units:]
        keep.sigmoid_()
        candidate.clamp_(min=0)
        if masks is not None:
            candidate.mul_(masks.view(-1, units))
        if before is None:
            torch.mul(candidate, 1 - keep, out=state)
        else:
            torch.lerp(candidate, before.view(-1, units), keep, out=state)
        before = state


def run_backward(local: Tensor, slope: Tensor, keep: Tensor, recurrent: Tensor, packing: Packing) -> None:
    """Turns local [rows, 2 * units] into dL/d(a, b), from slope [rows, units], the upstream gradient of the states."""
    directions, (groups, units, both) = packing.directions, recurrent.shape
    transposed = recurrent.transpose(1, 2).contiguous()  # [groups, 2 * units, units]
    rows = [directions * active for active in packing.active]
    locals_, slopes, keeps = torch.split(local, rows), torch.split(slope, rows), torch.split(keep, rows)
    here = slopes[-1]  # dL/dh of the step in hand
    for step in range(len(rows) - 1, -1, -1):
        active, gate = packing.active[step], locals_[step]
        gate.view(-1, 2, units).mul_(here.view(-1, 1, units))
        if step == 0:
            break
        active_before = packing.active[step - 1]
        earlier = slopes[step - 1].view(directions, active_before, units)
        going_on = earlier if active_before == active else earlier[:, :active]
        if groups == 1:
            passed = torch.addmm(going_on.reshape(-1, units), gate, transposed[0])
        else:
            passed = torch.baddbmm(going_on, gate.view(groups, active, both), transposed).view(-1, units)
        passed.addcmul_(here, keeps[step])
        if active_before > active:  # sequences whose last step is this earlier one
            passed = torch.cat([passed.view(directions, active, units), earlier[:, active:]], 1).view(-1, units)
        here = passed
