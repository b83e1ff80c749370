"""LMOS, FINALLY's regression loss: what WavLM's convolutions make of speech, and its spectrogram's magnitudes.

Paper: Babaev et al. 2024 (arXiv:2410.05920): 100 |features|^2 + |magnitudes|.  Of the features they compared, those of
WavLM's convolutions follow what is heard most smoothly.  Differs: 48 kHz is brought to 16 kHz before WavLM.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from enhance.layers.decimate import Decimate, factor_to
from enhance.layers.wavlm import Wavlm, WavlmConvolutionsConfig

FEATURES = 100.0  # weight of the features against the magnitudes
SIZE, HOP = 1024, 256  # samples, at any rate


class Lmos(nn.Module):
    """Distance between speech [batch, samples] and clean [batch, samples] as a scalar; falls to 0."""

    window: Tensor

    def __init__(self, wavlm: WavlmConvolutionsConfig, sample_rate: int) -> None:
        super().__init__()
        self.wavlm = Wavlm(wavlm)
        self.decimate = Decimate(factor_to(sample_rate))
        self.register_buffer("window", torch.hann_window(SIZE), persistent=False)

    def forward(self, speech: Tensor, clean: Tensor) -> Tensor:
        features, magnitudes = self.parts(speech, clean)
        return FEATURES * features + magnitudes

    def parts(self, speech: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared difference of the features, mean absolute difference of the magnitudes."""
        with torch.no_grad():
            wanted = self.wavlm.convolutions(self.decimate(clean))
        heard = self.wavlm.convolutions(self.decimate(speech))
        apart = (self._magnitudes(speech) - self._magnitudes(clean)).abs().mean()
        return (heard - wanted).square().mean(), apart

    def _magnitudes(self, samples: Tensor) -> Tensor:
        values = torch.stft(samples, SIZE, HOP, window=self.window, pad_mode="constant", return_complex=True)
        return (values.real.square() + values.imag.square() + 1e-12).sqrt()
