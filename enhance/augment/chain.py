"""The augmentations applied to the rows of a batch, in order; draws are named, so that no row disturbs another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from enhance.augment import AugmentConfig
from enhance.augment.bandmask import band_stop, band_stop_lead, draw_band
from enhance.augment.chance import Chance
from enhance.augment.child import Voice
from enhance.augment.codec import transcode
from enhance.augment.convolve import convolved
from enhance.augment.crusher import crush
from enhance.augment.crystalizer import crystalize
from enhance.augment.flanger import flange
from enhance.augment.low_pass import LowPass, low_passed
from enhance.augment.microphone import draw_microphone
from enhance.augment.remix import dealt
from enhance.augment.responses import Response
from enhance.augment.reverb_echo import draw_echoes
from enhance.augment.room import draw_room, early_part
from enhance.augment.shift import draw_shift
from enhance.augment.vibrato import vibrate
from harness.seed import rng_for

Key = tuple[int, int, str]  # step, slot, utterance
EFFECTS: dict[str, Callable[[np.ndarray, int, Any, np.random.Generator], np.ndarray]] = {
    "crusher": crush,
    "crystalizer": crystalize,
    "vibrato": vibrate,
    "flanger": flange,
    "codec": transcode,
}


class Chain:
    """seed: of all draws.  The tensors may lie on any device; rows are [pairs, samples]."""

    def __init__(self, config: AugmentConfig, *, sample_rate: int, seed: int) -> None:
        self.config, self.sample_rate, self.seed = config, sample_rate, seed

    def shift(self, key: Key) -> tuple[int, int]:
        """Samples by which the speech and the noise of a pair are read later."""
        return draw_shift(self.config.shift, self.sample_rate, self._rng("shift", *key))

    def voice(self, key: Key) -> Voice | None:
        """The child-like voice of a pair, if it gets one."""
        rng = self._rng("child", *key)
        return Voice.draw(self.config.child, rng) if self.config.child.hits(rng) else None

    def dealt(self, step: int, rows: int) -> np.ndarray:
        """For each row, the row whose noise it gets."""
        return dealt(rows, self.config.remix, self._rng("remix", step))

    def in_place(self, clean: Tensor, noise: Tensor, keys: list[Key]) -> tuple[Tensor, Tensor, Tensor]:
        """Echoes and rooms of the speech: (speech as it arrives, target, noise)."""
        config = self.config.reverb_echo
        hits = self._hit("reverb_echo", config, keys)
        if hits:
            rows, longest = [row for row, _ in hits], clean.shape[-1]
            drawn = [draw_echoes(config, self.sample_rate, longest, rng) for _, rng in hits]
            of_speech, of_noise = zip(*drawn, strict=True)
            echoes, clean, noise = convolved(clean[rows], of_speech), clean.clone(), noise.clone()
            noise[rows] += convolved(noise[rows], of_noise) + (1 - config.keep_clean) * echoes
            clean[rows] += config.keep_clean * echoes
        if self.config.room.where == "speech":
            return *self._in_rooms(clean, clean, keys), noise
        return clean, clean, noise

    def recorded(self, noisy: Tensor, target: Tensor, keys: list[Key], *, low_pass_all: bool) -> tuple[Tensor, Tensor]:
        """What the mixture goes through; all but the masked band leaves the target as it is."""
        if self.config.room.where == "mixture":
            noisy, target = self._in_rooms(noisy, target, keys)
        noisy, target = self._masked(noisy, target, keys)
        noisy = self._low_passed(noisy, keys, every_row=low_pass_all)
        noisy = self._through_microphones(noisy, keys)
        return self._with_effects(noisy, keys), target

    def _in_rooms(self, noisy: Tensor, target: Tensor, keys: list[Key]) -> tuple[Tensor, Tensor]:
        config, rate = self.config.room, self.sample_rate
        hit = {row: draw_room(config, rate, rng) for row, rng in self._hit("room", config, keys)}
        heard = _responded(noisy, hit)
        if config.target == "dry":
            return heard, target
        early = {row: Response(early_part(one, config, rate), one.lead) for row, one in hit.items()}
        return heard, _responded(target, early)

    def _through_microphones(self, noisy: Tensor, keys: list[Key]) -> Tensor:
        config = self.config.microphone
        hits = self._hit("microphone", config, keys)
        return _responded(noisy, {row: draw_microphone(config, self.sample_rate, rng) for row, rng in hits})

    def _masked(self, noisy: Tensor, target: Tensor, keys: list[Key]) -> tuple[Tensor, Tensor]:
        config, lead = self.config.bandmask, band_stop_lead(self.sample_rate)
        hit = {
            row: Response(band_stop(draw_band(config, self.sample_rate, rng), self.sample_rate), lead)
            for row, rng in self._hit("bandmask", config, keys)
        }
        return _responded(noisy, hit), _responded(target, hit)

    def _with_effects(self, noisy: Tensor, keys: list[Key]) -> Tensor:
        """The effects that run a pair at a time; on the CPU."""
        if self.config.any_of(tuple(EFFECTS)) is None:
            return noisy
        noisy = noisy.clone()
        for name, effect in EFFECTS.items():
            config = getattr(self.config, name)
            for row, rng in self._hit(name, config, keys):
                noisy[row] = torch.from_numpy(effect(noisy[row].numpy(), self.sample_rate, config, rng))
        return noisy

    def _low_passed(self, noisy: Tensor, keys: list[Key], *, every_row: bool) -> Tensor:
        config = self.config.low_pass
        drawn = self._hit("low_pass", config, keys, always=every_row)
        if not drawn:
            return noisy
        rows = [row for row, _ in drawn]
        filters = [LowPass.draw(config, rng) for _, rng in drawn]
        noisy = noisy.clone()
        noisy[rows] = low_passed(noisy[rows], filters, self.sample_rate, decimate=config.decimate)
        return noisy

    def _hit(
        self, name: str, config: Chance, keys: list[Key], *, always: bool = False
    ) -> list[tuple[int, np.random.Generator]]:
        """(row, generator for its further draws) of the rows that get this augmentation."""
        if not config.probability and not always:
            return []
        drawn = [(row, self._rng(name, *key)) for row, key in enumerate(keys)]
        return [(row, rng) for row, rng in drawn if config.hits(rng) or always]

    def _rng(self, name: str, *key: int | str) -> np.random.Generator:
        return rng_for(self.seed, "augment", name, *key)


def _responded(samples: Tensor, responses: dict[int, Response]) -> Tensor:
    """Rows through their impulse responses; rows without one stay."""
    if not responses:
        return samples
    longest = max(one.lead for one in responses.values())
    rows = list(responses)
    kernels = [np.pad(one.taps, (longest - one.lead, 0)) for one in responses.values()]
    changed = samples.clone()
    changed[rows] = convolved(samples[rows], kernels, longest)
    return changed
