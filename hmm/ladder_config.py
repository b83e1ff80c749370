"""Schedules of the rungs: those of Kaldi's steps/train_mono.sh, train_deltas.sh, train_lda_mllt.sh, train_sat.sh."""

from __future__ import annotations

from dataclasses import dataclass, field

from hmm.align import AlignConfig
from hmm.fmllr import FmllrConfig
from hmm.gmm import SplitConfig
from hmm.tree import TreeConfig

RUNGS = ("mono", "tri1", "tri2b", "tri3b")


def _check_growth(last: int) -> None:
    if last < 1:
        raise ValueError(f"last_growth must be at least 1, got {last}")


@dataclass(frozen=True, kw_only=True)
class MonoConfig:
    """Monophones (train_mono.sh)."""

    gaussians: int = 1000
    iterations: int = 40
    last_growth: int = 30  # Gaussians are added up to this iteration
    realign: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 26, 29, 32, 35, 38)
    first_beam: float = 6.0  # of the first realignment
    first_min_occupancy: float = 3.0  # in the first update: rare phones must get a model at all
    align: AlignConfig = field(default_factory=AlignConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        _check_growth(self.last_growth)
        if not 0 < self.first_beam <= self.align.retry_beam:
            problem = f"got {self.first_beam} and {self.align.retry_beam}"
            raise ValueError(f"need 0 < first_beam <= align.retry_beam, {problem}")


@dataclass(frozen=True, kw_only=True)
class DeltasConfig:
    """Triphones on deltas (train_deltas.sh); the base of the rungs above."""

    leaves: int = 1000  # at most, before merging
    gaussians: int = 6000
    iterations: int = 35
    last_growth: int = 25
    realign: tuple[int, ...] = (10, 20, 30)
    tree: TreeConfig = field(default_factory=TreeConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        _check_growth(self.last_growth)
        if self.gaussians < self.leaves:
            raise ValueError(f"{self.gaussians} Gaussians are fewer than {self.leaves} leaves")


@dataclass(frozen=True, kw_only=True)
class LdaMlltConfig(DeltasConfig):
    """Triphones on spliced frames through LDA and MLLT (train_lda_mllt.sh)."""

    dim: int = 40
    left_context: int = 4  # frames
    right_context: int = 4
    mllt: tuple[int, ...] = (2, 4, 6, 12)  # iterations that estimate MLLT anew


@dataclass(frozen=True, kw_only=True)
class SatConfig(DeltasConfig):
    """Speaker-adaptive training with fMLLR (train_sat.sh)."""

    adapt: tuple[int, ...] = (2, 4, 6, 12)  # iterations that estimate the speakers' transforms anew
    split: SplitConfig = field(default_factory=lambda: SplitConfig(power=0.2))
    fmllr: FmllrConfig = field(default_factory=FmllrConfig)


@dataclass(frozen=True, kw_only=True)
class LadderConfig:
    """All rungs; `align` is used between them."""

    mono: MonoConfig = field(default_factory=MonoConfig)
    deltas: DeltasConfig = field(default_factory=DeltasConfig)
    lda_mllt: LdaMlltConfig = field(default_factory=LdaMlltConfig)
    sat: SatConfig = field(default_factory=SatConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
