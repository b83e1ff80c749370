"""fMLLR against gmm-est-fmllr, finite differences and its own definition; lattice posteriors by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hmm.alignment_dir import GmmDir
from hmm.fmllr import FmllrConfig, FmllrStats, accumulate_fmllr, estimate_fmllr, fmllr_objective
from hmm.gmm import log_likelihoods
from hmm.lattice_posteriors import frame_posteriors, rescore
from hmm.speaker_features import SpeakerFeatures
from hmm.transforms import apply_transform
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.lattice_arrays import Lattice
from kaldi_bridge.lattices import read_lattices
from kaldi_bridge.models import AmDiagGmm
from kaldi_bridge.tables import read_matrix_ark


@pytest.fixture
def shifted() -> tuple[AmDiagGmm, np.ndarray, np.ndarray]:
    """A model, and frames of it seen through an affine distortion: (model, frames [2000, 4], pdfs)."""
    rng = np.random.default_rng(0)
    am = AmDiagGmm.from_parameters(
        np.array([0, 2, 3, 5]), np.array([0.5, 0.5, 1.0, 0.3, 0.7]), 3 * rng.normal(size=(5, 4)), np.ones((5, 4))
    )
    pdfs = rng.integers(0, 3, 2000)
    rows = am.offsets[pdfs]
    clean = am.means[rows] + rng.normal(size=(2000, 4))
    distortion = np.eye(4) + 0.1 * rng.normal(size=(4, 4))
    return am, (clean @ distortion.T + 0.5).astype(np.float32), pdfs


def test_the_transform_ends_where_the_objective_is_flat(shifted):
    am, feats, pdfs = shifted
    stats = accumulate_fmllr(am, feats, pdfs, np.ones(len(feats)))
    transform, gain = estimate_fmllr(stats, FmllrConfig(sweeps=100))
    expected = fmllr_objective(transform, stats) - fmllr_objective(np.eye(4, 5), stats)
    assert gain == pytest.approx(expected / 2000)
    for i in range(4):
        for j in range(5):
            step = np.zeros((4, 5))
            step[i, j] = 1e-4
            slope = (fmllr_objective(transform + step, stats) - fmllr_objective(transform - step, stats)) / 2e-4
            assert abs(slope) / 2000 < 1e-3


def test_adapted_frames_fit_the_model_better_by_the_gain(shifted):
    am, feats, pdfs = shifted
    transform, gain = estimate_fmllr(accumulate_fmllr(am, feats, pdfs, np.ones(len(feats))))
    frames = np.arange(len(feats))
    before = log_likelihoods(am, feats)[frames, pdfs].mean()
    after = log_likelihoods(am, apply_transform(feats, transform))[frames, pdfs].mean()
    after += np.linalg.slogdet(transform[:, :4])[1]  # a stretched space spreads its densities
    assert after - before >= gain - 1e-3  # the auxiliary function is a lower bound
    assert gain > 0.1


def test_too_few_frames_leave_the_unit_transform(shifted):
    am, feats, pdfs = shifted
    stats = accumulate_fmllr(am, feats[:100], pdfs[:100], np.ones(100))
    transform, gain = estimate_fmllr(stats, FmllrConfig(min_frames=500))
    np.testing.assert_array_equal(transform, np.eye(4, 5))
    assert gain == 0.0
    assert np.array_equal(estimate_fmllr(FmllrStats.zeros(4))[0], np.eye(4, 5))


def test_weights_count_frames_and_parts_add_up(shifted):
    am, feats, pdfs = shifted
    weights = np.random.default_rng(1).uniform(0, 1, len(feats)) * (np.arange(len(feats)) % 3 > 0)
    whole = accumulate_fmllr(am, feats, pdfs, weights)
    total = FmllrStats.zeros(4)
    for part in np.array_split(np.arange(len(feats)), 4):
        total += accumulate_fmllr(am, feats[part], pdfs[part], weights[part])
    assert whole.beta == pytest.approx(weights.sum()) == pytest.approx(total.beta)
    np.testing.assert_allclose(total.G, whole.G, rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(total.K, whole.K, rtol=1e-5, atol=1e-3)


@pytest.mark.kaldi
def test_transforms_are_those_of_gmm_est_fmllr(golden_dir, golden_data, kaldi, tmp_path):
    exp, data = golden_dir / "exp/tri2b", golden_data("train")
    silence = (golden_dir / "data/lang/phones/silence.csl").read_text().strip()
    cmvn = f"apply-cmvn --utt2spk=ark:{data}/utt2spk scp:{data}/cmvn.scp scp:{data}/feats.scp ark:-"
    feats_in = f"ark:{cmvn} | splice-feats ark:- ark:- | transform-feats {exp}/final.mat ark:- ark:- |"
    kaldi(shell=f'ali-to-post "ark:gunzip -c {exp}/ali.1.gz|" ark:- | weight-silence-post 0.0 {silence} '
                f"{exp}/final.mdl ark:- ark:- | gmm-est-fmllr --spk2utt=ark:{data}/spk2utt {exp}/final.mdl "
                f'"{feats_in}" ark:- ark:{tmp_path}/trans')  # fmt: skip
    system = GmmDir.read(exp)
    feats, ali = SpeakerFeatures.read(DataDir.read(data), system.recipe), system.alignments()
    silent = np.isin(system.tm.id2phone, [int(phone) for phone in silence.split(":")])
    for speaker, theirs in read_matrix_ark(tmp_path / "trans"):
        utts = feats.speakers()[speaker]
        ids = np.concatenate([ali[utt] for utt in utts])
        frames = np.concatenate([feats.of(utt) for utt in utts])
        stats = accumulate_fmllr(system.am, frames, system.tm.id2pdf[ids], np.where(silent[ids], 0.0, 1.0))
        ours, _ = estimate_fmllr(stats)
        gap = fmllr_objective(ours, stats) - fmllr_objective(theirs.astype(np.float64), stats)
        assert abs(gap) / stats.beta < 1e-3
        assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-3


def _lattice() -> Lattice:
    """Two words of two frames each that start together: 0 -1-> 1 -2-> 3 and 0 -3-> 2 -4-> 3."""
    return Lattice(
        source=np.array([0, 0, 1, 2], np.int32), target=np.array([1, 2, 3, 3], np.int32),
        transition_id=np.array([1, 3, 2, 4], np.int32), word=np.array([7, 8, 0, 0], np.int32),
        graph_cost=np.array([1.0, 2.0, 0.0, 0.0], np.float32),
        acoustic_cost=np.array([12.0, 6.0, 0.0, 0.0], np.float32),
        final_graph=np.array([np.inf, np.inf, np.inf, 0.5], np.float32),
        final_acoustic=np.array([np.inf, np.inf, np.inf, 0.0], np.float32),
    )  # fmt: skip


def test_posteriors_of_a_lattice_by_hand():
    found = frame_posteriors(_lattice(), acoustic_scale=0.5)
    # costs 1 + 6 + 0.5 and 2 + 3 + 0.5
    likely = 1 / (1 + np.exp(-2.0))
    assert found.frames.tolist() == [0, 0, 1, 1]
    by_id = dict(zip(found.transition_ids.tolist(), found.weights.tolist(), strict=True))
    assert by_id == pytest.approx({1: 1 - likely, 2: 1 - likely, 3: likely, 4: likely})


@pytest.mark.kaldi
def test_transforms_from_lattices_are_those_of_kaldis_first_pass(golden_dir, golden_data, kaldi, tmp_path):
    exp, data = golden_dir / "exp/tri3b", golden_data("test")
    silence = (golden_dir / "data/lang/phones/silence.csl").read_text().strip()
    cmvn = f"apply-cmvn --utt2spk=ark:{data}/utt2spk scp:{data}/cmvn.scp scp:{data}/feats.scp ark:-"
    feats_in = f"ark:{cmvn} | splice-feats ark:- ark:- | transform-feats {exp}/final.mat ark:- ark:- |"
    kaldi(shell=f"gmm-latgen-faster --max-active=2000 --beam=10 --lattice-beam=6 --acoustic-scale=0.083333 "
                f'{exp}/final.alimdl {exp}/graph/HCLG.fst "{feats_in}" "ark:|gzip -c > {tmp_path}/lat.1.gz" && '
                f'gunzip -c {tmp_path}/lat.1.gz | lattice-to-post --acoustic-scale=0.083333 ark:- ark:- | '
                f"weight-silence-post 0.01 {silence} {exp}/final.alimdl ark:- ark:- | "
                f'gmm-post-to-gpost {exp}/final.alimdl "{feats_in}" ark:- ark:- | gmm-est-fmllr-gpost '
                f'--spk2utt=ark:{data}/spk2utt {exp}/final.mdl "{feats_in}" ark:- ark:{tmp_path}/trans')  # fmt: skip
    system = GmmDir.read(exp)
    feats = SpeakerFeatures.read(DataDir.read(data), system.recipe)
    silent = np.isin(system.tm.id2phone, [int(phone) for phone in silence.split(":")])
    stats = FmllrStats.zeros(system.am.dim)
    for utt, lattice in read_lattices(tmp_path / "lat.1.gz"):
        found = frame_posteriors(lattice, acoustic_scale=0.083333)
        weights = found.weights * np.where(silent[found.transition_ids], 0.01, 1.0)
        pdfs = system.tm.id2pdf[found.transition_ids]
        stats += accumulate_fmllr(
            system.am, feats.of(utt)[found.frames], pdfs, weights, posterior_model=system.alimdl
        )  # fmt: skip
    ours, _ = estimate_fmllr(stats)
    (_, theirs), *others = read_matrix_ark(tmp_path / "trans")
    assert others == []  # one test speaker
    assert np.linalg.norm(ours - theirs) / np.linalg.norm(theirs) < 1e-3


def test_rescored_costs_come_from_the_frame_of_each_arc():
    loglikes = np.array([[-1.0, -2.0], [-3.0, -4.0]], np.float32)
    changed = rescore(_lattice(), loglikes, np.array([0, 0, 1, 1, 0], np.int32))
    assert changed.acoustic_cost.tolist() == [1.0, 2.0, 4.0, 3.0]
    assert changed.graph_cost.tolist() == _lattice().graph_cost.tolist()
