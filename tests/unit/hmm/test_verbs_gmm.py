"""The verbs of the GMM system: each option on a command line, and what it changes."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import AlignmentError, ConfigError, DiskError
from hmm.alignment_dir import GmmDir, read_alignments
from kaldi_bridge.data_dir import DataDir
from tests.unit.hmm.called import ran


def differing(one, other):
    """Utterances that two alignment directories align in other ways."""
    ours, theirs = read_alignments(one), read_alignments(other)
    assert ours.keys() == theirs.keys()
    return [utt for utt in ours if not np.array_equal(ours[utt], theirs[utt])]


@pytest.fixture
def where(golden_dir, golden_part):
    """--data and --lang of most verbs."""
    return ["--data", golden_part("train", 4), "--lang", golden_dir / "data/lang"]


def test_the_ladder_stops_where_it_is_told_and_is_made_anew_only_on_request(where, tmp_path):
    (tmp_path / "tiny.yaml").write_text("mono: {gaussians: 70, iterations: 3, last_growth: 2, realign: [1]}\n")
    exp = tmp_path / "exp"
    words = ["gmm", *where, "--out", exp, "--until", "mono", "--config", tmp_path / "tiny.yaml"]
    words += ["--set", "mono.iterations=4", "--jobs", 2]
    ran(*words)
    assert {path.name for path in exp.iterdir()} == {"mono", "mono_ali"}
    said = (exp / "mono/log/train.log").read_text()
    assert said.count("retried") == 1  # one realignment, as the file says
    assert "iteration 3:" in said and "iteration 4:" not in said  # iterations 0 to 3, as --set says
    assert (exp / "mono/num_jobs").read_text() == (exp / "mono_ali/num_jobs").read_text() == "2\n"
    made = (exp / "mono/final.mdl").stat()
    ran(*words)
    assert (exp / "mono/final.mdl").stat() == made
    ran(*words, "--force")
    assert (exp / "mono/final.mdl").stat().st_mtime_ns > made.st_mtime_ns


def test_from_an_alignment_only_the_adaptive_rung_is_trained(where, golden_dir, tmp_path):
    tiny = ["sat.leaves=50", "sat.gaussians=60", "sat.iterations=2", "sat.last_growth=1"]
    words = [word for one in tiny for word in ("--set", one)]
    ran("gmm", *where, "--out", tmp_path, "--ali", golden_dir / "exp/tri3b_ali", *words, "--jobs", 1)
    assert {path.name for path in tmp_path.iterdir()} == {"tri3b", "tri3b_ali"}


def test_a_value_that_a_rung_refuses_is_told_without_a_trace(where, tmp_path):
    with pytest.raises(ConfigError, match="need 0 < first_beam <= align"):
        ran("gmm", *where, "--out", tmp_path, "--set", "mono.first_beam=50.0")


def test_an_alignment_follows_its_options(where, golden_dir, tmp_path):
    mono = ["align", *where, "--model", golden_dir / "exp/mono"]
    (tmp_path / "config").write_text("boost_silence: 1000.0\n")
    ran(*mono, "--out", tmp_path / "one", "--jobs", 1)
    ran(*mono, "--out", tmp_path / "two", "--jobs", 2)
    assert not differing(tmp_path / "one", tmp_path / "two")
    assert [(tmp_path / name / "num_jobs").read_text() for name in ("one", "two")] == ["1\n", "2\n"]
    ran(*mono, "--out", tmp_path / "louder", "--config", tmp_path / "config")
    ran(*mono, "--out", tmp_path / "set", "--set", "boost_silence=1000.0")
    assert differing(tmp_path / "one", tmp_path / "louder")
    assert not differing(tmp_path / "louder", tmp_path / "set")
    made = (tmp_path / "one/ali.1.gz").stat()
    ran(*mono, "--out", tmp_path / "one", "--jobs", 1)
    assert (tmp_path / "one/ali.1.gz").stat() == made
    ran(*mono, "--out", tmp_path / "one", "--jobs", 1, "--force")
    assert (tmp_path / "one/ali.1.gz").stat().st_mtime_ns > made.st_mtime_ns


def test_an_alignment_adapts_where_the_model_does_or_as_told(where, golden_dir, tmp_path):
    for model, words, adapted in (
        ("mono", [], False), ("mono", ["--adapt"], True), ("tri3b", [], True), ("tri3b", ["--no-adapt"], False),
    ):  # fmt: skip
        out = tmp_path / "".join([model, *words])
        ran("align", *where, "--model", golden_dir / "exp" / model, "--out", out, *words, "--jobs", 1)
        assert (out / "trans.1").is_file() is adapted
    out = tmp_path / "apart"
    ran("align", *where, "--model", golden_dir / "exp/tri3b", "--out", out, "--set", "fmllr.min_frames=1000000")
    assert all(np.array_equal(one, np.eye(*one.shape)) for one in GmmDir.read(out).transforms().values())


def test_transforms_come_from_the_given_alignments_in_as_many_parts_as_jobs(where, golden_dir, tmp_path):
    words = ["fmllr", *where, "--model", golden_dir / "exp/tri3b", "--out", tmp_path / "out"]
    words += ["--ali", golden_dir / "exp/tri3b_ali"]
    ran(*words, "--jobs", 2)
    assert (tmp_path / "out/trans.2").is_file() and not (tmp_path / "out/trans.3").exists()
    assert read_alignments(tmp_path / "out").keys() == set(DataDir.read(where[1]).utterances)
    made = (tmp_path / "out/trans.1").stat()
    ran(*words, "--jobs", 2, "--force")
    assert (tmp_path / "out/trans.1").stat().st_mtime_ns > made.st_mtime_ns
    adapted = GmmDir.read(tmp_path / "out").transforms()
    ran(*words, "--set", "min_frames=1000000")
    assert all(np.array_equal(one, np.eye(*one.shape)) for one in GmmDir.read(tmp_path / "out").transforms().values())
    (tmp_path / "all.yaml").write_text("silence_weight: 1.0\n")
    ran(*words, "--config", tmp_path / "all.yaml")
    assert all(not np.allclose(one, adapted[name]) for name, one in GmmDir.read(tmp_path / "out").transforms().items())


def test_decoding_with_gmms_follows_its_options(golden_dir, golden_part, tmp_path):
    exp, out = golden_dir / "exp/tri3b", tmp_path / "out"
    words = ["decode-gmm", "--data", golden_part("test", 2), "--graph", exp / "graph", "--model", exp, "--out", out]
    ran(*words, "--jobs", 1)
    assert (out / "trans.1").is_file()
    adapted = (out / "lat.1.gz").read_bytes()
    with pytest.raises(DiskError, match="out"):
        ran(*words, "--jobs", 1)
    (tmp_path / "plain.yaml").write_text("adapt: false\n")
    ran(*words, "--jobs", 1, "--force", "--config", tmp_path / "plain.yaml")
    assert not (out / "trans.1").exists()
    assert (out / "lat.1.gz").read_bytes() != adapted
    ran(*words, "--jobs", 1, "--force", "--config", tmp_path / "plain.yaml", "--set", "adapt=true")
    assert (out / "lat.1.gz").read_bytes() == adapted


def test_copies_get_the_alignments_behind_their_prefix(golden_dir, golden_part, tmp_path):
    source, noisy = DataDir.read(golden_part("train", 2)), tmp_path / "noisy"
    noisy.mkdir()
    DataDir.build(noisy, utt2spk={f"n1-{utt}": f"n1-{spk}" for utt, spk in source.utt2spk.items()}).write_tables(noisy)
    words = ["copy-ali", "--data", noisy, "--ali", golden_dir / "exp/mono_ali", "--out", tmp_path / "ali"]
    with pytest.raises(AlignmentError, match="6 of 6 utterances have no original"):
        ran(*words, "--jobs", 2)
    ran(*words, "--jobs", 2, "--prefix", "n0-", "--prefix", "n1-")
    copied, originals = read_alignments(tmp_path / "ali"), read_alignments(golden_dir / "exp/mono_ali")
    assert copied.keys() == {f"n1-{utt}" for utt in source.utterances}
    assert all(np.array_equal(ids, originals[utt.removeprefix("n1-")]) for utt, ids in copied.items())
    assert (tmp_path / "ali/num_jobs").read_text() == "2\n"
    made = (tmp_path / "ali/ali.1.gz").stat()
    ran(*words, "--prefix", "n0-", "--prefix", "n1-")
    assert (tmp_path / "ali/ali.1.gz").stat() == made
    ran(*words, "--prefix", "n1-", "--force")
    assert (tmp_path / "ali/ali.1.gz").stat().st_mtime_ns > made.st_mtime_ns
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/ali.1.gz").write_bytes(b"")
    with pytest.raises(DiskError, match=r"foreign.*already exists"):
        ran(*words[:-1], tmp_path / "foreign", "--prefix", "n1-")
