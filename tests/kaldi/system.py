"""Two small systems on one corpus, Kaldi's and ours, where Kaldi's scripts run; and how what they write is compared."""

from __future__ import annotations

import gzip
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import SchoolyardError
from hmm.arpa import read_arpa
from hmm.decode_gmm import decode_gmm
from hmm.grammar import format_lm
from hmm.graph import make_graph
from hmm.ladder import train_ladder
from hmm.ladder_config import DeltasConfig, LadderConfig, LdaMlltConfig, MonoConfig, SatConfig
from hmm.lang import prepare_lang
from kaldi_bridge.cmvn import compute_cmvn
from kaldi_bridge.features import make_features
from kaldi_bridge.programs import run_kaldi
from tests.golden.make import build

SHORT = {"leaves": 40, "gaussians": 80, "iterations": 8, "last_growth": 6, "realign": (4,)}
LADDER = LadderConfig(
    mono=MonoConfig(gaussians=60, iterations=12, last_growth=8),
    deltas=DeltasConfig(**SHORT),
    lda_mllt=LdaMlltConfig(**SHORT, dim=16, mllt=(2, 4)),
    sat=SatConfig(**SHORT, adapt=(2, 4)),
)


class MismatchError(SchoolyardError):
    """What one side wrote is not what the other side read."""

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(where, problem, mend="compare the two by hand: one of the readers or writers is wrong")


@dataclass
class System:
    """work/{data,lang,lang_test,exp}: Kaldi's, as tests/golden/make.py builds it; work/ours/...: the same, ours.

    Both have exp/{mono,tri1,tri2b,tri3b,tri3b_ali} and exp/tri3b/{graph,decode_test}.
    """

    work: Path
    made: int = 0

    @property
    def ours(self) -> Path:
        """The folder of our system."""
        return self.work / "ours"

    def kaldi(self, command: str) -> bytes:
        """The output of programs and scripts of Kaldi, run in the work folder."""
        return run_kaldi(f". ./path.sh; {{ {command}; }}", cwd=self.work)

    def fresh(self) -> Path:
        """A new empty folder."""
        self.made += 1
        folder = self.work / "fresh" / str(self.made)
        folder.mkdir(parents=True)
        return folder


def build_both(work: Path) -> System:
    """Both systems from the same sound, transcripts, lexicon and ARPA file."""
    build(work)
    system = System(work)
    ours = system.ours
    for name in ("train", "test"):
        shutil.copytree(work / "data" / name, ours / "data" / name, ignore=lambda _, names: [*NOT_OURS & set(names)])
        wavs = (work / "data" / name / "wav.scp").read_text(encoding="utf-8").replace(" wav/", f" {work}/wav/")
        for path in (work / "data" / name / "wav.scp", ours / "data" / name / "wav.scp"):
            path.write_text(wavs, encoding="utf-8")
        make_features(ours / "data" / name, out_dir=ours / "mfcc", jobs=1)
        compute_cmvn(ours / "data" / name, ours / "mfcc")
    prepare_lang(work / "dict", ours / "lang")
    format_lm(ours / "lang", read_arpa(work / "lm.arpa"), ours / "lang_test")
    train_ladder(ours / "data/train", ours / "lang", ours / "exp", LADDER, jobs=1)
    graph = make_graph(ours / "lang_test", ours / "exp/tri3b", ours / "exp/tri3b/graph")
    decode_gmm(ours / "exp/tri3b", graph, ours / "data/test", ours / "exp/tri3b/decode_test", jobs=1)
    return system


NOT_OURS = {"feats.scp", "cmvn.scp", "utt2num_frames", "utt2dur", "frame_shift", "conf", "split1", "q"}


def chain_topology(lang: Path) -> str:
    """`topo` of a chain model's lang directory, as steps/nnet3/chain/gen_topo.pl writes it: one state a phone."""
    lists = [(lang / "phones" / name).read_text(encoding="utf-8").strip() for name in ("silence.csl", "nonsilence.csl")]
    phones = " ".join(sorted(":".join(lists).split(":"), key=int))
    state = "<State> 0 <ForwardPdfClass> 0 <SelfLoopPdfClass> 1 <Transition> 0 0.5 <Transition> 1 0.5 </State>"
    entry = f"<TopologyEntry>\n<ForPhones>\n{phones}\n</ForPhones>\n{state}\n<State> 1 </State>\n</TopologyEntry>"
    return f"<Topology>\n{entry}\n</Topology>\n"


# ---- what was found, in words for the table


def same_bytes(where: object, wanted: bytes, found: bytes) -> str:
    """ "same bytes", or MismatchError; packed data is compared unpacked."""
    one, other = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data for data in (wanted, found))
    if one != other:
        place = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
        raise MismatchError(str(where), f"{len(one)} and {len(other)} bytes differ from byte {place} on")
    return "same bytes"


def same(where: object, wanted: object, found: object, what: str = "same values") -> str:
    """`what` where both are equal, or MismatchError."""
    if wanted != found:
        raise MismatchError(str(where), f"{str(wanted)[:300]} became {str(found)[:300]}")
    return what


def close(where: object, wanted: ArrayLike, found: ArrayLike, limit: float) -> str:
    """ "same values", or the largest difference rounded up to a power of ten; MismatchError past the limit."""
    one, other = np.asarray(wanted, float), np.asarray(found, float)
    if one.shape != other.shape:
        raise MismatchError(str(where), f"shape {one.shape} became {other.shape}")
    largest = float(np.abs(one - other).max(initial=0))
    if not largest <= limit:
        raise MismatchError(str(where), f"values differ by up to {largest:g}, more than {limit:g}")
    return "same values" if largest == 0 else f"differs by less than 1e{math.floor(math.log10(largest)) + 1:+d}"


def close_tables(where: object, wanted: dict[str, np.ndarray], found: dict[str, np.ndarray], limit: float) -> str:
    """`close` over all entries of two tables with the same keys."""
    same(where, sorted(wanted), sorted(found))
    keys = sorted(wanted)
    return close(where, *(np.concatenate([np.ravel(table[key]) for key in keys]) for table in (wanted, found)), limit)
