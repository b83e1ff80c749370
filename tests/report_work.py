"""A small work directory with everything that the report reads, of which every figure is known beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
WORDS = tuple("ABCDEFGHIJ")  # what is said in every utterance
SPEAKERS = range(8)  # the first four are 7 years old, the others 10
UTTERANCES = tuple(f"s{speaker}-{place}" for speaker in SPEAKERS for place in "ab")  # a: 0 dB, b: 15 dB
Wrong = Mapping[str, int] | Callable[[str], int]


def put(
    work: Path, test: str, wrong: Wrong, *, training: str = "clean", model: str = "ligru", lm: str = "open"
) -> Path:
    """A scored decoding; wrong: substituted words of an utterance, by its name or its last letter."""
    folder = work / "exp" / training / model / f"decode_{test}_{lm}"
    folder.mkdir(parents=True)
    lines = ["utterance\tspeaker\twords\tins\tdel\tsub\thypothesis\n"]
    for utterance in UTTERANCES:
        errors = wrong(utterance) if callable(wrong) else wrong[utterance[-1]]
        heard = " ".join(["NOISE"] * errors + list(WORDS[errors:]))
        lines.append(f"{utterance}\t{utterance[:2]}\t10\t0\t0\t{errors}\t{heard}\n")
    (folder / "per_utt.tsv").write_text("".join(lines))
    (folder / "score.json").write_text(json.dumps({"lm_weight": 12, "word_ins_penalty": 0.0}))
    return folder


def write_data(work: Path) -> None:
    """The tables of the test sets, without sound."""
    for name in ("test", "test_noisy"):
        folder = work / "data" / name
        folder.mkdir(parents=True)
        _table(folder / "text", {utterance: " ".join(WORDS) for utterance in UTTERANCES})
        _table(folder / "utt2spk", {utterance: utterance[:2] for utterance in UTTERANCES})
    _table(work / "data" / "test" / "spk2age", {f"s{n}": str(7 if n < 4 else 10) for n in SPEAKERS})
    _table(work / "data" / "test_noisy" / "utt2snr", {u: "0" if u[-1] == "a" else "15" for u in UTTERANCES})


def write_sounds(work: Path, seconds: float = 0.3) -> None:
    """A tone for clean, with noise for noisy and with a little noise for enhanced."""
    draw = np.random.default_rng(0)
    for name, level in (("test", 0.0), ("test_noisy", 0.2), ("test_enhanced", 0.02)):
        folder = work / "data" / name
        (folder / "wav").mkdir(parents=True)
        _table(folder / "utt2spk", {utterance: utterance[:2] for utterance in UTTERANCES})
        _table(folder / "wav.scp", {utterance: str(folder / "wav" / f"{utterance}.wav") for utterance in UTTERANCES})
        for utterance in UTTERANCES:
            tone = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(int(seconds * RATE)) / RATE)
            soundfile.write(folder / "wav" / f"{utterance}.wav", tone + level * draw.normal(size=len(tone)), RATE)


def write_scores(work: Path, rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """scores.csv and summary.csv: condition -> utterance -> metric -> value."""
    for condition, values in rows.items():
        folder = work / "exp" / "score" / condition
        folder.mkdir(parents=True)
        names = list(next(iter(values.values())))
        lines = [f"{utterance},,{','.join(str(row[name]) for name in names)},\n" for utterance, row in values.items()]
        (folder / "scores.csv").write_text(f"utterance,snr,{','.join(names)},problem\n" + "".join(lines))
        means = [sum(row[name] for row in values.values()) / len(values) for name in names]
        shown = ",".join(f"{mean:.4f}" for mean in means)
        (folder / "summary.csv").write_text(f"snr,utterances,{','.join(names)}\nall,{len(values)},{shown}\n")


def write_training(work: Path) -> None:
    """Three epochs of an acoustic model, two validations of an enhancer, and a stamp."""
    model, enhancer = work / "exp" / "clean" / "ligru", work / "exp" / "enhance" / "compact"
    enhancer.mkdir(parents=True)
    rows = [{"epoch": n, "train_loss": 6.0 - n, "dev_pdf_error": 70.0 - 5 * n} for n in (1, 2, 3)]
    (model / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (model / "config.yaml").write_text("model: ligru\n")
    lines = [{"step": n, "loss": 3.0 - n / 100} for n in (50, 100)]
    lines += [{"step": n, "validation": True, "si_sdr": 7.0 + n / 50, "si_sdr_unprocessed": 5.0} for n in (50, 100)]
    (enhancer / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines) + '{"step": 15')
    stamps = work / "exp" / "stamps"
    stamps.mkdir(parents=True)
    (stamps / "stage3.json").write_text(
        '{"title": "denoise every set", "seconds": 149.0, "ended": "2026-01-01 00:00:00"}'
    )


def whole_work_dir(work: Path) -> None:
    """Everything at once: enhancement lowers WER from 40 to 30 % and harms clean speech."""
    write_data(work)
    write_sounds(work)
    put(work, "clean", {"a": 1, "b": 1})
    put(work, "noisy", {"a": 6, "b": 2})
    put(work, "enhanced", lambda utt: {"a": 3, "b": 3}[utt[-1]])
    put(work, "mixed", {"a": 4, "b": 2})
    put(work, "clean_enhanced", {"a": 1, "b": 2})
    put(work, "noisy", {"a": 4, "b": 2}, training="multi")
    put(work, "enhanced", {"a": 4, "b": 2}, training="multi")
    put(work, "clean", {"a": 0, "b": 0}, lm="closed")
    noisy = {utt: {"pesq": 1.5, "si_sdr": 0.0} for utt in UTTERANCES}
    enhanced = {utt: {"pesq": 1.5 + 0.01 * n, "si_sdr": 5.0 - n} for n, utt in enumerate(UTTERANCES)}
    write_scores(work, {"noisy": noisy, "enhanced": enhanced})
    write_training(work)


def _table(path: Path, rows: Mapping[str, str]) -> None:
    path.write_text("".join(f"{key} {value}\n" for key, value in sorted(rows.items())))
