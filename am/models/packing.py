"""The packed time-major layout: ragged sequences side by side with no padding anywhere.

Sequences are sorted longest first.  The rows of step t are the sequences still running at t, so row offsets[t] + b is
frame t of sequence b; this is the layout of torch's PackedSequence.data.  Products, batch norm and losses over the rows
see real frames only, hence no masks.

Recurrent layers that run several directions at once use the *step layout*: row directions * offsets[t] +
d * active[t] + b is what direction d does at step t for sequence b.  Direction 1 reads the sequence backwards.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A copy on the device that does not wait for the work the device still has."""
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@dataclass(frozen=True)
class Packing:
    """Where every frame of one batch lies; built once for a batch, shared by all layers."""

    lengths: tuple[int, ...]  # frames of each sequence, longest first
    directions: int  # 1 (forwards) or 2 (forwards and backwards)
    active: tuple[int, ...]  # [steps] sequences still running at each step
    active_table: Tensor  # [steps] the same, on the device
    step: Tensor  # [frames] t of each packed row
    sequence: Tensor  # [frames] b of each packed row
    offsets: Tensor  # [steps] first packed row of each step
    to_steps: Tensor  # [directions * frames] frame * directions + d that each step-layout row reads
    from_steps: Tensor  # [directions * frames] its inverse: step-layout row of frame * directions + d
    previous: Tensor  # [directions * frames] step-layout row one step earlier (rows of step 0: themselves)
    direction_rows: tuple[Tensor, ...] = field(repr=False)  # per direction [frames]: its rows in the step layout

    @classmethod
    def of(cls, lengths: Sequence[int], *, directions: int = 2, device: torch.device | str = "cpu") -> Packing:
        """lengths: frames of each sequence, longest first, all at least 1.

        Raises ValueError when lengths are empty, unsorted or not positive.
        """
        lengths = tuple(int(length) for length in lengths)
        if not lengths or lengths[-1] < 1:
            raise ValueError(f"lengths must be at least 1 and not empty, got {list(lengths)[-8:]}")
        if any(a < b for a, b in itertools.pairwise(lengths)):
            raise ValueError(f"lengths must be sorted longest first, got {list(lengths)[:8]}")
        if directions not in (1, 2):
            raise ValueError(f"directions must be 1 or 2, got {directions}")
        length = torch.tensor(lengths)
        steps = torch.arange(lengths[0])
        active = (length[None, :] > steps[:, None]).sum(1)  # [steps]
        offsets = active.cumsum(0) - active  # [steps]
        step = torch.repeat_interleave(steps, active)  # [frames]
        sequence = torch.arange(len(step)) - offsets[step]  # [frames]
        frames_read = [offsets[step] + sequence, offsets[length[sequence] - 1 - step] + sequence]
        before = (step - 1).clamp(min=0)
        to_steps = torch.empty(directions * len(step), dtype=torch.long)
        previous, from_steps = torch.empty_like(to_steps), torch.empty_like(to_steps)
        rows = []
        for d in range(directions):
            row = directions * offsets[step] + d * active[step] + sequence
            to_steps[row] = frames_read[d] * directions + d
            previous[row] = directions * offsets[before] + d * active[before] + sequence
            rows.append(row)
        from_steps[to_steps] = torch.arange(len(to_steps))
        return cls(
            lengths=lengths,
            directions=directions,
            active=tuple(active.tolist()),
            active_table=to_device(active, device),
            step=to_device(step, device),
            sequence=to_device(sequence, device),
            offsets=to_device(offsets, device),
            to_steps=to_device(to_steps, device),
            from_steps=to_device(from_steps, device),
            previous=to_device(previous, device),
            direction_rows=tuple(to_device(row, device) for row in rows),
        )

    @property
    def frames(self) -> int:
        """Rows of the packed layout: the sum of the lengths."""
        return len(self.step)

    @property
    def batch(self) -> int:
        """Number of sequences."""
        return len(self.lengths)

    @property
    def batch_sizes(self) -> Tensor:
        """[steps] on the CPU, as torch's PackedSequence wants it."""
        return torch.tensor(self.active)

    def gather_rows(self, starts: Tensor) -> Tensor:
        """[frames] row of a flat [all frames, dim] array for each packed row.

        starts: [batch] first row of each sequence in the flat array, in this packing's order.
        """
        return starts[self.sequence] + self.step

    def reversed_rows(self) -> Tensor:
        """[frames] packed row of the frame as far from its sequence's end as the row's own is from the start."""
        length = to_device(torch.tensor(self.lengths), self.step.device)[self.sequence]
        return self.offsets[length - 1 - self.step] + self.sequence

    def neighbour_rows(self, shift: int) -> Tensor:
        """[frames] packed row of the frame `shift` later in the same sequence, its ends repeated."""
        length = to_device(torch.tensor(self.lengths), self.step.device)[self.sequence]
        step = torch.minimum((self.step + shift).clamp(min=0), length - 1)
        return self.offsets[step] + self.sequence


def pack(sequences: Sequence[Tensor]) -> Tensor:
    """[frames, dim] packed rows of sequences [length, dim] that are sorted longest first."""
    packing = Packing.of([len(sequence) for sequence in sequences], directions=1, device=sequences[0].device)
    flat = torch.cat(list(sequences))
    length = torch.tensor(packing.lengths, device=flat.device)
    return flat[packing.gather_rows(length.cumsum(0) - length)]


def unpack(rows: Tensor, packing: Packing) -> list[Tensor]:
    """The inverse of pack: one [length, dim] tensor a sequence."""
    order = torch.argsort(packing.sequence * packing.lengths[0] + packing.step)
    return list(torch.split(rows[order], list(packing.lengths)))
