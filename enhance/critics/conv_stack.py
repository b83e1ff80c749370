"""A row of convolutions, the last of which scores: what HiFi-GAN's critics are made of."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from enhance.critics.critic import Opinion
from enhance.layers.hifi_blocks import SLOPE


class ConvStack(nn.Module):
    """convs: each followed by a leaky ReLU, but for the last."""

    def __init__(self, convs: Iterable[nn.Module]) -> None:
        super().__init__()
        *inner, self.post = convs
        self.convs = nn.ModuleList(inner)

    def forward(self, hidden: Tensor) -> Opinion:
        """[batch, 1, ...] -> a map of scores, which is the last of the layers too: HiFi-GAN matches it with them."""
        layers = []
        for conv in self.convs:
            hidden = leaky_relu(conv(hidden), SLOPE)
            layers.append(hidden)
        score = self.post(hidden)
        return Opinion([score], [*layers, score])


def joined(opinions: Iterable[Opinion]) -> Opinion:
    """All scores and all layers, one opinion after the other."""
    opinions = list(opinions)
    return Opinion(
        [score for opinion in opinions for score in opinion.scores],
        [layer for opinion in opinions for layer in opinion.layers],
    )
