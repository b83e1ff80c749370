"""The verbs that judge: score, compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

WordsOption = Annotated[Path, typer.Option("--graph", help="graph or lang directory (words.txt)")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the room's app."""
    for verb in (score, compare):
        app.command()(verb)


def score(
    decode: Annotated[Path, typer.Option("--decode", help="decode directory with lat.N.gz")],
    data: Annotated[Path, typer.Option("--data", help="data directory that was decoded (text, utt2spk)")],
    graph: WordsOption,
    dev_decode: Annotated[Path | None, typer.Option("--dev-decode", help="decoded development set to tune on")] = None,
    dev_data: Annotated[Path | None, typer.Option("--dev-data", help="its data directory")] = None,
    lm_weight: Annotated[int | None, typer.Option("--lm-weight", help="weight to use as it is")] = None,
    penalty: Annotated[float, typer.Option("--penalty", help="word insertion penalty to use with --lm-weight")] = 0.0,
    kaldi: Annotated[bool, typer.Option("--kaldi", help="sweep over the set itself; write scoring_kaldi")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="YAML of the grid")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the config, as max_lmwt=40")] = None,
) -> None:
    """Word error rate of a decode directory, at a weight tuned on a development set; writes per_utt.tsv, score.json."""
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
    result = score_at(decode, data, graph, lm_weight, penalty)
    ci = interval(read_errors(decode))
    typer.echo(f"{result.counts.line()} weight {lm_weight} penalty {penalty}")
    typer.echo(f"95 % interval over {ci.blocks} speakers: {ci.low:.2f} to {ci.high:.2f}")


def compare(
    first: Annotated[Path, typer.Option("--first", help="scored decode directory (per_utt.tsv)")],
    second: Annotated[Path, typer.Option("--second", help="the other, scored on the same utterances")],
    by: Annotated[str, typer.Option("--by", help="what the bootstrap draws: speaker or utterance")] = "speaker",
    seed: Annotated[int, typer.Option("--seed")] = 0,
) -> None:
    """Difference of two systems on the same utterances, with its interval and p-value."""
    from typing import Literal, cast

    from am.bootstrap import difference
    from am.score import read_errors
    from harness.errors import ConfigError

    if by not in ("speaker", "utterance"):
        raise ConfigError("--by", f"must be speaker or utterance, got {by!r}", mend="leave it away to draw speakers")
    one, other = read_errors(first), read_errors(second)
    result = difference(one, other, by=cast(Literal["speaker", "utterance"], by), seed=seed)
    relative = 100.0 * result.value / one.percent if one.percent else 0.0
    typer.echo(f"first {one.percent:.2f} %  second {other.percent:.2f} %")
    typer.echo(
        f"difference {result.value:+.2f} ({relative:+.1f} % relative), 95 % interval {result.low:+.2f} to "
        f"{result.high:+.2f} over {result.blocks} {by}s, p = {result.p_value:.4f}"
    )
