"""Every trunk of the table, the two heads, and checkpoints."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from am.config import AcousticConfig
from am.models import MODELS
from am.models.gru import GRU, GRUConfig
from am.models.hybrid import CHECKPOINT_KIND, HybridConfig, HybridModel, hybrid_loss, load_model, model_state
from am.models.lstm import LSTM, LSTMConfig
from am.models.mlp import MLP, MLPConfig
from am.models.packing import Packing, pack, unpack
from harness.checkpoint import load_checkpoint, save_checkpoint
from harness.config import load_config
from harness.errors import CheckpointError, ConfigError

CONFIGS = sorted((Path(__file__).resolve().parents[3] / "cfg" / "am").glob("*.yaml"))


SHORT = {"filters": (4, 3), "widths": (5, 3), "pools": (2, 1), "conv_dropout": 0.0, "context": 2}
SMALL = {"sru": {"input_dropout": 0.0, "projection": 5}, "cnn": SHORT, "sincnet": SHORT}


def small(name: str) -> HybridConfig:
    config_class, _ = MODELS[name]
    return HybridConfig(model=name, **{name: config_class(layers=2, units=12, dropout=0.0, **SMALL.get(name, {}))})


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lengths", [[1, 1], [9, 7, 3], [5]])
def test_every_model_keeps_frames_at_odd_lengths_and_batch_one(name, lengths):
    model = HybridModel(small(name), 6, 11, 4)
    packing = Packing.of(lengths, directions=model.directions)
    pdfs, phones = model(torch.randn(sum(lengths), 6), packing)
    assert pdfs.shape == (sum(lengths), 11)
    assert phones.shape == (sum(lengths), 4)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_overfits_one_batch(name):
    torch.manual_seed(0)
    model = HybridModel(small(name), 6, 5, 3)
    packing = Packing.of([14, 9, 6], directions=model.directions)
    rows, pdfs = torch.randn(packing.frames, 6), torch.randint(5, (packing.frames,))
    phones = pdfs % 3
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    for _ in range(120):
        loss, _, _ = hybrid_loss(model(rows, packing), pdfs, phones, 1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * (math.log(5) + math.log(3))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_scores_an_utterance_the_same_alone_and_in_a_batch(name):
    torch.manual_seed(0)
    model = HybridModel(small(name), 6, 5, 3).eval()
    sequences = [torch.randn(n, 6) for n in (8, 5)]
    packing = Packing.of([8, 5], directions=model.directions)
    with torch.no_grad():
        together = unpack(model.log_likelihoods(pack(sequences), packing), packing)
        alone = model.log_likelihoods(sequences[1], Packing.of([5], directions=model.directions))
    assert torch.allclose(together[1], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("trunk_class", "config_class", "reference"), [(LSTM, LSTMConfig, nn.LSTM), (GRU, GRUConfig, nn.GRU)]
)
def test_baselines_equal_torchs_bidirectional_stacks_on_packed_sequences(trunk_class, config_class, reference):
    torch.manual_seed(0)
    trunk = trunk_class(4, config_class(layers=2, units=5, dropout=0.0))
    theirs = reference(4, 5, 2, bidirectional=True)
    theirs.load_state_dict(
        {
            f"{name}_l{number}{'_reverse' * direction}": weight
            for number, layer in enumerate(trunk.layers)
            for direction, cell in enumerate(layer)
            for name, weight in ((full.removesuffix("_l0"), value) for full, value in cell.state_dict().items())
        }
    )
    sequences = [torch.randn(n, 4) for n in (6, 3, 1)]
    expected = theirs(torch.nn.utils.rnn.pack_sequence(sequences))[0].data
    assert torch.allclose(trunk(pack(sequences), Packing.of([6, 3, 1])), expected, atol=1e-6)


def test_mlp_sees_its_window_and_no_further():
    torch.manual_seed(0)
    trunk = MLP(3, MLPConfig(layers=1, units=6, context=2)).eval()
    sequence, packing = torch.randn(9, 3), Packing.of([9], directions=1)
    changed = sequence.clone()
    changed[6] += 1
    moved = (trunk(sequence, packing) != trunk(changed, packing)).any(1)
    assert moved.nonzero()[:, 0].tolist() == [4, 5, 6, 7, 8]


def test_loss_is_the_weighted_sum_of_two_cross_entropies():
    logits = (torch.zeros(4, 8), torch.zeros(4, 2))
    loss, pdf_loss, phone_loss = hybrid_loss(logits, torch.zeros(4).long(), torch.ones(4).long(), 0.5)
    assert pdf_loss.item() == pytest.approx(math.log(8))
    assert phone_loss.item() == pytest.approx(math.log(2))
    assert loss.item() == pytest.approx(math.log(8) + 0.5 * math.log(2))


def test_log_likelihoods_are_posteriors_over_priors():
    model = HybridModel(small("mlp"), 6, 5, 3).eval()
    model.log_priors.copy_(torch.tensor([0.1, 0.2, 0.3, 0.2, 0.2]).log())
    rows, packing = torch.randn(4, 6), Packing.of([4], directions=1)
    with torch.no_grad():
        scores = model.log_likelihoods(rows, packing)
    assert torch.allclose((scores + model.log_priors).exp().sum(1), torch.ones(4), atol=1e-5)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_builds(path):
    config = load_config(AcousticConfig, path)
    samples_or_features = 400 if config.model == "sincnet" else 40
    with torch.device("meta"):
        model = HybridModel(config.hybrid, samples_or_features, 100, 40)
    assert sum(parameter.numel() for parameter in model.parameters()) > 10_000
    assert path.stem.startswith(config.model)


def test_shipped_configs_cover_every_model_of_the_table():
    assert {load_config(AcousticConfig, path).model for path in CONFIGS} == MODELS.keys()


@pytest.mark.parametrize("name", MODELS)
def test_the_table_of_models_has_the_size_of_every_trunk(name):
    config = load_config(AcousticConfig, CONFIGS[0].with_name(f"{name}_paper.yaml"))
    with torch.device("meta"):
        model = HybridModel(config.hybrid, 3200 if name == "sincnet" else 40, 2, 2)
    size = sum(parameter.numel() for parameter in model.trunk.parameters())
    table = (CONFIGS[0].parents[2] / "docs" / "acoustic_models.md").read_text(encoding="utf-8")
    row = next(line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
    assert row.split("|")[3].strip() == f"{size:,}"


def test_a_section_of_another_model_is_refused(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("model: gru\nligru:\n  units: 8\n")
    with pytest.raises(ConfigError, match="section ligru is set but the model is gru"):
        load_config(AcousticConfig, path)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("ligru", "dropout", 1.0),
        ("ligru", "units", 0),
        ("lstm", "dropout", -0.1),
        ("gru", "layers", 0),
        ("mlp", "context", -1),
        ("minimal_gru", "layers", 0),
        ("normed_gru", "dropout", 1.0),
        ("normed_lstm", "norm_momentum", 0.0),
        ("sru", "projection", -1),
        ("sru", "input_dropout", 1.0),
        ("cnn", "context", -1),
        ("cnn", "filters", (80, 60)),
        ("cnn", "pools", (3, 0, 1)),
        ("cnn", "conv_dropout", 1.0),
        ("sincnet", "widths", (128, 5, 5, 3)),
        ("sincnet", "min_band", 0.0),
        ("sincnet", "sample_rate", 250),
    ],
)
def test_impossible_settings_are_refused_at_birth(name, key, value):
    with pytest.raises(ValueError, match=key):
        MODELS[name][0](**{key: value})


def saved(path: Path) -> HybridModel:
    torch.manual_seed(0)
    model = HybridModel(small("ligru"), 6, 5, 3)
    inputs = {"streams": ["feats:6"], "speaker_norm": "none", "num_pdfs": 5}
    save_checkpoint(path, CHECKPOINT_KIND, model_state(model, ("SIL", "A", "B"), inputs))
    return model


def test_a_checkpoint_rebuilds_the_same_model(tmp_path):
    model = saved(tmp_path / "best.pt").eval()
    again, state = load_model(tmp_path / "best.pt")
    rows, packing = torch.randn(7, 6), Packing.of([4, 3])
    assert torch.equal(model(rows, packing)[0], again(rows, packing)[0])
    assert state["phones"] == ["SIL", "A", "B"]


def test_a_corrupt_checkpoint_is_named(tmp_path):
    saved(tmp_path / "best.pt")
    whole = (tmp_path / "best.pt").read_bytes()
    (tmp_path / "best.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"best\.pt"):
        load_model(tmp_path / "best.pt")


def test_weights_of_another_size_are_refused_by_name(tmp_path):
    saved(tmp_path / "best.pt")
    state = load_checkpoint(tmp_path / "best.pt", CHECKPOINT_KIND)
    state["num_pdfs"] = 6
    save_checkpoint(tmp_path / "best.pt", CHECKPOINT_KIND, state)
    with pytest.raises(CheckpointError, match=r"misshapen .*pdf_head"):
        load_model(tmp_path / "best.pt")


def test_a_checkpoint_of_another_kind_is_refused(tmp_path):
    save_checkpoint(tmp_path / "other.pt", "enhance", {"weights": {}})
    with pytest.raises(CheckpointError, match="'enhance'"):
        load_model(tmp_path / "other.pt")
