"""Compact: our own small generator, a bounded complex mask on a 512-point spectrum, quick on one CPU core.

In the manner of GTCRN (Rong et al., ICASSP 2024) and DPCRN (arXiv:2107.05429): ERB bands, strided convolutions over
frequency, dilated convolutions over time, dual-path recurrences.  Differs: dense instead of grouped (faster per
operation on a CPU); the time convolutions look both ways and come before every recurrence, the recurrence over time
runs forwards only: with a short context and a handed-over state, a stream equals the whole file.  The mask starts at
one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from enhance.layers.bands import band_matrices
from enhance.layers.dual_path import DualPath, State
from enhance.layers.spectrum import Spectrum
from enhance.models.generator import Generator, Stream

SILENCE = 1e-5  # root mean square below which a recording is not amplified any further (-100 dB)


@dataclass(frozen=True, kw_only=True)
class CompactConfig:
    sample_rate: int = 16000
    hop: int = 256  # samples; 16 ms at 16 kHz, windows of twice that
    low_bins: int = 65  # bins below 2 kHz stay single
    high_bands: int = 64  # ERB bands above
    channels: int = 64  # of the inner layers; half of that after the first convolution
    dual_paths: int = 3  # blocks of two recurrences
    dilations: tuple[int, ...] = (1, 2, 4, 8)  # frames; of the time convolutions, kernel 3: 15 frames each way
    compression: float = 0.3  # exponent on magnitudes at the input
    mask_limit: float = 2.0  # largest magnitude of the mask

    def __post_init__(self) -> None:
        if self.channels < 4 or self.channels % 4:
            raise ValueError(f"channels must be a multiple of 4, got {self.channels}")
        if (self.low_bins + self.high_bands - 1) % 4:
            raise ValueError(f"low_bins + high_bands must be 4 k + 1, got {self.low_bins + self.high_bands}")
        if self.mask_limit <= 1:
            raise ValueError(f"mask_limit must be above 1 so that the mask can be one, got {self.mask_limit}")
        if self.dual_paths < 1 or any(dilation < 1 for dilation in self.dilations):
            raise ValueError(f"dual_paths and dilations must be positive, got {self.dual_paths}, {self.dilations}")


class TimeConvolution(nn.Module):
    """A residual depthwise convolution over 3 bands and 3 frames, `dilation` frames apart."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels, channels, 3, padding=(dilation, 1), dilation=(dilation, 1), groups=channels, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)
        self.act = nn.PReLU(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """[batch, channels, frames, bands] -> the same shape."""
        out: Tensor = hidden + self.pointwise(self.act(self.norm(self.depthwise(hidden))))
        return out


class Compact(Generator):
    """The mask network; see the module's text."""

    to_bands: Tensor
    to_bins: Tensor

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config, self.sample_rate = config, config.sample_rate
        self.context = sum(config.dilations)  # frames that a frame's mask needs on each side, before the recurrences
        self.spectrum = Spectrum(config.hop)
        to_bands, to_bins = band_matrices(config.hop + 1, config.low_bins, config.high_bands, config.sample_rate)
        self.register_buffer("to_bands", to_bands, persistent=False)
        self.register_buffer("to_bins", to_bins, persistent=False)
        half, full = config.channels // 2, config.channels
        self.encode1 = _down(3, half)
        self.encode2 = _down(half, full)
        self.over_time = nn.ModuleList(TimeConvolution(full, dilation) for dilation in config.dilations)
        bands = (config.low_bins + config.high_bands - 1) // 4 + 1
        self.dual_paths = nn.ModuleList(DualPath(full, bands) for _ in range(config.dual_paths))
        self.decode2 = nn.Sequential(
            nn.ConvTranspose2d(full, half, (1, 5), (1, 2), (0, 2), bias=False), nn.BatchNorm2d(half), nn.PReLU(half)
        )
        self.decode1 = nn.ConvTranspose2d(half, 2, (1, 5), (1, 2), (0, 2))
        self._start_as_identity()

    def _start_as_identity(self) -> None:
        """Before training every mask is nearly one: clean speech passes."""
        assert self.decode1.bias is not None
        with torch.no_grad():
            self.decode1.weight.mul_(0.02)
            limit = self.config.mask_limit
            self.decode1.bias.copy_(torch.tensor([limit * math.atanh(1 / limit), 0.0]))

    def forward(self, noisy: Tensor) -> Tensor:
        """[batch, samples] -> [batch, samples]; each row is brought to one level and back."""
        level = noisy.square().mean(-1, keepdim=True).sqrt().clamp(min=SILENCE)
        spectrum = self.spectrum(noisy / level)
        mask, _ = self.mask(spectrum, 0, spectrum.shape[1], None)
        return self.spectrum.inverse(spectrum * mask, noisy.shape[-1]) * level

    def mask(self, spectrum: Tensor, first: int, last: int, states: list[State] | None) -> tuple[Tensor, list[State]]:
        """Masks of frames first .. last-1 of a piece of spectrum; the frames around them are context.

        spectrum: complex [batch, frames, bins] at unit level.  states: of the recurrences after frame first-1.
        Returns complex [batch, last - first, bins] and the states after frame last-1.
        """
        (real, imag), after = self.mask_parts(spectrum.real, spectrum.imag, first, last, states)
        return torch.complex(real, imag), after

    def mask_parts(
        self, real: Tensor, imag: Tensor, first: int, last: int, states: list[State] | None
    ) -> tuple[tuple[Tensor, Tensor], list[State]]:
        """The same from and to real and imaginary parts."""
        outer = self.encode1(self._features(real, imag))  # [batch, half, frames, 65]
        inner = self.encode2(outer)  # [batch, full, frames, 33]
        hidden = inner
        for convolution in self.over_time:
            hidden = convolution(hidden)
        hidden = hidden[:, :, first:last].permute(0, 2, 3, 1)  # [batch, frames, bands, full]
        after: list[State] = []
        for index, dual_path in enumerate(self.dual_paths):
            hidden, state = dual_path(hidden, states[index] if states else None)
            after.append(state)
        hidden = self.decode2(hidden.permute(0, 3, 1, 2).contiguous() + inner[:, :, first:last])
        raw = self.decode1(hidden + outer[:, :, first:last]) @ self.to_bins  # [batch, 2, frames, bins]
        return self._bounded(raw[:, 0], raw[:, 1]), after

    def _features(self, real: Tensor, imag: Tensor) -> Tensor:
        """Compressed magnitude, and real and imaginary part at that magnitude: [batch, 3, frames, bands]."""
        magnitude = (real.square() + imag.square() + 1e-10).sqrt()
        compressed = magnitude.pow(self.config.compression)
        scale = compressed / magnitude
        features = torch.stack([compressed, real * scale, imag * scale], dim=1)
        return features @ self.to_bands

    def _bounded(self, real: Tensor, imag: Tensor) -> tuple[Tensor, Tensor]:
        """The complex mask's parts, its magnitude squeezed below mask_limit by a tanh, its phase kept."""
        limit = self.config.mask_limit
        magnitude = (real.square() + imag.square() + 1e-8).sqrt()
        scale = limit * torch.tanh(magnitude / limit) / magnitude
        return real * scale, imag * scale

    @property
    def latency(self) -> float:
        """Seconds: a hop, the one that its second frame needs, and the context of that frame's mask."""
        return (self.context + 2) * self.config.hop / self.sample_rate

    def open_stream(self, level: float) -> Stream:
        """A stream that holds back `context` frames and one hop."""
        return CompactStream(self, level)


def _down(channels: int, out: int) -> nn.Sequential:
    """Halve the bands: a convolution over five of them."""
    return nn.Sequential(
        nn.Conv2d(channels, out, (1, 5), (1, 2), (0, 2), bias=False), nn.BatchNorm2d(out), nn.PReLU(out)
    )


class CompactStream(Stream):
    """Frames come from the hops so far; a frame is masked once `context` frames after it are known."""

    def __init__(self, model: Compact, level: float) -> None:
        self.model, self.level = model, max(level, SILENCE)
        hop, device = model.config.hop, model.to_bins.device
        self.waiting = torch.zeros(0, device=device)  # samples that do not fill a hop yet
        self.last_hop = torch.zeros(hop, device=device)  # silence stands before the first hop
        self.frames = torch.zeros(1, 0, hop + 1, dtype=torch.complex64, device=device)
        self.done = 0  # frames of self.frames that are masked already and serve as context
        self.states: list[State] | None = None
        self.overlap: Tensor | None = None  # the windowed second half of the last masked frame
        self.taken = self.given = 0  # samples

    def push(self, samples: Tensor) -> Tensor:
        """[samples] -> [ready]."""
        self.taken += samples.shape[0]
        signal = torch.cat([self.waiting, samples.to(self.waiting) / self.level])
        whole = signal.shape[0] // self.model.config.hop * self.model.config.hop
        self.waiting = signal[whole:]
        if whole:
            self._add(signal[:whole])
        return self._ready(self.frames.shape[1] - self.model.context)

    def finish(self) -> Tensor:
        """The rest of the recording."""
        if not self.taken:
            return self.waiting
        hop = self.model.config.hop
        padded = nn.functional.pad(self.waiting, (0, -self.waiting.shape[0] % hop + hop))  # and one hop of silence
        self._add(padded)
        left = self.taken - self.given
        return self._ready(self.frames.shape[1])[:left]

    def _add(self, samples: Tensor) -> None:
        hops = torch.cat([self.last_hop[None], samples.view(-1, self.model.config.hop)])[None]
        self.last_hop = hops[0, -1]
        self.frames = torch.cat([self.frames, self.model.spectrum.of_hops(hops)], dim=1)

    def _ready(self, last: int) -> Tensor:
        """Mask the frames up to `last` and return the hops that they complete."""
        if last <= self.done:
            return self.waiting[:0]
        mask, self.states = self.model.mask(self.frames, self.done, last, self.states)
        first_half, second_half = self.model.spectrum.halves(self.frames[:, self.done : last] * mask)
        ends = second_half if self.overlap is None else torch.cat([self.overlap, second_half], dim=1)
        starts = first_half[:, 1:] if self.overlap is None else first_half
        self.overlap = second_half[:, -1:]
        keep = max(0, last - self.model.context)
        self.frames, self.done = self.frames[:, keep:], last - keep
        ready = (ends[:, :-1] + starts).flatten() * self.level
        self.given += ready.shape[0]
        return ready
