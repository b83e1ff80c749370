import numpy as np
import torch

from enhance.speech_level import active_power


def test_pauses_do_not_lower_the_active_level():
    rng = np.random.default_rng(0)
    speech = rng.standard_normal(16000)
    with_pause = np.concatenate([speech, 0.001 * rng.standard_normal(48000)])
    assert np.mean(with_pause**2) < 0.3 * np.mean(speech**2)
    np.testing.assert_allclose(active_power(with_pause), np.mean(speech**2), rtol=0.01)


def test_frames_within_the_margin_of_p56_count_as_active():
    loud, soft = np.ones(16000), np.full(16000, 10 ** (-10 / 20))  # 10 dB apart: within 15.9 dB
    np.testing.assert_allclose(active_power(np.concatenate([loud, soft])), (1 + 0.1) / 2)
    faint = np.full(16000, 10 ** (-20 / 20))  # 20 dB apart: a pause
    np.testing.assert_allclose(active_power(np.concatenate([loud, faint])), 1.0)


def test_torch_tensors_give_what_numpy_arrays_give():
    samples = np.random.default_rng(1).standard_normal((3, 5000))
    np.testing.assert_allclose(active_power(torch.from_numpy(samples)).numpy(), active_power(samples))


def test_silence_and_very_short_signals_have_a_level():
    assert active_power(np.zeros(1000)) == 0
    np.testing.assert_allclose(active_power(np.array([0.5, -0.5])), 0.25)
