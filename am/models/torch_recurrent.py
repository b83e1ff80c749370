"""Stacks of torch's own recurrent layers on packed rows, for the baselines.

Each layer and direction is a layer of its own; the backward direction reads every sequence reversed.  On a GPU they run
packed (cuDNN).  torch's CPU code for packed sequences is ten times slower than for padded ones, so on a CPU the batch,
whose sequences are of like length, is padded at the end: the padding comes after the last frame in either direction,
so no real frame sees it, and its rows are dropped.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from am.models.packing import Packing


class TorchRecurrent(nn.Module):
    """layers x directions of nn.LSTM or nn.GRU, with dropout between the layers."""

    def __init__(
        self,
        cell: type[nn.LSTM] | type[nn.GRU],
        input_dim: int,
        layers: int,
        units: int,
        directions: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.directions, self.output_dim = directions, directions * units
        dims = [input_dim] + [self.output_dim] * (layers - 1)
        self.layers = nn.ModuleList([nn.ModuleList([cell(dim, units) for _ in range(directions)]) for dim in dims])
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames, input_dim], packed.  Returns [frames, output_dim]."""
        turned = packing.reversed_rows()
        for number, layer in enumerate(self.layers):
            rows = self.dropout(rows) if number else rows
            cells = list(layer.children())
            columns = [_run(cells[0], rows, packing)]
            if self.directions == 2:
                columns.append(_run(cells[1], rows[turned], packing)[turned])
            rows = torch.cat(columns, 1)
        return rows


def _run(cell: nn.Module, rows: Tensor, packing: Packing) -> Tensor:
    """One layer in one direction, [frames, units]."""
    if rows.device.type != "cpu":
        states: Tensor = cell(PackedSequence(rows, packing.batch_sizes))[0].data
        return states
    steps, batch = len(packing.active), packing.batch
    places = packing.step * batch + packing.sequence
    padded = rows.new_zeros(steps * batch, rows.shape[1]).index_copy(0, places, rows)
    output: Tensor = cell(padded.view(steps, batch, -1))[0]
    return output.view(steps * batch, -1)[places]
