"""breakdown.json: word and sentence errors by SNR, noise, age, gender, grade of reading and speaker; confusions.

Every cell carries its 95 % bootstrap interval over speakers (null where there are fewer than two).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from am.aligned import Aligned
from am.bootstrap import REPLICAS, Errors, interval
from am.confusion import Pronunciations, phone_confusions, word_confusions
from am.wer import ErrorCounts, total
from harness.atomic import write_whole
from kaldi_bridge.groups import in_order

NAME = "breakdown.json"
VERSION = 1
Rows = Mapping[str, tuple[str, ErrorCounts]]  # {utterance: (speaker, errors)}


@dataclass(frozen=True, kw_only=True)
class BreakdownConfig:
    replicas: int = REPLICAS  # of the bootstrap
    seed: int = 0


def breakdown(
    rows: Rows, aligned: Aligned, pronunciations: Pronunciations | None, config: BreakdownConfig
) -> dict[str, Any]:
    """The content of breakdown.json; docs/files.md says what each key means."""
    groups = {**aligned.groups, "speaker": {utterance: speaker for utterance, (speaker, _) in rows.items()}}
    by = {}
    for dimension, of in groups.items():
        chosen = {group: {u: row for u, row in rows.items() if of[u] == group} for group in in_order(of)}
        by[dimension] = [{"group": group, **cell(part, config)} for group, part in chosen.items()]
    confusions: dict[str, Any] = {"words": word_confusions(aligned.pairs.values()).as_json(), "phones": None}
    if pronunciations is not None:
        phones = phone_confusions(aligned.pairs, pronunciations)
        confusions["phones"] = {**phones.as_json(), "left_out": list(phones.left_out)}
    return {
        "version": VERSION, "level": 0.95, **asdict(config),
        "all": cell(rows, config), "by": by, "confusions": confusions,
    }  # fmt: skip


def cell(rows: Rows, config: BreakdownConfig) -> dict[str, Any]:
    """Counts, rates in percent and the interval of the word error rate of some utterances."""
    counts = total(errors for _, errors in rows.values())
    speakers = {speaker for speaker, _ in rows.values()}
    wrong = sum(errors.errors > 0 for _, errors in rows.values())
    low = high = None
    if counts.words and len(speakers) > 1:
        errors = Errors.of({utt: (speaker, one.words, one.errors) for utt, (speaker, one) in rows.items()})
        found = interval(errors, replicas=config.replicas, seed=config.seed)
        low, high = round(found.low, 4), round(found.high, 4)
    return {
        "utterances": len(rows), "speakers": len(speakers), "words": counts.words, "ins": counts.insertions,
        "del": counts.deletions, "sub": counts.substitutions, "wer": round(counts.percent, 4), "low": low, "high": high,
        "wrong_sentences": wrong, "ser": round(100.0 * wrong / len(rows), 4) if rows else 0.0,
    }  # fmt: skip


def write_breakdown(folder: Path, content: Mapping[str, Any]) -> None:
    """breakdown.json in a scored decode directory."""
    with write_whole(folder / NAME) as stream:
        stream.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
