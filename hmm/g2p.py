"""Pronunciations for words that a lexicon lacks, guessed from those that it has, and marked as guesses.

Joint-sequence models: letters and phones aligned into pairs, and an n-gram model over the pairs (Novak et al. 2016, doi
10.1017/S1351324915000315).  The package phonetisaurus aligns and searches; the n-grams are those of hmm/lm.py, for its
own estimation fails on small lexicons and is no better on large ones.  The dict directory itself is learnt from: a
guess has its phones and the habits of its words.  A word with a letter that no word of it has is counted and named.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.atomic import whole_dir
from harness.errors import LexiconError, ProgramError
from harness.log import get_logger
from hmm.arpa import write_arpa
from hmm.lexicon import DictDir, Pronunciation
from hmm.lm import MAX_ORDER, train_lm

GUESSED = "oov_pronunciations.txt"  # in the new dict directory: the guesses alone, as lines of a lexicon
RESERVED = frozenset("_|}")  # of Phonetisaurus
LOG = get_logger("hmm.g2p")


@dataclass(frozen=True, kw_only=True)
class G2PConfig:
    """Which words get how many pronunciations."""

    variants: int = 1  # pronunciations a word, the likeliest first
    min_count: int = 1  # words that occur less often in the text stay without
    order: int = 5  # of the n-grams over pairs of letters and phones

    def __post_init__(self) -> None:
        if self.variants < 1 or self.min_count < 1:
            raise ValueError(f"variants and min_count must be at least 1, got {self.variants}, {self.min_count}")
        if not 2 <= self.order <= MAX_ORDER:  # arpa2wfst dies of a model without contexts
            raise ValueError(f"order must lie in 2..{MAX_ORDER}, got {self.order}")


def add_pronunciations(
    dict_dir: str | Path, sentences: Iterable[Sequence[str]], out: str | Path, config: G2PConfig | None = None, *,
    force: bool = False,
) -> dict[str, list[tuple[str, ...]]]:  # fmt: skip
    """Write `out`, the dict directory with guesses for the words of the text that it lacks; returns the guesses.

    They stand in lexicon.txt (lexiconp.txt) and alone in oov_pronunciations.txt.  Raises LexiconError: a dict
    directory that is wrong; ProgramError: phonetisaurus is missing or fails.
    """
    config = config or G2PConfig()
    source = DictDir.read(dict_dir)
    counts = Counter(word for sentence in sentences for word in sentence)
    missing = {word: count for word, count in counts.items() if word not in set(source.words)}
    wanted = sorted(word for word, count in missing.items() if count >= config.min_count)
    with whole_dir(out, force=force) as aside:
        guesses = guess(_of_words(source), wanted, config.variants, config.order) if wanted else {}
        for file in sorted(Path(dict_dir).iterdir()):
            if file.is_file():
                shutil.copyfile(file, aside / file.name)
        rows = [(word, phones) for word in sorted(guesses) for phones in guesses[word]]
        _append(aside / "lexicon.txt", [f"{word} {' '.join(phones)}\n" for word, phones in rows])
        _append(aside / "lexiconp.txt", [f"{word} 1 {' '.join(phones)}\n" for word, phones in rows])
        (aside / GUESSED).write_text("".join(f"{word} {' '.join(phones)}\n" for word, phones in rows), encoding="utf-8")
        DictDir.read(aside)
    running = sum(missing[word] for word in guesses)
    LOG.info("%s: %d words guessed (%d running words of %d)", out, len(guesses), running, counts.total())
    if unguessed := sorted(set(missing) - set(guesses)):
        text = "%s: %d words stay without pronunciation (%d running words), the first: %s"
        LOG.warning(text, out, len(unguessed), sum(missing[word] for word in unguessed), ", ".join(unguessed[:5]))
    return guesses


def guess(
    lexicon: Sequence[Pronunciation], words: Sequence[str], variants: int = 1, order: int = 5
) -> dict[str, list[tuple[str, ...]]]:
    """{word: pronunciations, the likeliest first}, of those words whose letters all occur in the lexicon."""
    lines = [(entry.word, entry.phones) for entry in lexicon if not RESERVED & set(entry.word + "".join(entry.phones))]
    if not lines:
        raise LexiconError("the lexicon", "has no word to learn from", mend="give a lexicon with pronunciations")
    letters = set("".join(word for word, _ in lines))
    possible = [word for word in words if set(word) <= letters]
    if not possible:
        return {}
    with tempfile.TemporaryDirectory(prefix="schoolyard-g2p-") as name:
        folder = Path(name)
        (folder / "lexicon").write_text("".join(f"{word}\t{' '.join(phones)}\n" for word, phones in lines), "utf-8")
        (folder / "words").write_text("".join(f"{word}\n" for word in possible), "utf-8")
        _train(folder, order)
        apply = ["phonetisaurus-apply", "--model", "model.fst", "--word_list", "words"]
        said = _run([*apply, "--nbest", str(variants)], folder)
    guesses: dict[str, list[tuple[str, ...]]] = {}
    for line in said.splitlines():
        word, *phones = line.split()
        if phones and tuple(phones) not in guesses.setdefault(word, []):
            guesses[word].append(tuple(phones))
    return {word: found for word, found in guesses.items() if found}


def _train(folder: Path, order: int) -> None:
    """folder/lexicon to folder/model.fst: at most two letters or two phones a pair; letters may be silent."""
    one_or_two = ["--seq1_max=2", "--seq2_max=2", "--seq1_del=false", "--seq2_del=true", "--grow=false"]
    _run(["phonetisaurus-align", "--input=lexicon", "--ofile=pairs", *one_or_two], folder)
    sentences = [line.split() for line in (folder / "pairs").read_text("utf-8").splitlines()]
    pairs = {pair for sentence in sentences for pair in sentence}
    write_arpa(folder / "arpa", train_lm(sentences, pairs, order, "kneser_ney"))
    _run(["phonetisaurus-arpa2wfst", "--lm=arpa", "--ofile=model.fst"], folder)


def _of_words(source: DictDir) -> list[Pronunciation]:
    """The entries that are words: made of phones, not of silence and noise."""
    noises = {phone for line in source.silence_phones for phone in line}
    return [entry for entry in source.pronunciations if not noises & set(entry.phones)]


def _run(command: list[str], folder: Path) -> str:
    """Standard output of one of Phonetisaurus' programs."""
    try:
        from phonetisaurus import guess_environment
    except ImportError:
        raise ProgramError("phonetisaurus", "is not installed", mend="pip install phonetisaurus==0.3.0") from None
    done = subprocess.run(
        command,
        cwd=folder,
        env=guess_environment() | {"LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        tail = "\n    ".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise ProgramError(
            command[0], f"failed with exit code {done.returncode}:\n    {tail}", mend="check the lexicon"
        )
    return done.stdout


def _append(path: Path, lines: list[str]) -> None:
    """More lines for a file that is there."""
    if path.is_file():
        with open(path, "a", encoding="utf-8") as stream:
            stream.writelines(lines)
