"""The generators.  A new one is a file here and a line in MODELS."""

from __future__ import annotations

from typing import Any

from enhance.models.advanced_segan import AdvancedSegan, AdvancedSeganConfig
from enhance.models.compact import Compact, CompactConfig
from enhance.models.demucs import Demucs, DemucsConfig
from enhance.models.dwave import DWave, DWaveConfig
from enhance.models.finally_ import Finally, FinallyConfig
from enhance.models.gatewave import GateWave, GateWaveConfig
from enhance.models.generator import Generator, Stream
from enhance.models.hifi_gan import HiFiGAN, HiFiGANConfig
from enhance.models.hifi_plusplus import HiFiPlusPlus, HiFiPlusPlusConfig
from enhance.models.segan import Segan, SeganConfig
from enhance.models.segan_plus import SeganPlus, SeganPlusConfig
from enhance.models.wave_u_net import WaveUNet, WaveUNetConfig

MODELS: dict[str, tuple[Any, Any]] = {
    "compact": (CompactConfig, Compact),
    "demucs": (DemucsConfig, Demucs),
    "gatewave": (GateWaveConfig, GateWave),
    "wave_u_net": (WaveUNetConfig, WaveUNet),
    "finally": (FinallyConfig, Finally),
    "hifi_gan": (HiFiGANConfig, HiFiGAN),
    "hifi_plusplus": (HiFiPlusPlusConfig, HiFiPlusPlus),
    "segan": (SeganConfig, Segan),
    "segan_plus": (SeganPlusConfig, SeganPlus),
    "advanced_segan": (AdvancedSeganConfig, AdvancedSegan),
    "dwave": (DWaveConfig, DWave),
}

__all__ = ["MODELS", "Generator", "Stream"]
