import numpy as np
import pytest
import torch
from torch import nn

from enhance.layers.attention import LocalAttention
from enhance.layers.latent import latent_noise
from enhance.layers.octave import Octave, slow_channels
from enhance.layers.strided import Down, Up, UpNearest


def randn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_down_pads_as_tensorflow_and_up_is_its_transpose():
    down, up = Down(2, 3, 31, 2, bias=False), Up(3, 2, 31, 2, bias=False)
    with torch.no_grad():
        up.weight.copy_(down.weight)  # [out, in, taps] of the one is [in, out, taps] of the other
    signal, other = randn(1, 2, 64), randn(1, 3, 32)
    for frame, total in ((0, 64), (7, 64), (31, 64)):  # SAME: 29 samples in all, the odd one behind
        first = 2 * frame - 14
        taps = np.array(
            [[signal[0, :, n].numpy() if 0 <= n < total else np.zeros(2) for n in range(first, first + 31)]]
        )
        expected = np.einsum("oik,xki->xo", down.weight.detach().numpy(), taps)[0]
        np.testing.assert_allclose(down(signal)[0, :, frame].detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((down(signal) * other).sum(), (signal * up(other)).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("frames", [1, 2, 4])
@torch.inference_mode()
def test_a_wide_layer_of_few_frames_gives_the_sum_that_defines_it(frames):
    """With padding inside the convolution, torch 2.13 ends the process here, or is wrong by 1."""
    torch.manual_seed(0)
    up = Up(2048, 512, 31, 2, bias=False)
    hidden = torch.randn(2, 2048, frames)
    spread = torch.einsum("bmt,mfk->bftk", hidden.double(), up.weight.double())
    whole = torch.zeros(2, 512, 2 * frames + 29, dtype=torch.float64)
    for frame in range(frames):
        whole[..., 2 * frame : 2 * frame + 31] += spread[:, :, frame]
    torch.testing.assert_close(up(hidden).double(), whole[..., 14 : 14 + 2 * frames], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("stride", "behind"), [(2, 1), (4, 3)])
def test_a_lead_of_15_is_torchs_own_padding(stride, behind):
    down, up = Down(2, 3, 31, stride, lead=15), Up(2, 3, 31, stride, lead=15)
    signal = randn(2, 2, 48)
    plain = nn.functional.conv1d(signal, down.weight, down.bias, stride, padding=15)
    torch.testing.assert_close(down(signal), plain)
    plain = nn.functional.conv_transpose1d(signal, up.weight, up.bias, stride, padding=15, output_padding=behind)
    torch.testing.assert_close(up(signal), plain)


def test_nearest_upsampling_repeats_each_frame_before_its_convolution():
    up = UpNearest(2, 3, 31, 2)
    doubled = nn.functional.interpolate(randn(1, 2, 20), scale_factor=2, mode="nearest")
    expected = nn.functional.conv1d(doubled, up.weight, up.bias, padding=15)
    torch.testing.assert_close(up(randn(1, 2, 20)), expected)


def test_latent_noise_is_fresh_while_training_and_otherwise_bound_to_its_place():
    like = torch.zeros(2, 4, 40)
    fixed = latent_noise(like, fresh=False, frame=0, period=16, seed=1)
    assert torch.equal(fixed[0], fixed[1])
    assert torch.equal(fixed[..., :16], fixed[..., 16:32])
    assert torch.equal(latent_noise(like, fresh=False, frame=5, period=16, seed=1)[..., :35], fixed[..., 5:])
    assert not torch.equal(latent_noise(like, fresh=False, frame=0, period=16, seed=2), fixed)
    drawn = latent_noise(like, fresh=True, frame=0, period=16, seed=1)
    assert not torch.equal(drawn[0], drawn[1])
    assert latent_noise(like, fresh=False, frame=0, period=16, seed=1, channels=7).shape == (2, 7, 40)


@pytest.mark.parametrize(("frames", "span"), [(50, 7), (16, 16), (5, 30), (1, 4)])
def test_local_attention_is_attention_under_a_band_mask(frames, span):
    attention = LocalAttention(16, span)
    hidden = randn(2, 16, frames)
    assert torch.equal(attention(hidden), hidden)  # as it starts
    with torch.no_grad():
        attention.strength.fill_(0.7)
    query, key, value = (part(hidden).transpose(1, 2) for part in (attention.query, attention.key, attention.value))
    place = torch.arange(frames)
    band = (place[:, None] - place[None]).abs() <= span
    attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=band)
    expected = hidden + 0.7 * attention.out(attended.transpose(1, 2))
    torch.testing.assert_close(attention(hidden), expected, rtol=1e-4, atol=1e-5)


def octave_paths(octave, fast, slow):
    """The paper's four paths on separate tensors, slow ones at half the rate."""
    pool = nn.functional.avg_pool1d
    if octave.up:
        to_fast = octave.fast_to_fast(fast) + nn.functional.interpolate(octave.slow_to_fast(slow), scale_factor=2)
        return to_fast, octave.fast_to_slow(fast) + octave.slow_to_slow(slow)
    to_fast = octave.fast_to_fast(fast) + octave.slow_to_fast(slow)
    return to_fast, octave.fast_to_slow(pool(fast, 2)) + octave.slow_to_slow(slow)


@pytest.mark.parametrize("up", [False, True])
def test_octave_convolution_keeps_slow_channels_at_half_the_rate(up):
    octave = Octave([(3, 2), (4, 1)], (5, 3), 31, 4, up=up)
    fast, slow = randn(2, 7, 32), randn(2, 3, 16)
    twice = slow.repeat_interleave(2, -1)
    joined = torch.cat([fast[:, :3], twice[:, :2], fast[:, 3:], twice[:, 2:]], dim=1)
    out = octave(joined)
    expected_fast, expected_slow = octave_paths(octave, fast, slow)
    assert out.shape == (2, 8, 128 if up else 8)
    torch.testing.assert_close(out[:, :5], expected_fast)
    torch.testing.assert_close(out[:, 5:, ::2], expected_slow)
    torch.testing.assert_close(out[:, 5:, 1::2], expected_slow)


def test_octave_convolution_has_the_weights_of_a_plain_one():
    octave = Octave([(12, 4)], (10, 6), 31, 4, up=False)
    assert sum(p.numel() for p in octave.parameters()) == 31 * 16 * 16 + 16
    assert slow_channels(16, 0.25) == 4
    assert slow_channels(2, 0.9) == 1
