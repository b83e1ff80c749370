"""Which graph and transition model decode an acoustic model's likelihoods: `graph.json` beside the model and its arks.

Training notes them once, the forward pass hands the note on, and decoding needs neither again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from harness.atomic import write_whole
from harness.errors import DecodeError, ModelError
from hmm.lang import read_symbols
from kaldi_bridge.models import read_transition_model

NAME = "graph.json"


@dataclass(frozen=True, kw_only=True)
class GraphNote:
    """A graph directory and the model file whose transition ids its HCLG.fst has."""

    graph: Path
    model: Path

    def write(self, directory: Path) -> None:
        """Note it in a directory, with absolute paths."""
        places = {"graph": str(self.graph.absolute()), "model": str(self.model.absolute())}
        with write_whole(directory / NAME) as stream:
            stream.write(json.dumps(places, indent=1) + "\n")

    @classmethod
    def read(cls, directory: Path) -> GraphNote | None:
        """The note of a directory, None where there is none.  Raises DecodeError where it is damaged."""
        path = directory / NAME
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(graph=Path(content["graph"]), model=Path(content["model"]))
        except (ValueError, TypeError, KeyError) as error:
            mend = "remove it and give --graph and --model"
            raise DecodeError(path, f"is no note of a graph ({error})", mend=mend) from error


def check_graph(graph: Path, ali: Path) -> GraphNote:
    """The note of a graph directory and of the model of an alignment directory, if they belong together.

    Judged by what mkgraph.sh leaves: num_pdfs, disambig_tid.int (numbered from the first number past the transition
    ids) and phones.txt.  Raises ModelError where they disagree or files are missing.
    """
    model, mend = ali / "final.mdl", "give the graph that was made with the tree and model of these alignments"
    for name in ("HCLG.fst", "words.txt"):
        if not (graph / name).is_file():
            raise ModelError(graph / name, "no such file", mend="make the graph first (mkgraph.sh or 'hmm make-graph')")
    transitions = read_transition_model(model)
    pdfs, disambig = _integers(graph / "num_pdfs"), _integers(graph / "disambig_tid.int")
    if pdfs and pdfs != [transitions.num_pdfs]:
        raise ModelError(graph, f"is of a model with {pdfs[0]} pdfs, {model} has {transitions.num_pdfs}", mend=mend)
    if disambig and min(disambig) != transitions.num_transition_ids + 1:
        problem = f"is of a model with {min(disambig) - 1} transition ids, {model} has {transitions.num_transition_ids}"
        raise ModelError(graph, problem, mend=mend)
    if (graph / "phones.txt").is_file() and (ali / "phones.txt").is_file():
        differing = sorted(_phones(graph).items() ^ _phones(ali).items())
        if differing:
            problem = f"numbers its phones otherwise than {ali / 'phones.txt'} (first: {differing[0][0]})"
            raise ModelError(graph / "phones.txt", problem, mend=mend)
    return GraphNote(graph=graph, model=model)


def _integers(path: Path) -> list[int]:
    """The numbers of a file; none where it is missing (older mkgraph.sh wrote fewer files)."""
    if not path.is_file():
        return []
    words = path.read_text(encoding="utf-8").split()
    if not all(word.isdigit() for word in words):
        raise ModelError(path, "expected whole numbers only", mend="make the graph again")
    return [int(word) for word in words]


def _phones(directory: Path) -> dict[str, int]:
    symbols = read_symbols(directory / "phones.txt")
    return {name: number for name, number in symbols.items() if not re.fullmatch(r"#\d+", name)}
