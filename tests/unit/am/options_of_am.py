"""Another value of every option of the acoustic models and of their scoring, and what is looked at."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import am.score
from am.config import AcousticConfig, TrainConfig
from am.dataset import FrameMeta, FrameSet
from am.inputs import InputConfig, Source, read_frames
from am.models import MODELS
from am.models.cnn import CNNConfig
from am.models.gru import GRUConfig
from am.models.hybrid import HybridConfig, HybridModel, load_model
from am.models.ligru import LiGRUConfig
from am.models.lstm import LSTMConfig
from am.models.mlp import MLPConfig
from am.models.normed_recurrent import NormedRecurrentConfig
from am.models.packing import Packing
from am.models.sincnet import SincNetConfig
from am.models.sru import SRUConfig
from am.priors import PriorConfig
from am.score import ScoreConfig
from am.train import train_model
from harness.errors import AlignmentError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.tables import MatrixWriter
from tests.options_walk import FLIP, Change, changed

PHONES = ("SIL", "A", "B")
SHORT = {"filters": (4, 3), "widths": (5, 3), "pools": (2, 1), "context": 1}
SMALL = {"sru": {"projection": 5}, "cnn": SHORT, "sincnet": SHORT | {"widths": (5, 3)}}
RECURRENT = {"layers": 3, "units": 7, "bidirectional": False, "dropout": 0.5}
CHANGES: dict[type, dict[str, Any]] = {
    LiGRUConfig: RECURRENT | {"tied_directions": False, "norm_momentum": 0.5},
    LSTMConfig: RECURRENT,
    GRUConfig: RECURRENT,
    NormedRecurrentConfig: RECURRENT | {
        "activation": "relu", "batch_norm": False, "state_norm": True, "norm_momentum": 0.5,
    },
    SRUConfig: RECURRENT | {
        "projection": 4, "input_dropout": 0.5, "activation": "tanh", "highway_bias": 0.0, "rescale": False,
    },
    MLPConfig: {"layers": 3, "units": 7, "context": 2, "dropout": 0.5},
    CNNConfig: {
        "context": 2, "filters": (4, 4), "widths": (3, 3), "pools": (1, 1), "norm": "batch", "input_norm": True,
        "conv_dropout": 0.5, "layers": 3, "units": 7, "dropout": 0.5,
    },
    SincNetConfig: {
        "input_norm": False, "sample_rate": 8000, "min_low": 200.0, "min_band": 200.0,
    },
    PriorConfig: {"smoothing": 50.0, "floor": 0.3},
    TrainConfig: {
        "seed": 5, "threads": Change(2, shows="threads"), "epochs": 2, "batch_size": 3, "batch_jitter": 0.9,
        "start_frames": 10, "growth": 1.5, "max_frames": 10, "optimizer": "rmsprop", "rate": 0.003, "warmup": 2.0,
        "schedule": "linear", "newbob_factor": Change(0.1, given={"newbob_threshold": 0.99}),
        "newbob_threshold": 0.99, "linear_hold": Change(0.1, given={"schedule": "linear"}),
        "linear_final": Change(0.5, given={"schedule": "linear"}), "clip": 0.001, "phone_weight": 0.0,
        "best_by": Change("loss", given={"epochs": 6, "rate": 0.1}, shows="best"),
        "patience": Change(1, given={"epochs": 9, "newbob_threshold": 0.99, "newbob_factor": 0.01}),
        "tensorboard": Change(FLIP, shows="files"),
    },
    InputConfig: {"speaker_norm": "mean", "max_lost": 0.01},
    ScoreConfig: {
        "min_lmwt": 8, "max_lmwt": 16, "penalties": (0.0, 0.5), "widen": False, "lmwt_limits": (2, 30),
        "penalty_limits": (-1.0, 2.0),
    },
}  # fmt: skip
CHANGES[SincNetConfig] |= {name: to for name, to in CHANGES[CNNConfig].items() if name != "input_norm"}


def model_base(name: str) -> Any:
    return MODELS[name][0](layers=2, units=6, **SMALL.get(name, {}))


def observed_model(name: str, config: Any) -> dict[str, Any]:
    """What it says while it learns, and after, when its running statistics count."""
    torch.manual_seed(0)
    model = HybridModel(HybridConfig(model=name, **{name: config}), 30, 6, 3)
    packing = Packing.of([7, 4, 3], directions=model.directions)
    rows = torch.randn(packing.frames, 30)
    with torch.no_grad():
        for parameter in model.parameters():  # away from the start, where a norm's weights are one
            parameter.add_(0.1 * torch.randn_like(parameter))
        said = [*model.train()(rows, packing), *model.eval()(rows, packing)]
    return {"said": said}


TRAINING_BASE = changed(
    AcousticConfig(ligru=LiGRUConfig(layers=1, units=8)),
    {f"train.{name}": value for name, value in {
        "epochs": 3, "optimizer": "adam", "rate": 0.01, "batch_size": 4, "start_frames": 5, "max_frames": 20,
    }.items()},
)  # fmt: skip


@cache
def frame_set(utterances: int, seed: int) -> FrameSet:
    """Utterances of 8 to 30 frames, each pdf with a mean of its own; one pdf is rare."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(size=(6, 5))
    lengths = rng.integers(8, 31, utterances)
    targets = np.concatenate([np.repeat(rng.choice(6, 10, p=[0.3, 0.2, 0.2, 0.2, 0.09, 0.01]), 3)[:n] for n in lengths])
    return FrameSet(
        meta=FrameMeta(streams=("feats:5",), speaker_norm="mean_variance", num_pdfs=6, phones=PHONES),
        utterances=tuple(f"utt{i:03d}" for i in range(utterances)),
        speakers=tuple(f"spk{i % 4}" for i in range(utterances)), lengths=lengths.astype(np.int64),
        features=(means[targets] + rng.normal(size=(len(targets), 5))).astype(np.float16),
        pdfs=targets.astype(np.int16), phones=(targets % 3).astype(np.int16),
    )  # fmt: skip


def observed_training(name: str, config: Any) -> dict[str, Any]:
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        history = train_model(config, frame_set(12, 0), frame_set(6, 1), Path(folder))
        model, state = load_model(Path(folder) / "best.pt")
        files = sorted(path.name for path in Path(folder).iterdir())
    wanted = torch.get_num_threads()
    torch.set_num_threads(threads)
    epochs = [[value for key, value in asdict(epoch).items() if key != "seconds"] for epoch in history]
    weights = [(key, tuple(value.shape), value) for key, value in model.state_dict().items()]
    return {
        "run": [epochs, weights], "best": state["metrics"]["epoch"], "files": files, "threads": wanted,
    }  # fmt: skip


def observed_inputs(name: str, config: Any) -> dict[str, Any]:
    """Features of eight utterances of two speakers; one utterance is missing in the second stream."""
    rng, names = np.random.default_rng(0), sorted(f"s{i % 2}-{i}" for i in range(8))
    with tempfile.TemporaryDirectory() as folder:
        base, extra = Path(folder) / "base", Path(folder) / "extra"
        for stream, present in ((base, names), (extra, names[:-1])):
            DataDir.build(stream, utt2spk={one: one[:2] for one in names}).write_tables(stream)
            with MatrixWriter(stream / "feats.ark", stream / "feats.scp") as writer:
                for one in present:
                    writer.write(one, (3 * rng.normal(size=(9, 4)) + 1).astype(np.float32))
        try:
            return {"features": read_frames(Source(data=base, extra=(extra,)), config, storage="float32").features}
        except AlignmentError as error:
            return {"features": error.problem.split(" (")[0]}


@dataclass
class Edge:
    """In the place of a sweep: the best always stands at an edge of the grid."""

    grid: tuple[Any, Any]
    highest: bool

    def mildest(self) -> tuple[float, float]:
        at = max if self.highest else min
        return at(self.grid[0]), at(self.grid[1])


def observed_scoring(name: str, config: Any) -> dict[str, Any]:
    """Every grid that is asked for, when the best lies high and when it lies low."""
    asked: list[Any] = []

    def sweep_to(highest: bool) -> Any:
        def sweep(decode_dir, words, references, *, lm_weights, penalties):  # type: ignore[no-untyped-def]
            asked.append((list(lm_weights), list(penalties)))
            return Edge((lm_weights, penalties), highest)

        return sweep

    real = am.score.sweep_decode_dir
    try:
        for highest in (True, False):
            am.score.sweep_decode_dir = sweep_to(highest)
            am.score._widening_sweep("decode", {}, {}, config)
    finally:
        am.score.sweep_decode_dir = real
    return {"grids": asked}
