"""Synthetic children: voices made for espeak-ng, each with an age, and the speech they speak.

espeak-ng comes as a shared library in the package espeakng-loader (GPL-3.0, only used to make this corpus) and is
called through ctypes.  A child is a voice variant file: pitch and formants fit the age (fundamental frequency and vocal
tract length after Lee, Potamianos and Narayanan 1999, JASA 105:1455); speed, roughness, breath, accent and, among the
youngest, a lisp or a w for r are drawn per child.

The library keeps state from one utterance to the next and seeds its noise by the clock.  Every child therefore speaks
through a copy of the library of its own, with a given seed: the same child says the same bytes whoever spoke before.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from harness.errors import AudioError, ProgramError
from harness.seed import rng_for

SAMPLE_RATE = 16000  # Hz, of everything this module returns
PEAK = 0.5  # of every utterance as it leaves this module, full scale 1
ACCENTS = ("en-US", "en-US", "en-US", "en-US-nyc", "en", "en-GB-x-gbcwmd", "en-GB-scotland", "en-029")
LISP, GLIDE = ("s", "T"), ("r", "w")  # phonemes of espeak-ng: "thikth" for six, "wed" for red
REINSTALL = "reinstall it: pip install --force-reinstall espeakng-loader==0.2.4"

Samples = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Child:
    """A synthetic speaker: what Kaldi's tables say of it, and how it sounds."""

    name: str
    age: int  # years
    gender: str  # "f" or "m"
    accent: str  # one of ACCENTS
    pitch: float  # Hz, the middle of its range
    formant_scale: float  # formants relative to an adult man: about 1.28 at six years
    words_per_minute: int
    roughness: int  # 0..2 creaks, out of espeak-ng's 0..7
    breath: int  # 0..4, noise in the voiced formants
    habits: tuple[tuple[str, str], ...]  # phonemes it replaces


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """One utterance to speak."""

    text: str
    speed: float = 1.0  # relative to the child's own
    pitch: int = 50  # espeak's pitch, 0..99; 50 leaves the child's own
    liveliness: int = 50  # espeak's pitch range, 0..99


def make_child(name: str, age: int, gender: str, seed: int) -> Child:
    """Draw a voice that fits the age in years and the gender; the same name and seed give the same voice."""
    rng = rng_for(seed, "voice", name)
    grown = float(np.clip((age - 6) / 9, 0, 1))  # 0 at six, 1 at fifteen
    broken = gender == "m" and age >= 13  # the voice has changed
    pitch = 210 - 30 * (age - 13) if broken else 285 - 60 * grown
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
        habits=tuple(habit for habit in (LISP, GLIDE) if rng.random() < 0.35 and age <= 8),
    )


def variant_file(child: Child) -> str:
    """The espeak-ng voice variant of a child (the keywords are described in espeak-ng's docs/voices.md)."""
    percent = 100 * child.formant_scale
    tilt = (100, 100, 100, 98, 95, 92, 90, 90)  # higher formants grow a little less
    lines = ["language variant", f"name {child.name}", f"gender {'female' if child.gender == 'f' else 'male'}"]
    lines.append(f"pitch {0.87 * child.pitch:.0f} {1.18 * child.pitch:.0f}")
    lines.append(f"roughness {child.roughness}")
    lines += [f"formant {n} {percent * part / 100:.0f} 100 110" for n, part in enumerate(tilt, start=1)]
    lines.append("breath " + " ".join([str(child.breath)] * 8))
    lines.append("consonants 110 110")
    lines += [f"replace 00 {one} {other}" for one, other in child.habits]
    return "\n".join(lines) + "\n"


def speak(work: Sequence[tuple[Child, Sequence[Sentence]]], seed: int) -> Iterator[tuple[Child, list[Samples]]]:
    """Yield every child with its sentences as float32 [samples] at 16 kHz, in the order given.

    Raises ProgramError where espeakng-loader is missing or its library refuses, AudioError for a silent sentence.
    """
    library, source = _installed()
    with tempfile.TemporaryDirectory(prefix="schoolyard-voices-") as name:
        folder = Path(name)
        data = folder / "espeak-ng-data"
        shutil.copytree(source, data, copy_function=os.symlink)  # ours: the installed one stays as it is
        for child, _ in work:
            (data / "voices" / "!v" / child.name).write_text(variant_file(child), encoding="utf-8")
        for child, sentences in work:
            own_library = folder / f"{child.name}-{library.name}"
            shutil.copyfile(library, own_library)
            espeak = _Espeak(own_library, folder)
            espeak.seed(int(rng_for(seed, "noise", child.name).integers(1, 2**31)))
            espeak.voice(f"gmw/{child.accent}+{child.name}")
            yield child, [_say(espeak, child, sentence) for sentence in sentences]


def _installed() -> tuple[Path, Path]:
    """The shared library and the data folder of espeakng-loader."""
    try:
        import espeakng_loader
    except ImportError:
        problem = "the package espeakng-loader is not installed"
        raise ProgramError("espeak-ng", problem, mend="pip install espeakng-loader==0.2.4") from None
    return Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())


def _say(espeak: _Espeak, child: Child, sentence: Sentence) -> Samples:
    rate = round(child.words_per_minute * sentence.speed)
    samples = espeak.say(sentence.text, rate, sentence.pitch, sentence.liveliness)
    resampled = soxr.resample(samples, espeak.sample_rate, SAMPLE_RATE, "HQ")
    peak = float(np.abs(resampled).max(initial=0.0))
    if peak < 1e-3:
        raise AudioError(child.name, f"espeak-ng says nothing for {sentence.text!r}", mend=REINSTALL)
    scaled: Samples = (PEAK / peak * resampled).astype(np.float32)
    return scaled


class _Voice(ctypes.Structure):
    """The first fields of espeak_VOICE (speak_lib.h)."""

    _fields_ = (("name", ctypes.c_char_p), ("languages", ctypes.c_char_p), ("identifier", ctypes.c_char_p))


class _Espeak:
    """The few calls of libespeak-ng that are needed (speak_lib.h, espeak_ng.h), synchronously into memory."""

    SYNCHRONOUS, NO_EXIT, UTF8 = 2, 0x8000, 1
    RATE, PITCH, RANGE = 1, 3, 4

    def __init__(self, library: Path, folder: Path) -> None:
        """folder: holds espeak-ng-data."""
        self._lib = _declared(library)
        self.sample_rate = int(self._lib.espeak_Initialize(self.SYNCHRONOUS, 0, os.fsencode(folder), self.NO_EXIT))
        if self.sample_rate <= 0:
            raise ProgramError("espeak-ng", "cannot start with its data folder", mend=REINSTALL)
        self._chunks: list[bytes] = []
        # kept as an attribute: the library holds only the address
        self._callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(self._receive)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def seed(self, value: int) -> None:
        """Seed the library's noise."""
        self._lib.espeak_ng_SetRandSeed(value)

    def voice(self, name: str) -> None:
        """Choose ``folder/language+variant``.  The library accepts a variant that it lacks, so ask what it took."""
        code = self._lib.espeak_SetVoiceByName(name.encode())
        current = self._lib.espeak_GetCurrentVoice()
        taken = (current.contents.identifier or b"").decode() if current else ""
        if code != 0 or taken != name:
            raise ProgramError("espeak-ng", f"has no voice {name!r} (it took {taken!r})", mend=REINSTALL)

    def say(self, text: str, rate: int, pitch: int, pitch_range: int) -> Samples:
        """float32 [samples] at the library's own rate, full scale 1.  rate: words per minute."""
        for parameter, value in ((self.RATE, rate), (self.PITCH, pitch), (self.RANGE, pitch_range)):
            self._lib.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        spoken = text.lower().encode()
        if self._lib.espeak_Synth(spoken, len(spoken) + 1, 0, 0, 0, self.UTF8, None, None) != 0:
            raise ProgramError("espeak-ng", f"cannot speak {text!r}", mend=REINSTALL)
        self._lib.espeak_Synchronize()
        return np.frombuffer(b"".join(self._chunks), dtype="<i2").astype(np.float32) / np.float32(32768)


def _declared(path: Path) -> Any:
    """The library with the types of the calls whose arguments or results are not plain ints."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ProgramError("espeak-ng", f"its library cannot be loaded: {error}", mend=REINSTALL) from error
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    library.espeak_GetCurrentVoice.restype = ctypes.POINTER(_Voice)
    library.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
        ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    return library
