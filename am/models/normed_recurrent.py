"""GRU, LSTM and minimal GRU in the manner of the Li-GRU: what pytorch-kaldi compares it with.

Papers: Ravanelli, Parcollet, Bengio 2019, "The PyTorch-Kaldi speech recognition toolkit", arXiv:1811.07453; the cells
Cho et al. 2014, arXiv:1406.1078 (GRU), Hochreiter and Schmidhuber 1997 (LSTM), Zhou et al. 2016, arXiv:1603.09420
(minimal GRU: one gate both forgets and resets).  All share with the Li-GRU: batch norm on the feed-forward terms, no
bias in the recurrent ones, orthogonal recurrent weights, one set of weights for both directions, one dropout mask a
sequence on the candidate.  As in the original the mask is 0 or 1, and at test the candidate is multiplied by
1 - dropout; a tanh bears no other place for that factor.  Differs: no padded frame exists.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from am.models.layer_norm import DeviationLayerNorm
from am.models.packing import Packing
from am.models.steps import State, from_step_layout, over_steps, to_step_layout


@dataclass(frozen=True, kw_only=True)
class NormedRecurrentConfig:
    """Size and regularisation; the defaults are those of pytorch-kaldi's GRU and LSTM on fMLLR features."""

    layers: int = 5
    units: int = 550  # per direction
    bidirectional: bool = True  # both directions share their weights
    dropout: float = 0.2  # of the candidate; one mask per sequence, the same at every step
    activation: Literal["tanh", "relu"] = "tanh"  # of the candidate (and of the LSTM's cell)
    batch_norm: bool = True  # of the feed-forward terms; they have biases where there is no norm at all
    state_norm: bool = False  # layer norm of the state, every step
    norm_momentum: float = 0.05  # of the batch norm's running statistics

    def __post_init__(self) -> None:
        if self.layers < 1 or self.units < 1:
            raise ValueError(f"layers and units must be at least 1, got {self.layers} and {self.units}")
        if self.state_norm and self.units < 2:
            raise ValueError("state_norm needs units of at least 2, got 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if not 0 < self.norm_momentum <= 1:
            raise ValueError(f"norm_momentum must lie in (0, 1], got {self.norm_momentum}")


class NormedLayer(nn.Module, ABC):
    """One layer, its directions side by side; a cell is a subclass."""

    gates: ClassVar[int]  # feed-forward terms a unit, the candidate first

    def __init__(self, input_dim: int, config: NormedRecurrentConfig) -> None:
        super().__init__()
        self.units, self.dropout = config.units, config.dropout
        self.activation = torch.tanh if config.activation == "tanh" else torch.relu
        rows, bound = self.gates * config.units, input_dim**-0.5
        self.feedforward = nn.Parameter(torch.empty(rows, input_dim).uniform_(-bound, bound))
        plain = not (config.batch_norm or config.state_norm)
        self.bias = nn.Parameter(torch.empty(rows).uniform_(-bound, bound)) if plain else None
        orthogonal = [nn.init.orthogonal_(torch.empty(config.units, config.units)) for _ in range(self.gates)]
        self.recurrent = nn.Parameter(torch.cat(orthogonal, 1))  # [units, gates * units]
        self.norm = nn.BatchNorm1d(rows, momentum=config.norm_momentum) if config.batch_norm else nn.Identity()
        self.state_norm = DeviationLayerNorm(config.units) if config.state_norm else nn.Identity()

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames, input_dim], packed.  Returns [frames, directions * units]."""
        terms = to_step_layout(self.norm(functional.linear(rows, self.feedforward, self.bias)), packing, 1)
        zero = rows.new_zeros(packing.directions * packing.batch, self.units)
        mask = torch.full_like(zero, 1 - self.dropout)
        if self.training and self.dropout > 0:
            mask = (torch.rand_like(zero) >= self.dropout).to(zero.dtype)
        states = over_steps(terms, (zero, mask, *self.memory(zero)), self.cell, packing)
        return from_step_layout(states, packing)

    def memory(self, zero: Tensor) -> State:
        """Parts of the state beside the output and the mask."""
        return ()

    @abstractmethod
    def cell(self, terms: Tensor, state: State) -> State:
        """One step: terms [rows, gates * units] and (output, mask, memory ...) to the next of these."""


class MinimalGRULayer(NormedLayer):
    """z = sigmoid(b + h U_z); c = act(a + (z h) U_c) m; h = z h + (1 - z) c."""

    gates = 2

    def cell(self, terms: Tensor, state: State) -> State:
        """Gates lie [candidate, update]."""
        before, mask = state
        units = self.units
        keep = torch.sigmoid(torch.addmm(terms[:, units:], before, self.recurrent[:, units:]))
        candidate = self.activation(torch.addmm(terms[:, :units], keep * before, self.recurrent[:, :units])) * mask
        return self.state_norm(torch.lerp(candidate, before, keep)), mask


class NormedGRULayer(NormedLayer):
    """z, r = sigmoid(b + h U); c = act(a + (r h) U_c) m; h = z h + (1 - z) c."""

    gates = 3

    def cell(self, terms: Tensor, state: State) -> State:
        """Gates lie [candidate, update, reset]."""
        before, mask = state
        units = self.units
        gates = torch.sigmoid(torch.addmm(terms[:, units:], before, self.recurrent[:, units:]))
        keep, reset = torch.split(gates, units, 1)
        candidate = self.activation(torch.addmm(terms[:, :units], reset * before, self.recurrent[:, :units])) * mask
        return self.state_norm(torch.lerp(candidate, before, keep)), mask


class NormedLSTMLayer(NormedLayer):
    """f, i, o = sigmoid(b + h U); cell = i act(a + h U_c) m + f cell; h = o act(cell)."""

    gates = 4

    def memory(self, zero: Tensor) -> State:
        """The cell before the first step."""
        return (zero,)

    def cell(self, terms: Tensor, state: State) -> State:
        """Gates lie [candidate, forget, input, output]."""
        before, mask, memory = state
        terms = torch.addmm(terms, before, self.recurrent)
        forget, write, out = torch.split(torch.sigmoid(terms[:, self.units :]), self.units, 1)
        memory = write * self.activation(terms[:, : self.units]) * mask + forget * memory
        return self.state_norm(out * self.activation(memory)), mask, memory


class NormedRecurrent(nn.Module):
    """A stack of such layers."""

    layer: ClassVar[type[NormedLayer]]

    def __init__(self, input_dim: int, config: NormedRecurrentConfig) -> None:
        super().__init__()
        self.directions = 2 if config.bidirectional else 1
        self.output_dim = self.directions * config.units
        dims = [input_dim] + [self.output_dim] * (config.layers - 1)
        self.layers = nn.ModuleList([self.layer(dim, config) for dim in dims])

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames, input_dim], packed.  Returns [frames, output_dim].

        Raises ValueError when the packing was made for another number of directions.
        """
        if packing.directions != self.directions:
            raise ValueError(f"packing has {packing.directions} directions, the model {self.directions}")
        for layer in self.layers:
            rows = layer(rows, packing)
        return rows


class MinimalGRU(NormedRecurrent):
    """Of minimal GRU layers."""

    layer = MinimalGRULayer


class NormedGRU(NormedRecurrent):
    """Of batch-normalised GRU layers."""

    layer = NormedGRULayer


class NormedLSTM(NormedRecurrent):
    """Of batch-normalised LSTM layers."""

    layer = NormedLSTMLayer
