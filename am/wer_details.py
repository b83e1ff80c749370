"""The files of Kaldi's scoring_kaldi directory, to the byte: wer_LMWT_WIP, wer_details/{per_utt,per_spk,ops}.

Formats: compute-wer, utils/scoring/wer_per_utt_details.pl, wer_per_spk_details.pl and wer_ops_details.pl.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from am.wer import GAP, ErrorCounts, align_words

Pairs = Sequence[tuple[str, str]]


def wer_file(command: str, counts: ErrorCounts, wrong_sentences: int, sentences: int) -> str:
    """The text of wer_LMWT_WIP.  command: its first line, the compute-wer call that it stands for."""
    rate = 100.0 * wrong_sentences / sentences if sentences else 0.0
    return (
        f"{command}\n{counts.line()}\n%SER {rate:.2f} [ {wrong_sentences} / {sentences} ]\n"
        f"Scored {sentences} sentences, 0 not present in hyp.\n"
    )


def align_set(
    references: Mapping[str, Sequence[str]], hypotheses: Mapping[str, Sequence[str]]
) -> dict[str, list[tuple[str, str]]]:
    """Aligned pairs of every utterance, in order of the names."""
    return {utterance: align_words(references[utterance], hypotheses[utterance]) for utterance in sorted(references)}


def operation(pair: tuple[str, str]) -> str:
    """C(orrect), S(ubstituted), I(nserted) or D(eleted)."""
    reference, hypothesis = pair
    if hypothesis == GAP:
        return "D"
    if reference == GAP:
        return "I"
    return "C" if reference == hypothesis else "S"


def per_utterance(alignments: Mapping[str, Pairs]) -> str:
    """wer_details/per_utt: reference, hypothesis and operations in columns, then the counts."""
    lines = []
    for utterance, pairs in alignments.items():
        columns = [(reference, hypothesis, operation((reference, hypothesis))) for reference, hypothesis in pairs]
        widths = [max(map(len, column)) for column in columns]
        for row, name in enumerate(("ref ", "hyp ", "op  ")):
            cells = (_centred(column[row], width) for column, width in zip(columns, widths, strict=True))
            lines.append(f"{utterance} {name} {'  '.join(cells)}")
        counts = Counter(column[2] for column in columns)
        lines.append(f"{utterance} #csid {counts['C']} {counts['S']} {counts['I']} {counts['D']}")
    return "".join(line + "\n" for line in lines)


def _centred(text: str, width: int) -> str:
    right = (width - len(text)) // 2
    return " " * (width - len(text) - right) + text + " " * right


def per_speaker(alignments: Mapping[str, Pairs], utt2spk: Mapping[str, str]) -> str:
    """wer_details/per_spk: counts (raw) and percentages (sys) of each speaker and of all."""
    sums: dict[str, Counter[str]] = {}
    for utterance, pairs in alignments.items():
        counts = Counter(map(operation, pairs))
        counts["sentences"] = 1
        counts["wrong"] = int(any(counts[op] for op in "SID"))
        sums.setdefault(utt2spk[utterance], Counter()).update(counts)
    width = max([15, *map(len, utt2spk.values())])
    names = ("#SENT", "#WORD", "Corr", "Sub", "Ins", "Del", "Err", "S.Err")
    lines = [f"{'SPEAKER':<{width}} id  {' '.join(f'{name:>10}' for name in names)}"]
    everything: Counter[str] = Counter()
    for speaker in sorted(sums):
        lines += _speaker_lines(f"{speaker:<{width}}", sums[speaker])
        everything.update(sums[speaker])
    lines += _speaker_lines(f"{'SUM':<{width}}", everything)
    return "".join(line + "\n" for line in lines)


def _speaker_lines(name: str, counts: Counter[str]) -> list[str]:
    words, errors = sum(counts[op] for op in "CSD"), sum(counts[op] for op in "SID")
    head = f"{counts['sentences']:10d} {words:10d}"
    raw = [counts["C"], counts["S"], counts["I"], counts["D"], errors]
    lines = [f"{name} raw {head} {' '.join(f'{value:10d}' for value in [*raw, counts['wrong']])}"]
    if words:
        rates = [100 * value / words for value in raw] + [100.0 * counts["wrong"] / counts["sentences"]]
        lines.append(f"{name} sys {head} {' '.join(f'{rate:10.2f}' for rate in rates)}")
    return lines


def operations(alignments: Mapping[str, Pairs]) -> str:
    """wer_details/ops: how often each word was right, lost, added or taken for another; most frequent first."""
    counts = Counter(pair for pairs in alignments.values() for pair in pairs)
    if not counts:
        return ""
    words = min(max(len(word) for pair in counts for word in pair), 16)
    digits = len(str(max(counts.values())))
    names = {"C": "correct", "S": "substitution", "I": "insertion", "D": "deletion"}
    rows = [(names[operation(pair)], -count, *pair) for pair, count in counts.items()]
    return "".join(
        f"{name:<12}  {reference:>{words}}    {hypothesis:>{words}}    {-count:{digits}d}\n"
        for name, count, reference, hypothesis in sorted(rows)
    )


def text_lines(hypotheses: Mapping[str, Iterable[str]]) -> str:
    """A text table as lattice-best-path and int2sym.pl write it: a blank after every word."""
    return "".join(f"{utterance} {''.join(word + ' ' for word in words)}\n" for utterance, words in hypotheses.items())
