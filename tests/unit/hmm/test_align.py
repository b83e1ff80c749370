"""Forced alignment against the golden alignments of a real Kaldi; equal alignment; failures."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from harness.errors import AlignmentError
from hmm.align import AlignConfig, Aligner, align_set, check_failures, equal_alignment, map_threads
from hmm.align_data import copy_alignments
from hmm.alignment_dir import GmmDir, read_alignments
from hmm.phone_windows import convert_alignments, phone_starts, phones_of
from hmm.speaker_features import SpeakerFeatures
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.fsts import FstArrays, read_fst_archive


def _material(golden_dir, golden_data, name, graphs):
    system = GmmDir.read(golden_dir / "exp" / name)
    feats = SpeakerFeatures.read(DataDir.read(golden_data("train")), system.recipe, system.transforms())
    return system, feats, dict(read_fst_archive(golden_dir / "exp" / graphs / "fsts.1.gz"))


@pytest.mark.parametrize(("name", "graphs"), [("mono_ali", "mono"), ("tri3b_ali", "tri3b_ali")])
def test_alignments_equal_those_of_kaldi_to_the_last_frame(golden_dir, golden_data, name, graphs):
    system, feats, fsts = _material(golden_dir, golden_data, name, graphs)
    result = align_set(Aligner(system.tm, system.am, AlignConfig()), feats.utterances, fsts.get, feats.of)
    expected = system.alignments()
    assert list(result.of) == list(expected)
    assert result.failed == {}
    same = sum(int((result.of[utt] == ids).sum()) for utt, ids in expected.items())
    assert same == sum(map(len, expected.values())) == 9835


def test_threads_do_not_change_the_result(golden_dir, golden_data):
    system, feats, fsts = _material(golden_dir, golden_data, "mono_ali", "mono")
    aligner = Aligner(system.tm, system.am, AlignConfig())
    one, three = (align_set(aligner, feats.utterances[:9], fsts.get, feats.of, jobs=jobs) for jobs in (1, 3))
    assert one.log_likelihood == three.log_likelihood
    assert all(np.array_equal(one.of[utt], three.of[utt]) for utt in one.of)


def test_threads_run_few_results_ahead_of_what_is_taken():
    done = []
    results = map_threads(lambda n: done.append(n) or n * n, range(200), 2)
    for taken, result in enumerate(results):
        assert result == taken * taken
        assert len(done) <= taken + 1 + 4 * 2
        time.sleep(0.001)  # the statistics of a block are large, and summing them takes its time
    assert sorted(done) == list(range(200))


def test_a_failing_item_stops_the_threads():
    done = []

    def work(n: int) -> None:
        done.append(n)
        if n == 3:
            raise ValueError("item 3")

    with pytest.raises(ValueError, match="item 3"):
        list(map_threads(work, range(1000), 2))
    assert len(done) < 20


def test_a_narrow_beam_is_mended_by_the_retry_beam(golden_dir, golden_data):
    system, feats, fsts = _material(golden_dir, golden_data, "mono_ali", "mono")
    narrow = AlignConfig(beam=0.01, min_active=0)
    utts = feats.utterances[:9]
    result = align_set(Aligner(system.tm, system.am, narrow), utts, fsts.get, feats.of)
    assert result.retried > 0
    assert all(np.array_equal(result.of[utt], system.alignments()[utt]) for utt in utts)


def test_an_utterance_too_short_for_its_words_fails_by_name(golden_dir, golden_data):
    system, feats, fsts = _material(golden_dir, golden_data, "mono_ali", "mono")
    utt = feats.utterances[0]
    result = align_set(Aligner(system.tm, system.am, AlignConfig()), [utt], fsts.get, lambda u: feats.of(u)[:3])
    assert "no path of 3 frames within the retry beam of 40" in result.failed[utt]
    with pytest.raises(AlignmentError, match=rf"1 of 1 utterances have no alignment \({utt}: no path"):
        check_failures("exp/ali", result, 0.05)


def test_features_that_are_not_finite_and_missing_graphs_are_told_apart(golden_dir, golden_data):
    system, feats, fsts = _material(golden_dir, golden_data, "mono_ali", "mono")
    aligner, utt = Aligner(system.tm, system.am, AlignConfig()), feats.utterances[0]
    bad = feats.of(utt).copy()
    bad[2, 3] = np.nan
    assert aligner.align(fsts[utt], bad) == "features are not finite"
    assert aligner.align(FstArrays.empty(), feats.of(utt)) == "the transcript has no graph"
    assert aligner.align(fsts[utt], bad[:0]) == "no frames"


def test_an_equal_alignment_is_a_path_of_the_graph_with_even_durations(golden_dir, golden_data):
    system, feats, fsts = _material(golden_dir, golden_data, "mono_ali", "mono")
    utt = feats.utterances[0]
    frames = len(feats.base[utt])
    path = equal_alignment(fsts[utt], frames, 0, utt)
    assert path is not None
    assert len(path) == frames
    states = {fsts[utt].start}
    for label in path:  # every label is an arc of the graph from where the path stands
        arcs = [a for s in _closure(fsts[utt], states) for a in range(fsts[utt].offsets[s], fsts[utt].offsets[s + 1])]
        states = {int(fsts[utt].nextstate[a]) for a in arcs if fsts[utt].ilabel[a] == label}
        assert states
    assert any(np.isfinite(fsts[utt].finals[s]) for s in _closure(fsts[utt], states))
    changes = np.flatnonzero(np.diff(system.tm.id2state[path])) + 1
    durations = np.diff(np.concatenate([[0], changes, [frames]]))
    assert np.sum(durations == durations.max()) + np.sum(durations == durations.max() - 1) > 0.5 * len(durations)
    assert np.array_equal(path, equal_alignment(fsts[utt], frames, 0, utt))


def _closure(fst, states):
    found, pending = set(states), list(states)
    while pending:
        s = pending.pop()
        for a in range(fst.offsets[s], fst.offsets[s + 1]):
            if fst.ilabel[a] == 0 and int(fst.nextstate[a]) not in found:
                found.add(int(fst.nextstate[a]))
                pending.append(int(fst.nextstate[a]))
    return found


@pytest.mark.kaldi
def test_phone_boundaries_are_those_of_ali_to_phones(golden_dir, kaldi, tmp_path):
    exp = golden_dir / "exp/tri3b_ali"
    alignments = f'"ark:gunzip -c {exp}/ali.1.gz|"'
    kaldi(shell=f"ali-to-phones --write-lengths {exp}/final.mdl {alignments} ark,t:{tmp_path}/phones")
    system = GmmDir.read(exp)
    ours = {utt: [(phone, length) for phone, _, length in phones_of(system.tm, ids)]
            for utt, ids in system.alignments().items()}  # fmt: skip
    for line in (tmp_path / "phones").read_text().splitlines():
        utt, rest = line.split(None, 1)
        pairs = [tuple(map(int, pair.split())) for pair in rest.split(";")]
        assert ours[utt] == pairs, utt


@pytest.mark.kaldi
def test_converted_alignments_are_those_of_convert_ali(golden_dir, kaldi, tmp_path):
    old, new = golden_dir / "exp/mono_ali", golden_dir / "exp/tri1"
    kaldi(shell=f'convert-ali {old}/final.mdl {new}/final.mdl {new}/tree "ark:gunzip -c {old}/ali.1.gz|" '
                f'"ark:|gzip -c > {tmp_path}/ali.1.gz"')  # fmt: skip
    mono, tri = GmmDir.read(old), GmmDir.read(new)
    ours = convert_alignments(mono.tm, tri.tm, tri.tree, mono.alignments())
    for utt, ids in read_alignments(tmp_path).items():
        np.testing.assert_array_equal(ours[utt], ids)


def test_an_alignment_of_another_model_is_refused(golden_dir):
    mono = GmmDir.read(golden_dir / "exp/mono_ali")
    tri = GmmDir.read(golden_dir / "exp/tri3b_ali")
    ids = max(tri.alignments().values(), key=lambda a: a.max())
    with pytest.raises(AlignmentError, match="holds transition ids that the model does not have"):
        phone_starts(mono.tm, ids)
    whole = next(iter(mono.alignments().values()))
    with pytest.raises(AlignmentError, match="does not end at the end of a phone"):
        phone_starts(mono.tm, whole[:1])


def test_copies_of_utterances_get_the_alignments_of_their_originals(golden_dir, golden_data, tmp_path):
    data = DataDir.read(golden_data("train"))
    copies = data.rename(lambda utt: f"n1-{utt}", lambda speaker: f"n1-{speaker}").write(tmp_path / "noisy").path
    source = golden_dir / "exp/tri3b_ali"
    copy_alignments(copies, source, tmp_path / "ali", ["n1-"], jobs=2)
    originals, made = read_alignments(source), read_alignments(tmp_path / "ali")
    assert made.keys() == {f"n1-{utt}" for utt in data.utterances}
    assert all(np.array_equal(made[f"n1-{utt}"], ids) for utt, ids in originals.items())
    assert (tmp_path / "ali/final.mdl").read_bytes() == (source / "final.mdl").read_bytes()
    assert not (tmp_path / "ali/trans.1").exists()
    with pytest.raises(AlignmentError, match="45 of 45 utterances have no original there"):
        copy_alignments(copies, source, tmp_path / "ali2")


def test_copies_without_an_original_are_listed(golden_dir, golden_data, tmp_path):
    data = DataDir.read(golden_data("train"))
    odd = data.utterances[0]
    copies = data.rename(lambda utt: f"{utt}x" if utt == odd else utt, lambda speaker: speaker)
    copy_alignments(copies.write(tmp_path / "odd").path, golden_dir / "exp/tri3b_ali", tmp_path / "ali")
    assert len(read_alignments(tmp_path / "ali")) == len(data.utterances) - 1
    assert f"{odd}x: no original" in (tmp_path / "ali/log/train.log").read_text()


def test_a_beam_wider_than_the_retry_beam_is_refused():
    with pytest.raises(ValueError, match="need 0 < beam <= retry_beam"):
        dataclasses.replace(AlignConfig(), beam=50.0)
