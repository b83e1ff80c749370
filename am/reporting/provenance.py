"""How the figures were made: stages and their time, versions, commit, settings, and the curves of every training."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from am.results import hidden
from harness.log import get_logger

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = (
    "schoolyard", "torch", "numpy", "scipy", "numba", "kaldi-decoder", "kaldifst", "kaldi-native-fbank", "kaldialign",
    "kaldiio", "soundfile", "soxr", "pesq", "pystoi", "speechmos", "onnxruntime",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the recipe that has run."""

    number: int
    title: str
    seconds: float  # of its last run
    ended: str  # local time, or empty
    resumed: bool = False  # it went on where an earlier run had stopped, whose time is not known

    @property
    def mark(self) -> str:
        """What belongs before its time."""
        return "≥ " if self.resumed else ""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """The lines of a metrics.jsonl: losses, and validation scores apart from them."""

    name: str  # clean/ligru, enhance/compact
    lines: tuple[Mapping[str, Any], ...]
    validations: tuple[Mapping[str, Any], ...]

    @property
    def of_enhancer(self) -> bool:
        return self.name.startswith("enhance/")


def read_stages(exp: Path) -> list[Stage]:
    """The stamps of the recipe, in order of the stages."""
    stages = []
    for path in (exp / "stamps").glob("stage*.json"):
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
            number = int(path.stem.removeprefix("stage"))
            stages.append(
                Stage(
                    number=number,
                    title=str(row["title"]),
                    seconds=float(row["seconds"]),
                    ended=row.get("ended", ""),
                    resumed=bool(row.get("resumed")),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            get_logger("am").warning("%s: damaged stamp, left out of the report (%s)", path, error)
    return sorted(stages, key=lambda stage: stage.number)


def read_runs(exp: Path) -> list[TrainingRun]:
    """The curves of every acoustic model and enhancer below ``exp``; a line that a kill cut off is passed over."""
    runs = []
    for path in sorted(exp.glob("*/*/metrics.jsonl")):
        if hidden(path.relative_to(exp)):
            continue
        rows = list(_json_lines(path))
        name = path.parent.relative_to(exp).as_posix()
        lines = tuple(row for row in rows if not row.get("validation"))
        runs.append(TrainingRun(name=name, lines=lines, validations=tuple(r for r in rows if r.get("validation"))))
    return runs


def _json_lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(text)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def curve(rows: tuple[Mapping[str, Any], ...], x: str, y: str) -> list[tuple[float, float]]:
    """(x, y) of the rows that have both as finite numbers."""
    points = [(row[x], row[y]) for row in rows if isinstance(row.get(x), (int, float)) and x in row and y in row]
    return [(float(a), float(b)) for a, b in points if isinstance(b, (int, float)) and math.isfinite(b)]


def read_settings(work: Path) -> list[tuple[str, str]]:
    """(file, text) of the settings: of acoustic models and enhancers, of the last GMM rung, of denoising and mixing."""
    configs = [path for path in sorted(work.glob("exp/*/*/config.yaml")) if not hidden(path.relative_to(work))]
    found = [(path, path.read_text(encoding="utf-8", errors="replace").strip()) for path in configs]
    for path in sorted(work.glob("exp/*/tri3b/schoolyard.json")):
        found.append((path, _json_part(path, lambda row: row.get("config", {}))))
    for path in (work / "data" / "test_enhanced" / "denoise.json", work / "data" / "test_noisy" / "request.json"):
        found += [(path, _json_part(path, _without_lists))] if path.is_file() else []
    return [(path.relative_to(work).as_posix(), text) for path, text in found if text]


def _json_part(path: Path, part: Callable[[dict[str, Any]], Any]) -> str:
    try:
        return json.dumps(part(json.loads(path.read_text(encoding="utf-8"))), indent=1, ensure_ascii=False)
    except (ValueError, AttributeError):
        return ""


def _without_lists(row: dict[str, Any]) -> dict[str, Any]:
    """The names of all utterances say nothing about the settings."""
    return {key: value for key, value in row.items() if not (isinstance(value, list) and len(value) > 20)}


def versions() -> dict[str, str]:
    """Installed packages that the figures depend on; Python first."""
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    return f"{platform.platform()}, {os.cpu_count()} CPU threads"


def commit() -> str:
    """The commit of the program, with -dirty where files differ from it."""
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown (not a git checkout)"


def duration(seconds: float) -> str:
    """Seconds for people: 52 s, 12 min 4 s, 3 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
