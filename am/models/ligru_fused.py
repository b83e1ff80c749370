"""Which loops over time a device gets: the fused GPU kernels where they prove themselves, else the plain loops.

Before the kernels are trusted on a device they repeat a small ragged problem of the plain loops; a compiler that is
missing, an error or another result means a logged fall back, never a wrong model.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from am.models.packing import Packing
from harness.log import get_logger

log = get_logger("am")
Forward = Callable[[Tensor, Tensor, Tensor, Tensor | None, Packing], None]
Backward = Callable[[Tensor, Tensor, Tensor, Tensor, Packing], None]
TOLERANCE = 5e-3  # a wrong kernel is off by 1; where TF32 is allowed, right ones may differ by 1e-3
_allowed = True


def allow_fused(allowed: bool) -> None:
    """Whether fused kernels may be used at all (benchmarks compare both)."""
    global _allowed
    _allowed = allowed


def fused_loops(tensor: Tensor) -> tuple[Forward, Backward] | None:
    """The fused loops for a tensor's device and type, or None where there are none that work."""
    if not _allowed or tensor.device.type != "cuda" or tensor.dtype != torch.float32:
        return None
    return _proved_loops(str(tensor.device))


@cache
def _proved_loops(device: str) -> tuple[Forward, Backward] | None:
    try:
        loops = _triton_loops()
        worst = (
            torch.tensor([largest_difference(loops, torch.device(device), groups) for groups in (1, 2)]).max().item()
        )
    except Exception as error:  # a compiler or driver may raise anything; the plain loops need neither
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        log.warning(
            "%s: no fused Li-GRU kernel (%s: %s); using one product a step", device, type(error).__name__, reason
        )
        return None
    if not worst < TOLERANCE:
        log.warning(
            "%s: the fused Li-GRU kernel differs by %g from the plain loop; using one product a step", device, worst
        )
        return None
    log.info("%s: fused Li-GRU kernel in use (differs by %.1e from the plain loop)", device, worst)
    return loops


def _triton_loops() -> tuple[Forward, Backward]:
    from am.models import ligru_triton

    def forward(gates: Tensor, states: Tensor, recurrent: Tensor, mask: Tensor | None, packing: Packing) -> None:
        failed = ligru_triton.run_forward(gates, states, recurrent, mask, packing)
        states.masked_fill_(failed.bool(), float("nan"))  # a broken barrier ends the training, not in a bad model

    def backward(local: Tensor, slope: Tensor, keep: Tensor, recurrent: Tensor, packing: Packing) -> None:
        failed = ligru_triton.run_backward(local, slope, keep, recurrent, packing)
        local.masked_fill_(failed.bool(), float("nan"))

    return forward, backward


def largest_difference(loops: tuple[Forward, Backward], device: torch.device, groups: int) -> float:
    """Of all numbers that the loops and the plain ones make of a ragged batch; groups: 1 tied, 2 untied directions."""
    from am.models.ligru_step import run_backward, run_forward

    units, packing = 50, Packing.of([9, 7, 7, 4, 1], directions=2, device=device)
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    rows = 2 * packing.frames
    gates, recurrent, mask = (
        drawn(rows, 2 * units),
        drawn(groups, units, 2 * units) / units**0.5,
        drawn(10, units).abs(),
    )
    local, slope, keep = drawn(rows, 2 * units), drawn(rows, units), drawn(rows, units).sigmoid()
    results = []
    for forward, backward in (loops, (run_forward, run_backward)):
        made = [gates.clone(), gates.new_zeros(rows, units), local.clone()]
        forward(made[0], made[1], recurrent, mask, packing)
        backward(made[2], slope.clone(), keep, recurrent, packing)
        results.append(made)
    # tensors, because Python's max passes over a NaN
    return torch.stack([(one - other).abs().max() for one, other in zip(*results, strict=True)]).max().item()
