"""Synthetic children: voices made for espeak-ng, each with an age, and the speech they speak.

espeak-ng comes as a shared library in the package espeakng-loader (GPL-3.0, only used to make this corpus) and is
called through ctypes.  A child is a voice variant file: pitch and formants scaled to the age (fundamental frequency
after Lee, Potamianos and Narayanan 1999, JASA 105:1455; formants by vocal tract length), speed, roughness and breath
drawn per child.  The library keeps state between calls and seeds its noise by the clock: every child therefore speaks
in a process of its own with a given seed, so that the same child says the same bytes whoever spoke before.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from harness.errors import AudioError, ProgramError
from harness.seed import rng_for

SAMPLE_RATE = 16000  # Hz, of everything this module returns
ACCENTS = ("gmw/en-US", "gmw/en-US", "gmw/en", "gmw/en-GB-scotland", "gmw/en-GB-x-rp", "gmw/en-US")


@dataclass(frozen=True, kw_only=True)
class Child:
    """A synthetic speaker: what Kaldi's tables say of it, and how it sounds."""

    name: str
    age: int  # years
    gender: str  # "f" or "m"
    accent: str  # voice of espeak-ng
    pitch: float  # Hz, the middle of its range
    formant_scale: float  # formants relative to an adult man: 1.28 at six years
    words_per_minute: int
    roughness: int  # 0..4, creaks
    breath: int  # 0..8, noise in the voiced formants


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One utterance to speak."""

    text: str
    speed: float = 1.0  # relative to the child's own
    pitch: int = 50  # espeak's pitch, 0..99; 50 leaves the child's own
    liveliness: int = 50  # espeak's pitch range, 0..99


def make_child(name: str, age: int, gender: str, seed: int) -> Child:
    """Draw a voice that fits the age and the gender; the same name and seed give the same voice."""
    rng = rng_for(seed, "voice", name)
    grown = np.clip((age - 6) / 9, 0, 1)  # 0 at six, 1 at fifteen
    broken = gender == "m" and age >= 13  # the voice has changed
    pitch = 285 - 60 * grown if not broken else 210 - 30 * (age - 13)
    scale = 1.28 - 0.14 * grown - (0.05 * grown if gender == "m" else 0)
    return Child(
        name=name,
        age=age,
        gender=gender,
        accent=str(rng.choice(ACCENTS)),
        pitch=float(pitch * np.exp(rng.normal(0, 0.07))),
        formant_scale=float(scale * np.exp(rng.normal(0, 0.025))),
        words_per_minute=int(np.clip(rng.normal(120 + 35 * grown, 12), 95, 180)),
        roughness=int(rng.integers(0, 3)),
        breath=int(rng.integers(0, 5)),
    )


def variant_file(child: Child) -> str:
    """The espeak-ng voice variant of a child (docs: "Voice files" of espeak-ng)."""
    percent = 100 * child.formant_scale
    tilt = (100, 100, 100, 98, 95, 92, 90, 90)  # higher formants grow a little less
    lines = ["language variant", f"name {child.name}", f"gender {'female' if child.gender == 'f' else 'male'}"]
    lines.append(f"pitch {0.87 * child.pitch:.0f} {1.18 * child.pitch:.0f}")
    lines.append(f"roughness {child.roughness}")
    lines += [f"formant {n} {percent * tilt[n - 1] / 100:.0f} 100 110" for n in range(1, 9)]
    lines.append("breath " + " ".join([str(child.breath)] * 8))
    lines.append("consonants 110 110")
    return "\n".join(lines) + "\n"


def speak(
    work: Sequence[tuple[Child, Sequence[Sentence]]], seed: int, jobs: int = 1
) -> Iterator[tuple[Child, list[np.ndarray]]]:
    """Yield every child with its sentences as float32 [samples] at 16 kHz, in the order given.

    Raises ProgramError where espeakng-loader is missing or its library refuses, AudioError for a silent sentence.
    """
    source = _data_dir()
    with tempfile.TemporaryDirectory(prefix="schoolyard-voices-") as folder:
        data = Path(folder) / "espeak-ng-data"
        shutil.copytree(source, data, copy_function=os.symlink)
        for child, _ in work:
            (data / "voices" / "!v" / child.name).write_text(variant_file(child), encoding="utf-8")
        todo = [(folder, child, list(sentences), seed) for child, sentences in work]
        # maxtasksperchild=1: a new process, hence a new library, for each child
        with multiprocessing.get_context("spawn").Pool(max(1, jobs), maxtasksperchild=1) as pool:
            yield from zip((child for child, _ in work), pool.imap(_speak_child, todo, chunksize=1), strict=True)


def _data_dir() -> Path:
    try:
        import espeakng_loader
    except ImportError:
        problem = "the package espeakng-loader is not installed"
        raise ProgramError("espeak-ng", problem, mend="pip install espeakng-loader, or run ./run.sh once") from None
    return Path(espeakng_loader.get_data_path())


def _speak_child(task: tuple[str, Child, list[Sentence], int]) -> list[np.ndarray]:
    folder, child, sentences, seed = task
    espeak = _Espeak(folder)
    espeak.seed(int(rng_for(seed, "noise", child.name).integers(1, 2**31)))
    espeak.voice(f"{child.accent}+{child.name}")
    return [_finish(espeak, child, sentence) for sentence in sentences]


def _finish(espeak: _Espeak, child: Child, sentence: Sentence) -> np.ndarray:
    """Speak, resample to 16 kHz, put the peak at half of full scale; some room noise of -60 dB is added later."""
    rate = round(child.words_per_minute * sentence.speed)
    samples = espeak.say(sentence.text, rate, sentence.pitch, sentence.liveliness)
    resampled = soxr.resample(samples, espeak.sample_rate, SAMPLE_RATE, "HQ")
    peak = float(np.abs(resampled).max(initial=0.0))
    if peak < 1e-3:
        raise AudioError(child.name, f"espeak-ng says nothing for {sentence.text!r}", mend="report this as a bug")
    return (0.5 / peak * resampled).astype(np.float32)


class _Espeak:
    """The few calls of libespeak-ng that are needed (speak_lib.h, espeak_ng.h), synchronously into memory."""

    SYNCHRONOUS, NO_EXIT, UTF8 = 2, 0x8000, 1
    RATE, PITCH, RANGE = 1, 3, 4

    def __init__(self, folder: str) -> None:
        """folder: holds espeak-ng-data."""
        import espeakng_loader

        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        self._lib.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self._lib.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        self.sample_rate = int(self._lib.espeak_Initialize(self.SYNCHRONOUS, 0, os.fsencode(folder), self.NO_EXIT))
        if self.sample_rate <= 0:
            raise ProgramError("espeak-ng", "cannot start with its data folder", mend="reinstall espeakng-loader")
        self._chunks: list[bytes] = []
        prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self._callback = prototype(self._receive)  # kept: the library holds only the address
        self._lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def seed(self, value: int) -> None:
        self._lib.espeak_ng_SetRandSeed(value)

    def voice(self, name: str) -> None:
        if self._lib.espeak_SetVoiceByName(name.encode()) != 0:
            raise ProgramError("espeak-ng", f"has no voice {name!r}", mend="reinstall espeakng-loader")

    def say(self, text: str, rate: int, pitch: int, pitch_range: int) -> np.ndarray:
        """float32 [samples] at the library's own rate, full scale 1."""
        for parameter, value in ((self.RATE, rate), (self.PITCH, pitch), (self.RANGE, pitch_range)):
            self._lib.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        spoken = text.lower().encode()
        if self._lib.espeak_Synth(spoken, len(spoken) + 1, 0, 0, 0, self.UTF8, None, None) != 0:
            raise ProgramError("espeak-ng", f"cannot speak {text!r}", mend="reinstall espeakng-loader")
        self._lib.espeak_Synchronize()
        return np.frombuffer(b"".join(self._chunks), dtype="<i2").astype(np.float32) / 32768
