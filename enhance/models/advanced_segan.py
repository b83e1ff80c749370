"""Advanced SEGAN: SEGAN's eleven levels with batch norm and shortcuts over a layer, on signals of unit spread.

Source: Sela and Omer 2024, Advanced-SEGAN (117,726,726 parameters; no paper).  A shortcut is a convolution of width 31
and stride 4 from the input of the layer before.  Differs: the second output channel there, a copy of the input, is
left out; the noise is a fixed one when denoising.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from enhance.layers.latent import latent_noise
from enhance.layers.strided import Down, Up
from enhance.models.context_stream import ContextGenerator

WIDTH, STRIDE, LEAD = 31, 2, 15
WINDOW = 16384  # samples of the published windows; the latent noise repeats after as many


@dataclass(frozen=True, kw_only=True)
class AdvancedSeganConfig:
    sample_rate: int = 16000
    channels: tuple[int, ...] = (16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 1024)
    shortcuts: bool = True  # over a layer, in encoder and decoder
    latent: bool = True  # noise of as many channels as the bottleneck, put behind it
    noisy_mean: float = -1.0704e-4  # of all noisy training samples (1 = full scale); these are Valentini's
    noisy_std: float = 0.075683
    clean_mean: float = -3.028e-5
    clean_std: float = 0.0621301
    latent_seed: int = 111  # of the noise that denoising uses

    def __post_init__(self) -> None:
        if len(self.channels) < 2:
            raise ValueError(f"channels needs at least two levels, got {list(self.channels)}")
        if self.noisy_std <= 0 or self.clean_std <= 0:
            raise ValueError(f"noisy_std and clean_std must be positive, got {self.noisy_std}, {self.clean_std}")


class Block(nn.Module):
    """Convolution, batch norm, ReLU, and beside them the shortcut from the input of the layer before."""

    def __init__(self, conv: nn.Module, channels: int, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.conv, self.norm, self.shortcut = conv, nn.BatchNorm1d(channels), shortcut

    def forward(self, hidden: Tensor, before: Tensor) -> Tensor:
        """hidden: this layer's input; before: that of the layer before, at another number of frames."""
        out: Tensor = torch.relu(self.norm(self.conv(hidden)))
        return out if self.shortcut is None else out + self.shortcut(before)


class AdvancedSegan(ContextGenerator):
    """The generator; see the module's text."""

    def __init__(self, config: AdvancedSeganConfig) -> None:
        super().__init__()
        self.config, self.sample_rate = config, config.sample_rate
        outs = config.channels
        self.encoder = _blocks(Down, [1, *outs[:-1]], [*outs], config.shortcuts)
        widths = [outs[-1] * (2 if config.latent else 1), *(2 * channels for channels in reversed(outs[:-1]))]
        self.decoder = _blocks(Up, widths, [*reversed(outs[:-1]), 1], config.shortcuts)
        self.last_norm = nn.BatchNorm1d(1)
        self.last = nn.Conv1d(1, 1, WIDTH, padding=WIDTH // 2)

    @property
    def alignment(self) -> int:
        """Samples that a bottleneck frame stands for."""
        return int(STRIDE ** len(self.config.channels))

    @property
    def context(self) -> int:
        """Half the receptive field: at most 16 taps a side at each level's rate, both ways, and the last layer's."""
        reach = 2 * 16 * (self.alignment - 1) + WIDTH // 2
        return int(math.ceil(reach / self.alignment) * self.alignment)

    def raw(self, samples: Tensor, frame: int) -> Tensor:
        """[batch, samples] -> [batch, samples]."""
        config, count = self.config, samples.shape[-1]
        normalised = (samples - config.noisy_mean) / config.noisy_std
        hidden = before = nn.functional.pad(normalised, (0, -count % self.alignment))[:, None]
        skips = []
        for block in self.encoder:
            skips.append(hidden)
            hidden, before = block(hidden, before), hidden
        if config.latent:
            hidden = torch.cat([hidden, self._latent(hidden, frame)], dim=1)
        for index, block in enumerate(self.decoder):
            if index:
                hidden = torch.cat([hidden, skips[-index]], dim=1)
            hidden, before = block(hidden, before), hidden
        wave: Tensor = self.last(torch.relu(self.last_norm(hidden)))[:, 0, :count]
        return wave * config.clean_std + config.clean_mean

    def _latent(self, bottleneck: Tensor, frame: int) -> Tensor:
        period = max(1, WINDOW // self.alignment)
        return latent_noise(bottleneck, fresh=self.training, frame=frame, period=period, seed=self.config.latent_seed)


def _blocks(kind: type[Down] | type[Up], ins: list[int], outs: list[int], shortcuts: bool) -> nn.ModuleList:
    """One block a level; from the second on with a shortcut over the one before."""
    blocks = nn.ModuleList()
    for level, (many, few) in enumerate(zip(ins, outs, strict=True)):
        shortcut = kind(ins[level - 1], few, WIDTH, STRIDE**2, lead=LEAD) if shortcuts and level else None
        blocks.append(Block(kind(many, few, WIDTH, STRIDE, lead=LEAD), few, shortcut))
    return blocks
