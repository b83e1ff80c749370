"""Small data directories with real sound for the tests of kaldi_bridge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.sound_files import write_wav

RATE = 16000


def sound(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """A noisy glide, float32 in [-1, 1]."""
    time = np.arange(int(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.02, len(time))
    return (0.3 * np.sin(2 * np.pi * (200 + 300 * time) * time) + noise).astype(np.float32)


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[..., DataDir]:
    """make_data("train", speakers=2, utterances=3) writes a valid data directory with wav files and returns it."""

    def make(
        name: str = "train", speakers: int = 2, utterances: int = 3, seconds: float = 0.5, first: int = 1
    ) -> DataDir:
        wav_scp, text, utt2spk, gender, age = {}, {}, {}, {}, {}
        for speaker in range(first, first + speakers):
            spk = f"kid{speaker:02d}"
            gender[spk], age[spk] = "mf"[speaker % 2], str(6 + speaker)
            for number in range(utterances):
                utt = f"{spk}-{number:03d}"
                path = tmp_path / "audio" / f"{name}-{utt}.wav"
                write_wav(path, sound(seconds + 0.05 * number, seed=100 * speaker + number), RATE)
                wav_scp[utt], utt2spk[utt] = str(path), spk
                text[utt] = f"ONE {'TWO ' * number}THREE"
        data = DataDir.build(
            tmp_path / name, wav_scp=wav_scp, text=text, utt2spk=utt2spk, spk2gender=gender, spk2age=age
        )
        return data.write()

    return make
