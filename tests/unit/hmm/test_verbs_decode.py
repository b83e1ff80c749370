"""The verbs that decode: each option on a command line, and what it changes."""

from __future__ import annotations

import pytest

from harness.errors import ConfigError
from hmm import decode_set
from hmm.alignment_dir import GmmDir
from hmm.confidence import word_confidences
from hmm.gmm import log_likelihoods
from hmm.lattice import best_path
from hmm.speaker_features import SpeakerFeatures
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.lattices import read_decode_dir
from kaldi_bridge.tables import MatrixWriter
from tests.unit.hmm.called import ran


@pytest.fixture
def loglikes(golden_dir, golden_part, tmp_path):
    """Likelihoods of a few golden utterances under the speaker-independent model of tri3b."""
    system = GmmDir.read(golden_dir / "exp/tri3b")
    feats = SpeakerFeatures.read(DataDir.read(golden_part("test", 3)), system.recipe)
    with MatrixWriter(tmp_path / "loglikes.ark", tmp_path / "loglikes.scp") as writer:
        for utt in feats.utterances:
            writer.write(utt, log_likelihoods(system.alimdl, feats.of(utt)))
    return tmp_path / "loglikes.scp"


def test_decoding_follows_its_options(loglikes, golden_dir, tmp_path, monkeypatch):
    asked, real = [], decode_set.map_jobs
    monkeypatch.setattr(decode_set, "map_jobs", lambda *a, jobs, **b: asked.append(jobs) or real(*a, jobs=1, **b))
    exp = golden_dir / "exp/tri3b"
    words = ["decode", "--loglikes", loglikes, "--graph", exp / "graph", "--model", exp / "final.mdl"]
    (tmp_path / "narrow.yaml").write_text("lattice_beam: 0.5\nbeam: 9.0\n")
    ran(*words, "--out", tmp_path / "wide", "--jobs", 1)
    ran(*words, "--out", tmp_path / "narrow", "--jobs", 2, "--config", tmp_path / "narrow.yaml")
    set_ = ["--set", "beam=9.0", "--set", "lattice_beam=0.5"]
    ran(*words, "--out", tmp_path / "set", "--jobs", 1, *set_)
    arcs = {
        name: [lattice.num_arcs for _, lattice in read_decode_dir(tmp_path / name)]
        for name in ("wide", "narrow", "set")
    }
    assert len(arcs["wide"]) == 3
    assert sum(arcs["narrow"]) < sum(arcs["wide"])
    assert arcs["narrow"] == arcs["set"]
    assert asked == [1, 2, 1]
    with pytest.raises(ConfigError, match="--model: is not given"):
        ran(*words[:5], "--out", tmp_path / "none")


def test_best_paths_are_those_of_the_weight_and_the_penalty(golden_dir):
    folder, graph = golden_dir / "exp/tri3b/decode_test", golden_dir / "exp/tri3b/graph"
    lattices = dict(read_decode_dir(folder))
    words = dict(line.split()[::-1] for line in (graph / "words.txt").read_text().splitlines())

    def expected(of, weight=12.0, penalty=0.0):
        return {utt: [str(one) for one in of(best_path(lattice, weight, penalty))] for utt, lattice in lattices.items()}

    def printed(*options):
        lines = ran("lattice-best-path", "--lattices", folder, *options).splitlines()
        return {line.split()[0]: line.split()[1:] for line in lines}

    assert printed() == expected(lambda path: path.words)
    assert printed("--alignments") == expected(lambda path: path.transition_ids)
    named = expected(lambda path: [words[str(number)] for number in path.words])
    assert printed("--words", graph) == printed("--words", graph / "words.txt") == named
    for options, weight, penalty in ((["--lm-weight", 0.5], 0.5, 0.0), (["--penalty", 200], 12.0, 200.0)):
        assert printed(*options) == expected(lambda path: path.words, weight, penalty) != printed()
    utt, lattice = next(iter(lattices.items()))
    pairs = zip(named[utt], word_confidences(lattice), strict=True)
    sure = printed("--words", graph, "--confidences")[utt]
    assert sure == [part for word, value in pairs for part in (word, f"{value:.3f}")]
    with pytest.raises(ConfigError, match="only words have confidences"):
        printed("--alignments", "--confidences")


@pytest.mark.parametrize("weight", [0, -5])
def test_a_weight_that_costs_cannot_be_divided_by_is_refused(golden_dir, weight):
    with pytest.raises(ConfigError, match=f"--lm-weight: must be greater than 0, got {weight}"):
        ran("lattice-best-path", "--lattices", golden_dir / "exp/tri3b/decode_test", "--lm-weight", weight)
