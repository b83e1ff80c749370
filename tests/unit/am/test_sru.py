"""The SRU: gradients, dropout and the start of a training (its equations: pytorch_kaldi/)."""

from __future__ import annotations

import math

import pytest
import torch

from am.models.packing import Packing, unpack
from am.models.sru import SRU, SRUConfig


@pytest.mark.parametrize("input_dim", [2, 6])  # 6: as wide as the output, so that the highway passes the input itself
def test_gradients_of_ragged_batches_equal_finite_differences(input_dim):
    torch.manual_seed(0)
    layer = SRU(input_dim, SRUConfig(layers=1, units=3, projection=0)).double().eval().layers[0]
    packing = Packing.of([4, 2, 2, 1])
    rows = torch.randn(9, input_dim, dtype=torch.float64, requires_grad=True)

    def run(rows, *weights):
        names = ("weight", "gate_weight", "gate_bias")
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (rows, packing))

    assert torch.autograd.gradcheck(run, (rows, layer.weight, layer.gate_weight, layer.gate_bias), atol=1e-6)


def test_size_is_that_of_the_published_system():
    """4 x 550 with 256 between, on 40 features: counted from the terms of the paper, by hand."""
    with torch.device("meta"):
        trunk = SRU(40, SRUConfig())
    gates = 2 * 2 * 2 * 550  # weights and biases of two gates in two directions
    first = 40 * 2 * 550 * 4 + gates  # wider than its input: no projection, and a fourth term for the highway
    later = 1100 * 256 + 256 * 2 * 550 * 3 + gates
    assert sum(parameter.numel() for parameter in trunk.parameters()) == first + 3 * later
    assert trunk.output_dim == 1100


def test_input_dropout_masks_the_products_of_a_whole_sequence():
    layer = SRU(4, SRUConfig(layers=1, units=3, dropout=0.0, input_dropout=0.5)).layers[0]
    packing = Packing.of([5, 3])
    rows = torch.randn(8, 4)
    torch.manual_seed(2)
    dropped = layer(rows, packing)
    torch.manual_seed(2)
    mask = (torch.rand(2, 4) >= 0.5) / 0.5
    assert torch.allclose(dropped, layer.eval()(rows * mask[packing.sequence], packing), atol=1e-6)


def test_dropout_silences_a_unit_for_a_whole_sequence_but_not_in_the_last_layer():
    torch.manual_seed(0)
    trunk = SRU(4, SRUConfig(layers=2, units=64, dropout=0.5, input_dropout=0.0, bidirectional=False))
    packing = Packing.of([9, 5], directions=1)
    for layer in trunk.layers:
        layer.gate_bias.data[1] = 1000.0  # r = 1: the output is g(c) alone
        states = unpack(
            layer(torch.randn(14, layer.weight.shape[0] if layer.projection is None else 64), packing), packing
        )
        dropped = [state == 0 for state in states]
        assert all(torch.equal(one, one[:1].expand_as(one)) for one in dropped)
        share = torch.cat([one[0] for one in dropped]).float().mean()
        assert 0.3 < share < 0.7 if layer is trunk.layers[0] else share == 0


def test_rescaling_starts_the_highway_at_the_papers_factor():
    scaled, plain = (SRU(4, SRUConfig(layers=1, units=2, highway_bias=-2.0, rescale=one)).layers[0] for one in (1, 0))
    assert scaled.highway_scale.item() == pytest.approx(math.sqrt(1 + 2 * math.exp(-2)))
    assert plain.highway_scale.item() == 1
    assert torch.equal(scaled.gate_bias[1], torch.full((2, 2), -2.0))
    assert torch.equal(scaled.gate_bias[0], torch.zeros(2, 2))


def test_terms_start_with_the_variance_of_their_input():
    torch.manual_seed(0)
    config = SRUConfig(layers=1, units=300, dropout=0.0, input_dropout=0.0, projection=0)
    layer = SRU(200, config).layers[0]
    variance = layer.weight.view(200, -1, 4).var((0, 1)) * 200
    assert torch.allclose(variance, torch.tensor([1.0, 0.5, 0.5, 1 + 2 * math.exp(-1)]), atol=0.02)


def test_a_projection_that_would_not_narrow_is_left_out():
    layers = SRU(4, SRUConfig(units=6, projection=5)).layers
    assert layers[0].projection is None
    assert layers[1].projection.shape == (12, 5)
