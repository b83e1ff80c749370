"""Audio of data directories: every form of wav.scp entry, segments, channels, rates, and every kind of damage."""

from __future__ import annotations

import io
import logging
import os
import struct

import numpy as np
import pytest
import soundfile

from harness.errors import AudioError, DataDirError, DiskError
from kaldi_bridge.audio import AudioTable, WavWriter, read_sound, read_utterances, write_wav
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.programs import run_kaldi
from tests.unit.kaldi_bridge.conftest import RATE, sound


def one(tmp_path, entry: str, **tables) -> DataDir:
    """A directory of the one recording or utterance "u"."""
    return DataDir.build(tmp_path / "data", wav_scp={"u": entry}, utt2spk={"u": "s"}, **tables)


def read_one(data: DataDir, **options) -> np.ndarray:
    return AudioTable(data, **options).read("u")


@pytest.fixture
def clip() -> np.ndarray:
    """Half a second on the 16-bit grid, so that lossless formats must give it back exactly."""
    return (np.rint(sound(0.5) * 32768) / 32768).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "form", "subtype", "error"),
    [
        ("wav", "WAV", "PCM_16", 0), ("wav", "WAV", "PCM_24", 0), ("wav", "WAV", "FLOAT", 0),
        ("flac", "FLAC", "PCM_16", 0),
        ("sph", "NIST", "PCM_16", 0), ("sph", "NIST", "ULAW", 0.02), ("wav", "WAVEX", "PCM_16", 0),
        ("ogg", "OGG", "VORBIS", 0.2),
        ("wav", "WAV", "ULAW", 0.02),
    ],
)  # fmt: skip
def test_every_format_gives_the_samples_back(tmp_path, clip, suffix, form, subtype, error):
    path = tmp_path / f"u.{suffix}"
    soundfile.write(path, clip, RATE, format=form, subtype=subtype)
    samples = read_one(one(tmp_path, str(path)))
    assert samples.dtype == np.float32
    assert len(samples) == len(clip)
    assert np.abs(samples - clip).max() <= error


def test_pipes_and_places_in_archives_give_the_samples_back(tmp_path, clip):
    write_wav(tmp_path / "u.wav", clip, RATE)
    raw = (tmp_path / "u.wav").read_bytes()
    (tmp_path / "wav.ark").write_bytes(b"x " + raw + b"u " + raw + b"y " + raw)
    place = f"{tmp_path}/wav.ark:{2 + len(raw) + 2}"
    for entry in (f"cat {tmp_path}/u.wav |", f"cat {tmp_path}/u.wav | cat |", place):
        assert np.array_equal(read_one(one(tmp_path, entry)), clip)


@pytest.mark.parametrize("seconds", [3, 75])
def test_segments_of_an_ogg_file_are_those_of_the_whole_up_to_its_last_page(tmp_path, seconds):
    walk = np.cumsum(np.random.default_rng(0).standard_normal(8000 * seconds))
    with soundfile.SoundFile(tmp_path / "u.ogg", "w", 8000, 1, format="OGG", subtype="VORBIS") as stream:
        for block in np.split(0.5 * walk / np.abs(walk).max(), seconds):  # at once, libsndfile runs out of its stack
            stream.write(block)
    whole, _ = read_sound(f"{tmp_path}/u.ogg")
    starts = [*range(0, 8000 * seconds, 4001), *range(8000 * seconds - 8000, 8000 * seconds, 499)]
    for start in starts:
        part, _ = read_sound(f"{tmp_path}/u.ogg", start=start, stop=start + 400)
        np.testing.assert_allclose(part, whole[start : start + 400], atol=1e-6, err_msg=str(start))


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_of_unknown_length_from_a_pipe_is_read_to_its_end(tmp_path, clip, size):
    write_wav(tmp_path / "u.wav", clip, RATE)
    raw = bytearray((tmp_path / "u.wav").read_bytes())
    raw[40:44] = struct.pack("<I", size)
    raw[4:8] = struct.pack("<I", size)
    (tmp_path / "u.wav").write_bytes(raw)
    assert np.array_equal(read_one(one(tmp_path, f"cat {tmp_path}/u.wav |")), clip)


def test_a_wav_of_unknown_length_in_an_archive_does_not_take_the_next_one_for_its_end(tmp_path, clip):
    write_wav(tmp_path / "u.wav", clip, RATE)
    raw = (tmp_path / "u.wav").read_bytes()
    endless = raw[:4] + b"\xff\xff\xff\xff" + raw[8:40] + b"\xff\xff\xff\xff" + raw[44:]
    (tmp_path / "wav.ark").write_bytes(b"u " + endless + b"v " + raw)
    with pytest.raises(AudioError, match="utterance u: is a wav of unknown length"):
        read_one(one(tmp_path, f"{tmp_path}/wav.ark:2"))


def test_a_header_that_promises_more_than_the_memory_holds_is_refused(tmp_path, clip, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise MemoryError

    soundfile.write(tmp_path / "u.flac", clip, RATE)
    monkeypatch.setattr(soundfile.SoundFile, "read", full)
    with pytest.raises(AudioError, match="utterance u: promises 8000 samples, more than there is memory for"):
        read_one(one(tmp_path, f"{tmp_path}/u.flac"))


@pytest.mark.parametrize("entry", ["{}", "cat {} |"])
def test_a_flac_of_unknown_length_is_refused(tmp_path, clip, entry):
    """As `flac` and ffmpeg write it to a pipe: 0 in the 36 bits of the header that count the samples."""
    path = tmp_path / "u.flac"
    soundfile.write(path, clip, RATE)
    raw = bytearray(path.read_bytes())
    raw[21] &= 0xF0
    raw[22:26] = bytes(4)
    path.write_bytes(raw)
    with pytest.raises(AudioError, match="utterance u: does not tell its length, as a FLAC from a pipe"):
        read_one(one(tmp_path, entry.format(path)))


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("cat {}/nothing.wav |", r"utterance u: 'cat .*' failed with exit code 1; it said:\n.*No such file"),
        ("cat {}/nothing.wav | cat |", r"failed with exit code 1"),
        ("true |", r"utterance u: 'true' wrote nothing"),
        ("echo hello |", r"utterance u: is not sound that can be read"),
        ("-", r"standard input is no recording"),
        ("{}/missing.wav", r"utterance u: no such file: .*missing.wav"),
        ("{}", r"cannot read .*: Is a directory"),
        ("{}/data/text/x.wav", r"utterance u: cannot read .*: Not a directory"),
        ("{}/" + 300 * "x" + ".wav", r"utterance u: cannot read .*: File name too long"),
        ("{}/data/text:" + 30 * "9", r"utterance u: cannot read .*: cannot fit"),
    ],
)
def test_bad_entries_are_named(tmp_path, entry, words):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/text").touch()
    with pytest.raises(AudioError, match=words) as caught:
        read_one(one(tmp_path, entry.format(tmp_path)))
    assert "data: utterance u" in caught.value.where


def test_commands_are_refused_where_they_are_not_allowed(tmp_path):
    data = one(tmp_path, f"touch {tmp_path}/ran; cat x |")
    with pytest.raises(AudioError, match=r"refused to run 'touch"):
        read_one(data, allow_commands=False)
    assert not (tmp_path / "ran").exists()


def damaged(clip: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    wrong = clip.copy()
    if kind in ("nan", "infinite"):
        wrong[100] = np.nan if kind == "nan" else np.inf
        soundfile.write(stream, wrong, RATE, format="WAV", subtype="FLOAT")
        return stream.getvalue()
    if kind == "sphere":
        soundfile.write(stream, wrong, RATE, format="NIST", subtype="PCM_16")
        return stream.getvalue()[:5000]
    if kind == "ogg":
        soundfile.write(stream, np.tile(wrong, 20), RATE, format="OGG")
        return stream.getvalue()[:-5000]
    if kind == "flac":
        soundfile.write(stream, wrong, RATE, format="FLAC")
        return stream.getvalue()[:5000]
    soundfile.write(stream, wrong[:0] if kind == "no samples" else wrong, RATE, format="WAV", subtype="PCM_16")
    return {"empty": b"", "truncated": stream.getvalue()[:5000], "header only": stream.getvalue()[:30]}.get(
        kind, stream.getvalue()
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", r"is empty \(0 bytes\)"),
        ("no samples", r"has no samples"),
        ("truncated", r"is truncated: its header promises 16000 bytes of samples, 4956 are there"),
        ("header only", r"is truncated"),
        ("sphere", r"is truncated: its header promises 16000 bytes"),
        ("flac", r"breaks off|truncated|damaged"),
        ("ogg", r"is truncated: the last Ogg page is missing"),
        ("nan", r"holds NaN or infinity, first at sample 100"),
        ("infinite", r"holds NaN or infinity, first at sample 100"),
    ],
)
def test_damaged_recordings_are_refused_with_the_reason(tmp_path, clip, kind, words):
    (tmp_path / "u.wav").write_bytes(damaged(clip, kind))
    with pytest.raises(AudioError, match=words) as caught:
        read_one(one(tmp_path, str(tmp_path / "u.wav")))
    assert caught.value.mend


def ogg_crc(page: bytes) -> int:
    """The checksum of an Ogg page (RFC 3533), its own field being 0."""
    value = 0
    for byte in page:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1) ^ (0x104C11DB7 if value & 0x80000000 else 0)
    return value


def ogg_that_promises(clip: np.ndarray, more: int) -> bytes:
    """An Ogg file whose last page counts ``more`` samples than there are, as some encoders write it."""
    stream = io.BytesIO()
    soundfile.write(stream, np.tile(clip, 4), RATE, format="OGG")
    raw = stream.getvalue()
    start = raw.rfind(b"OggS")
    page = bytearray(raw[start:])
    page[6:14] = struct.pack("<q", struct.unpack("<q", page[6:14])[0] + more)
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", ogg_crc(page))
    return raw[:start] + bytes(page)


def test_an_ogg_file_whose_length_was_rounded_up_ends_in_silence(tmp_path, clip):
    (tmp_path / "u.ogg").write_bytes(ogg_that_promises(clip, 1000))
    there, _ = soundfile.read(io.BytesIO(ogg_that_promises(clip, 0)), dtype="float32")
    samples = read_one(one(tmp_path, str(tmp_path / "u.ogg")))
    assert len(there) < len(samples) <= len(there) + 1000
    np.testing.assert_array_equal(samples[: len(there)], there)
    assert not samples[len(there) + 960 :].any()


def test_an_ogg_file_that_lacks_more_than_a_block_is_refused(tmp_path, clip):
    (tmp_path / "u.ogg").write_bytes(ogg_that_promises(clip, 20000))
    with pytest.raises(AudioError, match="is truncated: 52000 samples promised"):
        read_one(one(tmp_path, str(tmp_path / "u.ogg")))


def test_another_rate_is_refused_unless_resampling_is_asked_for_and_then_said(tmp_path, caplog):
    tone = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000).astype(np.float32) * 0.5
    write_wav(tmp_path / "u.wav", tone, 8000)
    data = one(tmp_path, str(tmp_path / "u.wav"))
    with pytest.raises(AudioError, match=r"utterance u: has 8000 samples a second where 16000 are expected"):
        read_one(data)
    caplog.set_level(logging.INFO)
    [(_, samples)] = read_utterances(data, resample=True)
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert len(samples) == 16000
    assert np.abs(samples - wanted)[200:-200].max() < 1e-3
    assert "resampled to 16000 Hz (soxr HQ): 1 from 8000 Hz" in caplog.text


def test_stereo_needs_a_channel(tmp_path, clip):
    soundfile.write(tmp_path / "u.wav", np.stack([clip, -clip], axis=1), RATE)
    path = str(tmp_path / "u.wav")
    with pytest.raises(AudioError, match=r"has 2 channels and none is chosen"):
        read_one(one(tmp_path, path))
    assert np.array_equal(read_one(one(tmp_path, path, reco2file_and_channel={"u": "u A"})), clip)
    assert np.array_equal(read_one(one(tmp_path, path, reco2file_and_channel={"u": "u B"})), -clip)
    assert np.array_equal(read_one(one(tmp_path, path, segments={"u": "u 0 -1 1"})), -clip)
    with pytest.raises(AudioError, match=r"has no channel 2, only 2"):
        read_one(one(tmp_path, path, segments={"u": "u 0 -1 2"}))


@pytest.mark.parametrize("piped", [False, True])
def test_segments_are_cut_from_files_and_pipes(tmp_path, clip, piped):
    write_wav(tmp_path / "r.wav", clip, RATE)
    entry = f"cat {tmp_path}/r.wav |" if piped else str(tmp_path / "r.wav")
    times = {
        "a": "r 0.1 0.25",
        "b": "r 0.25 0.8",
        "c": "r 0.1 -1",
        "d": "r 0.2 1.1",
        "e": "r 0.6 0.7",
        "f": "r 0.2 0.2",
    }
    data = DataDir.build(tmp_path / "data", wav_scp={"r": entry}, utt2spk=dict.fromkeys(times, "s"), segments=times)
    audio = AudioTable(data)
    assert np.array_equal(audio.read("a"), clip[1600:4000])
    assert np.array_equal(audio.read("b"), clip[4000:])  # 0.3 s too long: cut, as Kaldi does up to 0.5 s
    assert np.array_equal(audio.read("c"), clip[1600:])
    assert audio.duration("a") == pytest.approx(0.15)
    for utterance, words in (("d", "lies outside its recording of 0.50 s"), ("e", "lies outside"), ("f", "is empty")):
        with pytest.raises(AudioError, match=rf"utterance {utterance}: the segment .*{words}"):
            audio.read(utterance)


@pytest.mark.parametrize("size", [1, 777, 100000])
def test_blocks_put_together_are_the_utterance(tmp_path, clip, size):
    write_wav(tmp_path / "u.wav", clip[:2000], RATE)
    for entry in (str(tmp_path / "u.wav"), f"cat {tmp_path}/u.wav |"):
        audio = AudioTable(one(tmp_path, entry, segments={"u": "u 0.01 -1"}))
        assert np.array_equal(np.concatenate(list(audio.blocks("u", size))), clip[160:2000])


def test_a_directory_without_wav_scp_is_refused(tmp_path):
    data = DataDir.build(tmp_path, utt2spk={"u": "s"})
    with pytest.raises(DataDirError, match=r"wav.scp: no such file"):
        AudioTable(data)


def test_written_wav_is_what_soundfile_reads_and_counts_what_it_clips(tmp_path, clip):
    assert write_wav(tmp_path / "a.wav", clip, RATE) == 0
    back, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == RATE
    assert np.array_equal(back, clip)
    loud = np.array([0.0, 1.0, 1.5, -1.0, -1.2, 0.99999], np.float32)
    assert write_wav(tmp_path / "b.wav", loud, RATE) == 4
    assert soundfile.read(tmp_path / "b.wav", dtype="int16")[0].tolist() == [0, 32767, 32767, -32768, -32768, 32767]
    with WavWriter(tmp_path / "c.wav", RATE) as writer:
        for start in range(0, len(clip), 999):
            writer.write(clip[start : start + 999])
    assert (tmp_path / "c.wav").read_bytes() == (tmp_path / "a.wav").read_bytes()


def test_nothing_half_written_stays_after_nan_or_a_full_disk(tmp_path, clip, monkeypatch):
    with pytest.raises(AudioError, match=r"a.wav: was to be written with NaN"):
        write_wav(tmp_path / "a.wav", np.array([0, np.nan], np.float32), RATE)
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DiskError, match=r"a.wav: no space left on the disk"):
        write_wav(tmp_path / "a.wav", clip, RATE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.kaldi
def test_wav_archives_of_kaldi_are_read_and_ours_by_kaldi(tmp_path, kaldi_root, clip):
    write_wav(tmp_path / "u.wav", clip, RATE)
    (tmp_path / "wav.scp").write_text(f"a {tmp_path}/u.wav\nu cat {tmp_path}/u.wav |\n")
    run_kaldi(f"wav-copy scp:{tmp_path}/wav.scp ark,scp:{tmp_path}/wav.ark,{tmp_path}/ark.scp")
    places = dict(line.split() for line in (tmp_path / "ark.scp").read_text().splitlines())
    assert np.array_equal(read_one(one(tmp_path, places["u"])), clip)
    assert np.array_equal(read_sound(places["a"])[0][:, 0], clip)


@pytest.mark.kaldi
def test_segments_are_cut_as_extract_segments_cuts_them(tmp_path, kaldi_root, clip):
    write_wav(tmp_path / "r.wav", clip, RATE)
    rng = np.random.default_rng(3)
    starts, lengths = rng.uniform(0, 0.3, 30), rng.uniform(0.11, 0.4, 30)
    times = {f"u{i:02d}": f"r {starts[i]:.4f} {starts[i] + lengths[i]:.4f}" for i in range(30)}
    (tmp_path / "wav.scp").write_text(f"r {tmp_path}/r.wav\n")
    (tmp_path / "segments").write_text("".join(f"{key} {value}\n" for key, value in times.items()))
    run_kaldi(f"extract-segments scp:{tmp_path}/wav.scp {tmp_path}/segments ark,scp:{tmp_path}/s.ark,{tmp_path}/s.scp")
    places = dict(line.split() for line in (tmp_path / "s.scp").read_text().splitlines())
    data = DataDir.build(
        tmp_path, wav_scp={"r": f"{tmp_path}/r.wav"}, utt2spk=dict.fromkeys(times, "s"), segments=times
    )
    assert places.keys() == times.keys()
    for utterance, samples in read_utterances(data):
        assert np.array_equal(samples, read_sound(places[utterance])[0][:, 0]), times[utterance]
