"""The batch-normalised GRU and LSTM and the minimal GRU: their training side (their equations: pytorch_kaldi/)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from am.models.normed_recurrent import MinimalGRU, NormedGRU, NormedLSTM, NormedRecurrentConfig
from am.models.packing import Packing, pack, unpack

TRUNKS = [MinimalGRU, NormedGRU, NormedLSTM]


@pytest.mark.parametrize("trunk_class", TRUNKS)
@pytest.mark.parametrize("changes", [{}, {"bidirectional": False, "state_norm": True}])
def test_gradients_of_ragged_batches_equal_finite_differences(trunk_class, changes):
    torch.manual_seed(0)
    config = NormedRecurrentConfig(layers=1, units=3, dropout=0.2, batch_norm=False, **changes)
    layer = trunk_class(2, config).double().eval().layers[0]
    packing = Packing.of([4, 2, 2, 1], directions=2 if config.bidirectional else 1)
    rows = torch.randn(9, 2, dtype=torch.float64, requires_grad=True)

    def run(rows, feedforward, recurrent):
        weights = {"feedforward": feedforward, "recurrent": recurrent}
        return torch.func.functional_call(layer, weights, (rows, packing))

    assert torch.autograd.gradcheck(run, (rows, layer.feedforward, layer.recurrent), atol=1e-6)


@pytest.mark.parametrize(("trunk_class", "gates"), [(MinimalGRU, 2), (NormedGRU, 3), (NormedLSTM, 4)])
def test_sizes_are_those_of_the_published_systems(trunk_class, gates):
    """The published Li-GRU of two gates has 7,920,000 used parameters on 40 features; every gate costs its half."""
    with torch.device("meta"):
        trunk = trunk_class(40, NormedRecurrentConfig())
    assert sum(parameter.numel() for parameter in trunk.parameters()) == 7_920_000 // 2 * gates
    assert trunk.output_dim == 1100


@pytest.mark.parametrize("trunk_class", TRUNKS)
def test_dropout_silences_a_unit_for_a_whole_sequence_and_scales_it_at_test(trunk_class):
    torch.manual_seed(1)
    layer = trunk_class(3, NormedRecurrentConfig(units=64, dropout=0.5, bidirectional=False)).layers[0]
    packing = Packing.of([12, 12, 7], directions=1)
    rows = torch.randn(packing.frames, 3)
    dropped = [state == 0 for state in unpack(layer(rows, packing), packing)]
    for one in dropped:
        assert torch.equal(one, one[:1].expand_as(one))
        assert 0.2 < one[0].float().mean() < 0.8
    assert not torch.equal(dropped[0][0], dropped[1][0])
    assert not (layer.eval()(rows, packing) == 0).any()


@pytest.mark.parametrize("trunk_class", TRUNKS)
def test_batch_norm_counts_every_real_frame_once(trunk_class):
    torch.manual_seed(0)
    layer = trunk_class(3, NormedRecurrentConfig(units=4, norm_momentum=0.25)).layers[0]
    sequences = [torch.randn(n, 3) for n in (6, 4, 1)]
    layer(pack(sequences), Packing.of([6, 4, 1]))
    terms = torch.cat(sequences) @ layer.feedforward.T
    assert torch.allclose(layer.norm.running_mean, 0.25 * terms.mean(0).repeat(1), atol=1e-6)
    assert isinstance(layer.norm, nn.BatchNorm1d)
    assert layer.bias is None


def test_layers_without_any_norm_have_biases():
    layer = NormedGRU(3, NormedRecurrentConfig(units=4, batch_norm=False)).layers[0]
    assert layer.bias.shape == (12,)


@pytest.mark.parametrize("trunk_class", TRUNKS)
def test_recurrent_weights_start_orthogonal(trunk_class):
    layer = trunk_class(3, NormedRecurrentConfig(units=6)).layers[0]
    for gate in layer.recurrent.split(6, 1):
        assert torch.allclose(gate @ gate.T, torch.eye(6), atol=1e-5)


def test_a_packing_for_another_number_of_directions_is_refused():
    trunk = MinimalGRU(3, NormedRecurrentConfig(layers=1, units=4))
    with pytest.raises(ValueError, match="1 directions, the model 2"):
        trunk(torch.randn(2, 3), Packing.of([2], directions=1))
