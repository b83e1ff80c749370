"""Convolutions that divide or multiply the number of frames exactly by their stride, with stated padding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _onednn_fails(many: int, few: int, stride: int) -> bool:
    """Whether oneDNN (torch 2.13) may write beyond its memory in a transposed convolution from many channels to few.

    Seen from 2048 to 51 with stride 2, on short inputs; the bound is a wide one.  The gradient of a convolution from
    `few` to `many` is such a transposed convolution.
    """
    return many >= 256 and 2 * few * stride < many


class Down(nn.Conv1d):
    """[batch, few, frames] -> [batch, many, frames / stride]; frames must be a multiple of stride.

    lead: frames of padding before the first, width - stride - lead behind the last; by default one less before than
    behind, TensorFlow's SAME.  mirror: pad with the mirrored signal instead of zeros, where it is long enough.
    """

    def __init__(
        self, few: int, many: int, width: int, stride: int, *, lead: int | None = None, mirror: bool = False,
        bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(few, many, width, stride, bias=bias)
        self.lead = (width - stride) // 2 if lead is None else lead
        self.tail = width - stride - self.lead
        self.mirror = mirror

    def forward(self, hidden: Tensor) -> Tensor:
        mode = "reflect" if self.mirror and hidden.shape[-1] > max(self.lead, self.tail) else "constant"
        padded = nn.functional.pad(hidden, (self.lead, self.tail), mode=mode)
        width, stride = self.kernel_size[0], self.stride[0]
        if _onednn_fails(self.out_channels, self.in_channels, stride):
            out = torch.einsum("oiw,bifw->bof", self.weight, padded.unfold(-1, width, stride))
            return out if self.bias is None else out + self.bias[:, None]
        return super().forward(padded)


class Up(nn.ConvTranspose1d):
    """[batch, many, frames] -> [batch, few, frames * stride].

    lead: frames cut off before the first; by default TensorFlow's SAME, the transpose of Down.  They are computed and
    then cut: told to leave them out (padding), oneDNN in torch 2.13 writes beyond its memory, or gives other numbers,
    where a batch of wide layers has fewer than eight frames.
    """

    def __init__(
        self, many: int, few: int, width: int, stride: int, *, lead: int | None = None, bias: bool = True
    ) -> None:
        super().__init__(many, few, width, stride, bias=bias)
        self.lead = (width - stride) // 2 if lead is None else lead

    def forward(self, hidden: Tensor, output_size: list[int] | None = None) -> Tensor:
        frames = hidden.shape[-1] * self.stride[0]
        fails = _onednn_fails(self.in_channels, self.out_channels, self.stride[0])
        whole = self._by_product(hidden) if fails else super().forward(hidden, output_size)
        return whole[..., self.lead : self.lead + frames]

    def _by_product(self, hidden: Tensor) -> Tensor:
        """The same as a product and a sum of what overlaps: [batch, few, (frames - 1) * stride + width]."""
        width, stride = self.kernel_size[0], self.stride[0]
        pieces = self.weight.flatten(1).T @ hidden  # [batch, few * width, frames]
        length = (hidden.shape[-1] - 1) * stride + width
        whole = nn.functional.fold(pieces, (1, length), (1, width), stride=(1, stride))[:, :, 0]
        return whole if self.bias is None else whole + self.bias[:, None]


class UpNearest(nn.Conv1d):
    """[batch, many, frames] -> [batch, few, frames * stride]: each frame repeated, then a convolution (no chequers)."""

    def __init__(self, many: int, few: int, width: int, stride: int, *, bias: bool = True) -> None:
        super().__init__(many, few, width, padding=width // 2, bias=bias)
        self.repeats = stride

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden.repeat_interleave(self.repeats, dim=-1))
