import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from enhance.denoise import denoise_data_dir, denoise_files
from enhance.recording import DenoiseConfig
from enhance.resumable import stamp_of
from enhance.streaming import enhance_samples
from enhance.weights import load_generator
from harness.errors import AudioError, CheckpointError, ConfigError, DataDirError, DiskError
from kaldi_bridge.__main__ import app
from kaldi_bridge.data_dir import DataDir

RATE = 16000
ROOT = Path(__file__).parents[3]
STEP = 1 / 32768  # of 16-bit samples


def test_denoise_keeps_ids_tables_and_every_length(clean_dir, small_model, tmp_path, audio_of):
    report = denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    before, after = DataDir.read(clean_dir), DataDir.read(tmp_path / "out")
    assert after.utterances == before.utterances
    assert (after.text, after.utt2spk, after.spk2age) == (before.text, before.utt2spk, before.spk2age)
    noisy, enhanced = audio_of(clean_dir), audio_of(tmp_path / "out")
    assert {utt: len(samples) for utt, samples in noisy.items()} == {utt: len(s) for utt, s in enhanced.items()}
    assert report["samples"] == sum(map(len, noisy.values()))
    assert report["failed"] == {}


def test_denoise_writes_what_the_model_gives_for_the_whole_file(clean_dir, small_model, tmp_path, audio_of):
    denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=2)
    _, model = load_generator(small_model)
    noisy, enhanced = audio_of(clean_dir), audio_of(tmp_path / "out")
    for utterance, samples in noisy.items():
        with torch.inference_mode():
            whole = model(torch.from_numpy(samples)[None])[0].numpy()
        np.testing.assert_allclose(enhanced[utterance], whole, atol=1e-4)


def test_a_long_file_in_blocks_equals_the_whole(small_model, make_voice):
    _, model = load_generator(small_model)
    samples = np.tile(make_voice(1, 3.3), 9)  # 30 s: four blocks
    with torch.inference_mode():
        whole = model(torch.from_numpy(samples)[None])[0].numpy()
    blocks = enhance_samples(model, samples)
    assert blocks.shape == whole.shape
    np.testing.assert_allclose(blocks, whole, atol=1e-4)


def test_mix_adds_the_unprocessed_signal_sample_by_sample(small_model, make_voice):
    _, model = load_generator(small_model)
    samples = make_voice(2, 1.7)
    np.testing.assert_allclose(enhance_samples(model, samples, mix=1.0), samples, atol=1e-7)
    half = enhance_samples(model, samples, mix=0.5)
    np.testing.assert_allclose(half, 0.5 * samples + 0.5 * enhance_samples(model, samples), atol=1e-6)


def test_segments_stay_and_recordings_are_enhanced_whole(small_model, tmp_path, make_voice, audio_of):
    soundfile.write(tmp_path / "rec.wav", make_voice(0, 3.0), RATE, "PCM_16")
    DataDir.build(
        tmp_path / "data", wav_scp={"rec": str(tmp_path / "rec.wav")}, utt2spk={"ann-1": "ann", "ann-2": "ann"},
        text={"ann-1": "ONE", "ann-2": "TWO"}, segments={"ann-1": "rec 0.25 1.25", "ann-2": "rec 1.5 2.9"},
    ).write()  # fmt: skip
    denoise_data_dir(tmp_path / "data", tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    before, after = DataDir.read(tmp_path / "data"), DataDir.read(tmp_path / "out")
    assert after.segments == before.segments
    assert list(after.wav_scp) == ["rec"]
    lengths = {utterance: len(samples) for utterance, samples in audio_of(tmp_path / "out").items()}
    assert lengths == {"ann-1": 16000, "ann-2": 22400}


def test_stale_features_are_left_out_and_other_tables_kept(clean_dir, small_model, tmp_path):
    data = DataDir.read(clean_dir)
    data.tables["feats.scp"] = dict.fromkeys(data.utterances, "feats.ark:5")
    data.tables["utt2snr"] = dict.fromkeys(data.utterances, "5")
    data.write()
    denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    after = DataDir.read(tmp_path / "out")
    assert after.feats_scp is None
    assert after.tables["utt2snr"] == data.tables["utt2snr"]


def test_the_level_is_kept_and_clipping_is_counted(clean_dir, tmp_path, small_model, audio_of):
    data = DataDir.read(clean_dir)
    for place in data.wav_scp.values():
        samples, _ = soundfile.read(place)
        soundfile.write(place, np.clip(samples * 8, -1, 1), RATE, "PCM_16")
    _, model = load_generator(small_model)
    report = denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    clipped = 0
    for samples in audio_of(clean_dir).values():
        with torch.inference_mode():
            whole = model(torch.from_numpy(samples)[None])[0]
        clipped += bool((whole * 32768).round().gt(32767).any() | (whole * 32768).round().lt(-32768).any())
    assert report["clipped_recordings"] == clipped


def test_two_runs_and_any_number_of_jobs_give_the_same_bytes(clean_dir, small_model, tmp_path):
    for name, jobs in (("a", 1), ("b", 2)):
        denoise_data_dir(clean_dir, tmp_path / name, DenoiseConfig(model=str(small_model)), jobs=jobs)
    for wav in sorted((tmp_path / "a" / "wav").iterdir()):
        assert wav.read_bytes() == (tmp_path / "b" / "wav" / wav.name).read_bytes()


def test_a_rerun_after_a_kill_goes_on_with_what_is_missing(clean_dir, small_model, tmp_path, monkeypatch):
    import enhance.streaming

    real, seen = enhance.streaming.enhance_blocks, []

    def dies_at_the_third(*arguments, where, **options):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(where)
        return real(*arguments, where=where, **options)

    monkeypatch.setattr(enhance.streaming, "enhance_blocks", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    assert not (tmp_path / "out").exists()
    again = []

    def counts(*arguments, where, **options):
        again.append(where)
        return real(*arguments, where=where, **options)

    monkeypatch.setattr(enhance.streaming, "enhance_blocks", counts)
    denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    assert seen + again == DataDir.read(clean_dir).utterances


@pytest.fixture
def enhanced_ones(monkeypatch):
    """The names of recordings in the order in which they go through a generator."""
    import enhance.streaming

    real, names = enhance.streaming.enhance_blocks, []
    monkeypatch.setattr(
        enhance.streaming, "enhance_blocks",
        lambda *words, where, **named: names.append(where) or real(*words, where=where, **named),
    )  # fmt: skip
    return names


@pytest.fixture
def sounds(tmp_path, make_voice):
    """A folder of a good recording, one at 8 kHz, one of two channels, and one that is no sound."""
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "a.wav", make_voice(0, 0.5), RATE, "PCM_16")
    soundfile.write(tmp_path / "in" / "b.wav", make_voice(1, 0.5)[::2], RATE // 2, "PCM_16")
    both = np.stack([make_voice(2, 0.5), make_voice(3, 0.5)], 1)
    soundfile.write(tmp_path / "in" / "c.wav", both, RATE, "PCM_16")
    (tmp_path / "in" / "d.wav").write_bytes(b"no sound")
    return tmp_path / "in"


def test_what_was_enhanced_before_a_failure_is_kept_for_the_run_after_the_repair(
    sounds, small_model, tmp_path, enhanced_ones
):
    def run(**options):
        config = DenoiseConfig(model=str(small_model), **options)
        return denoise_files(sounds, tmp_path / "out", config, jobs=1)["failed"]

    with pytest.raises(AudioError, match="3 of 4 recordings failed") as caught:
        run()
    assert "the 1 that were enhanced are kept in " in caught.value.mend
    assert str(tmp_path / ".out.partial") in caught.value.mend
    (sounds / "d.wav").unlink()
    with pytest.raises(AudioError, match="1 of 3 recordings failed"):
        run(resample=True)
    assert not (tmp_path / "out").exists()
    assert run(resample=True, channel=1) == {}
    assert enhanced_ones == ["a.wav", "b.wav", "c.wav"]
    whole = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.wav")}
    denoise_files(sounds, tmp_path / "new", DenoiseConfig(model=str(small_model), resample=True, channel=1), jobs=1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").glob("*.wav")} == whole
    assert sorted(whole) == ["a.wav", "b.wav", "c.wav"]
    assert not (tmp_path / ".out.partial").exists()


def test_kept_work_that_no_longer_is_what_was_asked_for_is_made_anew(
    sounds, small_model, tmp_path, enhanced_ones, make_voice
):
    def fails(**options):
        with pytest.raises(AudioError):
            denoise_files(sounds, tmp_path / "out", DenoiseConfig(model=str(small_model), **options), jobs=1)
        made, enhanced_ones[:] = list(enhanced_ones), []
        return made

    assert fails(resample=True, channel=0) == ["a.wav", "b.wav", "c.wav"]
    assert fails(resample=True, channel=1) == ["c.wav"]
    soundfile.write(sounds / "a.wav", make_voice(5, 0.6), RATE, "PCM_16")
    assert fails(resample=True, channel=1) == ["a.wav"]
    assert fails(channel=1) == []  # what needed --resample is refused without, and not taken from before
    left = {path.name for path in (tmp_path / ".out.partial").glob("*.wav")}
    assert left == {"a.wav", "c.wav"}
    (sounds / "a.wav").unlink()
    assert fails(channel=1) == []
    assert {path.name for path in (tmp_path / ".out.partial").glob("*.wav")} == {"c.wav"}
    assert fails(channel=1, mix=0.5) == ["c.wav"]


def test_the_mend_of_a_failure_is_that_of_its_recordings(sounds, small_model, tmp_path):
    with pytest.raises(AudioError) as caught:
        denoise_files(sounds, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    for way_out in ("--resample", "with --channel (0 to 1)", "sox IN OUT remix -", "reco2file_and_channel",
                    "give wav, flac, ogg or sph", "--max-failed"):  # fmt: skip
        assert way_out in caught.value.mend


def test_one_file_is_enhanced_into_the_wav_that_is_named(sounds, small_model, tmp_path):
    config = DenoiseConfig(model=str(small_model))
    report = denoise_files(sounds / "a.wav", tmp_path / "deep" / "one.wav", config, jobs=1)
    assert (report["recordings"], report["samples"]) == (1, 8000)
    denoise_files(sounds / "a.wav", tmp_path / "out", config, jobs=1)
    assert (tmp_path / "deep" / "one.wav").read_bytes() == (tmp_path / "out" / "a.wav").read_bytes()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["one.wav"]
    with pytest.raises(DiskError, match="already exists"):
        denoise_files(sounds / "a.wav", tmp_path / "deep" / "one.wav", config)
    mixed = DenoiseConfig(model=str(small_model), mix=0.5)
    denoise_files(sounds / "a.wav", tmp_path / "deep" / "one.wav", mixed, force=True)
    assert (tmp_path / "deep" / "one.wav").read_bytes() != (tmp_path / "out" / "a.wav").read_bytes()
    with pytest.raises(AudioError, match="is not sound that can be read"):
        denoise_files(sounds / "d.wav", tmp_path / "two.wav", config)
    assert not (tmp_path / "two.wav").exists()


def test_an_output_with_a_sound_files_name_that_cannot_become_one_is_refused(sounds, small_model, tmp_path):
    config = DenoiseConfig(model=str(small_model))
    with pytest.raises(ConfigError, match=r"x.wav: has the name of a sound file, and --in is a directory"):
        denoise_files(sounds, tmp_path / "x.wav", config)
    with pytest.raises(ConfigError, match="only wav is written") as caught:
        denoise_files(sounds / "a.wav", tmp_path / "x.flac", config)
    assert caught.value.mend == f"--out {tmp_path / 'x.wav'}"


def test_an_output_in_or_around_the_input_is_refused(sounds, clean_dir, small_model, tmp_path):
    config, before = DenoiseConfig(model=str(small_model), max_failed=0.9), (sounds / "a.wav").read_bytes()
    with pytest.raises(ConfigError, match="lies inside the input"):
        denoise_files(sounds, sounds / "out", config, force=True)
    for source, out in ((sounds, sounds), (sounds, tmp_path), (sounds / "a.wav", sounds), (sounds / "a.wav",) * 2):
        with pytest.raises(ConfigError, match="would replace the input"):
            denoise_files(source, out, config, force=True)
    for out in (clean_dir, tmp_path):
        with pytest.raises(ConfigError, match="would replace the input"):
            denoise_data_dir(clean_dir, out, config, force=True)
    assert (sounds / "a.wav").read_bytes() == before
    assert len(DataDir.read(clean_dir).utterances) == 5


def test_files_that_would_become_the_same_wav_are_named(sounds, small_model, tmp_path, make_voice):
    soundfile.write(sounds / "a.flac", make_voice(1, 0.5), RATE)
    with pytest.raises(AudioError, match=r"a\.flac and a\.wav differ in their suffix only"):
        denoise_files(sounds, tmp_path / "out", DenoiseConfig(model=str(small_model)))


def test_a_sound_that_can_only_be_read_from_its_start_is_enhanced(small_model, tmp_path, make_voice):
    soundfile.write(tmp_path / "gsm.wav", make_voice(1, 1.0), RATE, "GSM610")
    out = tmp_path / "out.wav"
    denoise_files(tmp_path / "gsm.wav", out, DenoiseConfig(model=str(small_model), mix=1.0))
    np.testing.assert_array_equal(soundfile.read(out)[0], soundfile.read(tmp_path / "gsm.wav")[0])


def test_a_folder_of_any_name_comes_out(small_model, tmp_path, make_voice):
    for name in ("notes", "wav"):
        (tmp_path / "in" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "in" / name / "a.wav", make_voice(0, 0.3), RATE)
    report = denoise_files(tmp_path / "in", tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    found = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.wav"))
    assert found == ["notes/a.wav", "wav/a.wav"]
    assert report["recordings"] == 2


def test_a_folder_of_sounds_is_no_data_directory_and_the_option_for_it_is_named(sounds, small_model, tmp_path):
    with pytest.raises(DataDirError, match="has no utt2spk") as caught:
        denoise_data_dir(sounds, tmp_path / "out", DenoiseConfig(model=str(small_model)))
    assert "--in instead of --data" in caught.value.mend


def test_a_finished_directory_is_left_alone_by_the_same_command(clean_dir, small_model, tmp_path):
    config = DenoiseConfig(model=str(small_model))
    first = denoise_data_dir(clean_dir, tmp_path / "out", config, jobs=1)
    before = (tmp_path / "out" / "wav.scp").stat().st_mtime_ns
    assert denoise_data_dir(clean_dir, tmp_path / "out", config, jobs=1) == first
    assert (tmp_path / "out" / "wav.scp").stat().st_mtime_ns == before
    with pytest.raises(DiskError, match="already exists"):
        denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model), mix=0.5), jobs=1)


def test_a_finished_directory_with_other_tables_than_now_is_not_taken_for_done(clean_dir, small_model, tmp_path):
    config = DenoiseConfig(model=str(small_model))
    first = denoise_data_dir(clean_dir, tmp_path / "out", config, jobs=1)
    (clean_dir / "utt2dur").write_text("".join(f"{name} 1.0\n" for name in DataDir.read(clean_dir).utterances))
    assert denoise_data_dir(clean_dir, tmp_path / "out", config, jobs=1) == first  # features may have been made since
    (clean_dir / "text").write_text((clean_dir / "text").read_text().replace("TWO", "THREE"))
    with pytest.raises(DiskError, match="already exists"):
        denoise_data_dir(clean_dir, tmp_path / "out", config, jobs=1)


def test_an_archive_with_other_content_is_another_source(tmp_path):
    archive = tmp_path / "wav.ark"
    archive.write_bytes(b"one RIFF")
    before = stamp_of([f"{archive}:4"])
    assert stamp_of([f"{archive}:4"]) == before
    archive.write_bytes(b"one RIFFRIFF")
    assert stamp_of([f"{archive}:4"]) != before


@pytest.mark.parametrize("name", ["ann/../../../x", "..", "/x"])
def test_an_id_that_leads_out_of_the_output_is_refused(small_model, tmp_path, make_voice, name):
    soundfile.write(tmp_path / "x.wav", make_voice(1, 1.0), RATE, "PCM_16")
    tables = {"wav_scp": {name: str(tmp_path / "x.wav")}, "utt2spk": {name: name}, "text": {name: "ONE"}}
    data = DataDir.build(tmp_path / "data", **tables).write()
    with pytest.raises(DataDirError, match="would lead out of the output directory"):
        denoise_data_dir(data.path, tmp_path / "o" / "o", DenoiseConfig(model=str(small_model)), jobs=1)
    assert not (tmp_path / "o").exists()


def damage(path: Path, kind: str) -> None:
    samples, _ = soundfile.read(path, dtype="float32")
    match kind:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(path.read_bytes()[:3000])
        case "zero-length":
            soundfile.write(path, np.zeros(0), RATE, "PCM_16")
        case "NaN":
            samples[100] = np.nan
            soundfile.write(path, samples, RATE, "FLOAT")
        case "8 kHz":
            soundfile.write(path, samples[::2], 8000, "PCM_16")
        case "stereo":
            soundfile.write(path, np.stack([samples, samples], 1), RATE, "PCM_16")


DAMAGES = {
    "missing": "No such file|no such file|does not exist|cannot be opened",
    "truncated": "truncated",
    "zero-length": "no samples",
    "NaN": "NaN|not finite",
    "8 kHz": "8000 samples a second where 16000 are expected",
    "stereo": "2 channels and none is chosen",
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_one_bad_recording_of_five_fails_the_run_and_is_named(clean_dir, small_model, tmp_path, kind):
    damage(Path(DataDir.read(clean_dir).wav_scp["bob-1"]), kind)
    with pytest.raises(AudioError, match=DAMAGES[kind]) as caught:
        denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    assert "1 of 5 recordings failed" in str(caught.value)
    assert "bob-1" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_stated_share_may_fail_and_is_listed_and_counted(clean_dir, small_model, tmp_path):
    damage(Path(DataDir.read(clean_dir).wav_scp["bob-1"]), "NaN")
    config = DenoiseConfig(model=str(small_model), max_failed=0.2)
    report = denoise_data_dir(clean_dir, tmp_path / "out", config, jobs=1)
    assert list(report["failed"]) == ["bob-1"]
    assert DataDir.read(tmp_path / "out").utterances == ["ann-1", "ann-2", "bob-2", "cyd-1"]
    assert json.loads((tmp_path / "out" / "denoise.json").read_text())["failed"] == report["failed"]


def test_resampling_is_done_only_when_asked_for_and_said(clean_dir, small_model, tmp_path, audio_of):
    damage(Path(DataDir.read(clean_dir).wav_scp["bob-1"]), "8 kHz")
    config = DenoiseConfig(model=str(small_model), resample=True)
    report = denoise_data_dir(clean_dir, tmp_path / "out", config, jobs=1)
    assert report["resampled_from"] == [8000]
    assert len(audio_of(tmp_path / "out")["bob-1"]) == 17600


def test_each_table_that_an_enhanced_directory_lacks_is_let_be_by_what_the_validator_says(
    clean_dir, small_model, tmp_path
):
    out = tmp_path / "out"
    denoise_data_dir(clean_dir, out, DenoiseConfig(model=str(small_model)), jobs=1)
    let_be: list[str] = []
    for name, option in (("feats.scp", "--no-feats"), ("text", "--no-text"), ("wav.scp", "--no-wav")):
        (out / name).unlink(missing_ok=True)
        refusal = CliRunner().invoke(app, ["validate", str(out), *let_be]).exception
        assert isinstance(refusal, DataDirError) and refusal.where == str(out / name)
        assert f"or pass {option}" in refusal.mend
        let_be.append(option)
        assert CliRunner().invoke(app, ["validate", str(out), *let_be]).exit_code == 0
    (out / "spk2utt").unlink()
    refusal = CliRunner().invoke(app, ["validate", str(out), *let_be]).exception
    assert isinstance(refusal, DataDirError) and "python -m kaldi_bridge fix" in refusal.mend
    CliRunner().invoke(app, ["fix", str(out)])
    assert CliRunner().invoke(app, ["validate", str(out), *let_be]).exit_code == 0


def test_a_channel_is_chosen_by_reco2file_and_channel(clean_dir, small_model, tmp_path, audio_of):
    data = DataDir.read(clean_dir)
    truth = denoise_and_read(clean_dir, tmp_path / "mono", small_model, audio_of)["bob-1"]
    samples, _ = soundfile.read(data.wav_scp["bob-1"], dtype="float32")
    soundfile.write(data.wav_scp["bob-1"], np.stack([samples[::-1], samples], 1), RATE, "PCM_16")
    data.tables["reco2file_and_channel"] = {utt: f"{utt} {'B' if utt == 'bob-1' else 'A'}" for utt in data.utterances}
    data.write()
    after = denoise_and_read(clean_dir, tmp_path / "stereo", small_model, audio_of)
    np.testing.assert_array_equal(after["bob-1"], truth)
    assert "reco2file_and_channel" not in DataDir.read(tmp_path / "stereo").tables


def denoise_and_read(source, out, model, audio_of):
    denoise_data_dir(source, out, DenoiseConfig(model=str(model)), jobs=1)
    return audio_of(out)


def test_a_channel_of_a_recording_that_is_mono_already_is_passed_over_as_when_it_is_read(
    clean_dir, small_model, tmp_path, audio_of
):
    plain = tmp_path / "plain"
    denoise_data_dir(clean_dir, plain, DenoiseConfig(model=str(small_model)), jobs=1)
    lines = [f"{name} tape B\n" for name in sorted(DataDir.read(clean_dir).utterances)]
    (clean_dir / "reco2file_and_channel").write_text("".join(lines))
    denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    assert all(np.array_equal(audio_of(plain)[name], sound) for name, sound in audio_of(tmp_path / "out").items())


def test_a_command_in_wav_scp_gives_what_its_file_gives(clean_dir, small_model, tmp_path, audio_of):
    truth = denoise_and_read(clean_dir, tmp_path / "files", small_model, audio_of)
    data = DataDir.read(clean_dir)
    data.tables["wav.scp"] = {name: f"cat {place} |" for name, place in data.wav_scp.items()}
    data.write()
    piped = denoise_and_read(clean_dir, tmp_path / "pipes", small_model, audio_of)
    for utterance, samples in truth.items():
        np.testing.assert_array_equal(piped[utterance], samples)


def test_a_full_disk_is_said_and_leaves_no_output(clean_dir, small_model, tmp_path, monkeypatch):
    import harness.atomic

    calls = []

    def full_at_the_fifth(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(harness.atomic.os, "fsync", full_at_the_fifth)
    with pytest.raises(DiskError, match="no space left"):
        denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / ".out.partial").rglob("*.tmp"))
    monkeypatch.undo()
    denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)


def test_channels_by_segment_are_refused_before_any_work(small_model, tmp_path, make_voice):
    stereo = np.stack([make_voice(0, 2.0), make_voice(1, 2.0)], 1)
    soundfile.write(tmp_path / "rec.wav", stereo, RATE, "PCM_16")
    DataDir.build(
        tmp_path / "data", wav_scp={"rec": str(tmp_path / "rec.wav")}, utt2spk={"ann-1": "ann"},
        text={"ann-1": "ONE"}, segments={"ann-1": "rec 0.25 1.25 1"},
    ).write()  # fmt: skip
    with pytest.raises(DataDirError, match="segment"):
        denoise_data_dir(tmp_path / "data", tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)


def test_plain_audio_keeps_its_names_and_lengths(small_model, tmp_path, make_voice):
    (tmp_path / "in" / "deep er").mkdir(parents=True)
    soundfile.write(tmp_path / "in" / "deep er" / "a b.flac", make_voice(0, 1.0), RATE)
    soundfile.write(tmp_path / "in" / "c.wav", make_voice(1, 0.5), RATE)
    denoise_files(tmp_path / "in", tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    assert soundfile.info(tmp_path / "out" / "deep er" / "a b.wav").frames == 16000
    assert soundfile.info(tmp_path / "out" / "c.wav").frames == 8000
    denoise_files(tmp_path / "in" / "c.wav", tmp_path / "one", DenoiseConfig(model=str(small_model)), jobs=1)
    assert (tmp_path / "one" / "c.wav").read_bytes() == (tmp_path / "out" / "c.wav").read_bytes()


def test_a_folder_without_audio_and_a_missing_model_are_refused(small_model, tmp_path, clean_dir):
    (tmp_path / "empty").mkdir()
    with pytest.raises(AudioError, match="holds no audio files"):
        denoise_files(tmp_path / "empty", tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(tmp_path / "none.pt")), jobs=1)


def test_memory_does_not_grow_with_the_recording(small_model, tmp_path, make_voice):
    """Ten minutes need at most a few MB more than two: the peak of a process of its own is measured."""
    piece = make_voice(0, 30.0)
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell the peak memory of a process in /proc")
    peaks = []
    for minutes in (2, 10):
        path = tmp_path / f"{minutes}.wav"
        soundfile.write(path, np.tile(piece, 2 * minutes), RATE, "PCM_16")
        script = (
            "import re, sys, torch; torch.set_num_threads(1)\n"
            "from enhance.denoise import denoise_files\nfrom enhance.recording import DenoiseConfig\n"
            "denoise_files(sys.argv[1], sys.argv[2], DenoiseConfig(model=sys.argv[3]), jobs=1)\n"
            "print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])"
        )
        command = [sys.executable, "-c", script, str(path), str(tmp_path / f"out{minutes}"), str(small_model)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]) / 1024)
        assert soundfile.info(tmp_path / f"out{minutes}" / f"{minutes}.wav").frames == minutes * 60 * RATE
    assert peaks[1] < peaks[0] + 12, peaks  # the samples alone would be 30 MB more
