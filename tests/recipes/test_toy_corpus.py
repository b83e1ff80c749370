"""The toy corpus: valid, the same twice, split by speaker, pronounceable, childlike."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile

from harness.errors import AudioError, LexiconError, ProgramError
from kaldi_bridge.data_dir import DataDir

ROOT = Path(__file__).resolve().parents[2]
TOY = ROOT / "recipes" / "toy"
PARTS = ("train", "dev", "test")
SMALL = ("--set", "children=4", "--set", "utterances=7", "--set", "noises=1")

pytest.importorskip("espeakng_loader", reason="the toy corpus needs pip install espeakng-loader==0.2.4")


def run_prepare(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOY / "prepare.py"), "--out", str(out), *options]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        cwd=out.parent,
    )


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("toy") / "data"
    result = run_prepare(out, *SMALL)
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope="module")
def toy() -> Iterator[SimpleNamespace]:
    """The recipe's modules, imported as the script imports them: from its own folder."""
    names = ("speech", "sentences", "noises", "prepare")
    sys.path.insert(0, str(TOY))
    modules: dict[str, ModuleType] = {name: __import__(name) for name in names}
    yield SimpleNamespace(**modules)
    sys.path.remove(str(TOY))
    for name in names:
        del sys.modules[name]


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def median_pitch(samples: np.ndarray) -> float:
    """Hz: the median over loud 40 ms frames of the autocorrelation's highest peak between 90 and 500 Hz."""
    frames = np.lib.stride_tricks.sliding_window_view(samples, 640)[::160]
    loud = frames[np.square(frames).mean(axis=1) > 0.3 * np.square(frames).mean()]
    spectra = np.abs(np.fft.rfft(loud * np.hanning(640), 2048)) ** 2
    correlation = np.fft.irfft(spectra)[:, 16000 // 500 : 16000 // 90]
    return float(16000 / (16000 // 500 + np.median(correlation.argmax(axis=1))))


def test_every_part_is_a_valid_data_directory_with_ages_and_genders(corpus: Path) -> None:
    for part in PARTS:
        data = DataDir.read(corpus / part)
        assert len(data.utterances) == 7 * len(data.speakers)
        assert data.spk2age is not None and data.spk2age.keys() == set(data.speakers)
        assert data.spk2gender is not None and set(data.spk2gender.values()) <= {"f", "m"}


def test_recordings_are_16_khz_mono_16_bit_and_as_long_as_utt2dur_says(corpus: Path) -> None:
    data = DataDir.read(corpus / "train")
    assert data.wav_scp is not None and data.utt2dur is not None
    for utterance, path in data.wav_scp.items():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert info.frames / 16000 == pytest.approx(float(data.utt2dur[utterance]), abs=1e-4)
        assert 0.5 < info.frames / 16000 < 8


def test_no_speech_is_clipped_or_digitally_silent(corpus: Path) -> None:
    for path in sorted((corpus / "audio").iterdir()):
        samples, _ = soundfile.read(path)
        assert 0.05 < np.abs(samples).max() < 0.99
        assert np.std(samples[:1600]) > 0


def test_two_runs_write_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    assert run_prepare(tmp_path / "again", *SMALL).returncode == 0
    for folder in ("audio", "noise", "local"):
        assert hashes(tmp_path / "again" / folder) == hashes(corpus / folder)
    for part in PARTS:
        assert (tmp_path / "again" / part / "text").read_bytes() == (corpus / part / "text").read_bytes()


def test_a_child_says_the_same_bytes_whoever_spoke_before(toy: SimpleNamespace) -> None:
    one, two = (toy.speech.make_child(name, 9, "f", 1) for name in ("one", "two"))
    sentences = toy.sentences.draw_sentences("one", 3, 1)
    alone = {child.name: said for child, said in toy.speech.speak([(one, sentences)], 1)}
    after = {child.name: said for child, said in toy.speech.speak([(two, sentences), (one, sentences)], 1)}
    for first, second in zip(alone["one"], after["one"], strict=True):
        np.testing.assert_array_equal(first, second)
    assert any(first.shape != other.shape for first, other in zip(alone["one"], after["two"], strict=True))


def test_every_word_spoken_has_a_pronunciation(corpus: Path, toy: SimpleNamespace) -> None:
    lexicon = toy.sentences.read_lexicon(corpus / "local" / "lexicon.txt")
    possible = {word for group in toy.sentences.GROUPS.values() for word in group}
    possible |= {word for command in toy.sentences.COMMANDS for word in command.split() if word[0] != "{"}
    spoken = {
        word for part in PARTS for line in (DataDir.read(corpus / part).text or {}).values() for word in line.split()
    }
    assert possible == lexicon.keys()
    assert spoken <= lexicon.keys()


def test_the_default_split_shares_no_child_and_balances_ages(toy: SimpleNamespace) -> None:
    settings = toy.prepare.ToyConfig()
    children = toy.prepare.make_children(settings)
    parts = toy.prepare.split_speakers(children, settings)
    age = {child.name: child.age for child in children}
    assert {part: len(names) for part, names in parts.items()} == {"train": 14, "dev": 3, "test": 6}
    assert sorted(name for names in parts.values() for name in names) == sorted(age)
    for names in parts.values():
        ages = [age[name] for name in names]
        assert min(ages) <= 8 and max(ages) >= 13
        assert abs(np.mean(ages) - np.mean(list(age.values()))) < 1.5


def test_young_children_speak_higher_than_boys_whose_voice_has_broken(toy: SimpleNamespace) -> None:
    children = [toy.speech.make_child("girl", 6, "f", 1), toy.speech.make_child("boy", 15, "m", 1)]
    sentences = toy.sentences.draw_sentences("anyone", 4, 1)
    pitch = {
        child.name: median_pitch(np.concatenate(said))
        for child, said in toy.speech.speak([(child, sentences) for child in children], 1)
    }
    assert 220 < pitch["girl"] < 420
    assert 100 < pitch["boy"] < 200


def test_noises_of_train_and_test_are_disjoint_recordings_of_the_same_level(corpus: Path) -> None:
    train, test = (hashes(corpus / "noise" / part) for part in ("train", "test"))
    assert {name.split("-")[0] for name in train} == {"fan", "hum", "clatter", "babble"}
    assert not set(train.values()) & set(test.values())
    for path in sorted((corpus / "noise").rglob("*.wav")):
        samples, rate = soundfile.read(path)
        assert rate == 16000 and 10 <= len(samples) / rate <= 20
        assert np.sqrt(np.mean(np.square(samples))) == pytest.approx(0.05, rel=0.1)


def test_a_variant_the_library_lacks_is_refused(toy: SimpleNamespace, tmp_path: Path) -> None:
    library, data = toy.speech._installed()
    espeak = toy.speech._Espeak(library, data.parent)
    with pytest.raises(ProgramError, match=r"has no voice 'gmw/en-US\+nobody'"):
        espeak.voice("gmw/en-US+nobody")


def test_a_sentence_without_sound_is_an_error_that_names_the_child(toy: SimpleNamespace) -> None:
    child = toy.speech.make_child("quiet", 9, "f", 1)
    with pytest.raises(AudioError, match="quiet: espeak-ng says nothing for ''"):
        list(toy.speech.speak([(child, [toy.speech.Sentence(text="")])], 1))


def test_a_missing_synthesiser_is_named_with_the_command_that_installs_it(
    toy: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ProgramError, match=r"pip install espeakng-loader==0\.2\.4"):
        next(toy.speech.speak([], 1))


def test_a_word_without_phones_is_named_with_its_line(toy: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("CAT K AE T\nDOG\n")
    with pytest.raises(LexiconError, match=r"lexicon.txt:2: expected"):
        toy.sentences.read_lexicon(path)


def test_too_few_children_end_with_exit_code_1_and_write_nothing(tmp_path: Path) -> None:
    result = run_prepare(tmp_path / "data", "--set", "children=3")
    assert result.returncode == 1
    assert "children must be at least 4" in result.stderr
    assert not (tmp_path / "data").exists()
