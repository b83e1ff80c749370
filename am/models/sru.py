"""SRU: a recurrence without matrix products, so that every product is made for all frames at once.

    f_t = sigmoid(u1_t + w_f c_{t-1} + b_f)     r_t = sigmoid(u2_t + w_r c_{t-1} + b_r)
    c_t = f_t c_{t-1} + (1 - f_t) u0_t          h_t = r_t g(c_t) + (1 - r_t) x'_t

u = W x; x' is the input times a constant where it is as wide as the output, else a fourth term u3 (all element-wise).

Paper: Lei, Zhang, Wang, Dai, Artzi 2018, "Simple recurrent units for highly parallelizable recurrence",
arXiv:1709.02755; its package's version 2.1, which pytorch-kaldi uses, with projection and rescaled highway.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from am.models.packing import Packing
from am.models.steps import State, from_step_layout, over_steps, to_step_layout


@dataclass(frozen=True, kw_only=True)
class SRUConfig:
    """Size and regularisation; the defaults are those of pytorch-kaldi's TIMIT system."""

    layers: int = 4
    units: int = 550  # per direction; each direction has weights of its own
    bidirectional: bool = True
    projection: int = 256  # the input goes through so few numbers; none where it or units are no more, or for 0
    dropout: float = 0.1  # of g(c), one mask a sequence; not in the last layer
    input_dropout: float = 0.1  # of each layer's input to the products, one mask a sequence
    activation: Literal["identity", "tanh", "relu"] = "identity"  # g
    highway_bias: float = -1.0  # of the gate r at the start
    rescale: bool = True  # the highway starts with sqrt(1 + 2 exp(highway_bias)), so that the variance is kept

    def __post_init__(self) -> None:
        if self.layers < 1 or self.units < 1 or self.projection < 0:
            problem = f"got {self.layers}, {self.units} and {self.projection}"
            raise ValueError(f"layers and units must be at least 1, projection at least 0, {problem}")
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")


class SRULayer(nn.Module):
    """One layer, both directions at once."""

    highway_scale: Tensor

    def __init__(self, input_dim: int, config: SRUConfig, *, dropout: float) -> None:
        super().__init__()
        self.directions = 2 if config.bidirectional else 1
        self.units, self.dropout, self.input_dropout = config.units, dropout, config.input_dropout
        self.activation = config.activation
        self.terms = 3 if input_dim == self.directions * config.units else 4
        inner = config.projection if 0 < config.projection < min(input_dim, config.units) else 0
        self.projection = _uniform(input_dim, inner) if inner else None
        self.weight = _uniform(inner or input_dim, self.directions * config.units * self.terms)
        self.gate_weight = nn.Parameter(torch.empty(2, self.directions, config.units).uniform_(-(3**0.5), 3**0.5))
        self.gate_bias = nn.Parameter(torch.zeros(2, self.directions, config.units))  # forget, reset
        scale = (1 + 2 * math.exp(config.highway_bias)) ** 0.5 if config.rescale else 1.0
        self.register_buffer("highway_scale", torch.tensor(scale))
        self._start(config, scale)

    @torch.no_grad()
    def _start(self, config: SRUConfig, scale: float) -> None:
        """Gates see half the variance; dropout's and the highway's factors are undone."""
        columns = self.weight.view(self.weight.shape[0], -1, self.terms)
        columns[..., 1:3] *= 0.5**0.5
        self.gate_weight.mul_(0.5**0.5)
        self.gate_bias[1] = config.highway_bias
        if config.rescale:
            if self.terms == 4:
                columns[..., 3] *= scale
            columns[..., 0] *= (1 - self.dropout) ** 0.5
            columns *= (1 - self.input_dropout) ** 0.5

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames, input_dim], packed.  Returns [frames, directions * units]."""
        products = rows
        if self.training and self.input_dropout > 0:
            products = rows * self._mask(rows, packing.batch, rows.shape[1], self.input_dropout)[packing.sequence]
        products = products if self.projection is None else products @ self.projection
        terms = (products @ self.weight).view(len(rows), self.directions, self.units, self.terms)
        memory = self._memories(terms, packing)  # [frames, directions, units] c_{t-1} and c_t
        reset = torch.sigmoid(terms[..., 2] + self.gate_bias[1] + self.gate_weight[1] * memory[0])
        passed = terms[..., 3] if self.terms == 4 else self.highway_scale * rows.view(memory[1].shape)
        new = self._activated(memory[1])
        if self.training and self.dropout > 0:
            width = self.directions * self.units
            new = new * self._mask(new, packing.batch, width, self.dropout).view(-1, *new.shape[1:])[packing.sequence]
        return torch.lerp(passed, new, reset).flatten(1)

    def _memories(self, terms: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """c before and after every frame; the only loop over time, two element-wise operations a step."""
        forget_terms = terms[..., 1] + self.gate_bias[0]
        steps = to_step_layout(torch.cat([terms[..., 0], forget_terms], 2).flatten(1), packing, self.directions)
        zero = terms.new_zeros(packing.directions * packing.batch, self.units)
        weight = self.gate_weight[0].repeat_interleave(packing.batch, 0)  # [directions * batch, units]

        def cell(term: Tensor, state: State) -> State:
            before, weight = state
            new, forget = torch.split(term, self.units, 1)
            return torch.lerp(new, before, torch.sigmoid(torch.addcmul(forget, weight, before))), weight

        after = over_steps(steps, (zero, weight), cell, packing)
        first = torch.arange(len(after), device=after.device) < packing.directions * packing.batch
        before = after.index_select(0, packing.previous).masked_fill(first[:, None], 0)
        shape = terms.shape[:3]
        return from_step_layout(before, packing).view(shape), from_step_layout(after, packing).view(shape)

    def _activated(self, memory: Tensor) -> Tensor:
        match self.activation:
            case "identity":
                return memory
            case "tanh":
                return torch.tanh(memory)
            case "relu":
                return functional.relu(memory)
            case _:
                raise ValueError(f"activation must be 'identity', 'tanh' or 'relu', got {self.activation!r}")

    def _mask(self, like: Tensor, batch: int, width: int, dropout: float) -> Tensor:
        """[batch, width] of 0 and 1 / (1 - dropout)."""
        kept = torch.rand(batch, width, device=like.device) >= dropout
        return kept.to(like.dtype) / (1 - dropout)


def _uniform(rows: int, columns: int) -> nn.Parameter:
    """Of variance 1 / rows."""
    bound = (3 / rows) ** 0.5
    return nn.Parameter(torch.empty(rows, columns).uniform_(-bound, bound))


class SRU(nn.Module):
    """A stack of SRU layers."""

    def __init__(self, input_dim: int, config: SRUConfig) -> None:
        super().__init__()
        self.directions = 2 if config.bidirectional else 1
        self.output_dim = self.directions * config.units
        dims = [input_dim] + [self.output_dim] * (config.layers - 1)
        last = config.layers - 1
        self.layers = nn.ModuleList(
            [SRULayer(dim, config, dropout=0.0 if i == last else config.dropout) for i, dim in enumerate(dims)]
        )

    def forward(self, rows: Tensor, packing: Packing) -> Tensor:
        """rows: [frames, input_dim], packed.  Returns [frames, output_dim].

        Raises ValueError when the packing was made for another number of directions.
        """
        if packing.directions != self.directions:
            raise ValueError(f"packing has {packing.directions} directions, the model {self.directions}")
        for layer in self.layers:
            rows = layer(rows, packing)
        return rows
