"""What the acoustic model sees and learns: Kaldi feature streams and alignments, as a FrameSet.

The base stream of a data dir is its feats.scp, or, with a transform directory, Kaldi's fMLLR pipeline on it
(steps/nnet/make_fmllr_feats.sh): apply-cmvn with cmvn_opts | splice-feats with splice_opts | transform-feats final.mat
| transform-feats trans.N; add-deltas takes the place of the middle two where there is no final.mat.  More streams are
appended column-wise.  Then each speaker's mean and variance are normalised over all his utterances of the set.
Targets are ali.N.gz through the transition model: pdfs, and phones without their position in the word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from am.dataset import FrameMeta, FrameSet, Storage
from harness.errors import AlignmentError, ModelError, TableError
from harness.log import get_logger, progress

if TYPE_CHECKING:
    from kaldi_bridge.data_dir import DataDir

log = get_logger("am")
Matrix = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """How features are prepared and how many utterances may be missing."""

    speaker_norm: Literal["mean_variance", "mean", "none"] = "mean_variance"  # after all streams are joined
    max_lost: float = 0.05  # share of utterances without features or alignment that is still accepted

    def __post_init__(self) -> None:
        if not 0 <= self.max_lost < 1:
            raise ValueError(f"max_lost must lie in [0, 1), got {self.max_lost}")


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data dir and what belongs to it."""

    data: Path  # Kaldi data dir with feats.scp
    ali: Path | None = None  # directory with ali.N.gz and final.mdl; None: no targets
    fmllr: Path | None = None  # directory with trans.N; None: the base stream is feats.scp as it is
    gmm: Path | None = None  # directory with final.mat, cmvn_opts, splice_opts; None: fmllr or the one above it
    lang: Path | None = None  # directory with phones.txt; None: ali
    extra: tuple[Path, ...] = ()  # data dirs of further streams, appended column-wise
    allow_commands: bool = True  # run the commands ("copy-feats ... |") in feats.scp and cmvn.scp


def read_frames(source: Source, config: InputConfig, *, storage: Storage = "float16") -> FrameSet:
    """Features (and targets, where source.ali is given) of every utterance of a data dir.

    Raises AlignmentError where more than config.max_lost of the utterances have none or where frames disagree with an
    alignment; TableError or ModelError for files that are missing or do not fit.  What is left out is named.
    """
    from kaldi_bridge.data_dir import DataDir

    data = DataDir.read(source.data)
    targets = None if source.ali is None else read_targets(source.ali, source.lang)
    speakers, lost = data.utt2spk, []
    streams = _open_streams(source, data)
    kept: list[tuple[str, Matrix]] = []
    for utterance in progress(data.utterances, label=f"features of {source.data}", unit="utt"):
        if targets is not None and utterance not in targets.alignments:
            lost.append(utterance)
            continue
        columns = [stream.read(utterance) for stream in streams]
        if any(column is None for column in columns):
            lost.append(utterance)
            continue
        kept.append((utterance, _join(utterance, [column for column in columns if column is not None], source)))
    _count_lost(source, lost, len(data.utterances), config)
    _normalise(kept, speakers, config)
    pdfs, phones = _align(kept, targets, source)
    meta = FrameMeta(
        streams=tuple(f"{stream.name}:{stream.dim}" for stream in streams),
        speaker_norm=config.speaker_norm,
        num_pdfs=0 if targets is None else targets.num_pdfs,
        phones=() if targets is None else targets.phones,
    )
    frames = FrameSet(
        meta=meta,
        utterances=tuple(utterance for utterance, _ in kept),
        speakers=tuple(speakers[utterance] for utterance, _ in kept),
        lengths=np.array([len(matrix) for _, matrix in kept], dtype=np.int64),
        features=np.concatenate([matrix for _, matrix in kept]),
        pdfs=pdfs,
        phones=phones,
    )
    return frames.stored_as(storage)


def _count_lost(source: Source, lost: list[str], total: int, config: InputConfig) -> None:
    if not lost:
        return
    what = "features" if source.ali is None else "features or alignment"
    named = ", ".join(lost[:5]) + (", ..." if len(lost) > 5 else "")
    problem = f"{len(lost)} of {total} utterances have no {what} ({named})"
    if len(lost) == total or len(lost) > config.max_lost * total:
        mend = "align this data dir again with a wider retry beam, or give directories that belong together"
        raise AlignmentError(source.ali or source.data, problem, mend=mend)
    log.warning("%s: %s; they are left out", source.ali or source.data, problem)


def _join(utterance: str, columns: list[Matrix], source: Source) -> Matrix:
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        problem = f"utterance {utterance} has {lengths} frames in its streams"
        raise AlignmentError(source.data, problem, mend="make all streams with the same frame shift and snip-edges")
    joined = np.concatenate(columns, 1) if len(columns) > 1 else columns[0]
    if not np.isfinite(joined).all():
        raise AlignmentError(
            source.data, f"utterance {utterance} has features that are not numbers", mend="make its features again"
        )
    return joined.astype(np.float32, copy=False)


def _normalise(kept: list[tuple[str, Matrix]], speakers: Mapping[str, str], config: InputConfig) -> None:
    """Mean (and variance) of each speaker over all his frames, in place."""
    if config.speaker_norm == "none":
        return
    of_speaker: dict[str, list[Matrix]] = {}
    for utterance, matrix in kept:
        of_speaker.setdefault(speakers[utterance], []).append(matrix)
    for matrices in of_speaker.values():
        frames = sum(len(matrix) for matrix in matrices)
        mean = sum(matrix.sum(0, dtype=np.float64) for matrix in matrices) / frames
        square = sum((matrix.astype(np.float64) ** 2).sum(0) for matrix in matrices) / frames
        deviation = np.sqrt(np.maximum(square - mean**2, 1e-10)) if config.speaker_norm == "mean_variance" else 1.0
        for matrix in matrices:
            matrix[:] = (matrix - mean) / deviation


# -- targets ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Alignments and what their transition ids mean."""

    alignments: Mapping[str, NDArray[np.int32]]  # utterance -> [frames] transition ids
    pdf_of: NDArray[np.int64]  # [transition ids + 1]
    phone_of: NDArray[np.int64]  # [transition ids + 1] index into phones
    num_pdfs: int
    phones: tuple[str, ...]


def read_targets(ali: Path, lang: Path | None = None) -> Targets:
    """Alignments of a directory as steps/align_fmllr.sh (or our own) leaves it.

    lang: where phones.txt is, if not in the directory itself.  Raises AlignmentError or ModelError.
    """
    from kaldi_bridge.models import read_transition_model
    from kaldi_bridge.tables import read_int_vectors

    transitions = read_transition_model(ali / "final.mdl")
    alignments: dict[str, NDArray[np.int32]] = {}
    for path in numbered(ali, "ali", ".gz"):
        alignments.update(read_int_vectors(path))
    symbols = read_phones(lang, ali)
    phones, phone_of_id = position_free(symbols)
    id2phone = np.asarray(transitions.id2phone)
    unknown = sorted(set(id2phone[1:].tolist()) - phone_of_id.keys())
    if unknown:
        problem = f"has no symbol for phone {unknown[0]} of {ali / 'final.mdl'}"
        raise ModelError(f"phones.txt for {ali}", problem, mend="give the lang dir the model was trained with (--lang)")
    phone_of = np.array([0] + [phone_of_id[phone] for phone in id2phone[1:].tolist()], dtype=np.int64)
    return Targets(
        alignments=alignments,
        pdf_of=np.asarray(transitions.id2pdf, dtype=np.int64),
        phone_of=phone_of,
        num_pdfs=int(transitions.num_pdfs),
        phones=phones,
    )


def numbered(directory: Path, stem: str, suffix: str = "") -> list[Path]:
    """stem.1suffix, stem.2suffix, ... of a Kaldi directory, all that its num_jobs promises.

    Raises AlignmentError where one is missing, TableError where there is none.
    """
    from kaldi_bridge.tables import numbered_files

    found, jobs = numbered_files(directory, stem, suffix), directory / "num_jobs"
    wanted = jobs.read_text(encoding="utf-8", errors="replace").strip() if jobs.is_file() else str(len(found))
    if wanted != str(len(found)):
        problem = f"has {len(found)} files {stem}.N{suffix}, but num_jobs says {wanted}"
        raise AlignmentError(directory, problem, mend="run the stage that makes it again")
    return found


def read_phones(lang: Path | None, ali: Path) -> dict[str, int]:
    """phones.txt of the lang dir, or of the alignment directory, as symbol -> number."""
    path = (lang or ali) / "phones.txt"
    if not path.is_file():
        raise TableError(path, "no such phone table", mend="give the lang dir of the alignment with --lang")
    symbols = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdecimal() or "\ufffd" in fields[0]:
            raise TableError(
                f"{path}:{number}", f"expected '<phone> <number>', got {line!r}", mend="make the lang dir again"
            )
        symbols[fields[0]] = int(fields[1])
    return symbols


def position_free(symbols: Mapping[str, int]) -> tuple[tuple[str, ...], dict[int, int]]:
    """Phones without _B _E _I _S in order of first number, and number -> index; <eps> and #disambiguation left out."""
    phones: dict[str, int] = {}
    index = {}
    for symbol, number in sorted(symbols.items(), key=lambda item: item[1]):
        if symbol == "<eps>" or re.fullmatch(r"#\d+", symbol):
            continue
        index[number] = phones.setdefault(re.sub(r"_[BEIS]$", "", symbol), len(phones))
    return tuple(phones), index


def _align(
    kept: list[tuple[str, Matrix]], targets: Targets | None, source: Source
) -> tuple[NDArray[np.int16] | None, NDArray[np.int16] | None]:
    """Targets of the kept utterances, [frames] each."""
    if targets is None:
        return None, None
    joined = []
    for utterance, matrix in kept:
        alignment = targets.alignments[utterance]
        if len(alignment) != len(matrix):
            problem = f"utterance {utterance} has {len(matrix)} frames of features but an alignment of {len(alignment)}"
            mend = "give the alignment of this very data dir, or one of a copy with the same length and frame shift"
            raise AlignmentError(source.ali or "", problem, mend=mend)
        joined.append(alignment)
    ids = np.concatenate(joined)
    if ids.min() < 1 or ids.max() >= len(targets.pdf_of):
        problem = f"transition ids reach {ids.max()}, the model has {len(targets.pdf_of) - 1}"
        raise AlignmentError(source.ali or "", problem, mend="give the final.mdl that made the alignment")
    return targets.pdf_of[ids].astype(np.int16), targets.phone_of[ids].astype(np.int16)


# -- streams ---------------------------------------------------------------------------------------------------------


class FeatureStream:
    """feats.scp of a data dir as it is."""

    def __init__(self, data: DataDir, path: Path, name: str, allow_commands: bool = True) -> None:
        from kaldi_bridge.tables import read_matrix_scp

        self.name, self.dim = name, 0
        if not (path / "feats.scp").is_file():
            raise TableError(
                path / "feats.scp", "no such file", mend="make the features first ('kaldi_bridge features')"
            )
        self.features = read_matrix_scp(path / "feats.scp", allow_commands=allow_commands)

    def read(self, utterance: str) -> Matrix | None:
        """[frames, dim], or None where the table lacks the utterance."""
        if utterance not in self.features:
            return None
        matrix = np.array(self.features[utterance], dtype=np.float32)
        return self._sized(matrix)

    def _sized(self, matrix: Matrix) -> Matrix:
        if self.dim not in (0, matrix.shape[1]):
            raise TableError(
                self.name, f"mixes features of {self.dim} and {matrix.shape[1]} columns", mend="make them again"
            )
        self.dim = matrix.shape[1]
        return matrix


class FmllrStream(FeatureStream):
    """feats.scp through CMVN, splicing, LDA+MLLT (or deltas) and each speaker's fMLLR transform."""

    def __init__(
        self, data: DataDir, path: Path, transforms: Path, gmm: Path | None, allow_commands: bool = True
    ) -> None:
        from hmm.speaker_features import FeatureRecipe
        from kaldi_bridge.tables import read_matrix_ark, read_matrix_scp

        super().__init__(data, path, "fmllr", allow_commands)
        self.recipe = FeatureRecipe.of_dir(gmm or _home_of(transforms))
        if not (path / "cmvn.scp").is_file():
            raise TableError(path / "cmvn.scp", "no such file", mend="compute the CMVN statistics first")
        self.cmvn = read_matrix_scp(path / "cmvn.scp", allow_commands=allow_commands)
        self.speakers, self.where = data.utt2spk, transforms
        self.transforms: dict[str, Matrix] = {}
        for one in numbered(transforms, "trans"):
            self.transforms.update({key: np.asarray(value, dtype=np.float32) for key, value in read_matrix_ark(one)})

    def read(self, utterance: str) -> Matrix | None:
        """[frames, rows of the transform], or None where features, statistics or transform are missing."""
        from kaldi_bridge.features import apply_cmvn

        speaker = self.speakers[utterance]
        transform = self.transforms.get(speaker)
        if transform is None or utterance not in self.features or speaker not in self.cmvn:
            return None
        rows = np.asarray(self.features[utterance], dtype=np.float32)
        if self.recipe.norm_means:
            rows = apply_cmvn(rows, self.cmvn[speaker], norm_vars=self.recipe.norm_vars)
        rows = self.recipe.derive(rows)
        if transform.shape[1] != rows.shape[1] + 1:
            problem = (
                f"transform of {speaker} takes {transform.shape[1] - 1} columns, the features have {rows.shape[1]}"
            )
            raise ModelError(self.where, problem, mend="give transforms and final.mat of the same system (--gmm)")
        return self._sized(rows @ transform[:, :-1].T + transform[:, -1])


def _home_of(transforms: Path) -> Path:
    """Where final.mat and the options are: beside the transforms or, as for a decode directory, above them."""
    return (
        transforms
        if (transforms / "final.mat").is_file() or (transforms / "final.mdl").is_file()
        else transforms.parent
    )


def _open_streams(source: Source, data: DataDir) -> list[FeatureStream]:
    allow = source.allow_commands
    base = (
        FeatureStream(data, source.data, "feats", allow)
        if source.fmllr is None
        else FmllrStream(data, source.data, source.fmllr, source.gmm, allow)
    )
    return [base, *(FeatureStream(data, path, "feats", allow) for path in source.extra)]
