"""The verb that scores text files from anywhere: wer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def register(app: typer.Typer) -> None:
    """Add the verb to the room's app."""
    app.command()(wer)


def wer(
    reference: Annotated[Path, typer.Argument(help="transcripts: Kaldi's text, NIST's trn, or plain lines")],
    hypothesis: Annotated[Path, typer.Argument(help="the same of a recogniser")],
    second: Annotated[Path | None, typer.Argument(help="of another one, to be compared")] = None,
    form: Annotated[
        Literal["auto", "text", "trn", "lines"], typer.Option("--format", help="lines: their number is the utterance")
    ] = "auto",
    mode: Annotated[
        Literal["strict", "all", "present"],
        typer.Option("--mode", help="where a hypothesis is missing: refuse, count, skip"),
    ] = "strict",
    weights: Annotated[
        Literal["kaldi", "sclite"], typer.Option("--weights", help="sclite: substitution 4, others 3; its ties")
    ] = "kaldi",
    ignore_case: Annotated[bool, typer.Option("--ignore-case", help="as sclite does of itself")] = False,
    bootci: Annotated[bool, typer.Option("--bootci", help="print the interval of compute-wer-bootci")] = False,
    utt2spk: Annotated[Path | None, typer.Option("--utt2spk", help="for intervals over speakers, and per_spk")] = None,
    confusions: Annotated[int, typer.Option("--confusions", min=0, help="confused pairs to print")] = 0,
    details: Annotated[Path | None, typer.Option("--details", help="folder for Kaldi's per_utt, per_spk, ops")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="file for all figures, by utterance too")] = None,
) -> None:
    """Word error rate of text files from anywhere, counted as compute-wer or sclite count."""
    from am.bootci import kaldi_interval
    from am.bootstrap import interval
    from am.compare import compare_systems, lines
    from am.texts import aligned_of, read_texts, score_texts, write_details, write_json
    from am.wer import WEIGHTS
    from harness.errors import ConfigError

    if details is not None and second is not None:
        raise ConfigError("--details", "describes one system", mend="call 'am wer' once for each")
    references = read_texts(reference, form, ignore_case=ignore_case)
    files = [hypothesis] if second is None else [hypothesis, second]
    scores = [
        score_texts(references, read_texts(file, form, ignore_case=ignore_case), mode=mode, weights=WEIGHTS[weights])
        for file in files
    ]
    draw: Literal["speaker", "utterance"] = "utterance" if utt2spk is None else "speaker"
    systems = [aligned_of(score, utt2spk, ignore_case=ignore_case) for score in scores]
    for name, score, system in zip(("Set1", "Set2"), scores, systems, strict=False):
        for line in score.lines() + score.confused(confusions):
            typer.echo(line)
        if bootci:
            typer.echo(kaldi_interval(system.errors()).line(name))
        if utt2spk is not None:
            found = interval(system.errors())
            typer.echo(f"95 % interval over {found.blocks} speakers: {found.low:.2f} to {found.high:.2f}")
    compared = compare_systems(systems[0], systems[1], draw=draw) if second is not None else []
    for line in lines(compared, draw) if compared else []:
        typer.echo(line)
    if details is not None:
        write_details(details, systems[0], by_speaker=utt2spk is not None)
    if json_ is not None:
        write_json(json_, dict(zip(map(str, files), scores, strict=True)), [one.row() for one in compared])
