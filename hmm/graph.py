"""Decoding graphs: HCLG from a lang directory with G.fst, a tree and a model, as Kaldi's utils/mkgraph.sh makes them.

Source: Mohri, Pereira, Riley 2008; kaldi's utils/mkgraph.sh, whose graphs are isomorphic to these.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.atomic import whole_dir
from harness.errors import LexiconError, ModelError
from harness.log import get_logger
from hmm.fst_operations import compose, determinize_star, push_special, remove_input_symbols
from hmm.h_transducer import add_self_loops, h_transducer
from hmm.lang import read_integers
from hmm.local_epsilons import remove_epsilons_locally
from kaldi_bridge.fsts import FstArrays, from_kaldifst, read_fst, to_kaldifst, write_fst
from kaldi_bridge.models import TransitionModel, Tree, read_transition_model, read_tree

LOG = get_logger("hmm.graph")
MEND_LANG = "prepare the lang directory and format the language model with one words.txt"
COPIED = (
    "align_lexicon.txt", "align_lexicon.int", "disambig.txt", "disambig.int", "optional_silence.txt",
    "optional_silence.int", "optional_silence.csl", "silence.csl", "word_boundary.txt", "word_boundary.int",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class GraphConfig:
    """How a decoding graph is built; the defaults are Kaldi's."""

    transition_scale: float = 1.0  # of transition log-probabilities other than self-loops
    self_loop_scale: float = 0.1  # of self-loops; less than 1 since frames are not independent
    max_states: int = 50_000_000  # determinisation beyond this is stopped: a graph without disambiguation never ends

    def __post_init__(self) -> None:
        if self.max_states < 1:
            raise ValueError(f"max_states must be positive, got {self.max_states}")
        if self.transition_scale < 0 or self.self_loop_scale < 0:
            raise ValueError("transition_scale and self_loop_scale must not be negative")


@dataclass(frozen=True)
class ComposedGraph:
    """HCLG and what else mkgraph.sh keeps."""

    hclg: FstArrays
    disambig_ids: list[int]  # input labels of H that stood for disambiguation symbols; none is left in hclg


def compose_graph(
    lexicon: FstArrays, grammar: FstArrays, disambig_phones: Sequence[int], tree: Tree, model: TransitionModel,
    config: GraphConfig,
) -> ComposedGraph:  # fmt: skip
    """HCLG = self-loops(min(rmeps(det(H o C o min(det(L o G)))))).

    lexicon: L_disambig.  grammar: G with #0 on its back-off arcs.  disambig_phones: the phone ids of #0, #1, ...
    Raises ModelError if a composition is empty or determinisation passes `config.max_states`.
    """
    import kaldifst

    steps = _Steps()
    left, right = to_kaldifst(lexicon), to_kaldifst(grammar)
    kaldifst.arcsort(left, "olabel")
    kaldifst.arcsort(right, "ilabel")
    lg = compose(left, right, "L_disambig o G", mend=MEND_LANG)
    steps.done("L o G", lg)
    determinize_star(lg, config.max_states, "L_disambig o G")
    kaldifst.minimize_encoded(lg)
    lg = to_kaldifst(push_special(from_kaldifst(lg)))
    steps.done("LG, determinised, minimised, pushed", lg)
    clg, windows = _compose_context(lg, disambig_phones, tree)
    steps.done(f"CLG with {len(windows)} windows", clg)

    h, disambig_ids = h_transducer(windows, tree, model, config.transition_scale)
    left = to_kaldifst(h)
    kaldifst.arcsort(left, "olabel")
    hclg = compose(left, clg, "H o CLG", mend="use the tree, the model and the lang directory of one training")
    del left, clg
    steps.done("H o CLG", hclg)
    determinize_star(hclg, config.max_states, "H o CLG")
    steps.done("HCLG, determinised", hclg)
    hclg = to_kaldifst(remove_epsilons_locally(remove_input_symbols(from_kaldifst(hclg), disambig_ids)))
    kaldifst.minimize_encoded(hclg)
    steps.done("HCLG, epsilons removed, minimised", hclg)
    return ComposedGraph(add_self_loops(from_kaldifst(hclg), model, config.self_loop_scale), disambig_ids)


def _compose_context(lg: Any, disambig_phones: Sequence[int], tree: Tree) -> tuple[Any, list[list[int]]]:
    """C o LG, sorted for the next composition, and what its input labels mean."""
    import kaldifst

    kaldifst.arcsort(lg, "ilabel")
    clg, windows = kaldifst.compose_context(
        disambig_syms=list(disambig_phones), context_width=tree.context_width,
        central_position=tree.central_position, ifst=lg,
    )  # fmt: skip
    kaldifst.arcsort(clg, "ilabel")
    return clg, windows


class _Steps:
    """Logs size and CPU time of each step."""

    def __init__(self) -> None:
        self.last = time.process_time()

    def done(self, name: str, fst: Any) -> None:
        now = time.process_time()
        LOG.info("%s: %d states, %.1f s", name, fst.num_states, now - self.last)
        self.last = now


def make_graph(
    lang_dir: str | Path, model_dir: str | Path, graph_dir: str | Path, config: GraphConfig | None = None, *,
    model_name: str = "final.mdl", force: bool = False,
) -> Path:  # fmt: skip
    """Writes the directory of Kaldi's mkgraph.sh: HCLG.fst, words.txt, phones.txt, phones/, num_pdfs, disambig_tid.int.

    lang_dir: with L_disambig.fst and G.fst (see `format_lm`).  model_dir: with `tree` and `model_name`.
    Raises LexiconError if a file is missing, ModelError if the parts do not fit.
    """
    lang, models, graph = Path(lang_dir), Path(model_dir), Path(graph_dir)
    config = config or GraphConfig()
    needed = [
        lang / name
        for name in ("L_disambig.fst", "G.fst", "words.txt", "phones.txt", "phones/disambig.int", "phones/silence.csl")
    ]
    for path in [*needed, models / "tree", models / model_name]:
        if not path.is_file():
            mend = (
                "format the language model first"
                if path.name == "G.fst"
                else "prepare the lang directory and train the model first"
            )
            raise LexiconError(path, "does not exist", mend=mend)
    model, tree = read_transition_model(models / model_name), read_tree(models / "tree")
    disambig = [phone for row in read_integers(lang / "phones/disambig.int") for phone in row]
    lexicon, grammar = _read_finite(lang / "L_disambig.fst"), _read_finite(lang / "G.fst")
    with whole_dir(graph, force=force) as out:
        made = compose_graph(lexicon, grammar, disambig, tree, model, config)
        write_fst(out / "HCLG.fst", made.hclg, const=True)
        _write_lines(out / "disambig_tid.int", made.disambig_ids)
        _write_lines(out / "num_pdfs", [model.num_pdfs])
        shutil.copy(lang / "words.txt", out)
        shutil.copy(lang / "phones.txt", out)
        (out / "phones").mkdir()
        for name in COPIED:
            if (lang / "phones" / name).is_file():
                shutil.copy(lang / "phones" / name, out / "phones")
    LOG.info("%s: %d states, %d arcs", graph / "HCLG.fst", made.hclg.num_states, made.hclg.num_arcs)
    return graph


def _read_finite(path: Path) -> FstArrays:
    """A transducer; ModelError where an arc costs what is no number: determinisation would never end."""
    fst = read_fst(path)
    if bad := int((~np.isfinite(fst.weight)).sum()):
        mend = "take n-grams of probability 0 out of the language model, or format it with 'hmm format-lm'"
        raise ModelError(path, f"{bad} of {fst.num_arcs} arcs have an endless cost", mend=mend)
    return fst


def _write_lines(path: Path, values: Sequence[int]) -> None:
    path.write_text("".join(f"{value}\n" for value in values), encoding="utf-8")
