"""LDA, MLLT and composition, against Kaldi's programs, definitions and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import TrainingError
from hmm.alignment_dir import GmmDir
from hmm.speaker_features import SpeakerFeatures
from hmm.transforms import (
    LdaStats,
    MlltStats,
    accumulate_mllt,
    apply_transform,
    compose,
    estimate_lda,
    estimate_mllt,
)
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.models import AmDiagGmm
from kaldi_bridge.tables import read_matrix


def _classes(rng, frames=6000, dim=8, classes=5):
    centres = rng.normal(size=(classes, dim)) * 2
    labels = rng.integers(0, classes, frames)
    mixing = rng.normal(size=(dim, dim))
    return (centres[labels] + rng.normal(size=(frames, dim)) @ mixing.T).astype(np.float32), labels


def test_lda_whitens_within_classes_and_orders_between_them():
    feats, labels = _classes(np.random.default_rng(0))
    stats = LdaStats.zeros(5, 8)
    stats.add(feats[:2500], labels[:2500])
    stats.add(feats[2500:], labels[2500:])
    matrix, full = estimate_lda(stats, 4)
    np.testing.assert_allclose(matrix, full[:4])
    turned = feats @ full.T
    within = sum(np.cov(turned[labels == k].T, bias=True) * (labels == k).mean() for k in range(5))
    np.testing.assert_allclose(within, np.eye(8), atol=2e-3)
    between = np.cov(np.stack([turned[labels == k].mean(axis=0) for k in range(5)])[labels].T, bias=True)
    np.testing.assert_allclose(between, np.diag(np.diag(between)), atol=5e-3)
    assert np.all(np.diff(np.diag(between)) < 1e-3)


def test_lda_with_too_few_frames_is_refused():
    with pytest.raises(TrainingError, match="3 frames of dimension 8 cannot give 4"):
        stats = LdaStats.zeros(2, 8)
        stats.add(np.eye(3, 8, dtype=np.float32), np.array([0, 1, 1]))
        estimate_lda(stats, 4)


def _mllt_material() -> tuple[AmDiagGmm, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    feats, pdfs = _classes(rng, dim=4, classes=3)
    means = np.stack([feats[pdfs == k].mean(axis=0) + shift for k in range(3) for shift in (-0.5, 0.5)])
    variances = np.stack([feats[pdfs == k].var(axis=0) for k in range(3) for _ in range(2)])
    return AmDiagGmm.from_parameters(np.array([0, 2, 4, 6]), np.full(6, 0.5), means, variances), feats, pdfs


def test_mllt_ends_where_its_objective_is_flat():
    am, feats, pdfs = _mllt_material()
    stats = accumulate_mllt(am, feats, pdfs)
    matrix, gain = estimate_mllt(stats)

    def objective(candidate):
        quadratic = sum(candidate[i] @ stats.G[i] @ candidate[i] for i in range(4))
        return stats.frames * np.linalg.slogdet(candidate)[1] - 0.5 * quadratic

    assert gain == pytest.approx((objective(matrix) - objective(np.eye(4))) / stats.frames)
    assert gain > 0
    for i in range(4):
        for j in range(4):
            step = np.zeros((4, 4))
            step[i, j] = 1e-4
            slope = (objective(matrix + step) - objective(matrix - step)) / 2e-4 / stats.frames
            assert abs(slope) < 1e-3


def test_mllt_statistics_of_parts_add_up():
    am, feats, pdfs = _mllt_material()
    whole = accumulate_mllt(am, feats, pdfs)
    total = MlltStats(np.zeros((4, 4, 4)))
    for part in np.array_split(np.arange(len(feats)), 3):
        total += accumulate_mllt(am, feats[part], pdfs[part])
    np.testing.assert_allclose(total.G, whole.G, rtol=1e-4, atol=1e-2)
    assert total.frames == whole.frames == len(feats)


def test_composed_transforms_act_one_after_the_other():
    rng = np.random.default_rng(4)
    feats = rng.normal(size=(10, 6)).astype(np.float32)
    first, second = rng.normal(size=(3, 6)), rng.normal(size=(3, 4))
    affine, linear = rng.normal(size=(3, 4)), rng.normal(size=(3, 3))
    for before, after in ((first, second), (first, linear)):
        both = apply_transform(apply_transform(feats, before), after)
        np.testing.assert_allclose(apply_transform(feats, compose(after, before)), both, rtol=1e-4, atol=1e-5)
    low = feats[:, :3]
    for after in (second, linear):
        both = apply_transform(apply_transform(low, affine), after)
        np.testing.assert_allclose(apply_transform(low, compose(after, affine)), both, rtol=1e-4, atol=1e-5)


def test_a_matrix_of_another_width_is_refused():
    with pytest.raises(TrainingError, match="a matrix of 7 columns for features of dimension 3"):
        apply_transform(np.zeros((2, 3), np.float32), np.zeros((3, 7)))


@pytest.mark.kaldi
def test_lda_is_that_of_est_lda(golden_dir, golden_data, kaldi, tmp_path):
    exp, data = golden_dir / "exp/tri1", golden_data("train")
    cmvn = f"apply-cmvn --utt2spk=ark:{data}/utt2spk scp:{data}/cmvn.scp scp:{data}/feats.scp ark:-"
    silence = (golden_dir / "data/lang/phones/silence.csl").read_text().strip()
    kaldi(shell=f'ali-to-post "ark:gunzip -c {exp}/ali.1.gz|" ark:- | weight-silence-post 0.0 {silence} '
                f'{exp}/final.mdl ark:- ark:- | acc-lda --rand-prune=0 {exp}/final.mdl "ark:{cmvn} | splice-feats '
                f'ark:- ark:- |" ark:- {tmp_path}/acc && est-lda --dim=40 {tmp_path}/mat {tmp_path}/acc')  # fmt: skip
    system = GmmDir.read(exp)
    feats = SpeakerFeatures.read(DataDir.read(data), system.recipe)
    stats = LdaStats.zeros(system.tm.num_pdfs, 117)
    phones = [int(phone) for phone in silence.split(":")]
    for utt, ids in system.alignments().items():
        speech = ~np.isin(system.tm.id2phone[ids], phones)
        stats.add(feats.spliced(utt)[speech], system.tm.id2pdf[ids][speech])
    ours, _ = estimate_lda(stats, 40)
    theirs = read_matrix(tmp_path / "mat")
    signs = np.sign((ours * theirs).sum(axis=1))  # the sign of a row means nothing
    distance = np.linalg.norm(ours * signs[:, None] - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    assert np.median(distance) < 1e-3
    assert distance[:20].max() < 1e-2  # the last rows have nearly equal eigenvalues


@pytest.mark.kaldi
def test_mllt_is_that_of_est_mllt(golden_dir, golden_data, kaldi, tmp_path):
    exp, data = golden_dir / "exp/tri2b", golden_data("train")
    silence = (golden_dir / "data/lang/phones/silence.csl").read_text().strip()
    cmvn = f"apply-cmvn --utt2spk=ark:{data}/utt2spk scp:{data}/cmvn.scp scp:{data}/feats.scp ark:-"
    feats_in = f"ark:{cmvn} | splice-feats ark:- ark:- | transform-feats {exp}/final.mat ark:- ark:- |"
    kaldi(shell=f'ali-to-post "ark:gunzip -c {exp}/ali.1.gz|" ark:- | weight-silence-post 0.0 {silence} '
                f'{exp}/final.mdl ark:- ark:- | gmm-acc-mllt --rand-prune=0 {exp}/final.mdl "{feats_in}" ark:- '
                f"{tmp_path}/acc && est-mllt {tmp_path}/mat {tmp_path}/acc")  # fmt: skip
    system = GmmDir.read(exp)
    feats = SpeakerFeatures.read(DataDir.read(data), system.recipe)
    phones = [int(phone) for phone in silence.split(":")]
    ali = system.alignments()
    frames, ids = np.concatenate([feats.of(utt) for utt in ali]), np.concatenate(list(ali.values()))
    speech = ~np.isin(system.tm.id2phone[ids], phones)
    ours, _ = estimate_mllt(accumulate_mllt(system.am, frames[speech], system.tm.id2pdf[ids][speech]))
    theirs = read_matrix(tmp_path / "mat")
    np.testing.assert_allclose(ours, theirs, atol=5e-3)
