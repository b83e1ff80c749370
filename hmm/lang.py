"""Lang directories: symbols, phone lists, topology and lexicon transducers, as Kaldi's prepare_lang.sh writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from harness.atomic import whole_dir
from harness.errors import LexiconError
from harness.log import get_logger
from hmm.lexicon import DictDir, Groups, Pronunciation
from hmm.lexicon_fst import add_disambiguation, lexicon_fst
from hmm.topology import make_topology
from kaldi_bridge.fsts import write_fst
from kaldi_bridge.models import HmmTopology, read_topology

LOG = get_logger("hmm.lang")
POSITIONS = ("_B", "_E", "_I", "_S")  # begin, end, inside, a word of a single phone
BOUNDARY = {"_B": "begin", "_E": "end", "_I": "internal", "_S": "singleton"}
SHOWN_OOVS = 20


@dataclass(frozen=True, kw_only=True)
class LangConfig:
    """How a dict directory becomes a lang directory; defaults are Kaldi's."""

    position_dependent: bool = True  # phones marked by their place in the word: _B _E _I _S
    unknown_word: str = "<unk>"  # a word of the lexicon that stands for those not in it
    silence_prob: float = 0.5  # of silence between words; 0 for none
    silence_states: int = 5
    nonsilence_states: int = 3
    share_silence_phones: bool = False  # one set of pdfs for all silence phones

    def __post_init__(self) -> None:
        if not 0 <= self.silence_prob < 1:
            raise ValueError(f"silence_prob must lie in [0, 1), got {self.silence_prob}")


def prepare_lang(
    dict_dir: str | Path, lang_dir: str | Path, config: LangConfig | None = None, *, force: bool = False
) -> Lang:
    """Writes `lang_dir` and returns it. Raises LexiconError for a dict directory that breaks a rule."""
    config = config or LangConfig()
    source = DictDir.read(dict_dir)
    entries = (
        [_positioned(entry) for entry in source.pronunciations] if config.position_dependent else source.pronunciations
    )
    words = _word_table(source, config)
    marked, highest = add_disambiguation(entries)
    disambig = [f"#{number}" for number in range(highest + 2)]  # the last one stands after silence
    silence = _expand(source.silence_phones, config, silence=True)
    nonsilence = _expand(source.nonsilence_phones, config, silence=False)
    flat = [phone for group in (*silence, *nonsilence) for phone in group]
    phones = {phone: number for number, phone in enumerate(["<eps>", *flat, *disambig])}
    with whole_dir(lang_dir, force=force) as out:
        (out / "phones").mkdir()
        _write_lines(out / "phones.txt", (f"{phone} {number}" for phone, number in phones.items()))
        _write_lines(out / "words.txt", (f"{word} {number}" for word, number in words.items()))
        _write_lines(out / "oov.txt", [config.unknown_word])
        _write_lines(out / "oov.int", [str(words[config.unknown_word])])
        _write_phone_lists(out / "phones", source, config, silence, nonsilence, disambig, phones)
        _write_alignment_files(out / "phones", source, entries, flat, config, phones, words)
        topology = make_topology(
            [phones[phone] for group in nonsilence for phone in group],
            [phones[phone] for group in silence for phone in group],
            config.nonsilence_states, config.silence_states,
        )  # fmt: skip
        (out / "topo").write_text(topology.text(), encoding="utf-8")
        lexicon = partial(
            lexicon_fst,
            phones=phones,
            words=words,
            silence_phone=source.optional_silence,
            silence_prob=config.silence_prob,
        )
        write_fst(out / "L.fst", lexicon(entries))
        disambiguated = lexicon(marked, silence_disambig=disambig[-1], pass_through=("#0", "#0"))
        write_fst(out / "L_disambig.fst", disambiguated)
    LOG.info("%s: %d words, %d pronunciations, %d phones", lang_dir, len(source.words), len(entries), len(flat))
    return Lang.read(lang_dir)


def _positioned(entry: Pronunciation) -> Pronunciation:
    phones = entry.phones
    if len(phones) == 1:
        return entry._replace(phones=(phones[0] + "_S",))
    return entry._replace(phones=(phones[0] + "_B", *(phone + "_I" for phone in phones[1:-1]), phones[-1] + "_E"))


def _word_table(source: DictDir, config: LangConfig) -> dict[str, int]:
    words = source.words
    if config.unknown_word not in words:
        mend = f"add a line '{config.unknown_word} SPN' to its lexicon, or name another unknown_word"
        raise LexiconError(source.path, f"the unknown word {config.unknown_word!r} has no pronunciation", mend=mend)
    return {word: number for number, word in enumerate(["<eps>", *words, "#0", "<s>", "</s>"])}


def _expand(groups: Groups, config: LangConfig, *, silence: bool) -> Groups:
    """The position-dependent versions of each line; silence phones also stand alone."""
    if not config.position_dependent:
        return groups
    suffixes = ("", *POSITIONS) if silence else POSITIONS
    return tuple(tuple(phone + suffix for phone in group for suffix in suffixes) for group in groups)


def _write_phone_lists(
    out: Path, source: DictDir, config: LangConfig, silence: Groups, nonsilence: Groups, disambig: list[str],
    phones: Mapping[str, int],
) -> None:  # fmt: skip
    """The lists of phones (txt, int, csl), sets, roots, extra_questions and wdisambig."""
    lists = {
        "silence": [phone for group in silence for phone in group],
        "nonsilence": [phone for group in nonsilence for phone in group],
        "disambig": disambig,
        "optional_silence": [source.optional_silence],
        "context_indep": [phone for group in silence for phone in group],
    }
    for name, members in lists.items():
        ids = [str(phones[phone]) for phone in members]
        _write_lines(out / f"{name}.txt", members)
        _write_lines(out / f"{name}.int", ids)
        _write_lines(out / f"{name}.csl", [":".join(ids)])

    if config.share_silence_phones:
        sets = [tuple(lists["silence"]), *nonsilence]
        kinds = ["not-shared not-split", *["shared split"] * len(nonsilence)]
    else:
        sets, kinds = [*silence, *nonsilence], ["shared split"] * (len(silence) + len(nonsilence))
    questions = [" ".join(group) for group in _question_groups(source, config)] + _position_questions(source, config)
    _write_lines(out / "sets.txt", (" ".join(group) for group in sets))
    _write_lines(out / "sets.int", (_ints(group, phones) for group in sets))
    _write_lines(out / "roots.txt", (f"{kind} {' '.join(group)}" for kind, group in zip(kinds, sets, strict=True)))
    _write_lines(out / "roots.int", (f"{kind} {_ints(group, phones)}" for kind, group in zip(kinds, sets, strict=True)))
    _write_lines(out / "extra_questions.txt", questions)
    _write_lines(out / "extra_questions.int", (_ints(line.split(), phones) for line in questions))
    _write_lines(out / "wdisambig.txt", ["#0"])


def _question_groups(source: DictDir, config: LangConfig) -> list[list[str]]:
    """The dict directory's own questions, about all positions of their phones."""
    if not config.position_dependent:
        return [list(group) for group in source.extra_questions]
    silence = {phone for group in source.silence_phones for phone in group}
    return [
        [phone + suffix for phone in group for suffix in (("", *POSITIONS) if phone in silence else POSITIONS)]
        for group in source.extra_questions
    ]


def _position_questions(source: DictDir, config: LangConfig) -> list[str]:
    """Questions about the place in the word, apart for silences and other phones; lines end in a space, as Kaldi's."""
    if not config.position_dependent:
        return []
    lines = []
    for groups, suffixes in ((source.nonsilence_phones, POSITIONS), (source.silence_phones, ("", *POSITIONS))):
        lines += ["".join(f"{phone}{suffix} " for group in groups for phone in group) for suffix in suffixes]
    return lines


def _write_alignment_files(
    out: Path, source: DictDir, entries: Sequence[Pronunciation], flat: list[str], config: LangConfig,
    phones: Mapping[str, int], words: Mapping[str, int],
) -> None:  # fmt: skip
    """word_boundary and align_lexicon, by which words are found in phone alignments; and the ids of #0."""
    if config.position_dependent:
        kinds = [BOUNDARY.get(phone[-2:], "nonword") for phone in flat]
        _write_lines(out / "word_boundary.txt", (f"{phone} {kind}" for phone, kind in zip(flat, kinds, strict=True)))
        _write_lines(
            out / "word_boundary.int", (f"{phones[phone]} {kind}" for phone, kind in zip(flat, kinds, strict=True))
        )
    said = [(entry.word, entry.phones) for entry in entries] + [("<eps>", (source.optional_silence,))]
    lines = sorted({f"{word} {word} {' '.join(spoken)}" for word, spoken in said})
    _write_lines(out / "align_lexicon.txt", lines)
    _write_lines(out / "align_lexicon.int", (_align_ints(line.split(), phones, words) for line in lines))
    _write_lines(out / "wdisambig_phones.int", [str(phones["#0"])])
    _write_lines(out / "wdisambig_words.int", [str(words["#0"])])


def _align_ints(fields: list[str], phones: Mapping[str, int], words: Mapping[str, int]) -> str:
    return " ".join([str(words[fields[0]]), str(words[fields[1]]), _ints(fields[2:], phones)])


def _ints(names: Iterable[str], table: Mapping[str, int]) -> str:
    return " ".join(str(table[name]) for name in names)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@dataclass(frozen=True)
class Root:
    """A line of roots.int: phones with one tree root, `shared` over their states, `split` by questions or a stump."""

    shared: bool
    split: bool
    phones: tuple[int, ...]


@dataclass(frozen=True)
class Lang:
    """A lang directory, made here or by a real Kaldi. The lists hold phone ids."""

    path: Path
    words: dict[str, int]
    phones: dict[str, int]
    unknown_word: str

    @classmethod
    def read(cls, path: str | Path) -> Lang:
        """Raises LexiconError if a needed file is missing or malformed."""
        lang = Path(path)
        unknown = _needed(lang / "oov.txt").split()
        words = read_symbols(lang / "words.txt")
        if len(unknown) != 1 or unknown[0] not in words:
            raise LexiconError(
                lang / "oov.txt", "must hold one word of words.txt", mend="prepare the lang directory again"
            )
        return cls(lang, words, read_symbols(lang / "phones.txt"), unknown[0])

    def _list(self, name: str) -> list[int]:
        return [number for row in self._rows(name) for number in row]

    def _rows(self, name: str) -> list[list[int]]:
        return read_integers(self.path / "phones" / f"{name}.int")

    @cached_property
    def word_names(self) -> dict[int, str]:
        return {number: word for word, number in self.words.items()}

    @cached_property
    def phone_names(self) -> dict[int, str]:
        return {number: phone for phone, number in self.phones.items()}

    @property
    def unknown_id(self) -> int:
        return self.words[self.unknown_word]

    @cached_property
    def silence(self) -> list[int]:
        return self._list("silence")

    @cached_property
    def nonsilence(self) -> list[int]:
        return self._list("nonsilence")

    @cached_property
    def disambig(self) -> list[int]:
        return self._list("disambig")

    @cached_property
    def context_independent(self) -> list[int]:
        return self._list("context_indep")

    @cached_property
    def optional_silence(self) -> int:
        return self._list("optional_silence")[0]

    @cached_property
    def sets(self) -> list[list[int]]:
        """Phones that one mixture serves in a monophone system."""
        return self._rows("sets")

    @cached_property
    def extra_questions(self) -> list[list[int]]:
        return self._rows("extra_questions")

    @cached_property
    def roots(self) -> list[Root]:
        lines = [line.split() for line in _needed(self.path / "phones/roots.int").splitlines()]
        return [
            Root(line[0] == "shared", line[1] == "split", tuple(int(number) for number in line[2:])) for line in lines
        ]

    @cached_property
    def topology(self) -> HmmTopology:
        return read_topology(self.path / "topo")

    def encode(
        self, transcripts: Mapping[str, Sequence[str]], *, unknown: Literal["map", "error"] = "map"
    ) -> tuple[dict[str, list[int]], Counter[str]]:
        """Word ids of each utterance, and how often each word without pronunciation occurs.

        unknown: "map" takes the id of the unknown word for them and logs the count; "error" raises LexiconError.
        """
        missing = count_unknown(transcripts.values(), self.words)
        if missing:
            total = sum(len(words) for words in transcripts.values())
            problem = describe_unknown(missing, total)
            if unknown == "error":
                raise LexiconError(
                    self.path / "words.txt", problem, mend="add them to the lexicon, or map them to the unknown word"
                )
            LOG.warning("%s: %s; mapped to %s", self.path, problem, self.unknown_word)
        unknown_id = self.unknown_id
        ids = {key: [self.words.get(word, unknown_id) for word in words] for key, words in transcripts.items()}
        return ids, missing


def count_unknown(transcripts: Iterable[Sequence[str]], vocabulary: Iterable[str]) -> Counter[str]:
    """How often each word that is not in the vocabulary occurs."""
    known = vocabulary if isinstance(vocabulary, Mapping | set | frozenset) else set(vocabulary)
    return Counter(word for words in transcripts for word in words if word not in known)


def describe_unknown(missing: Counter[str], total: int) -> str:
    """One line: how many words and tokens have no pronunciation, and the most frequent ones with their counts."""
    tokens = sum(missing.values())
    most = sorted(missing.items(), key=lambda item: (-item[1], item[0]))[:SHOWN_OOVS]
    more = f" and {len(missing) - len(most)} more" if len(missing) > len(most) else ""
    named = ", ".join(f"{word} {count}" for word, count in most)
    return f"{len(missing)} words without pronunciation ({tokens} of {total} tokens): {named}{more}"


def read_symbols(path: str | Path) -> dict[str, int]:
    """A symbol table (words.txt, phones.txt). Raises LexiconError with the line."""
    table: dict[str, int] = {}
    for number, line in enumerate(_needed(Path(path)).removesuffix("\n").split("\n"), 1):
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdigit() or fields[0] in table:
            raise LexiconError(f"{path}:{number}", f"expected a new '<symbol> <number>', found {line[:60]!r}",
                               mend="prepare the lang directory again")  # fmt: skip
        table[fields[0]] = int(fields[1])
    return table


def read_integers(path: str | Path) -> list[list[int]]:
    """The numbers of each line that has some (phones/*.int, oov.int). Raises LexiconError with the line."""
    rows = []
    for number, line in enumerate(_needed(Path(path)).split("\n"), 1):
        fields = line.split()
        if not all(field.isascii() and field.isdigit() for field in fields):
            problem = f"expected whole numbers, found {line[:60]!r}"
            raise LexiconError(f"{path}:{number}", problem, mend="prepare the lang directory again")
        rows += [[int(field) for field in fields]] if fields else []
    return rows


def _needed(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise LexiconError(
            path, f"cannot be read: {error.strerror}", mend="prepare the lang directory first (prepare-lang)"
        ) from None
    except UnicodeDecodeError:
        raise LexiconError(path, "is not UTF-8", mend="prepare the lang directory again, of UTF-8 text") from None
