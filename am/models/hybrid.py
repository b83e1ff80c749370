"""The hybrid acoustic model: a trunk and two heads, for context-dependent pdfs and for position-free phones.

The second task regularises the first (Bell and Renals 2015, doi:10.1109/ICASSP.2015.7178900); pytorch-kaldi trains the
Li-GRU so.  The model carries its input normalisation and the log priors of the pdfs, so it maps features to Kaldi's
pseudo log-likelihoods, log p(pdf | x) - log p(pdf), by itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from am.models import MODELS
from am.models.cnn import CNNConfig
from am.models.gru import GRUConfig
from am.models.ligru import LiGRUConfig
from am.models.lstm import LSTMConfig
from am.models.mlp import MLPConfig
from am.models.normed_recurrent import NormedRecurrentConfig
from am.models.packing import Packing
from am.models.sincnet import SincNetConfig
from am.models.sru import SRUConfig
from harness.checkpoint import load_checkpoint, load_weights
from harness.config import from_plain, to_plain
from harness.errors import CheckpointError

CHECKPOINT_KIND = "am"


@dataclass(frozen=True, kw_only=True)
class HybridConfig:
    """Which trunk, and the settings of that trunk; a section of another trunk must be left out."""

    model: Literal[
        "ligru", "lstm", "gru", "normed_lstm", "normed_gru", "minimal_gru", "sru", "mlp", "cnn", "sincnet"
    ] = "ligru"
    ligru: LiGRUConfig = field(default_factory=LiGRUConfig)
    lstm: LSTMConfig = field(default_factory=LSTMConfig)
    gru: GRUConfig = field(default_factory=GRUConfig)
    normed_lstm: NormedRecurrentConfig = field(default_factory=NormedRecurrentConfig)
    normed_gru: NormedRecurrentConfig = field(default_factory=NormedRecurrentConfig)
    minimal_gru: NormedRecurrentConfig = field(default_factory=NormedRecurrentConfig)
    sru: SRUConfig = field(default_factory=SRUConfig)
    mlp: MLPConfig = field(default_factory=MLPConfig)
    cnn: CNNConfig = field(default_factory=CNNConfig)
    sincnet: SincNetConfig = field(default_factory=SincNetConfig)

    def __post_init__(self) -> None:
        for name, (config_class, _) in MODELS.items():
            if name != self.model and getattr(self, name) != config_class():
                raise ValueError(f"section {name} is set but the model is {self.model}: it would change nothing")


class HybridModel(nn.Module):
    """Packed feature rows to the logits of pdfs and phones."""

    input_mean: Tensor
    input_scale: Tensor
    log_priors: Tensor

    def __init__(self, config: HybridConfig, input_dim: int, num_pdfs: int, num_phones: int) -> None:
        super().__init__()
        _, trunk_class = MODELS[config.model]
        self.config, self.input_dim, self.num_pdfs, self.num_phones = config, input_dim, num_pdfs, num_phones
        self.trunk = trunk_class(input_dim, getattr(config, config.model))
        self.pdf_head = _head(self.trunk.output_dim, num_pdfs)
        self.phone_head = _head(self.trunk.output_dim, num_phones)
        self.register_buffer("input_mean", torch.zeros(input_dim))
        self.register_buffer("input_scale", torch.ones(input_dim))
        self.register_buffer("log_priors", torch.zeros(num_pdfs))

    @property
    def directions(self) -> int:
        """What a Packing for this model is made with."""
        return int(self.trunk.directions)

    def forward(self, rows: Tensor, packing: Packing) -> tuple[Tensor, Tensor]:
        """rows: [frames, input_dim], packed.  Returns logits [frames, num_pdfs] and [frames, num_phones]."""
        hidden = self.trunk((rows - self.input_mean) * self.input_scale, packing)
        return self.pdf_head(hidden), self.phone_head(hidden)

    def log_likelihoods(self, rows: Tensor, packing: Packing) -> Tensor:
        """[frames, num_pdfs] log posterior minus log prior, what Kaldi's latgen-faster-mapped decodes."""
        pdf_logits, _ = self(rows, packing)
        return functional.log_softmax(pdf_logits.float(), 1) - self.log_priors


def _head(input_dim: int, classes: int) -> nn.Linear:
    """A softmax layer that starts close to uniform: +-sqrt(0.01 / (in + out)), as pytorch-kaldi's."""
    head = nn.Linear(input_dim, classes)
    bound = (0.01 / (input_dim + classes)) ** 0.5
    nn.init.uniform_(head.weight, -bound, bound)
    nn.init.zeros_(head.bias)
    return head


def hybrid_loss(
    logits: tuple[Tensor, Tensor], pdfs: Tensor, phones: Tensor, phone_weight: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean cross entropy a frame in nats: (pdf + phone_weight * phone, pdf, phone).

    logits: of pdfs [frames, num_pdfs] and of phones [frames, num_phones]; pdfs, phones: [frames] targets.
    """
    pdf_loss = functional.cross_entropy(logits[0], pdfs)
    phone_loss = functional.cross_entropy(logits[1], phones)
    return pdf_loss + phone_weight * phone_loss, pdf_loss, phone_loss


def model_state(
    model: HybridModel, phones: Sequence[str], inputs: dict[str, Any], metrics: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What a checkpoint holds of a model: enough to rebuild it and to make its inputs."""
    plain = {
        "config": to_plain(model.config),
        "input_dim": model.input_dim,
        "num_pdfs": model.num_pdfs,
        "phones": list(phones),
        "inputs": inputs,
        "metrics": metrics or {},
    }
    # pickle writes an equal string once more or as a reference, as its object happens to be shared; after JSON none is
    state: dict[str, Any] = json.loads(json.dumps(plain))
    state["weights"] = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    return state


def load_model(path: str | os.PathLike[str], *, device: str = "cpu") -> tuple[HybridModel, dict[str, Any]]:
    """A trained model, ready to use (eval mode), and the rest of its checkpoint: phones, inputs, metrics.

    Raises CheckpointError where the file is missing, damaged, of another kind, or does not fit its own config.
    """
    state = load_checkpoint(path, CHECKPOINT_KIND)
    needed = {"config", "input_dim", "num_pdfs", "phones", "inputs", "weights"}
    if not needed <= state.keys():
        problem = f"lacks {', '.join(sorted(needed - state.keys()))}"
        raise CheckpointError(path, problem, mend="use a checkpoint that 'am train' wrote")
    config = from_plain(HybridConfig, state["config"], str(path))
    model = HybridModel(config, state["input_dim"], state["num_pdfs"], len(state["phones"]))
    load_weights(model, state["weights"], path)
    return model.to(device).eval(), state
