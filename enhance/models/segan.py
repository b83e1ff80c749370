"""SEGAN: a waveform encoder-decoder of eleven levels with a latent noise vector, the first of its family.

Paper: Pascual et al. 2017 (arXiv:1703.09452): convolutions of width 31 and stride 2 each way, pre-emphasis 0.95.  The
defaults are its TensorFlow release (73,100,049 parameters); cfg/enhance/segan_basic.yaml is the variant that Advanced
SEGAN compares itself with (73,096,071).  Differs: long audio is not cut into windows of 16384 samples, and the noise is
a fixed one when denoising.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from enhance.layers.attention import AttentionAtLevels, check_levels
from enhance.layers.initial import truncated_normal
from enhance.layers.latent import latent_noise
from enhance.layers.strided import Down, Up, UpNearest
from enhance.models.context_stream import ContextGenerator

WIDTH, STRIDE = 31, 2
WINDOW = 16384  # samples of the published windows; the latent noise repeats after as many


@dataclass(frozen=True, kw_only=True)
class SeganConfig:
    sample_rate: int = 16000
    channels: tuple[int, ...] = (16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 1024)
    activation: Literal["prelu", "shared_prelu", "leaky"] = "prelu"  # a slope a channel, one a layer, or 0.3 for all
    skip: Literal["before", "after"] = "before"  # what the decoder gets: the layer before or after its activation
    latent: bool = True  # noise of as many channels as the bottleneck
    latent_first: bool = True  # put before the bottleneck's channels, or behind them
    upsampling: Literal["transposed", "nearest"] = "transposed"
    padding: Literal["same", "centred"] = "same"  # 14 samples before and 15 behind as TensorFlow, or 15 and 14
    last: Literal["tanh", "prelu"] = "tanh"
    encoder_bias: bool = True
    decoder_bias: bool = True
    initial: Literal["truncated_normal", "torch"] = "truncated_normal"  # of deviation 0.02, biases 0
    emphasis: float = 0.95
    latent_seed: int = 111  # of the noise that denoising uses
    attention: tuple[int, ...] = ()  # levels (1: the first) with self-attention, on the way down and back, as SASEGAN
    attention_span: int = 8192  # samples that self-attention reaches each way

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise ValueError(f"channels needs at least two levels, got {list(self.channels)}")
        if self.upsampling == "nearest" and self.padding == "centred":
            raise ValueError("padding: centred is a choice of upsampling: transposed; nearest needs none")
        if not 0 <= self.emphasis < 1:
            raise ValueError(f"emphasis must lie in [0, 1), got {self.emphasis}")
        check_levels(self.attention, self.attention_span, len(self.channels), STRIDE)


class Segan(ContextGenerator):
    """The generator; see the module's text."""

    def __init__(self, config: SeganConfig) -> None:
        super().__init__()
        self.config, self.sample_rate, self.emphasis = config, config.sample_rate, config.emphasis
        outs, lead = config.channels, 14 if config.padding == "same" else 15
        self.encoder = nn.ModuleList(
            Down(few, many, WIDTH, STRIDE, lead=lead, bias=config.encoder_bias)
            for few, many in zip((1, *outs[:-1]), outs, strict=True)
        )
        self.encoder_act = nn.ModuleList(_activation(config.activation, many) for many in outs)
        widths = [outs[-1] * (2 if config.latent else 1), *(2 * channels for channels in reversed(outs[:-1]))]
        targets = [*reversed(outs[:-1]), 1]
        self.decoder = nn.ModuleList(_up(many, few, lead, config) for many, few in zip(widths, targets, strict=True))
        self.decoder_act = nn.ModuleList(_activation(config.activation, few) for few in targets[:-1])
        self.decoder_act.append(nn.Tanh() if config.last == "tanh" else nn.PReLU())
        self.attention = AttentionAtLevels(config.attention, config.attention_span, outs, STRIDE)
        if config.initial == "truncated_normal":
            self.apply(truncated_normal)

    @property
    def alignment(self) -> int:
        """Samples that a bottleneck frame stands for."""
        return int(STRIDE ** len(self.config.channels))

    @property
    def context(self) -> int:
        """Half the receptive field (at most 16 taps a side at each level's rate, both ways), in whole frames."""
        reach = 2 * 16 * (self.alignment - 1) + self.attention.reach
        return int(math.ceil(reach / self.alignment) * self.alignment)

    def raw(self, samples: Tensor, frame: int) -> Tensor:
        """[batch, samples] -> [batch, samples], both pre-emphasised."""
        count = samples.shape[-1]
        hidden = nn.functional.pad(samples, (0, -count % self.alignment))[:, None]
        skips = []
        for level, (conv, act) in enumerate(zip(self.encoder, self.encoder_act, strict=True), start=1):
            before = conv(hidden)
            hidden = self.attention(f"encoder{level}", act(before))
            skips.append(before if self.config.skip == "before" else hidden)
        skips.pop()
        if self.config.latent:
            both = [self._latent(hidden, frame), hidden]
            hidden = torch.cat(both if self.config.latent_first else both[::-1], dim=1)
        for up, act in zip(self.decoder, self.decoder_act, strict=True):
            hidden = act(up(hidden))
            if skips:
                hidden = self.attention(f"decoder{len(skips)}", hidden)
                hidden = torch.cat([hidden, skips.pop()], dim=1)
        return hidden[:, 0, :count]

    def _latent(self, bottleneck: Tensor, frame: int) -> Tensor:
        period = max(1, WINDOW // self.alignment)
        return latent_noise(bottleneck, fresh=self.training, frame=frame, period=period, seed=self.config.latent_seed)


def _activation(kind: str, channels: int) -> nn.Module:
    match kind:
        case "prelu":
            return nn.PReLU(channels, init=0)
        case "shared_prelu":
            return nn.PReLU()
        case "leaky":
            return nn.LeakyReLU(0.3)
        case _:
            raise ValueError(f"activation must be prelu, shared_prelu or leaky, got {kind!r}")


def _up(many: int, few: int, lead: int, config: SeganConfig) -> nn.Module:
    if config.upsampling == "nearest":
        return UpNearest(many, few, WIDTH, STRIDE, bias=config.decoder_bias)
    return Up(many, few, WIDTH, STRIDE, lead=lead, bias=config.decoder_bias)
