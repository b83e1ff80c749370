"""The answer in a few sentences: whether enhancement lowered, raised or did not change the word error rate."""

from __future__ import annotations

from dataclasses import dataclass

from am.bootstrap import Difference
from am.reporting.findings import VERDICTS, Findings, System, Verdict, verdict
from am.reporting.tables import points


@dataclass(frozen=True)
class Headline:
    verdict: Verdict
    text: str
    main: bool = False


def headlines(findings: Findings) -> list[Headline]:
    """What enhancement did to noisy speech, in a sentence for each training; the main system first.

    Then what remains of it where each side was trained on its own kind of speech, and what it does to clean speech.
    """
    systems = [findings.main]
    for system in findings.systems:
        if system.training not in {known.training for known in systems} and system.model == findings.main.model:
            systems.append(system)
    lines = []
    for system in systems:
        if change := findings.change(system, "noisy", "enhanced"):
            text = f"{_did(change)}: {_amount(findings, system, 'noisy', 'enhanced', change)} ({system.name})."
            lines.append(Headline(verdict(change), text, system == findings.main))
    own = (System("multi", findings.main.model), "noisy"), (System("multi_enhanced", findings.main.model), "enhanced")
    if change := findings.change_between(*own):
        text = (
            f"Each side trained on its own: {own[1][0].name}, on enhanced speech, against {own[0][0].name}, on noisy "
            f"speech: {points(change)} points, {SAID[verdict(change)]}."
        )
        lines.append(Headline(verdict(change), text))
    if change := findings.change(findings.main, "clean", "clean_enhanced"):
        amount = _amount(findings, findings.main, "clean", "clean_enhanced", change)
        lines.append(Headline(verdict(change), f"On clean speech: {_did(change, 'the enhancer')}: {amount}."))
    return lines


SAID = {
    "lowered": "lower", "raised": "higher", "unchanged": "no difference beyond chance", "few": VERDICTS["few"],
}  # fmt: skip


def _did(change: Difference, who: str = "Enhancement") -> str:
    done = {
        "lowered": "lowered WER", "raised": "raised WER", "unchanged": "did not change WER beyond chance",
        "few": f"changed WER, of {change.blocks} speakers, too few to tell",
    }  # fmt: skip
    return f"{who} {done[verdict(change)]}"


def _amount(findings: Findings, system: System, before: str, after: str, change: Difference) -> str:
    first, second = findings.rate(system, before), findings.rate(system, after)
    relative = f"{findings.relative(system, before, change):+.1f} % relative"
    rates = f"from {first.value:.1f} to {second.value:.1f} %" if first and second else ""
    return f"{points(change)} points, {relative}, {rates}"
