"""Training: batches, rates, best epoch, early stopping, resume after a kill, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from am.chunks import curriculum_frames, cut, plan_batches
from am.config import AcousticConfig, TrainConfig
from am.dataset import FrameMeta, FrameSet, hold_out, merge
from am.models.denormals import flushed_denormals
from am.models.hybrid import load_model
from am.models.ligru import LiGRUConfig
from am.train import linear_share, train_model
from harness.config import dump_config, load_config
from harness.errors import AlignmentError, TableError, TrainingError
from hmm.graph_note import GraphNote

ROOT = Path(__file__).resolve().parents[3]
PHONES = ("SIL", "A", "B")


def frame_set(
    utterances: int = 12, *, speakers: int = 4, dim: int = 5, pdfs: int = 6, seed: int = 0, group: str = "spk"
) -> FrameSet:
    """Utterances of 8 to 30 frames in runs of one pdf, each pdf with a mean of its own; phone = pdf modulo 3."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(size=(pdfs, dim)) * 2
    lengths = rng.integers(8, 31, utterances)
    targets = np.concatenate([np.repeat(rng.integers(pdfs, size=10), 3)[:n] for n in lengths])
    features = means[targets] + rng.normal(size=(len(targets), dim)) * 0.5
    return FrameSet(
        meta=FrameMeta(streams=(f"feats:{dim}",), speaker_norm="mean_variance", num_pdfs=pdfs, phones=PHONES),
        utterances=tuple(f"utt{i:03d}" for i in range(utterances)),
        speakers=tuple(f"{group}{i % speakers}" for i in range(utterances)),
        lengths=lengths.astype(np.int64),
        features=features.astype(np.float16),
        pdfs=targets.astype(np.int16),
        phones=(targets % 3).astype(np.int16),
    )


def config(**train: object) -> AcousticConfig:
    settings = {"epochs": 3, "optimizer": "adam", "rate": 0.01, "batch_size": 4, "start_frames": 0, **train}
    return AcousticConfig(ligru=LiGRUConfig(layers=1, units=12), train=TrainConfig(**settings))  # type: ignore[arg-type]


def run(out: Path, settings: AcousticConfig, train_set: FrameSet | None = None, **options: object):
    return train_model(settings, train_set or frame_set(), frame_set(6, seed=1), out, **options)  # type: ignore[arg-type]


# -- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_frames", [0, 3, 7, 10, 1000])
def test_cutting_keeps_every_frame_exactly_once(max_frames):
    lengths = np.array([23, 1, 10, 12, 13, 100])
    pieces = cut(np.cumsum(lengths) - lengths, lengths, max_frames)
    covered = np.concatenate([np.arange(s, s + n) for s, n in zip(pieces.starts, pieces.lengths, strict=True)])
    assert covered.tolist() == list(range(lengths.sum()))
    if max_frames:
        assert pieces.lengths.max() <= 1.25 * max_frames


def test_only_what_is_a_quarter_too_long_is_cut():
    pieces = cut(np.array([0, 12]), np.array([12, 13]), 10)
    assert pieces.lengths.tolist() == [12, 6, 7]


def test_curriculum_doubles_up_to_the_longest():
    assert [curriculum_frames(epoch, 100, 2.0, 1000) for epoch in range(6)] == [100, 200, 400, 800, 1000, 1000]
    assert curriculum_frames(0, 0, 2.0, 500) == 500


@pytest.mark.parametrize("last", [1000, 0])
def test_a_curriculum_of_many_epochs_neither_jumps_nor_overflows(last):
    assert [curriculum_frames(epoch, 100, 1.0, last) for epoch in (0, 63, 64, 500)] == [100] * 4
    assert [curriculum_frames(epoch, 100, 1.01, last) for epoch in (63, 64, 65)] == [187, 189, 190]
    assert curriculum_frames(60, 100, 1.0e6, last) == curriculum_frames(2000, 100, 2.0, last) == last


@pytest.mark.parametrize("batch_size", [1, 4, 5, 100])
def test_batches_hold_every_sequence_once_longest_first(batch_size):
    lengths = np.random.default_rng(0).integers(2, 60, 23)
    batches = plan_batches(lengths, batch_size, 0.1, np.random.default_rng(1))
    assert sorted(np.concatenate(batches).tolist()) == list(range(23))
    for batch in batches:
        assert (np.diff(lengths[batch]) <= 0).all()


def test_a_last_batch_of_one_frame_joins_the_one_before():
    batches = plan_batches(np.array([5, 4, 1]), 2, 0.0, None)
    assert [batch.tolist() for batch in batches] == [[0, 1, 2]]


def test_batches_differ_between_epochs_and_repeat_for_a_seed():
    lengths = np.random.default_rng(0).integers(2, 60, 40)
    first, again, other = (
        [batch.tolist() for batch in plan_batches(lengths, 4, 0.1, np.random.default_rng(seed))] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


# -- sets ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", ["float16", "uint8", "float32"])
def test_a_packed_set_comes_back_as_it_was_written(tmp_path, storage):
    frames = frame_set().stored_as(storage)
    frames.save(tmp_path / "a.npz")
    frames.save(tmp_path / "b.npz")
    again = FrameSet.load(tmp_path / "a.npz")
    assert again.fingerprint() == frames.fingerprint()
    assert (again.utterances, again.speakers, again.meta) == (frames.utterances, frames.speakers, frames.meta)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_eight_bit_storage_is_within_half_a_step():
    frames = frame_set(60)
    stored = frames.stored_as("uint8")
    assert stored.step is not None
    error = np.abs(stored.rows(0, stored.frames) - frames.rows(0, frames.frames))
    assert (error <= 0.5001 * stored.step + 1e-6).all()
    assert stored.step.max() < 12 * frames.rows(0, frames.frames).std(0).max() / 255 + 1e-6


def test_features_too_large_for_float16_are_refused_not_infinite():
    frames = replace(frame_set(1, dim=1), features=np.array([[1.0], [-1.0e6]], np.float32), lengths=np.array([2]))
    with pytest.raises(TableError, match="features: reach 1e\\+06, which is infinite in float16"):
        frames.stored_as("float16")
    assert np.allclose(frames.stored_as("uint8").rows(0, 2), [[1], [-1e6]], rtol=1e-5)


@pytest.mark.parametrize("storage", ["float16", "uint8"])
def test_mean_and_deviation_are_numpys_without_the_set_as_numbers(storage):
    features = np.random.default_rng(0).normal(3, 2, (300_000, 8)).astype(np.float16)
    frames = replace(frame_set(1, dim=8), features=features, lengths=np.array([300_000])).stored_as(storage)
    rows = frames.rows(0, frames.frames).astype(np.float64)
    tracemalloc.start()
    mean, deviation = frames.moments()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.allclose(mean, rows.mean(0), atol=1e-12)
    assert np.allclose(deviation, rows.std(0), atol=1e-12)
    assert peak < rows.nbytes / 2


@pytest.mark.parametrize("damage", [b"", b"not a zip", None])
def test_a_damaged_packed_set_is_named(tmp_path, damage):
    path = tmp_path / "a.npz"
    frame_set().save(path)
    path.write_bytes(path.read_bytes()[:-500] if damage is None else damage)
    with pytest.raises(TableError, match=r"a\.npz: is not a packed data set"):
        FrameSet.load(path)


def test_bytes_changed_anywhere_in_a_packed_set_are_never_a_traceback(tmp_path):
    path = tmp_path / "a.npz"
    frame_set(60, dim=20).save(path)
    whole, refused = path.read_bytes(), 0
    for place in range(0, len(whole) - 1, 61):
        path.write_bytes(whole[:place] + bytes(255 - byte for byte in whole[place : place + 2]) + whole[place + 2 :])
        try:
            FrameSet.load(path)
        except TableError:
            refused += 1
    assert refused > 0.9 * len(whole) // 61


def test_sets_of_several_conditions_are_joined():
    whole = merge([frame_set(5), frame_set(7, seed=3).stored_as("uint8")], ["clean", "noisy"])
    assert len(whole.utterances) == 12
    assert whole.frames == whole.lengths.sum() == len(whole.pdfs)
    assert np.array_equal(whole.features[: frame_set(5).frames], frame_set(5).features)


def test_sets_that_differ_in_their_pdfs_are_refused():
    other = replace(
        frame_set(), meta=FrameMeta(streams=("feats:5",), speaker_norm="mean_variance", num_pdfs=7, phones=PHONES)
    )
    with pytest.raises(AlignmentError, match="noisy: num_pdfs is 7, but 6 in clean"):
        merge([frame_set(), other], ["clean", "noisy"])


def test_held_out_speakers_are_whole_and_the_same_for_every_set():
    train, dev = hold_out(frame_set(12), 2)
    assert set(train.speakers) & set(dev.speakers) == set()
    assert len(train.utterances) + len(dev.utterances) == 12
    assert set(hold_out(frame_set(8, seed=5), 2)[1].speakers) == set(dev.speakers)
    with pytest.raises(AlignmentError, match="cannot hold 3 of 4 speakers out"):
        hold_out(frame_set(), 3)


def test_copies_of_a_held_out_speaker_are_held_out_too():
    copies = [frame_set(12, group=f"{prefix}spk-") for prefix in ("", "n1-", "sp0.9-n1-")]
    whole = merge([replace(one, utterances=tuple(f"{n}-{utt}" for utt in one.utterances))
                   for n, one in enumerate(copies)], ["clean", "noisy", "fast"])  # fmt: skip
    train, dev = hold_out(whole, 2)
    assert len(set(dev.speakers)) == 6
    assert {speaker[-1] for speaker in dev.speakers} & {speaker[-1] for speaker in train.speakers} == set()
    alone = hold_out(copies[0], 2)[1]
    assert set(alone.speakers) < set(dev.speakers)


# -- learning --------------------------------------------------------------------------------------------------------


def test_training_learns_and_writes_its_files(tmp_path):
    history = run(tmp_path, config(epochs=8))
    assert history[-1].dev_pdf_error < 0.4 * history[0].dev_pdf_error
    assert history[-1].dev_pdf_error < 15
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 9))
    model, state = load_model(tmp_path / "best.pt")
    assert state["metrics"]["dev_pdf_error"] == min(one.dev_pdf_error for one in history)
    assert torch.allclose(model.log_priors.exp().sum(), torch.tensor(1.0), atol=1e-5)
    assert (tmp_path / "config.yaml").is_file()


def test_inputs_are_normalised_by_the_training_set(tmp_path):
    run(tmp_path, config(epochs=1))
    model, _ = load_model(tmp_path / "best.pt")
    rows = frame_set().rows(0, frame_set().frames)
    assert np.allclose(model.input_mean.numpy(), rows.mean(0), atol=1e-4)
    assert np.allclose(1 / model.input_scale.numpy(), rows.std(0), rtol=1e-4)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path):
    run(tmp_path / "a", config())
    run(tmp_path / "b", config())
    run(tmp_path / "c", config(seed=5))
    assert (tmp_path / "a" / "best.pt").read_bytes() == (tmp_path / "b" / "best.pt").read_bytes()
    assert (tmp_path / "a" / "best.pt").read_bytes() != (tmp_path / "c" / "best.pt").read_bytes()


def test_linear_schedule_holds_then_falls_to_its_share():
    assert [linear_share(done, 0.5, 0.03) for done in (0, 0.5, 0.75, 1)] == pytest.approx([1, 1, 0.515, 0.03])


def test_warmup_raises_the_rate_step_by_step_to_the_full_one(tmp_path):
    history = run(tmp_path, config(epochs=5, schedule="newbob", newbob_factor=1.0, warmup=4.0, rate=0.01))
    assert [epoch.rate for epoch in history] == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01])


def test_linear_schedule_ends_near_its_final_rate(tmp_path):
    history = run(tmp_path, config(epochs=4, schedule="linear", rate=0.01))
    rates = [one.rate for one in history]
    assert rates[:2] == [0.01, 0.01]
    assert rates[2] > rates[3]
    assert 0.0003 < rates[3] < 0.003  # three batches an epoch: the last begins at 11/12 of the training


def test_newbob_halves_the_rate_after_an_epoch_that_did_not_help(tmp_path):
    history = run(tmp_path, config(epochs=7, newbob_threshold=0.3, patience=0))
    rate = 0.01
    for before, now, after in zip(history, history[1:], history[2:], strict=False):
        gain = (before.dev_pdf_error - now.dev_pdf_error) / now.dev_pdf_error
        rate = rate * 0.5 if gain < 0.3 else rate
        assert after.rate == pytest.approx(rate)
    assert rate < 0.01


def test_training_stops_early_and_keeps_the_best_epoch(tmp_path):
    history = run(tmp_path, config(epochs=60, patience=2, newbob_factor=0.01))
    best = min(history, key=lambda one: (one.dev_pdf_error, one.epoch))
    assert len(history) == best.epoch + 2 < 60
    assert load_model(tmp_path / "best.pt")[1]["metrics"]["epoch"] == best.epoch


def test_curriculum_trains_short_sequences_first(tmp_path):
    history = run(tmp_path, config(epochs=4, start_frames=5, max_frames=20))
    assert [one.max_frames for one in history] == [5, 10, 20, 20]


def test_a_loss_that_is_not_a_number_is_refused_with_the_mend(tmp_path):
    with pytest.raises(TrainingError, match=r"(?s)epoch \d+, batch \d+: loss is .*mend: lower train.rate"):
        run(tmp_path, config(rate=1e30, optimizer="rmsprop"))


def test_gradients_longer_than_the_limit_are_clipped_and_counted(tmp_path):
    assert run(tmp_path / "a", config(epochs=1, clip=1e-3))[0].clipped_steps == 3
    assert run(tmp_path / "b", config(epochs=1, clip=1e6))[0].clipped_steps == 0


def test_numbers_below_the_smallest_normal_float_are_zero_while_training():
    tiny = torch.tensor([1e-39])
    with flushed_denormals() as flushed:
        inside = (tiny * 0.5).item()
    if not flushed:
        pytest.skip("this CPU cannot flush denormals")
    assert inside == 0
    assert (tiny * 0.5).item() > 0


def test_forced_training_starts_from_nothing(tmp_path):
    run(tmp_path, config(epochs=2))
    history = run(tmp_path, config(epochs=1, seed=7), force=True)
    assert [one.epoch for one in history] == [1]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1


def test_forced_training_forgets_the_graph_of_the_one_before(tmp_path):
    run(tmp_path, config(epochs=1))
    GraphNote(graph=Path("graph"), model=Path("final.mdl")).write(tmp_path)
    run(tmp_path, config(epochs=1))
    assert GraphNote.read(tmp_path) is not None
    run(tmp_path, config(epochs=1), frame_set(13), force=True)
    assert GraphNote.read(tmp_path) is None


def test_a_set_without_targets_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="training set: has no targets"):
        run(tmp_path, config(), replace(frame_set(), pdfs=None))


# -- resume ----------------------------------------------------------------------------------------------------------


def test_a_finished_training_is_left_alone(tmp_path):
    run(tmp_path, config())
    before = (tmp_path / "last.pt").stat().st_mtime_ns
    assert len(run(tmp_path, config())) == 3
    assert (tmp_path / "last.pt").stat().st_mtime_ns == before


KILLED_WITHIN_AN_EPOCH = """
import os, runpy, signal
from am import train
real = train._Run._train_batches
def train_batches(run, number, sequences, batches):
    if number == {epochs}:
        real(run, number, sequences, batches[: len(batches) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return real(run, number, sequences, batches)
train._Run._train_batches = train_batches
runpy.run_module("am", run_name="__main__")
"""


@pytest.mark.parametrize(("schedule", "epochs"), [("newbob", 1), ("linear", 4)])
def test_training_killed_within_an_epoch_and_rerun_ends_with_the_same_bytes(tmp_path, schedule, epochs):
    settings = config(epochs=6, schedule=schedule, patience=0)
    frame_set(300).save(tmp_path / "train.npz")
    frame_set(20, seed=1, group="dev").save(tmp_path / "dev.npz")
    dump_config(settings, tmp_path / "config.yaml")
    train_model(settings, frame_set(300), frame_set(20, seed=1, group="dev"), tmp_path / "whole")
    words = ["train", "--dataset", tmp_path / "train.npz", "--dev-dataset", tmp_path / "dev.npz"]
    words += ["--config", tmp_path / "config.yaml", "--out", tmp_path / "killed"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def started(*program: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *program, *map(str, words)]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    killed = started("-c", KILLED_WITHIN_AN_EPOCH.format(epochs=epochs))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert _epochs_done(tmp_path / "killed") == epochs
    finished = started("-m", "am")
    assert finished.returncode == 0, finished.stderr
    assert "going on after epoch" in finished.stderr
    assert (tmp_path / "killed" / "best.pt").read_bytes() == (tmp_path / "whole" / "best.pt").read_bytes()
    last = [
        torch.load(tmp_path / name / "last.pt", weights_only=True)["state"]["weights"] for name in ("whole", "killed")
    ]
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])


def _epochs_done(out: Path) -> int:
    path = out / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.is_file() else 0


def test_resume_with_other_settings_or_data_is_refused(tmp_path):
    run(tmp_path, config())
    with pytest.raises(TrainingError, match=r"trained with another train\.rate"):
        run(tmp_path, config(rate=0.02))
    with pytest.raises(TrainingError, match="trained on other data"):
        run(tmp_path, config(), frame_set(13))
    assert len(run(tmp_path, config(rate=0.02), force=True)) == 3


def test_the_data_are_read_once_for_their_fingerprint_and_never_copied(tmp_path, monkeypatch):
    asked, real = [], FrameSet.fingerprint
    monkeypatch.setattr(FrameSet, "fingerprint", lambda frames: asked.append(1) or real(frames))
    run(tmp_path, config(epochs=4))
    assert len(asked) == 2, "once for each set"
    frames = replace(frame_set(1, dim=50), features=np.zeros((200_000, 50), np.float16), lengths=np.array([200_000]))
    tracemalloc.start()
    real(frames)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < frames.features.nbytes / 4


def test_a_training_that_lost_its_best_model_does_not_end_well(tmp_path):
    run(tmp_path, config())
    (tmp_path / "best.pt").unlink()
    with pytest.raises(TrainingError, match=r"best\.pt: is missing beside last\.pt"):
        run(tmp_path, config())


def test_a_newbob_training_may_be_given_more_epochs(tmp_path):
    run(tmp_path, config(epochs=2))
    assert len(run(tmp_path, config(epochs=3))) == 3
    assert load_config(AcousticConfig, tmp_path / "config.yaml").train.epochs == 3


def test_a_kill_after_the_last_checkpoint_loses_no_line_of_the_metrics(tmp_path):
    run(tmp_path, config())
    metrics = tmp_path / "metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    run(tmp_path, config())
    assert metrics.read_text() == whole


def test_train_verb_names_a_config_key_it_does_not_know(tmp_path):
    frame_set().save(tmp_path / "train.npz")
    command = [
        sys.executable,
        "-m",
        "am",
        "train",
        "--dataset",
        str(tmp_path / "train.npz"),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run([*command, "--set", "train.epoch=3"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "unknown key 'epoch'; did you mean 'epochs'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
