"""Opinion scores by predictors that the user has: UTMOS, WV-MOS, MOSNet or any other; weights are never fetched.

A predictor is one of three, all judged in the same way, mono at 16 kHz:

- a TorchScript file (.pt): called with [1, samples] in [-1, 1], gives one score;
- an ONNX file (.onnx): the same, its only input named as it likes;
- `package.module:function` of this installation: called without arguments, it gives a callable (a torch module or a
  function) that takes a tensor [1, samples] and gives one score.  It runs with all your rights.

TorchScript and ONNX execute tensor operators, not Python.  Drawn numbers are seeded before each sound, so a predictor
that crops at random still scores the same sound the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from harness.errors import AudioError, CheckpointError, SchoolyardError
from kaldi_bridge.audio import resample

RATE = 16000
Scorer = Callable[[np.ndarray], np.ndarray]  # [1, samples] -> scores


def predicted_score(source: str, estimate: np.ndarray, sample_rate: int) -> float:
    """The predictor's score of a sound [samples].  Raises AudioError where it gives other than one finite number."""
    from harness.seed import seed_everything

    sound = estimate if sample_rate == RATE else resample(estimate, sample_rate, RATE)
    scorer = _scorer(source)
    seed_everything(0)
    try:
        scores = scorer(np.ascontiguousarray(sound[None], np.float32)).ravel()
    except Exception as error:  # a foreign predictor fails in any way
        raise AudioError(source, f"cannot judge it ({str(error).strip()[-120:]})", mend="leave it out") from error
    if scores.size != 1 or not np.isfinite(scores[0]):
        raise AudioError(source, f"gave {scores.tolist()} instead of one score", mend="wrap it so that it gives one")
    return float(scores[0])


@lru_cache(maxsize=8)
def _scorer(source: str) -> Scorer:
    """Raises CheckpointError and ConfigError where there is none, or it cannot be read."""
    return _onnx(source) if source.endswith(".onnx") else _torch(source)


def _torch(source: str) -> Scorer:
    import torch

    from enhance.losses.predicted_mos import load_predictor

    torch.set_num_threads(1)
    predictor = load_predictor(source, torch.device("cpu"))

    def score(sound: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(predictor(torch.from_numpy(sound)))

    return score


def _onnx(source: str) -> Scorer:
    try:
        import onnxruntime
    except ImportError as error:
        raise SchoolyardError(source, "needs onnxruntime", mend="pip install onnxruntime") from error
    if not Path(source).is_file():
        raise CheckpointError(source, "no such predictor of opinion scores", mend="give an ONNX or TorchScript file")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        net = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime's own classes, one a kind of damage
        raise CheckpointError(source, "cannot be read as ONNX", mend="export it again") from error
    name = net.get_inputs()[0].name
    return lambda sound: np.asarray(net.run(None, {name: sound})[0])
