"""Training n-gram language models with a fixed vocabulary: interpolated Witten-Bell and modified Kneser-Ney.

Papers: Witten and Bell 1991; Chen and Goodman 1999, "An empirical study of smoothing techniques".  Both are written as
back-off models.  The vocabulary is that of the lexicon, so that every word that can be said can be recognised: unigrams
are interpolated with the uniform distribution over it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal

from harness.errors import LexiconError
from harness.log import get_logger
from hmm.arpa import END, NEVER, START, Arpa, Ngram, Perplexity, perplexity, read_arpa, write_arpa

__all__ = ["Arpa", "Perplexity", "perplexity", "read_arpa", "train_lm", "write_arpa"]

LOG = get_logger("hmm.lm")
MAX_ORDER = 5
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # for counts 1, 2, 3+ where the counts of counts of tiny text give none
RESERVED = frozenset({START, "<eps>", "#0"})

Smoothing = Callable[[Counter[Ngram]], tuple[dict[Ngram, float], dict[Ngram, float]]]


def train_lm(
    sentences: Iterable[Sequence[str]], vocabulary: Iterable[str], order: int = 3,
    method: Literal["witten_bell", "kneser_ney"] = "witten_bell",
) -> Arpa:  # fmt: skip
    """A model of `order` 1 to 5 over exactly the words of `vocabulary` (and </s>).

    N-grams of the text with a word outside the vocabulary are not counted; their number is logged.
    Raises LexiconError if the text or the vocabulary is empty.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"order must lie in 1..{MAX_ORDER}, got {order}")
    words = sorted(set(vocabulary) - RESERVED - {END})
    if not words:
        raise LexiconError("vocabulary", "is empty", mend="give the words of a lexicon")
    counts, lost = count_ngrams(sentences, {*words, START, END}, order)
    if not any(counts[0][(word,)] for word in words):
        raise LexiconError(
            "training text", "holds no word of the vocabulary", mend="check the text and the case of its words"
        )
    if lost:
        most = ", ".join(f"{word} {count}" for word, count in lost.most_common(10))
        LOG.warning(
            "%d tokens of %d words outside the vocabulary are left out: %s", sum(lost.values()), len(lost), most
        )
    match method:
        case "witten_bell":
            smooth: Smoothing = witten_bell
        case "kneser_ney":
            counts, smooth = continuation_counts(counts), kneser_ney
        case _:
            raise ValueError(f"method must be 'witten_bell' or 'kneser_ney', got {method!r}")
    return _interpolate(counts, [*words, END], smooth)


def count_ngrams(
    sentences: Iterable[Sequence[str]], known: set[str], order: int
) -> tuple[list[Counter[Ngram]], Counter[str]]:  # fmt: skip
    """Counts of the n-grams of each order that predict a word or the end, and of the words not known."""
    counts: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    lost: Counter[str] = Counter()
    for sentence in sentences:
        padded = (START, *sentence, END)
        lost.update(word for word in sentence if word not in known)
        since = 0  # where the current run of known words begins
        for place, word in enumerate(padded):
            if word not in known:
                since = place + 1
            elif place:
                for size in range(1, min(order, place - since + 1) + 1):
                    counts[size - 1][padded[place - size + 1 : place + 1]] += 1
    return counts, lost


def continuation_counts(counts: list[Counter[Ngram]]) -> list[Counter[Ngram]]:
    """Kneser and Ney's counts: below the highest order, in how many contexts an n-gram occurs; after <s>, how often.

    What only follows words outside the vocabulary has them as its one context: left out, it would be missing as the
    history of longer n-grams, whose weight of backing off would be lost.
    """
    result: list[Counter[Ngram]] = []
    for lower, higher in pairwise(counts):
        contexts = Counter(ngram[1:] for ngram in higher)
        result.append(Counter({g: c if g[0] == START else contexts[g] or 1 for g, c in lower.items()}))
    return [*result, counts[-1]]


def witten_bell(counts: Counter[Ngram]) -> tuple[dict[Ngram, float], dict[Ngram, float]]:
    """(own part of P, weight of the lower order) of one order: c / (N + T) and T / (N + T), T distinct followers."""
    total, types = _followers(counts)
    own = {ngram: count / (total[ngram[:-1]] + types[ngram[:-1]]) for ngram, count in counts.items()}
    return own, {history: types[history] / (total[history] + types[history]) for history in total}


def kneser_ney(counts: Counter[Ngram]) -> tuple[dict[Ngram, float], dict[Ngram, float]]:
    """(own part of P, weight of the lower order) of one order, with discounts for counts 1, 2 and 3+."""
    discounts = (0.0, *kneser_ney_discounts(Counter(counts.values())))
    total, _ = _followers(counts)
    own: dict[Ngram, float] = {}
    freed: dict[Ngram, float] = defaultdict(float)
    for ngram, count in counts.items():
        discount = discounts[min(count, 3)]
        own[ngram] = (count - discount) / total[ngram[:-1]]
        freed[ngram[:-1]] += discount / total[ngram[:-1]]
    return own, dict(freed)


def kneser_ney_discounts(count_of_counts: Counter[int]) -> tuple[float, float, float]:
    """Chen and Goodman's estimates; the fallback where a count of counts is 0 or an estimate leaves (0, count)."""
    n = [count_of_counts[k] for k in range(5)]
    if min(n[1:]) > 0:
        y = n[1] / (n[1] + 2 * n[2])
        found = (1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3])
        if all(0 < discount < count for count, discount in enumerate(found, 1)):
            return found
    return FALLBACK_DISCOUNTS


def _followers(counts: Counter[Ngram]) -> tuple[dict[Ngram, int], dict[Ngram, int]]:
    total: dict[Ngram, int] = defaultdict(int)
    types: dict[Ngram, int] = defaultdict(int)
    for ngram, count in counts.items():
        total[ngram[:-1]] += count
        types[ngram[:-1]] += 1
    return total, types


def _interpolate(counts: list[Counter[Ngram]], predicted: list[str], smooth: Smoothing) -> Arpa:
    """P(w | h) = own part + weight(h) P(w | shorter h), down to the uniform distribution; as a back-off model."""
    lower: dict[Ngram, float] = dict.fromkeys([(word,) for word in predicted], 1 / len(predicted))
    orders, weights = [], []
    for order, counted in enumerate(counts, 1):
        own, weight = smooth(counted)
        if order == 1:
            probs = {ngram: own.get(ngram, 0.0) + weight[()] * uniform for ngram, uniform in lower.items()}
        else:
            probs = {ngram: part + weight[ngram[:-1]] * lower[ngram[1:]] for ngram, part in own.items()}
        orders.append(probs)
        weights.append(weight)
        lower = probs
    model = Arpa([])
    for order, probs in enumerate(orders, 1):
        above = weights[order] if order < len(weights) else {}
        table = {g: (math.log10(p), math.log10(above[g]) if above.get(g, 0) > 0 else 0.0) for g, p in probs.items()}
        if order == 1:
            start = above.get((START,), 0)
            table[(START,)] = (NEVER, math.log10(start) if start > 0 else 0.0)
        model.tables.append(table)
    return model
