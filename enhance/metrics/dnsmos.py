"""DNSMOS: opinion scores of speech (SIG), background (BAK) and the whole (OVRL, P.808), by Microsoft's nets.

Papers: Reddy et al. 2021, arXiv:2010.15258 (P.808); 2022, arXiv:2110.01763 (P.835).  The nets are the ONNX files inside
the wheel of the package speechmos 0.0.1.1 (MIT); its code is not imported, for it needs librosa.  As there: 16 kHz, the
sound is doubled until it has 9.01 s, a window of 9.01 s goes on by 1 s, each window's raw scores go through the
published polynomials, the mean over windows is the score.  Differs: samples beyond full scale are clipped, not refused.
One thread, so the same sound gives the same score.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import AudioError, SchoolyardError
from kaldi_bridge.audio import resample

RATE = 16000
WINDOW = int(9.01 * RATE)
MEND = "pip install onnxruntime && pip install --no-deps speechmos==0.0.1.1"
POLYNOMIALS = {  # of the raw score, highest power first
    "sig": (-0.08397278, 1.22083953, 0.0052439),
    "bak": (-0.13166888, 1.60915514, -0.39604546),
    "ovrl": (-0.06766283, 1.11546468, 0.04602535),
}
SIZE, HOP, BANDS = 321, 160, 120  # samples, samples, mel bands of the P.808 net


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """P.835 scores, 1 to 5."""

    sig: float
    bak: float
    ovrl: float


def dnsmos_installed() -> bool:
    """The nets (speechmos) and what runs them (onnxruntime) are there."""
    return all(importlib.util.find_spec(name) is not None for name in ("speechmos", "onnxruntime"))


def p835(estimate: np.ndarray, sample_rate: int) -> Opinion:
    """SIG, BAK and OVRL of a sound [samples].  Raises SchoolyardError where the nets are missing."""
    net = _net("sig_bak_ovr.onnx")
    raw = np.array([_run(net, window[None])[0] for window in _windows(estimate, sample_rate)])
    scores = (np.polyval(POLYNOMIALS[name], raw[:, column]) for column, name in enumerate(("sig", "bak", "ovrl")))
    sig, bak, ovrl = (float(score.mean()) for score in scores)
    return Opinion(sig=sig, bak=bak, ovrl=ovrl)


def p808(estimate: np.ndarray, sample_rate: int) -> float:
    """Predicted P.808 rating of a sound [samples], 1 to 5."""
    net = _net("model_v8.onnx")
    return float(np.mean([_run(net, _log_mel(w[:-HOP])[None])[0, 0] for w in _windows(estimate, sample_rate)]))


def _windows(estimate: np.ndarray, sample_rate: int) -> list[np.ndarray]:
    """float32, WINDOW samples each, a second apart."""
    sound = estimate if sample_rate == RATE else resample(estimate, sample_rate, RATE)
    if not len(sound):
        raise AudioError("estimate", "is empty", mend="leave it out")
    sound = np.clip(sound, -1, 1).astype(np.float32)
    while len(sound) < WINDOW:
        sound = np.concatenate([sound, sound])
    count = int(len(sound) // RATE - WINDOW / RATE) + 1
    windows = (sound[first * RATE : first * RATE + WINDOW] for first in range(count))
    return [window for window in windows if len(window) == WINDOW]


@lru_cache(maxsize=2)
def _net(name: str) -> Any:
    if not dnsmos_installed():
        raise SchoolyardError("DNSMOS", "its nets or what runs them are not installed", mend=MEND)
    import onnxruntime

    package = importlib.util.find_spec("speechmos")
    assert package is not None and package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "dnsmos_models" / name
    if not path.is_file():
        raise SchoolyardError(path, "is not in the package speechmos", mend=MEND)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _run(net: Any, values: np.ndarray) -> np.ndarray:
    return np.asarray(net.run(None, {net.get_inputs()[0].name: values.astype(np.float32)})[0])


def _log_mel(sound: np.ndarray) -> np.ndarray:
    """What the P.808 net hears: [frames, bands], decibels below the loudest, (dB + 40) / 40, at least -80 dB."""
    half = SIZE // 2
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, half), SIZE)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SIZE) / SIZE)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2 @ _mel_bands()
    decibels = 10 * np.log10(np.maximum(power, 1e-10)) - 10 * np.log10(max(power.max(), 1e-10))
    return np.asarray((np.maximum(decibels, -80.0) + 40) / 40)


@lru_cache(maxsize=1)
def _mel_bands() -> np.ndarray:
    """Slaney's triangular mel bands of unit area, [SIZE // 2 + 1, BANDS]: linear to 1 kHz, logarithmic above."""
    knee, step = 1000.0, np.log(6.4) / 27
    top = knee * 3 / 200 + np.log(RATE / 2 / knee) / step
    mel = np.linspace(0, top, BANDS + 2)
    corners = np.where(mel < 15, mel * 200 / 3, knee * np.exp(step * (mel - 15)))
    bins = np.arange(SIZE // 2 + 1)[:, None] * RATE / SIZE
    widths = np.diff(corners)
    rise, fall = (bins - corners[:-2]) / widths[:-1], (corners[2:] - bins) / widths[1:]
    return np.asarray(np.maximum(0, np.minimum(rise, fall)) * 2 / (corners[2:] - corners[:-2]))
