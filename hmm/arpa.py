"""N-gram language models in ARPA format: read, written (gzipped or not), and asked for probabilities and perplexity."""

from __future__ import annotations

import gzip
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.atomic import write_whole
from harness.errors import LexiconError

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0  # log10 of the probability of <s>, which is given and never predicted
MEND = "make the language model again; the file is no ARPA file or was cut short"

Ngram = tuple[str, ...]


@dataclass
class Arpa:
    """A back-off model. tables[n - 1]: n-gram -> (log10 probability, log10 back-off weight, 0 if absent)."""

    tables: list[dict[Ngram, tuple[float, float]]] = field(default_factory=list)

    @property
    def order(self) -> int:
        return len(self.tables)

    @property
    def vocabulary(self) -> set[str]:
        """The words it can predict, without <s>, </s> and <unk>."""
        return {ngram[0] for ngram in self.tables[0]} - {START, END, UNKNOWN}

    def log10(self, word: str, history: Sequence[str] = ()) -> float:
        """log10 P(word | history), with back-off; -inf for a word that is no unigram."""
        context = tuple(history)[max(0, len(history) - self.order + 1) :]
        total = 0.0
        while True:
            found = self.tables[len(context)].get((*context, word))
            if found is not None:
                return total + found[0]
            if not context:
                return -math.inf
            total += self.tables[len(context) - 1].get(context, (0.0, 0.0))[1]
            context = context[1:]


@dataclass(frozen=True)
class Perplexity:
    """How well a model predicts text; unknown words are counted and left out."""

    log10: float  # of all predicted tokens
    tokens: int  # predicted words and sentence ends
    sentences: int
    unknown: Counter[str]

    @property
    def value(self) -> float:
        return 10 ** (-self.log10 / self.tokens) if self.tokens else math.inf


def perplexity(model: Arpa, sentences: Iterable[Sequence[str]]) -> Perplexity:
    """The perplexity of sentences with their ends. A word the model cannot predict breaks the history, as in SRILM."""
    total, tokens, count = 0.0, 0, 0
    unknown: Counter[str] = Counter()
    known = model.tables[0]
    for sentence in sentences:
        count += 1
        history: list[str] = [START]
        for word in (*sentence, END):
            if (word,) not in known:
                unknown[word] += 1
                history = []
                continue
            total += model.log10(word, history)
            tokens += 1
            history = [*history, word][-model.order :]
    return Perplexity(total, tokens, count, unknown)


def write_arpa(path: str | Path, model: Arpa) -> None:
    """Writes the model, sorted; gzipped if the name ends in .gz."""
    text = "".join(_lines(model)).encode()
    with write_whole(path, "wb") as file:
        file.write(gzip.compress(text, 6, mtime=0) if str(path).endswith(".gz") else text)


def _lines(model: Arpa) -> Iterable[str]:
    yield "\\data\\\n"
    for order, table in enumerate(model.tables, 1):
        yield f"ngram {order}={len(table)}\n"
    for order, table in enumerate(model.tables, 1):
        yield f"\n\\{order}-grams:\n"
        for ngram, (log10, backoff) in sorted(table.items()):
            tail = f"\t{backoff:.6f}" if order < model.order and ngram[-1] != END else ""
            yield f"{log10:.6f}\t{' '.join(ngram)}{tail}\n" if log10 > NEVER else f"-99\t{' '.join(ngram)}{tail}\n"
    yield "\n\\end\\\n"


def read_arpa(path: str | Path) -> Arpa:
    """The model in an ARPA file, gzipped or not. Raises LexiconError with the line that is wrong."""
    try:
        data = Path(path).read_bytes()
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode()
    except (OSError, EOFError, zlib.error) as error:
        raise LexiconError(path, f"cannot be read: {error}", mend="check the path of the language model") from None
    except UnicodeDecodeError:
        raise LexiconError(path, "is not UTF-8", mend="convert it: iconv -t utf-8") from None
    return _Parser(str(path), text.splitlines()).parse()


class _Parser:
    def __init__(self, path: str, lines: list[str]) -> None:
        self.path, self.lines, self.number = path, lines, 0

    def _fail(self, problem: str, number: int | None = None) -> LexiconError:
        return LexiconError(f"{self.path}:{number or self.number}", problem, mend=MEND)

    def _next(self) -> str | None:
        """The next line that is not empty, or None at the end."""
        while self.number < len(self.lines):
            self.number += 1
            line = self.lines[self.number - 1].strip()
            if line:
                return line
        return None

    def parse(self) -> Arpa:
        while (line := self._next()) != "\\data\\":
            if line is None:
                raise self._fail("no \\data\\ line")
        announced, line = self._announced()
        tables: list[dict[Ngram, tuple[float, float]]] = []
        for order, count in enumerate(announced, 1):
            if line != f"\\{order}-grams:":
                raise self._fail(f"expected '\\{order}-grams:', found {str(line)[:40]!r}")
            table, line = self._section(order, len(announced))
            if len(table) != count:
                raise self._fail(f"{count} {order}-grams announced, {len(table)} found")
            tables.append(table)
        if line != "\\end\\":
            raise self._fail(f"expected '\\end\\', found {str(line)[:40]!r}")
        if not tables or (START,) not in tables[0] or (END,) not in tables[0]:
            raise self._fail("has no unigrams <s> and </s>")
        return Arpa(tables)

    def _announced(self) -> tuple[list[int], str | None]:
        counts: list[int] = []
        while (line := self._next()) is not None and line.startswith("ngram "):
            name, _, count = line[6:].partition("=")
            if name.strip() != str(len(counts) + 1) or not count.strip().isdigit():
                raise self._fail(f"expected 'ngram {len(counts) + 1}=<count>', found {line[:40]!r}")
            counts.append(int(count))
        return counts, line

    def _section(self, order: int, highest: int) -> tuple[dict[Ngram, tuple[float, float]], str | None]:
        table: dict[Ngram, tuple[float, float]] = {}
        while (line := self._next()) is not None and not line.startswith("\\"):
            fields = line.split()
            if not order + 1 <= len(fields) <= order + 2 - (order == highest):
                raise self._fail(
                    f"expected a probability, {order} words and at most one back-off weight, found {line[:60]!r}"
                )
            try:
                log10, backoff = float(fields[0]), float(fields[order + 1]) if len(fields) > order + 1 else 0.0
            except ValueError:
                raise self._fail(f"a number is malformed in {line[:60]!r}") from None
            if not log10 <= 0 or math.isnan(backoff) or backoff == math.inf:
                raise self._fail(f"{log10:g} is no log10 of a probability, or {backoff:g} no back-off weight")
            ngram = tuple(fields[1 : order + 1])
            if ngram in table:
                raise self._fail(f"the {order}-gram {' '.join(ngram)!r} stands there twice")
            table[ngram] = (log10, backoff)
        return table, line
