"""The rows of docs/kaldi.md about lexica, language models, graphs, likelihoods, lattices and scores."""

from __future__ import annotations

import shutil
from pathlib import Path

from am.score import ScoreConfig, score_kaldi
from hmm.arpa import read_arpa, write_arpa
from hmm.decode_set import decode_set
from hmm.decoder import DecodeConfig, DecodingGraph, decode
from hmm.gmm import log_likelihoods
from hmm.grammar import format_lm
from hmm.lang import prepare_lang
from hmm.lattice import best_path, sweep
from hmm.lexicon import DictDir
from hmm.lm import train_lm
from hmm.make_dict import make_dict
from kaldi_bridge.fsts import const_bytes, read_fst
from kaldi_bridge.lattices import read_decode_dir, read_lattices, write_lattices
from kaldi_bridge.models import read_model, read_transition_model
from kaldi_bridge.tables import MatrixWriter, read_matrix_ark
from kaldi_bridge.text_tables import read_text_table
from tests.fst_isomorphism import weight_difference
from tests.golden.tone_speech import LEXICON
from tests.kaldi.kind import Kind
from tests.kaldi.kinds_of_models import features_of, table
from tests.kaldi.system import MismatchError, System, close, close_tables, same, same_bytes

SCALE = 1 / 12  # of acoustic scores
SEARCH = f"--beam=13 --max-active=7000 --lattice-beam=6 --acoustic-scale={SCALE:.8f}"
ROUNDING = 2e-3  # fstminimizeencoded rounds weights to 1/1024


def isomorphic(where: Path, one: Path, other: Path, limit: float = ROUNDING) -> str:
    difference = weight_difference(read_fst(one), read_fst(other))
    if difference is None:
        raise MismatchError(str(where), f"{one} and {other} are different transducers")
    return "isomorphic; weights: " + close(where, [0.0], [difference], limit)


def count(where: object, wanted: dict[str, list[int]], found: dict[str, list[int]], what: str = "transcripts") -> str:
    same(where, wanted, found)
    return f"all {len(wanted)} {what} the same"


# ---- lexicon and language model


def kaldi_takes_our_dict(system: System) -> str:
    out = system.fresh()
    rows = ["<unk> SPN", *(f"{word} {phones}" for word, phones in LEXICON.items())]
    (out / "lexicon.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
    make_dict(out / "lexicon.txt", out / "dict")
    system.kaldi(f"utils/validate_dict_dir.pl {out}/dict")
    system.kaldi(f"utils/prepare_lang.sh {out}/dict '<unk>' {out}/local {out}/lang")
    return f"valid; {lang_files(out / 'lang', prepare_lang(out / 'dict', out / 'ours').path)}"


def we_read_a_dict_of_kaldi(system: System) -> str:
    """prepare_lang.sh leaves lexiconp.txt, pronunciations with probabilities, in the directory it was given."""
    path = system.work / "dict"
    rows = [line.split() for line in (path / "lexiconp.txt").read_text(encoding="utf-8").splitlines()]
    entries = [(entry.word, entry.probability, entry.phones) for entry in DictDir.read(path).pronunciations]
    return same(path, [(row[0], float(row[1]), tuple(row[2:])) for row in rows], entries)


def lang_files(theirs: Path, ours: Path) -> str:
    """Every text file of a lang directory; fstwrite'd ones are judged elsewhere."""
    names = sorted(
        path.relative_to(ours).as_posix() for path in ours.rglob("*") if path.is_file() and path.suffix != ".fst"
    )
    for name in names:
        words = [(folder / name).read_text(encoding="utf-8").split() for folder in (theirs, ours)]
        same(name, *words)
    return f"all {len(names)} text files as prepare_lang.sh writes them"


def kaldi_takes_our_lang(system: System) -> str:
    system.kaldi(f"utils/validate_lang.pl --skip-determinization-check {system.ours}/lang_test")
    return "valid"


def we_write_the_lang_of_kaldi(system: System) -> str:
    return lang_files(system.work / "lang", system.ours / "lang")


def kaldi_compiles_our_lexicon(system: System) -> str:
    """compile-train-graphs with L.fst of ours gives the training graphs that it gives with Kaldi's."""
    out, ali = system.fresh(), system.work / "exp/tri3b_ali"
    oov = (system.work / "lang/oov.int").read_text(encoding="utf-8").strip()
    words = f"'ark:utils/sym2int.pl --map-oov {oov} -f 2- lang/words.txt data/train/text |'"
    for name, lang in (("theirs", "lang"), ("ours", system.ours / "lang")):
        options = f"--read-disambig-syms={lang}/phones/disambig.int {ali}/tree {ali}/final.mdl {lang}/L.fst"
        system.kaldi(f"compile-train-graphs {options} {words} ark:{out}/{name}")
    return same_bytes(out, (out / "theirs").read_bytes(), (out / "ours").read_bytes()) + " of all training graphs"


def our_lexicon_is_that_of_kaldi(system: System) -> str:
    for name in ("L.fst", "L_disambig.fst"):
        said = isomorphic(system.ours, system.work / "lang" / name, system.ours / "lang" / name, 1e-5)
    return said


def kaldi_compiles_our_arpa(system: System) -> str:
    out = system.fresh()
    said = [line.split() for line in read_text_table(system.work / "data/train/text").values()]
    write_arpa(out / "lm.arpa", train_lm(said, sorted(LEXICON), 3, "kneser_ney"))
    words = f"{system.work}/lang/words.txt"
    system.kaldi(f"arpa2fst --disambig-symbol=#0 --read-symbol-table={words} {out}/lm.arpa {out}/G.fst")
    format_lm(system.ours / "lang", read_arpa(out / "lm.arpa"), out / "lang")
    return "G " + isomorphic(out, out / "G.fst", out / "lang/G.fst", 1e-5)


def kaldi_composes_our_grammar(system: System) -> str:
    out = system.fresh()
    for name in ("lang_test", "ours/lang_test"):
        fsts = f"{name}/L_disambig.fst {name}/G.fst"
        system.kaldi(
            f"fsttablecompose {fsts} | fstdeterminizestar --use-log=true | fstminimizeencoded > {out}/{len(name)}"
        )
    return "LG " + isomorphic(out, *sorted(out.iterdir()))


def our_grammar_is_that_of_kaldi(system: System) -> str:
    return isomorphic(system.ours, system.work / "lang_test/G.fst", system.ours / "lang_test/G.fst", 1e-5)


# ---- graphs


def kaldi_makes_our_graph(system: System) -> str:
    """mkgraph.sh on our lang, tree and model against our graph."""
    out = system.fresh()
    shutil.copytree(system.ours / "lang_test", out / "lang")
    system.kaldi(f"utils/mkgraph.sh {out}/lang {system.ours}/exp/tri3b {out}/graph")
    found = system.ours / "exp/tri3b/graph"
    for name in ("num_pdfs", "disambig_tid.int", "words.txt", "phones.txt", "phones/word_boundary.int"):
        same_bytes(name, (out / "graph" / name).read_bytes(), (found / name).read_bytes())
    return "the graph of mkgraph.sh is " + isomorphic(out, out / "graph/HCLG.fst", found / "HCLG.fst")


def kaldi_decodes_in_our_graph(system: System) -> str:
    return f"{decoded(system, system.ours)}; {kaldi_makes_our_graph(system)}"


def we_decode_in_the_graph_of_kaldi(system: System) -> str:
    path = system.work / "exp/tri3b/graph/HCLG.fst"
    again, data = const_bytes(read_fst(path)), path.read_bytes()
    return f"{same_bytes(path, data[60:], again[60:])} after the head, written back; {decoded(system, system.work)}"


def adapted_features(system: System, side: Path) -> str:
    """Features of a side's test set as its model sees them, with the transforms of its decoding."""
    gmm, adapted = side / "exp/tri3b", side / "exp/tri3b_test"
    if not adapted.is_dir():
        shutil.copytree(gmm, adapted, ignore=shutil.ignore_patterns("trans.*", "graph", "decode_test*", "log"))
        shutil.copyfile(gmm / "decode_test/trans.1", adapted / "trans.1")
    return features_of(side / "data/test", adapted)


def loglikes_of(system: System, side: Path, out: Path) -> Path:
    """An archive of likelihoods by our GMM code of features by Kaldi."""
    (out / "feats").write_bytes(system.kaldi(adapted_features(system, side)))
    gaussians = read_model(side / "exp/tri3b/final.mdl")[1]
    with MatrixWriter(out / "loglikes.ark") as writer:
        for key, matrix in read_matrix_ark(out / "feats"):
            writer.write(key, log_likelihoods(gaussians, matrix))
    return out / "loglikes.ark"


def by_ours(side: Path, ark: Path, out: Path) -> dict[str, list[int]]:
    """Transcripts by our decoder in a side's graph."""
    loglikes, gmm = dict(read_matrix_ark(ark)), side / "exp/tri3b"
    config = DecodeConfig(acoustic_scale=SCALE)
    decode_set(gmm / "graph", loglikes, sorted(loglikes), out / "decode", config, model=gmm / "final.mdl", jobs=1)
    return {key: best_path(lattice).words.tolist() for key, lattice in read_decode_dir(out / "decode")}


def by_kaldi(system: System, side: Path, ark: Path) -> dict[str, list[int]]:
    """Transcripts by latgen-faster-mapped in a side's graph."""
    gmm = side / "exp/tri3b"
    lattices = f"latgen-faster-mapped {SEARCH} {gmm}/final.mdl {gmm}/graph/HCLG.fst ark:{ark} ark:-"
    return table(system.kaldi(f"{lattices} | lattice-best-path --lm-scale=12 ark:- ark,t:-"))


def decoded(system: System, side: Path) -> str:
    """Transcripts of gmm-latgen-faster and of our decoder, with one side's graph, model and features."""
    out, gmm = system.fresh(), side / "exp/tri3b"
    feats = adapted_features(system, side)
    lattices = f"gmm-latgen-faster {SEARCH} {gmm}/final.mdl {gmm}/graph/HCLG.fst 'ark:{feats} |' ark:-"
    wanted = table(system.kaldi(f"{lattices} | lattice-best-path --lm-scale=12 ark:- ark,t:-"))
    return count(out, wanted, by_ours(side, loglikes_of(system, side, out), out))


# ---- likelihoods


def kaldi_decodes_our_likelihoods(system: System) -> str:
    out = system.fresh()
    ark = loglikes_of(system, system.ours, out)
    return count(out, by_kaldi(system, system.ours, ark), by_ours(system.ours, ark, out))


def we_decode_likelihoods_of_kaldi(system: System) -> str:
    out = system.fresh()
    ours, theirs = loglikes_of(system, system.work, out), out / "theirs.ark"
    system.kaldi(f"gmm-compute-likes exp/tri3b/final.mdl ark:{out}/feats ark:{theirs}")
    computed = close_tables(out, dict(read_matrix_ark(theirs)), dict(read_matrix_ark(ours)), 1e-2)
    words = count(out, by_kaldi(system, system.work, theirs), by_ours(system.work, theirs, out))
    return f"{words}; computed: {computed}"


# ---- lattices and scores


def scored_alike(system: System, archive: Path) -> str:
    """Transcripts by lattice-best-path and ours at all weights from 7 to 17, with and without a word penalty."""
    weights, penalties = list(range(7, 18)), [0.0, 1.0]
    ours = {key: sweep(lattice, weights, penalties) for key, lattice in read_lattices(archive)}
    for row, weight in enumerate(weights):
        for column, penalty in enumerate(penalties):
            chain = f"lattice-scale --inv-acoustic-scale={weight} 'ark:gunzip -c {archive} |' ark:-"
            chain += (
                f" | lattice-add-penalty --word-ins-penalty={penalty} ark:- ark:- | lattice-best-path ark:- ark,t:-"
            )
            found = {key: words[row][column].tolist() for key, words in ours.items()}
            same(archive, table(system.kaldi(chain)), found)
    return f"transcripts of all {len(ours)} at {len(weights) * len(penalties)} settings the same"


def kaldi_scores_our_lattices(system: System) -> str:
    archive, gmm = system.ours / "exp/tri3b/decode_test/lat.1.gz", system.ours / "exp/tri3b"
    alignments = table(
        system.kaldi(f"lattice-best-path --lm-scale=12 'ark:gunzip -c {archive} |' ark:/dev/null ark,t:-")
    )
    ours = {key: best_path(lattice).transition_ids.tolist() for key, lattice in read_lattices(archive)}
    same(gmm, alignments, ours)
    return scored_alike(system, archive) + ", alignments too"


def we_score_lattices_of_kaldi(system: System) -> str:
    return scored_alike(system, system.work / "exp/tri3b/decode_test/lat.1.gz")


def kaldi_determinizes_our_lattices(system: System) -> str:
    out, gmm = system.fresh(), system.ours / "exp/tri3b"
    graph, config = DecodingGraph.read(gmm / "graph", read_transition_model(gmm / "final.mdl")), DecodeConfig()
    loglikes = read_matrix_ark(loglikes_of(system, system.ours, out))
    raw = {key: decode(graph, matrix, config) for key, matrix in loglikes}
    write_lattices(out / "raw.gz", raw.items())
    system.kaldi(
        f"lattice-determinize-pruned --acoustic-scale={SCALE:.8f} --beam=6 'ark:gunzip -c {out}/raw.gz |' "
        f"'ark:|gzip -c > {out}/det.gz'"
    )
    wanted = {key: best_path(lattice).words.tolist() for key, lattice in read_lattices(out / "det.gz")}
    return count(out, wanted, {key: best_path(lattice).words.tolist() for key, lattice in raw.items()})


def we_read_plain_lattices_of_kaldi(system: System) -> str:
    out, archive = system.fresh(), system.work / "exp/tri3b/decode_test/lat.1.gz"
    system.kaldi(f"lattice-copy --write-compact=false 'ark:gunzip -c {archive} |' ark:- | gzip -c > {out}/plain.gz")
    return scored_alike(system, out / "plain.gz")


def scored_directory(system: System, side: Path) -> str:
    """Files of score_kaldi.sh and of 'am score --kaldi' for copies of one decode directory."""
    out, gmm = system.fresh(), side / "exp/tri3b"
    for name in ("theirs", "ours"):
        (out / name).mkdir()
        shutil.copytree(gmm / "decode_test", out / name / "decode")
        for file in ("final.mdl", "tree"):
            shutil.copy(gmm / file, out / name)
    options = "--min-lmwt 7 --max-lmwt 17 --word-ins-penalty 0.0,0.5,1.0"
    system.kaldi(f"steps/score_kaldi.sh --cmd run.pl {options} data/test {gmm}/graph {out}/theirs/decode")
    score_kaldi(out / "ours/decode", system.work / "data/test", gmm / "graph", ScoreConfig(widen=False))
    theirs, ours = out / "theirs/decode", out / "ours/decode"
    names = sorted(path.name for path in theirs.glob("wer_*"))
    details = [f"scoring_kaldi/wer_details/{name}" for name in ("per_utt", "per_spk", "ops", "lmwt", "wip")]
    for name in (*names, *details):
        contents = [(folder / name).read_text(encoding="utf-8").splitlines() for folder in (theirs, ours)]
        same(name, *([line for line in lines if not line.startswith("compute-wer")] for lines in contents))
    return f"same lines in all {len(names)} wer files and {len(details)} of details"


def kaldi_scores_our_directory(system: System) -> str:
    return scored_directory(system, system.ours)


def we_score_a_directory_of_kaldi(system: System) -> str:
    return scored_directory(system, system.work)


def kaldi_makes_ctm_of_our_lattices(system: System) -> str:
    gmm = system.ours / "exp/tri3b"
    archive, words = gmm / "decode_test/lat.1.gz", f"{gmm}/graph/phones/word_boundary.int"
    text = system.kaldi(
        f"lattice-1best --lm-scale=12 'ark:gunzip -c {archive} |' ark:- | "
        f"lattice-align-words {words} {gmm}/final.mdl ark:- ark:- | nbest-to-ctm ark:- -"
    )
    found: dict[str, list[int]] = {}
    for line in text.decode().splitlines():
        found.setdefault(line.split()[0], []).append(int(line.split()[4]))
    return count(gmm, found, {key: best_path(lattice).words.tolist() for key, lattice in read_lattices(archive)})


KINDS = (
    Kind("dict directory (`lexicon.txt ...`)", "validate_dict_dir.pl, prepare_lang.sh", kaldi_takes_our_dict,
         "prepare_lang.sh (`lexiconp.txt`)", we_read_a_dict_of_kaldi),
    Kind("lang directory (`words.txt phones.txt phones/ ...`)", "validate_lang.pl", kaldi_takes_our_lang,
         "prepare_lang.sh", we_write_the_lang_of_kaldi),
    Kind("`L.fst L_disambig.fst`", "compile-train-graphs", kaldi_compiles_our_lexicon,
         "prepare_lang.sh", our_lexicon_is_that_of_kaldi),
    Kind("ARPA language model", "arpa2fst", kaldi_compiles_our_arpa, "(Kaldi writes none)", None),
    Kind("`G.fst`", "fsttablecompose, fstdeterminizestar", kaldi_composes_our_grammar,
         "format_lm.sh", our_grammar_is_that_of_kaldi),
    Kind("graph directory (`HCLG.fst ...`)", "gmm-latgen-faster", kaldi_decodes_in_our_graph,
         "mkgraph.sh", we_decode_in_the_graph_of_kaldi),
    Kind("log-likelihoods (`loglikes.N.ark`)", "latgen-faster-mapped", kaldi_decodes_our_likelihoods,
         "gmm-compute-likes", we_decode_likelihoods_of_kaldi),
    Kind("lattices `lat.N.gz`", "lattice-scale, lattice-add-penalty, lattice-best-path", kaldi_scores_our_lattices,
         "decode_fmllr.sh", we_score_lattices_of_kaldi),
    Kind("lattices, not determinized", "lattice-determinize-pruned", kaldi_determinizes_our_lattices,
         "lattice-copy --write-compact=false", we_read_plain_lattices_of_kaldi),
    Kind("scoring directory (`wer_* scoring_kaldi`)", "score_kaldi.sh, on our lattices", kaldi_scores_our_directory,
         "score_kaldi.sh", we_score_a_directory_of_kaldi),
    Kind("ctm", "nbest-to-ctm, of our lattices", kaldi_makes_ctm_of_our_lattices, "(not read by us)", None),
)  # fmt: skip
