"""A dict directory from a raw lexicon such as CMUdict or the one of a corpus.

Raw lines are 'WORD phone phone ...' or 'WORD probability phone ...'; 'WORD(2)' is another pronunciation of WORD; lines
that start with ';;;' or '##' are comments; '# ...', alone or behind an entry, is cut off, as CMUdict has it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.atomic import whole_dir
from harness.errors import LexiconError
from harness.log import get_logger
from hmm.lexicon import FORBIDDEN_WORDS, RESERVED_PHONE, DictDir, Pronunciation

LOG = get_logger("hmm.lexicon")
VARIANT = re.compile(r"^(.+)\(\d+\)$")
COMMENT = re.compile(r"(?:^|\s)#(?:\s.*)?$")
PROBABILITY = re.compile(r"\d*\.\d+(e-?\d+)?|\d+e-\d+|1|1\.0*")
STRESS = re.compile(r"^(.*[^\d])([0-2])$")


@dataclass(frozen=True, kw_only=True)
class MakeDictConfig:
    """How a raw lexicon becomes a dict directory."""

    strip_stress: bool = True  # AH0 -> AH; with little speech of children a phone has too few frames per stress
    unknown_word: str = "<unk>"  # stands for every word without pronunciation
    unknown_phone: str = "SPN"  # spoken noise
    silence_phone: str = "SIL"
    silence_word: str = ""  # an explicit word for silence, for example !SIL; empty: none
    case: Literal["keep", "upper", "lower"] = "keep"  # of the words


def make_dict(
    raw_lexicon: str | Path, dict_dir: str | Path, config: MakeDictConfig | None = None, *, force: bool = False
) -> DictDir:
    """Writes `dict_dir` and returns it, validated. Raises LexiconError naming the line of the raw lexicon."""
    config = config or MakeDictConfig()
    entries = read_raw_lexicon(raw_lexicon, config)
    silence = [config.silence_phone, config.unknown_phone]
    phones = sorted({phone for entry in entries for phone in entry.phones} - set(silence))
    roots = _roots(phones)
    special = [Pronunciation(config.unknown_word, (config.unknown_phone,))]
    if config.silence_word:
        special.insert(0, Pronunciation(config.silence_word, (config.silence_phone,)))
    names = {entry.word for entry in special}
    entries = [*special, *(entry for entry in entries if entry.word not in names)]
    probable = any(entry.probability != 1.0 for entry in entries)
    with whole_dir(dict_dir, force=force) as out:
        _write(out / "silence_phones.txt", [[phone] for phone in silence])
        _write(out / "nonsilence_phones.txt", roots)
        _write(out / "optional_silence.txt", [[config.silence_phone]])
        _write(out / "extra_questions.txt", [silence, *_questions(phones)])
        _write(out / "lexicon.txt", [[entry.word, *entry.phones] for entry in entries])
        if probable:
            _write(out / "lexiconp.txt", [[entry.word, f"{entry.probability:g}", *entry.phones] for entry in entries])
        DictDir.read(out)
    LOG.info(
        "%s: %d words, %d pronunciations, %d phones",
        dict_dir,
        len({e.word for e in entries}),
        len(entries),
        len(phones),
    )
    return DictDir.read(dict_dir)


def read_raw_lexicon(path: str | Path, config: MakeDictConfig) -> list[Pronunciation]:
    """The sorted pronunciations of a raw lexicon, repeated ones once. Raises LexiconError with the line."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise LexiconError(path, f"cannot be read: {error.strerror}", mend="check the path of the lexicon") from None
    except UnicodeDecodeError:
        raise LexiconError(path, "is not UTF-8", mend="convert it: iconv -t utf-8") from None
    best: dict[tuple[str, tuple[str, ...]], float] = {}
    repeated = 0
    for number, line in enumerate(lines, 1):
        line = COMMENT.sub("", line)
        if line.startswith((";;;", "##")) or not line.strip():
            continue
        entry = _raw_entry(line, f"{path}:{number}", config)
        key = (entry.word, entry.phones)
        repeated += key in best
        best[key] = max(entry.probability, best.get(key, 0.0))
    if not best:
        raise LexiconError(path, "holds no pronunciation", mend="give lines of the form 'WORD phone phone ...'")
    if repeated:
        LOG.info("%s: %d repeated pronunciations kept once", path, repeated)
    return [Pronunciation(word, phones, probability) for (word, phones), probability in sorted(best.items())]


def _raw_entry(line: str, where: str, config: MakeDictConfig) -> Pronunciation:
    fields = line.split()
    word = variant.group(1) if (variant := VARIANT.match(fields[0])) else fields[0]
    match config.case:
        case "upper":
            word = word.upper()
        case "lower":
            word = word.lower()
        case "keep":
            pass
    if word in FORBIDDEN_WORDS:
        raise LexiconError(where, f"{word!r} cannot be a word: the symbol is reserved", mend="remove the line")
    probability, phones = 1.0, fields[1:]
    if phones and PROBABILITY.fullmatch(phones[0]):
        probability, phones = float(phones[0]), phones[1:]
        if not 0 < probability <= 1:
            raise LexiconError(where, f"the probability {probability:g} is not in (0, 1]", mend="correct it")
    if not phones:
        raise LexiconError(where, f"word {word!r} has no pronunciation", mend="add its phones, or remove the line")
    if wrong := [phone for phone in phones if RESERVED_PHONE.search(phone)]:
        problem = f"phone {wrong[0]!r} has a reserved form (#..., <eps>, or ending in _B _E _I _S)"
        raise LexiconError(where, problem, mend="rename the phone in the whole lexicon")
    if config.strip_stress:
        phones = [STRESS.sub(r"\1", phone) for phone in phones]
    return Pronunciation(word, tuple(phones), probability)


def _roots(phones: list[str]) -> list[list[str]]:
    """Phones that differ in stress or tone alone, on one line: they share a tree root."""
    groups: dict[str, list[str]] = {}
    for phone in phones:
        groups.setdefault(STRESS.sub(r"\1", phone), []).append(phone)
    return list(groups.values())


def _questions(phones: list[str]) -> list[list[str]]:
    """One question a stress or tone mark; phones without one together."""
    marks: dict[str, list[str]] = {}
    for phone in phones:
        found = STRESS.match(phone)
        marks.setdefault(found.group(2) if found else "", []).append(phone)
    return [marks[mark] for mark in sorted(marks)]


def _write(path: Path, rows: list[list[str]]) -> None:
    path.write_text("".join(" ".join(row) + "\n" for row in rows), encoding="utf-8")
