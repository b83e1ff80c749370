"""Bad input from the command line: the exit code is not 0, the text names the place and the mend, nothing half-written.

Most verbs run in this process (a start of Python costs more than their work); those of the last section in their own.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.full_disk import largest_file

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000
BAD = "kid01-0"  # the utterance that is spoilt


@dataclass(frozen=True)
class Ended:
    """How a command ended.  text: standard output and error together."""

    code: int
    text: str

    def refused(self, *said: str) -> None:
        """It failed in the way a user can act on, and said all this."""
        assert self.code in (1, 2), self
        assert "Traceback" not in self.text, self.text
        assert "mend: " in self.text, self.text
        for words in said:
            assert words in self.text, (words, self.text)


@pytest.fixture
def call(capsys, monkeypatch) -> Callable[..., Ended]:
    """call("enhance", "mix", ...) is python -m enhance mix ...; an exception that gets out fails the test."""
    from harness.cli import run

    monkeypatch.setenv("SCHOOLYARD_JOBS", "1")

    def run_verb(room: str, *words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", [room, *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            run(importlib.import_module(f"{room}.__main__").app)
        said = capsys.readouterr()
        return Ended(int(ended.value.code or 0), said.out + said.err)

    return run_verb


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two children with two utterances each."""
    return write_corpus(tmp_path / "data", 2)


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    (tmp_path / "noise").mkdir()
    for number in (1, 2):
        soundfile.write(tmp_path / "noise" / f"{number}.wav", speech(1.0, 100 + number), RATE)
    return tmp_path / "noise"


def speech(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """A trembling tone in a little noise, float32 [samples]."""
    time = np.arange(int(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * 300 * time) * np.sin(6 * time) ** 2
    return (tone + np.random.default_rng(seed).normal(0, 0.01, len(time))).astype(np.float32)


def write_corpus(folder: Path, speakers: int) -> Path:
    """kid00-0, kid00-1, kid01-0 ...: 0.4 s each."""
    (folder / "audio").mkdir(parents=True)
    groups = {f"kid{n:02d}": [f"kid{n:02d}-{k}" for k in range(2)] for n in range(speakers)}
    utterances = [utterance for own in groups.values() for utterance in own]
    for number, utterance in enumerate(utterances):
        soundfile.write(folder / "audio" / f"{utterance}.wav", speech(0.4, number), RATE, "PCM_16")
    write_lines(folder / "wav.scp", [f"{utt} {folder}/audio/{utt}.wav" for utt in utterances])
    write_lines(folder / "text", [f"{utt} ONE TWO" for utt in utterances])
    write_lines(folder / "utt2spk", [f"{utt} {utt[:5]}" for utt in utterances])
    write_lines(folder / "spk2utt", [f"{speaker} {' '.join(own)}" for speaker, own in groups.items()])
    return folder


def write_lines(path: Path, lines: list[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def no_traces(folder: Path, *outputs: str) -> None:
    """None of the outputs is there, and nothing that was being written aside."""
    assert [name for name in outputs if (folder / name).exists()] == []
    assert list(folder.rglob("*.tmp")) == []


# ---- recordings


def missing(wav: Path) -> None:
    wav.unlink()


def truncated(wav: Path) -> None:
    wav.write_bytes(wav.read_bytes()[:3000])


def zero_length(wav: Path) -> None:
    soundfile.write(wav, np.zeros(0, np.float32), RATE, "PCM_16")


def empty_file(wav: Path) -> None:
    wav.write_bytes(b"")


def not_a_number(wav: Path) -> None:
    samples = speech(0.4)
    samples[100] = np.nan
    soundfile.write(wav, samples, RATE, "FLOAT")


def eight_kilohertz(wav: Path) -> None:
    soundfile.write(wav, speech(0.4, rate=8000), 8000, "PCM_16")


def stereo(wav: Path) -> None:
    soundfile.write(wav, np.stack([speech(0.4)] * 2, 1), RATE, "PCM_16")


def failing_pipe(wav: Path) -> None:
    table = wav.parent.parent / "wav.scp"
    table.write_text(table.read_text().replace(f"{BAD} {wav}", f"{BAD} echo out of tape >&2; exit 3 |"))


FAULTS = [
    (missing, "no such file"),
    (truncated, "is truncated"),
    (zero_length, "has no samples"),
    (empty_file, "is empty (0 bytes)"),
    (not_a_number, "holds "),
    (eight_kilohertz, "has 8000 samples a second where 16000 are expected"),
    (stereo, "has 2 channels and none is chosen"),
    (failing_pipe, "failed with exit code 3; it said:\n    out of tape"),
]


@pytest.mark.parametrize(("spoil", "said"), FAULTS, ids=[spoil.__name__ for spoil, _ in FAULTS])
def test_a_bad_recording_is_named_by_every_verb_that_reads_it(spoil, said, data, noise, tmp_path, call):
    spoil(data / "audio" / f"{BAD}.wav")
    call("kaldi_bridge", "check-audio", data).refused(BAD, said, "1 of 4 utterances cannot be read")
    call("kaldi_bridge", "features", data, "--out", tmp_path / "mfcc").refused(BAD, said, "1 of 4 utterances have no")
    call("enhance", "mix", "--data", data, "--noise", noise, "--out", tmp_path / "mix").refused(BAD, said)
    call("enhance", "denoise", "--data", data, "--out", tmp_path / "den").refused(BAD, said, "1 of 4 recordings failed")
    call("enhance", "pack-clean", "--data", data, "--out", tmp_path / "pack").refused(BAD, said)
    assert not (data / "feats.scp").exists()
    assert list((tmp_path / "mfcc").glob("*.ark")) == []
    no_traces(tmp_path, "mix", "den", "pack")


def test_the_same_commands_go_through_once_the_recording_is_mended(data, noise, tmp_path, call):
    wav = data / "audio" / f"{BAD}.wav"
    good = wav.read_bytes()
    truncated(wav)
    commands = [
        ["kaldi_bridge", "features", data, "--out", tmp_path / "mfcc"],
        ["enhance", "mix", "--data", data, "--noise", noise, "--out", tmp_path / "mix"],
        ["enhance", "denoise", "--data", data, "--out", tmp_path / "den"],
    ]
    for command in commands:
        call(*command).refused(BAD)
    wav.write_bytes(good)
    for command in commands:
        ended = call(*command)
        assert ended.code == 0, ended
    assert len((data / "feats.scp").read_text().splitlines()) == 4
    for name in ("mix", "den"):
        assert sorted(path.stem for path in (tmp_path / name / "wav").iterdir()) == [
            "kid00-0", "kid00-1", "kid01-0", "kid01-1"
        ]  # fmt: skip


def test_a_tolerated_share_of_bad_recordings_is_listed_and_counted(tmp_path, call):
    data = write_corpus(tmp_path / "data", 10)
    truncated(data / "audio" / f"{BAD}.wav")
    ended = call("enhance", "denoise", "--data", data, "--out", tmp_path / "den")
    assert ended.code == 0, ended
    assert "19 recordings, 1 left out" in ended.text
    assert f"left out: {BAD}: " in ended.text
    assert list(json.loads((tmp_path / "den" / "denoise.json").read_text())["failed"]) == [BAD]
    assert BAD not in (tmp_path / "den" / "wav.scp").read_text()
    ended = call("kaldi_bridge", "features", data, "--out", tmp_path / "mfcc")
    assert ended.code == 0, ended
    assert "features of 19 utterances, 1 failed" in ended.text
    assert f"no features: {data}: utterance {BAD}: is truncated" in ended.text
    assert (tmp_path / "mfcc" / "failed_data").read_text().startswith(f"{BAD}: ")
    assert BAD not in (data / "feats.scp").read_text()


def test_no_share_is_large_enough_to_tolerate_that_all_recordings_are_bad(data, tmp_path, call):
    for wav in (data / "audio").iterdir():
        truncated(wav)
    ended = call("kaldi_bridge", "features", data, "--out", tmp_path / "mfcc", "--max-failed", 1)
    ended.refused("4 of 4 utterances have no features")
    ended = call("enhance", "denoise", "--data", data, "--out", tmp_path / "den", "--max-failed", 0.99)
    ended.refused("4 of 4 recordings failed", *(f"failed: kid0{n}-{k}" for n in (0, 1) for k in (0, 1)))
    assert not (data / "feats.scp").exists()
    no_traces(tmp_path, "den")


# ---- tables, sets, noise


def test_an_unsorted_utt2spk_is_named_with_its_line_by_every_room(data, noise, tmp_path, call):
    lines = (data / "utt2spk").read_text().splitlines()
    write_lines(data / "utt2spk", [lines[0], lines[2], lines[1], lines[3]])
    where = f"{data}/utt2spk:3: not sorted: kid00-1 comes after kid01-0"
    for command in (
        ["kaldi_bridge", "validate", data, "--no-feats"],
        ["kaldi_bridge", "features", data, "--out", tmp_path / "mfcc"],
        ["enhance", "mix", "--data", data, "--noise", noise, "--out", tmp_path / "mix"],
        ["enhance", "denoise", "--data", data, "--out", tmp_path / "den"],
        ["hmm", "gmm", "--data", data, "--lang", tmp_path / "lang", "--out", tmp_path / "exp"],
    ):
        call(*command).refused(where, "python -m kaldi_bridge fix")
    no_traces(tmp_path, "mfcc", "mix", "den", "exp/mono")
    assert call("kaldi_bridge", "fix", data).code == 0
    assert call("kaldi_bridge", "validate", data, "--no-feats").code == 0


def test_an_utterance_without_text_is_named_and_fix_leaves_it_out(data, tmp_path, call):
    write_lines(data / "text", [line for line in (data / "text").read_text().splitlines() if BAD not in line])
    where = f"{data}/text: lacks utterance {BAD} of utt2spk"
    call("kaldi_bridge", "validate", data, "--no-feats").refused(where)
    call("kaldi_bridge", "features", data, "--out", tmp_path / "mfcc").refused(where)
    call("enhance", "denoise", "--data", data, "--out", tmp_path / "den").refused(where)
    no_traces(tmp_path, "mfcc", "den")
    assert call("kaldi_bridge", "fix", data).code == 0
    assert BAD not in (data / "utt2spk").read_text()


def test_a_speaker_in_two_splits_is_refused_before_anything_is_trained(data, tmp_path, call):
    from am.dataset import FrameMeta, FrameSet

    other = write_corpus(tmp_path / "test", 1)
    call("kaldi_bridge", "check-speakers", data, other).refused(f"{other}/utt2spk: speaker kid00 is also in {data}")
    meta = FrameMeta(streams=("feats:3",), speaker_norm="mean_variance", num_pdfs=2, phones=("a", "b"))
    for name, speakers in (("train", ("kid00", "kid01")), ("dev", ("kid01", "kid02"))):
        frames = FrameSet(
            meta=meta, utterances=("one", "two"), speakers=speakers, lengths=np.array([4, 4]),
            features=np.zeros((8, 3), np.float32), pdfs=np.zeros(8, np.int16), phones=np.zeros(8, np.int16),
        )  # fmt: skip
        frames.save(tmp_path / f"{name}.npz")
    sets = ["--dataset", tmp_path / "train.npz", "--dev-dataset", tmp_path / "dev.npz"]
    call("am", "train", *sets, "--out", tmp_path / "model").refused(f"{tmp_path}/dev.npz", "first: kid01")
    no_traces(tmp_path, "model")


@pytest.mark.parametrize(
    ("kind", "said"),
    [("missing", "no such noise directory"), ("empty", "holds no audio files"), ("silent", "silent")],
)
def test_a_noise_directory_without_noise_is_named(kind, said, data, tmp_path, call):
    noise = tmp_path / "noise"
    if kind != "missing":
        noise.mkdir()
    if kind == "silent":
        soundfile.write(noise / "hush.wav", np.zeros(RATE), RATE)
    call("enhance", "mix", "--data", data, "--noise", noise, "--out", tmp_path / "mix").refused(str(noise), said)
    call("enhance", "train", "--data", data, "--noise", noise, "--out", tmp_path / "run").refused(str(noise), said)
    no_traces(tmp_path, "mix", "run")


@pytest.mark.parametrize("snr", ["loud", "", "nan", "5,,10"])
def test_an_snr_that_is_no_number_is_refused(snr, data, noise, tmp_path, call):
    call("enhance", "mix", "--data", data, "--noise", noise, "--out", tmp_path / "mix", "--snr", snr).refused("snr")
    no_traces(tmp_path, "mix")


# ---- words


@pytest.fixture
def dictionary(tmp_path, call) -> Path:
    write_lines(tmp_path / "lexicon.txt", ["ONE W AH1 N", "TWO T UW1"])
    assert call("hmm", "prepare-dict", tmp_path / "lexicon.txt", tmp_path / "dict").code == 0
    return tmp_path / "dict"


def test_a_word_without_pronunciation_is_named_with_its_line(dictionary, tmp_path, call):
    write_lines(tmp_path / "raw.txt", ["ONE W AH1 N", "TWO"])
    call("hmm", "prepare-dict", tmp_path / "raw.txt", tmp_path / "other").refused(f"{tmp_path}/raw.txt:2: word 'TWO'")
    with open(dictionary / "lexicon.txt", "a") as lexicon:
        lexicon.write("ZERO\n")
    call("hmm", "prepare-lang", dictionary, tmp_path / "lang").refused(f"{dictionary}/lexicon.txt:4: word 'ZERO'")
    no_traces(tmp_path, "other", "lang")


def test_words_outside_the_lexicon_are_counted_and_a_text_of_nothing_else_is_refused(dictionary, tmp_path, call):
    text = tmp_path / "text"
    write_lines(text, ["a ONE THREE", "b TWO THREE"])
    ended = call("hmm", "prepare-lang", dictionary, tmp_path / "lang", "--text", text)
    assert ended.code == 0, ended
    assert "1 words without pronunciation (2 of 4 tokens): THREE 2" in ended.text
    write_lines(text, ["a one two", "b two"])
    ended = call("hmm", "prepare-lang", dictionary, tmp_path / "lower", "--text", text)
    ended.refused(str(text), "2 words without pronunciation (3 of 3 tokens): two 2, one 1", "letter case")
    ended = call("hmm", "train-lm", text, tmp_path / "lower.arpa", "--lang", tmp_path / "lang")
    ended.refused("holds no word of the vocabulary")
    no_traces(tmp_path, "lower", "lower.arpa")


# ---- checkpoints


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """Files that are no usable model of either kind, and one of each kind that is."""
    import torch
    from safetensors.torch import save_file

    from am.models.hybrid import HybridConfig, HybridModel, model_state
    from am.models.ligru import LiGRUConfig
    from enhance.weights import BUILTIN, load_generator, save_generator
    from harness.checkpoint import load_checkpoint, save_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints")
    name, generator = load_generator("builtin")
    save_generator(folder / "enhance.pt", name, generator, {})
    model = HybridModel(HybridConfig(ligru=LiGRUConfig(layers=1, units=8)), 13, 5, 4)
    state = model_state(model, ["a", "b", "c", "d"], {"streams": ["feats:13"], "speaker_norm": "none"})
    save_checkpoint(folder / "am.pt", "am", state)
    save_checkpoint(folder / "other_am.pt", "am", state | {"num_pdfs": 9})
    narrow = load_checkpoint(folder / "enhance.pt", "enhance")
    narrow["config"] = {**narrow["config"], "channels": 8}
    save_checkpoint(folder / "other_enhance.pt", "enhance", narrow)
    save_checkpoint(folder / "last.pt", "enhance", {"model": {"w": torch.zeros(1)}, "step": 3})
    save_checkpoint(folder / "headless.pt", "enhance", {"model": name})
    (folder / "noise.pt").write_bytes(np.random.default_rng(0).bytes(2000))
    (folder / "cut.pt").write_bytes((folder / "am.pt").read_bytes()[:3000])
    (folder / "cut.safetensors").write_bytes(BUILTIN.read_bytes()[:5000])
    save_file({"w": torch.zeros(3)}, folder / "foreign.safetensors")
    torch.save(torch.nn.Linear(2, 2), folder / "pickle.pt")
    torch.save({"weights": torch.zeros(2)}, folder / "foreign.pt")
    return folder


BROKEN = [
    ("absent.pt", "no such checkpoint"),
    ("noise.pt", "it is cut off, or was never one"),
    ("cut.pt", "it is cut off, or was never one"),
    ("pickle.pt", "it holds more than tensors and plain data"),
    ("foreign.pt", "is not a Schoolyard checkpoint"),
]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *BROKEN,
        ("cut.safetensors", "cannot be read as exported weights"),
        ("foreign.safetensors", "is not the export of a generator"),
        ("am.pt", "holds a model of kind 'am', not 'enhance'"),
        ("other_enhance.pt", "weights of another model"),
        ("last.pt", "is the state of a training run"),
        ("headless.pt", "lacks config, weights"),
    ],
)
def test_denoise_refuses_a_checkpoint_that_is_damaged_or_of_another_model(
    name, said, checkpoints, data, tmp_path, call
):
    ended = call("enhance", "denoise", "--model", checkpoints / name, "--data", data, "--out", tmp_path / "den")
    ended.refused(str(checkpoints / name), said)
    assert "weights_only" not in ended.text, "torch's advice to trust the file must not reach the user"
    no_traces(tmp_path, "den", ".den.partial")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *BROKEN,
        ("enhance.pt", "holds a model of kind 'enhance', not 'am'"),
        ("other_am.pt", "weights of another model: 3 misshapen"),
    ],
)
def test_forward_refuses_a_checkpoint_that_is_damaged_or_of_another_model(
    name, said, checkpoints, data, tmp_path, call
):
    ended = call("am", "forward", "--model", checkpoints / name, "--data", data, "--out", tmp_path / "scores")
    ended.refused(str(checkpoints / name), said)
    no_traces(tmp_path, "scores")


def test_forward_refuses_features_the_model_was_not_trained_on(checkpoints, data, tmp_path, call):
    assert call("kaldi_bridge", "features", data, "--out", tmp_path / "mfcc", "--kind", "mfcc_hires").code == 0
    ended = call("am", "forward", "--model", checkpoints / "am.pt", "--data", data, "--out", tmp_path / "scores")
    ended.refused("takes 13 features a frame", "got 40")
    no_traces(tmp_path, "scores")


# ---- a full disk


def test_a_disk_that_fills_up_ends_every_verb_with_the_file_named(data, noise, dictionary, checkpoints, tmp_path, call):
    out = tmp_path / "out"
    out.mkdir()
    assert call("kaldi_bridge", "features", data, "--out", tmp_path / "mfcc").code == 0
    for room, verb, *words in (
        ("kaldi_bridge", "copy", data, out / "copy"),
        ("kaldi_bridge", "perturb-speed", 0.9, data, out / "slow"),
        ("enhance", "mix", "--data", data, "--noise", noise, "--out", out / "mix"),
        ("enhance", "denoise", "--data", data, "--out", out / "den"),
        ("enhance", "pack-clean", "--data", data, "--out", out / "pack"),
        ("am", "forward", "--model", checkpoints / "am.pt", "--data", data, "--out", out / "scores"),
        ("hmm", "prepare-lang", dictionary, out / "lang"),
    ):
        with largest_file(60):
            ended = call(room, verb, *words)
        ended.refused(str(out), "became larger than the limit on file sizes")
    assert [path.name for path in out.iterdir() if not path.name.endswith(".partial")] == []
    no_traces(tmp_path)


def test_features_that_find_the_disk_full_leave_the_old_ones_in_place(data, tmp_path, call):
    command = ["kaldi_bridge", "features", data, "--out", tmp_path / "mfcc"]
    assert call(*command).code == 0
    before = {path: path.read_bytes() for folder in (data, tmp_path / "mfcc") for path in folder.rglob("*.*")
              if path.is_file()}  # fmt: skip
    with largest_file(1000):
        call(*command).refused("raw_mfcc_data.1.ark: became larger than the limit on file sizes")
    assert {path: path.read_bytes() for path in before} == before
    assert call("kaldi_bridge", "validate", data).code == 0
    no_traces(tmp_path)


def test_no_space_left_is_said_in_these_words_and_the_same_command_works_later(data, tmp_path, call, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        ended = call("enhance", "denoise", "--data", data, "--out", tmp_path / "den")
    ended.refused("no space left on the disk", "free some space and run the same command again")
    no_traces(tmp_path, "den")
    assert call("enhance", "denoise", "--data", data, "--out", tmp_path / "den").code == 0
    no_traces(tmp_path, ".den.partial")


# ---- settings, missing inputs


@pytest.mark.parametrize(
    ("room", "words", "lines", "said"),
    [
        ("enhance", ["train", "--data", "D", "--noise", "D"], ["train:", "  warmpu: 3"], "did you mean 'warmup'"),
        ("am", ["train", "--data", "D", "--ali", "D"], ["train:", "  epcohs: 3"], "did you mean 'epochs'"),
        ("hmm", ["gmm", "--data", "D", "--lang", "D"], ["mono:", "  iteratons: 3"], "did you mean 'iterations'"),
        ("hmm", ["decode-gmm", "--data", "D", "--graph", "D", "--model", "D"], ["", "max_faild: 1"], "'max_failed'"),
        ("kaldi_bridge", ["features", "D"], ["--num-ceps=13", "--num-mel-bin=3"], "num-mel-bin"),
    ],
)
def test_a_typo_in_a_setting_is_named_with_file_and_line(room, words, lines, said, data, tmp_path, call):
    config = tmp_path / "mine.yaml"
    write_lines(config, lines)
    words = [str(data) if word == "D" else word for word in words]
    call(room, *words, "--config", config, "--out", tmp_path / "out").refused(f"{config}:2: ", said)
    no_traces(tmp_path, "out")
    assert not (data / "feats.scp").exists()


@pytest.mark.parametrize(
    ("room", "words", "said"),
    [
        ("kaldi_bridge", ["cmvn", "D"], "D/feats.scp: no such file"),
        ("kaldi_bridge", ["features", "X", "--out", "O"], "X: no such data directory"),
        ("enhance", ["denoise", "--data", "X", "--out", "O"], "X: no such data directory"),
        ("enhance", ["denoise", "--in", "X/a.wav", "--out", "O"], "X/a.wav: no such file"),
        ("enhance", ["score", "--reference", "D", "--estimate", "X", "--out", "O"], "X: no such data directory"),
        ("enhance", ["train", "--pack", "X", "--noise", "N", "--out", "O"], "X/index.tsv: no such file"),
        ("hmm", ["prepare-dict", "X", "O"], "X: cannot be read: No such file"),
        ("hmm", ["prepare-lang", "X", "O"], "X: is no directory"),
        ("hmm", ["gmm", "--data", "D", "--lang", "X", "--out", "O/exp"], "X/words.txt: cannot be read"),
        ("hmm", ["align", "--data", "D", "--lang", "X", "--model", "X", "--out", "O"], "X"),
        ("hmm", ["make-graph", "X", "X", "O"], "X"),
        ("hmm", ["decode", "--graph", "X", "--model", "X", "--loglikes", "X.scp", "--out", "O"], "X"),
        ("am", ["train", "--data", "D", "--ali", "X", "--out", "O"], "X/final.mdl: cannot be read"),
        ("am", ["train", "--dataset", "X", "--out", "O"], "X: no such packed data set"),
        ("am", ["score", "--decode", "X", "--data", "D", "--graph", "X", "--lm-weight", "9"], "X"),
        ("am", ["report", "--work", "X", "--out", "O"], "X/exp: holds no scored decoding"),
    ],
)
def test_a_stage_whose_input_is_missing_names_it(room, words, said, data, noise, tmp_path, call):
    places = {"D": data, "X": tmp_path / "nowhere", "O": tmp_path / "out", "N": noise}

    def placed(word: str) -> str:
        return str(places[word[0]]) + word[1:] if word[0] in places and not word[1:].isalnum() else word

    call(room, *map(placed, words)).refused(placed(said))
    no_traces(tmp_path, "out/exp/mono", "nowhere")
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").rglob("*.*")) == []


# ---- processes of their own


def in_its_own_process(*words: object, **environment: str) -> Ended:
    done = subprocess.run(
        [str(word) for word in words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        stdin=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout + done.stderr)


def test_a_bad_recording_met_in_a_pool_of_processes_ends_with_one_text(data, noise, tmp_path):
    truncated(data / "audio" / f"{BAD}.wav")
    words = ["--data", data, "--noise", noise, "--out", tmp_path / "mix", "--jobs", 2]
    ended = in_its_own_process(sys.executable, "-m", "enhance", "mix", *words)
    ended.refused(f"ERROR {data}: utterance {BAD}: is truncated")
    assert ended.code == 1
    no_traces(tmp_path, "mix")


def test_a_limited_process_ends_with_the_error_of_the_disk(data, tmp_path):
    command = f"ulimit -f 4; exec {sys.executable} -m kaldi_bridge features {data} --out {tmp_path}/mfcc --no-compress"
    ended = in_its_own_process("bash", "-c", command, PYTHONDONTWRITEBYTECODE="1")
    ended.refused(f"ERROR {tmp_path}/mfcc/raw_mfcc_data.1.ark: became larger")
    assert not (data / "feats.scp").exists()
    no_traces(tmp_path)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A virtual environment of the user's own, which is this Python."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    folder = Path(sys.executable).parent
    (tmp_path / "venv/bin/activate").write_text(f'PATH="{folder}:$PATH"\n')
    return {"SCHOOLYARD_VENV": str(tmp_path / "venv")}


def test_a_recipe_begun_in_the_middle_names_the_stage_that_writes_its_input(environment, tmp_path):
    work = tmp_path / "work"
    ended = in_its_own_process("./run.sh", "--recipe", "toy", "--stage", "5", "--work", work, **environment)
    ended.refused(f"{work}/data/train: is an input of this stage and does not exist", "stage 0 writes it: run with")
    assert "stage 5 (features and CMVN) cannot start" in ended.text
    assert [path for path in work.rglob("*") if path.is_file() and path.name not in (".lock", ".lock.json")] == []


def test_a_corpus_with_a_typo_in_its_settings_writes_nothing(environment, tmp_path):
    write_lines(tmp_path / "toy.yaml", ["seed: 3", "chidren: 4"])
    words = ["--corpus", "toy", "--out", tmp_path / "toy", "--config", tmp_path / "toy.yaml"]
    ended = in_its_own_process("./prepare_data.sh", *words, **environment)
    ended.refused(f"{tmp_path}/toy.yaml:2: unknown key 'chidren'; did you mean 'children'")
    no_traces(tmp_path, "toy")
