"""Acoustic model trunks by name: what turns packed feature rows into packed hidden rows."""

from __future__ import annotations

from typing import Any

from am.models.cnn import CNN, CNNConfig
from am.models.gru import GRU, GRUConfig
from am.models.ligru import LiGRU, LiGRUConfig
from am.models.lstm import LSTM, LSTMConfig
from am.models.mlp import MLP, MLPConfig
from am.models.normed_recurrent import MinimalGRU, NormedGRU, NormedLSTM, NormedRecurrentConfig
from am.models.sincnet import SincNet, SincNetConfig
from am.models.sru import SRU, SRUConfig

# name -> (its Config, its module); a module takes (input_dim, config), has output_dim and directions
MODELS: dict[str, tuple[type[Any], type[Any]]] = {
    "ligru": (LiGRUConfig, LiGRU),
    "lstm": (LSTMConfig, LSTM),
    "gru": (GRUConfig, GRU),
    "normed_lstm": (NormedRecurrentConfig, NormedLSTM),
    "normed_gru": (NormedRecurrentConfig, NormedGRU),
    "minimal_gru": (NormedRecurrentConfig, MinimalGRU),
    "sru": (SRUConfig, SRU),
    "mlp": (MLPConfig, MLP),
    "cnn": (CNNConfig, CNN),
    "sincnet": (SincNetConfig, SincNet),
}

__all__ = ["MODELS"]
