"""Alignment and GMM directories in Kaldi's layout: read, written whole, split over speakers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.errors import AlignmentError, ModelError
from hmm.speaker_features import FeatureRecipe, read_transforms
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.models import AmDiagGmm, TransitionModel, Tree, read_model, read_tree, write_model, write_tree
from kaldi_bridge.tables import MatrixWriter, numbered_files, read_int_vectors, write_int_vectors

CARRIED = ("final.mdl", "final.alimdl", "final.mat", "full.mat", "tree", "phones.txt", "cmvn_opts", "delta_opts",
           "splice_opts", "final.occs")  # fmt: skip


@dataclass(frozen=True)
class GmmDir:
    """What training and alignment need of a directory such as exp/tri1_ali."""

    path: Path
    tm: TransitionModel
    am: AmDiagGmm
    tree: Tree
    recipe: FeatureRecipe
    alimdl: AmDiagGmm | None  # final.alimdl, the model for features before adaptation

    @classmethod
    def read(cls, path: str | Path) -> GmmDir:
        """Raises ModelError naming what is missing."""
        directory = Path(path)
        for name in ("final.mdl", "tree"):
            if not (directory / name).is_file():
                raise ModelError(directory / name, "no such file", mend="train (or align) this system first")
        tm, am = read_model(directory / "final.mdl")
        tree = read_tree(directory / "tree")
        alimdl = read_model(directory / "final.alimdl")[1] if (directory / "final.alimdl").is_file() else None
        return cls(directory, tm, am, tree, FeatureRecipe.of_dir(directory), alimdl)

    def alignments(self) -> dict[str, np.ndarray]:
        """All alignments of the directory."""
        return read_alignments(self.path)

    def transforms(self) -> dict[str, np.ndarray]:
        """fMLLR transforms by speaker; empty if there are none."""
        return read_transforms(self.path)


def read_alignments(directory: str | Path) -> dict[str, np.ndarray]:
    """Utterance -> transition ids from ali.N.gz, sorted by utterance.  Raises AlignmentError if there are none."""
    if not (Path(directory) / "ali.1.gz").is_file():
        raise AlignmentError(directory, "has no ali.N.gz", mend="run the alignment stage first")
    found: dict[str, np.ndarray] = {}
    for part in numbered_files(directory, "ali", ".gz"):
        found |= read_int_vectors(part)
    return dict(sorted(found.items()))


def write_alignments(directory: Path, alignments: Mapping[str, np.ndarray], parts: list[list[str]]) -> None:
    """Write ali.N.gz, one a part of utterances, and num_jobs."""
    for number, utts in enumerate(parts, 1):
        write_int_vectors(directory / f"ali.{number}.gz", ((utt, alignments[utt]) for utt in utts if utt in alignments))
    (directory / "num_jobs").write_text(f"{len(parts)}\n", encoding="utf-8")


def write_transforms(directory: Path, transforms: Mapping[str, np.ndarray], parts: list[list[str]]) -> None:
    """Write trans.N, one a part of speakers."""
    for number, speakers in enumerate(parts, 1):
        with MatrixWriter(directory / f"trans.{number}") as writer:
            for speaker in speakers:
                if speaker in transforms:
                    writer.write(speaker, np.asarray(transforms[speaker], np.float32))


def speaker_parts(data: DataDir, jobs: int) -> tuple[list[list[str]], list[list[str]]]:
    """(utterances, speakers) of each of at most `jobs` parts; a speaker lies in one part."""
    parts = data.split_by_speaker(min(jobs, len(data.speakers)))
    return [part.utterances for part in parts], [sorted(part.spk2utt) for part in parts]


def write_gmm_dir(
    directory: Path, *, tm: TransitionModel, am: AmDiagGmm, tree: Tree, recipe: FeatureRecipe, lang: Path,
    alimdl: AmDiagGmm | None = None,
) -> None:  # fmt: skip
    """Write tree, final.mdl, final.alimdl, phones.txt and the feature options into an existing directory."""
    write_tree(directory / "tree", tree)
    write_model(directory / "final.mdl", tm, am)
    if alimdl is not None:
        write_model(directory / "final.alimdl", tm, alimdl)
    recipe.write(directory)
    shutil.copyfile(lang / "phones.txt", directory / "phones.txt")


def carry_model(source: Path, target: Path) -> None:
    """Copy model, tree and feature options of one directory to another."""
    for name in CARRIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
