"""CNN and SincNet: windows, sizes, norms and the bands of the sinc filters (their equations: pytorch_kaldi/)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from am.models.cnn import CNN, CNNConfig
from am.models.packing import Packing
from am.models.sincnet import SincConv, SincNet, SincNetConfig

SMALL = {"filters": (4, 3), "widths": (5, 3), "pools": (2, 1), "layers": 1, "units": 6}


def test_sizes_are_those_of_the_published_systems():
    """pytorch-kaldi's TIMIT CNN on 11 x 40 filterbanks and its SincNet on 3200 samples, counted by hand."""
    with torch.device("meta"):
        cnn, sincnet = CNN(40, CNNConfig()), SincNet(3200, SincNetConfig())

    def dense(*widths):
        return sum(a * b + 2 * b for a, b in itertools.pairwise(widths))

    # 440 -> (440 - 9) // 3 = 143 -> (143 - 2) // 2 = 70 -> 68 numbers of 60 filters
    convolutions = 80 * (10 + 1) + 60 * (80 * 3 + 1) + 60 * (60 * 3 + 1) + 2 * (80 * 143 + 60 * 70 + 60 * 68)
    assert count(cnn) == convolutions + dense(60 * 68, 1024, 1024, 1024, 1024)
    # 3200 -> 1024 -> 340 -> 112 -> 55
    convolutions = 2 * 128 + 60 * (128 * 5 + 1) + 60 * (60 * 5 + 1) + 60 * (60 * 3 + 1)
    norms = 2 * (3200 + 128 * 1024 + 60 * 340 + 60 * 112 + 60 * 55)
    assert count(sincnet) == convolutions + norms + dense(60 * 55, 1024, 1024, 1024, 1024, 1024)


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_a_cnn_sees_its_window_and_no_further():
    torch.manual_seed(0)
    trunk = CNN(3, CNNConfig(context=2, **SMALL)).eval()
    sequence, packing = torch.randn(9, 3), Packing.of([9], directions=1)
    changed = sequence.clone()
    changed[6] += 1
    moved = (trunk(sequence, packing) != trunk(changed, packing)).any(1)
    assert moved.nonzero()[:, 0].tolist() == [4, 5, 6, 7, 8]


def test_input_norm_makes_the_window_deaf_to_level_and_offset():
    torch.manual_seed(0)
    rows, packing = torch.randn(5, 30), Packing.of([3, 2], directions=1)
    for wanted in (True, False):
        trunk = CNN(30, CNNConfig(context=0, input_norm=wanted, norm="none", **SMALL)).eval()
        same = torch.allclose(trunk(rows, packing), trunk(3 * rows + 1, packing), atol=1e-4)
        assert same is wanted


@pytest.mark.parametrize("option", ["conv_dropout", "dropout"])
def test_each_dropout_acts_in_training_and_only_there(option):
    torch.manual_seed(0)
    settings = {"conv_dropout": 0.0, "dropout": 0.0, option: 0.5}
    trunk = CNN(30, CNNConfig(context=0, norm="none", **settings, **SMALL))
    rows, packing = torch.randn(5, 30), Packing.of([3, 2], directions=1)
    assert not torch.equal(trunk(rows, packing), trunk(rows, packing))
    trunk.eval()
    assert torch.equal(trunk(rows, packing), trunk(rows, packing))


def test_a_window_that_the_convolutions_use_up_is_refused():
    with pytest.raises(ValueError, match="nothing of 4 numbers in convolution 2"):
        CNN(10, CNNConfig(context=0, filters=(4, 4), widths=(3, 5), pools=(2, 1)))


def test_sinc_filters_start_as_bands_side_by_side_on_the_mel_scale():
    conv = SincConv(20, 1025, SincNetConfig(min_low=0.0, min_band=1.0))
    with torch.no_grad():
        response = np.abs(np.fft.rfft(conv.filters()[:, 0].numpy().astype(np.float64), 16000))  # one bin a hertz
    mel = np.linspace(2595 * np.log10(1 + 30 / 700), 2595 * np.log10(1 + (8000 - 1) / 700), 21)
    edges = 700 * (10 ** (mel / 2595) - 1)
    for number in (5, 12, 19):
        inside = response[number, int(edges[number]) + 40 : int(edges[number + 1]) - 40]
        outside = np.concatenate(
            [response[number, : int(edges[number]) - 60], response[number, int(edges[number + 1]) + 60 :]]
        )
        assert inside.min() > 20 * outside.max()


def test_least_edges_and_rate_move_the_bands():
    def passed(**settings):
        conv = SincConv(1, 257, SincNetConfig(**settings))
        with torch.no_grad():
            conv.low.zero_()
            conv.band.zero_()
            response = np.abs(np.fft.rfft(conv.filters()[0, 0].numpy().astype(np.float64), 16000))
        return np.flatnonzero(response > response.max() / 2)

    assert passed(min_low=1000.0, min_band=1000.0)[[0, -1]] == pytest.approx([1000, 2000], abs=15)
    assert passed(min_low=1000.0, min_band=500.0)[[0, -1]] == pytest.approx([1000, 1500], abs=15)
    assert passed(min_low=1000.0, min_band=1000.0, sample_rate=8000)[[0, -1]] == pytest.approx([2000, 4000], abs=15)


def test_sinc_filters_learn_their_edges():
    torch.manual_seed(0)
    conv = SincConv(3, 33, SincNetConfig()).double()

    def run(low, band):
        return torch.func.functional_call(conv, {"low": low, "band": band}, (torch.ones(1, 1, 40).double(),))

    assert torch.autograd.gradcheck(run, (conv.low, conv.band), eps=1e-7, atol=1e-4)
