"""Pre-emphasis, a first-order high-pass, and its exact inverse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BLOCK = 256  # samples that the inverse works out at once


def pre_emphasis(samples: Tensor, coefficient: float) -> Tensor:
    """y[n] = x[n] - c x[n-1]: [batch, samples] -> [batch, samples], silence before the first sample."""
    return samples - coefficient * nn.functional.pad(samples[..., :-1], (1, 0))


def de_emphasis(samples: Tensor, coefficient: float, last: Tensor | None = None) -> Tensor:
    """y[n] = x[n] + c y[n-1]: [batch, samples] -> [batch, samples].

    last: [batch], y before the first sample; silence if not given.  Block by block as one small triangular product,
    instead of a Python step a sample.
    """
    batch, count = samples.shape
    place = torch.arange(BLOCK, device=samples.device)
    apart = (place[None, :] - place[:, None]).clamp(min=0)
    powers = torch.where(place[None, :] >= place[:, None], coefficient ** apart.to(samples.dtype), 0.0)  # [from, to]
    decay = coefficient ** (place + 1).to(samples.dtype)
    local = nn.functional.pad(samples, (0, -count % BLOCK)).view(batch, -1, BLOCK) @ powers
    carry = torch.zeros_like(samples[:, 0]) if last is None else last
    carries = []
    for index in range(local.shape[1]):
        carries.append(carry)
        carry = local[:, index, -1] + decay[-1] * carry
    whole = local + torch.stack(carries, dim=1)[..., None] * decay
    return whole.flatten(1)[:, :count]
