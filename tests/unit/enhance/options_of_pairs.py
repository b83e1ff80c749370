"""Another value of every option of training pairs and of their augmentations; what is looked at: two batches."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from enhance.augment.bandmask import BandMaskConfig
from enhance.augment.chance import Chance
from enhance.augment.child import ChildConfig
from enhance.augment.codec import CodecConfig
from enhance.augment.crusher import CrusherConfig
from enhance.augment.crystalizer import CrystalizerConfig
from enhance.augment.flanger import FlangerConfig
from enhance.augment.low_pass import LowPassConfig
from enhance.augment.microphone import MicrophoneConfig
from enhance.augment.reverb_echo import ReverbEchoConfig
from enhance.augment.room import RoomConfig
from enhance.augment.shift import ShiftConfig
from enhance.augment.vibrato import VibratoConfig
from enhance.pairs import Pairs, PairsConfig
from enhance.sounds import Sounds, gather
from tests.options_walk import FLIP, Change, changed
from tests.unit.enhance.conftest import RATE, voice

ROOM = {"rooms": 2, "size": (3.0, 3.5), "height": (2.4, 2.6), "rt60": (0.1, 0.12), "distance": (0.3, 0.9)}
BASES = {"pairs": changed(PairsConfig(batch=3, seconds=0.2), {f"augment.room.{key}": to for key, to in ROOM.items()})}


def response(folder: Path) -> Path:
    """A directory with one impulse response."""
    soundfile.write(folder / "one.wav", np.array([0.0, 1.0, 0.5, -0.3, 0.1]), RATE)
    return folder


def other_response(folder: Path) -> Path:
    (folder / "other").mkdir()
    soundfile.write(folder / "other" / "two.wav", np.array([0.0, 1.0, -0.5, 0.3, 0.2]), RATE)
    return folder / "other"


def on(to: Any, **beside: Any) -> Change:
    """The value in an augmentation that every pair gets."""
    return Change(to, given={"probability": 1.0} | beside)


CHANGES: dict[type, dict[str, Any]] = {
    PairsConfig: {
        "task": "bandwidth", "batch": 2, "seconds": 0.3, "segments": "strided",
        "stride": Change(0.25, given={"segments": "strided"}), "snr": (0.0, 5.0), "snr_normal": (0.0, 3.0),
        "snr_floor": 20.0, "clean_share": 0.9, "second_noise": 0.9, "babble": 0.9, "synthetic": 0.9, "gain": (0.0, 0.0),
        "equalise": 0.0, "speed": (1.0, 1.0),
    },
    Chance: {"probability": 1.0},
    ShiftConfig: {"seconds": on(0.1), "same": on(FLIP)},
    ChildConfig: {"pitch": on((1.5, 1.5)), "formants": on((1.0, 1.0)), "rate": on((0.7, 0.7))},
    ReverbEchoConfig: {
        "initial": on(0.9), "rt60": on((0.1, 0.1)), "first_delay": on((0.005, 0.006)), "repeats": on(1),
        "jitter": on(0.5), "keep_clean": on(0.9),
    },
    RoomConfig: {
        "files": on(response), "where": on("mixture"), "target": on("early"), "early": on(0.002, target="early"),
        "rooms": on(3), "size": on((2.0, 2.5)), "height": on((2.0, 2.1)), "rt60": on((0.2, 0.2)),
        "distance": on((0.1, 0.1)),
    },
    BandMaskConfig: {"width": on(0.5), "bands": on(20), "lowest": on(200.0)},
    LowPassConfig: {
        "cutoffs": on((500.0,)), "filters": on(("bessel",)), "order": on((3, 3), filters=("bessel",)),
        "decimate": on(FLIP, filters=("bessel",), order=(2, 2)),
    },
    MicrophoneConfig: {
        "probability": Change(1.0, given={"files": response}), "files": on(other_response, files=response),
    },
    CrusherConfig: {"bits": on((2.0, 2.0)), "mix": on(1.0)},
    CrystalizerConfig: {"intensity": on((8.0, 8.0))},
    VibratoConfig: {"frequency": on((10.0, 10.0)), "depth": on(0.9)},
    FlangerConfig: {"depth": on((0.5, 0.5))},
    CodecConfig: {
        "codecs": on(("vorbis",)), "mp3": on((32,), codecs=("mp3",)), "opus": on((32,), codecs=("opus",)),
        "vorbis": on((0.8,), codecs=("vorbis",)),
    },
}  # fmt: skip


@cache
def sounds() -> tuple[Sounds, Sounds]:
    voices = [(f"s{i % 3}-{i}", f"s{i % 3}", voice(i, 0.6 + 0.1 * i)) for i in range(5)]
    rng = np.random.default_rng(0)
    noises = [(f"n{i}", f"n{i}", rng.standard_normal(4000 * (i + 1)).astype(np.float32)) for i in range(3)]
    return (
        gather(voices, where="voices", active=True, sample_rate=RATE),
        gather(noises, where="noises", active=False, sample_rate=RATE),
    )


def observed(name: str, config: Any) -> dict[str, Any]:
    pairs = Pairs(*sounds(), config, sample_rate=RATE, seed=1)
    return {"batches": [pairs(step) for step in (0, 1)]}
