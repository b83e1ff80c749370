"""The ladder end to end on the golden data: every rung, resuming, threads, Kaldi's programs on what it leaves."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from harness.errors import AlignmentError, ConfigError, DiskError, LexiconError, ModelError, TableError
from hmm.align import AlignConfig
from hmm.align_data import align, align_fmllr, copy_alignments, estimate_transforms
from hmm.alignment_dir import GmmDir, read_alignments
from hmm.decode_gmm import DecodeGmmConfig, decode_gmm
from hmm.graph import make_graph
from hmm.ladder import train_ladder, train_mono, train_sat
from hmm.ladder_config import DeltasConfig, LadderConfig, LdaMlltConfig, MonoConfig, SatConfig
from hmm.lattice import best_path
from hmm.speaker_features import FeatureRecipe, SpeakerFeatures
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.lattices import read_decode_dir, read_lattices
from kaldi_bridge.tables import MatrixWriter, read_matrix_scp

SHORT = {"leaves": 60, "gaussians": 150, "iterations": 6, "last_growth": 4, "realign": (3,)}
TINY = LadderConfig(
    mono=MonoConfig(gaussians=120, iterations=8, last_growth=6),
    deltas=DeltasConfig(**SHORT),
    lda_mllt=LdaMlltConfig(**SHORT, mllt=(2, 4)),
    sat=SatConfig(**SHORT, adapt=(2, 4)),
)


@pytest.fixture(scope="module")
def ladder(golden_dir, golden_data, tmp_path_factory):
    """A small ladder trained on the golden data with one thread."""
    exp = tmp_path_factory.mktemp("exp")
    train_ladder(golden_data("train"), golden_dir / "data/lang", exp, TINY)
    return exp


def test_every_rung_leaves_kaldis_files(ladder):
    common = {"final.mdl", "tree", "ali.1.gz", "num_jobs", "cmvn_opts", "phones.txt"}
    extra = {"tri2b": {"final.mat", "full.mat", "splice_opts"}, "tri3b": {"final.alimdl", "final.mat", "trans.1"}}
    for rung in ("mono", "tri1", "tri2b", "tri3b"):
        assert common | extra.get(rung, set()) <= {path.name for path in (ladder / rung).iterdir()}
        assert common <= {path.name for path in (ladder / f"{rung}_ali").iterdir()}
    assert (ladder / "tri3b_ali/trans.1").is_file()


def test_likelihood_rises_from_iteration_to_iteration(ladder):
    for rung in ("mono", "tri1", "tri2b", "tri3b"):
        values = re.findall(r"iteration \d+: (-?[0-9.]+) per frame", (ladder / rung / "log/train.log").read_text())
        assert float(values[-1]) > float(values[1])


def test_monophones_fit_the_data_as_well_as_kaldis(golden_dir, golden_data, tmp_path):
    data, lang = golden_data("train"), golden_dir / "data/lang"
    train_mono(data, lang, tmp_path / "mono", MonoConfig(gaussians=200, iterations=20, last_growth=12))  # as the golden
    scores = []
    for model in (tmp_path / "mono", golden_dir / "exp/mono"):
        out = align(data, lang, model, tmp_path / f"ali{len(scores)}")
        found = re.search(r"utterances, (-[0-9.]+) per frame", (out / "log/train.log").read_text())
        scores.append(float(found.group(1)))
    assert scores[0] > scores[1] - 0.5


def test_two_threads_give_the_same_bytes_as_one(ladder, golden_dir, golden_data, tmp_path):
    train_ladder(golden_data("train"), golden_dir / "data/lang", tmp_path, TINY, jobs=2)
    for name in ("mono/final.mdl", "tri1/tree", "tri2b/final.mat", "tri3b/final.mdl", "tri3b/final.alimdl"):
        assert (tmp_path / name).read_bytes() == (ladder / name).read_bytes(), name
    ours, theirs = (read_alignments(exp / "tri3b_ali") for exp in (tmp_path, ladder))
    assert (tmp_path / "tri3b_ali/ali.2.gz").is_file()
    assert all(np.array_equal(ours[utt], ids) for utt, ids in theirs.items())


def test_a_finished_rung_is_not_made_again_and_a_changed_one_is(ladder, golden_dir, golden_data):
    before = (ladder / "mono/final.mdl").stat().st_mtime_ns
    data, lang = golden_data("train"), golden_dir / "data/lang"
    train_mono(data, lang, ladder / "mono", TINY.mono)
    assert (ladder / "mono/final.mdl").stat().st_mtime_ns == before
    copy = ladder / "mono_changed"
    train_mono(data, lang, copy, MonoConfig(gaussians=60, iterations=3, last_growth=2))
    train_mono(data, lang, copy, MonoConfig(gaussians=80, iterations=3, last_growth=2))
    assert GmmDir.read(copy).am.num_gauss > 60


def test_features_made_again_at_the_same_places_make_a_rung_again(golden_dir, golden_data, tmp_path):
    data, config = tmp_path / "data", MonoConfig(gaussians=60, iterations=2, last_growth=1)
    shutil.copytree(golden_data("train"), data)
    features = dict(read_matrix_scp(data / "feats.scp"))

    def trained(louder: float) -> float:
        with MatrixWriter(tmp_path / "feats.ark", data / "feats.scp") as writer:
            for utt, matrix in features.items():
                writer.write(utt, matrix * louder)
        train_mono(data, golden_dir / "data/lang", tmp_path / "mono", config)
        return float(GmmDir.read(tmp_path / "mono").am.means_invvars.sum())

    first = trained(1.0)
    places = (data / "feats.scp").read_bytes()
    made = (tmp_path / "mono/final.mdl").stat().st_mtime_ns
    assert trained(1.0) == first
    assert (tmp_path / "mono/final.mdl").stat().st_mtime_ns == made
    assert trained(1.5) != first
    assert (data / "feats.scp").read_bytes() == places


def test_a_killed_rung_leaves_nothing_behind(golden_dir, golden_data, tmp_path, monkeypatch):
    def killed(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("hmm.ladder.write_gmm_dir", killed)
    with pytest.raises(KeyboardInterrupt):
        train_mono(golden_data("train"), golden_dir / "data/lang", tmp_path / "mono",
                   MonoConfig(gaussians=60, iterations=2, last_growth=1))  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_another_hand_is_not_overwritten(golden_dir, golden_data, tmp_path):
    shutil.copytree(golden_dir / "exp/mono", tmp_path / "mono")
    with pytest.raises(DiskError, match="already exists"):
        train_mono(golden_data("train"), golden_dir / "data/lang", tmp_path / "mono",
                   MonoConfig(gaussians=60, iterations=2, last_growth=1))  # fmt: skip


def test_align_fmllr_with_kaldis_model_gives_kaldis_alignments_and_transforms(golden_dir, golden_data, tmp_path):
    out = align_fmllr(golden_data("train"), golden_dir / "data/lang", golden_dir / "exp/tri3b", tmp_path / "ali")
    ours, theirs = GmmDir.read(out), GmmDir.read(golden_dir / "exp/tri3b_ali")
    golden = theirs.alignments()
    same = sum(int((ids == golden[utt]).sum()) for utt, ids in ours.alignments().items())
    assert same >= 0.999 * 9835
    mine = ours.transforms()
    for speaker, transform in theirs.transforms().items():
        assert np.linalg.norm(mine[speaker] - transform) / np.linalg.norm(transform) < 0.02


def test_noisy_copies_train_with_the_clean_alignments(ladder, golden_dir, golden_data, tmp_path):
    data = DataDir.read(golden_data("train"))
    data.rename(lambda utt: f"n-{utt}", lambda speaker: f"n-{speaker}").write(tmp_path / "noisy")
    copy_alignments(tmp_path / "noisy", ladder / "tri3b_ali", tmp_path / "ali", ["n-"])
    out = estimate_transforms(tmp_path / "noisy", golden_dir / "data/lang", ladder / "tri3b", tmp_path / "ali",
                              tmp_path / "noisy_ali")  # fmt: skip
    assert set(GmmDir.read(out).transforms()) == {f"n-{speaker}" for speaker in data.speakers}
    sat = train_sat(tmp_path / "noisy", golden_dir / "data/lang", out, tmp_path / "tri3b", TINY.sat)
    assert GmmDir.read(sat).alimdl is not None


def spliced(data):
    """The command of Kaldi for normalised, spliced features."""
    cmvn = f"apply-cmvn --utt2spk=ark:{data}/utt2spk scp:{data}/cmvn.scp scp:{data}/feats.scp ark:-"
    return f"{cmvn} | splice-feats ark:- ark:-"


@pytest.mark.kaldi
def test_kaldis_programs_read_the_models_and_align_as_we_do(ladder, golden_dir, golden_data, kaldi, tmp_path):
    data, lang, exp = golden_data("train"), golden_dir / "data/lang", ladder / "tri2b"
    for name in ("final.mdl", "final.alimdl"):
        said = kaldi("gmm-info", ladder / "tri3b" / name)
        assert f"number of pdfs {GmmDir.read(ladder / 'tri3b').am.num_pdfs}" in said
    feats = f"ark:{spliced(data)} | transform-feats {exp}/final.mat ark:- ark:- |"
    oov = (lang / "oov.int").read_text().strip()
    words = f"sym2int() {{ python3 -c 'import sys; w = dict(l.split() for l in open(sys.argv[1])); [print(l.split()[0], *(w.get(x, sys.argv[2]) for x in l.split()[1:])) for l in open(sys.argv[3])]' {lang}/words.txt {oov} {data}/text; }}; sym2int"  # noqa: E501
    kaldi(shell=f"{words} > {tmp_path}/text && compile-train-graphs --read-disambig-syms={lang}/phones/disambig.int "
                f"{exp}/tree {exp}/final.mdl {lang}/L.fst ark:{tmp_path}/text ark:- | gmm-align-compiled "
                "--transition-scale=1.0 --acoustic-scale=0.1 --self-loop-scale=0.1 --beam=10 --retry-beam=40 "
                f'{exp}/final.mdl ark:- "{feats}" "ark:|gzip -c > {tmp_path}/ali.1.gz"')  # fmt: skip
    ours = read_alignments(ladder / "tri2b_ali")
    theirs = read_alignments(tmp_path)
    same = sum(int((ours[utt] == ids).sum()) for utt, ids in theirs.items())
    assert same >= 0.999 * sum(map(len, theirs.values()))


@pytest.mark.kaldi
@pytest.mark.parametrize(("rung", "model"), [("tri2b", "final.mdl"), ("tri3b", "final.alimdl")])
def test_kaldis_decoder_hears_in_our_model_and_graph_the_words_that_ours_hears(
    ladder, golden_dir, golden_data, kaldi, tmp_path, rung, model
):
    data, exp = golden_data("test"), ladder / rung
    graph = make_graph(golden_dir / "data/lang_test", exp, tmp_path / "graph")
    out = decode_gmm(exp, graph, data, tmp_path / "ours", DecodeGmmConfig(adapt=False))
    feats = f"ark:{spliced(data)} | transform-feats {exp}/final.mat ark:- ark:- |"
    kaldi(shell=f"gmm-latgen-faster --max-active=7000 --beam=13 --lattice-beam=6 --acoustic-scale=0.083333 "
                f'{exp}/{model} {graph}/HCLG.fst "{feats}" "ark:|gzip -c > {tmp_path}/lat.1.gz"')  # fmt: skip
    ours = {utt: best_path(lattice).words.tolist() for utt, lattice in read_decode_dir(out)}
    assert ours == {utt: best_path(lattice).words.tolist() for utt, lattice in read_lattices(tmp_path / "lat.1.gz")}
    assert sum(map(len, ours.values())) >= len(ours)


def test_feature_options_of_a_directory_are_read_and_kept(golden_dir, tmp_path):
    recipe = FeatureRecipe(norm_vars=True, left_context=3, matrix=np.eye(2, 3, dtype=np.float32))
    recipe.write(tmp_path)
    again = FeatureRecipe.of_dir(tmp_path)
    assert again == recipe
    np.testing.assert_array_equal(again.matrix, recipe.matrix)
    (tmp_path / "splice_opts").write_text("--left-contexts=3\n")
    with pytest.raises(ConfigError, match="unknown feature option --left-contexts=3"):
        FeatureRecipe.of_dir(tmp_path)
    for damage, problem in (
        (b"--left-context=3.5", "--left-context has the value '3.5'"), (b"--norm-vars=maybe", "has the value 'maybe'"),
        (b"\xff\xfe", "splice_opts: is no file of options"),
    ):  # fmt: skip
        (tmp_path / "splice_opts").write_bytes(damage)
        with pytest.raises(ConfigError, match=problem):
            FeatureRecipe.of_dir(tmp_path)


def test_features_of_an_utterance_do_not_depend_on_the_cache(golden_dir, golden_data, monkeypatch):
    system = GmmDir.read(golden_dir / "exp/tri3b_ali")
    data = DataDir.read(golden_data("train"))
    kept = SpeakerFeatures.read(data, system.recipe, system.transforms())
    utt = data.utterances[5]
    first = kept.of(utt)
    assert kept.of(utt) is first
    monkeypatch.setattr("hmm.speaker_features.CACHE_BYTES", 0)
    fresh = SpeakerFeatures.read(data, system.recipe, system.transforms())
    assert fresh.of(utt) is not fresh.of(utt)
    np.testing.assert_array_equal(first, fresh.of(utt))


def test_transcripts_that_do_not_fit_stop_the_alignment_by_name(golden_dir, golden_data, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(golden_data("train"), data)
    lines = (data / "text").read_text().splitlines()
    crowded = [f"{line.split()[0]} {' '.join(line.split()[1:] * 60)}" for line in lines[:10]]
    (data / "text").write_text("\n".join(crowded + lines[10:]) + "\n")
    with pytest.raises(AlignmentError, match=r"10 of 45 utterances have no alignment \(ana-000: no path"):
        align(data, golden_dir / "data/lang", golden_dir / "exp/mono", tmp_path / "ali")
    assert not (tmp_path / "ali").exists()
    lenient = align(data, golden_dir / "data/lang", golden_dir / "exp/mono", tmp_path / "ali",
                    AlignConfig(max_failed=0.3))  # fmt: skip
    assert len(read_alignments(lenient)) == 35
    assert "ana-000: no path" in (lenient / "log/train.log").read_text()


def test_missing_inputs_are_named(golden_dir, golden_data, tmp_path):
    data, lang = golden_data("train"), golden_dir / "data/lang"
    with pytest.raises(ModelError, match=r"nothing/final.mdl: no such file"):
        align(data, lang, tmp_path / "nothing", tmp_path / "ali")
    with pytest.raises(LexiconError, match=r"words.txt: cannot be read"):
        align(data, tmp_path, golden_dir / "exp/mono", tmp_path / "ali")
    bare = tmp_path / "data"
    shutil.copytree(data, bare)
    (bare / "cmvn.scp").unlink()
    with pytest.raises(TableError, match=r"cmvn.scp: no such file"):
        align(bare, lang, golden_dir / "exp/mono", tmp_path / "ali")
    with pytest.raises(ConfigError, match="no rung 'tri4'"):
        train_ladder(data, lang, tmp_path, until="tri4")


@pytest.mark.parametrize("rung", [MonoConfig, DeltasConfig, LdaMlltConfig, SatConfig])
def test_growth_that_ends_before_it_begins_is_refused_before_the_training(rung):
    with pytest.raises(ValueError, match="last_growth must be at least 1, got 0"):
        rung(last_growth=0)


def test_a_first_beam_wider_than_the_retry_beam_is_refused_before_the_training():
    with pytest.raises(ValueError, match=r"need 0 < first_beam <= align\.retry_beam, got 6\.0 and 4\.0"):
        MonoConfig(align=AlignConfig(beam=3.0, retry_beam=4.0))
