"""What the preparations of all corpora share: counting what is left out, splits by speaker, the lexicon, the writing.

Below OUT stand train, dev and test, local/lexicon.txt (where there is one), local/oov_words.txt (words of the text that
it lacks, each with its count) and local/prepared.json: sizes, and what was left out and why.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from harness.atomic import write_whole
from harness.errors import DataDirError, LexiconError
from harness.log import get_logger
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.held_out import held_out_speakers
from kaldi_bridge.split import refuse_shared_speakers
from kaldi_bridge.text_tables import read_list, write_text_table
from recipes.lib.transcripts import Conventions, Transcript, TranscriptConfig, transcribe

SHOWN = 3  # utterances named of those that were left out
Source = Annotated[Path, typer.Option("--source", help="the corpus as its publisher distributes it")]
Out = Annotated[Path, typer.Option("--out", help="folder for the data directories")]
Lexicon = Annotated[Path, typer.Option("--lexicon", help="raw lexicon: lines 'WORD phone phone ...', such as CMUdict")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE, a setting of TranscriptConfig (recipes/lib/transcripts.py)"),
]
Seed = Annotated[int, typer.Option("--seed", help="another split of the same balance")]
Lists = Annotated[
    Path | None,
    typer.Option("--lists", help="folder with train.list, dev.list, test.list of utterances, for their split"),
]


@dataclass
class LeftOut:
    """Utterances that do not come into the data directories, by reason; events of the transcripts, by kind."""

    max_share: float = 0.1  # of all utterances, of unforeseen reasons
    reasons: dict[str, list[str]] = field(default_factory=dict)
    foreseen: set[str] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)

    def add(self, utterance: str, reason: str, *, foreseen: bool = False) -> None:
        """Leave an utterance out.  foreseen: the header of the preparation says so, as many as there may be."""
        self.reasons.setdefault(reason, []).append(utterance)
        if foreseen:
            self.foreseen.add(reason)

    def words_of(
        self, utterance: str, raw: str, conventions: Conventions, config: TranscriptConfig
    ) -> Transcript | None:
        """The transcript, its events counted; None where it says that the utterance is to be left out."""
        transcript = transcribe(raw, conventions, config)
        self.events.update(transcript.counts)
        if transcript.words is not None:
            return transcript
        self.add(utterance, transcript.reason, foreseen=True)
        return None

    def refuse_too_many(self, where: Path, kept: int, mend: str) -> None:
        """Raise DataDirError where nothing is left, or more is missing than a few broken files explain."""
        unforeseen = {reason: names for reason, names in self.reasons.items() if reason not in self.foreseen}
        lost = sum(map(len, unforeseen.values()))
        if kept == 0:
            said = "; ".join(f"{len(names)} {reason}" for reason, names in sorted(self.reasons.items()))
            raise DataDirError(where, f"has no utterance that can be used ({said or 'nothing is there'})", mend=mend)
        if lost > self.max_share * (kept + lost):
            reason, names = max(unforeseen.items(), key=lambda item: len(item[1]))
            problem = f"{lost} of {kept + lost} utterances cannot be used ({reason}: {len(names)}, first {min(names)})"
            raise DataDirError(where, problem, mend=mend)

    def summary(self) -> dict[str, dict[str, object]]:
        """{reason: {"count": how many, "first": the first names}}"""
        items = sorted(self.reasons.items())
        return {reason: {"count": len(names), "first": sorted(names)[:SHOWN]} for reason, names in items}


def split_speakers(
    groups: Mapping[str, str], *, test_every: int, dev_every: int, seed: int = 0
) -> dict[str, list[str]]:
    """{"train", "dev", "test": speakers}: every n-th in order of group (age, grade) and then of a hash of the name.

    test_every counts all speakers, dev_every those that are not in test; another seed gives another order of the same
    balance.  Raises DataDirError where a set would stay empty.
    """
    test = _held_out(groups, test_every, seed)
    others = {speaker: group for speaker, group in groups.items() if speaker not in set(test)}
    dev = _held_out(others, dev_every, seed)
    sets = {"train": sorted(set(others) - set(dev)), "dev": dev, "test": test}
    if empty := [name for name, speakers in sets.items() if not speakers]:
        problem = f"{len(groups)} speakers are too few: {empty[0]} would stay empty"
        raise DataDirError("the corpus", problem, mend="check that the corpus is whole")
    return sets


def sets_of(
    data: DataDir, out: Path, groups: Mapping[str, str], left_out: LeftOut, *, lists: Path | None, test_every: int,
    dev_every: int, seed: int,
) -> dict[str, DataDir]:  # fmt: skip
    """train, dev and test of a corpus without a split of its own: by lists of utterances, or by `split_speakers`.

    Speakers without a group (an unknown age) go to train.
    """
    if lists is None:
        speakers = split_speakers(groups, test_every=test_every, dev_every=dev_every, seed=seed)
        speakers["train"] += sorted(set(data.speakers) - set(groups))
        return {name: data.subset_speakers(chosen, out / name) for name, chosen in speakers.items()}
    sets: dict[str, DataDir] = {}
    listed: set[str] = set()
    for name in ("train", "dev", "test"):
        wanted = set(read_list(lists / f"{name}.list"))
        known = wanted & set(data.utt2spk)
        for utterance in wanted - known:
            left_out.add(utterance, f"in {name}.list, but not in the corpus")
        if not known:
            raise DataDirError(lists / f"{name}.list", "names no utterance of the corpus", mend="check the lists")
        sets[name], listed = data.subset(known, out / name), listed | known
    for utterance in set(data.utt2spk) - listed:
        left_out.add(utterance, "in none of the lists", foreseen=True)
    return sets


def _held_out(groups: Mapping[str, str], every: int, seed: int) -> list[str]:
    """held_out_speakers from the middle of the first group: no younger than the rest."""
    return held_out_speakers(groups, every, min(every, len(groups)) // 2, seed)


def write_sets(out: Path, sets: Mapping[str, DataDir], left_out: LeftOut, *, corpus: str, **facts: object) -> None:
    """Write and validate the data directories, no speaker in two of them, and local/prepared.json."""
    log = get_logger(corpus)
    refuse_shared_speakers(sets.values())
    if empty := [name for name, data in sets.items() if not data.utt2spk]:
        raise DataDirError(out / empty[0], "would have no utterance", mend="check that the corpus is whole")
    sizes = {}
    for name, data in sets.items():
        data.write(out / name)
        DataDir.read(out / name)
        words = sum(len(text.split()) for text in (data.text or {}).values())
        sizes[name] = {"speakers": len(data.speakers), "utterances": len(data.utterances), "words": words}
        log.info("%s: %d utterances of %d speakers, %d words", out / name, *_counts(sizes[name]))
    for reason, names in sorted(left_out.reasons.items()):
        log.info("left out, %s: %d utterances (first: %s)", reason, len(names), ", ".join(sorted(names)[:SHOWN]))
    events = dict(sorted(left_out.events.items()))
    if events:
        log.info("in the transcripts: %s", ", ".join(f"{count} {kind}" for kind, count in events.items()))
    content = {"corpus": corpus, "sets": sizes, "left_out": left_out.summary(), "events": events}
    with write_whole(out / "local" / "prepared.json") as stream:
        json.dump(content | facts, stream, indent=1, sort_keys=True)
        stream.write("\n")


def refuse_source(out: Path, source: Path) -> None:
    """Raise DataDirError where the output is a corpus that has tables of the same names: they would be overwritten."""
    if out.resolve() == source.resolve():
        raise DataDirError(out, "is the corpus itself, whose tables would be overwritten", mend="give another --out")


def _counts(size: Mapping[str, int]) -> tuple[int, int, int]:
    return size["utterances"], size["speakers"], size["words"]


def write_lexicon(
    lexicon: Path, out: Path, sets: Mapping[str, DataDir], *, unknown_word: str = "<unk>", skip: tuple[str, ...] = ()
) -> int:
    """Copy a raw lexicon to local/lexicon.txt and list the words that it lacks in local/oov_words.txt; their number.

    The case of the lexicon's words follows that of the text; skip: beginnings of entries that are no words.
    Raises LexiconError where no word of the text is in it.
    """
    if not lexicon.is_file():
        raise LexiconError(lexicon, "no such lexicon", mend="give --lexicon: CMUdict, or the one of LibriSpeech")
    counts = Counter(word for data in sets.values() for text in (data.text or {}).values() for word in text.split())
    counts.pop(unknown_word, None)
    upper = sum(word.isupper() for word in counts) * 2 >= len(counts)
    lines = [_entry(line, upper) for line in lexicon.read_text(encoding="utf-8", errors="replace").splitlines()]
    lines = [line for line in lines if line and not line.startswith(skip)]
    known = {line.split()[0].partition("(")[0] for line in lines}
    missing = {word: str(count) for word, count in counts.items() if word not in known}
    if counts and len(missing) == len(counts):
        problem = f"holds none of the {len(counts)} words of the text"
        raise LexiconError(lexicon, problem, mend="give lines of the form 'WORD phone phone ...'")
    with write_whole(out / "local" / "lexicon.txt") as stream:
        stream.writelines(f"{line}\n" for line in lines)
    write_text_table(out / "local" / "oov_words.txt", missing)
    share = sum(map(int, missing.values())) / max(1, sum(counts.values()))
    text = "%s: %d entries; %d of %d words of the text are not in it (%.1f %% of the running words)"
    get_logger("lexicon").info(text, lexicon, len(lines), len(missing), len(counts), 100 * share)
    return len(missing)


def _entry(line: str, upper: bool) -> str:
    """A line of a raw lexicon with its word in the case of the text; comments and empty lines become ''."""
    if not line.strip() or line.startswith((";;;", "##")):
        return ""
    word, _, phones = line.strip().replace("\t", " ").partition(" ")
    return f"{word.upper() if upper else word.lower()} {' '.join(phones.split())}"
