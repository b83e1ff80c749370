"""Causal Demucs frame by frame: each layer keeps the samples that its next frame needs, the LSTM its state.

A frame needs `needed(1)` samples (its own, and what the resampling looks ahead), each next one a stride more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from enhance.layers.half_band import Doubler, Halver
from enhance.models.generator import Stream

if TYPE_CHECKING:
    from enhance.models.demucs import Demucs

FEW = 8  # frames up to which the LSTM goes step by step


class DemucsStream(Stream):
    """As many frames at once as a push completes."""

    def __init__(self, model: Demucs, scale: float, back: float) -> None:
        self.model, self.scale, self.back = model, scale, back  # of the input (a divisor) and of the output
        self.held = torch.zeros(0, device=next(model.parameters()).device)  # scaled samples short of the next frame
        self.doublers = [Doubler(self.held) for _ in range(model.doublings)]
        self.halvers = [Halver(self.held) for _ in range(model.doublings)]
        self.encoders = [_Encoder(layer) for layer in model.encoder]
        self.decoders = [_Decoder(layer) for layer in model.decoder]
        width = model.lstm.lstm.hidden_size
        self.state = (self.held.new_zeros(2, 1, width), self.held.new_zeros(2, 1, width))
        self.taken = self.given = self.frames = 0

    def push(self, samples: Tensor) -> Tensor:
        """[samples] -> [ready]."""
        self.held = torch.cat([self.held, samples.to(self.held) / self.scale])
        self.taken += samples.shape[0]
        if self.taken < self.model.needed(self.frames + 1):
            return self.held[:0]
        samples, self.held = self.held, self.held[:0]
        return self._through(samples, last=False)

    def finish(self) -> Tensor:
        """The rest of the recording."""
        if not self.taken:
            return self.held
        padded = nn.functional.pad(self.held, (0, self.model.valid_length(self.taken) - self.taken))
        left = self.taken - self.given
        return self._through(padded, last=True)[:left]

    def _through(self, samples: Tensor, last: bool) -> Tensor:
        for doubler in self.doublers:
            samples = doubler(samples, last)
        hidden = samples[None, None]
        for encoder in self.encoders:
            hidden = encoder(hidden)
        if frames := hidden.shape[-1]:
            recurrence = self.model.lstm.few if frames <= FEW else self.model.lstm
            hidden, self.state = recurrence(hidden, self.state)
            self.frames += frames
        for decoder, encoder in zip(self.decoders, reversed(self.encoders), strict=True):
            hidden = decoder(hidden + encoder.skip(hidden.shape[-1]), last)
        samples = hidden[0, 0]
        for halver in self.halvers:
            samples = halver(samples, last)
        self.given += samples.shape[0]
        return samples * self.back


class _Encoder:
    """A strided layer; also keeps its output for the decoder until that asks for it."""

    def __init__(self, layer: nn.Module) -> None:
        assert isinstance(layer, nn.Sequential) and isinstance(layer[0], nn.Conv1d)
        self.conv, self.rest = layer[0], layer[1:]
        self.width, self.stride = self.conv.kernel_size[0], self.conv.stride[0]
        self.held = self.conv.weight.new_zeros(1, self.conv.in_channels, 0)
        self.skips = self.conv.weight.new_zeros(1, self.conv.out_channels, 0)

    def __call__(self, hidden: Tensor) -> Tensor:
        """[1, few, samples] -> [1, many, frames], all that can be made."""
        self.held = torch.cat([self.held, hidden], dim=-1)
        frames = (self.held.shape[-1] - self.width) // self.stride + 1
        if frames < 1:
            return self.skips[..., :0]
        out: Tensor = self.rest(self.conv(self.held[..., : (frames - 1) * self.stride + self.width]))
        self.held = self.held[..., frames * self.stride :]
        self.skips = torch.cat([self.skips, out], dim=-1)
        return out

    def skip(self, frames: int) -> Tensor:
        """The next so many frames of the output, once."""
        taken, self.skips = self.skips[..., :frames], self.skips[..., frames:]
        return taken


class _Decoder:
    """A transposed layer; what reaches over the last frame's stride waits for the next frame."""

    def __init__(self, layer: nn.Module) -> None:
        assert isinstance(layer, nn.Sequential) and isinstance(layer[2], nn.ConvTranspose1d)
        self.pointwise, self.conv, self.act = layer[:2], layer[2], layer[3:]
        self.width, self.stride = self.conv.kernel_size[0], self.conv.stride[0]
        self.tail = self.conv.weight.new_zeros(1, self.conv.out_channels, self.width - self.stride)

    def __call__(self, hidden: Tensor, last: bool) -> Tensor:
        """[1, many, frames] -> [1, few, frames * stride], and the tail after the last frame."""
        frames, out = hidden.shape[-1], self.tail
        if frames:
            out = nn.functional.conv_transpose1d(self.pointwise(hidden), self.conv.weight, None, self.stride)
            out[..., : self.tail.shape[-1]] += self.tail
        ready = out.shape[-1] if last else frames * self.stride
        self.tail = out[..., ready:]
        assert self.conv.bias is not None
        finished: Tensor = self.act(out[..., :ready] + self.conv.bias[:, None])
        return finished
