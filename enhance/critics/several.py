"""Several critics as one: what all of them say, one after the other."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from enhance.critics.conv_stack import joined
from enhance.critics.critic import Critic, Opinion


class SeveralCritics(Critic):
    """critics: by name, which is how their weights are kept."""

    def __init__(self, critics: Mapping[str, Critic]) -> None:
        super().__init__()
        if not critics:
            raise ValueError("several critics are one at least")
        self.critics = nn.ModuleDict(critics)

    def forward(self, samples: Tensor, noisy: Tensor) -> Opinion:
        return joined(critic(samples, noisy) for critic in self.critics.values())
