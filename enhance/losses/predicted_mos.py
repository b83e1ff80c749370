"""The opinion score that a trained listener predicts, as a loss: high scores make it low.

FINALLY (arXiv:2410.05920) trains against UTMOS this way; any differentiable predictor does.  It is either

- a TorchScript file.  Loading and running it executes TorchScript operators on tensors, not Python: no import, no
  program is called; an operator may still read files, so take it from whom you trust; or
- `package.module:function`, Python that this installation has: it is imported and called with no arguments, and gives
  the predictor.  It runs with all your rights; name your own code only.

torch.export programs (.pt2) are refused: torch reads parts of them as pickles, which can run any code.
"""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from enhance.layers.decimate import Decimate, factor_to
from harness.errors import CheckpointError, ConfigError, TrainingError

Predictor = Callable[[Tensor], Tensor]  # [batch, samples] at 16 kHz -> opinion scores [batch] or [batch, 1]

BEST, MIDDLE = 5.0, 2.5  # scores are squashed about the middle, so that one very bad pair does not rule the batch


class PredictedMos(nn.Module):
    """speech [batch, samples] -> -mean(5 sigmoid(score - 2.5)), between -5 and 0.

    predictor: where it comes from (see the module's text); loaded at the first use, its weights frozen.
    """

    def __init__(self, predictor: str, sample_rate: int) -> None:
        super().__init__()
        self.source = predictor
        self.decimate = Decimate(factor_to(sample_rate))
        self._loaded: list[Predictor] = []  # not a submodule: neither trained nor saved

    def forward(self, speech: Tensor) -> Tensor:
        """Raises TrainingError if the predictor passes no gradient or gives other than one score a row."""
        scores = self.scores(speech)
        if torch.is_grad_enabled() and speech.requires_grad and not scores.requires_grad:
            problem = "the predictor of opinion scores passes no gradient, so nothing could be learnt from it"
            raise TrainingError(self.source, problem, mend="give one that is differentiable in its input")
        return -(BEST * torch.sigmoid(scores - MIDDLE)).mean()

    def scores(self, speech: Tensor) -> Tensor:
        """Opinion scores [batch]."""
        if not self._loaded:
            self._loaded.append(load_predictor(self.source, speech.device))
        scores = self._loaded[0](self.decimate(speech))
        if not isinstance(scores, Tensor) or scores.numel() != speech.shape[0]:
            got = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            problem = f"the predictor must give one score a row ({speech.shape[0]}), got {got}"
            raise TrainingError(self.source, problem, mend="wrap it in a function that gives [batch]")
        return scores.flatten()


def load_predictor(source: str, device: torch.device) -> Predictor:
    """The predictor on the device, frozen and in eval mode.  Raises ConfigError and CheckpointError."""
    if source.endswith(".pt2"):
        mend = "save it by torch.jit.trace(...).save(...), or name a function as package.module:function"
        raise ConfigError(source, "is a torch.export program, which may hold pickles that run any code", mend=mend)
    module, colon, name = source.partition(":")
    in_python = colon and os.sep not in source
    predictor: Predictor = _from_python(source, module, name) if in_python else _from_torchscript(source, device)
    if isinstance(predictor, nn.Module):
        predictor.to(device).eval()
        for parameter in predictor.parameters():  # a ScriptModule has no requires_grad_ of its own
            parameter.requires_grad_(False)
    return predictor


def _from_torchscript(source: str, device: torch.device) -> Any:
    mend = "give a TorchScript file, or package.module:function"
    if not Path(source).is_file():
        raise CheckpointError(source, "no such predictor of opinion scores", mend=mend)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit as a whole
            return torch.jit.load(source, map_location=device)  # type: ignore[no-untyped-call]
    except Exception as error:  # a foreign file makes the reader fail in any way
        raise CheckpointError(source, "cannot be read as TorchScript", mend=mend) from error


def _from_python(source: str, module: str, name: str) -> Any:
    mend = "name a function without arguments that gives the predictor, in an installed module"
    try:
        make = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise ConfigError(source, f"cannot be imported: {error}", mend=mend) from error
    except AttributeError as error:
        raise ConfigError(source, f"{module} has no {name!r}", mend=mend) from error
    predictor = make()
    if not callable(predictor):
        raise ConfigError(source, f"gave a {type(predictor).__name__}, which cannot be called", mend=mend)
    return predictor
