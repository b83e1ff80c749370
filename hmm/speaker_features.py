"""The features a GMM sees: base features + CMVN per speaker, then deltas or splice + matrix, then fMLLR per speaker.

What a model was trained on is told, as Kaldi's scripts do, by small files beside it: cmvn_opts, delta_opts or
splice_opts, final.mat, trans.N.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import ConfigError, TableError
from hmm.transforms import apply_transform
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.features import add_deltas, apply_cmvn, splice
from kaldi_bridge.tables import MatrixTable, numbered_files, read_matrix, read_matrix_ark, write_matrix

BLOCK_FRAMES = 40_000  # about so many frames a block: statistics are summed block by block, in order
CACHE_BYTES = 4 << 30  # derived features are kept in memory up to this size, else computed on every pass


@dataclass(frozen=True, kw_only=True)
class FeatureRecipe:
    """How base features become the model's."""

    norm_means: bool = True
    norm_vars: bool = False
    delta_order: int = 2  # used where there is no matrix
    delta_window: int = 2
    left_context: int = 4  # frames spliced on each side, used where there is a matrix
    right_context: int = 4
    matrix: np.ndarray | None = field(default=None, compare=False)  # final.mat [dim, spliced dim]

    @classmethod
    def of_dir(cls, directory: str | Path) -> FeatureRecipe:
        """The recipe of a GMM directory.  Raises ConfigError for an option it does not know."""
        path = Path(directory)
        options: dict[str, str] = {}
        for name in ("cmvn_opts", "delta_opts", "splice_opts"):
            options |= _options(path / name)
        known: dict[str, tuple[str, Callable[[str], Any]]] = {
            "norm-means": ("norm_means", _truth), "norm-vars": ("norm_vars", _truth),
            "delta-order": ("delta_order", int), "delta-window": ("delta_window", int),
            "left-context": ("left_context", int), "right-context": ("right_context", int),
        }  # fmt: skip
        values: dict[str, Any] = {}
        for option, text in options.items():
            if option not in known:
                mend = f"options read here: {', '.join(known)}"
                raise ConfigError(path, f"unknown feature option --{option}={text}", mend=mend)
            name, parse = known[option]
            try:
                values[name] = parse(text)
            except (ValueError, KeyError):
                problem = f"feature option --{option} has the value {text!r}"
                raise ConfigError(path, problem, mend="give a whole number, or true or false") from None
        matrix = read_matrix(path / "final.mat") if (path / "final.mat").is_file() else None
        return cls(**values, matrix=matrix)

    def write(self, directory: Path) -> None:
        """Write cmvn_opts, delta_opts or splice_opts (only what differs from Kaldi's defaults) and final.mat."""
        standard = FeatureRecipe()
        cmvn = [f"--{name.replace('_', '-')}={str(getattr(self, name)).lower()}" for name in ("norm_means", "norm_vars")
                if getattr(self, name) != getattr(standard, name)]  # fmt: skip
        (directory / "cmvn_opts").write_text(" ".join(cmvn) + "\n", encoding="utf-8")
        names = ("delta_order", "delta_window") if self.matrix is None else ("left_context", "right_context")
        other = [f"--{name.replace('_', '-')}={getattr(self, name)}" for name in names
                 if getattr(self, name) != getattr(standard, name)]  # fmt: skip
        if self.matrix is not None:
            write_matrix(directory / "final.mat", self.matrix)
            (directory / "splice_opts").write_text(" ".join(other) + "\n", encoding="utf-8")
        elif other:
            (directory / "delta_opts").write_text(" ".join(other) + "\n", encoding="utf-8")

    def derive(self, base: np.ndarray) -> np.ndarray:
        """Features before fMLLR, float32 [frames, dim], from base features after CMVN."""
        if self.matrix is None:
            return np.ascontiguousarray(add_deltas(base, order=self.delta_order, window=self.delta_window), np.float32)
        return apply_transform(self.spliced(base), self.matrix)

    def spliced(self, base: np.ndarray) -> np.ndarray:
        """Each frame with its neighbours, [frames, (left + 1 + right) dim]."""
        return splice(base, self.left_context, self.right_context)


def _truth(text: str) -> bool:
    return {"true": True, "false": False}[text.lower()]


def _options(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    found = {}
    try:
        words = path.read_text(encoding="utf-8").split()
    except UnicodeDecodeError:
        raise ConfigError(path, "is no file of options", mend="write them again, as --norm-vars=false") from None
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        found[name.replace("_", "-")] = value or "true"
    return found


def read_transforms(directory: str | Path) -> dict[str, np.ndarray]:
    """Speaker -> fMLLR transform [dim, dim + 1] from trans.N of a directory; empty if it has none."""
    if not (Path(directory) / "trans.1").is_file():
        return {}
    found: dict[str, np.ndarray] = {}
    for path in numbered_files(directory, "trans"):
        found |= {speaker: np.asarray(matrix) for speaker, matrix in read_matrix_ark(path)}
    return found


def _table(data: DataDir, name: str) -> MatrixTable:
    if name not in data.tables:
        raise TableError(data.path / name, "no such file", mend="make features and CMVN statistics first")
    return MatrixTable(data.tables[name], str(data.path / name))


@dataclass
class SpeakerFeatures:
    """Features of a data directory, ready for one model; base features stay in memory, derived ones while they fit."""

    utt2spk: dict[str, str]
    base: dict[str, np.ndarray]  # after CMVN, float32 [frames, base dim]
    recipe: FeatureRecipe
    transforms: dict[str, np.ndarray] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)  # utterances of the directory that have no features
    _frames: int = field(default=0, init=False, repr=False)
    _derived: dict[str, np.ndarray] = field(default_factory=dict, repr=False)
    _adapted: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    @classmethod
    def read(
        cls, data: DataDir, recipe: FeatureRecipe, transforms: dict[str, np.ndarray] | None = None
    ) -> SpeakerFeatures:
        """Read feats.scp and cmvn.scp.  Raises TableError where a speaker has no CMVN statistics."""
        feats, stats = (_table(data, name) for name in ("feats.scp", "cmvn.scp"))
        base, missing = {}, []
        by_speaker: dict[str, np.ndarray] = {}
        for utt in data.utterances:
            if utt not in feats:
                missing.append(utt)
                continue
            speaker = data.utt2spk[utt]
            if speaker not in by_speaker:
                if speaker not in stats:
                    mend = "compute CMVN statistics again"
                    raise TableError(data.path / "cmvn.scp", f"speaker {speaker} is missing", mend=mend)
                by_speaker[speaker] = np.asarray(stats[speaker])
            matrix = np.asarray(feats[utt], np.float32)
            if recipe.norm_means:
                matrix = apply_cmvn(matrix, by_speaker[speaker], norm_vars=recipe.norm_vars)
            base[utt] = np.ascontiguousarray(matrix, np.float32)
        if not base:
            raise TableError(data.path / "feats.scp", "has no features of this directory", mend="make features again")
        return cls({utt: data.utt2spk[utt] for utt in base}, base, recipe, dict(transforms or {}), missing)

    @property
    def utterances(self) -> list[str]:
        """Sorted ids of the utterances that have features."""
        return list(self.base)

    @property
    def frames(self) -> int:
        """Frames of all utterances."""
        return sum(len(matrix) for matrix in self.base.values())

    def speakers(self) -> dict[str, list[str]]:
        """Speaker -> sorted utterances."""
        found: dict[str, list[str]] = {}
        for utt in self.base:
            found.setdefault(self.utt2spk[utt], []).append(utt)
        return found

    def of(self, utt: str) -> np.ndarray:
        """Features of an utterance as the model sees them, float32 [frames, dim]."""
        speaker = self.utt2spk[utt]
        if speaker not in self.transforms:
            return self.unadapted(utt)
        if utt not in self._adapted:
            adapted = apply_transform(self.unadapted(utt), self.transforms[speaker])
            return self._keep(self._adapted, utt, adapted)
        return self._adapted[utt]

    def unadapted(self, utt: str) -> np.ndarray:
        """The same without fMLLR."""
        if utt not in self._derived:
            return self._keep(self._derived, utt, self.recipe.derive(self.base[utt]))
        return self._derived[utt]

    def spliced(self, utt: str) -> np.ndarray:
        """What the matrix is applied to."""
        return self.recipe.spliced(self.base[utt])

    def with_matrix(self, matrix: np.ndarray) -> SpeakerFeatures:
        """The same base features through another final.mat."""
        recipe = replace(self.recipe, matrix=matrix)
        return SpeakerFeatures(self.utt2spk, self.base, recipe, self.transforms, self.missing)

    def with_transforms(self, transforms: dict[str, np.ndarray]) -> SpeakerFeatures:
        """The same features through other fMLLR transforms (unadapted ones are shared)."""
        return SpeakerFeatures(self.utt2spk, self.base, self.recipe, transforms, self.missing, self._derived)

    def blocks(self) -> Iterator[list[str]]:
        """Utterances in pieces of whole speakers, about BLOCK_FRAMES frames each, whatever the number of jobs."""
        block: list[str] = []
        frames = 0
        for utts in self.speakers().values():
            block += utts
            frames += sum(len(self.base[utt]) for utt in utts)
            if frames >= BLOCK_FRAMES:
                yield block
                block, frames = [], 0
        if block:
            yield block

    def _keep(self, cache: dict[str, np.ndarray], utt: str, matrix: np.ndarray) -> np.ndarray:
        if self.frames_bytes(matrix) <= CACHE_BYTES:
            cache[utt] = matrix
        return matrix

    def frames_bytes(self, like: np.ndarray) -> int:
        """Bytes that all utterances need at the width of `like`."""
        return int(self._frames * like.shape[1] * 4)

    def __post_init__(self) -> None:
        self._frames = sum(len(matrix) for matrix in self.base.values())
