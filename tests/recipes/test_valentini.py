"""Preparation of VoiceBank-DEMAND on a miniature in the layout of its distribution: zips, folders, damaged ones."""

from __future__ import annotations

import hashlib
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from harness.errors import SchoolyardError
from kaldi_bridge.data_dir import DataDir
from tests.recipes.preparing import all_bytes, preparation_of, prepared, report, serving, sound

SPEAKERS = {"trainset_28spk": ("p226", "p286", "p287"), "testset": ("p232", "p257")}
RATE = 48000


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """5 speakers with two utterances each, at 48 kHz, with transcripts and logs."""
    source = tmp_path / "corpus"
    for part, speakers in SPEAKERS.items():
        log = []
        for number, name in enumerate(f"{speaker}_{n:03d}" for speaker in speakers for n in (1, 2)):
            clean = sound(source / f"clean_{part}_wav" / f"{name}.wav", 0.25 + 0.0001 * number, RATE, subtype="PCM_16")
            samples, _ = soundfile.read(clean)
            path = source / f"noisy_{part}_wav" / f"{name}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, samples + 0.05 * np.sin(np.arange(len(samples))), RATE, subtype="PCM_16")
            text = source / f"{part}_txt" / f"{name}.txt"
            text.parent.mkdir(exist_ok=True)
            text.write_text("Please call Stella.\n")
            log.append(f"{name} {('bus', 'cafe')[number % 2]} {(2.5, 17.5)[number % 2]}")
        (source / "logfiles").mkdir(exist_ok=True)
        (source / "logfiles" / f"log_{part}.txt").write_text("\n".join(log) + "\n")
    return source


def zip_all(source: Path) -> Path:
    """Every folder as a zip with the folder in it, as distributed; the folders are gone."""
    for folder in [path for path in source.iterdir() if path.is_dir()]:
        with zipfile.ZipFile(source / f"{folder.name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, f"{folder.name}/{file.name}")
                file.unlink()
        folder.rmdir()
    return source


def run(source: Path, out: Path, **options: object) -> dict[str, DataDir]:
    return prepared("valentini", source, out, **({"partial": True, "jobs": 1} | options))


def test_pairs_are_resampled_once_with_the_customary_speakers_for_validation(corpus: Path, tmp_path: Path) -> None:
    sets = run(corpus, tmp_path / "data")
    assert {name: data.speakers for name, data in sets.items()} == {
        "train": ["p226"], "dev": ["p286", "p287"], "test": ["p232", "p257"]
    }  # fmt: skip
    for name, clean in sets.items():
        noisy = DataDir.read(tmp_path / f"data/{name}_noisy")
        assert noisy.utterances == clean.utterances
        for utterance in clean.utterances:
            lengths = [soundfile.info(data.wav_scp[utterance]).frames for data in (clean, noisy)]  # type: ignore[index]
            assert lengths[0] == lengths[1] == round(soundfile.info(_original(corpus, utterance)).frames / 3)
    assert (sets["test"].text or {})["p232_001"] == "PLEASE CALL STELLA"
    said = report(tmp_path / "data")
    assert (said["rate"], said["resampler"], said["partial"]) == (16000, "soxr HQ", True)


def _original(corpus: Path, utterance: str) -> Path:
    return next(corpus.glob(f"clean_*/{utterance}.wav"))


def test_the_resampled_sound_is_what_another_resampler_gives(corpus: Path, tmp_path: Path) -> None:
    time = np.arange(RATE // 4) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.2 * np.sin(2 * np.pi * 3000 * time)
    original = _original(corpus, "p232_001")
    noisy = original.parent.parent / "noisy_testset_wav/p232_001.wav"
    for path in (original, noisy):
        soundfile.write(path, tone, RATE, subtype="PCM_16")
    data = run(corpus, tmp_path / "data")["test"]
    ours, rate = soundfile.read((data.wav_scp or {})["p232_001"])
    inner = slice(200, -200)  # filters differ where the sound begins and ends
    assert rate == 16000
    assert np.abs(ours - resample_poly(tone, 1, 3))[inner].max() < 0.002


def test_zips_as_distributed_give_the_same_as_folders(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "folders")
    run(zip_all(corpus), tmp_path / "zips", jobs=2)
    assert all_bytes(tmp_path / "folders") == all_bytes(tmp_path / "zips")


def test_the_zips_are_fetched_from_a_server_and_compared_with_their_digests(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(corpus, tmp_path / "folders")
    module, site = preparation_of("valentini"), zip_all(corpus)
    digests = {path.stem: hashlib.md5(path.read_bytes()).hexdigest() for path in site.glob("*_wav.zip")}
    monkeypatch.setattr(module, "MD5", digests)
    with serving(site) as address:
        monkeypatch.setattr(module, "URL", address)
        fetch = partial(module.prepare, partial=True, jobs=1, download=True)
        fetch(source=tmp_path / "fetched", out=tmp_path / "data")
        digests["noisy_testset_wav"] = "0" * 32
        with pytest.raises(SchoolyardError, match=f"published is md5:{'0' * 32}"):
            fetch(source=tmp_path / "again", out=tmp_path / "none")
    assert len(list((tmp_path / "fetched").glob("*_wav.zip"))) == 4
    fetched, whole = all_bytes(tmp_path / "data"), all_bytes(tmp_path / "folders")
    assert {name: fetched[name] for name in whole if "audio/" in name} == {
        name: content for name, content in whole.items() if "audio/" in name
    }


def test_the_words_follow_the_settings_of_transcripts(corpus: Path, tmp_path: Path) -> None:
    assert (run(corpus, tmp_path / "upper")["test"].text or {})["p232_001"] == "PLEASE CALL STELLA"
    lower = run(corpus, tmp_path / "lower", overrides=["case=lower"])
    assert (lower["test"].text or {})["p232_001"] == "please call stella"


def test_snrs_and_noises_come_from_the_logs(corpus: Path, tmp_path: Path) -> None:
    run(corpus, tmp_path / "data")
    noisy = DataDir.read(tmp_path / "data/test_noisy")
    assert noisy.tables["utt2snr"]["p232_002"] == "17.5"
    assert noisy.tables["utt2noise"]["p257_001"] == "bus"
    log = corpus / "logfiles/log_testset.txt"
    log.write_text(log.read_text().replace("p232_002 cafe 17.5", "p232_002 cafe"))
    with pytest.raises(SchoolyardError, match=r"log_testset.txt:2: expected 'utterance noise dB'"):
        run(corpus, tmp_path / "other")
    log.write_text("p232_001 bus 2.5\n")
    with pytest.raises(SchoolyardError, match=r"lacks p232_002 \(3 such\)"):
        run(corpus, tmp_path / "other")


def test_without_logs_and_transcripts_there_are_no_such_tables(
    corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for file in [*corpus.glob("*_txt/*"), *corpus.glob("logfiles/*")]:
        if file.name != "p226_001.txt":
            file.unlink()
    (corpus / "testset_txt").rmdir()
    out = tmp_path / "data"
    preparation_of("valentini").prepare(source=corpus, out=out, partial=True, jobs=1)
    for name in ("train", "dev_noisy", "test_noisy"):
        assert DataDir.read(out / name).text is None
    assert "utt2snr" not in DataDir.read(out / "test_noisy").tables
    assert "5 of 6 transcripts are missing" in caplog.text


def test_other_validation_speakers_and_the_larger_training_set(corpus: Path, tmp_path: Path) -> None:
    assert run(corpus, tmp_path / "one", dev_speakers="p226")["train"].speakers == ["p286", "p287"]
    with pytest.raises(SchoolyardError, match="speaker p999, wanted for dev, is not in the training set"):
        run(corpus, tmp_path / "two", dev_speakers="p226,p999")
    for folder in list(corpus.glob("*trainset_28spk*")):
        folder.rename(corpus / folder.name.replace("28", "56"))
    (corpus / "logfiles/log_trainset_28spk.txt").rename(corpus / "logfiles/log_trainset_56spk.txt")
    sets = run(corpus, tmp_path / "three", speakers="56")
    assert len(sets["dev"].speakers) == 1
    assert report(tmp_path / "three")["speakers"] == "56"


def test_two_runs_give_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run(corpus, tmp_path / name)
    assert all_bytes(tmp_path / "one") == all_bytes(tmp_path / "two")


def test_fewer_utterances_than_published_need_to_be_wanted(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SchoolyardError, match=r"has 6 recordings, 11572 are published\n  mend: .*--partial"):
        run(corpus, tmp_path / "data", partial=False)


def test_a_recording_without_its_partner_is_named(corpus: Path, tmp_path: Path) -> None:
    (corpus / "noisy_testset_wav/p257_001.wav").unlink()
    with pytest.raises(SchoolyardError, match=r"noisy_testset_wav: lacks p257_001.wav, which clean_testset_wav has"):
        run(corpus, tmp_path / "data")


@pytest.mark.parametrize(("rate", "drop"), [(48000, 1), (16000, 0)])
def test_partners_of_different_length_or_rate_are_refused(corpus: Path, tmp_path: Path, rate: int, drop: int) -> None:
    path = corpus / "noisy_trainset_28spk_wav/p226_002.wav"
    samples, _ = soundfile.read(path)
    soundfile.write(path, samples[drop:], rate, subtype="PCM_16")
    with pytest.raises(SchoolyardError, match=rf"p226_002: has {len(samples) - drop} samples at {rate} Hz, its clean"):
        run(corpus, tmp_path / "data")
    assert not (tmp_path / "data/audio").exists()


def test_what_is_no_corpus_or_no_whole_zip_is_refused(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(SchoolyardError, match="is missing from the corpus, and so is its zip"):
        run(tmp_path / "none", tmp_path / "data")
    path = zip_all(corpus) / "clean_testset_wav.zip"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(SchoolyardError, match=r"clean_testset_wav.zip: is no whole zip"):
        run(corpus, tmp_path / "data")


def test_a_file_with_another_name_or_two_channels_is_refused(corpus: Path, tmp_path: Path) -> None:
    odd = sound(corpus / "clean_testset_wav/readme_p1.wav", rate=RATE)
    with pytest.raises(SchoolyardError, match=r"readme_p1.wav is not named SPEAKER_NUMBER"):
        run(corpus, tmp_path / "data")
    odd.unlink()
    path = corpus / "clean_testset_wav/p232_001.wav"
    samples, _ = soundfile.read(path)
    soundfile.write(path, np.stack([samples, samples], 1), RATE)
    with pytest.raises(SchoolyardError, match="p232_001: has 2 channels"):
        run(corpus, tmp_path / "data")
