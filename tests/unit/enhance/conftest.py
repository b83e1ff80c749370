"""Small synthetic speech and noise, and a small generator, for the tests of enhance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from kaldi_bridge.data_dir import DataDir

RATE = 16000


def voice(seed: int, seconds: float) -> np.ndarray:
    """Harmonics of a gliding pitch under a syllable-like envelope, with a pause at each end: [samples] in [-1, 1]."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(220 + 40 * seed % 100 + 30 * np.sin(2 * np.pi * 1.3 * time)) / RATE
    tone = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 12))
    envelope = np.clip(np.sin(2 * np.pi * 3 * time), 0, None) * ((time > 0.1) & (time < seconds - 0.1))
    samples = 0.1 * tone * envelope + 1e-4 * rng.standard_normal(len(time))
    return samples.astype(np.float32)


def write_data_dir(path: Path, lengths: dict[str, float], **tables: dict[str, str]) -> Path:
    """A data directory with a wav of so many seconds for each utterance `speaker-name`."""
    (path / "audio").mkdir(parents=True)
    wav_scp = {}
    for number, (utterance, seconds) in enumerate(sorted(lengths.items())):
        wav_scp[utterance] = str(path / "audio" / f"{utterance}.wav")
        soundfile.write(wav_scp[utterance], voice(number, seconds), RATE, "PCM_16")
    utt2spk = {utterance: utterance.split("-")[0] for utterance in lengths}
    text = dict.fromkeys(lengths, "ONE TWO")
    DataDir.build(path, wav_scp=wav_scp, utt2spk=utt2spk, text=text, **tables).write()
    return path


@pytest.fixture
def make_voice():
    return voice


@pytest.fixture
def make_data_dir():
    return write_data_dir


@pytest.fixture
def audio_of():
    return read_all


@pytest.fixture
def clean_dir(tmp_path: Path) -> Path:
    lengths = {"ann-1": 1.3, "ann-2": 0.9, "bob-1": 1.1, "bob-2": 1.51, "cyd-1": 1.2}
    ages = {"ann": "7", "bob": "9", "cyd": "12"}
    return write_data_dir(tmp_path / "clean", lengths, spk2age=ages)


@pytest.fixture
def noise_dir(tmp_path: Path) -> Path:
    """A long noise, and one that is shorter than every utterance."""
    folder = tmp_path / "noise" / "inner"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    soundfile.write(folder / "long.wav", 0.1 * rng.standard_normal(4 * RATE), RATE, "PCM_16")
    soundfile.write(folder / "short.wav", 0.05 * rng.standard_normal(RATE // 3), RATE, "PCM_16")
    soundfile.write(tmp_path / "noise" / "hum.wav", 0.1 * np.sin(np.arange(RATE) * 0.02), RATE, "PCM_16")
    return tmp_path / "noise"


@pytest.fixture
def train_sounds():
    """Eight utterances of four speakers, and four noises."""
    from enhance.sounds import gather

    voices = [(f"u{i}", f"s{i % 4}", voice(i, 1.0)) for i in range(8)]
    rng = np.random.default_rng(0)
    noises = [(f"n{i}", f"n{i}", rng.standard_normal(8000).astype(np.float32)) for i in range(4)]
    return (
        gather(voices, where="voices", active=True, sample_rate=RATE),
        gather(noises, where="noises", active=False, sample_rate=RATE),
    )


@pytest.fixture
def tiny_run():
    """Overrides for a compact generator and critic that train in an instant."""
    return [
        "generator.channels=8", "generator.dual_paths=1", "generator.dilations=[1]", "loss.critic.sizes=[128]",
        "loss.critic.channels=2", "pairs.batch=2", "pairs.seconds=0.3", "train.steps=4", "train.validate_every=4",
        "train.validation_batches=1", "train.warmup=2", "train.critic_from=0.0", "train.held_out_speakers=0.3",
        "train.log_every=1",
    ]  # fmt: skip


@pytest.fixture
def small_model(tmp_path: Path) -> Path:
    """A checkpoint of a small compact generator whose mask is far from one."""
    import torch

    from enhance.models.compact import Compact, CompactConfig
    from enhance.weights import save_generator

    torch.manual_seed(0)
    model = Compact(CompactConfig(channels=8, dual_paths=1, dilations=(1, 2)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_generator(tmp_path / "small.pt", "compact", model, {"step": 1})
    return tmp_path / "small.pt"


def read_all(path: Path) -> dict[str, np.ndarray]:
    """{utterance: samples} of a data directory."""
    from kaldi_bridge.audio import read_utterances

    return dict(read_utterances(DataDir.read(path)))
