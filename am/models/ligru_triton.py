"""The Li-GRU's loops over time as one GPU kernel each way, in Triton.

A Python loop launches several small kernels a step and leaves a GPU idle between them.  Here one launch covers all
steps: a program owns a block of hidden units of one direction, and all programs of a direction meet at a barrier after
each step, so that the state is complete before the next product reads it.  That needs every program to be on the GPU at
the same time, so the launch is cooperative and at most one program runs on each multiprocessor; a batch for which that
cannot be runs with one launch a step.  The arithmetic is ligru_step's, in float32.
"""

# Triton compiles these functions from their source: they have no types that mypy could see
# mypy: ignore-errors
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from am.models.packing import Packing

SPIN_LIMIT = 1 << 20  # polls of the barrier before a program gives up; seconds, where a step takes microseconds


@triton.jit
def _meet(counter, goal, failed, LIMIT: tl.constexpr):
    """Wait until `goal` programs in all have come here; set failed[0] rather than wait for ever."""
    tl.debug_barrier()
    arrived = tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu") + 1
    polls = 0
    while (arrived < goal) & (polls < LIMIT):
        arrived = tl.atomic_add(counter, 0, sem="acquire", scope="gpu")
        polls += 1
    if arrived < goal:
        tl.store(failed, 1)
    tl.debug_barrier()


@triton.jit
def _forward_kernel(
    gates, states, recurrent, mask, active, offsets, counters, failed, first_step, last_step, batch,
    UNITS: tl.constexpr, DIRECTIONS: tl.constexpr, TIED: tl.constexpr, MASKED: tl.constexpr, TOGETHER: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, PRECISION: tl.constexpr, LIMIT: tl.constexpr,
):  # fmt: skip
    direction = tl.program_id(1)
    row = tl.program_id(2) * ROWS + tl.arange(0, ROWS)  # sequences
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)  # hidden units
    column_ok = column < UNITS
    weights = recurrent + (0 if TIED else direction) * UNITS * 2 * UNITS
    for step in range(first_step, last_step):
        running = tl.load(active + step)
        here = (DIRECTIONS * tl.load(offsets + step) + direction * running + row).to(tl.int64)
        row_ok = row < running
        both_ok = row_ok[:, None] & column_ok[None, :]
        gate = gates + here[:, None] * (2 * UNITS) + column[None, :]
        candidate = tl.load(gate, mask=both_ok, other=0.0)
        update = tl.load(gate + UNITS, mask=both_ok, other=0.0)
        before = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
        if step > 0:
            running_before = tl.load(active + step - 1)
            there = (DIRECTIONS * tl.load(offsets + step - 1) + direction * running_before + row).to(tl.int64)
            for start in range(0, UNITS, INNER):
                inner = start + tl.arange(0, INNER)
                inner_ok = inner < UNITS
                state = tl.load(
                    states + there[:, None] * UNITS + inner[None, :],
                    mask=row_ok[:, None] & inner_ok[None, :], other=0.0, cache_modifier=".cg",
                )  # fmt: skip
                weight = weights + inner[:, None] * (2 * UNITS) + column[None, :]
                weight_ok = inner_ok[:, None] & column_ok[None, :]
                candidate = tl.dot(
                    state, tl.load(weight, mask=weight_ok, other=0.0), candidate, input_precision=PRECISION
                )
                update = tl.dot(
                    state, tl.load(weight + UNITS, mask=weight_ok, other=0.0), update, input_precision=PRECISION
                )
            before = tl.load(
                states + there[:, None] * UNITS + column[None, :], mask=both_ok, other=0.0, cache_modifier=".cg"
            )
        update = tl.sigmoid(update)
        candidate = tl.maximum(candidate, 0.0)
        if MASKED:
            drawn = mask + (direction * batch + row)[:, None] * UNITS + column[None, :]
            candidate = candidate * tl.load(drawn, mask=both_ok, other=0.0)
        tl.store(gate, candidate, mask=both_ok)
        tl.store(gate + UNITS, update, mask=both_ok)
        tl.store(
            states + here[:, None] * UNITS + column[None, :], update * before + (1 - update) * candidate, mask=both_ok
        )
        if TOGETHER:
            goal = (step + 1 - first_step) * tl.num_programs(0)
            _meet(counters + direction * tl.num_programs(2) + tl.program_id(2), goal, failed, LIMIT)


@triton.jit
def _backward_kernel(
    local, slope, keep, transposed, active, offsets, counters, failed, steps, first, last,
    UNITS: tl.constexpr, DIRECTIONS: tl.constexpr, TIED: tl.constexpr, TOGETHER: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, INNER: tl.constexpr, PRECISION: tl.constexpr, LIMIT: tl.constexpr,
):  # fmt: skip
    direction = tl.program_id(1)
    row = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    column_ok = column < UNITS
    weights = transposed + (0 if TIED else direction) * UNITS * 2 * UNITS
    for number in range(first, last):
        step = steps - 1 - number  # its slope is known, that of step - 1 is made
        running = tl.load(active + step)
        here = (DIRECTIONS * tl.load(offsets + step) + direction * running + row).to(tl.int64)
        there = (DIRECTIONS * tl.load(offsets + step - 1) + direction * tl.load(active + step - 1) + row).to(tl.int64)
        row_ok = row < running
        both_ok = row_ok[:, None] & column_ok[None, :]
        own = here[:, None] * UNITS + column[None, :]
        target = slope + there[:, None] * UNITS + column[None, :]
        total = tl.load(target, mask=both_ok, other=0.0)
        kept = tl.load(keep + own, mask=both_ok, other=0.0)
        total += kept * tl.load(slope + own, mask=both_ok, other=0.0, cache_modifier=".cg")
        for start in range(0, UNITS, INNER):
            inner = start + tl.arange(0, INNER)
            inner_ok = inner < UNITS
            factor_ok = row_ok[:, None] & inner_ok[None, :]
            passed = tl.load(
                slope + here[:, None] * UNITS + inner[None, :], mask=factor_ok, other=0.0, cache_modifier=".cg"
            )
            factor = local + here[:, None] * (2 * UNITS) + inner[None, :]
            weight = weights + inner[:, None] * UNITS + column[None, :]
            weight_ok = inner_ok[:, None] & column_ok[None, :]
            of_candidate = passed * tl.load(factor, mask=factor_ok, other=0.0)
            of_update = passed * tl.load(factor + UNITS, mask=factor_ok, other=0.0)
            weight_candidate = tl.load(weight, mask=weight_ok, other=0.0)
            weight_update = tl.load(weight + UNITS * UNITS, mask=weight_ok, other=0.0)
            total = tl.dot(of_candidate, weight_candidate, total, input_precision=PRECISION)
            total = tl.dot(of_update, weight_update, total, input_precision=PRECISION)
        tl.store(target, total, mask=both_ok)
        if TOGETHER:
            goal = (number + 1 - first) * tl.num_programs(0)
            _meet(counters + direction * tl.num_programs(2) + tl.program_id(2), goal, failed, LIMIT)


class _Launch:
    """Grid, step tables and barrier counters of one pass over a batch."""

    def __init__(self, packing: Packing, units: int, device: torch.device, together: bool) -> None:
        self.rows = 16 if packing.batch <= 16 else 32 if packing.batch <= 32 else 64
        row_blocks = triton.cdiv(packing.batch, self.rows)
        self.columns = 16
        places = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 0
        if triton.cdiv(units, 16) * packing.directions * row_blocks > places:
            self.columns = 32
        self.grid = (triton.cdiv(units, self.columns), packing.directions, row_blocks)
        self.together = together and self.grid[0] * self.grid[1] * self.grid[2] <= places
        self.active, self.offsets = packing.active_table, packing.offsets
        numbers = torch.zeros(packing.directions * row_blocks + 1, dtype=torch.int32, device=device)
        self.counters, self.failed = numbers[1:], numbers[:1]

    def run(self, steps: int, launch: Callable[..., Any]) -> None:
        """launch(first, last, **constants): once for all steps, or once for each."""
        constants: dict[str, Any] = {
            "ROWS": self.rows, "COLUMNS": self.columns, "INNER": 64, "PRECISION": _precision(), "LIMIT": SPIN_LIMIT,
            "TOGETHER": self.together, "num_warps": 4,
        }  # fmt: skip
        if self.together:
            launch(0, steps, launch_cooperative_grid=True, **constants)
            return
        for step in range(steps):
            launch(step, step + 1, **constants)


def _precision() -> str:
    """Products on tensor cores: three of TF32 for float32's accuracy, or one where the user allows TF32 to torch."""
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "tf32x3"


def run_forward(
    gates: Tensor, states: Tensor, recurrent: Tensor, mask: Tensor | None, packing: Packing, *, together: bool = True
) -> Tensor:
    """As ligru_step.run_forward; returns the flag of a barrier that failed ([1], not 0: the results are void)."""
    groups, units, _ = recurrent.shape
    plan = _Launch(packing, units, gates.device, together)
    recurrent = recurrent.contiguous()
    constants = {"UNITS": units, "DIRECTIONS": packing.directions, "TIED": groups == 1, "MASKED": mask is not None}

    def launch(first: int, last: int, **more: Any) -> None:
        _forward_kernel[plan.grid](
            gates, states, recurrent, states if mask is None else mask, plan.active, plan.offsets, plan.counters,
            plan.failed, first, last, packing.batch, **constants, **more,
        )  # fmt: skip

    plan.run(len(packing.active), launch)
    return plan.failed


def run_backward(
    local: Tensor, slope: Tensor, keep: Tensor, recurrent: Tensor, packing: Packing, *, together: bool = True
) -> Tensor:
    """As ligru_step.run_backward; returns the flag of a barrier that failed."""
    groups, units, _ = recurrent.shape
    plan = _Launch(packing, units, local.device, together)
    transposed = recurrent.transpose(1, 2).contiguous()  # [groups, 2 * units, units]
    steps = len(packing.active)
    constants = {"UNITS": units, "DIRECTIONS": packing.directions, "TIED": groups == 1}

    def launch(first: int, last: int, **more: Any) -> None:
        _backward_kernel[plan.grid](
            local, slope, keep, transposed, plan.active, plan.offsets, plan.counters, plan.failed, steps, first, last,
            **constants, **more,
        )  # fmt: skip

    if steps > 1:
        plan.run(steps - 1, launch)
    local.view(len(local), 2, units).mul_(slope.view(-1, 1, units))
    return plan.failed
