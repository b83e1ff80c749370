"""The distance of log-mel spectrograms that HiFi-GAN is trained with (arXiv:2010.05646, section 2.4)."""

from __future__ import annotations

from torch import Tensor, nn

from enhance.layers.mel_spectrogram import MelSpectrogram


class MelL1(nn.Module):
    """Mean absolute difference of log-mel energies, in nepers: two signals [batch, samples] -> scalar.

    high: upper edge in Hz; None for the Nyquist frequency, so that all that was synthesised counts.
    """

    def __init__(
        self, *, sample_rate: int = 16000, size: int = 1024, hop: int = 256, bands: int = 80, high: float | None = None
    ) -> None:
        super().__init__()
        self.mel = MelSpectrogram(sample_rate=sample_rate, size=size, hop=hop, bands=bands, high=high)

    def forward(self, estimate: Tensor, clean: Tensor) -> Tensor:
        distance: Tensor = (self.mel(estimate) - self.mel(clean)).abs().mean()
        return distance
