"""Likelihood arks: the model's numbers in Kaldi's tables, and a real Kaldi that decodes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from am import forward
from am.config import AcousticConfig, TrainConfig
from am.dataset import FrameSet
from am.forward import forward_to_ark, forward_utterances
from am.inputs import InputConfig, Source, read_frames
from am.models.hybrid import load_model
from am.models.ligru import LiGRUConfig
from am.models.packing import Packing
from am.train import train_model
from harness.errors import CheckpointError, DiskError, ModelError
from kaldi_bridge.tables import read_matrix_scp

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def sets(golden_dir) -> tuple[FrameSet, FrameSet]:
    """Training and test set of the golden corpus on a real Kaldi's fMLLR features."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(golden_dir)
        ali, lang = golden_dir / "exp/tri3b_ali", golden_dir / "data/lang"
        train = read_frames(Source(data=golden_dir / "data/train", ali=ali, fmllr=ali, lang=lang), InputConfig())
        decoded = golden_dir / "exp/tri3b/decode_test"
        test = read_frames(Source(data=golden_dir / "data/test", fmllr=decoded), InputConfig(), storage="float32")
    return train, test


@pytest.fixture(scope="module")
def checkpoint(sets, tmp_path_factory) -> Path:
    """A small Li-GRU trained on the golden corpus."""
    settings = TrainConfig(epochs=6, optimizer="adam", rate=0.005, schedule="linear", start_frames=0, patience=0)
    config = AcousticConfig(ligru=LiGRUConfig(layers=1, units=48), train=settings)
    out = tmp_path_factory.mktemp("am")
    train_model(config, sets[0], sets[0], out)
    return out / "best.pt"


def test_arks_hold_the_models_log_likelihoods_of_each_whole_utterance(sets, checkpoint, tmp_path):
    count = forward_to_ark(checkpoint, sets[1], tmp_path / "out", jobs=2)
    table = read_matrix_scp(tmp_path / "out/loglikes.scp")
    assert count == len(table) == 15
    assert list(table) == list(sets[1].utterances)
    model, _ = load_model(checkpoint)
    for utterance, start, length in zip(sets[1].utterances, sets[1].starts, sets[1].lengths, strict=True):
        rows = torch.from_numpy(sets[1].rows(start, start + length))
        with torch.no_grad():
            alone = model.log_likelihoods(rows, Packing.of([length]))
        assert np.allclose(table[utterance], alone.numpy(), atol=1e-4)


def test_each_job_has_its_own_ark_and_index_in_order(sets, checkpoint, tmp_path):
    forward_to_ark(checkpoint, sets[1], tmp_path / "out", jobs=2)
    halves = [list(read_matrix_scp(tmp_path / f"out/loglikes.{number}.scp")) for number in (1, 2)]
    assert halves[0] + halves[1] == list(sets[1].utterances)
    assert str(tmp_path / "out/loglikes.2.ark") in (tmp_path / "out/loglikes.2.scp").read_text()


def test_a_long_set_is_computed_piece_by_piece(sets, checkpoint, tmp_path, monkeypatch):
    forward_to_ark(checkpoint, sets[1], tmp_path / "whole")
    waiting, real = [], forward.forward_utterances
    monkeypatch.setattr(forward, "PIECE_FRAMES", 200)
    monkeypatch.setattr(
        forward,
        "forward_utterances",
        lambda model, some, **how: waiting.append(some.frames) or real(model, some, **how),
    )
    forward_to_ark(checkpoint, sets[1], tmp_path / "pieces")
    assert sum(waiting) == sets[1].frames > 3 * max(waiting)
    assert max(waiting) < 200 + sets[1].lengths.max()
    whole, pieces = (read_matrix_scp(tmp_path / name / "loglikes.scp") for name in ("whole", "pieces"))
    assert list(pieces) == list(whole)
    assert all(np.allclose(pieces[key], whole[key], atol=1e-4) for key in whole)


def test_posteriors_sum_to_one_and_differ_from_likelihoods_by_the_priors(sets, checkpoint):
    model, _ = load_model(checkpoint)
    posteriors = dict(forward_utterances(model, sets[1], output="posteriors"))
    likelihoods = dict(forward_utterances(model, sets[1]))
    assert np.exp(posteriors[0]).sum(1) == pytest.approx(np.ones(len(posteriors[0])), abs=1e-4)
    assert np.allclose(likelihoods[0] + model.log_priors.numpy(), posteriors[0], atol=1e-5)


def test_features_of_another_width_are_refused(checkpoint, golden_dir, monkeypatch):
    monkeypatch.chdir(golden_dir)
    plain = read_frames(Source(data=golden_dir / "data/test"), InputConfig())
    with pytest.raises(ModelError, match=r"takes 40 features a frame \(fmllr:40\), got 13"):
        forward_to_ark(checkpoint, plain, Path("nowhere"))


def test_features_normalised_in_another_way_are_refused(checkpoint, golden_dir, monkeypatch):
    monkeypatch.chdir(golden_dir)
    source = Source(data=golden_dir / "data/test", fmllr=golden_dir / "exp/tri3b/decode_test")
    with pytest.raises(ModelError, match="trained with speaker normalisation mean_variance, got none"):
        forward_to_ark(checkpoint, read_frames(source, InputConfig(speaker_norm="none")), Path("nowhere"))


def test_a_missing_checkpoint_and_an_existing_output_are_errors(sets, checkpoint, tmp_path):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        forward_to_ark(tmp_path / "none.pt", sets[1], tmp_path / "out")
    forward_to_ark(checkpoint, sets[1], tmp_path / "out")
    with pytest.raises(DiskError, match="already exists"):
        forward_to_ark(checkpoint, sets[1], tmp_path / "out")
    assert forward_to_ark(checkpoint, sets[1], tmp_path / "out", force=True) == 15


def test_the_verbs_pack_train_and_forward_on_kaldi_directories(golden_dir, tmp_path):
    ali = golden_dir / "exp/tri3b_ali"
    verbs = [
        ["pack", "--data", "data/train", "--ali", ali, "--fmllr", ali, "--lang", "data/lang",
         "--out", tmp_path / "a.npz"],
        ["train", "--dataset", tmp_path / "a.npz", "--out", tmp_path / "m", "--set", "train.dev_speakers=1",
         "--set", "train.epochs=1", "--set", "ligru.layers=1", "--set", "ligru.units=8"],
        ["forward", "--model", tmp_path / "m/best.pt", "--data", "data/test", "--out", tmp_path / "out",
         "--fmllr", "exp/tri3b/decode_test"],
    ]  # fmt: skip
    for verb in verbs:
        done = run_am(verb, golden_dir)
        assert done.returncode == 0, done.stderr
    assert len(read_matrix_scp(tmp_path / "out/loglikes.scp")) == 15


def test_the_forward_verb_refuses_a_checkpoint_of_something_else(golden_dir, tmp_path):
    (tmp_path / "best.pt").write_bytes(b"not a checkpoint")
    done = run_am(
        ["forward", "--model", tmp_path / "best.pt", "--data", "data/test", "--out", tmp_path / "out"], golden_dir
    )
    assert done.returncode == 1
    assert "best.pt: cannot be read as a checkpoint" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def run_am(arguments: list[object], folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "am", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.kaldi
def test_a_real_kaldi_decodes_our_likelihoods_to_the_words_that_were_said(
    sets, checkpoint, golden_dir, kaldi_root, tmp_path
):
    """latgen-faster-mapped on the training speakers, whom even this small model knows."""
    with_loglikes = FrameSet(**{**vars(sets[0]), "pdfs": None, "phones": None})
    forward_to_ark(checkpoint, with_loglikes, tmp_path / "out")
    graph, model = golden_dir / "exp/tri3b/graph", golden_dir / "exp/tri3b/final.mdl"
    command = f"""set -eo pipefail; . {kaldi_root}/path.sh
        latgen-faster-mapped --beam=13 --lattice-beam=6 --acoustic-scale=0.2 --word-symbol-table={graph}/words.txt \\
          {model} {graph}/HCLG.fst scp:{tmp_path}/out/loglikes.scp ark:{tmp_path}/lat
        lattice-best-path --acoustic-scale=0.2 ark:{tmp_path}/lat ark,t:{tmp_path}/hyp
        int2sym.pl -f 2- {graph}/words.txt {tmp_path}/hyp > {tmp_path}/text || \\
          {kaldi_root}/egs/wsj/s5/utils/int2sym.pl -f 2- {graph}/words.txt {tmp_path}/hyp > {tmp_path}/text"""
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = dict(line.split(maxsplit=1) for line in (golden_dir / "data/train/text").read_text().splitlines())
    heard = {line.split()[0]: line.split()[1:] for line in (tmp_path / "text").read_text().splitlines()}
    assert len(heard) == 45
    right = sum(heard[utterance] == words.split() for utterance, words in said.items())
    assert right >= 36
