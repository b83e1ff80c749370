"""Every option changes something that can be seen; a new option without its line in a table fails here."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

import am
from am.breakdown import BreakdownConfig
from am.confidence import ConfidenceConfig
from am.config import AcousticConfig
from am.dataset import hold_out
from am.inputs import InputConfig, Source
from am.models import MODELS
from am.models.hybrid import HybridConfig, HybridModel
from am.pytorch_kaldi.importing import ImportSources
from am.report import ReportConfig
from am.score import ScoreConfig
from tests.options_walk import both_sides, change_of, dataclasses_of, differs, options, unproven
from tests.unit.am import options_of_am as of_am

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Kind:
    """Configs that are looked at in one way.  observed: (name, config) -> what can be seen, by facet."""

    bases: dict[str, Any]
    observed: Callable[[str, Any], dict[str, Any]]
    usual: str  # the facet that must change where no other is stated


KINDS = {
    "model": Kind({name: of_am.model_base(name) for name in MODELS}, of_am.observed_model, "said"),
    "training": Kind({"acoustic": of_am.TRAINING_BASE}, of_am.observed_training, "run"),
    "inputs": Kind({"frames": InputConfig(max_lost=0.2)}, of_am.observed_inputs, "features"),
    "scoring": Kind({"tune": ScoreConfig()}, of_am.observed_scoring, "grids"),
}
ROOTS = [(kind, name) for kind, those in KINDS.items() for name in those.bases]
ELSEWHERE = (
    "inputs.",
    "model",
    *(f"{name}." for name in MODELS),
    "train.dev_speakers",
)  # of a training: looked at by itself
EVERY = [
    pytest.param(kind, name, option, id=f"{kind} {name}.{option.path}")
    for kind, name in ROOTS
    for option in options(KINDS[kind].bases[name])
    if not (kind == "training" and option.path.startswith(ELSEWHERE))
]
PROVEN = {
    Source: {
        "test_inputs.py::test_fmllr_stream_equals_kaldis_make_fmllr_feats": "data fmllr",
        "test_inputs.py::test_each_speaker_has_mean_zero_and_variance_one": "ali lang",
        "test_inputs.py::test_transforms_of_another_system_are_refused": "gmm",
        "test_inputs.py::test_streams_are_joined_column_wise": "extra",
        "test_graph.py::test_pipes_and_ranges_in_feats_scp_give_the_same_features_or_are_refused": "allow_commands",
    },
    ReportConfig: {
        "test_report.py::test_every_setting_changes_the_page":
            "replicas seed main_lm main_training main_model examples audio max_megabytes",
    },
    BreakdownConfig: {
        "test_breakdown.py::test_intervals_are_those_of_the_bootstrap_and_absent_for_one_speaker": "replicas seed",
    },
    ConfidenceConfig: {
        "test_confidence_table.py::test_true_confidences_are_calibrated_and_shifted_ones_are_not": "bins",
    },
    ImportSources: {
        "pytorch_kaldi/test_importing.py::test_nets_of_several_gpus_are_read_like_others": "cfg checkpoints",
        "pytorch_kaldi/test_importing.py::test_streams_side_by_side_keep_their_order_and_want_their_sizes": "dims",
        "pytorch_kaldi/test_importing.py::test_counts_become_priors_as_pytorch_kaldi_divides": "counts",
        "pytorch_kaldi/test_importing.py::test_a_data_set_normalises_the_inputs": "dataset",
        "pytorch_kaldi/test_importing.py::test_a_lang_dir_names_the_phones": "lang",
    },
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), ROOTS)
def test_without_a_change_the_same_is_seen_twice(kind, name):
    first, second = (KINDS[kind].observed(name, KINDS[kind].bases[name]) for _ in range(2))
    assert not any(differs(first[facet], second[facet], tolerance=0.0) for facet in first)


@pytest.mark.parametrize(("kind", "name", "option"), EVERY)
def test_every_option_changes_what_is_seen(kind, name, option, tmp_path):
    change = change_of(option, of_am.CHANGES)
    assert change is not None, f"state in options_of_am.CHANGES how {option.owner.__name__}.{option.name} is changed"
    usual, other = both_sides(KINDS[kind].bases[name], option, change, tmp_path)
    facet = change.shows or KINDS[kind].usual
    assert differs(seen(kind, name, usual)[facet], KINDS[kind].observed(name, other)[facet])


@cache
def seen(kind: str, name: str, usual: Any) -> dict[str, Any]:
    """What most options are compared with is looked at once."""
    return KINDS[kind].observed(name, usual)


@pytest.mark.parametrize("name", MODELS)
def test_the_chosen_model_is_built_from_its_own_section(name):
    assert {field.name for field in dataclasses.fields(HybridConfig)} == {"model"} | MODELS.keys()
    made = of_am.model_base(name)
    config = AcousticConfig(model=name, **{name: made}).hybrid
    with torch.device("meta"):
        [trunk] = [part for part in HybridModel(config, 30, 6, 3).children() if isinstance(part, MODELS[name][1])]
    assert trunk.output_dim in (made.units, 2 * made.units)


def test_as_many_speakers_are_held_out_as_asked():
    held = [set(hold_out(of_am.frame_set(12, 0), dev_speakers)[1].speakers) for dev_speakers in (1, 2)]
    assert [len(speakers) for speakers in held] == [1, 2]


def test_every_config_is_looked_at_or_proven_elsewhere():
    looked_at = {each.owner for kind, name in ROOTS for each in options(KINDS[kind].bases[name])}
    above = {owner for each in looked_at | {AcousticConfig, HybridConfig} for owner in each.__mro__}
    configs = {one for one in dataclasses_of(am, without=("_triton",)) if one.__name__.endswith(("Config", "Sources"))}
    assert configs - above == PROVEN.keys() - {Source}


@pytest.mark.parametrize("config", PROVEN, ids=lambda config: config.__name__)
def test_every_option_that_is_proven_elsewhere_is_named_in_its_proof(config):
    assert unproven(config, PROVEN[config], HERE) == set()
