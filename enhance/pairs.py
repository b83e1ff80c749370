"""Pairs of noisy and clean speech for training, mixed as they are needed, on the device where the sounds lie.

Every draw comes from (seed, step, utterance): a resumed run sees the pairs that an unbroken one sees.  Beyond a noise
and an SNR, a pair may get a second noise, children's babble, synthetic coloured noise, an equaliser, another speed and
level, or no noise at all, so that clean speech is learnt to pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from enhance.sounds import Sounds
from harness.seed import rng_for

CONTROL_HERTZ = (50.0, 150.0, 400.0, 1000.0, 2200.0, 4500.0, 8000.0)  # where the random equaliser has its sliders


@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    batch: int = 48  # pairs a step
    seconds: float = 2.5  # length of a pair
    snr: tuple[float, float] = (-5.0, 25.0)  # dB, uniform; by active speech level of the utterance
    clean_share: float = 0.18  # pairs without noise: the model must let clean speech pass
    second_noise: float = 0.25  # share with another noise on top, 0 to 12 dB weaker
    babble: float = 0.05  # share whose noise is four other speakers
    synthetic: float = 0.05  # share whose noise is coloured (between white and red)
    gain: tuple[float, float] = (-12.0, 6.0)  # dB, uniform; level of the pair against the recording
    equalise: float = 6.0  # dB, largest slider of the random equaliser on speech and, apart from it, on noise
    speed: tuple[float, float] = (0.9, 1.15)  # tape speed, uniform, one a batch; changes pitch too

    def __post_init__(self) -> None:
        if self.batch < 1 or self.seconds <= 0:
            raise ValueError(f"batch and seconds must be positive, got {self.batch}, {self.seconds}")
        for name in ("snr", "gain", "speed"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must rise, got [{low}, {high}]")
        if self.speed[0] <= 0.3 or self.speed[1] >= 3:
            raise ValueError(f"speed must lie in (0.3, 3), got {list(self.speed)}")
        shares = (self.clean_share, self.second_noise, self.babble + self.synthetic)
        if min(*shares, self.babble, self.synthetic) < 0 or max(shares) > 1:
            raise ValueError("clean_share, second_noise, babble and synthetic are shares between 0 and 1")


@dataclass
class _Draws:
    """What a batch is made of, an entry a pair."""

    index: list[int] = field(default_factory=list)
    offset: list[float] = field(default_factory=list)
    noise: list[tuple[int, int]] = field(default_factory=list)
    noise_offset: list[tuple[float, float]] = field(default_factory=list)
    second: list[float] = field(default_factory=list)
    kind: list[float] = field(default_factory=list)
    noise_gain: list[float] = field(default_factory=list)
    gain: list[float] = field(default_factory=list)
    speech_sliders: list[Any] = field(default_factory=list)
    noise_sliders: list[Any] = field(default_factory=list)
    seeds: list[np.random.Generator] = field(default_factory=list)


class Pairs:
    """pairs(step) -> noisy, clean: [batch, samples] on the device."""

    def __init__(
        self, speech: Sounds, noise: Sounds, config: PairsConfig, *, sample_rate: int, seed: int, device: str = "cpu"
    ) -> None:
        self.speech, self.noise, self.config, self.seed = speech, noise, config, seed
        self.sample_rate, self.device = sample_rate, device
        self.samples = max(160, round(config.seconds * sample_rate))
        self._speech = torch.from_numpy(speech.samples).to(device)
        self._noise = torch.from_numpy(noise.samples).to(device)

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        batch_rng = rng_for(self.seed, "batch", step)
        speed = batch_rng.uniform(*self.config.speed)
        read = self.samples  # before the speed change; few different lengths, so that Fourier plans are reused
        if self.config.speed != (1.0, 1.0):
            read = max(160, round(self.samples * speed / 160) * 160)
        draws = self._draw(step)
        speech = self._speech_crops(draws.index, draws.offset, read)
        clean = self._shaped(speech, draws.speech_sliders)
        noise = self._shaped(self._noises(draws, read), draws.noise_sliders)
        return self._mixed(clean, noise, draws)

    def utterance_at(self, position: int) -> int:
        """Index of the utterance at a place in the endless row of shuffled epochs."""
        epoch, place = divmod(position, len(self.speech.names))
        return int(_order(self.seed, epoch, len(self.speech.names))[place])

    def _draw(self, step: int) -> _Draws:
        config, draws = self.config, _Draws()
        for slot in range(config.batch):
            index = self.utterance_at(step * config.batch + slot)
            rng = rng_for(self.seed, "pair", step, slot, self.speech.names[index])
            snr = rng.uniform(*config.snr)
            clean = rng.random() < config.clean_share
            draws.index.append(index)
            draws.offset.append(rng.random())
            draws.noise.append((int(rng.integers(len(self.noise.names))), int(rng.integers(len(self.noise.names)))))
            draws.noise_offset.append((rng.random(), rng.random()))
            has_second, weaker = rng.random() < config.second_noise, 10 ** (-rng.uniform(0, 12) / 20)
            draws.second.append(weaker if has_second else 0.0)
            draws.kind.append(rng.random())
            draws.noise_gain.append(0.0 if clean else float(self.speech.powers[index] ** 0.5 * 10 ** (-snr / 20)))
            draws.gain.append(10 ** (rng.uniform(*config.gain) / 20))
            draws.speech_sliders.append(rng.uniform(-config.equalise, config.equalise, len(CONTROL_HERTZ)))
            draws.noise_sliders.append(rng.uniform(-config.equalise, config.equalise, len(CONTROL_HERTZ)))
            draws.seeds.append(rng)
        return draws

    def _speech_crops(self, index: Any, offset: Any, read: int) -> Tensor:
        """Crops of `read` samples; a shorter utterance is placed at random in silence."""
        index = np.asarray(index)
        spare = self.speech.lengths[index] - read
        first = np.where(spare > 0, np.floor(np.asarray(offset) * (spare + 1)), -np.floor(-np.asarray(offset) * spare))
        place = self._tensor(first)[:, None] + torch.arange(read, device=self.device)
        inside = (place >= 0) & (place < self._tensor(self.speech.lengths[index])[:, None])
        return self._speech[(place * inside) + self._tensor(self.speech.starts[index])[:, None]] * inside

    def _noise_crops(self, index: Any, offset: Any, read: int) -> Tensor:
        """Crops of `read` samples at unit power; a shorter noise is looped."""
        index = np.asarray(index)
        lengths = self._tensor(self.noise.lengths[index])[:, None]
        spare = np.where(self.noise.lengths[index] > read, self.noise.lengths[index] - read, self.noise.lengths[index])
        first = self._tensor(np.floor(np.asarray(offset) * spare))[:, None]
        place = (first + torch.arange(read, device=self.device)) % lengths
        crops = self._noise[place + self._tensor(self.noise.starts[index])[:, None]]
        # A pause in a noise is not blown up: its power counts as at least a hundredth of its file's.
        least = torch.as_tensor(self.noise.powers[index] / 100, dtype=torch.float32, device=self.device)
        return crops / torch.maximum(crops.square().mean(-1), least).sqrt()[:, None]

    def _noises(self, draws: _Draws, read: int) -> Tensor:
        one = self._noise_crops([pair[0] for pair in draws.noise], [pair[0] for pair in draws.noise_offset], read)
        two = self._noise_crops([pair[1] for pair in draws.noise], [pair[1] for pair in draws.noise_offset], read)
        noise = one + two * torch.tensor(draws.second, dtype=torch.float32, device=self.device)[:, None]
        for row, kind in enumerate(draws.kind):
            if kind < self.config.babble:
                noise[row] = self._babble(draws.seeds[row], read)
            elif kind < self.config.babble + self.config.synthetic:
                noise[row] = _coloured(draws.seeds[row], read, self.device)
        return noise

    def _babble(self, rng: np.random.Generator, read: int) -> Tensor:
        voices = rng.integers(len(self.speech.names), size=4)
        crops = self._speech_crops(voices, rng.random(4), read)
        return (crops / self._tensor(self.speech.powers[voices] ** 0.5, torch.float32)[:, None]).sum(0)

    def _shaped(self, crops: Tensor, sliders: list[Any]) -> Tensor:
        """[batch, read] -> [batch, samples]: speed changed and equalised, both in the Fourier domain."""
        read = crops.shape[-1]
        spectrum = torch.fft.rfft(crops)[:, : self.samples // 2 + 1]
        curve = _curves(self.samples // 2 + 1, self.sample_rate, self.device)[:, : spectrum.shape[1]]
        decibels = torch.tensor(np.stack(sliders), dtype=torch.float32, device=self.device) @ curve
        shaped: Tensor = torch.fft.irfft(spectrum * 10 ** (decibels / 20), n=self.samples) * (self.samples / read)
        return shaped

    def _mixed(self, clean: Tensor, noise: Tensor, draws: _Draws) -> tuple[Tensor, Tensor]:
        noise_gain = torch.tensor(draws.noise_gain, dtype=torch.float32, device=self.device)[:, None]
        gain = torch.tensor(draws.gain, dtype=torch.float32, device=self.device)[:, None]
        power = noise.square().mean(-1, keepdim=True).clamp(min=0.01)  # near one; the equaliser moved it a little
        clean, noise = clean * gain, noise * (gain * noise_gain / power.sqrt())
        noisy = clean + noise
        peak = torch.maximum(noisy.abs().amax(-1), clean.abs().amax(-1))
        within = (0.99 / peak.clamp(min=0.99))[:, None]  # both down together where the sum would clip
        return noisy * within, clean * within

    def _tensor(self, values: Any, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.as_tensor(values, device=self.device).to(dtype)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return rng_for(seed, "order", epoch).permutation(count)


@lru_cache(maxsize=4)
def _curves(bins: int, sample_rate: int, device: str) -> Tensor:
    """[sliders, bins]: how much of each slider a bin gets, straight lines over log frequency."""
    places = np.log(np.maximum(np.linspace(0, sample_rate / 2, bins), CONTROL_HERTZ[0]))
    sliders = np.log(CONTROL_HERTZ)
    curves = [np.interp(places, sliders, np.eye(len(sliders))[row]) for row in range(len(sliders))]
    return torch.tensor(np.stack(curves), dtype=torch.float32, device=device)


def _coloured(rng: np.random.Generator, samples: int, device: str) -> Tensor:
    """Noise whose power falls with frequency to a drawn exponent from 0 (white) to 2 (red), at unit power."""
    exponent = rng.uniform(0, 2)
    generator = torch.Generator(device).manual_seed(int(rng.integers(2**62)))
    spectrum = torch.fft.rfft(torch.randn(samples, generator=generator, device=device))
    places = torch.arange(spectrum.shape[0], device=device).clamp(min=max(1, samples // 400))
    noise: Tensor = torch.fft.irfft(spectrum * places ** (-exponent / 2), n=samples)
    return noise / noise.square().mean().sqrt()
