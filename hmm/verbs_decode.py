"""The verbs that decode: decode, lattice-best-path."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[Path | None, typer.Option("--config", help="YAML of decoder options")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the config, as beam=10.0")]
JobsOption = Annotated[int | None, typer.Option("--jobs", help="processes; default: all cores")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the room's app."""
    app.command()(decode)
    app.command("lattice-best-path")(lattice_best_path)


def decode(
    loglikes: Annotated[Path, typer.Option("--loglikes", help="scp of log-likelihoods [frames, pdfs], unscaled")],
    out: Annotated[Path, typer.Option("--out", help="decode directory to write: lat.N.gz, num_jobs, log")],
    graph: Annotated[
        Path | None, typer.Option("--graph", help="graph directory with HCLG.fst; default: graph.json beside the scp")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="final.mdl of the graph's transition ids; default: the same")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    jobs: JobsOption = None,
) -> None:
    """Decode matrices of log-likelihoods to lattices; the same command after a kill goes on where it stopped."""
    from harness.config import load_config
    from hmm.decode_set import decode_set
    from hmm.decoder import DecodeConfig
    from kaldi_bridge.tables import read_matrix_scp

    graph, model = _graph_and_model(loglikes, graph, model)
    table = read_matrix_scp(loglikes)
    options = load_config(DecodeConfig, config, set_ or ())
    stamp = loglikes.stat()
    identity = f"{loglikes} {stamp.st_size} {stamp.st_mtime_ns}"
    decode_set(graph, table, list(table), out, options, model=model, jobs=jobs, identity=identity)


def _graph_and_model(loglikes: Path, graph: Path | None, model: Path | None) -> tuple[Path, Path]:
    """What was given, or what the acoustic model's training noted."""
    from harness.errors import ConfigError
    from hmm.graph_note import NAME, GraphNote

    if graph is not None and model is not None:
        return graph, model
    note = GraphNote.read(loglikes.parent)
    if note is None:
        missing = "--graph" if graph is None else "--model"
        mend = f"give {missing}, or train with 'am train --graph' and run 'am forward' again"
        raise ConfigError(missing, f"is not given, and {loglikes.parent} has no {NAME}", mend=mend)
    return graph or note.graph, model or note.model


def lattice_best_path(
    lattices: Annotated[Path, typer.Option("--lattices", help="decode directory, or one archive of lattices")],
    words: Annotated[Path | None, typer.Option("--words", help="words.txt or its directory; default: ids")] = None,
    lm_weight: Annotated[float, typer.Option("--lm-weight", help="language model weight")] = 12.0,
    penalty: Annotated[float, typer.Option("--penalty", help="word insertion penalty")] = 0.0,
    alignments: Annotated[bool, typer.Option("--alignments", help="print transition ids instead of words")] = False,
    confidences: Annotated[bool, typer.Option("--confidences", help="print each word's posterior behind it")] = False,
) -> None:
    """Print the best path of each lattice, as Kaldi's text tables."""
    from harness.errors import ConfigError, DecodeError
    from hmm.confidence import word_confidences
    from hmm.lattice import best_path
    from kaldi_bridge.lattices import read_decode_dir, read_lattices
    from kaldi_bridge.text_tables import read_text_table

    if alignments and confidences:
        raise ConfigError("--confidences", "only words have confidences", mend="leave --alignments away")
    if lm_weight <= 0:
        raise ConfigError("--lm-weight", f"must be greater than 0, got {lm_weight:g}", mend="give 7 to 17, say")
    names: dict[str, str] = {}
    if words is not None:
        table = read_text_table(words / "words.txt" if words.is_dir() else words)
        names = {number: word for word, number in table.items()}
    for utterance, lattice in read_decode_dir(lattices) if lattices.is_dir() else read_lattices(lattices):
        path = best_path(lattice, lm_weight, penalty, utterance=utterance)
        ids = path.transition_ids if alignments else path.words
        fields = [str(number) for number in ids.tolist()]
        if names and not alignments:
            unknown = [number for number in fields if number not in names]
            if unknown:
                problem = f"the lattice holds word {unknown[0]}, which {words} lacks"
                raise DecodeError(utterance, problem, mend="give the words.txt of the graph that was decoded")
            fields = [names[number] for number in fields]
        if confidences:
            sure = word_confidences(lattice, lm_weight=lm_weight, word_ins_penalty=penalty, utterance=utterance)
            fields = [f"{word} {value:.3f}" for word, value in zip(fields, sure, strict=True)]
        sys.stdout.write(" ".join([utterance, *fields]) + "\n")
