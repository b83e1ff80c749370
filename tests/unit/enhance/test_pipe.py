"""Enhancement inside wav.scp: the pipe, the server behind it, the archive; what a real Kaldi says to each."""

from __future__ import annotations

import io
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from enhance.denoise import denoise_data_dir
from enhance.pipe_client import ERROR, OK, ask, client_asked
from enhance.piped import enhance_wav
from enhance.recording import DenoiseConfig
from enhance.serve import EnhanceServer, free_socket
from enhance.weights import load_generator
from harness.errors import AudioError, ConfigError
from kaldi_bridge.audio import AudioTable
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.programs import kaldi_workspace, run_kaldi
from kaldi_bridge.tables import read_matrix_scp

ROOT = Path(__file__).parents[3]
CLIENT = [sys.executable, "-m", "enhance", "pipe", "--socket"]


def wav_of(samples: np.ndarray, rate: int = 16000, form: str = "WAV", subtype: str = "PCM_16") -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format=form, subtype=subtype)
    return stream.getvalue()


def piped(words: list[str], raw: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, input=raw, capture_output=True, cwd=ROOT, check=False)


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short path for a socket."""
    return tmp_path_factory.mktemp("s") / "s"


@pytest.fixture
def server(small_model: Path, place: Path) -> Iterator[EnhanceServer]:
    models = [load_generator(small_model)[1] for _ in range(2)]
    running = EnhanceServer(place, models)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


def test_a_wav_in_memory_becomes_the_file_that_denoise_writes(clean_dir, small_model, tmp_path):
    denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model), mix=0.25), jobs=1)
    model = load_generator(small_model)[1]
    for utterance, source in (DataDir.read(clean_dir).wav_scp or {}).items():
        made = enhance_wav(model, Path(source).read_bytes(), mix=0.25)
        assert made == (tmp_path / f"out/wav/{utterance}.wav").read_bytes()


def test_the_header_may_not_know_the_length_and_flac_is_sound_too(small_model, make_voice):
    model = load_generator(small_model)[1]
    samples = (32768 * make_voice(1, 0.4)).astype(np.int16)
    whole = wav_of(samples)
    streamed = whole[:40] + b"\xff\xff\xff\x7f" + whole[44:]  # as sox writes it to a pipe
    assert enhance_wav(model, streamed) == enhance_wav(model, whole) == enhance_wav(model, wav_of(samples, form="FLAC"))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty"),
        (b"nonsense that is no sound", "is not sound that can be read"),
        (wav_of(np.zeros((100, 2))), "has 2 channels"),
        (wav_of(np.zeros(100), 8000), "has 8000 samples a second, the model 16000"),
        (wav_of(np.ones(1000))[:-100], "is truncated"),
    ],
)
def test_what_cannot_be_enhanced_is_named(raw, said, small_model):
    with pytest.raises(AudioError, match=said):
        enhance_wav(load_generator(small_model)[1], raw)


def test_another_rate_is_converted_on_request_only(small_model, make_voice):
    model = load_generator(small_model)[1]
    made = enhance_wav(model, wav_of(make_voice(1, 0.5)[::2], 8000), convert=True)
    assert soundfile.info(io.BytesIO(made)).samplerate == 16000
    assert soundfile.info(io.BytesIO(made)).frames == 8000


def test_the_server_answers_many_at_once_each_as_denoise_would(server, place, small_model, make_voice):
    model = load_generator(small_model)[1]
    raws = [wav_of(make_voice(seed, 0.2 + 0.05 * seed)) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda raw: ask(str(place), raw), raws))
    assert answers == [(OK, enhance_wav(model, raw)) for raw in raws]
    assert server.answered == 8


def test_the_server_refuses_what_is_no_sound_and_lives_on(server, place, make_voice):
    kind, said = ask(str(place), b"nonsense that is no sound")
    assert kind == ERROR
    assert b"is not sound that can be read" in said
    assert ask(str(place), wav_of(make_voice(1, 0.2)))[0] == OK
    with socket.socket(socket.AF_UNIX) as line:  # a client that leaves in the middle
        line.connect(str(place))
        line.sendall((1000).to_bytes(8, "big") + b"RIFF")
    assert ask(str(place), wav_of(make_voice(1, 0.2)))[0] == OK
    assert (server.answered, server.refused) == (2, 1)


def test_the_socket_is_for_its_owner_alone_and_a_second_server_is_refused(server, place):
    assert os.stat(place).st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError, match="has a server already"):
        free_socket(place)


def test_a_socket_that_a_killed_server_left_is_replaced_but_no_other_file(place, tmp_path):
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
    free_socket(place)
    assert not place.exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="is there and no socket"):
        free_socket(tmp_path / "file")
    with pytest.raises(ConfigError, match="longer than 107 bytes"):
        free_socket("x" * 108)


def test_a_server_that_ends_leaves_its_successors_socket_alone(place, small_model, make_voice, monkeypatch):
    ends = EnhanceServer(place, [load_generator(small_model)[1]])
    begun, may_end = threading.Event(), threading.Event()
    monkeypatch.setattr(ends, "enhanced", lambda raw: (begun.set(), may_end.wait(30), raw)[-1])
    loop = threading.Thread(target=ends.serve_forever, kwargs={"poll_interval": 0.01})
    loop.start()
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(ask, str(place), b"sound")
        begun.wait(30)
        ends.shutdown()
        loop.join()
        closing = pool.submit(ends.server_close)  # waits for the answer
        with pytest.raises(OSError):  # it listens no more
            ask(str(place), b"")
        successor = EnhanceServer(place, [])
        may_end.set()
        closing.result()
        assert answer.result() == (OK, b"sound")
    assert place.exists()
    successor.server_close()
    assert not place.exists()


def test_a_server_that_cannot_begin_says_why_and_leaves_the_socket_of_another(server, place, tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"none/s: cannot become a socket \(No such file or directory\)"):
        EnhanceServer(tmp_path / "none" / "s", [])
    monkeypatch.setattr("enhance.serve.free_socket", lambda _: None)  # both looked before either had begun
    with pytest.raises(ConfigError, match="cannot become a socket"):
        EnhanceServer(place, [])
    assert ask(str(place), b"") == (OK, b"")


def test_the_client_prints_what_the_server_gives_and_imports_next_to_nothing(server, place, small_model, make_voice):
    raw = wav_of(make_voice(3, 0.3))
    done = piped([*CLIENT, str(place)], raw)
    assert done.returncode == 0, done.stderr
    assert done.stdout == enhance_wav(load_generator(small_model)[1], raw)
    loaded = piped([sys.executable, "-X", "importtime", *CLIENT[1:], str(place)], raw).stderr.decode()
    for heavy in ("torch", "numpy", "typer", "soundfile", "harness", "subprocess", "pathlib", "logging"):
        assert f"| {heavy}\n" not in loaded.replace("|   ", "| ").replace("  ", "")


def test_the_client_says_who_is_missing_and_exits_with_1(place, server):
    gone = piped([*CLIENT, f"{place}-elsewhere"], b"RIFF")
    assert (gone.returncode, gone.stdout) == (1, b"")
    assert b"no server answers" in gone.stderr
    assert b"enhance serve --socket" in gone.stderr
    empty = piped([*CLIENT, str(place)], b"")
    assert (empty.returncode, empty.stdout) == (1, b"")
    assert b"standard input: is empty" in empty.stderr
    wrong = piped([*CLIENT, str(place)], b"nonsense that is no sound")
    assert (wrong.returncode, wrong.stdout) == (1, b"")
    assert b"is not sound that can be read" in wrong.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pipe", "--socket", "s"], "s"),
        (["pipe", "--socket=a/b"], "a/b"),
        (["pipe", "--socket", "s", "--mix", "0.5"], None),
        (["pipe", "--model", "m"], None),
        (["serve", "--socket", "s"], None),
        ([], None),
    ],
)
def test_only_the_socket_alone_takes_the_short_way(words, expected):
    assert client_asked(words) == expected


def test_pipe_and_serve_from_the_command_line_give_the_same_and_sigterm_ends_well(small_model, place, make_voice):
    raw = wav_of(make_voice(5, 0.3))
    words = [sys.executable, "-m", "enhance", "serve", "--socket", str(place), "--model", str(small_model)]
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        alone = piped([sys.executable, "-m", "enhance", "pipe", "--model", str(small_model)], raw)
        assert alone.returncode == 0, alone.stderr
        assert process.stdout is not None
        assert process.stdout.readline() == f"serving {small_model} at {place}\n".encode()
        assert piped([*CLIENT, str(place)], raw).stdout == alone.stdout
        mixed = piped([sys.executable, "-m", "enhance", "pipe", "--socket", str(place), "--mix", "0.5"], raw)
        assert mixed.returncode == 1
        assert b"--socket goes with no other option" in mixed.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.communicate()
    assert not place.exists()


# ---- as an archive


def test_an_archive_holds_the_same_recordings_as_the_folder_of_wavs(clean_dir, small_model, tmp_path, audio_of):
    denoise_data_dir(clean_dir, tmp_path / "wavs", DenoiseConfig(model=str(small_model)), jobs=1)
    report = denoise_data_dir(clean_dir, tmp_path / "ark", DenoiseConfig(model=str(small_model), ark=True), jobs=1)
    data = DataDir.read(tmp_path / "ark")
    assert sorted(path.name for path in (tmp_path / "ark").iterdir() if path.is_dir()) == []
    for name, entry in (data.wav_scp or {}).items():
        path, _, offset = entry.rpartition(":")
        entire = (tmp_path / f"wavs/wav/{name}.wav").read_bytes()
        assert Path(path).read_bytes()[int(offset) :].startswith(entire)
        assert Path(path).read_bytes()[: int(offset)].endswith(f"{name} ".encode())
    first, second = audio_of(tmp_path / "wavs"), audio_of(tmp_path / "ark")
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert report["recordings"] == len(first)
    again = denoise_data_dir(clean_dir, tmp_path / "ark", DenoiseConfig(model=str(small_model), ark=True), jobs=1)
    assert again == report


def test_an_archive_cannot_be_made_of_plain_files(small_model, tmp_path):
    words = [sys.executable, "-m", "enhance", "denoise", "--ark", "--in", str(ROOT), "--out", str(tmp_path / "out")]
    done = piped([*words, "--model", str(small_model)], b"")
    assert done.returncode == 1
    assert b"--ark: needs the wav.scp of a data directory" in done.stderr


# ---- before a real Kaldi


def mfcc_of(kaldi_root: Path, workspace: Path, data: Path) -> dict[str, np.ndarray]:
    """What make_mfcc.sh writes for a directory that validate_data_dir.sh takes and fix_data_dir.sh leaves as it is."""
    said = run_kaldi(["utils/validate_data_dir.sh", "--no-feats", str(data)], cwd=workspace, root=kaldi_root)
    assert b"Successfully validated" in said
    before = {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()}
    said = run_kaldi(["utils/fix_data_dir.sh", str(data)], cwd=workspace, root=kaldi_root)
    assert b"kept all" in said
    assert {path.name: path.read_bytes() for path in data.iterdir() if path.is_file()} == before
    log, arks = workspace / f"{data.name}_log", workspace / f"{data.name}_mfcc"
    run_kaldi(["steps/make_mfcc.sh", "--nj", "1", str(data), str(log), str(arks)], cwd=workspace, root=kaldi_root)
    said = run_kaldi(["utils/validate_data_dir.sh", str(data)], cwd=workspace, root=kaldi_root)
    assert b"Successfully validated" in said
    return dict(read_matrix_scp(data / "feats.scp").items())


@pytest.mark.kaldi
def test_kaldi_takes_the_directory_the_archive_and_the_pipe_unchanged(
    kaldi_root, clean_dir, small_model, tmp_path, server, place
):
    workspace = kaldi_workspace(tmp_path / "work", kaldi_root)
    (workspace / "conf").mkdir()
    (workspace / "conf/mfcc.conf").write_text("--use-energy=false\n--sample-frequency=16000\n--dither=0\n")
    (workspace / "cmd.sh").write_text("export train_cmd=run.pl\n")
    denoise_data_dir(clean_dir, workspace / "wavs", DenoiseConfig(model=str(small_model)), jobs=1)
    denoise_data_dir(clean_dir, workspace / "ark", DenoiseConfig(model=str(small_model), ark=True), jobs=1)
    source = DataDir.read(clean_dir)
    pipe = f"cd {shlex.quote(str(ROOT))} && {shlex.join([*CLIENT, str(place)])} |"
    source.tables["wav.scp"] = {key: f"cat {wav} | ({pipe[:-2]}) |" for key, wav in (source.wav_scp or {}).items()}
    source.write(workspace / "pipe")
    found = [mfcc_of(kaldi_root, workspace, workspace / name) for name in ("wavs", "ark", "pipe")]
    assert found[0].keys() == found[1].keys() == found[2].keys() == set(source.utterances)
    for key in found[0]:
        np.testing.assert_array_equal(found[0][key], found[1][key])
        np.testing.assert_array_equal(found[0][key], found[2][key])
    theirs = run_kaldi(
        f"wav-copy scp:{workspace}/wavs/wav.scp ark:{tmp_path}/theirs.ark && cat {tmp_path}/theirs.ark", root=kaldi_root
    )
    assert theirs == (workspace / "ark/wav.ark").read_bytes()


def test_a_wav_scp_with_the_pipe_reads_as_the_enhanced_directory(clean_dir, small_model, tmp_path, server, place):
    denoise_data_dir(clean_dir, tmp_path / "out", DenoiseConfig(model=str(small_model)), jobs=1)
    data = DataDir.read(clean_dir)
    name, wav = sorted((data.wav_scp or {}).items())[0]
    command = f"cd {shlex.quote(str(ROOT))} && cat {wav} | {shlex.join([*CLIENT, str(place)])} |"
    data.tables["wav.scp"][name] = command
    start = time.monotonic()
    samples = AudioTable(data).read(name)
    assert time.monotonic() - start < 30
    np.testing.assert_array_equal(samples, AudioTable(DataDir.read(tmp_path / "out")).read(name))
