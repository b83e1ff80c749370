"""Features of WavLM (Chen et al. 2022, arXiv:2110.13900): a frozen listener that generators and losses share.

The net comes from the package transformers, which reads a local directory or fetches a hub name.  It is not a torch
submodule of who uses it, so that it is neither trained nor counted nor saved: a checkpoint names its source only.
Differs from course_work_baselines: input is brought to zero mean and unit variance, as WavLM-large was trained.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.errors import CheckpointError, ConfigError
from harness.log import get_logger

LEAST = 400  # samples that the convolutions need for one frame
ELSEWHERE = "SCHOOLYARD_WAVLM"  # environment variable: where this machine has the weights, for named sources
LARGE: dict[str, Any] = {  # sizes of WavLM-large as released: 315,453,120 parameters
    "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
    "conv_dim": (512,) * 7, "feat_extract_norm": "layer", "do_stable_layer_norm": True, "num_conv_pos_embeddings": 128,
    "num_conv_pos_embedding_groups": 16,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RandomConvolutionsConfig:
    """Random weights, for tests and toys: such a net hears nothing that a trained one hears."""

    conv_channels: int = 16
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class RandomWavlmConfig(RandomConvolutionsConfig):
    """Sizes of the transformer behind the convolutions."""

    layers: int = 2
    heads: int = 2


@dataclass(frozen=True, kw_only=True)
class WavlmConvolutionsConfig:
    """What a loss listens with: the convolutions alone."""

    source: str = "microsoft/wavlm-large"  # a directory, a hub name, or "random"
    normalise: bool = True  # zero mean, unit variance
    random: RandomConvolutionsConfig = field(default_factory=RandomConvolutionsConfig)  # of source: random


@dataclass(frozen=True, kw_only=True)
class WavlmConfig(WavlmConvolutionsConfig):
    """What a generator listens with: the transformer behind them too."""

    channels: int = 1024  # of the transformer; must be those of the source
    layer: int = -1  # hidden state: 0 before the transformer, n after its n-th layer, -1 the last
    random: RandomWavlmConfig = field(default_factory=RandomWavlmConfig)

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"channels must be positive, got {self.channels}")
        if self.layer < -1:
            raise ValueError(f"layer must be -1 or a hidden state's number, got {self.layer}")


class Wavlm:
    """A handle: the net is loaded at the first use, once per source and device, whoever asks.

    Copies of the handle are the handle, so a model that holds it can be copied and pickled cheaply.
    """

    def __init__(self, config: WavlmConvolutionsConfig) -> None:
        self.config = config

    def __deepcopy__(self, _: dict[int, Any]) -> Wavlm:
        return self

    def hidden(self, samples: Tensor) -> Tensor:
        """[batch, samples] at 16 kHz -> [batch, frames, channels], 50 a second, without gradient.

        Only of a handle made with a WavlmConfig.
        """
        config, net = self.config, self._net(samples.device)
        assert isinstance(config, WavlmConfig)
        with torch.no_grad():
            states = net(self._input(samples), output_hidden_states=True)
        if config.layer == -1:
            last: Tensor = states.last_hidden_state
            return last
        if config.layer >= len(states.hidden_states):
            problem = f"wavlm.layer is {config.layer}, but {config.source} has {net.config.num_hidden_layers}"
            raise ConfigError("wavlm", problem, mend="choose a layer that it has")
        chosen: Tensor = states.hidden_states[config.layer]
        return chosen

    def convolutions(self, samples: Tensor) -> Tensor:
        """[batch, samples] at 16 kHz -> layer-normed output of the convolutions [batch, frames, conv channels].

        Gradients pass to the samples, not to the net.
        """
        net = self._net(samples.device)
        features = net.feature_extractor(self._input(samples)).transpose(1, 2)
        normed: Tensor = net.feature_projection(features)[1]
        return normed

    def _input(self, samples: Tensor) -> Tensor:
        if self.config.normalise:
            centred = samples - samples.mean(-1, keepdim=True)
            samples = centred / (centred.square().mean(-1, keepdim=True) + 1e-7).sqrt()
        return nn.functional.pad(samples, (0, max(0, LEAST - samples.shape[-1])))

    def _net(self, device: torch.device) -> Any:
        config = self.config
        net = _loaded(config.source, _drawn(config) if config.source == "random" else None, device)
        if isinstance(config, WavlmConfig) and net.config.hidden_size != config.channels:
            problem = f"has {net.config.hidden_size} channels, wavlm.channels says {config.channels}"
            raise CheckpointError(config.source, problem, mend="set wavlm.channels, or give the other WavLM")
        return net


class UntrainedWavlm(Wavlm):
    """WavLM-large with weights drawn at random: it costs what the trained one costs, and hears nothing."""

    def _net(self, device: torch.device) -> Any:
        return _untrained(device)


@lru_cache(maxsize=2)
def _untrained(device: torch.device) -> Any:
    """Built where it is wanted, so that the meta device needs no memory."""
    with warnings.catch_warnings(), torch.inference_mode(False), torch.random.fork_rng(devices=[]), device:
        warnings.simplefilter("ignore")
        config_class, net_class = _transformers()
        torch.manual_seed(0)
        return net_class(config_class(**LARGE)).requires_grad_(False).eval()


def _drawn(config: WavlmConvolutionsConfig) -> tuple[int, RandomWavlmConfig]:
    """Channels and sizes of a random net; behind convolutions that are used alone, the transformer is small."""
    if isinstance(config, WavlmConfig):
        return config.channels, config.random
    return 16, RandomWavlmConfig(conv_channels=config.random.conv_channels, seed=config.random.seed)


@lru_cache(maxsize=4)
def _loaded(source: str, drawn: tuple[int, RandomWavlmConfig] | None, device: torch.device) -> Any:
    """The frozen net.  Raises ConfigError without transformers, CheckpointError without usable weights."""
    # Weights made in inference mode could never pass gradients on, and whoever comes first loads them for all.
    with warnings.catch_warnings(), torch.inference_mode(False):
        warnings.simplefilter("ignore")  # of transformers and of the packages that it tries to import
        config_class, net_class = _transformers()
        if drawn is not None:
            get_logger("enhance").warning("WavLM has random weights (wavlm.source is random): for tests and toys only")
            net = _random(config_class, net_class, *drawn)
        else:
            net = _from_files(net_class, source)
        return net.requires_grad_(False).eval().to(device)


def _transformers() -> tuple[Any, Any]:
    """The classes of WavLM's config and net."""
    try:
        from transformers import WavLMConfig, WavLMModel
    except ImportError as error:
        problem = "WavLM needs the package transformers"
        raise ConfigError("wavlm", problem, mend="pip install transformers") from error
    return WavLMConfig, WavLMModel


def _from_files(net_class: Any, source: str) -> Any:
    place = source
    if not Path(source).is_dir() and os.environ.get(ELSEWHERE):
        place = os.environ[ELSEWHERE]
    mend = f"give a directory with config.json and weights as wavlm.source, or as the environment variable {ELSEWHERE}"
    local = Path(place).is_dir()
    if not local and (place.count("/") != 1 or place.startswith((".", "/", "~"))):
        raise CheckpointError(place, "no such directory with WavLM weights", mend=mend)
    try:
        net, report = net_class.from_pretrained(place, output_loading_info=True, local_files_only=local)
    except Exception as error:  # missing and damaged files, no network: transformers raises all kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        raise CheckpointError(place, f"WavLM cannot be loaded: {reason}", mend=mend) from error
    missing = sorted(set(report["missing_keys"]) - {"masked_spec_embed"})  # that one only serves pretraining
    if missing or report["mismatched_keys"]:
        named = ", ".join(missing[:3]) or "shapes differ"
        raise CheckpointError(place, f"holds the weights of another model ({named})", mend=mend)
    return net


def _random(config_class: Any, net_class: Any, channels: int, sizes: RandomWavlmConfig) -> Any:
    """A small net of the large one's kind (layer norms throughout); the global generator is left as it was."""
    config = config_class(
        hidden_size=channels, num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads,
        intermediate_size=2 * channels, conv_dim=(sizes.conv_channels,) * 7, feat_extract_norm="layer",
        do_stable_layer_norm=True, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(sizes.seed)
        return net_class(config)
