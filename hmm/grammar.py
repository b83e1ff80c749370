"""From an ARPA model to G.fst and a lang directory for decoding, as Kaldi's arpa2fst and utils/format_lm.sh make them.

States are histories. A word's arc leads to the longest history that the model knows; a back-off arc carries #0, so that
the graph stays determinisable; </s> becomes a final cost.  Source: kaldi's lm/arpa-lm-compiler.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.atomic import whole_dir
from harness.errors import LexiconError
from harness.log import get_logger
from hmm.arpa import END, START, UNKNOWN, Arpa, Ngram, read_arpa
from hmm.lang import read_symbols
from hmm.local_epsilons import remove_epsilons_locally
from kaldi_bridge.fsts import FstArrays, from_kaldifst, to_kaldifst, write_fst

LOG = get_logger("hmm.grammar")
LN10 = math.log(10)
BACKOFF = "#0"
NOT_WORDS = frozenset({"<eps>", BACKOFF, START, END})
COPIED = ("phones.txt", "words.txt", "topo", "L.fst", "L_disambig.fst", "oov.int", "oov.txt")


def format_lm(
    lang_dir: str | Path, arpa: str | Path | Arpa, out_lang_dir: str | Path, *, force: bool = False
) -> Counter[str]:
    """Writes `out_lang_dir`: the lang directory with G.fst. Returns the words of the model that the lexicon lacks.

    Their n-grams are left out, as arpa2fst does; their number is logged, as is that of lexicon words the model lacks.
    Raises LexiconError if the model is malformed or has no word in common with the lexicon.
    """
    lang, out_dir = Path(lang_dir), Path(out_lang_dir)
    for name in COPIED:
        if not (lang / name).is_file():
            raise LexiconError(lang / name, "does not exist", mend="prepare the lang directory first (prepare-lang)")
    model = arpa if isinstance(arpa, Arpa) else read_arpa(arpa)
    words = read_symbols(lang / "words.txt")
    fst, lost = grammar_fst(model, words)
    unspoken = set(words) - NOT_WORDS - model.vocabulary
    if lost:
        most = ", ".join(f"{word} {count}" for word, count in lost.most_common(10))
        LOG.warning("%d words of the model are not in the lexicon, their n-grams are left out: %s", len(lost), most)
    if unspoken:
        LOG.info(
            "%d words of the lexicon are not in the model and cannot be recognised (%s)", len(unspoken), min(unspoken)
        )
    if out_dir.resolve() == lang.resolve():
        write_fst(out_dir / "G.fst", fst)
    else:
        with whole_dir(out_dir, force=force) as out:
            for name in COPIED:
                shutil.copy(lang / name, out / name)
            shutil.copytree(lang / "phones", out / "phones")
            write_fst(out / "G.fst", fst)
    LOG.info("%s: %d states, %d arcs", out_dir / "G.fst", fst.num_states, fst.num_arcs)
    return lost


def grammar_fst(model: Arpa, words: Mapping[str, int]) -> tuple[FstArrays, Counter[str]]:
    """G with arcs sorted by word, histories that only back off removed; and how many n-grams each lost word cost."""
    if BACKOFF not in words:
        raise LexiconError("words.txt", f"lacks {BACKOFF}", mend="prepare the lang directory again")
    builder = _Builder(words)
    for order, table in enumerate(model.tables, 1):
        for ngram, (log10, backoff) in table.items():
            builder.add(ngram, -LN10 * log10, -LN10 * backoff, highest=order == model.order)
    fst = builder.fst()
    if not np.isfinite(fst.finals).any() or fst.num_arcs == 0:
        problem = "no word of the model is in words.txt, or it has no probability of </s>"
        raise LexiconError("language model", problem, mend="check that the case of the words is that of the lexicon")
    if builder.orphans:
        LOG.warning(
            "%d n-grams of the model are left out: their history is no n-gram of it, or <s> or </s> stands where it "
            "cannot be (first: %s)", len(builder.orphans), " ".join(builder.orphans[0]),
        )  # fmt: skip
    return _sorted(_without_redundant_states(fst, words[BACKOFF])), builder.lost


class _Builder:
    """States by history; each with a back-off arc to its longest known suffix."""

    def __init__(self, words: Mapping[str, int]) -> None:
        self.words = {word: number for word, number in words.items() if word not in NOT_WORDS}
        self.backoff = words[BACKOFF]
        self.state_of: dict[Ngram, int] = {(): 0}
        self.rows: list[tuple[int, int, int, int, float]] = []  # source, next state, input label, output label, cost
        self.finals: dict[int, float] = {}
        self.lost: Counter[str] = Counter()
        self.orphans: list[Ngram] = []

    def add(self, ngram: Ngram, cost: float, backoff_cost: float, *, highest: bool) -> None:
        unknown = [word for word in ngram if word not in self.words and word not in (START, END)]
        if unknown:
            self.lost.update(word for word in set(unknown) if word != UNKNOWN)
            return
        source, word = self.state_of.get(ngram[:-1]), ngram[-1]
        if source is None or START in ngram[1:] or END in ngram[:-1]:
            self.orphans.append(ngram)
            return
        if ngram == (START,):
            if not highest:  # a unigram model has no histories
                self._state(ngram, backoff_cost)
            return
        if cost == math.inf:  # never: an arc of endless cost would keep determinisation busy for ever
            return
        if word == END:
            self.finals[source] = cost
            return
        target = self._state(ngram[1:], 0.0) if highest else self._state(ngram, backoff_cost)
        self.rows.append((source, target, self.words[word], self.words[word], cost))

    def _state(self, history: Ngram, backoff_cost: float) -> int:
        state = self.state_of.get(history)
        if state is None:
            state = self.state_of[history] = len(self.state_of)
            shorter = history[1:]
            while shorter not in self.state_of:
                shorter = shorter[1:]
            if backoff_cost < math.inf:
                self.rows.append((state, self.state_of[shorter], self.backoff, 0, backoff_cost))
        return state

    def fst(self) -> FstArrays:
        finals = np.full(len(self.state_of), np.inf)
        finals[list(self.finals)] = list(self.finals.values())
        columns = [np.array(column) for column in zip(*self.rows, strict=True)] or [np.zeros(0, int)] * 5
        start = self.state_of.get((START,), 0)
        return FstArrays.from_arcs(start, finals, columns[0], columns[2], columns[3], columns[4], columns[1])


def _without_redundant_states(fst: FstArrays, backoff: int) -> FstArrays:
    """Histories that only back off are passed by: their #0 becomes epsilon, which is then removed."""
    source = fst.sources()
    alone = (np.diff(fst.offsets) == 1) & np.isinf(fst.finals)
    ilabel = np.where((fst.ilabel == backoff) & alone[source], 0, fst.ilabel).astype(np.int32)
    marked = FstArrays(fst.start, fst.finals, fst.offsets, ilabel, fst.olabel, fst.weight, fst.nextstate)
    return remove_epsilons_locally(marked, log_add=False)


def _sorted(fst: FstArrays) -> FstArrays:
    import kaldifst

    made = to_kaldifst(fst)
    kaldifst.arcsort(made, "ilabel")
    return from_kaldifst(made)
