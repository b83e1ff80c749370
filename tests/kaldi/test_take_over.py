"""Each side goes on where the other stopped: a Kaldi user's commands and ours, in one folder."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from kaldi_bridge.text_tables import read_text_table, write_text_table
from tests.golden.make import build
from tests.kaldi.system import System, chain_topology

pytestmark = pytest.mark.kaldi
ROOT = Path(__file__).resolve().parents[2]
TOY = ("ligru.layers=1 ligru.units=48 train.epochs=8 train.optimizer=adam train.rate=0.005 train.schedule=linear "
       "train.start_frames=0 train.patience=0 train.dev_speakers=1")  # fmt: skip
SHORT = "iterations=8 last_growth=6 realign=[4] leaves=40 gaussians=80"
SWEEP = "--min-lmwt 5 --max-lmwt 12 --word-ins-penalty 0.0"
OUR_SWEEP = "min_lmwt=5 max_lmwt=12 penalties=[0.0] widen=false"
NARROW, OUR_NARROW = "--beam=9 --lattice-beam=3", "beam=9.0 lattice_beam=3.0"


@pytest.fixture(scope="module")
def system(kaldi_root: Path, tmp_path_factory: pytest.TempPathFactory) -> System:
    """What a Kaldi user has: data, lang, exp/{mono .. tri3b_ali}, a graph, a decoded test set."""
    work = tmp_path_factory.mktemp("kaldi") / "work"
    build(work)
    return System(work)


def ours(system: System, room: str, words: str) -> str:
    """A command line of ours, run in the user's folder with Kaldi's programs on the PATH."""
    command = f"PYTHONPATH={ROOT} {sys.executable} -m {room} {words}"
    return system.kaldi(command).decode()


def settings(text: str, section: str = "") -> str:
    return " ".join(f"--set {section}{word}" for word in text.split())


def error_rate(text: str) -> float:
    found = re.search(r"%WER ([0-9.]+)", text)
    assert found is not None, text
    return float(found[1])


def wer_of(system: System, lattices: Path, model: str = "exp/tri3b") -> float:
    """By Kaldi's own score_kaldi.sh, the best of its sweep."""
    if not (lattices.parent / "final.mdl").is_file():
        shutil.copyfile(system.work / model / "final.mdl", lattices.parent / "final.mdl")
    system.kaldi(f"steps/score_kaldi.sh --cmd run.pl {SWEEP} data/test exp/tri3b/graph {lattices}")
    return error_rate((lattices / "scoring_kaldi/best_wer").read_text())


# ---- a Kaldi user's alignments, features, transforms and graph, as they are, make a Li-GRU


@pytest.fixture(scope="module")
def ligru(system: System) -> Path:
    """am train and am forward on features whose table holds commands and ranges."""
    for name in ("train", "test"):
        data = Path(shutil.copytree(system.work / "data" / name, system.work / f"piped/{name}"))
        places, frames = read_text_table(data / "feats.scp"), read_text_table(data / "utt2num_frames")
        rows = {}
        for number, (key, place) in enumerate(places.items()):
            rows[key] = f"{place}[0:{int(frames[key]) - 1}]" if number % 4 else f"copy-feats {place} - |"
        write_text_table(data / "feats.scp", rows)
    ours(system, "am", f"train --data piped/train --ali exp/tri3b_ali --fmllr exp/tri3b_ali --graph exp/tri3b/graph "
                       f"--out exp/ligru {settings(TOY)}")  # fmt: skip
    ours(system, "am", "forward --model exp/ligru/best.pt --data piped/test --fmllr exp/tri3b/decode_test "
                       "--out exp/ligru/loglikes --jobs 2")  # fmt: skip
    return system.work / "exp/ligru"


def test_a_ligru_is_trained_and_decoded_with_nothing_but_the_users_directories(system, ligru):
    ours(system, "hmm", "decode --loglikes exp/ligru/loglikes/loglikes.scp --out exp/ligru/decode_ours --jobs 1 "
                        f"{settings(OUR_NARROW)}")  # fmt: skip
    assert wer_of(system, ligru / "decode_ours") < 50
    said = ours(system, "am", "score --decode exp/ligru/decode_ours --data data/test --graph exp/tri3b/graph --kaldi "
                              f"{settings(OUR_SWEEP)}")  # fmt: skip
    assert error_rate(said) == wer_of(system, ligru / "decode_ours")


def test_kaldis_decoder_finds_in_our_likelihoods_the_errors_that_ours_finds(system, ligru):
    """As a user of nnet1 or nnet3 decodes: latgen-faster-mapped reads the transition model of whatever final.mdl."""
    model = system.work / "exp/nnet3/final.mdl"
    model.parent.mkdir()
    system.kaldi(f"copy-transition-model exp/tri3b/final.mdl {model}")
    with open(model, "ab") as stream:
        stream.write(b"<Nnet3> and all that follows it")
    out = model.parent / "decode"
    out.mkdir()
    system.kaldi(
        f"latgen-faster-mapped {NARROW} --max-active=7000 --acoustic-scale=0.08333333 {model} exp/tri3b/graph/HCLG.fst "
        f"scp:exp/ligru/loglikes/loglikes.scp 'ark:|gzip -c > {out}/lat.1.gz'; echo 1 > {out}/num_jobs"
    )
    ours(system, "hmm", f"decode --graph exp/tri3b/graph --model {model} --loglikes exp/ligru/loglikes/loglikes.scp "
                        f"--out exp/nnet3/decode_ours --jobs 1 {settings(OUR_NARROW)}")  # fmt: skip
    assert wer_of(system, out) == wer_of(system, out.parent / "decode_ours") < 50


def test_commands_in_the_users_tables_can_be_refused(system, ligru):
    with pytest.raises(Exception, match=r"refused to run 'copy-feats"):
        ours(system, "am", "forward --model exp/ligru/best.pt --data piped/test --fmllr exp/tri3b/decode_test "
                           "--out exp/refused --no-commands")  # fmt: skip
    assert not (system.work / "exp/refused").exists()


# ---- a chain user: one frame in three, self-loops with pdfs of their own


@pytest.fixture(scope="module")
def chain(system: System) -> Path:
    """exp/chain as steps/nnet3/chain leaves it: tree, final.mdl, ali of every third frame, graph; monophones here."""
    lang = Path(shutil.copytree(system.work / "lang_test", system.work / "lang_chain"))
    (lang / "topo").write_text(chain_topology(lang))
    folder = system.work / "exp/chain"
    folder.mkdir()
    # by a file: copy-transition-model leaves after the transition model, and a pipe would break under gmm-init-mono
    system.kaldi(
        f"gmm-init-mono --shared-phones={lang}/phones/sets.int {lang}/topo 13 {folder}/0.mdl {folder}/tree && "
        f"copy-transition-model {folder}/0.mdl {folder}/final.mdl"
    )
    system.kaldi(
        f"convert-ali --frame-subsampling-factor=3 exp/tri3b_ali/final.mdl {folder}/final.mdl {folder}/tree "
        f"'ark:gunzip -c exp/tri3b_ali/ali.1.gz |' 'ark:|gzip -c > {folder}/ali.1.gz'; echo 1 > {folder}/num_jobs"
    )
    system.kaldi(f"utils/mkgraph.sh --self-loop-scale 1.0 {lang} {folder} {folder}/graph")
    for name in ("train", "test"):
        data = Path(shutil.copytree(system.work / "data" / name, system.work / f"sparse/{name}"))
        (data / "utt2num_frames").unlink()
        rows = read_text_table(data / "feats.scp")
        third = "copy-feats scp:- ark:- | splice-feats ark:- ark:- | subsample-feats --n=3 ark:- ark:-"
        thirds = {key: f"echo {key} {place} | {third} | tail -c +{len(key) + 2} |" for key, place in rows.items()}
        write_text_table(data / "feats.scp", thirds)
    return folder


def test_our_likelihoods_go_through_the_graph_of_a_chain_model(system, chain):
    ours(system, "am", f"train --data sparse/train --ali exp/chain --graph exp/chain/graph --out exp/chain_ligru "
                       f"{settings(TOY)} --set train.epochs=16")  # fmt: skip
    ours(system, "am", "forward --model exp/chain_ligru/best.pt --data sparse/test --out exp/chain_ligru/loglikes")
    out = system.work / "exp/chain_ligru/decode"
    out.mkdir()
    system.kaldi(
        f"latgen-faster-mapped {NARROW} --acoustic-scale=1.0 {chain}/final.mdl {chain}/graph/HCLG.fst "
        f"scp:exp/chain_ligru/loglikes/loglikes.scp ark:- | lattice-scale --acoustic-scale=10.0 ark:- ark:- | "
        f"gzip -c > {out}/lat.1.gz; echo 1 > {out}/num_jobs"
    )
    assert wer_of(system, out, "exp/chain") < 60
    ours(system, "hmm", f"decode --loglikes exp/chain_ligru/loglikes/loglikes.scp --out exp/chain_ligru/decode_ours "
                        f"--jobs 1 {settings(OUR_NARROW)} --set acoustic_scale=1.0")  # fmt: skip
    found = [
        system.kaldi(f"lattice-best-path --acoustic-scale={scale} 'ark:gunzip -c {folder}/lat.*.gz |' ark,t:-")
        for folder, scale in ((out, 0.1), (out.parent / "decode_ours", 1.0))
    ]
    assert found[0] == found[1]


# ---- GMM systems change hands between any two rungs


def test_our_second_rung_goes_on_in_train_sat(system):
    sections = " ".join(settings(SHORT, f"{name}.") for name in ("deltas", "lda_mllt"))
    ours(system, "hmm", f"gmm --data data/train --lang lang --out exp/own --until tri2b --jobs 1 {sections} "
                        "--set mono.gaussians=60 --set mono.iterations=12 --set mono.last_growth=8 "
                        "--set lda_mllt.dim=16 --set 'lda_mllt.mllt=[2, 4]'")  # fmt: skip
    short = "--cmd run.pl --num-iters 8 --max-iter-inc 6 --fmllr-iters '2 4'"
    system.kaldi(f"steps/train_sat.sh {short} 40 80 data/train lang exp/own/tri2b_ali exp/own/tri3b")
    system.kaldi("utils/mkgraph.sh lang_test exp/own/tri3b exp/own/tri3b/graph")
    system.kaldi("steps/decode_fmllr.sh --nj 1 --cmd run.pl --skip-scoring true exp/own/tri3b/graph data/test "
                 "exp/own/tri3b/decode")  # fmt: skip
    assert wer_of(system, system.work / "exp/own/tri3b/decode") < 25


def test_kaldis_second_rung_goes_on_in_our_ladder_and_back(system):
    ours(system, "hmm", "gmm --data data/train --lang lang --out exp/taken --ali exp/tri2b_ali --jobs 1 "
                        f"{settings(SHORT, 'sat.')} --set 'sat.adapt=[2, 4]'")  # fmt: skip
    ours(system, "hmm", "make-graph lang_test exp/taken/tri3b exp/taken/tri3b/graph")
    system.kaldi("steps/align_fmllr.sh --nj 1 --cmd run.pl data/train lang exp/taken/tri3b exp/taken/ali_by_kaldi")
    system.kaldi("steps/decode_fmllr.sh --nj 1 --cmd run.pl --skip-scoring true exp/taken/tri3b/graph data/test "
                 "exp/taken/tri3b/decode")  # fmt: skip
    ours(system, "hmm", "decode-gmm --data data/test --graph exp/taken/tri3b/graph --model exp/taken/tri3b "
                        "--out exp/taken/tri3b/decode_ours --jobs 1")  # fmt: skip
    rates = [wer_of(system, system.work / "exp/taken/tri3b" / name) for name in ("decode", "decode_ours")]
    assert max(rates) < 25
    assert abs(rates[0] - rates[1]) < 5  # two estimations of the same transforms


# ---- lattices


def test_our_scores_of_kaldis_lattices_are_those_of_score_kaldi(system):
    theirs = wer_of(system, system.work / "exp/tri3b/decode_test")
    shutil.copytree(system.work / "exp/tri3b/decode_test", system.work / "exp/rescored/decode")
    said = ours(system, "am", "score --decode exp/rescored/decode --data data/test --graph exp/tri3b/graph --kaldi "
                              f"{settings(OUR_SWEEP)}")  # fmt: skip
    assert error_rate(said) == theirs
    said = ours(system, "am", "score --decode exp/rescored/decode --data data/test --graph exp/tri3b/graph "
                              "--lm-weight 10")  # fmt: skip
    assert error_rate(said) == error_rate((system.work / "exp/tri3b/decode_test/wer_10_0.0").read_text())
