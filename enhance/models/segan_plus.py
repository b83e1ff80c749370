"""SEGAN+: a waveform encoder-decoder with a latent noise vector and learnt skips.

Papers: Pascual et al. 2017 (arXiv:1703.09452) and 2018/2019 (SEGAN+, arXiv:1904.03418).  Layer sizes as released:
5 convolutions of width 31 and stride 4 each way, skips taken before the activation, pre-emphasis 0.95.  Differs: long
audio is not cut into windows of 16384 samples; each block gets the context it needs, so blocks equal the whole.

Its authors wished for self-attention, octave convolution and skips inside the encoder: options, off by default.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from enhance.layers.attention import AttentionAtLevels, check_levels
from enhance.layers.latent import latent_noise
from enhance.layers.octave import Octave, slow_channels
from enhance.layers.strided import Down, Up
from enhance.models.context_stream import ContextGenerator

WIDTH, STRIDE = 31, 4
LATENT_PERIOD = 16  # bottleneck frames after which the latent noise repeats when denoising (16384 samples)


@dataclass(frozen=True, kw_only=True)
class SeganPlusConfig:
    sample_rate: int = 16000
    channels: tuple[int, ...] = (64, 128, 256, 512, 1024)
    norm: Literal["none", "batch", "spectral"] = "none"  # of encoder and decoder; batch leaves the last layer out
    skip: Literal["alpha", "conv", "constant"] = "alpha"  # alpha: a learnt factor a channel
    skip_init: Literal["one", "zero", "randn"] = "one"
    skip_width: int = 11  # samples, of skip: conv
    merge: Literal["concat", "sum"] = "concat"
    latent: bool = True  # noise of as many channels as the bottleneck, put before it
    bias: bool = True  # of the encoder; the decoder always has one
    initial: Literal["normal", "xavier"] = "normal"  # encoder N(0, 0.02), decoder as torch; or Xavier as WSEGAN
    emphasis: float = 0.95
    latent_seed: int = 111  # of the noise that denoising uses
    attention: tuple[int, ...] = ()  # levels (1: the first) with self-attention, on the way down and back
    attention_span: int = 8192  # samples that self-attention reaches each way
    octave: float = 0.0  # share of the channels between input and bottleneck that are slow, at half the frame rate
    inner_skips: bool = False  # in the encoder, from the input of the level before to the output of each

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise ValueError(f"channels needs at least two levels, got {list(self.channels)}")
        if self.skip_width % 2 == 0:
            raise ValueError(f"skip_width must be odd, got {self.skip_width}")
        if not 0 <= self.emphasis < 1:
            raise ValueError(f"emphasis must lie in [0, 1), got {self.emphasis}")
        if not 0 <= self.octave < 1:
            raise ValueError(f"octave is a share and must lie in [0, 1), got {self.octave}")
        check_levels(self.attention, self.attention_span, len(self.channels), STRIDE)


class Skip(nn.Module):
    """What an encoder layer hands to the decoder: scaled, filtered, or as it is."""

    def __init__(self, channels: int, config: SeganPlusConfig) -> None:
        super().__init__()
        self.kind = config.skip
        if config.skip == "conv":
            width = config.skip_width
            self.conv = nn.Conv1d(channels, channels, width, padding=width // 2, bias=config.bias)
            return
        match config.skip_init:
            case "one":
                factor = torch.ones(1, channels, 1)
            case "zero":
                factor = torch.zeros(1, channels, 1)
            case "randn":
                factor = torch.randn(1, channels, 1)
            case _:
                raise ValueError(f"skip_init must be one, zero or randn, got {config.skip_init!r}")
        self.skip_k = nn.Parameter(factor, requires_grad=config.skip == "alpha")

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, channels, frames] -> the same shape."""
        out: Tensor = self.conv(hidden) if self.kind == "conv" else self.skip_k * hidden
        return out


class InnerSkip(nn.Module):
    """The mean over the samples that an output frame of two levels stands for, mixed to its channels."""

    def __init__(self, few: int, many: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(few, many, 1, bias=False)

    def forward(self, before: Tensor) -> Tensor:
        """[batch, few, frames] -> [batch, many, frames / 16]."""
        out: Tensor = self.conv(nn.functional.avg_pool1d(before, STRIDE**2))
        return out


class SeganPlus(ContextGenerator):
    """The generator; see the module's text."""

    def __init__(self, config: SeganPlusConfig) -> None:
        super().__init__()
        self.config, self.sample_rate, self.emphasis = config, config.sample_rate, config.emphasis
        outs = config.channels
        ins = (1, *outs[:-1])
        self.encoder = nn.ModuleList(_down(level, config) for level in range(len(outs)))
        self.encoder_norm = nn.ModuleList(_norm(many, config) for many in outs)
        self.encoder_act = nn.ModuleList(nn.PReLU(many, init=0) for many in outs)
        self.skips = nn.ModuleList(Skip(channels, config) for channels in outs[:-1])
        self.inner_skips = nn.ModuleList(
            InnerSkip(few, many) for few, many in zip(ins[:-1], outs[1:], strict=True) if config.inner_skips
        )
        targets = [*reversed(outs[:-1]), 1]
        self.decoder = nn.ModuleList(_up(level, config) for level in reversed(range(len(outs))))
        self.decoder_norm = nn.ModuleList(_norm(few, config) for few in targets[:-1])
        self.decoder_act = nn.ModuleList(nn.PReLU(few, init=0) for few in targets[:-1])
        self.attention = AttentionAtLevels(config.attention, config.attention_span, outs, STRIDE)
        self.apply(_normal if config.initial == "normal" else _xavier)
        if config.norm == "spectral":
            for module in [*self.modules()]:
                if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                    spectral_norm(module)

    @property
    def alignment(self) -> int:
        """Samples that a bottleneck frame stands for; blocks start at multiples of it."""
        return int(STRIDE ** len(self.config.channels))

    @property
    def context(self) -> int:
        """Samples on each side that a block needs: half the receptive field, to the next multiple of alignment."""
        config, levels = self.config, len(self.config.channels)
        one_way = 16 * sum(STRIDE**level for level in range(levels))  # 15 or 16 taps a side, at each level's rate
        if config.octave:
            one_way *= 2  # slow channels reach twice as far
        skip = config.skip_width // 2 * STRIDE ** (levels - 1) if config.skip == "conv" else 0
        frames = math.ceil((2 * one_way + skip + self.attention.reach) / self.alignment)
        return int(frames * self.alignment)

    def raw(self, samples: Tensor, frame: int) -> Tensor:
        """[batch, samples] -> [batch, samples], both pre-emphasised: the domain where the objective judges them."""
        count = samples.shape[-1]
        hidden, skips = self._encoded(nn.functional.pad(samples, (0, -count % self.alignment))[:, None])
        if self.config.latent:
            noise = latent_noise(
                hidden, fresh=self.training, frame=frame, period=LATENT_PERIOD, seed=self.config.latent_seed
            )
            hidden = torch.cat([noise, hidden], dim=1)
        for deconv, norm, act in zip(self.decoder, self.decoder_norm, self.decoder_act, strict=False):
            hidden = self.attention(f"decoder{len(skips)}", act(norm(deconv(hidden))))
            taken = skips.pop()
            hidden = torch.cat([hidden, taken], dim=1) if self.config.merge == "concat" else hidden + taken
        return torch.tanh(self.decoder[-1](hidden))[:, 0, :count]

    def _encoded(self, hidden: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The bottleneck, and what the levels above it hand to the decoder."""
        skips: list[Tensor] = []
        before = hidden  # the input of the level before
        for level, (conv, norm, act) in enumerate(zip(self.encoder, self.encoder_norm, self.encoder_act, strict=True)):
            linear = norm(conv(hidden))
            if level < len(self.skips):
                skips.append(self.skips[level](linear))
            out = act(linear)
            if level and self.config.inner_skips:
                out = out + self.inner_skips[level - 1](before)
            hidden, before = self.attention(f"encoder{level + 1}", out), hidden
        return hidden, skips


def _split(level: int, config: SeganPlusConfig) -> tuple[int, int]:
    """Fast and slow channels after a level; input (level 0), bottleneck and output are all fast."""
    channels = (1, *config.channels)[level]
    slow = slow_channels(channels, config.octave) if 0 < level < len(config.channels) else 0
    return channels - slow, slow


def _down(level: int, config: SeganPlusConfig) -> nn.Module:
    """The convolution from one level to the next; 14 samples of mirrored padding before the first."""
    ins, outs, lead = _split(level, config), _split(level + 1, config), WIDTH // 2 - 1
    if config.octave:
        return Octave([ins], outs, WIDTH, STRIDE, up=False, lead=lead, mirror=True, bias=config.bias)
    return Down(sum(ins), sum(outs), WIDTH, STRIDE, lead=lead, mirror=True, bias=config.bias)


def _up(level: int, config: SeganPlusConfig) -> nn.Module:
    """The transposed convolution to a level from the next, whose channels come with noise or with a skip."""
    deepest = level + 1 == len(config.channels)
    twice = config.latent if deepest else config.merge == "concat"
    parts, outs = [_split(level + 1, config)] * (2 if twice else 1), _split(level, config)
    if config.octave:
        return Octave(parts, outs, WIDTH, STRIDE, up=True)
    return Up(sum(map(sum, parts)), sum(outs), WIDTH, STRIDE)


def _norm(channels: int, config: SeganPlusConfig) -> nn.Module:
    """Spectral norm is put on the weights themselves, later."""
    return nn.BatchNorm1d(channels) if config.norm == "batch" else nn.Identity()


def _normal(module: nn.Module) -> None:
    """As SEGAN+: encoder weights N(0, 0.02), biases 0; transposed convolutions as torch does."""
    if isinstance(module, nn.Conv1d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _xavier(module: nn.Module) -> None:
    """As WSEGAN: everywhere, biases 0."""
    if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
