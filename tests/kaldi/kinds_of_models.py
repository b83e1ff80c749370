"""The rows of docs/kaldi.md about models, trees, transforms, alignments: written by one side, read by the other."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from am.priors import PriorConfig, log_priors
from hmm.alignment_dir import GmmDir, read_alignments, read_transforms
from hmm.speaker_features import FeatureRecipe, SpeakerFeatures
from hmm.training import Lang, compile_graphs
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.fsts import read_fst_archive, write_fst_archive
from kaldi_bridge.models import (
    TransitionModel,
    model_bytes,
    read_model,
    read_topology,
    read_transition_model,
    read_tree,
    tree_bytes,
)
from kaldi_bridge.tables import (
    packed_matrix,
    read_int_vectors,
    read_matrix,
    read_matrix_ark,
    write_int_vectors,
    write_matrix,
)
from tests.fst_isomorphism import weight_difference
from tests.kaldi.kind import Kind
from tests.kaldi.system import MismatchError, System, chain_topology, close, close_tables, same, same_bytes

ALI = "exp/tri3b_ali"


def features_of(data: Path, gmm: str | Path) -> str:
    """Features of a speaker-adaptive system as an rspecifier of Kaldi; options come from the directory."""
    cmvn = (
        f"apply-cmvn $(cat {gmm}/cmvn_opts) --utt2spk=ark:{data}/utt2spk scp:{data}/cmvn.scp scp:{data}/feats.scp ark:-"
    )
    lda = f"splice-feats $(cat {gmm}/splice_opts) ark:- ark:- | transform-feats {gmm}/final.mat ark:- ark:-"
    return f"{cmvn} | {lda} | transform-feats --utt2spk=ark:{data}/utt2spk ark:{gmm}/trans.1 ark:- ark:-"


# ---- topology, tree, models


def kaldi_starts_from_our_topology(system: System) -> str:
    out = system.fresh()
    system.kaldi(f"gmm-init-mono {system.ours}/lang/topo 13 {out}/0.mdl {out}/tree")
    topology, tree = read_topology(system.ours / "lang/topo"), read_tree(out / "tree")
    theirs = read_transition_model(out / "0.mdl")
    same(out, topology, theirs.topology)
    ours = TransitionModel.from_tree(tree, topology)
    same(out, ours.tuples.tolist(), theirs.tuples.tolist())
    return "same states; probabilities: " + close(out, theirs.log_probs, ours.log_probs, 1e-6)


def we_write_back_a_topology_of_kaldi(system: System) -> str:
    path = system.work / "lang/topo"
    words = path.read_text(encoding="utf-8").split()
    return same(path, words, read_topology(path).text().split(), "same words, written back")


def kaldi_copies_our_tree(system: System) -> str:
    path = system.ours / ALI / "tree"
    pdfs = dict(line.split() for line in system.kaldi(f"tree-info {path}").decode().splitlines())["num-pdfs"]
    same(path, int(pdfs), read_tree(path).num_pdfs)
    return same_bytes(path, path.read_bytes(), system.kaldi(f"copy-tree {path} -"))


def we_write_back_a_tree_of_kaldi(system: System) -> str:
    out = system.fresh()
    for name in ("mono_ali", "tri1_ali", "tri3b_ali"):
        path = system.work / "exp" / name / "tree"
        system.kaldi(f"copy-tree --binary=false {path} {out}/{name}")
        same(path, read_tree(path), read_tree(out / name))
        said = same_bytes(path, path.read_bytes(), tree_bytes(read_tree(path)))
    return f"{said}, written back; text too"


def kaldi_copies_our_models(system: System) -> str:
    """gmm-copy computes the constants anew, in single precision; all else must be the same bytes."""
    out, largest = system.fresh(), [0.0]
    for path in sorted((system.ours / "exp").glob("*/final*mdl")):
        system.kaldi(f"gmm-copy {path} {out}/copy.mdl")
        (model, wanted), (_, found) = read_model(path), read_model(out / "copy.mdl")
        copied = model_bytes(model, replace(found, gconsts=wanted.gconsts))
        same_bytes(path, path.read_bytes(), copied)
        largest.append(float(np.abs(wanted.gconsts - found.gconsts).max()))
    return "same bytes but for the Gaussians' constants, computed anew: " + close(out, [0.0], [max(largest)], 1e-3)


def we_write_back_models_of_kaldi(system: System) -> str:
    out = system.fresh()
    for path in sorted((system.work / "exp").glob("*_ali/final*mdl")):
        said = same_bytes(path, path.read_bytes(), model_bytes(*read_model(path)))
        system.kaldi(f"gmm-copy --binary=false {path} {out}/text.mdl")
        (_, binary), (_, text) = read_model(path), read_model(out / "text.mdl")
        scale = np.abs(binary.means_invvars).max()
        close(path, binary.means_invvars / scale, text.means_invvars / scale, 1e-6)
    return f"{said}, written back; text too"


def kaldi_reads_our_transition_model(system: System) -> str:
    path = system.ours / ALI / "final.mdl"
    said = system.kaldi(f"show-transitions {system.ours}/lang/phones.txt {path}").decode()
    ids = [line.split() for line in said.splitlines() if line.strip().startswith("Transition-id")]
    model = read_transition_model(path)
    same(path, len(ids), model.num_transition_ids)
    return close(path, [float(words[5]) for words in ids], np.exp(model.log_probs[1:]), 1e-5)


def we_read_a_transition_model_of_kaldi(system: System) -> str:
    out = system.fresh()
    system.kaldi(f"copy-transition-model {ALI}/final.mdl {out}/trans.mdl")
    found, wanted = read_transition_model(out / "trans.mdl"), read_transition_model(system.work / ALI / "final.mdl")
    same(out, wanted.tuples.tolist(), found.tuples.tolist())
    return close(out, wanted.log_probs, found.log_probs, 1e-6)


def kaldi_reads_our_chain_model(system: System) -> str:
    out = chain_model(system)
    (out / "written_topo").write_text(read_topology(out / "topo").text(), encoding="utf-8")
    system.kaldi(f"gmm-init-mono {out}/written_topo 13 {out}/again.mdl {out}/again_tree")
    same_bytes(out, (out / "0.mdl").read_bytes(), (out / "again.mdl").read_bytes())
    (out / "written.mdl").write_bytes(model_bytes(*read_model(out / "0.mdl")))
    return same_bytes(out, (out / "written.mdl").read_bytes(), system.kaldi(f"gmm-copy {out}/written.mdl -"))


def we_read_a_chain_model_of_kaldi(system: System) -> str:
    """pdfs of the alignments of every third frame that convert-ali makes, and the bytes of the model."""
    out = chain_model(system)
    converted = f"convert-ali --frame-subsampling-factor=3 {ALI}/final.mdl {out}/0.mdl {out}/tree"
    system.kaldi(f"{converted} 'ark:gunzip -c {ALI}/ali.1.gz |' 'ark:|gzip -c > {out}/ali.1.gz'")
    shutil.copyfile(out / "0.mdl", out / "final.mdl")
    said = same_bytes(out, (out / "0.mdl").read_bytes(), model_bytes(*read_model(out / "0.mdl")))
    return f"{said}, written back; {ids_of(system, out)}"


def chain_model(system: System) -> Path:
    """A folder with topo, tree and 0.mdl of monophones whose self-loops have pdfs of their own."""
    out = system.fresh()
    (out / "topo").write_text(chain_topology(system.work / "lang"), encoding="utf-8")
    system.kaldi(f"gmm-init-mono {out}/topo 13 {out}/0.mdl {out}/tree")
    return out


# ---- matrices and transforms


def kaldi_copies_our_matrix(system: System) -> str:
    out, path = system.fresh(), system.ours / ALI / "final.mat"
    system.kaldi(f"copy-matrix {path} {out}/final.mat")
    return same_bytes(path, path.read_bytes(), (out / "final.mat").read_bytes())


def we_write_back_a_matrix_of_kaldi(system: System) -> str:
    out = system.fresh()
    for name in ("final.mat", "full.mat"):
        write_matrix(out / name, read_matrix(system.work / ALI / name))
        said = same_bytes(name, (system.work / ALI / name).read_bytes(), (out / name).read_bytes())
    return f"{said}, written back"


def kaldi_applies_our_options_and_transforms(system: System) -> str:
    gmm, data, out = system.ours / ALI, system.ours / "data/train", system.fresh()
    (out / "theirs.ark").write_bytes(system.kaldi(features_of(data, gmm)))
    feats = SpeakerFeatures.read(DataDir.read(data), FeatureRecipe.of_dir(gmm), read_transforms(gmm))
    ours = {utterance: feats.of(utterance) for utterance in feats.utterances}
    return "features: " + close_tables(out, dict(read_matrix_ark(out / "theirs.ark")), ours, 1e-3)


def we_apply_options_and_transforms_of_kaldi(system: System) -> str:
    gmm, data, out = system.work / ALI, system.work / "data/train", system.fresh()
    again = b"".join(key.encode() + b" " + packed_matrix(value) for key, value in read_matrix_ark(gmm / "trans.1"))
    same_bytes(gmm, (gmm / "trans.1").read_bytes(), again)
    recipe = FeatureRecipe.of_dir(gmm)
    recipe.write(out)
    for name in ("cmvn_opts", "splice_opts"):
        same_bytes(name, (gmm / name).read_bytes().strip(), (out / name).read_bytes().strip())
    (out / "theirs.ark").write_bytes(system.kaldi(features_of(data, gmm)))
    feats = SpeakerFeatures.read(DataDir.read(data), recipe, read_transforms(gmm))
    ours = {utterance: feats.of(utterance) for utterance in feats.utterances}
    said = close_tables(out, dict(read_matrix_ark(out / "theirs.ark")), ours, 1e-3)
    return f"same bytes, written back; features: {said}"


# ---- alignments and what comes of them


def table(text: bytes) -> dict[str, list[int]]:
    rows = (line.split() for line in text.decode().splitlines())
    return {key: [int(word) for word in rest] for key, *rest in rows}


def ids_of(system: System, gmm: Path) -> str:
    """pdfs and phones of all alignments as ali-to-pdf and ali-to-phones print them."""
    model, alignments = read_transition_model(gmm / "final.mdl"), read_alignments(gmm)
    packed = f"'ark:gunzip -c {gmm}/ali.*.gz |'"
    for program, column in (("ali-to-pdf", model.id2pdf), ("ali-to-phones --per-frame", model.id2phone)):
        wanted = table(system.kaldi(f"{program} {gmm}/final.mdl {packed} ark,t:-"))
        same(gmm, wanted, {key: column[ids].tolist() for key, ids in alignments.items()})
    return "same pdfs and phones of every frame"


def kaldi_reads_our_alignments(system: System) -> str:
    gmm, out = system.ours / ALI, system.fresh()
    system.kaldi(f"copy-int-vector 'ark:gunzip -c {gmm}/ali.1.gz |' ark:{out}/ali")
    return same_bytes(gmm, (gmm / "ali.1.gz").read_bytes(), (out / "ali").read_bytes()) + "; " + ids_of(system, gmm)


def we_write_back_alignments_of_kaldi(system: System) -> str:
    gmm, out = system.work / ALI, system.fresh()
    write_int_vectors(out / "ali.1.gz", read_int_vectors(gmm / "ali.1.gz"))
    said = same_bytes(gmm, (gmm / "ali.1.gz").read_bytes(), (out / "ali.1.gz").read_bytes())
    return f"{said}, written back; {ids_of(system, gmm)}"


def kaldi_aligns_along_our_graphs(system: System) -> str:
    gmm, data, out = system.ours / ALI, system.ours / "data/train", system.fresh()
    model, corpus = GmmDir.read(gmm), DataDir.read(data)
    graphs = compile_graphs(corpus, Lang.read(system.ours / "lang"), model.tree, model.tm, corpus.utterances)
    write_fst_archive(out / "fsts", sorted(graphs.items()))
    system.kaldi(
        "gmm-align-compiled --transition-scale=1.0 --acoustic-scale=0.1 --self-loop-scale=0.1 --beam=10 "
        f"--retry-beam=40 {gmm}/final.mdl ark:{out}/fsts 'ark:{features_of(data, gmm)} |' ark:{out}/ali"
    )
    theirs, ours = read_int_vectors(out / "ali"), read_alignments(gmm)
    different = sum(int((theirs[key] != ids).sum()) for key, ids in ours.items())
    frames = sum(map(len, ours.values()))
    if different > 0.001 * frames:
        raise MismatchError(str(gmm), f"{different} of {frames} frames are aligned otherwise")
    return "same alignments" if different == 0 else "same alignments but for less than 0.1 % of frames"


def our_graphs_are_those_of_kaldi(system: System) -> str:
    gmm = GmmDir.read(system.work / ALI)
    corpus = DataDir.read(system.work / "data/train")
    graphs = compile_graphs(corpus, Lang.read(system.work / "lang"), gmm.tree, gmm.tm, corpus.utterances)
    theirs = dict(read_fst_archive(gmm.path / "fsts.1.gz"))
    same(gmm.path, sorted(graphs), sorted(theirs))
    found = {key: weight_difference(graphs[key], theirs[key]) for key in graphs}
    other = [key for key, difference in found.items() if difference is None]
    if other:
        raise MismatchError(str(gmm.path), f"the graph of {other[0]} is another transducer")
    return "isomorphic to ours; weights: " + close(
        gmm.path, [0.0], [max(filter(None, found.values()), default=0.0)], 2e-3
    )


def kaldi_counts_our_alignments(system: System) -> str:
    return counts(system, system.ours / ALI)


def we_count_alignments_as_kaldi(system: System) -> str:
    return counts(system, system.work / ALI)


def counts(system: System, gmm: Path) -> str:
    packed, pdfs = f"'ark:gunzip -c {gmm}/ali.1.gz |'", read_transition_model(gmm / "final.mdl")
    counted = f"analyze-counts --counts-dim={pdfs.num_pdfs} --binary=false ark:- -"  # adds 0.5 to each
    said = system.kaldi(f"ali-to-pdf {gmm}/final.mdl {packed} ark:- | {counted}")
    wanted = np.array(said.decode().strip("[] \n").split(), float)
    targets = np.concatenate([pdfs.id2pdf[ids] for ids in read_alignments(gmm).values()])
    priors = np.exp(log_priors(targets, pdfs.num_pdfs, PriorConfig(smoothing=0.5, floor=1e-9)))
    return "priors of 'am train': " + close(gmm, wanted / wanted.sum(), priors, 1e-6)


KINDS = (
    Kind("`topo`", "gmm-init-mono", kaldi_starts_from_our_topology,
         "prepare_lang.sh", we_write_back_a_topology_of_kaldi),
    Kind("`tree`", "copy-tree, tree-info", kaldi_copies_our_tree,
         "train_*.sh, copy-tree, binary and text", we_write_back_a_tree_of_kaldi),
    Kind("GMM models `final.mdl final.alimdl`", "gmm-copy", kaldi_copies_our_models,
         "train_*.sh, gmm-copy, binary and text", we_write_back_models_of_kaldi),
    Kind("transition model (head of any `final.mdl`)", "show-transitions", kaldi_reads_our_transition_model,
         "copy-transition-model", we_read_a_transition_model_of_kaldi),
    Kind("`topo final.mdl` of chain models", "gmm-init-mono, gmm-copy", kaldi_reads_our_chain_model,
         "gmm-init-mono, convert-ali", we_read_a_chain_model_of_kaldi),
    Kind("`final.mat full.mat`", "copy-matrix", kaldi_copies_our_matrix,
         "train_lda_mllt.sh", we_write_back_a_matrix_of_kaldi),
    Kind("`trans.N cmvn_opts splice_opts`", "transform-feats, apply-cmvn, splice-feats",
         kaldi_applies_our_options_and_transforms, "align_fmllr.sh", we_apply_options_and_transforms_of_kaldi),
    Kind("`ali.N.gz`", "copy-int-vector, ali-to-pdf, ali-to-phones", kaldi_reads_our_alignments,
         "align_fmllr.sh", we_write_back_alignments_of_kaldi),
    Kind("training graphs `fsts.N.gz`", "gmm-align-compiled", kaldi_aligns_along_our_graphs,
         "train_sat.sh (compile-train-graphs)", our_graphs_are_those_of_kaldi),
    Kind("pdf counts, priors", "ali-to-pdf, analyze-counts of our alignments", kaldi_counts_our_alignments,
         "analyze-counts", we_count_alignments_as_kaldi),
)  # fmt: skip
