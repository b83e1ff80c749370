import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import torch

from enhance.layers.bands import band_matrices
from enhance.layers.dual_path import DualPath
from enhance.layers.emphasis import de_emphasis, pre_emphasis
from enhance.layers.spectrum import Spectrum
from enhance.layers.strided import Down

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("samples", [1, 255, 256, 257, 5000])
def test_analysis_then_synthesis_gives_the_same_samples(samples):
    signal = torch.randn(2, samples)
    layer = Spectrum(256)
    spectrum = layer(signal)
    assert spectrum.shape == (2, -(-samples // 256) + 1, 257)
    torch.testing.assert_close(layer.inverse(spectrum, samples), signal, atol=1e-5, rtol=0)


def test_a_frame_is_the_windowed_fourier_transform_of_two_hops():
    signal = np.random.default_rng(0).standard_normal(1024).astype(np.float32)
    window = np.sqrt(scipy.signal.get_window("hann", 512))
    truth = np.fft.rfft(signal[256:768] * window)
    ours = Spectrum(256)(torch.from_numpy(signal)[None])[0, 2].numpy()
    np.testing.assert_allclose(ours, truth, atol=1e-4)


def test_bands_keep_a_constant_both_ways():
    to_bands, to_bins = band_matrices(257, 65, 64, 16000)
    torch.testing.assert_close(torch.ones(257) @ to_bands, torch.ones(129))
    torch.testing.assert_close(torch.ones(129) @ to_bins, torch.ones(257))


def test_bands_without_a_bin_are_refused():
    with pytest.raises(ValueError, match=r"leaves bands without a bin|must fit into"):
        band_matrices(65, 5, 59, 16000)


def test_emphasis_is_the_filter_and_its_inverse_of_scipy():
    signal = np.random.default_rng(1).standard_normal(3001)
    ours = pre_emphasis(torch.from_numpy(signal)[None], 0.95)
    np.testing.assert_allclose(ours[0], scipy.signal.lfilter([1, -0.95], [1], signal), atol=1e-12)
    back = de_emphasis(torch.from_numpy(signal)[None], 0.95)
    np.testing.assert_allclose(back[0], scipy.signal.lfilter([1], [1, -0.95], signal), atol=1e-10)


def test_de_emphasis_goes_on_where_the_block_before_ended():
    signal = torch.randn(1, 1000, dtype=torch.float64)
    whole = de_emphasis(signal, 0.95)
    first = de_emphasis(signal[:, :700], 0.95)
    rest = de_emphasis(signal[:, 700:], 0.95, first[:, -1])
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole)


def test_a_dual_path_with_its_state_handed_over_equals_the_whole():
    layer = DualPath(8, 5).eval()
    hidden = torch.randn(2, 11, 5, 8)
    whole, _ = layer(hidden)
    first, state = layer(hidden[:, :4])
    rest, _ = layer(hidden[:, 4:], state)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), whole, atol=1e-6, rtol=0)


def test_a_transposed_convolution_from_many_channels_to_few_is_right_and_leaves_the_memory_alone():
    program = """
import torch
from enhance.layers.strided import Up
torch.set_num_threads(1)
for few, stride, bias in ((51, 2, True), (1, 4, False)):
    torch.manual_seed(0)
    up, hidden = Up(2048, few, 31, stride, bias=bias), torch.randn(2, 2048, 16, requires_grad=True)
    out = up(hidden)
    out.square().sum().backward()
    double = torch.nn.functional.conv_transpose1d(
        hidden.detach().double(), up.weight.detach().double(), None if up.bias is None else up.bias.double(), stride
    )
    torch.testing.assert_close(out, double[..., up.lead : up.lead + 16 * stride].float(), rtol=1e-4, atol=1e-4)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_convolution_to_many_more_channels_is_that_of_torch():
    down = Down(3, 300, 31, 4)
    hidden = torch.randn(2, 3, 64)
    padded = torch.nn.functional.pad(hidden, (down.lead, down.tail))
    expected = torch.nn.functional.conv1d(padded, down.weight, down.bias, 4)
    torch.testing.assert_close(down(hidden), expected, rtol=1e-4, atol=1e-5)
