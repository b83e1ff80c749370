"""Impulse response of a box-shaped room by the image-source method, with a diffuse tail.

Paper: Allen & Berkley 1979, JASA 65(4).  Differs: walls absorb by Eyring's formula for the asked reverberation time;
beyond TAIL_FROM, where the images lie dense, noise with the same decay goes on from their level, which is what many
thousand images come to (Lehmann & Johansson 2010).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from enhance.augment.responses import Response

SOUND = 343.0  # metres a second
TAIL_FROM = 0.08  # seconds after the direct sound
CROSSING = 0.02  # seconds over which images give way to the tail
FINER = 16  # arrivals lie on a grid this many times finer than the samples
RUMBLE = 20.0  # Hz; images all push the same way, so that a slow drift builds up which no room has: filtered out
LEAD = 32  # samples before the direct sound, for the ripples of its band limit


@dataclass(frozen=True, kw_only=True)
class Room:
    """size, speaker, microphone: [3] metres, the places from one corner.  rt60: seconds to fall by 60 dB."""

    size: np.ndarray
    speaker: np.ndarray
    microphone: np.ndarray
    rt60: float


def room_response(room: Room, sample_rate: int, rng: np.random.Generator) -> Response:
    """The response with a direct sound of gain one; rng makes the tail."""
    from scipy.signal import butter, resample_poly, sosfilt

    direct = float(np.linalg.norm(room.speaker - room.microphone))
    reach = min(TAIL_FROM + CROSSING, room.rt60)
    distances, gains = images(room, direct + SOUND * reach)
    places = LEAD * FINER + np.round((distances - direct) / SOUND * sample_rate * FINER).astype(int)
    length = LEAD + round(reach * sample_rate) + 1
    fine = np.bincount(places, gains * (direct / distances), minlength=length * FINER)[: length * FINER]
    early = sosfilt(butter(2, RUMBLE, "high", fs=sample_rate, output="sos"), resample_poly(fine, 1, FINER) * FINER)
    return Response(taps=_with_tail(early[:length], room.rt60, sample_rate, rng).astype(np.float32), lead=LEAD)


def images(room: Room, farthest: float) -> tuple[np.ndarray, np.ndarray]:
    """(metres to the microphone, product of the walls' reflections) of every image source within `farthest` metres."""
    squares, bounces = zip(*(_along(*axis, farthest) for axis in zip(
        room.size, room.speaker, room.microphone, strict=True)), strict=True)  # fmt: skip
    square = squares[0][:, None, None] + squares[1][:, None] + squares[2]
    count = bounces[0][:, None, None] + bounces[1][:, None] + bounces[2]
    near = square <= farthest**2
    return np.sqrt(square[near]), reflection(room) ** count[near]


def _along(size: float, speaker: float, microphone: float, farthest: float) -> tuple[np.ndarray, np.ndarray]:
    """(squared offset, bounces) of the images along one axis: 2 n size + speaker, and 2 n size - speaker."""
    reach = int(farthest / (2 * size)) + 2
    n = np.arange(-reach, reach + 1)
    places = np.concatenate([2 * n * size + speaker, 2 * n * size - speaker])
    return (places - microphone) ** 2, np.concatenate([2 * np.abs(n), np.abs(2 * n - 1)])


def reflection(room: Room) -> float:
    """Pressure that a wall throws back: Eyring's absorption for the reverberation time, the same on all walls."""
    x, y, z = room.size
    surface = 2 * (x * y + y * z + z * x)
    absorption = 1 - np.exp(-24 * np.log(10) / SOUND * x * y * z / (surface * room.rt60))
    return float(np.sqrt(1 - absorption))


def _with_tail(early: np.ndarray, rt60: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Noise that decays by rt60, faded in over the last CROSSING of the images at their level, down to -60 dB."""
    first = LEAD + round(TAIL_FROM * sample_rate)
    if len(early) <= first:
        return early
    length = max(len(early), LEAD + round(rt60 * sample_rate))
    decay = 10 ** (-3 * np.arange(length) / (rt60 * sample_rate))  # of pressure
    window = slice(max(LEAD + 1, first - round(0.04 * sample_rate)), len(early))
    level = np.sqrt(np.sum(early[window] ** 2) / np.sum(decay[window] ** 2))
    rise = np.clip((np.arange(length) - first) / max(1, len(early) - first), 0, 1)
    taps: np.ndarray = rng.standard_normal(length) * decay * level * np.sqrt(rise)
    taps[: len(early)] += early * np.sqrt(1 - rise[: len(early)])
    return taps
