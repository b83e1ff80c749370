"""A dual-path block: one recurrence over the bands of a frame, one over the frames of a band (DPRNN, arXiv:1910.06379).

Differs: the recurrence over time runs forwards only and hands its state over, so a stream equals the whole file.
LSTM cells, because torch runs them about twice as fast as GRU cells on a CPU.
"""

from __future__ import annotations

from torch import Tensor, nn

State = tuple[Tensor, Tensor]  # hidden and cell, [1, batch * bands, channels] each


class DualPath(nn.Module):
    """[batch, frames, bands, channels] -> the same shape."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.over_bands = nn.LSTM(channels, channels // 2, batch_first=True, bidirectional=True)
        self.bands_out = nn.Linear(channels, channels)
        self.bands_norm = nn.LayerNorm((bands, channels))
        self.over_time = nn.LSTM(channels, channels)
        self.time_out = nn.Linear(channels, channels)
        self.time_norm = nn.LayerNorm((bands, channels))

    def forward(self, hidden: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """state: what the call for the frames before returned; None at the start of a recording."""
        batch, frames, bands, channels = hidden.shape
        across, _ = self.over_bands(hidden.reshape(batch * frames, bands, channels))
        hidden = hidden + self.bands_norm(self.bands_out(across).view(hidden.shape))
        by_time = hidden.transpose(0, 1).reshape(frames, batch * bands, channels)
        along, state = self.over_time(by_time, state)
        along = self.time_out(along).view(frames, batch, bands, channels).transpose(0, 1)
        return hidden + self.time_norm(along), state
