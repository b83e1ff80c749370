"""The report that the recipes are for: a page of HTML to look at, and its Markdown twin.

Every figure carries a 95 % bootstrap interval over speakers; differences are paired on the same utterances.  What the
chapters hold stands in am/reporting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from am.reporting.chapter import Chapter
from am.reporting.error_kinds import error_kinds
from am.reporting.examples import FORMATS, AudioFormat, gather
from am.reporting.findings import Findings
from am.reporting.gate import gate
from am.reporting.headlines import headlines
from am.reporting.making import made_by, trainings
from am.reporting.markdown import markdown
from am.reporting.page import page
from am.reporting.recognition import by_age, by_snr, matrix, rates, what_changed
from am.reporting.speech_quality import quality
from am.results import read_decodings
from harness.atomic import write_whole
from harness.errors import DataDirError, DiskError


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    replicas: int = 10_000  # bootstrap replicas
    seed: int = 0
    main_lm: str = "open"  # the language model of the breakdowns
    main_training: str = "clean"  # the headline speaks of this training ...
    main_model: str = "ligru"  # ... and this model first
    examples: int = 6  # utterances to hear where enhancement helped, and as many where it harmed; 0 for none
    audio: AudioFormat = "flac"  # of their sound: lossless; mp3 and opus make a small page
    max_megabytes: float = 12.0  # of sounds and spectrograms; examples beyond it are shown as text

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise ValueError(f"replicas must be at least 1, got {self.replicas}")
        if self.examples < 0 or self.max_megabytes < 0:
            raise ValueError("examples and max_megabytes must not be negative")
        if self.audio not in FORMATS:
            raise ValueError(f"audio must be one of {', '.join(FORMATS)}, got {self.audio!r}")


def write_report(
    work: Path, out: Path, *, html: Path | None = None, title: str, notes: Sequence[Path] = (), command: str = "",
    config: ReportConfig | None = None,
) -> str:  # fmt: skip
    """Write the report on ``work`` to ``out`` (Markdown) and ``html``; return headlines and main table.

    notes: Markdown files with what was run, on what, with which limits.  command: what made the work directory.
    """
    config = config or ReportConfig()
    if html and html.resolve() == out.resolve():
        raise DiskError(out, "cannot be both the Markdown and the page", mend="give --out or --html another name")
    decodings = read_decodings(work / "exp")
    lms = sorted({decoding.lm for decoding in decodings}, key=lambda lm: (lm != config.main_lm, lm))
    main = config.main_training, config.main_model
    findings = {
        lm: Findings([d for d in decodings if d.lm == lm], replicas=config.replicas, seed=config.seed, main=main)
        for lm in lms
    }
    first = findings[lms[0]]
    matrices = [rates(found, lm, lm == lms[0]) for lm, found in findings.items()]
    found = (
        matrices[0], what_changed(first, lms[0]), *matrices[1:], by_snr(first, work / "data"),
        by_age(first, work / "data"), error_kinds(first), quality(first, work), gate(work),
        _examples(first, work, config), trainings(work), made_by(work, command),
    )  # fmt: skip
    chapters = [chapter for chapter in found if chapter]
    texts = [_note(path) for path in notes]
    lines = headlines(first)
    with write_whole(out) as stream:
        stream.write(markdown(title, lines, texts, chapters))
    if html:
        with write_whole(html) as stream:
            stream.write(page(title, lines, texts, chapters))
    return "\n".join([*(line.text for line in lines), "", matrix(first, lms[0]).markdown()])


def _note(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise DataDirError(path, "is not UTF-8", mend="convert it: iconv -t utf-8") from None


def _examples(findings: Findings, work: Path, config: ReportConfig) -> Chapter | None:
    """Utterances to hear and see."""
    if not config.examples:
        return None
    found = gather(
        work, findings, many=config.examples, audio=config.audio, max_bytes=int(config.max_megabytes * 1_000_000)
    )
    if found is None:
        return None
    text = [
        f"Where the errors changed most from noisy to enhanced ({findings.main.name}): picked by that alone, they show "
        "the extremes, not the rule.",
    ]
    if found.silent:
        text.append(f"{found.silent} of them are without sound: {found.problem}.")
    return Chapter(name="examples", title="Largest wins and losses", short="Sounds", text=tuple(text), blocks=(found,))
