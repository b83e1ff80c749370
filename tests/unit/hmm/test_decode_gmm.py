"""Decoding with GMM systems: the golden two-pass decode, Kaldi's decoder on our model, failures."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from harness.errors import DecodeError, ModelError
from hmm.decode_gmm import DecodeGmmConfig, System, decode_gmm, decode_speaker
from hmm.lattice import best_path
from hmm.speaker_features import SpeakerFeatures, read_transforms
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.lattices import read_decode_dir, read_lattices


@pytest.fixture(scope="module")
def decoded(golden_dir, golden_data, tmp_path_factory):
    """The golden test set decoded with the golden tri3b in two passes."""
    exp = golden_dir / "exp/tri3b"
    return decode_gmm(exp, exp / "graph", golden_data("test"), tmp_path_factory.mktemp("decode") / "out")


def test_two_passes_give_the_words_of_decode_fmllr_at_every_weight(decoded, golden_dir):
    ours, theirs = dict(read_decode_dir(decoded)), dict(read_lattices(golden_dir / "exp/tri3b/decode_test/lat.1.gz"))
    assert sorted(ours) == sorted(theirs)
    for utt, lattice in theirs.items():
        for weight in range(7, 21):
            assert best_path(ours[utt], weight).words.tolist() == best_path(lattice, weight).words.tolist(), utt


def test_two_passes_give_the_transform_of_decode_fmllr(decoded, golden_dir):
    ours, theirs = read_transforms(decoded), read_transforms(golden_dir / "exp/tri3b/decode_test")
    assert list(ours) == list(theirs)
    for speaker, transform in theirs.items():
        assert np.linalg.norm(ours[speaker] - transform) / np.linalg.norm(transform) < 1e-4


def test_processes_give_the_lattices_of_one(golden_dir, golden_data, decoded, tmp_path):
    exp = golden_dir / "exp/tri3b"
    out = decode_gmm(exp, exp / "graph", golden_data("test"), tmp_path / "two", jobs=2)
    assert (out / "lat.1.gz").read_bytes() == (decoded / "lat.1.gz").read_bytes()


def test_without_adaptation_there_is_one_pass_and_no_transform(golden_dir, golden_data, tmp_path):
    exp = golden_dir / "exp/tri3b"
    out = decode_gmm(exp, exp / "graph", golden_data("test"), tmp_path / "si", DecodeGmmConfig(adapt=False))
    assert not (out / "trans.1").exists()
    assert len(dict(read_decode_dir(out))) == 15


@pytest.mark.kaldi
def test_kaldis_decoder_finds_the_same_words_with_final_alimdl(golden_dir, golden_data, kaldi, tmp_path):
    exp, data = golden_dir / "exp/tri3b", golden_data("test")
    out = decode_gmm(exp, exp / "graph", data, tmp_path / "si", DecodeGmmConfig(adapt=False))
    cmvn = f"apply-cmvn --utt2spk=ark:{data}/utt2spk scp:{data}/cmvn.scp scp:{data}/feats.scp ark:-"
    feats = f"ark:{cmvn} | splice-feats ark:- ark:- | transform-feats {exp}/final.mat ark:- ark:- |"
    kaldi(shell=f"gmm-latgen-faster --max-active=7000 --beam=13 --lattice-beam=6 --acoustic-scale=0.083333 "
                f'{exp}/final.alimdl {exp}/graph/HCLG.fst "{feats}" "ark:|gzip -c > {tmp_path}/lat.1.gz"')  # fmt: skip
    ours = {utt: best_path(lattice).words.tolist() for utt, lattice in read_decode_dir(out)}
    theirs = {utt: best_path(lattice).words.tolist() for utt, lattice in read_lattices(tmp_path / "lat.1.gz")}
    assert ours == theirs


def test_utterances_that_cannot_be_decoded_are_counted_and_stop_the_run(golden_dir, golden_data, tmp_path, monkeypatch):
    exp = golden_dir / "exp/tri3b"
    system = System.load(str(exp), str(exp / "graph"))
    data = DataDir.read(golden_data("test"))
    speaker = data.speakers[0]
    feats = SpeakerFeatures.read(data, system.model.recipe)
    bad = feats.utterances[0]
    feats.base[bad] = feats.base[bad] * np.float32(np.nan)
    result = decode_speaker(system, speaker, feats, DecodeGmmConfig())
    assert list(result.failed) == [bad]
    assert "NaN or infinite" in result.failed[bad]
    assert len(result.lattices) == 14
    monkeypatch.setattr("hmm.decode_gmm._decode_speaker", lambda *args: result)
    with pytest.raises(DecodeError, match=rf"1 of 15 utterances have no lattice \(first: {bad}"):
        decode_gmm(exp, exp / "graph", golden_data("test"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_graph_that_changed_between_two_calls_is_read_again(golden_dir, golden_part, tmp_path):
    graph, data = tmp_path / "graph", golden_part("test", 2)
    shutil.copytree(golden_dir / "exp/tri3b/graph", graph)
    plain = DecodeGmmConfig(adapt=False)
    decode_gmm(golden_dir / "exp/tri3b", graph, data, tmp_path / "first", plain)
    (graph / "phones/silence.csl").write_text("1:2:x\n")
    with pytest.raises(DecodeError, match=r"silence\.csl: is no list of phones"):
        decode_gmm(golden_dir / "exp/tri3b", graph, data, tmp_path / "second", plain)
    (graph / "phones/silence.csl").write_text("1:2\n")
    (graph / "HCLG.fst").unlink()
    with pytest.raises(ModelError, match="there is no graph here"):
        decode_gmm(golden_dir / "exp/tri3b", graph, data, tmp_path / "third", plain)


def test_options_that_the_first_pass_cannot_have_are_refused_at_once():
    with pytest.raises(ValueError, match=r"need first_max_active >= 2 and >= decode\.min_active, got 100 and 200"):
        DecodeGmmConfig(first_max_active=100)
    with pytest.raises(ValueError, match=r"beams must be positive, got first 10\.0, refine 0\.0"):
        DecodeGmmConfig(refine_beam=0.0)
