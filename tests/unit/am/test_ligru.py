"""The Li-GRU against its published equations, autograd, finite differences and published sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from am.models.ligru import LiGRU, LiGRUConfig, LiGRULayer
from am.models.ligru_step import ligru_recurrence
from am.models.packing import Packing, pack, unpack

RAGGED = [7, 5, 5, 2, 1]


def equations(
    projected: list[Tensor], recurrent: Tensor, masks: Tensor | None, directions: int, units: int
) -> list[Tensor]:
    """Eq. 6 of arXiv:1803.10225 one sequence, direction and frame at a time; [length, directions * units] each."""
    groups, outputs = recurrent.shape[0], []
    for number, sequence in enumerate(projected):
        columns = []
        for direction in range(directions):
            group = direction % groups
            terms = sequence.view(len(sequence), groups, 2 * units)[:, group]
            terms = terms.flip(0) if direction == 1 else terms
            state, states = torch.zeros(units, dtype=sequence.dtype), []
            for term in terms:
                update = torch.sigmoid(term[units:] + state @ recurrent[group][:, units:])
                candidate = torch.relu(term[:units] + state @ recurrent[group][:, :units])
                if masks is not None:
                    candidate = candidate * masks[direction, number]
                state = update * state + (1 - update) * candidate
                states.append(state)
            column = torch.stack(states)
            columns.append(column.flip(0) if direction == 1 else column)
        outputs.append(torch.cat(columns, 1))
    return outputs


def drawn(directions: int, groups: int, units: int, lengths: list[int]) -> tuple[list[Tensor], Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    projected = [torch.randn(n, groups * 2 * units, dtype=torch.float64, generator=generator) for n in lengths]
    recurrent = torch.randn(groups, units, 2 * units, dtype=torch.float64, generator=generator) / units**0.5
    masks = (torch.rand(directions, len(lengths), units, generator=generator) > 0.3).double() / 0.7
    return projected, recurrent, masks


@pytest.mark.parametrize(("directions", "groups"), [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("dropout", [False, True])
def test_packed_recurrence_equals_the_published_equations_and_their_autograd(directions, groups, dropout):
    units = 4
    projected, recurrent, masks = drawn(directions, groups, units, RAGGED)
    packing = Packing.of(RAGGED, directions=directions)
    rows, weights = pack(projected).requires_grad_(), recurrent.clone().requires_grad_()
    mask = masks.view(-1, units) if dropout else None
    ours = ligru_recurrence(rows, weights, mask, 1 / 0.7 if dropout else 1.0, packing)
    loss_weights = torch.linspace(-1, 1, ours.numel(), dtype=torch.float64).view_as(ours)
    (ours * loss_weights).sum().backward()

    plain_rows = [one.clone().requires_grad_() for one in projected]
    plain_weights = recurrent.clone().requires_grad_()
    plain = pack(equations(plain_rows, plain_weights, masks if dropout else None, directions, units))
    (plain * loss_weights).sum().backward()

    assert torch.allclose(ours, plain, atol=1e-13)
    assert torch.allclose(rows.grad, pack([one.grad for one in plain_rows]), atol=1e-12)
    assert torch.allclose(weights.grad, plain_weights.grad, atol=1e-12)


@pytest.mark.parametrize(("directions", "groups"), [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("lengths", [[6], [4, 4, 4], RAGGED, [1, 1]])
def test_hand_derived_backward_equals_finite_differences(directions, groups, lengths):
    units = 3
    projected, recurrent, masks = drawn(directions, groups, units, lengths)
    packing = Packing.of(lengths, directions=directions)
    rows = pack(projected).requires_grad_()
    weights = recurrent.requires_grad_()

    def run(some_rows: Tensor, some_weights: Tensor) -> Tensor:
        return ligru_recurrence(some_rows, some_weights, masks.view(-1, units), 1 / 0.7, packing)

    assert torch.autograd.gradcheck(run, (rows, weights), eps=1e-6, atol=1e-6)


def test_sizes_are_those_of_the_published_system():
    """pytorch-kaldi's 5 x 550 bidirectional Li-GRU on 40 features: 7,925,500 parameters, 5,500 of them never used."""
    trunk = LiGRU(40, LiGRUConfig())
    assert sum(parameter.numel() for parameter in trunk.parameters()) == 7_925_500 - 5_500
    assert trunk.output_dim == 1100


def test_recurrent_weights_start_orthogonal_and_feedforward_ones_within_the_fan_in():
    layer = LiGRULayer(25, LiGRUConfig(units=12, tied_directions=False))
    for group in layer.recurrent:
        for gate in group.split(12, dim=1):
            assert torch.allclose(gate @ gate.T, torch.eye(12), atol=1e-5)
    assert layer.feedforward.abs().max() <= 0.2
    assert layer.feedforward.abs().max() > 0.19


def test_batch_norm_acts_on_the_feedforward_terms_over_real_frames_only():
    torch.manual_seed(0)
    layer = LiGRULayer(6, LiGRUConfig(units=5, dropout=0.0))
    sequences = [torch.randn(n, 6) for n in (9, 4, 2)]
    rows, packing = pack(sequences), Packing.of([9, 4, 2])
    output = layer(rows, packing)
    projected = torch.cat(sequences) @ layer.feedforward.T
    normed = [
        (s @ layer.feedforward.T - projected.mean(0)) / (projected.var(0, unbiased=False) + 1e-5).sqrt()
        for s in sequences
    ]
    expected = equations(normed, layer.recurrent, None, 2, 5)
    assert torch.allclose(output, pack(expected), atol=1e-5)


def test_dropout_draws_one_mask_per_sequence_and_keeps_it_over_time():
    torch.manual_seed(1)
    config = LiGRUConfig(units=64, dropout=0.5, tied_directions=False, bidirectional=False)
    layer = LiGRULayer(3, config)
    with torch.no_grad():
        layer.recurrent.zero_()
        layer.norm.bias[:64] = 4.0  # candidates are positive at every frame unless they are dropped
    packing = Packing.of([12, 12, 7], directions=1)
    states = unpack(layer(torch.randn(packing.frames, 3), packing), packing)
    dropped = [state == 0 for state in states]
    for one in dropped:
        assert torch.equal(one, one[:1].expand_as(one))
        assert 0.2 < one[0].float().mean() < 0.8
    assert not torch.equal(dropped[0][0], dropped[1][0])


def test_an_utterance_scores_the_same_alone_and_in_a_batch():
    torch.manual_seed(0)
    trunk = LiGRU(6, LiGRUConfig(layers=2, units=7)).eval()
    sequences = [torch.randn(n, 6) for n in (11, 8, 3)]
    with torch.no_grad():
        together = unpack(trunk(pack(sequences), Packing.of([11, 8, 3])), Packing.of([11, 8, 3]))
        alone = [trunk(one, Packing.of([len(one)])) for one in sequences]
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_directions_with_tied_weights_mirror_each_other():
    torch.manual_seed(0)
    trunk = LiGRU(4, LiGRUConfig(layers=1, units=5)).eval()
    sequence, packing = torch.randn(9, 4), Packing.of([9])
    forwards, backwards = trunk(sequence, packing), trunk(sequence.flip(0), packing)
    assert torch.allclose(forwards[:, :5], backwards.flip(0)[:, 5:], atol=1e-6)


def test_packing_equals_the_layout_of_torch_packed_sequences():
    sequences = [torch.randn(n, 2) for n in RAGGED]
    packed = torch.nn.utils.rnn.pack_sequence(sequences)
    packing = Packing.of(RAGGED)
    assert torch.equal(pack(sequences), packed.data)
    assert torch.equal(packing.batch_sizes, packed.batch_sizes)
    for one, other in zip(unpack(packed.data, packing), sequences, strict=True):
        assert torch.equal(one, other)


def test_neighbour_rows_repeat_the_ends_of_each_sequence():
    sequences = [torch.arange(n).float()[:, None] for n in (5, 3)]
    packing = Packing.of([5, 3])
    shifted = unpack(pack(sequences)[packing.neighbour_rows(-2)], packing)
    assert [one[:, 0].tolist() for one in shifted] == [[0, 0, 0, 1, 2], [0, 0, 0]]


@pytest.mark.parametrize(("lengths", "words"), [([3, 4], "longest first"), ([], "not empty"), ([2, 0], "at least 1")])
def test_packing_refuses_lengths_it_cannot_lay_out(lengths, words):
    with pytest.raises(ValueError, match=words):
        Packing.of(lengths)


def test_a_packing_for_other_directions_is_refused():
    trunk = LiGRU(3, LiGRUConfig(layers=1, units=4))
    with pytest.raises(ValueError, match="packing has 1 directions, the model 2"):
        trunk(torch.zeros(2, 3), Packing.of([2], directions=1))


def test_torch_relu_gradient_at_zero_is_ours():
    """A candidate of exactly 0 passes no gradient, as torch's relu has it."""
    at_zero = torch.zeros(1, requires_grad=True)
    functional.relu(at_zero).sum().backward()
    rows = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    weights = torch.zeros(1, 1, 2, dtype=torch.float64)
    ligru_recurrence(rows, weights, None, 1.0, Packing.of([1], directions=1)).sum().backward()
    assert rows.grad[0, 0] == at_zero.grad[0] == 0
