"""Transcripts of files from anywhere, scored without a decode directory: Kaldi's text, NIST's trn, or plain lines.

text: 'utterance word word'; trn: 'word word (utterance)'; lines: words alone, the line's number is the utterance.
sclite's alternatives in braces are words like others.

Modes are those of compute-wer for an utterance without hypothesis: strict refuses it, all counts it as deleted, present
leaves it out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from am.aligned import Aligned, Pairs
from am.confusion import word_confusions
from am.wer import KALDI, ErrorCounts, Weights, align_words, count_errors, count_pairs, refuse_gap, total
from am.wer_details import operations, per_speaker, per_utterance
from harness.atomic import write_whole
from harness.errors import DataDirError
from harness.log import get_logger
from kaldi_bridge.text_tables import fields_of, read_text_table, text_lines

Format = Literal["auto", "text", "trn", "lines"]
Mode = Literal["strict", "all", "present"]
Texts = dict[str, tuple[str, ...]]
_TRN = re.compile(r"^(.*?)[ \t]*\(([^()\s]+)\)$")


def read_texts(path: str | Path, form: Format = "auto", *, ignore_case: bool = False) -> Texts:
    """{utterance: words} of a file, in file order; auto takes trn where every line ends in '(utterance)', else text.

    Raises DataDirError, with the line, for a line that is none, an utterance that comes twice, or an empty file.
    """
    numbered = [(number, line.removeprefix("\ufeff").strip("\r\n \t")) for number, line in text_lines(path)]
    if form == "auto":
        spoken = [line for _, line in numbered if line]
        form = "trn" if spoken and all(_TRN.match(line) for line in spoken) else "text"
    texts: Texts = {}
    for number, line in numbered:
        if not line and form != "lines":
            continue
        utterance, words = _entry(f"{path}:{number}", number, line.lower() if ignore_case else line, form)
        if utterance in texts:
            raise DataDirError(f"{path}:{number}", f"utterance {utterance} comes twice", mend="keep one of the lines")
        refuse_gap(f"{path}:{number}", utterance, words)
        texts[utterance] = words
    if not texts:
        raise DataDirError(path, "holds no transcript", mend="give a file of transcripts")
    return texts


def _entry(where: str, number: int, line: str, form: Format) -> tuple[str, tuple[str, ...]]:
    if form == "lines":
        return str(number), tuple(fields_of(line))
    if form == "text":
        utterance, *words = fields_of(line)
        return utterance, tuple(words)
    found = _TRN.match(line)
    if not found:
        raise DataDirError(where, "does not end in '(utterance)'", mend="give --format text, or mend the line")
    return found[2], tuple(fields_of(found[1]))


@dataclass(frozen=True, kw_only=True)
class TextScore:
    """The errors of a file of hypotheses."""

    counts: Mapping[str, ErrorCounts]  # of the utterances that count
    pairs: Mapping[str, Pairs]  # their alignments
    absent: tuple[str, ...]  # utterances without hypothesis

    @property
    def total(self) -> ErrorCounts:
        return total(self.counts.values())

    @property
    def wrong_sentences(self) -> int:
        """Utterances with an error."""
        return sum(one.errors > 0 for one in self.counts.values())

    def lines(self) -> list[str]:
        """As compute-wer prints them."""
        sentences = len(self.counts)
        return [
            self.total.line() + (" [PARTIAL]" if self.absent else ""),
            f"%SER {100.0 * self.wrong_sentences / sentences:.2f} [ {self.wrong_sentences} / {sentences} ]",
            f"Scored {sentences} sentences, {len(self.absent)} not present in hyp.",
        ]

    def confused(self, most: int) -> list[str]:
        """The most frequent confused pairs, a line each: times, reference, hypothesis (*** for none)."""
        wrong = [(n, pair) for pair, n in word_confusions(self.pairs.values()).pairs.items() if pair[0] != pair[1]]
        return [f"{n:6d}  {one} -> {other}" for n, (one, other) in sorted(wrong, key=lambda w: (-w[0], w[1]))[:most]]

    def as_json(self) -> dict[str, Any]:
        """Sums, confusions and the errors of each utterance."""
        whole = self.total
        return {
            **_counts(whole), "utterances": len(self.counts), "wrong_sentences": self.wrong_sentences,
            "ser": round(100.0 * self.wrong_sentences / len(self.counts), 4), "absent": list(self.absent),
            "confusions": word_confusions(self.pairs.values()).as_json(),
            "by_utterance": {utterance: _counts(one) for utterance, one in self.counts.items()},
        }  # fmt: skip


def _counts(counts: ErrorCounts) -> dict[str, float]:
    return {
        "words": counts.words, "ins": counts.insertions, "del": counts.deletions, "sub": counts.substitutions,
        "wer": round(counts.percent, 4),
    }  # fmt: skip


def score_texts(references: Texts, hypotheses: Texts, *, mode: Mode = "strict", weights: Weights = KALDI) -> TextScore:
    """Score hypotheses against references; hypotheses of other utterances are counted and named, as missing ones are.

    Raises DataDirError in mode strict where the two differ in utterances, and where no utterance is left.
    """
    absent = tuple(utterance for utterance in references if utterance not in hypotheses)
    strange = [utterance for utterance in hypotheses if utterance not in references]
    for names, problem in ((absent, "have no hypothesis"), (strange, "have no reference")):
        if not names:
            continue
        told = f"{len(names)} utterances {problem} (first: {names[0]})"
        if mode == "strict":
            mend = "mode all counts missing hypotheses as deleted, present leaves them out; both pass over strange ones"
            raise DataDirError("wer", told, mend=mend)
        get_logger("am").warning("%s", told)
    scored = [utterance for utterance in references if mode == "all" or utterance in hypotheses]
    if not scored:
        raise DataDirError("wer", "the two files have no utterance in common", mend="compare the utterances' names")
    texts = {utterance: (references[utterance], hypotheses.get(utterance, ())) for utterance in scored}
    pairs = {utterance: tuple(align_words(*both, weights)) for utterance, both in texts.items()}
    if weights == KALDI:  # whose counts break ties otherwise than its alignments
        counts = {utterance: count_errors(*both) for utterance, both in texts.items()}
    else:
        counts = {utterance: count_pairs(one) for utterance, one in pairs.items()}
    return TextScore(counts=counts, pairs=pairs, absent=absent)


def aligned_of(score: TextScore, utt2spk: str | Path | None, *, ignore_case: bool = False) -> Aligned:
    """The alignments with their speakers; without utt2spk every utterance is a speaker of its own.

    ignore_case: as the texts were read, whose utterances are in small letters then.
    """
    speakers = {utterance: utterance for utterance in score.pairs}
    if utt2spk is not None:
        table = read_text_table(utt2spk)
        table = {utterance.lower(): speaker for utterance, speaker in table.items()} if ignore_case else table
        if without := [utterance for utterance in speakers if utterance not in table]:
            problem = f"{len(without)} utterances have no speaker (first: {without[0]})"
            raise DataDirError(utt2spk, problem, mend="give the utt2spk of these transcripts")
        speakers = {utterance: table[utterance] for utterance in speakers}
    return Aligned(pairs=score.pairs, speakers=speakers, groups={})


def write_details(folder: Path, aligned: Aligned, *, by_speaker: bool) -> None:
    """Kaldi's per_utt and ops, and per_spk where speakers are known, in a folder."""
    pairs = dict(sorted(aligned.pairs.items()))
    files = {"per_utt": per_utterance(pairs), "ops": operations(pairs)}
    if by_speaker:
        files["per_spk"] = per_speaker(pairs, aligned.speakers)
    for name, text in files.items():
        with write_whole(folder / name) as stream:
            stream.write(text)


def write_json(path: Path, scores: Mapping[str, TextScore], comparison: Sequence[Mapping[str, Any]]) -> None:
    """All figures of the systems, by file name, and of their comparison."""
    content = {
        "version": 1, "systems": {name: score.as_json() for name, score in scores.items()}, "comparison": comparison
    }  # fmt: skip
    with write_whole(path) as stream:
        stream.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
