"""SEGAN+: a waveform encoder-decoder with a latent noise vector and learnt skips.

Papers: Pascual et al. 2017 (arXiv:1703.09452) and 2018/2019 (SEGAN+, arXiv:1904.03418).  Layer sizes as released:
5 convolutions of width 31 and stride 4 each way, skips taken before the activation, pre-emphasis 0.95.  Differs: long
audio is not cut into windows of 16384 samples; each block gets the context it needs, so blocks equal the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from enhance.models.context_stream import ContextGenerator

WIDTH, STRIDE = 31, 4
LATENT_PERIOD = 16  # bottleneck frames after which the latent noise repeats when denoising (16384 samples)


@dataclass(frozen=True, kw_only=True)
class SeganPlusConfig:
    sample_rate: int = 16000
    channels: tuple[int, ...] = (64, 128, 256, 512, 1024)
    skip: Literal["alpha", "conv", "constant"] = "alpha"  # alpha: a learnt factor a channel
    skip_init: Literal["one", "zero", "randn"] = "one"
    skip_width: int = 11  # samples, of skip: conv
    merge: Literal["concat", "sum"] = "concat"
    latent: bool = True  # noise of as many channels as the bottleneck, put before it
    bias: bool = True  # of the encoder; the decoder always has one
    emphasis: float = 0.95
    latent_seed: int = 111  # of the noise that denoising uses

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise ValueError(f"channels needs at least two levels, got {list(self.channels)}")
        if self.skip_width % 2 == 0:
            raise ValueError(f"skip_width must be odd, got {self.skip_width}")
        if not 0 <= self.emphasis < 1:
            raise ValueError(f"emphasis must lie in [0, 1), got {self.emphasis}")


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


class SeganPlus(ContextGenerator):
    """The generator; see the module's text."""

    def __init__(self, config: SeganPlusConfig) -> None:
        super().__init__()
        self.config, self.sample_rate, self.emphasis = config, config.sample_rate, config.emphasis
        ins, outs = (1, *config.channels[:-1]), config.channels
        self.encoder = nn.ModuleList(
            nn.Conv1d(few, many, WIDTH, STRIDE, bias=config.bias) for few, many in zip(ins, outs, strict=True)
        )
        self.encoder_act = nn.ModuleList(nn.PReLU(many, init=0) for many in outs)
        self.skips = nn.ModuleList(Skip(channels, config) for channels in outs[:-1])
        twice = 2 if config.merge == "concat" else 1
        widths = [outs[-1] * (2 if config.latent else 1), *(twice * channels for channels in reversed(outs[:-1]))]
        targets = [*reversed(outs[:-1]), 1]
        self.decoder = nn.ModuleList(
            nn.ConvTranspose1d(many, few, WIDTH, STRIDE, padding=13) for many, few in zip(widths, targets, strict=True)
        )
        self.decoder_act = nn.ModuleList(nn.PReLU(few, init=0) for few in targets[:-1])
        self.apply(_initialise)

    @property
    def alignment(self) -> int:
        """Samples that a bottleneck frame stands for; blocks start at multiples of it."""
        return int(STRIDE ** len(self.config.channels))

    @property
    def context(self) -> int:
        """Samples on each side that a block needs: half the receptive field, to the next multiple of alignment."""
        levels = len(self.config.channels)
        one_way = 16 * sum(STRIDE**level for level in range(levels))  # 15 or 16 taps a side, at each level's rate
        skip = self.config.skip_width // 2 * STRIDE ** (levels - 1) if self.config.skip == "conv" else 0
        frames = math.ceil((2 * one_way + skip) / self.alignment)
        return int(frames * self.alignment)

    def raw(self, samples: Tensor, frame: int) -> Tensor:
        """[batch, samples] -> [batch, samples], both pre-emphasised: the domain where the objective judges them."""
        count = samples.shape[-1]
        hidden = nn.functional.pad(samples, (0, -count % self.alignment))[:, None]
        skips = []
        for conv, act, skip in zip(self.encoder, self.encoder_act, [*self.skips, None], strict=True):
            hidden = conv(_reflected(hidden))
            skips.append(skip(hidden) if skip is not None else hidden)
            hidden = act(hidden)
        skips.pop()
        if self.config.latent:
            hidden = torch.cat([self._latent(hidden, frame), hidden], dim=1)
        for index, deconv in enumerate(self.decoder):
            hidden = deconv(hidden)[..., :-1]
            if index < len(self.decoder_act):
                hidden = self.decoder_act[index](hidden)
                taken = skips.pop()
                hidden = torch.cat([hidden, taken], dim=1) if self.config.merge == "concat" else hidden + taken
        return torch.tanh(hidden)[:, 0, :count]

    def _latent(self, bottleneck: Tensor, frame: int) -> Tensor:
        """Noise as large as the bottleneck: fresh while training, a fixed repeating piece otherwise."""
        if self.training:
            return torch.randn_like(bottleneck)
        generator = torch.Generator().manual_seed(self.config.latent_seed)
        piece = torch.randn(bottleneck.shape[1], LATENT_PERIOD, generator=generator).to(bottleneck)
        place = (torch.arange(bottleneck.shape[-1], device=bottleneck.device) + frame) % LATENT_PERIOD
        return piece[:, place].expand(bottleneck.shape[0], -1, -1)


def _reflected(hidden: Tensor) -> Tensor:
    """14 samples before and 15 behind, mirrored; zeros where a very short input cannot be mirrored."""
    mode = "reflect" if hidden.shape[-1] > WIDTH // 2 else "constant"
    return nn.functional.pad(hidden, (WIDTH // 2 - 1, WIDTH // 2), mode=mode)


def _initialise(module: nn.Module) -> None:
    """As released: encoder weights N(0, 0.02), biases 0; transposed convolutions as torch does."""
    if isinstance(module, nn.Conv1d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
