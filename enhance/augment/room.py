"""Rooms: recorded impulse responses, or simulated ones (image-source method), on the input; the target stays dry.

The direct sound has gain one and no delay, so that the input lies on the target sample by sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from enhance.augment.chance import Chance, check_range
from enhance.augment.image_source import Room, room_response
from enhance.augment.responses import Response, load_responses
from harness.seed import rng_for

WALL = 0.3  # metres that speaker and microphone keep from every wall


@dataclass(frozen=True, kw_only=True)
class RoomConfig(Chance):
    files: Path | None = None  # directory of impulse responses; without it rooms are simulated
    where: Literal["speech", "mixture"] = "speech"  # before or after the noise is added (after: noise in the room too)
    target: Literal["dry", "early"] = "dry"  # early: the first reflections, which help hearing, stay in the target
    early: float = 0.05  # seconds after the direct sound that count as early
    rooms: int = 200  # different simulated rooms
    size: tuple[float, float] = (3.0, 10.0)  # metres of length and width, uniform
    height: tuple[float, float] = (2.4, 4.0)  # metres, uniform
    rt60: tuple[float, float] = (0.2, 0.8)  # seconds to fall by 60 dB, uniform
    distance: tuple[float, float] = (0.3, 3.0)  # metres from speaker to microphone, uniform, as the room allows

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("size", self.size, 1.5, 100)
        check_range("height", self.height, 1.5, 50)
        check_range("rt60", self.rt60, 0.05, 5)
        check_range("distance", self.distance, 0.05, 100)
        if self.rooms < 1 or self.early <= 0:
            raise ValueError(f"rooms must be at least 1 and early positive, got {self.rooms}, {self.early}")


def draw_room(config: RoomConfig, sample_rate: int, rng: np.random.Generator) -> Response:
    """One of the recorded or simulated rooms."""
    if config.files is not None:
        responses = load_responses(config.files, sample_rate)
        return responses[rng.integers(len(responses))]
    return _simulated(config, sample_rate, int(rng.integers(config.rooms)))


def early_part(response: Response, config: RoomConfig, sample_rate: int) -> np.ndarray:
    """The taps up to `early` after the direct sound."""
    return response.taps[: response.lead + 1 + round(config.early * sample_rate)]


@lru_cache(maxsize=512)
def _simulated(config: RoomConfig, sample_rate: int, number: int) -> Response:
    """Room `number`: its walls and places follow from the number and the config alone."""
    rng = rng_for(0, "room", number)
    size = np.array([*rng.uniform(*config.size, 2), rng.uniform(*config.height)])
    rt60, distance = float(rng.uniform(*config.rt60)), float(rng.uniform(*config.distance))
    microphone = rng.uniform(WALL, size - WALL)
    speaker = _speaker_at(distance, microphone, size, rng)
    return room_response(Room(size=size, speaker=speaker, microphone=microphone, rt60=rt60), sample_rate, rng)


def _speaker_at(distance: float, microphone: np.ndarray, size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A place inside at this distance; nearer by a tenth whenever no direction out of twenty stays inside."""
    while True:
        for _ in range(20):
            direction = rng.standard_normal(3)
            place = microphone + distance * direction / np.linalg.norm(direction)
            if (place >= WALL).all() and (place <= size - WALL).all():
                return place
        distance *= 0.9
