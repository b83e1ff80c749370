"""What the acoustic model sees and learns: Kaldi feature streams and alignments, as a FrameSet.

The base stream of a data dir is its feats.scp, or, with a transform directory, Kaldi's fMLLR pipeline on it
(steps/nnet/make_fmllr_feats.sh): apply-cmvn with cmvn_opts | splice-feats with splice_opts | transform-feats final.mat
| transform-feats trans.N; add-deltas takes the place of the middle two where there is no final.mat.  More streams are
appended column-wise.  Then each speaker's mean and variance are normalised over all his utterances of the set.
Targets are ali.N.gz through the transition model: pdfs, and phones without their position in the word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

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
    from kaldi_bridge.tables import read_int_vectors

    from kaldi_bridge.models import read_model

    transitions, _ = read_model(ali / "final.mdl")
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


def numbered(directory: Path, stem: str, suffix: str) -> list[Path]:
    """stem.1suffix, stem.2suffix, ... of a Kaldi directory in numerical order; all that num_jobs promises.

    Raises AlignmentError where one is missing.
    """
    jobs = directory / "num_jobs"
    pattern = re.compile(rf"{stem}\.(\d+){re.escape(suffix)}")
    matches = [(pattern.fullmatch(path.name), path) for path in directory.glob(f"{stem}.*")]
    found = {int(match[1]): path for match, path in matches if match}
    wanted = int(jobs.read_text()) if jobs.is_file() else max(found, default=1)
    missing = [number for number in range(1, wanted + 1) if number not in found]
    if missing:
        problem = f"{stem}.{missing[0]}{suffix} is missing"
        raise AlignmentError(directory, problem, mend="finish the stage that makes it, or give another directory")
    return [found[number] for number in range(1, wanted + 1)]


def read_phones(lang: Path | None, ali: Path) -> dict[str, int]:
    """phones.txt of the lang dir, or of the alignment directory, as symbol -> number."""
    path = (lang or ali) / "phones.txt"
    if not path.is_file():
        raise TableError(path, "no such phone table", mend="give the lang dir of the alignment with --lang")
    symbols = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdigit():
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

    def __init__(self, data: DataDir, path: Path, name: str) -> None:
        from kaldi_bridge.tables import read_matrix_scp

        self.name, self.dim = name, 0
        if not (path / "feats.scp").is_file():
            raise TableError(
                path / "feats.scp", "no such file", mend="make the features first ('kaldi_bridge features')"
            )
        self.features = read_matrix_scp(path / "feats.scp")

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

    def __init__(self, data: DataDir, path: Path, transforms: Path, gmm: Path | None) -> None:
        from kaldi_bridge.tables import read_matrix_ark, read_matrix_scp

        super().__init__(data, path, "fmllr")
        home = gmm or (transforms if (transforms / "final.mat").is_file() else transforms.parent)
        self.projection = _read_projection(home / "final.mat") if (home / "final.mat").is_file() else None
        self.norm_vars, self.use_cmvn = _cmvn_options(home / "cmvn_opts")
        self.left, self.right = _splice_options(home / "splice_opts")
        if not (path / "cmvn.scp").is_file():
            raise TableError(path / "cmvn.scp", "no such file", mend="compute the CMVN statistics first")
        self.cmvn = read_matrix_scp(path / "cmvn.scp")
        self.speakers = data.utt2spk
        self.transforms: dict[str, Matrix] = {}
        for one in numbered(transforms, "trans", ""):
            self.transforms.update({key: np.asarray(value, dtype=np.float32) for key, value in read_matrix_ark(one)})

    def read(self, utterance: str) -> Matrix | None:
        """[frames, rows of the transform], or None where features, statistics or transform are missing."""
        from kaldi_bridge.features import add_deltas, apply_cmvn, splice

        speaker = self.speakers[utterance]
        transform = self.transforms.get(speaker, self.transforms.get(utterance))
        if transform is None or utterance not in self.features or speaker not in self.cmvn:
            return None
        rows = np.asarray(self.features[utterance], dtype=np.float32)
        if self.use_cmvn:
            rows = apply_cmvn(rows, self.cmvn[speaker], self.norm_vars)
        rows = (
            add_deltas(rows)
            if self.projection is None
            else _affine(splice(rows, self.left, self.right), self.projection)
        )
        return self._sized(_affine(rows, transform))


def _affine(rows: Matrix, matrix: Matrix) -> Matrix:
    """transform-feats: matrix is [out, in], or [out, in + 1] with an offset in the last column."""
    dim = rows.shape[1]
    if matrix.shape[1] not in (dim, dim + 1):
        problem = f"takes {matrix.shape[1] - 1} or {matrix.shape[1]} columns, the features have {dim}"
        raise ModelError("feature transform", problem, mend="give transforms and features of the same system")
    output = rows @ matrix[:, :dim].T
    result: Matrix = output if matrix.shape[1] == dim else output + matrix[:, dim]
    return result


def _read_projection(path: Path) -> Matrix:
    from kaldi_bridge.tables import read_matrix

    return np.asarray(read_matrix(path), dtype=np.float32)


def _cmvn_options(path: Path) -> tuple[bool, bool]:
    """(normalise variances, apply CMVN at all) of a cmvn_opts file; absent or empty is Kaldi's default."""
    options = _options(path)
    unknown = options.keys() - {"norm-vars", "norm-means", "utt2spk"}
    if unknown:
        raise ModelError(
            path, f"unknown option --{sorted(unknown)[0]}", mend="retrain with --norm-means and --norm-vars only"
        )
    return options.get("norm-vars", "false") == "true", options.get("norm-means", "true") == "true"


def _splice_options(path: Path) -> tuple[int, int]:
    """(left, right) of a splice_opts file; absent or empty is splice-feats' default of 4 and 4."""
    options = _options(path)
    try:
        return int(options.get("left-context", "4")), int(options.get("right-context", "4"))
    except ValueError as error:
        raise ModelError(path, f"contexts must be whole numbers ({error})", mend="fix the file") from None


def _options(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    words = path.read_text().split()
    return {name: value or "true" for name, _, value in (word.removeprefix("--").partition("=") for word in words)}


def _open_streams(source: Source, data: DataDir) -> list[FeatureStream]:
    base = (
        FeatureStream(data, source.data, "feats")
        if source.fmllr is None
        else FmllrStream(data, source.data, source.fmllr, source.gmm)
    )
    return [base, *(FeatureStream(data, path, "feats") for path in source.extra)]


def stream_names(streams: Any) -> Iterator[str]:
    """The names of recorded streams without their widths: 'fmllr:40' is 'fmllr'."""
    return (str(stream).rpartition(":")[0] for stream in streams)
