"""Pairs of noisy and clean speech for training, mixed as they are needed, on the device where the sounds lie.

Every draw comes from (seed, step, utterance): a resumed run sees the pairs that an unbroken one sees.  Beyond a noise
and an SNR, a pair may get a second noise, children's babble, synthetic coloured noise, an equaliser, another speed and
level, or no noise at all, so that clean speech is learnt to pass; enhance/augment holds what can come on top.  Speech
with noisy recordings of its own (Sounds.noisy) takes its noise from them: noisy less clean, at its recorded level.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from enhance.augment import BY_SAMPLE, ON_INPUT, AugmentConfig
from enhance.augment.chain import Chain
from enhance.augment.child import revoiced
from enhance.prefetch import Ahead
from enhance.sounds import Sounds
from harness.errors import AudioError
from harness.seed import rng_for

CONTROL_HERTZ = (50.0, 150.0, 400.0, 1000.0, 2200.0, 4500.0, 8000.0)  # where the random equaliser has its sliders


@dataclass(frozen=True, kw_only=True)
class PairsConfig:
    task: Literal["denoise", "vocode", "bandwidth"] = "denoise"  # input: noisy; clean; low-passed (augment.low_pass)
    batch: int = 48  # pairs a step
    seconds: float = 2.5  # length of a pair
    segments: Literal["random", "strided"] = "random"  # a drawn place of an utterance, or each in turn
    stride: float = 0.5  # of strided segments, as a share of their length
    snr: tuple[float, float] = (-5.0, 25.0)  # dB, uniform; by active speech level of the utterance
    snr_normal: tuple[float, float] | None = None  # dB, mean and deviation of normal draws instead of uniform ones
    snr_floor: float | None = None  # dB; a lower draw is raised to it
    clean_share: float = 0.18  # pairs without noise: the model must let clean speech pass
    second_noise: float = 0.25  # share with another noise on top, 0 to 12 dB weaker
    babble: float = 0.05  # share whose noise is four other speakers
    synthetic: float = 0.05  # share whose noise is coloured (between white and red)
    gain: tuple[float, float] = (-12.0, 6.0)  # dB, uniform; level of the pair against the recording
    equalise: float = 6.0  # dB, largest slider of the random equaliser on speech and, apart from it, on noise
    speed: tuple[float, float] = (0.9, 1.15)  # tape speed, uniform, one a batch; changes pitch too
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if self.batch < 1 or self.seconds <= 0:
            raise ValueError(f"batch and seconds must be positive, got {self.batch}, {self.seconds}")
        if not 0 < self.stride <= 1:
            raise ValueError(f"stride must lie in (0, 1], got {self.stride}")
        for name in ("snr", "gain", "speed"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must rise, got [{low}, {high}]")
        if self.snr_normal is not None and self.snr_normal[1] < 0:
            raise ValueError(f"snr_normal is a mean and a deviation of at least 0, got {list(self.snr_normal)}")
        if self.speed[0] <= 0.3 or self.speed[1] >= 3:
            raise ValueError(f"speed must lie in (0.3, 3), got {list(self.speed)}")
        shares = (self.clean_share, self.second_noise, self.babble + self.synthetic)
        if min(*shares, self.babble, self.synthetic) < 0 or max(shares) > 1:
            raise ValueError("clean_share, second_noise, babble and synthetic are shares between 0 and 1")
        if self.task == "vocode" and (changing := self.augment.any_of(ON_INPUT)):
            raise ValueError(f"task vocode has clean speech as its input, which augment.{changing} would change")
        if self.task != "denoise" and self.augment.remix.probability:
            raise ValueError(f"task {self.task} has no noise for augment.remix")

    def plain(self, snr: tuple[float, float]) -> PairsConfig:
        """The same task for validation, without chance beyond noise and place, in pairs of at least a second."""
        return replace(
            self, seconds=max(self.seconds, 1.0), segments="random", snr=snr, snr_normal=None, snr_floor=None,
            clean_share=0.0, second_noise=0.0, babble=0.0, synthetic=0.0, gain=(0.0, 0.0), equalise=0.0,
            speed=(1.0, 1.0),
            augment=AugmentConfig(low_pass=replace(self.augment.low_pass, probability=0.0)),
        )  # fmt: skip


@dataclass(frozen=True)
class _Draw:
    """What one pair is made of."""

    index: int  # of the utterance
    offset: float | int  # where the crop starts: a share of what is left of the utterance, or a sample
    noise: tuple[int, int]
    noise_offset: tuple[float, float]
    second: float  # gain of the second noise
    kind: float
    noise_gain: float
    gain: float
    speech_sliders: Any
    noise_sliders: Any
    rng: np.random.Generator
    key: tuple[int, int, str]  # step, slot, utterance: what further draws are named by
    moved: int  # samples by which the speech is read later
    noise_moved: int


class Pairs:
    """pairs(step) -> noisy, clean: [batch, samples] on the device.

    workers: processes that make coming batches while this one trains, where pairs are made on a CPU; the same batches
    whatever their number.  Augmentations that go sample by sample need a CPU; without them the device itself mixes.
    """

    def __init__(
        self, speech: Sounds, noise: Sounds, config: PairsConfig, *, sample_rate: int, seed: int, device: str = "cpu",
        workers: int = 0,
    ) -> None:  # fmt: skip
        if config.task == "denoise" and speech.noisy is None and not noise.names:
            raise AudioError("pairs", "there is neither noise nor noisy speech", mend="give --noise or --noisy")
        self.speech, self.noise, self.config, self.seed = speech, noise, config, seed
        self.sample_rate = sample_rate
        self._wanted, self.device = device, "cpu" if config.augment.any_of(BY_SAMPLE) else device
        self.samples = max(160, round(config.seconds * sample_rate))
        self._speech = torch.from_numpy(speech.samples).to(self.device)
        self._noisy = None if speech.noisy is None else torch.from_numpy(speech.noisy).to(self.device)
        self._noise = torch.from_numpy(noise.samples).to(self.device)
        self._segments = _segments(speech, self.samples, config)
        self._chain = Chain(config.augment, sample_rate=sample_rate, seed=seed)
        self._ahead = Ahead(self.make, workers) if workers and self.device == "cpu" else None

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:
        noisy, clean = self.make(step) if self._ahead is None else self._ahead(step)
        return noisy.to(self._wanted), clean.to(self._wanted)

    def make(self, step: int) -> tuple[Tensor, Tensor]:
        """The pairs of a step, where they are mixed."""
        batch_rng = rng_for(self.seed, "batch", step)
        speed = batch_rng.uniform(*self.config.speed)
        read = self.samples  # before the speed change; few different lengths, so that Fourier plans are reused
        if self.config.speed != (1.0, 1.0):
            read = max(160, round(self.samples * speed / 160) * 160)
        draws = [self._draw(step, slot) for slot in range(self.config.batch)]
        clean = self._shaped(self._speech_of(draws, read), [draw.speech_sliders for draw in draws])
        clean = clean * self._column([draw.gain for draw in draws])
        noise = torch.zeros_like(clean)
        if self.config.task == "denoise":
            noises = [draws[row] for row in self._chain.dealt(step, len(draws))]
            noise = self._levelled(self._noises(noises, read), noises, draws)
        keys = [draw.key for draw in draws]
        speech, clean, noise = self._chain.in_place(clean, noise, keys)
        noisy, clean = _within(speech + noise, clean)
        recorded, target = self._chain.recorded(noisy, clean, keys, low_pass_all=self.config.task == "bandwidth")
        return (noisy, clean) if recorded is noisy else _within(recorded, target)

    @property
    def pairs_per_epoch(self) -> int:
        """Pairs after which every utterance (or every segment of it) has come once."""
        return len(self._segments)

    def segment_at(self, position: int) -> tuple[int, int]:
        """(utterance, first sample) at a place in the endless row of shuffled epochs; -1 for a sample to be drawn."""
        epoch, place = divmod(position, len(self._segments))
        index, first = self._segments[_order(self.seed, epoch, len(self._segments))[place]]
        return int(index), int(first)

    def utterance_at(self, position: int) -> int:
        """Index of the utterance at a place in the endless row of shuffled epochs."""
        return self.segment_at(position)[0]

    def _draw(self, step: int, slot: int) -> _Draw:
        config = self.config
        index, first = self.segment_at(step * config.batch + slot)
        key = (step, slot, self.speech.names[index])
        rng = rng_for(self.seed, "pair", *key)
        snr = rng.uniform(*config.snr) if config.snr_normal is None else rng.normal(*config.snr_normal)
        snr = snr if config.snr_floor is None else max(snr, config.snr_floor)
        clean = rng.random() < config.clean_share
        offset, noises = rng.random(), max(1, len(self.noise.names))
        noise = int(rng.integers(noises)), int(rng.integers(noises))
        noise_offset = rng.random(), rng.random()
        has_second, weaker = rng.random() < config.second_noise, 10 ** (-rng.uniform(0, 12) / 20)
        kind = rng.random()
        moved, noise_moved = self._chain.shift(key)
        level = 1.0 if self._noisy is not None else float(self.speech.powers[index] ** 0.5 * 10 ** (-snr / 20))
        return _Draw(
            index=index, offset=offset if first < 0 else first, noise=noise, noise_offset=noise_offset,
            second=weaker if has_second else 0.0, kind=kind, noise_gain=0.0 if clean else level,
            gain=10 ** (rng.uniform(*config.gain) / 20),
            speech_sliders=rng.uniform(-config.equalise, config.equalise, len(CONTROL_HERTZ)),
            noise_sliders=rng.uniform(-config.equalise, config.equalise, len(CONTROL_HERTZ)),
            rng=rng, key=key, moved=moved, noise_moved=noise_moved,
        )  # fmt: skip

    def _speech_of(self, draws: list[_Draw], read: int) -> Tensor:
        """[pairs, read]: the crops, some in another voice."""
        index, first = self._places(draws, read)
        crops = self._speech_crops(index, first + [draw.moved for draw in draws], read)
        for row, draw in enumerate(draws):
            voice = self._chain.voice(draw.key)
            if voice is not None:
                wanted = round(read * voice.rate)
                index, first = self._places([draw], wanted)
                crop = self._speech_crops(index, first + draw.moved, wanted)[0].numpy()
                voiced = revoiced(crop, self.sample_rate, voice)[:read]
                crops[row] = torch.from_numpy(np.pad(voiced, (0, read - len(voiced))))
        return crops

    def _places(self, draws: list[_Draw], read: int) -> tuple[np.ndarray, np.ndarray]:
        """(utterance, first sample) of each crop."""
        index = np.array([draw.index for draw in draws])
        drawn = self._drawn_places(index, [draw.offset for draw in draws], read)
        return index, np.where([isinstance(draw.offset, int) for draw in draws], [draw.offset for draw in draws], drawn)

    def _drawn_places(self, index: Any, offset: Any, read: int) -> np.ndarray:
        """First samples from shares of what is left beside the crop; a shorter utterance lies somewhere in silence."""
        spare = self.speech.lengths[index] - read
        shares = np.asarray(offset)
        return np.asarray(np.where(spare > 0, np.floor(shares * (spare + 1)), -np.floor(-shares * spare)))

    def _speech_crops(self, index: Any, first: Any, read: int, source: Tensor | None = None) -> Tensor:
        """Crops of `read` samples of clean speech (or of its noisy recordings), silence outside of the utterance."""
        place = self._tensor(first)[:, None] + torch.arange(read, device=self.device)
        inside = (place >= 0) & (place < self._tensor(self.speech.lengths[index])[:, None])
        row = self._speech if source is None else source
        crops: Tensor = row[(place * inside) + self._tensor(self.speech.starts[index])[:, None]] * inside
        return crops

    def _noise_crops(self, index: Any, offset: Any, moved: Any, read: int) -> Tensor:
        """Crops of `read` samples at unit power; a shorter noise is looped."""
        index = np.asarray(index)
        lengths = self._tensor(self.noise.lengths[index])[:, None]
        spare = np.where(self.noise.lengths[index] > read, self.noise.lengths[index] - read, self.noise.lengths[index])
        first = self._tensor(np.floor(np.asarray(offset) * spare) + moved)[:, None]
        place = (first + torch.arange(read, device=self.device)) % lengths
        crops = self._noise[place + self._tensor(self.noise.starts[index])[:, None]]
        # A pause in a noise is not blown up: its power counts as at least a hundredth of its file's.
        least = torch.as_tensor(self.noise.powers[index] / 100, dtype=torch.float32, device=self.device)
        return crops / torch.maximum(crops.square().mean(-1), least).sqrt()[:, None]

    def _noises(self, draws: list[_Draw], read: int) -> Tensor:
        if self._noisy is not None:
            index, first = self._places(draws, read)
            first = first + [draw.noise_moved for draw in draws]
            return self._speech_crops(index, first, read, self._noisy) - self._speech_crops(index, first, read)
        one, two = (
            self._noise_crops(
                [draw.noise[i] for draw in draws], [draw.noise_offset[i] for draw in draws],
                [draw.noise_moved for draw in draws], read,
            )
            for i in (0, 1)
        )  # fmt: skip
        noise = one + two * self._column([draw.second for draw in draws])
        for row, draw in enumerate(draws):
            if draw.kind < self.config.babble:
                noise[row] = self._babble(draw.rng, read)
            elif draw.kind < self.config.babble + self.config.synthetic:
                noise[row] = _coloured(draw.rng, read, self.device)
        return noise

    def _babble(self, rng: np.random.Generator, read: int) -> Tensor:
        voices = rng.integers(len(self.speech.names), size=4)
        crops = self._speech_crops(voices, self._drawn_places(voices, rng.random(4), read), read)
        return (crops / self._tensor(self.speech.powers[voices] ** 0.5, torch.float32)[:, None]).sum(0)

    def _shaped(self, crops: Tensor, sliders: list[Any]) -> Tensor:
        """[batch, read] -> [batch, samples]: speed changed and equalised, both in the Fourier domain."""
        read = crops.shape[-1]
        spectrum = torch.fft.rfft(crops)[:, : self.samples // 2 + 1]
        curve = _curves(self.samples // 2 + 1, self.sample_rate, self.device)[:, : spectrum.shape[1]]
        decibels = torch.tensor(np.stack(sliders), dtype=torch.float32, device=self.device) @ curve
        shaped: Tensor = torch.fft.irfft(spectrum * 10 ** (decibels / 20), n=self.samples) * (self.samples / read)
        return shaped

    def _levelled(self, noise: Tensor, noises: list[_Draw], draws: list[_Draw]) -> Tensor:
        """[pairs, read] -> [pairs, samples] at the level that `noises` ask for, turned up or down with the pair."""
        noise = self._shaped(noise, [draw.noise_sliders for draw in noises])
        gain = self._column([draw.gain for draw in draws]) * self._column([draw.noise_gain for draw in noises])
        if self._noisy is None:  # near unit power; the equaliser moved it a little
            gain = gain / noise.square().mean(-1, keepdim=True).clamp(min=0.01).sqrt()
        return noise * gain

    def _column(self, values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)[:, None]

    def _tensor(self, values: Any, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.as_tensor(values, device=self.device).to(dtype)


def _within(noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Both down together where one of them would clip."""
    peak = torch.maximum(noisy.abs().amax(-1), clean.abs().amax(-1))
    within = (0.99 / peak.clamp(min=0.99))[:, None]
    return noisy * within, clean * within


def _segments(speech: Sounds, samples: int, config: PairsConfig) -> np.ndarray:
    """[segments, 2]: utterance and first sample (-1: drawn anew each time).

    Strided segments cover every sample: a tail that the stride leaves over makes a last segment, padded with silence.
    """
    if config.segments == "random":
        return np.stack([np.arange(len(speech.names)), np.full(len(speech.names), -1)], axis=1)
    stride = max(1, round(config.stride * samples))
    counts = [1 + max(0, -(-(int(length) - samples) // stride)) for length in speech.lengths]
    return np.array([(index, k * stride) for index, count in enumerate(counts) for k in range(count)])


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
