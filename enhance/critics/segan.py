"""The critics of the SEGAN lineage: strided convolutions over the pair (speech under test, noisy).

Papers: Pascual et al. 2017 (arXiv:1703.09452; 11 levels of stride 2, virtual batch norm) and SEGAN+ (arXiv:1904.03418;
5 levels of stride 4), 16384 samples at a time.  Sinc filters: Ravanelli and Bengio 2018 (arXiv:1808.00158).  Differs:
longer input is judged in windows of that length; spectral norm reaches every weight, the head's last included; virtual
batch norm has a fixed reference batch and statistics per channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from enhance.critics.critic import Critic, Opinion
from enhance.layers.sinc import SincConv, WindowName
from enhance.layers.strided import Down
from enhance.layers.virtual_batch_norm import VirtualBatchNorm

WIDTH = 31  # taps of a convolution
HIDDEN = (256, 128)  # units of the head `none`


@dataclass(frozen=True, kw_only=True)
class SeganCriticConfig:
    """As released for SEGAN+; see SeganV1CriticConfig for the first SEGAN's."""

    channels: tuple[int, ...] = (64, 128, 256, 512, 1024)
    stride: int = 4
    lead: int = 14  # samples put before each layer's input; as many behind as it takes to divide by the stride
    edges: Literal["reflect", "zero"] = "reflect"  # what they are
    bias: bool = True  # of the convolutions
    norm: Literal["batch", "spectral", "virtual", "none"] = "batch"
    reference: int = 16  # windows of the reference batch, of norm: virtual
    activation: Literal["prelu", "leaky"] = "prelu"  # leaky: slope 0.3
    head: Literal["none", "conv", "gmax", "gavg", "mlp"] = "none"  # mlp gives a score a frame, the others one a window
    head_bias: bool = True  # of the 1x1 convolution of head: conv
    frames: int = 16  # at the top: a window is frames * stride ** levels samples
    phase_shift: int = 5  # samples; each layer's input is rolled by 1 to so many, either way; 0 for none
    sinc: bool = False  # the first layer is a bank of channels[0] / 2 band-passes on each of the two signals
    sinc_width: int = 251  # taps
    sinc_window: WindowName = "hamming"
    noise: float = 0.0  # standard deviation of Gaussian noise added to the input, so that the critic learns later
    noise_decay: float = 0.7  # factor, each noise_every steps ...
    noise_every: int = 1000
    noise_from: int = 5000  # ... from this step on ...
    noise_least: float = 0.01  # ... until it is below this, then none
    initial: Literal["normal", "xavier"] = "normal"  # convolutions: N(0, 0.02), or Xavier as WSEGAN; linear: Xavier

    def __post_init__(self) -> None:
        if self.frames < 1 or not self.channels or self.stride < 1 or self.reference < 1:
            raise ValueError(
                f"frames, stride, reference must be positive and channels not empty, got {self.frames}, "
                f"{self.stride}, {self.reference}, {list(self.channels)}"
            )
        if not 0 <= self.lead <= WIDTH - self.stride:
            raise ValueError(
                f"lead must lie in [0, {WIDTH - self.stride}] for a stride of {self.stride}, got {self.lead}"
            )
        if self.phase_shift < 0 or self.noise < 0:
            raise ValueError(f"phase_shift and noise must not be negative, got {self.phase_shift}, {self.noise}")
        if not 0 < self.noise_decay < 1 or self.noise_every < 1:
            raise ValueError(f"noise_decay must lie in (0, 1) and noise_every be positive, got {self.noise_decay}")
        if self.sinc and (self.channels[0] % 2 or self.sinc_width % 2 == 0):
            raise ValueError(f"sinc needs an even channels[0] and an odd sinc_width, got {self.sinc_width}")


@dataclass(frozen=True, kw_only=True)
class SeganV1CriticConfig(SeganCriticConfig):
    """The critic of SEGAN 2017: 11 levels of stride 2, virtual batch norm, a 1x1 convolution and a linear layer."""

    channels: tuple[int, ...] = (16, 32, 32, 64, 64, 128, 128, 256, 256, 512, 1024)
    stride: int = 2
    edges: Literal["reflect", "zero"] = "zero"
    norm: Literal["batch", "spectral", "virtual", "none"] = "virtual"
    activation: Literal["prelu", "leaky"] = "leaky"
    head: Literal["none", "conv", "gmax", "gavg", "mlp"] = "conv"
    frames: int = 8
    phase_shift: int = 0


class SeganCritic(Critic):
    """See the module's text.  Scores [batch, windows] (head: mlp: [batch, windows * frames])."""

    reference: Tensor
    has_reference: Tensor

    def __init__(self, config: SeganCriticConfig, sample_rate: int = 16000) -> None:
        super().__init__()
        self.config = config
        self.noise = config.noise
        ins = (2, *config.channels[:-1])
        pairs = zip(ins, config.channels, strict=True)
        self.blocks = nn.ModuleList(
            _block(few, many, config, sample_rate if config.sinc and level == 0 else None)
            for level, (few, many) in enumerate(pairs)
        )
        self.head = _head(config)
        if config.norm == "virtual":
            self.register_buffer("reference", torch.zeros(config.reference, 2, self.window))
            self.register_buffer("has_reference", torch.zeros((), dtype=torch.bool))

    @property
    def window(self) -> int:
        """Samples that one score judges."""
        return int(self.config.frames * self.config.stride ** len(self.config.channels))

    def begin_step(self, step: int) -> None:
        """Set the input noise of this step."""
        config = self.config
        decays = max(0, step - config.noise_from) // config.noise_every
        noise = config.noise * config.noise_decay**decays
        self.noise = noise if noise >= config.noise_least else 0.0

    @torch.no_grad()
    def keep_reference(self, clean: Tensor, noisy: Tensor) -> None:
        """For norm: virtual; the first pairs are the reference batch for good, until then each batch is its own."""
        if self.config.norm == "virtual" and not self.has_reference:
            self.reference.copy_(self._reference_of(self._windows(clean, noisy)))
            self.has_reference.fill_(True)

    def forward(self, samples: Tensor, noisy: Tensor) -> Opinion:
        hidden = self._windows(samples, noisy)
        extra = 0
        if self.config.norm == "virtual":
            extra = self.config.reference
            hidden = torch.cat([self.reference if self.has_reference else self._reference_of(hidden), hidden])
        if self.training and self.noise > 0:
            hidden = hidden + self.noise * torch.randn_like(hidden)
        layers = []
        for block in self.blocks:
            hidden = block(self._rolled(hidden))
            layers.append(hidden[extra:])
        return Opinion([self.head(layers[-1]).view(samples.shape[0], -1)], layers)

    def _windows(self, speech: Tensor, noisy: Tensor) -> Tensor:
        """[batch, samples] twice -> [batch * windows, 2, window], the last window filled up with silence."""
        pair = torch.stack([speech, noisy], dim=1)
        pair = nn.functional.pad(pair, (0, -pair.shape[-1] % self.window))
        return pair.reshape(*pair.shape[:2], -1, self.window).transpose(1, 2).flatten(0, 1)

    def _reference_of(self, windows: Tensor) -> Tensor:
        """As many windows as the reference has, repeated if there are too few."""
        return windows[torch.arange(self.config.reference, device=windows.device) % windows.shape[0]]

    def _rolled(self, hidden: Tensor) -> Tensor:
        if not self.training or not self.config.phase_shift:
            return hidden
        shift = int(torch.randint(1, self.config.phase_shift + 1, ())) * (1 if torch.rand(()) < 0.5 else -1)
        return hidden.roll(shift, dims=-1)


def _block(few: int, many: int, config: SeganCriticConfig, sinc_rate: int | None) -> nn.Sequential:
    layers: list[nn.Module] = []
    if sinc_rate is not None:
        width, name = config.sinc_width, config.sinc_window
        layers.append(SincConv(many // few, width, config.stride, sample_rate=sinc_rate, window_name=name))
    else:
        mirror = config.edges == "reflect"
        layer = Down(few, many, WIDTH, config.stride, lead=config.lead, mirror=mirror, bias=config.bias)
        layers.append(_weighted(layer, config))
    if config.norm == "batch":
        layers.append(nn.BatchNorm1d(many))
    elif config.norm == "virtual":
        layers.append(VirtualBatchNorm(many, config.reference))
    layers.append(nn.PReLU(many, init=0) if config.activation == "prelu" else nn.LeakyReLU(0.3))
    return nn.Sequential(*layers)


def _head(config: SeganCriticConfig) -> nn.Sequential:
    """[windows, channels, frames] -> [windows, 1], of mlp: [windows, 1, frames]."""
    top, (wide, narrow) = config.channels[-1], HIDDEN
    match config.head:
        case "none":
            layers = [
                nn.Flatten(), nn.Linear(top * config.frames, wide), nn.PReLU(wide), nn.Linear(wide, narrow),
                nn.PReLU(narrow), nn.Linear(narrow, 1),
            ]  # fmt: skip
        case "conv":
            layers = [nn.Conv1d(top, 1, 1, bias=config.head_bias), nn.Flatten(), nn.Linear(config.frames, 1)]
        case "gmax":
            layers = [nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(top, 1)]
        case "gavg":
            layers = [nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(top, 1)]
        case "mlp":
            layers = [nn.Conv1d(top, top, 1), nn.PReLU(top), nn.Conv1d(top, 1, 1)]
        case _:
            raise ValueError(f"head must be none, conv, gmax, gavg or mlp, got {config.head!r}")
    return nn.Sequential(*(_weighted(layer, config) for layer in layers))


def _weighted(layer: nn.Module, config: SeganCriticConfig) -> nn.Module:
    """A layer with its first weights and, if it has weights to multiply by, the spectral norm."""
    if not isinstance(layer, (nn.Conv1d, nn.Linear)):
        return layer
    if config.initial == "xavier" or isinstance(layer, nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
    else:
        nn.init.normal_(layer.weight, 0.0, 0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return spectral_norm(layer) if config.norm == "spectral" else layer
