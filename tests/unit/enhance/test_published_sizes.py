"""The sizes that papers and releases state, in the settings files that claim them, and in docs/enhancers.md."""

import re
from pathlib import Path

import pytest
import torch

from enhance.settings import build_generator, build_objective, load_settings
from enhance.survey import cost_of, markdown_table

ROOT = Path(__file__).parents[3]
PAPERS = sorted(path for path in (ROOT / "cfg" / "enhance").glob("*.yaml") if not path.stem.endswith("_toy"))
OF_GENERATORS = {
    "advanced_segan": 117_726_726, "aewsegan": 48_517_633, "demucs48": 18_867_937, "demucs64": 33_533_569,
    "demucs_valentini": 60_813_953, "finally_stage1": 77_004_982, "finally_stage2": 77_004_982,
    "finally_stage3": 80_857_271, "finally_stage3_pretrain": 80_857_271, "hifi_gan_v2": 928_514,
    "hifi_plusplus": 1_706_170, "hifi_plusplus_bwe": 1_706_170, "segan": 73_100_049, "segan_basic": 73_096_071,
    "segan_plus": 64_770_561, "wsegan": 64_770_561,
}  # fmt: skip
BOTH = 41_105_770 + 29_618_821  # multi-period and multi-scale
BIASES = 16 + 2 * (32 + 64 + 128 + 256) + 512 + 1024  # that AM_GAN's command line leaves out by default
GRADING = (2 * 25 + 1) * 15 + 3 * (15 * 25 + 1) * 15 + 16 * 50 + 51 * 10 + 11  # its layers in SpeechBrain
OF_CRITICS = {
    "advanced_segan": 24_373_082, "am_gan": 24_373_081 - BIASES, "finally_stage2": 1_866_250,
    "finally_stage3": 1_866_250, "hifi_gan_v1": BOTH, "hifi_gan_v2": BOTH, "hifi_gan_v3": BOTH,
    "hifi_plusplus": 29_618_821, "metricgan_compact": GRADING, "segan": 24_373_082, "segan_basic": 24_373_082,
    "segan_plus": 25_825_793,
}  # fmt: skip
WITHOUT = {"aewsegan", "compact_no_critic", "demucs48", "demucs64", "demucs_valentini", "finally_stage1",
           "finally_stage3_pretrain", "gatewave", "seae", "wave_u_net"}  # fmt: skip


def sizes_of(name):
    """Parameters of the generator, and of the critic or None."""
    settings = load_settings(ROOT / f"cfg/enhance/{name}.yaml")
    with torch.device("meta"):
        model = build_generator(settings)
        critic = build_objective(settings, model.sample_rate).critic
    return [None if net is None else sum(each.numel() for each in net.parameters()) for net in (model, critic)]


@pytest.mark.parametrize("name", OF_GENERATORS)
def test_settings_build_a_generator_of_the_published_size(name):
    assert sizes_of(name)[0] == OF_GENERATORS[name]


@pytest.mark.parametrize("name", OF_CRITICS)
def test_settings_build_a_critic_of_the_published_size(name):
    assert sizes_of(name)[1] == OF_CRITICS[name]


@pytest.mark.parametrize("name", sorted(WITHOUT))
def test_what_its_paper_trains_without_a_critic_has_none(name):
    assert sizes_of(name)[1] is None


def test_the_table_in_the_docs_is_what_the_verb_prints():
    """All of it but the measured speed, which every row has."""
    pytest.importorskip("transformers", reason="FINALLY's work is counted with its WavLM")
    printed = markdown_table(cost_of(path) for path in PAPERS).splitlines()[2:]
    stated = {row.split(" | ")[0]: row for row in rows_of("Size, work, latency, speed")}
    assert list(stated) == [line.split(" | ")[0] for line in printed]
    for line in printed:
        without_speed, speed = stated[line.split(" | ")[0]].removesuffix(" |").rsplit(" | ", 1)
        assert without_speed == line.removesuffix(" |")
        assert float(speed) > 0


def test_every_model_has_a_toy_beside_it():
    toys = {load_settings(path).model for path in (ROOT / "cfg/enhance").glob("*_toy.yaml")}
    assert {load_settings(path).model for path in PAPERS} == toys


def test_every_settings_file_is_explained_in_the_docs():
    named = {name for row in rows_of("What each one is") for name in names_in(row.split(" | ")[0].removeprefix("| "))}
    assert named == {path.stem for path in PAPERS}


def names_in(cell):
    """hifi_gan_v1, _v2 and finally_stage1, 2 are short for what has the first one's beginning."""
    first, *others = cell.split(", ")
    names = [first]
    for other in others:
        is_whole = (ROOT / f"cfg/enhance/{other}.yaml").is_file()
        names.append(other if is_whole else re.sub(r"(_v\d+|\d)$", "", first) + other)
    return names


def rows_of(title):
    """The rows of the table under a title, without its head."""
    text = (ROOT / "docs/enhancers.md").read_text(encoding="utf-8")
    section = text.split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    return [line for line in section.splitlines() if line.startswith("| ") and "---" not in line][1:]
