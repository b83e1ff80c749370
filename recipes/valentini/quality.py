"""Quality on VoiceBank-DEMAND's test set: the check that our noisy speech is everybody's, and the table of the papers.

The noisy row is published with PESQ 1.97, CSIG 3.35, CBAK 2.44, COVL 2.63 and SSNR 1.68 (Pascual, Bonafonte and Serra,
Interspeech 2017, and every paper since): another pairing, resampling or metric shows here, before days of training.

usage: python recipes/valentini/quality.py check --score DIR --prepared DATA/local/prepared.json
       python recipes/valentini/quality.py table --score NAME=DIR ... --prepared JSON --out RESULTS.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.atomic import write_whole
from harness.cli import app_for
from harness.errors import ConfigError, SchoolyardError
from recipes.lib.preparation import run_preparation

COLUMNS = {"pesq": "PESQ", "csig": "CSIG", "cbak": "CBAK", "covl": "COVL", "ssnr": "SSNR, dB"}
NOISY = {"pesq": 1.97, "csig": 3.35, "cbak": 2.44, "covl": 2.63, "ssnr": 1.68}
PUBLISHED: dict[str, dict[str, float]] = {  # of the same paper, on the same 824 utterances
    "noisy": NOISY,
    "Wiener filter": {"pesq": 2.22, "csig": 3.23, "cbak": 2.68, "covl": 2.67, "ssnr": 5.07},
    "SEGAN": {"pesq": 2.16, "csig": 3.48, "cbak": 2.94, "covl": 2.80, "ssnr": 7.73},
}
MORE = {"stoi": "STOI", "si_sdr": "SI-SDR, dB"}
app = app_for("recipes/valentini/quality.py", "The noisy row, and the table of quality.")
Prepared = Annotated[Path, typer.Option("--prepared", help="DATA/local/prepared.json of the preparation")]


class QualityError(SchoolyardError):
    """Scores are missing, or not what is published of the same speech."""


@app.command()
def check(
    score: Annotated[Path, typer.Option("--score", help="score directory of the noisy test set")],
    prepared: Prepared,
    tolerance: Annotated[float, typer.Option("--tolerance", help="largest difference; figures have two decimals")] = (
        0.02
    ),
) -> None:
    """Refuse scores of the noisy test set that are not the published ones; of a part of the corpus none are known."""
    facts, found = _facts(prepared), means_of(score)
    if facts["partial"] or facts["rate"] != 16000:
        why = "a part of the corpus" if facts["partial"] else f"{facts['rate']} Hz"
        typer.echo(f"noisy test set of {why}: no published figures to check; {_shown(found)}")
        return
    wrong = [
        f"{COLUMNS[name]} {found[name]:.3f} instead of {value}"
        for name, value in NOISY.items()
        if abs(found[name] - value) > tolerance + 0.005  # the published ones are rounded
    ]
    if wrong:
        mend = "check the corpus, the resampling and the metrics before anything is trained; --tolerance is an option"
        raise QualityError(score, f"the noisy test set has {', '.join(wrong)}", mend=mend)
    typer.echo(f"noisy test set as published: {_shown(found)}")


@app.command()
def table(
    score: Annotated[list[str], typer.Option("--score", help="NAME=DIR, a row; in this order")],
    prepared: Prepared,
    out: Annotated[Path, typer.Option("--out", help="Markdown to write")],
    dev: Annotated[list[str] | None, typer.Option("--dev", help="NAME=DIR, a row of the validation speakers")] = None,
) -> None:
    """Write the table that papers print, with published rows marked as such."""
    facts = _facts(prepared)
    columns = COLUMNS | MORE
    rows = [(f"{name} (published)", values) for name, values in PUBLISHED.items()]
    rows += [(name, means_of(Path(folder))) for name, folder in map(_named, score)]
    size = facts["sets"]["test"]
    tested = f"{size['utterances']} test utterances of {size['speakers']} speakers"
    what = f"{tested}, {facts['rate']} Hz ({facts['resampler']}); training set of {facts['speakers']} speakers."
    lines = ["# VoiceBank-DEMAND: quality of enhanced speech", "", what]
    if facts["partial"]:
        lines += ["", "**A part of the corpus: these figures are not comparable with the published rows.**"]
    lines += ["", *_markdown(columns, rows)]
    if dev:
        speakers = f"{facts['sets']['dev']['speakers']} validation speakers"
        dev_rows = [(name, means_of(Path(folder))) for name, folder in map(_named, dev)]
        lines += ["", f"## {speakers}", "", *_markdown(columns, dev_rows)]
    with write_whole(out) as stream:
        stream.write("\n".join(lines) + "\n")
    typer.echo(f"wrote {out}")


def means_of(folder: Path) -> dict[str, float]:
    """{metric: mean over all utterances} of a score directory.  Raises QualityError where one is missing."""
    path = folder / "summary.json"
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        total = next(row for row in rows if row["snr"] == "all")
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise QualityError(path, f"has no means ({error!r})", mend="run python -m enhance score first") from None
    if missing := [name for name in COLUMNS if not isinstance(total.get(name), int | float)]:
        mend = f"score with --metrics {','.join((*COLUMNS, *MORE))}; PESQ needs pip install pesq==0.0.4"
        raise QualityError(path, f"lacks {', '.join(missing)}", mend=mend)
    if total.get("failed"):
        problem = f"{total['failed']} utterances have no score"
        raise QualityError(path, problem, mend="see scores.csv: the papers score every utterance")
    return {name: float(total[name]) for name in (*COLUMNS, *MORE) if isinstance(total.get(name), int | float)}


def _facts(prepared: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(prepared.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise QualityError(
            prepared, f"cannot be read ({error})", mend="run recipes/valentini/prepare.py first"
        ) from None
    return facts


def _named(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise ConfigError("--score", f"expected NAME=DIR, got {text!r}", mend="such as --score noisy=exp/score/noisy")
    return name, folder


def _shown(means: Mapping[str, float]) -> str:
    return ", ".join(f"{title} {means[name]:.2f}" for name, title in COLUMNS.items())


def _markdown(columns: Mapping[str, str], rows: Sequence[tuple[str, Mapping[str, float]]]) -> list[str]:
    head = ["| system | " + " | ".join(columns.values()) + " |", "|---|" + "---:|" * len(columns)]
    body = [
        f"| {name} | " + " | ".join(f"{means[key]:.2f}" if key in means else "" for key in columns) + " |"
        for name, means in rows
    ]
    return head + body


if __name__ == "__main__":
    run_preparation(app)
