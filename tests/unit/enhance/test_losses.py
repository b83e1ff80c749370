import kaldi_native_fbank
import numpy as np
import pytest
import torch

from enhance.losses.adversarial import critic_least_squares, feature_distance, generator_least_squares
from enhance.losses.mel import LogMel
from enhance.losses.stft import compressed_distance
from enhance.losses.waveform import clipped_si_sdr, si_sdr


@pytest.mark.parametrize("bands", [23, 40])
def test_log_mel_energies_are_those_of_kaldi(bands, make_voice):
    samples = make_voice(0, 1.0) + 0.01
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = bands
    options.energy_floor = 0.0
    fbank = kaldi_native_fbank.OnlineFbank(options)
    fbank.accept_waveform(16000, (samples * 32768).tolist())
    truth = np.array([fbank.get_frame(frame) for frame in range(fbank.num_frames_ready)])
    ours = LogMel(bands=bands, dither=0.0)(torch.from_numpy(samples)[None])[0].numpy()
    assert ours.shape == truth.shape
    np.testing.assert_allclose(ours, truth, atol=2e-3)


def test_the_floor_is_the_power_that_kaldis_dither_adds():
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.standard_normal(160000).astype(np.float32) / 32768)[None]  # dither 1 on silence
    with_noise = LogMel(dither=0.0)(noise).exp().mean(1)
    floor = LogMel(dither=1.0)(torch.zeros(1, 16000)).exp().mean(1)
    torch.testing.assert_close(floor, with_noise, rtol=0.1, atol=0)


def test_si_sdr_of_a_known_mixture_is_its_ratio():
    clean = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    apart = torch.tensor([[1.0, 1.0, -1.0, -1.0]])  # orthogonal, zero mean
    assert si_sdr(3 * clean + 0.3 * apart, clean).item() == pytest.approx(20.0, abs=1e-4)
    assert si_sdr(-5 * clean + 5 * apart, clean).item() == pytest.approx(0.0, abs=1e-5)


def test_si_sdr_of_silent_clean_is_refused():
    with pytest.raises(ValueError, match="silent row"):
        si_sdr(torch.randn(2, 8), torch.zeros(2, 8))


def test_clipped_si_sdr_stops_at_its_ceiling_and_bears_silence():
    clean = torch.randn(1, 4000)
    assert clipped_si_sdr(clean, clean, 25.0).item() == pytest.approx(25.0, abs=0.01)
    assert torch.isfinite(clipped_si_sdr(clean, torch.zeros(1, 4000), 25.0)).all()


def test_least_squares_game_is_worked_by_hand():
    real, fake = [torch.tensor([0.5, 1.5])], [torch.tensor([0.0, 2.0])]
    assert critic_least_squares(real, fake).item() == pytest.approx(0.25 + 2.0)
    assert generator_least_squares(fake).item() == pytest.approx(1.0)
    assert feature_distance(real, fake).item() == pytest.approx(0.5)


def test_compressed_distance_is_zero_for_equal_and_counts_removed_speech_only_where_it_is_lacking():
    clean = torch.randn(2, 4000)
    assert [part.item() for part in compressed_distance(clean, clean, 512, 128)] == [0, 0, 0]
    _, _, louder = compressed_distance(2 * clean, clean, 512, 128)
    magnitude, _, quieter = compressed_distance(0.5 * clean, clean, 512, 128)
    assert louder.item() == 0
    assert quieter.item() == pytest.approx(magnitude.item())
