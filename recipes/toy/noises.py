"""Noises of a classroom, synthesised: other children's babble, a fan, mains hum, clatter.

Train and test noise share no recording: different voices babble, and every other sound is drawn anew from another seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from sentences import draw_sentences
from speech import SAMPLE_RATE, Child, Samples, make_child, speak

from harness.seed import rng_for

SECONDS = 12.0  # of every recording
BABBLERS = 5  # children at once
SENTENCES = 9  # of every babbling child: about SECONDS
LEVEL = 0.05  # root mean square of every recording, full scale 1

Signal = NDArray[np.float64]


def make_noises(part: str, copies: int, seed: int) -> Iterator[tuple[str, Samples]]:
    """Yield (name, float32 [samples] at 16 kHz) of ``copies`` recordings of each of the four kinds.

    part: "train" or "test"; enters every seed and the babbling voices' names.
    """
    simple: dict[str, Callable[[np.random.Generator], Signal]] = {"fan": fan, "hum": hum, "clatter": clatter}
    for kind, make in simple.items():
        for copy in range(copies):
            yield f"{kind}-{part}-{copy}", _level(make(rng_for(seed, "noise", kind, part, copy)))
    yield from babble(part, copies, seed)


def babble(part: str, copies: int, seed: int) -> Iterator[tuple[str, Samples]]:
    """Several children talking at once, each starting at a moment and with a loudness of its own."""
    voices = [_babbler(part, number, seed) for number in range(BABBLERS * copies)]
    work = [(child, draw_sentences(child.name, SENTENCES, seed)) for child in voices]
    spoken = [np.concatenate(sentences) for _, sentences in speak(work, seed)]
    for copy in range(copies):
        rng = rng_for(seed, "babble", part, copy)
        mixed = np.zeros(_samples())
        for voice in spoken[copy * BABBLERS : (copy + 1) * BABBLERS]:
            shifted = np.roll(np.resize(voice, len(mixed)), rng.integers(len(mixed)))
            mixed += 10 ** (rng.uniform(-8, 0) / 20) * shifted
        yield f"babble-{part}-{copy}", _level(mixed)


def _babbler(part: str, number: int, seed: int) -> Child:
    """A child of neither train nor test: its name, which seeds the voice, occurs nowhere else."""
    return make_child(f"babble-{part}-{number:02d}", 6 + (5 * number + number // 2) % 10, "fm"[number % 2], seed)


def fan(rng: np.random.Generator) -> Signal:
    """Broadband air noise falling 6 to 9 dB an octave, beaten by the blades."""
    noise = _coloured(rng, exponent=rng.uniform(2.0, 3.0), corner=rng.uniform(80, 300))
    beat = 1 + 0.25 * np.sin(2 * np.pi * rng.uniform(8, 25) * _time() + rng.uniform(0, 6))
    return noise * beat


def hum(rng: np.random.Generator) -> Signal:
    """Mains hum with its harmonics, and the hiss of a cheap amplifier."""
    mains = rng.choice([50.0, 60.0]) * rng.uniform(0.998, 1.002)
    tones = [
        rng.uniform(0.3, 1) / n * np.sin(2 * np.pi * n * mains * _time() + rng.uniform(0, 6)) for n in range(1, 30)
    ]
    return np.sum(tones, axis=0) + 0.35 * rng.standard_normal(_samples())


def clatter(rng: np.random.Generator) -> Signal:
    """Toys and cutlery: about three bursts a second of a few decaying resonances, over a quiet room."""
    sound = 0.02 * _coloured(rng, exponent=1.0, corner=100)
    for start in np.sort(rng.uniform(0, SECONDS - 0.3, size=int(3 * SECONDS))):
        time = np.arange(int(0.3 * SAMPLE_RATE)) / SAMPLE_RATE
        burst = sum(
            rng.uniform(0.2, 1) * np.exp(-time / rng.uniform(0.01, 0.06)) * np.sin(2 * np.pi * tone * time)
            for tone in rng.uniform(500, 6500, size=5)
        )
        first = int(start * SAMPLE_RATE)
        sound[first : first + len(time)] += rng.uniform(0.2, 1) * burst
    return sound


def _coloured(rng: np.random.Generator, exponent: float, corner: float) -> Signal:
    """Gaussian noise whose power falls as frequency**-exponent above the corner (Hz), of unit deviation."""
    spectrum = np.fft.rfft(rng.standard_normal(_samples()))
    frequency = np.fft.rfftfreq(_samples(), 1 / SAMPLE_RATE)
    shaped = np.fft.irfft(spectrum * (1 + frequency / corner) ** (-exponent / 2), _samples())
    return shaped / shaped.std()


def _level(samples: Signal) -> Samples:
    """Brought to LEVEL (-26 dB of full scale), peaks limited."""
    scaled = samples * (LEVEL / np.sqrt(np.mean(np.square(samples))))
    limited: Samples = np.clip(scaled, -0.98, 0.98).astype(np.float32)
    return limited


def _time() -> Signal:
    return np.arange(_samples()) / SAMPLE_RATE


def _samples() -> int:
    return int(SECONDS * SAMPLE_RATE)
