"""The critic of SEGAN+: strided convolutions over the pair (speech under test, noisy).

Paper: Pascual et al. 2017 (arXiv:1703.09452); layer sizes as released for SEGAN+, 16384 samples at a time.  Differs:
longer input is judged in windows of that length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from enhance.critics.critic import Critic, Opinion

WIDTH, STRIDE = 31, 4


@dataclass(frozen=True, kw_only=True)
class SeganCriticConfig:
    channels: tuple[int, ...] = (64, 128, 256, 512, 1024)
    norm: Literal["batch", "spectral", "none"] = "batch"
    phase_shift: int = 5  # samples; each layer's input is rolled by 1 to so many, either way; 0 for none
    frames: int = 16  # at the top: a window is frames * 4 ** levels samples

    def __post_init__(self) -> None:
        if self.frames < 1 or not self.channels:
            raise ValueError(f"frames and channels must not be empty, got {self.frames}, {list(self.channels)}")
        if self.phase_shift < 0:
            raise ValueError(f"phase_shift must not be negative, got {self.phase_shift}")


class SeganCritic(Critic):
    """One score a window."""

    def __init__(self, config: SeganCriticConfig) -> None:
        super().__init__()
        self.config = config
        ins = (2, *config.channels[:-1])
        self.blocks = nn.ModuleList(
            _block(few, many, config.norm) for few, many in zip(ins, config.channels, strict=True)
        )
        self.head = nn.Sequential(
            nn.Flatten(), _normed(nn.Linear(config.channels[-1] * config.frames, 256), config.norm), nn.PReLU(256),
            _normed(nn.Linear(256, 128), config.norm), nn.PReLU(128), _normed(nn.Linear(128, 1), config.norm),
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.normal_(module.weight, 0.0, 0.02)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    @property
    def window(self) -> int:
        """Samples that one score judges."""
        return int(self.config.frames * STRIDE ** len(self.config.channels))

    def forward(self, samples: Tensor, noisy: Tensor) -> Opinion:
        hidden = torch.stack([samples, noisy], dim=1)
        hidden = nn.functional.pad(hidden, (0, -hidden.shape[-1] % self.window))
        windows = hidden.reshape(*hidden.shape[:2], -1, self.window)
        hidden = windows.transpose(1, 2).flatten(0, 1)  # [batch * windows, 2, window]
        layers = []
        for block in self.blocks:
            hidden = block(nn.functional.pad(self._rolled(hidden), (WIDTH // 2 - 1, WIDTH // 2), mode="reflect"))
            layers.append(hidden)
        return Opinion([self.head(hidden)], layers)

    def _rolled(self, hidden: Tensor) -> Tensor:
        if not self.training or not self.config.phase_shift:
            return hidden
        shift = int(torch.randint(1, self.config.phase_shift + 1, ())) * (1 if torch.rand(()) < 0.5 else -1)
        return hidden.roll(shift, dims=-1)


def _block(few: int, many: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = [_normed(nn.Conv1d(few, many, WIDTH, STRIDE), norm)]
    if norm == "batch":
        layers.append(nn.BatchNorm1d(many))
    return nn.Sequential(*layers, nn.PReLU(many, init=0))


def _normed(layer: nn.Module, norm: str) -> nn.Module:
    match norm:
        case "spectral":
            return spectral_norm(layer)
        case "batch" | "none":
            return layer
        case _:
            raise ValueError(f"norm must be batch, spectral or none, got {norm!r}")
