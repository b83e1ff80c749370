"""Acoustic model trunks by name: what turns packed feature rows into packed hidden rows."""

from __future__ import annotations

from typing import Any

from am.models.gru import GRU, GRUConfig
from am.models.ligru import LiGRU, LiGRUConfig
from am.models.lstm import LSTM, LSTMConfig
from am.models.mlp import MLP, MLPConfig

# name -> (its Config, its module); a module takes (input_dim, config), has output_dim and directions
MODELS: dict[str, tuple[type[Any], type[Any]]] = {
    "ligru": (LiGRUConfig, LiGRU),
    "lstm": (LSTMConfig, LSTM),
    "gru": (GRUConfig, GRU),
    "mlp": (MLPConfig, MLP),
}

__all__ = ["GRU", "LSTM", "MLP", "MODELS", "GRUConfig", "LSTMConfig", "LiGRU", "LiGRUConfig", "MLPConfig"]
