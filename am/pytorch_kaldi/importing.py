"""Import of a pytorch-kaldi system: config.yaml, and best.pt where its trained nets are given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from am.config import AcousticConfig
from am.dataset import FrameSet
from am.inputs import position_free, read_phones
from am.models.hybrid import CHECKPOINT_KIND, HybridModel, model_state
from am.priors import PriorConfig
from am.pytorch_kaldi.plan import Plan, plan_of
from am.pytorch_kaldi.system import read_system
from am.pytorch_kaldi.weights import Store, fill, input_dim_of, read_store
from harness.atomic import whole_dir, write_whole
from harness.checkpoint import load_weights, save_checkpoint
from harness.config import to_plain
from harness.errors import SchoolyardError, TableError


@dataclass(frozen=True, kw_only=True)
class ImportSources:
    """What is imported, and what the nets themselves do not say."""

    cfg: Path
    checkpoints: Path | None = None  # out_folder of the system; None: settings only
    dims: tuple[int, ...] = ()  # features a frame of each stream; where the weights do not tell
    counts: Path | None = None  # Kaldi vector of frames of each pdf; None: uniform priors
    dataset: Path | None = None  # file of 'am pack' whose mean and deviation normalise the inputs; None: none
    lang: Path | None = None  # directory with phones.txt


def import_system(sources: ImportSources, out: Path, *, force: bool = False) -> Plan:
    """Write out/config.yaml and out/best.pt; returns the plan with its notes.

    Raises ConfigError for a .cfg that has no counterpart here, CheckpointError for nets that do not fit it,
    TableError for counts or phones that do not fit the nets.
    """
    plan = plan_of(read_system(sources.cfg))
    notes = [*plan.notes]
    model_and_state = None
    if sources.checkpoints is not None:
        model_and_state = _model(plan, sources, notes)
    plan = Plan(**{**vars(plan), "notes": tuple(notes)})
    with whole_dir(out, force=force) as aside:
        write_config(plan, aside / "config.yaml")
        if model_and_state is not None:
            save_checkpoint(aside / "best.pt", CHECKPOINT_KIND, model_and_state)
    return plan


def write_config(plan: Plan, path: Path) -> None:
    """What differs from our defaults, under the notes."""
    lines = [f"Imported from {plan.system.path.name} of pytorch-kaldi.", *plan.notes]
    differing = _differing(to_plain(plan.config), to_plain(AcousticConfig()))
    with write_whole(path) as stream:
        stream.writelines(f"# {line}\n" for line in lines)
        yaml.safe_dump({"model": plan.config.model, **differing}, stream, sort_keys=False)


def _differing(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        if isinstance(value, dict):
            inner = _differing(value, defaults[key])
            if inner:
                found[key] = inner
        elif value != defaults[key]:
            found[key] = value
    return found


def _model(plan: Plan, sources: ImportSources, notes: list[str]) -> dict[str, Any]:
    """Our checkpoint's state."""
    assert sources.checkpoints is not None
    stores = {net.name: read_store(net, sources.checkpoints) for net in plan.nets}
    dims = _dims(plan, sources, stores)
    num_pdfs = len(stores[plan.pdf_head.net.name].take(f"wx.{plan.pdf_head.index}.bias"))
    num_phones = 1
    if plan.phone_head is not None:
        num_phones = len(stores[plan.phone_head.net.name].take(f"wx.{plan.phone_head.index}.bias"))
    else:
        notes.append("there is no net for phones; the phone head knows one phone and nothing of it")
    model = HybridModel(plan.config.hybrid, sum(dims), num_pdfs, num_phones)
    load_weights(model, fill(model, plan, stores), sources.checkpoints)
    model.log_priors.copy_(_log_priors(plan, sources, num_pdfs, notes))
    _normalise(model, sources, notes)
    inputs = {
        "streams": [f"feats:{dim}" for dim in dims],  # fMLLR features too are read as its feats.scp has them
        "speaker_norm": plan.config.inputs.speaker_norm,
        "num_pdfs": num_pdfs,
    }
    phones = _phones(plan, sources, num_phones, notes)
    return model_state(model, phones, inputs)


def _dims(plan: Plan, sources: ImportSources, stores: dict[str, Store]) -> tuple[int, ...]:
    told = input_dim_of(plan, stores)
    names = [stream.name for stream in plan.streams]
    if sources.dims and len(sources.dims) != len(names):
        problem = f"{len(sources.dims)} given for the streams {', '.join(names)}"
        raise SchoolyardError("--dims", problem, mend="give one --dims for each stream, in this order")
    if not sources.dims and (told is None or len(names) > 1):
        problem = f"the nets do not say how many features {', '.join(names)} have"
        raise SchoolyardError("--dims", problem, mend="give one --dims for each stream, in this order")
    dims = sources.dims or (int(told or 0),)
    if told is not None and sum(dims) != told:
        raise SchoolyardError("--dims", f"sum to {sum(dims)}, the net takes {told}", mend="give the right ones")
    return dims


def _log_priors(plan: Plan, sources: ImportSources, num_pdfs: int, notes: list[str]) -> torch.Tensor:
    """log(count / sum), as pytorch-kaldi divides; a pdf without a frame gets the floor of our priors."""
    if sources.counts is None:
        notes.append("no --counts were given: priors are uniform, likelihoods are posteriors up to a constant")
        return torch.full((num_pdfs,), -float(np.log(num_pdfs)))
    try:
        text = sources.counts.read_text(encoding="utf-8")
        counts = np.array([float(word) for word in text.replace("[", " ").replace("]", " ").split()])
    except (OSError, ValueError) as error:
        problem = f"is no vector of numbers ({type(error).__name__})"
        raise TableError(sources.counts, problem, mend="give the output of analyze-counts") from error
    if len(counts) != num_pdfs or counts.min() < 0 or counts.sum() <= 0:
        problem = f"holds {len(counts)} counts, the net has {num_pdfs} pdfs"
        raise TableError(sources.counts, problem, mend="give the counts of the training alignments of this system")
    priors = np.maximum(counts / counts.sum(), PriorConfig().floor * (counts == 0))
    return torch.from_numpy(np.log(priors)).float()


def _normalise(model: HybridModel, sources: ImportSources, notes: list[str]) -> None:
    """pytorch-kaldi normalises every chunk of data by its own mean and deviation; a data set's stand for them here."""
    if sources.dataset is None:
        notes.append("pytorch-kaldi normalises each chunk of features; without --dataset the inputs are taken as given")
        return
    frames = FrameSet.load(sources.dataset)
    if frames.dim != model.input_dim:
        problem = f"has {frames.dim} features a frame, the net takes {model.input_dim}"
        raise TableError(sources.dataset, problem, mend="pack the streams of the .cfg")
    mean, deviation = frames.moments()
    model.input_mean.copy_(torch.from_numpy(mean))
    model.input_scale.copy_(torch.from_numpy(1 / np.maximum(deviation, 1e-5)))


def _phones(plan: Plan, sources: ImportSources, num_phones: int, notes: list[str]) -> list[str]:
    """Names of the phone targets: numbers of ali-to-phones less the first, or the phones of a lang dir."""
    if sources.lang is None or plan.phone_head is None:
        return [f"phone{number}" for number in range(1, num_phones + 1)]
    symbols = read_phones(sources.lang, sources.lang)
    numbers = position_free(symbols)[1]  # real phones, no <eps> and no disambiguation
    names = [symbol for symbol, number in sorted(symbols.items(), key=lambda item: item[1]) if number in numbers]
    if len(names) != num_phones:
        problem = f"has {len(names)} phones, the net {num_phones}"
        raise TableError(sources.lang / "phones.txt", problem, mend="give the lang dir of the alignments")
    return names
