"""Every option changes something that can be seen; a new option without its line in a table fails here."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hmm
from hmm.g2p import G2PConfig
from hmm.gmm import UpdateConfig
from hmm.graph import GraphConfig
from hmm.ladder import train_ladder
from hmm.ladder_config import LadderConfig
from hmm.lang import LangConfig
from hmm.make_dict import MakeDictConfig
from kaldi_bridge.tables import MatrixWriter, read_matrix_scp
from tests.options_walk import both_sides, change_of, dataclasses_of, differs, options, unproven
from tests.unit.hmm import options_of_hmm as of_hmm
from tests.unit.hmm.options_of_hmm import Places

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Kind:
    """Options that are looked at in one way.  observed: (config, places) -> what can be seen, by facet."""

    base: Any
    observed: Callable[[Any, Places], dict[str, Any]]
    usual: str = "files"  # the facet that must change where no other is stated
    part: str = ""  # of the base: only the options below it
    elsewhere: str = "-"  # options below it are looked at in another kind


KINDS = {
    "mono": Kind(of_hmm.LADDER, of_hmm.of_ladder("mono", "mono"), part="mono."),
    "deltas": Kind(of_hmm.LADDER, of_hmm.of_ladder("tri1", "tri1"), part="deltas."),
    "lda_mllt": Kind(of_hmm.LADDER, of_hmm.of_ladder("tri2b", "tri2b"), part="lda_mllt."),
    "sat": Kind(of_hmm.LADDER, of_hmm.of_ladder("tri3b", "tri3b"), part="sat."),
    "align": Kind(of_hmm.LADDER, of_hmm.of_ladder("mono", "mono_ali"), part="align."),
    "align_fmllr": Kind(of_hmm.ALIGN_FMLLR, of_hmm.observed_adapted_alignment, part="fmllr."),
    "update": Kind(UpdateConfig(), of_hmm.observed_update, "model"),
    "decode": Kind(of_hmm.DECODE, of_hmm.observed_decoding, "lattice"),
    "decode_gmm": Kind(of_hmm.DECODE_GMM, of_hmm.observed_gmm_decoding, elsewhere="decode.prune"),
    "graph": Kind(GraphConfig(), of_hmm.observed_graph),
    "lang": Kind(LangConfig(), of_hmm.observed_lang),
    "dict": Kind(MakeDictConfig(), of_hmm.observed_dict),
}
EVERY = [
    pytest.param(name, option, id=f"{name} {option.path}")
    for name, kind in KINDS.items()
    for option in options(kind.base)
    if option.path.startswith(kind.part) and not option.path.startswith(kind.elsewhere)
]
PROVEN = {
    G2PConfig: {
        "test_g2p.py::test_variants_and_rare_words_follow_the_settings": "variants min_count",
        "test_g2p.py::test_longer_contexts_know_more_of_what_goes_together": "order",
    },
}


@pytest.fixture(scope="module")
def places(golden_dir, golden_part, tmp_path_factory):
    train, test, exp = golden_part("train", 4), golden_part("test", 4), tmp_path_factory.mktemp("exp")
    feats = {name: np.array(matrix) for name, matrix in read_matrix_scp(test / "feats.scp").items()}
    feats[max(feats)] *= 1.0e30  # no likelihood is finite
    with MatrixWriter(test / "feats.ark", test / "feats.scp") as writer:
        for name in sorted(feats):
            writer.write(name, feats[name])
    train_ladder(train, golden_dir / "data/lang", exp, of_hmm.LADDER)
    return Places(golden_dir, train, test, exp, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def seen(places):
    """What most options are compared with is looked at once."""
    found: dict[Any, Any] = {}

    def look(name, config):
        if (name, config) not in found:
            found[name, config] = KINDS[name].observed(config, places)
        return found[name, config]

    return look


@pytest.mark.parametrize("name", KINDS)
def test_without_a_change_the_same_is_seen_twice(name, places, seen):
    first, second = seen(name, KINDS[name].base), KINDS[name].observed(KINDS[name].base, places)
    assert not any(differs(first[facet], second[facet], tolerance=0.0) for facet in first)


@pytest.mark.parametrize(("name", "option"), EVERY)
def test_every_option_changes_what_is_seen(name, option, places, seen, tmp_path):
    change = change_of(option, of_hmm.CHANGES)
    assert change is not None, f"state in options_of_hmm.CHANGES how {option.owner.__name__}.{option.name} is changed"
    usual, other = both_sides(KINDS[name].base, option, change, tmp_path)
    facet = change.shows or KINDS[name].usual
    assert differs(seen(name, usual)[facet], KINDS[name].observed(other, places)[facet])


def test_every_option_of_the_ladder_is_looked_at_in_its_rung():
    parts = {kind.part.rstrip(".") for kind in KINDS.values() if kind.base is of_hmm.LADDER}
    assert parts == {field.name for field in dataclasses.fields(LadderConfig)}


def test_every_config_is_looked_at_or_proven_elsewhere():
    looked_at = {option.owner for kind in KINDS.values() for option in options(kind.base)} | {LadderConfig}
    above = {owner for each in looked_at for owner in each.__mro__}
    configs = {one for one in dataclasses_of(hmm) if one.__name__.endswith("Config")}
    assert configs - above == PROVEN.keys()


@pytest.mark.parametrize("config", PROVEN, ids=lambda config: config.__name__)
def test_every_option_that_is_proven_elsewhere_is_named_in_its_proof(config):
    assert unproven(config, PROVEN[config], HERE) == set()
