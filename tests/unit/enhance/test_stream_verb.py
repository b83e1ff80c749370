"""enhance stream: sound through real pipes."""

import io
import re
import select
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from enhance.live import LEAST_LEVEL, LiveEnhancer, RunningLevel
from enhance.models.demucs import Demucs, DemucsConfig
from enhance.models.segan_plus import SeganPlus, SeganPlusConfig
from enhance.pcm_pipe import PcmFormat, PcmReader, PcmWriter
from enhance.streaming import enhance_samples, level_of
from enhance.verbs_stream import check_options, pump, report
from enhance.weights import load_generator, save_generator
from harness.errors import AudioError, ConfigError
from kaldi_bridge.sound_files import read_sound

ROOT = Path(__file__).parents[3]
RATE = 16000
STEP = 1 / 32768


def piped(sound, *options):
    command = [sys.executable, "-m", "enhance", "stream", *map(str, options)]
    return subprocess.run(command, input=sound, capture_output=True, cwd=ROOT, check=False)


def wav_bytes(samples, subtype="PCM_16", rate=RATE):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, subtype, format="WAV")
    return buffer.getvalue()


def samples_of(wav):
    """16-bit samples behind a wav header of 44 bytes."""
    return np.frombuffer(wav[44:], "<i2") / 32768


@pytest.fixture
def small_demucs(tmp_path):
    torch.manual_seed(0)
    save_generator(tmp_path / "demucs.pt", "demucs", Demucs(DemucsConfig(hidden=4, depth=4)), {"step": 1})
    return tmp_path / "demucs.pt"


# ---- through pipes


def test_with_the_level_told_a_pipe_gives_what_denoise_gives(small_demucs, make_voice):
    sound = wav_bytes(make_voice(1, 1.2))
    samples, _ = soundfile.read(io.BytesIO(sound), dtype="float32")
    level, _ = level_of([samples], "here")
    said = piped(sound, "--model", small_demucs, "--level", level, "--block-ms", 10)
    assert said.returncode == 0, said.stderr
    truth = enhance_samples(load_generator(small_demucs)[1], samples)
    np.testing.assert_allclose(samples_of(said.stdout), truth, atol=1.01 * STEP)
    assert np.abs(truth - samples).max() > 0.01
    assert "algorithmic latency" in said.stderr.decode()


def test_a_command_of_a_data_directory_reads_the_stream(small_model, make_voice, tmp_path):
    (tmp_path / "in.wav").write_bytes(wav_bytes(make_voice(2, 0.4)))
    samples, _ = soundfile.read(tmp_path / "in.wav", dtype="float32")
    options = f"--model {small_model} --level {level_of([samples], 'here')[0]}"
    read, info = read_sound(f"cat {tmp_path}/in.wav | {sys.executable} -m enhance stream {options} 2>/dev/null |")
    assert info.rate == RATE
    truth = enhance_samples(load_generator(small_model)[1], samples)
    np.testing.assert_allclose(read[:, 0], truth, atol=2 * STEP)


def open_pipe(model):
    command = [sys.executable, "-m", "enhance", "stream", "--model", model, "--raw", "s16le"]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, bufsize=0)


@pytest.mark.parametrize("kind", ["demucs", "compact"])
def test_samples_are_out_a_latency_and_a_block_after_they_came(kind, small_demucs, small_model, make_voice):
    path = {"demucs": small_demucs, "compact": small_model}[kind]
    model, block, came = load_generator(path)[1], 256, 50 * 256
    samples = np.concatenate([make_voice(0, 0.5), make_voice(1, 0.5)])[:came]
    with open_pipe(path) as process:
        process.stdin.write((samples * 32767).astype("<i2").tobytes())
        due, got = came - round(model.latency * RATE) - block, b""
        while len(got) < 2 * due:  # the input stays open
            assert select.select([process.stdout], [], [], 60)[0], f"{len(got) // 2} samples of {due} after a minute"
            got += process.stdout.read(1000)
        process.stdin.close()
        assert due > came / 2
        assert len(got) + len(process.stdout.read()) == 2 * came
        assert process.wait() == 0


def test_a_reader_that_leaves_ends_the_stream_without_a_word(small_model, make_voice):
    block = (make_voice(0, 1.0) * 32767).astype("<i2").tobytes()
    with open_pipe(small_model) as process:
        process.stdin.write(block)
        process.stdout.read(100)
        process.stdout.close()
        with pytest.raises(BrokenPipeError):
            for _ in range(100):
                process.stdin.write(block)
        assert process.stderr.read() == b""
        assert process.wait() == -signal.SIGPIPE  # as any filter


def pumped(sound, model, *, size=256, raw=None, **options):
    form = PcmFormat(rate=RATE, encoding=raw, wav=False) if raw else None
    sink = io.BytesIO()
    text = pump(load_generator(model)[1], io.BytesIO(sound), sink, form, size, **options)
    return sink.getvalue(), text


def test_the_report_states_latency_time_and_real_time_factor(small_model, make_voice):
    _, text = pumped(wav_bytes(make_voice(0, 0.8)), small_model, size=512)
    model = load_generator(small_model)[1]
    assert f"algorithmic latency: {1000 * model.latency:.1f} ms" in text
    assert "0.80 s of sound" in text
    factor = float(re.search(r"real-time factor: ([\d.]+)", text)[1])
    mean = float(re.search(r"a block: ([\d.]+) ms \(mean\)", text)[1])
    assert factor == pytest.approx(mean * 25 / 800, rel=0.05, abs=1e-3)


def test_raw_samples_come_out_as_they_went_in(small_model, make_voice):
    samples = make_voice(2, 0.5)
    sound, _ = pumped(samples.astype("<f4").tobytes(), small_model, raw="f32le", level=0.05)
    live = LiveEnhancer(load_generator(small_model)[1], level=0.05)
    truth = np.concatenate([live.push(samples), live.finish()])
    np.testing.assert_allclose(np.frombuffer(sound, "<f4"), truth, atol=1e-5)


WRONG = {
    "odd": ("breaks off inside a sample", "s16le"),
    "short": ("its header promises", None),
    "text": ("is no wav", None),
    "empty": ("ends before any samples", None),
    "nothing": ("holds no samples", "s16le"),
    "mulaw": ("not 16-bit or float PCM", None),
    "stereo": ("has 2 channels", None),
    "slow": ("has 8000 Hz, the model 16000 Hz", None),
    "bare": ("ends before any samples", None),
    "nan": ("NaN or infinity", "f32le"),
}


def wrong_sound(case, samples):
    sound = wav_bytes(samples)
    return {
        "odd": (samples * 32767).astype("<i2").tobytes() + b"x", "short": sound[:-100], "text": b"hello, world" * 9,
        "empty": b"", "nothing": b"", "mulaw": wav_bytes(samples, "ULAW"), "slow": wav_bytes(samples, rate=8000),
        "stereo": wav_bytes(np.stack([samples, samples], axis=1)), "bare": sound[:20],
        "nan": np.array([0.1, np.nan], "<f4").tobytes(),
    }.get(case, sound)  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_stream_that_is_no_whole_pcm_is_refused(case, small_model, make_voice):
    problem, raw = WRONG[case]
    with pytest.raises(AudioError, match=re.escape(problem)):
        pumped(wrong_sound(case, make_voice(0, 0.3)), small_model, raw=raw)


def test_an_end_inside_a_sample_exits_with_1_after_all_whole_samples(small_model, make_voice):
    said = piped(wrong_sound("odd", make_voice(0, 0.3)), "--model", small_model, "--raw", "s16le")
    assert said.returncode == 1
    assert "breaks off inside a sample" in said.stderr.decode()
    assert "mend:" in said.stderr.decode()
    assert "Traceback" not in said.stderr.decode()
    assert len(said.stdout) == 2 * 4800


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"raw": "mp3"}, "must be s16le or f32le"), ({"rate": 8000}, "goes with --raw"),
        ({"block_ms": 0.0}, "must be positive"), ({"block_ms": float("inf")}, "must be positive and finite"),
        ({"level": -3.0}, "must lie in"), ({"mix": 2.0}, "must lie in"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(change, problem):
    check_options(None, None, 16.0, None, 0.0)
    with pytest.raises(ConfigError, match=problem):
        check_options(**({"raw": None, "rate": None, "block_ms": 16.0, "level": None, "mix": 0.0} | change))


# ---- wav in pipes


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_a_wav_is_read_whatever_its_chunks_and_promises(subtype, make_voice):
    samples = make_voice(0, 0.2)
    sound = wav_bytes(samples, subtype)
    data = sound.index(b"data")
    listed = sound[:data] + b"LIST" + struct.pack("<I", 3) + b"abc\0" + sound[data:]
    after = sound + b"LIST" + struct.pack("<I", 4) + b"abcd"
    open_end = sound[: data + 4] + struct.pack("<I", 0xFFFFFFFF) + sound[data + 8 :]
    for variant in (sound, listed, after, open_end):
        reader = PcmReader(io.BytesIO(variant))
        np.testing.assert_allclose(np.concatenate(list(reader.blocks(777))), samples, atol=STEP)
        assert reader.form.rate == RATE


@pytest.mark.parametrize(("encoding", "subtype"), [("s16le", "PCM_16"), ("f32le", "FLOAT")])
def test_what_is_written_is_read_by_libsndfile(encoding, subtype, make_voice, tmp_path):
    samples = make_voice(0, 0.2)
    samples[7] = 1.5
    with open(tmp_path / "out.wav", "wb") as stream:
        writer = PcmWriter(stream, PcmFormat(rate=RATE, encoding=encoding, wav=True))
        writer.write(samples)
    assert writer.clipped == (encoding == "s16le")
    read, info = read_sound(f"cat {tmp_path}/out.wav |")
    assert (info.subtype, info.rate) == (subtype, RATE)
    np.testing.assert_allclose(read[:, 0], samples if encoding == "f32le" else samples.clip(-1, 1), atol=1.01 * STEP)


# ---- the level of the sound so far


def levels_of(samples, block, rate=RATE):
    running = RunningLevel(rate)
    ready, levels = zip(*(running.push(samples[i : i + block]) for i in range(0, len(samples), block)), strict=True)
    last, its_levels = running.finish()
    np.testing.assert_array_equal(np.concatenate([*ready, last]), samples)
    return np.concatenate([*levels, its_levels])


@pytest.mark.parametrize("silent", [0, 500])
def test_the_running_level_is_the_root_mean_square_so_far(silent):
    sound = 0.1 * np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    samples = np.concatenate([np.zeros(silent, np.float32), sound])
    truth = np.sqrt(np.cumsum(np.square(sound, dtype=np.float64)) / np.arange(1, 5001))
    truth[:320] = truth[319]  # 20 ms
    levels = levels_of(samples, 100)
    np.testing.assert_allclose(levels[silent:], truth, rtol=1e-5)
    assert (levels[:silent] == LEAST_LEVEL).all()


@pytest.mark.parametrize("block", [1, 33, 320, 321, 4000])
def test_the_running_level_does_not_depend_on_the_blocks(block):
    samples = 0.1 * np.random.default_rng(1).standard_normal(4000).astype(np.float32)
    samples[:401] = 0
    np.testing.assert_allclose(levels_of(samples, block), levels_of(samples, 50), rtol=1e-5)


def test_the_running_level_never_looks_ahead_and_forgets_after_half_a_minute():
    rate = 100  # a horizon of 3000 samples
    samples = np.ones(9000, np.float32)
    samples[3000:] = 0.1
    levels = levels_of(samples, 700, rate)
    np.testing.assert_allclose(levels[:3000], 1.0)
    after = 0.01 + 0.99 * (1 - 1 / 3000) ** np.arange(1, 6001)
    np.testing.assert_allclose(levels[3000:], np.sqrt(after), rtol=1e-4)


def test_silence_and_very_short_sounds_pass_the_running_level():
    assert (levels_of(np.zeros(1000, np.float32), 100) == LEAST_LEVEL).all()
    np.testing.assert_allclose(levels_of(np.full(7, 0.5, np.float32), 3), 0.5)


@pytest.mark.parametrize("level", [None, 0.05])
@pytest.mark.parametrize("mix", [0.0, 0.3])
def test_a_live_enhancer_gives_every_sample_whatever_the_blocks(level, mix, small_model, make_voice):
    model = load_generator(small_model)[1]
    samples = make_voice(3, 0.9)

    def out(block):
        live = LiveEnhancer(model, level=level, mix=mix)
        return np.concatenate(
            [*(live.push(samples[i : i + block]) for i in range(0, len(samples), block)), live.finish()]
        )

    small, large = out(101), out(20000)
    assert small.shape == samples.shape
    np.testing.assert_allclose(small, large, atol=1e-5)
    if mix:
        pure = LiveEnhancer(model, level=level)
        pure = np.concatenate([pure.push(samples), pure.finish()])
        np.testing.assert_allclose(large, 0.7 * pure + 0.3 * samples, atol=1e-6)


def test_a_model_without_a_level_sees_the_sound_as_it_is(make_voice):
    torch.manual_seed(0)
    model = SeganPlus(SeganPlusConfig(channels=(4, 4, 4))).eval()
    samples = make_voice(0, 0.3)
    live = LiveEnhancer(model)
    np.testing.assert_allclose(
        np.concatenate([live.push(samples), live.finish()]), enhance_samples(model, samples), atol=1e-6
    )


def test_a_report_of_known_times_is_worked_by_hand():
    model = Demucs(DemucsConfig(hidden=4)).eval()
    text = report(model, 160, [0.001] * 99 + [0.101], 16000, 3)
    assert "1.00 s of sound, 3 samples clipped" in text
    assert "latency: 47.8 ms, with blocks of 10 ms at most 57.7 ms" in text
    assert "2.00 ms (mean)" in text
    assert "real-time factor: 0.2000" in text
