"""The verbs that judge decode directories: score, compare, confidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

WordsOption = Annotated[Path, typer.Option("--graph", help="graph or lang directory (words.txt)")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the room's app."""
    for verb in (score, compare, confidence):
        app.command()(verb)


def score(
    decode: Annotated[Path, typer.Option("--decode", help="decode directory with lat.N.gz")],
    data: Annotated[Path, typer.Option("--data", help="data directory that was decoded (text, utt2spk)")],
    graph: WordsOption,
    dev_decode: Annotated[Path | None, typer.Option("--dev-decode", help="decoded development set to tune on")] = None,
    dev_data: Annotated[Path | None, typer.Option("--dev-data", help="its data directory")] = None,
    lm_weight: Annotated[int | None, typer.Option("--lm-weight", min=1, help="weight to use as it is")] = None,
    penalty: Annotated[float, typer.Option("--penalty", help="word insertion penalty to use with --lm-weight")] = 0.0,
    lexicon: Annotated[
        Path | None, typer.Option("--lexicon", help="pronunciations, for confusions of phones; default: the graph's")
    ] = None,
    kaldi: Annotated[bool, typer.Option("--kaldi", help="sweep over the set itself; write scoring_kaldi")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="YAML of the grid")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the config, as max_lmwt=40")] = None,
) -> None:
    """Word errors of a decode directory, at a weight tuned on a development set, all together and by group."""
    from am.bootstrap import interval
    from am.score import ScoreConfig, read_errors, score_kaldi, tune
    from am.score import score as score_at
    from harness.config import load_config
    from harness.errors import ConfigError

    grid = load_config(ScoreConfig, config, set_ or ())
    if kaldi:
        setting, counts = score_kaldi(decode, data, graph, grid)
        typer.echo(f"{counts.line()} {decode / f'wer_{setting[0]}_{setting[1]}'}")
        return
    if lm_weight is None:
        if dev_decode is None or dev_data is None:
            mend = "give --dev-decode and --dev-data to tune on, or --lm-weight, or --kaldi to tune on the set itself"
            raise ConfigError("am score", "no language model weight", mend=mend)
        lm_weight, penalty = tune(dev_decode, dev_data, graph, grid)
    result = score_at(decode, data, graph, lm_weight, penalty, lexicon)
    ci = interval(read_errors(decode))
    typer.echo(f"{result.counts.line()} weight {lm_weight} penalty {penalty}")
    rate = 100.0 * result.wrong_sentences / len(result.rows)
    typer.echo(f"%SER {rate:.2f} [ {result.wrong_sentences} / {len(result.rows)} ]")
    typer.echo(f"95 % interval over {ci.blocks} speakers: {ci.low:.2f} to {ci.high:.2f}")


def compare(
    first: Annotated[Path, typer.Option("--a", help="scored decode directory (aligned.tsv)")],
    second: Annotated[Path, typer.Option("--b", help="the other, scored on the same utterances")],
    by: Annotated[str, typer.Option("--by", help="and within groups: of snr,noise,age,gender,grade,speaker")] = "",
    draw: Annotated[Literal["speaker", "utterance"], typer.Option("--draw", help="by the bootstrap")] = "speaker",
    replicas: Annotated[int, typer.Option("--replicas", min=100, help="of the bootstraps")] = 10_000,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    out: Annotated[Path | None, typer.Option("--out", help="folder for compare.csv and compare.json")] = None,
) -> None:
    """Two systems on the same utterances: difference in WER, its interval, and three tests whether it is chance."""
    from am.compare import compare_dirs, lines, write_comparisons

    dimensions = [name for name in by.split(",") if name]
    found = compare_dirs(first, second, by=dimensions, draw=draw, replicas=replicas, seed=seed)
    for line in lines(found, draw):
        typer.echo(line)
    if out is not None:
        request = {"a": str(first), "b": str(second), "draw": draw, "replicas": replicas, "seed": seed}
        write_comparisons(out, found, request)


def confidence(
    decode: Annotated[Path, typer.Option("--decode", help="scored decode directory with lat.N.gz and score.json")],
    data: Annotated[Path, typer.Option("--data", help="data directory that was decoded (text)")],
    graph: WordsOption,
    config: Annotated[Path | None, typer.Option("--config", help="YAML of the table")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the config, as bins=20")] = None,
) -> None:
    """Are the word confidences of the lattices true?  Prints a table; writes confidence.json, confidences.tsv."""
    from am.confidence import ConfidenceConfig, judge_confidences, summary, write_confidences
    from harness.config import load_config

    words = judge_confidences(decode, data, graph)
    content = summary(words, load_config(ConfidenceConfig, config, set_ or ()))
    write_confidences(decode, words, content)
    typer.echo("confidence    words  right %")
    for row in content["bins"]:
        right = f"{100 * row['correct'] / row['words']:7.1f}" if row["words"] else ""
        typer.echo(f"{row['low']:.2f} - {row['high']:.2f} {row['words']:7d}  {right}".rstrip())
    shown = ["none" if content[key] is None else f"{content[key]:.4f}" for key in ("nce", "calibration_error")]
    typer.echo(f"{content['correct']} of {content['words']} words right; NCE {shown[0]}, calibration error {shown[1]}")
