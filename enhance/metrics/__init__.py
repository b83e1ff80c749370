"""Every measure of enhanced speech, in one table: what it is computed from, which way is better, unit, packages.

`measure` computes any of them for one utterance; what several need (PESQ for the composites, a net's scores) is
computed once.  docs/metrics.md has each definition with the check that it passed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from enhance.metrics import composite, distances, dnsmos, perceptual, predicted
from harness.errors import AudioError, ConfigError

PAIR = ("clean", "estimate", "rate")
ALONE = ("estimate", "rate")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """function(*of): `of` names the sounds [samples], their rate in Hz, or other entries of the table."""

    function: Callable[..., Any]
    better: Literal["higher", "lower"]
    unit: str
    of: tuple[str, ...] = PAIR
    needs: str = ""  # packages beyond the core, as pip names them


METRICS: dict[str, Metric] = {
    "si_sdr": Metric(function=distances.si_sdr, better="higher", unit="dB"),
    "pesq": Metric(function=perceptual.pesq_of, better="higher", unit="MOS-LQO", needs="pesq"),
    "pesq_nb": Metric(function=perceptual.pesq_narrow_of, better="higher", unit="MOS-LQO", needs="pesq"),
    "stoi": Metric(function=perceptual.stoi_of, better="higher", unit="correlation"),
    "estoi": Metric(function=perceptual.extended_stoi_of, better="higher", unit="correlation"),
    "log_mel": Metric(function=distances.log_mel_error, better="lower", unit="neper"),
    "csig": Metric(function=composite.csig, of=("pesq", "llr", "wss"), better="higher", unit="1 to 5", needs="pesq"),
    "cbak": Metric(function=composite.cbak, of=("pesq", "wss", "ssnr"), better="higher", unit="1 to 5", needs="pesq"),
    "covl": Metric(function=composite.covl, of=("pesq", "llr", "wss"), better="higher", unit="1 to 5", needs="pesq"),
    "ssnr": Metric(function=composite.segmental_snr, better="higher", unit="dB"),
    "llr": Metric(function=composite.log_likelihood_ratio, better="lower", unit="neper"),
    "wss": Metric(function=composite.weighted_spectral_slope, better="lower", unit="dB squared"),
    "plain_snr": Metric(function=distances.snr, better="higher", unit="dB"),  # "snr" is the condition
    "lsd": Metric(function=distances.log_spectral_distance, better="lower", unit="dB"),
} | {
    f"dnsmos_{name}": Metric(
        function=function, of=of, better="higher", unit="MOS", needs="speechmos onnxruntime"
    )
    for name, function, of in (
        ("sig", lambda opinion: opinion.sig, ("p835",)),
        ("bak", lambda opinion: opinion.bak, ("p835",)),
        ("ovrl", lambda opinion: opinion.ovrl, ("p835",)),
        ("p808", dnsmos.p808, ALONE),
    )
}  # fmt: skip
PARTS: dict[str, tuple[Callable[..., Any], tuple[str, ...]]] = {"p835": (dnsmos.p835, ALONE)}  # for several metrics
DEFAULT = ("si_sdr", "pesq", "stoi", "log_mel")


def predictor(source: str) -> Metric:
    """A metric by a predictor of opinion scores: a file, or package.module:function."""
    return Metric(function=partial(predicted.predicted_score, source), of=ALONE, better="higher", unit="MOS")


def chosen(names: Iterable[str], predictors: Mapping[str, str] | None = None) -> dict[str, Metric]:
    """The metrics of these names, in order ("all": every one whose packages are here), and the predictors.

    predictors: {name: source}.  Raises ConfigError for a name that is not in the table, or stands in it already.
    """
    found: dict[str, Metric] = {}
    for name in names:
        if name == "all":
            found |= {known: metric for known, metric in METRICS.items() if not missing_packages(metric)}
        elif name in METRICS:
            found[name] = METRICS[name]
        else:
            raise ConfigError("metrics", f"unknown metric {name!r}", mend=f"choose from {', '.join(METRICS)}, all")
    for name, source in (predictors or {}).items():
        if name in METRICS:
            raise ConfigError("predictors", f"{name!r} is a metric of ours", mend="give the predictor another name")
        found[name] = predictor(source)
    return found


def missing_packages(metric: Metric) -> list[str]:
    """Those of the metric's packages that are not installed."""
    return [name for name in metric.needs.split() if importlib.util.find_spec(name) is None]


def needs_clean(metric: Metric) -> bool:
    """Whether the metric compares with clean speech; the others judge the estimate alone."""
    return any(name == "clean" or (name in METRICS and needs_clean(METRICS[name])) for name in metric.of)


def measure(
    metrics: Mapping[str, Metric], clean: np.ndarray | None, estimate: np.ndarray, sample_rate: int
) -> tuple[dict[str, float], dict[str, str]]:
    """One utterance, [samples] each: the values, and {metric: problem} of those that are not defined for it."""
    _check(clean, estimate)
    known: dict[str, Any] = {"clean": clean, "estimate": estimate, "rate": sample_rate}
    values, problems = {}, {}
    for name, metric in metrics.items():
        try:
            values[name] = float(_value(name, metric, known))
        except AudioError as error:
            problems[name] = f"{error.where}: {error.problem}"
    return values, problems


def _check(clean: np.ndarray | None, estimate: np.ndarray) -> None:
    for name, sound in (("reference", clean), ("estimate", estimate)):
        if sound is not None and not np.isfinite(sound).all():
            raise AudioError(name, "holds samples that are not finite", mend="find out what made it")
        if sound is not None and not np.any(sound):
            raise AudioError(name, "is silent", mend="leave it out")
    if clean is not None and len(clean) != len(estimate):
        problem = f"has {len(estimate)} samples, its reference {len(clean)}"
        raise AudioError("estimate", problem, mend="score what was made from this reference")


def _value(name: str, metric: Metric | None, known: dict[str, Any]) -> Any:
    """From what is known already, or computed from its ingredients and then known; an error is known too."""
    if name not in known:
        function, of = (metric.function, metric.of) if metric is not None else PARTS[name]
        try:
            known[name] = function(*(_value(part, METRICS.get(part), known) for part in of))
        except AudioError as error:
            known[name] = error
    if isinstance(known[name], AudioError):
        raise known[name]
    return known[name]
