"""Another value of every option of GMM training, alignment, decoding, graphs and lexica, and what is looked at."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import SchoolyardError
from hmm import decoder, token_passing
from hmm.align import AlignConfig
from hmm.align_data import AlignFmllrConfig, align_fmllr
from hmm.decode_gmm import DecodeGmmConfig, decode_gmm
from hmm.decoder import DecodeConfig, DecodingGraph
from hmm.fmllr import FmllrConfig
from hmm.gmm import GmmStats, SplitConfig, UpdateConfig, update
from hmm.graph import GraphConfig, make_graph
from hmm.ladder import train_ladder
from hmm.ladder_config import DeltasConfig, LadderConfig, LdaMlltConfig, MonoConfig, SatConfig
from hmm.lang import LangConfig, prepare_lang
from hmm.make_dict import MakeDictConfig, make_dict
from hmm.rung import STAMP
from hmm.tree import TreeConfig
from kaldi_bridge.models import AmDiagGmm
from tests.options_walk import FLIP, Change

TRIPHONES: dict[str, Any] = {
    "leaves": 50, "gaussians": 70, "iterations": 4, "last_growth": 2, "realign": (2,),
}  # fmt: skip
LADDER = LadderConfig(
    mono=MonoConfig(gaussians=90, iterations=4, last_growth=2, realign=(1, 2)), deltas=DeltasConfig(**TRIPHONES),
    lda_mllt=LdaMlltConfig(**TRIPHONES, mllt=(2,), dim=20),
    sat=SatConfig(**TRIPHONES, adapt=(2,), fmllr=FmllrConfig(min_frames=50)),
)  # fmt: skip
ALIGN_FMLLR = AlignFmllrConfig(fmllr=FmllrConfig(min_frames=50))
DECODE = DecodeConfig(acoustic_scale=0.5, beam=4.0, lattice_beam=2.0, min_active=0, prune_interval=5)
DECODE_GMM = DecodeGmmConfig(
    decode=DecodeConfig(beam=11.0, max_active=1000, min_active=0), fmllr=FmllrConfig(min_frames=50), max_failed=0.5
)
LOST = {"acoustic_scale": 10.0, "beam": 0.001, "retry_beam": 6.0, "min_active": 0}  # hardly any utterance has a path
CHANGES: dict[type, dict[str, Any]] = {
    MonoConfig: {
        "gaussians": 120, "iterations": 3, "last_growth": 1, "realign": (1,),
        "first_beam": Change(1.0, given={"align.min_active": 0, "align.retry_beam": 400.0, "align.max_failed": 1.0}),
        "first_min_occupancy": 200.0, "seed": 1,
    },
    DeltasConfig: {
        "leaves": 40, "gaussians": 90, "iterations": 3, "last_growth": 1, "realign": (), "seed": 1,
    },
    LdaMlltConfig: {"dim": 15, "left_context": 3, "right_context": 3, "mllt": ()},
    SatConfig: {"adapt": ()},
    TreeConfig: {"threshold": 3000.0, "merge_threshold": 5000.0, "context_width": 2, "central_position": 2},
    SplitConfig: {"power": 0.9, "min_count": 200.0, "perturb": 0.5},
    UpdateConfig: {"min_occupancy": 1.0, "min_weight": 0.05, "min_variance": 3.0, "remove_low_count": FLIP},
    FmllrConfig: {"sweeps": 1, "min_frames": 1.0e6, "silence_weight": 1.0},
    AlignConfig: {
        "acoustic_scale": 0.02, "transition_scale": 20.0, "self_loop_scale": 1.0,
        "beam": Change(0.5, given={"min_active": 0, "retry_beam": 400.0}),
        "retry_beam": Change(400.0, given=LOST | {"max_failed": 1.0}),
        "min_active": Change(200, given=LOST | {"max_failed": 1.0}), "boost_silence": 1.0e3,
        "max_failed": Change(1.0, given=LOST),
    },
    DecodeConfig: {
        "beam": 1.0, "max_active": 3, "min_active": Change(6, given={"beam": 0.5}), "lattice_beam": 0.5,
        "acoustic_scale": 0.1, "beam_delta": Change(3.0, given={"max_active": 3}),
        "prune_interval": Change(50, shows="held"), "prune_scale": Change(0.9, shows="held"),
    },
    DecodeGmmConfig: {
        "first_beam": 1.0, "first_max_active": 5, "refine_beam": 0.1, "adapt": FLIP, "max_failed": 0.05,
    },
    GraphConfig: {"transition_scale": 0.0, "self_loop_scale": 1.0, "max_states": 20},
    LangConfig: {
        "position_dependent": False, "unknown_word": "zero", "silence_prob": 0.2, "silence_states": 3,
        "nonsilence_states": 2, "share_silence_phones": True,
    },
    MakeDictConfig: {
        "strip_stress": False, "unknown_word": "<oov>", "unknown_phone": "OOV", "silence_phone": "PAU",
        "silence_word": "!SIL", "case": "lower",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Places:
    """Golden directories of a real Kaldi, utterances of them to train on and to decode, a trained LADDER, a folder."""

    golden: Path
    train: Path
    test: Path  # one speaker; one of four utterances cannot be decoded
    exp: Path
    folder: Path

    def aside(self) -> Path:
        """A directory that does not stand yet."""
        number = len(list(self.folder.iterdir()))
        (self.folder / str(number)).mkdir()
        return self.folder / str(number) / "out"


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but logs and the stamp, which tell the configuration."""
    return {
        str(path.relative_to(folder)): gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent.name != "log" and path.name != STAMP
    }


def files_or_error(make: Callable[[], Path]) -> dict[str, Any]:
    """The files of what is made, or why it is not; without the part of the reason that names single utterances."""
    try:
        return {"files": contents(make())}
    except SchoolyardError as error:
        return {"files": error.problem.split(" (")[0]}


def of_ladder(until: str, directory: str) -> Callable[[Any, Places], dict[str, Any]]:
    """Looks at one directory of the ladder, made anew on the rungs below it, or at the reason why it is not made."""

    def observed(config: LadderConfig, places: Places) -> dict[str, Any]:
        exp = places.aside()
        shutil.copytree(places.exp, exp)
        shutil.rmtree(exp / directory)
        stopped = files_or_error(
            lambda: train_ladder(places.train, places.golden / "data/lang", exp, config, until=until)
        )
        return {"files": contents(exp / directory)} if (exp / directory).is_dir() else stopped

    return observed


def observed_adapted_alignment(config: AlignFmllrConfig, places: Places) -> dict[str, Any]:
    """The training utterances aligned with the adaptive model."""
    model, lang = places.exp / "tri3b", places.golden / "data/lang"
    return files_or_error(lambda: align_fmllr(places.train, lang, model, places.aside(), config))


def observed_update(config: UpdateConfig, places: Places) -> dict[str, Any]:
    """Six Gaussians of two pdfs, the statistics of one frame for some, of many for others."""
    rng = np.random.default_rng(0)
    model = AmDiagGmm.from_parameters(
        np.array([0, 3, 6]), np.full(6, 1 / 3), rng.normal(size=(6, 4)), rng.uniform(0.5, 2.0, (6, 4))
    )
    counts = np.array([900.0, 600.0, 30.0, 200.0, 100.0, 4.0])
    means = rng.normal(size=(6, 4))
    squares = means**2 + rng.uniform(0.5, 4.0, (6, 4))
    new = update(model, GmmStats(counts, counts[:, None] * means, counts[:, None] * squares), config)
    return {"model": [new.offsets, new.weights, new.means, new.inv_vars]}


def observed_decoding(config: DecodeConfig, places: Places) -> dict[str, Any]:
    """The lattice of a random graph, and how many tokens and links are held on the way to it.

    The search is cut off by a last frame that no token survives: there it gives back all that it holds.
    """
    rng = np.random.default_rng(3)
    states, pdfs, arcs = 40, 6, 240
    source, target = rng.integers(0, states, arcs), rng.integers(0, states, arcs)
    graph = DecodingGraph(
        start=0, final=rng.random(states), source=np.concatenate([source, np.arange(states)]),
        target=np.concatenate([target, (np.arange(states) + 1) % states]),
        transition_id=rng.integers(1, pdfs + 1, arcs + states), word=rng.integers(0, 6, arcs + states),
        cost=rng.gamma(1.0, 1.0, arcs + states), id2pdf=np.concatenate([[0], np.arange(pdfs)]),
    )  # fmt: skip
    loglikes = rng.normal(size=(40, pdfs)).astype(np.float32) * 4
    lattice = decoder.decode(graph, loglikes, config)
    loglikes[-1] = -np.inf
    status, frame, _, frame_start, block_start, *_ = token_passing.pass_tokens(
        graph.arrays, loglikes, decoder._options(config)
    )
    assert (status, frame) == (token_passing.NO_TOKENS, 39)
    return {
        "lattice": [getattr(lattice, name) for name in ("source", "target", "word", "graph_cost", "acoustic_cost")],
        "held": [frame_start[:41], block_start[:80]],
    }


def observed_gmm_decoding(config: DecodeGmmConfig, places: Places) -> dict[str, Any]:
    model = places.golden / "exp/tri3b"
    return files_or_error(lambda: decode_gmm(model, model / "graph", places.test, places.aside(), config))


def observed_graph(config: GraphConfig, places: Places) -> dict[str, Any]:
    lang, model = places.golden / "data/lang_test", places.golden / "exp/mono"
    return files_or_error(lambda: make_graph(lang, model, places.aside(), config))


def observed_lang(config: LangConfig, places: Places) -> dict[str, Any]:
    return files_or_error(lambda: prepare_lang(places.golden / "data/dict", places.aside(), config).path)


def observed_dict(config: MakeDictConfig, places: Places) -> dict[str, Any]:
    out = places.aside()
    (out.parent / "raw").write_text("BALL B AO1 L\nCat K AE1 T\n")
    return files_or_error(lambda: make_dict(out.parent / "raw", out, config).path)
