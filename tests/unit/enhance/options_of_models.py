"""Another value of every option of every generator, and what is looked at: weights, output, latency."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from enhance.layers.wavlm import RandomConvolutionsConfig, RandomWavlmConfig, WavlmConfig, WavlmConvolutionsConfig
from enhance.models import MODELS
from enhance.models.advanced_segan import AdvancedSeganConfig
from enhance.models.compact import CompactConfig
from enhance.models.demucs import DemucsConfig
from enhance.models.dwave import DWaveConfig
from enhance.models.finally_ import FinallyConfig
from enhance.models.gatewave import GateWaveConfig
from enhance.models.hifi_gan import HiFiGANConfig
from enhance.models.hifi_plusplus import HiFiPlusPlusConfig
from enhance.models.segan import SeganConfig
from enhance.models.segan_plus import SeganPlusConfig
from enhance.models.wave_u_net import WaveUNetConfig
from tests.options_walk import Change
from tests.unit.enhance.conftest import voice

WAVLM = WavlmConfig(source="random", channels=8, random=RandomWavlmConfig(layers=1, conv_channels=8))
HIFI: dict[str, Any] = {
    "size": 64, "bands": 6, "channels": 8, "rates": (4, 2), "kernels": (8, 4), "resblock_kernels": (3,),
    "resblock_dilations": ((1, 3),),
}  # fmt: skip
BASES: dict[str, Any] = {
    "compact": CompactConfig(channels=4, dual_paths=1, dilations=(1, 2)),
    "demucs": DemucsConfig(hidden=3, depth=2),
    "gatewave": GateWaveConfig(hidden=3, depth=2),
    "wave_u_net": WaveUNetConfig(levels=2, filters=2),
    "finally": FinallyConfig(
        wavlm=WAVLM, channels=16, spectral_widths=(2, 4), spectral_depth=1, wave_widths=(2, 4), wave_depth=1,
        mask_widths=(2, 4), wide_widths=(2, 4), wide_depth=1, wide_channels=2, window=0.15, overlap=0.02,
    ),
    "hifi_gan": HiFiGANConfig(**HIFI),
    "hifi_plusplus": HiFiPlusPlusConfig(
        **HIFI, spectral_widths=(2, 4), spectral_depth=1, spectral_outs=4, wave_widths=(2, 4), wave_depth=1,
        mask_widths=(2, 4), mask_depth=1, window=0.1, overlap=0.02,
    ),
    "segan": SeganConfig(channels=(2, 3, 4)),
    "segan_plus": SeganPlusConfig(channels=(2, 4, 4)),
    "advanced_segan": AdvancedSeganConfig(channels=(2, 3, 4)),
    "dwave": DWaveConfig(dilations=(1, 4), kernels=3),
}  # fmt: skip


def saved_wavlm(folder: Path) -> str:
    """A directory with the weights of a WavLM that no seed of ours draws."""
    from transformers import WavLMConfig, WavLMModel

    torch.manual_seed(5)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    net = WavLMModel(WavLMConfig(
        **sizes, conv_dim=(8,) * 7, feat_extract_norm="layer", do_stable_layer_norm=True, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    ))  # fmt: skip
    net.save_pretrained(folder)
    return str(folder)


LABEL = Change(8000, shows="latency")  # the net itself counts in samples
SLOPES = {"emphasis": 0.5, "latent_seed": 3, "sample_rate": LABEL}
CHANGES: dict[type, dict[str, Any]] = {
    CompactConfig: {
        "sample_rate": 8000, "hop": 128, "low_bins": 61, "high_bands": 60, "channels": 8, "dual_paths": 2,
        "dilations": (1, 3), "compression": 0.5, "mask_limit": 1.5,
    },
    DemucsConfig: {
        "sample_rate": LABEL, "hidden": 4, "depth": 3, "kernel_size": 6, "stride": 2, "growth": 1.5, "max_hidden": 4,
        "causal": False, "resample": 2, "glu": False, "rescale": 0.0, "normalize": False, "floor": 0.1,
    },
    GateWaveConfig: {
        "sample_rate": LABEL, "hidden": 4, "depth": 1, "growth": 2.0, "kernel_size": 9, "padding": 3, "stride": 3,
        "block": "basic", "recurrent": False, "normalize": False, "floor": 0.1,
    },
    WaveUNetConfig: {
        "sample_rate": LABEL, "levels": 3, "filters": 3, "down_width": 9, "up_width": 3, "slope": 0.5, "bounded": False,
        "normalize": Change(True, given={"bounded": False}),
        "floor": Change(0.1, given={"bounded": False, "normalize": True}),
    },
    HiFiGANConfig: {
        "sample_rate": 16384, "size": 128, "bands": 7, "low": 200.0, "high": 4000.0, "channels": 16, "pre_kernel": 5,
        "rates": (2, 4), "kernels": (6, 4), "resblock": 2, "resblock_kernels": (5,), "resblock_dilations": ((1, 5),),
        "norm": "spectral",
    },
    HiFiPlusPlusConfig: {
        "spectral_widths": (2, 5), "spectral_depth": 2, "spectral_outs": 5, "positions": False, "wave_widths": (2, 5),
        "wave_depth": 2, "sees": "upsampled", "mask_widths": (2, 5), "mask_depth": 2, "order": "mask_first",
        "skips": False, "level": 0.1, "window": 0.12, "overlap": 0.03,
    },
    FinallyConfig: {
        "sample_rate": 48000, "channels": 32, "spectral_widths": (2, 5), "spectral_depth": 2, "wave_widths": (2, 5),
        "wave_depth": 2, "mask_widths": (2, 5), "mask_depth": 2, "tanh": True, "window": 0.12, "overlap": 0.03,
        **{name: Change(to, given={"sample_rate": 48000}) for name, to in {
            "wide_widths": (2, 5), "wide_depth": 2, "wide_channels": 3,
        }.items()},
        "freeze_backbone": Change(True, given={"sample_rate": 48000}, shows="learns"),
    },
    WavlmConvolutionsConfig: {"source": saved_wavlm, "normalise": False},
    WavlmConfig: {"channels": 16, "layer": 0},
    RandomConvolutionsConfig: {"conv_channels": 12, "seed": 1},
    RandomWavlmConfig: {"layers": 2, "heads": 4},
    SeganConfig: SLOPES | {
        "channels": (2, 3, 5), "activation": "leaky", "skip": "after", "latent": False, "latent_first": False,
        "upsampling": "nearest", "padding": "centred", "last": "prelu", "encoder_bias": False, "decoder_bias": False,
        "initial": "torch", "attention": Change((1,), given={"attention_span": 256}),
        "attention_span": Change(64, given={"attention": (1,), "attention_span": 256}),
    },
    SeganPlusConfig: SLOPES | {
        "channels": (2, 4, 6), "norm": "batch", "skip": "conv", "skip_init": "zero",
        "skip_width": Change(5, given={"skip": "conv"}), "merge": "sum", "latent": False, "bias": False,
        "initial": "xavier", "attention": Change((2,), given={"attention_span": 256}),
        "attention_span": Change(64, given={"attention": (2,), "attention_span": 1024}),
        "octave": 0.5, "inner_skips": True,
    },
    AdvancedSeganConfig: {
        "sample_rate": LABEL, "channels": (2, 3, 5), "shortcuts": False, "latent": False, "noisy_mean": 0.1,
        "noisy_std": 0.5, "clean_mean": 0.1, "clean_std": 0.5, "latent_seed": 3,
    },
    DWaveConfig: SLOPES | {
        "dilations": (1, 8), "width": 5, "kernels": 4, "channels": 2, "latent": 2, "causal": True,
    },
}  # fmt: skip
USUAL = "output"
SIGNAL = torch.stack([torch.from_numpy(voice(seed, 0.6)[3000:6300]) for seed in (0, 1)])


def observed(name: str, config: Any) -> dict[str, Any]:
    """What can be seen of a generator, built and run with a fixed seed."""
    torch.manual_seed(0)
    model = MODELS[name][1](config)
    with torch.no_grad():
        for parameter in model.parameters():  # some start as an identity
            parameter.add_(0.1 * torch.randn_like(parameter))
    with torch.inference_mode():
        torch.manual_seed(1)
        taught = model.train()(SIGNAL)
        said = model.eval()(SIGNAL)
    assert torch.isfinite(said).all()
    return {
        "weights": [(key, tuple(value.shape)) for key, value in model.state_dict().items()],
        "output": (taught, said),
        "latency": model.latency,
        "learns": [key for key, parameter in model.named_parameters() if parameter.requires_grad],
    }
