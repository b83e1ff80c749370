"""LMOS, the relative of PESQ and the predicted opinion score: they fall as quality rises, and can be learnt from."""

import sys
import types

import numpy as np
import pytest
import scipy.signal
import scipy.stats
import soundfile
import soxr
import torch
from torch import nn

from enhance.layers.wavlm import RandomWavlmConfig, WavlmConfig
from enhance.losses.lmos import Lmos
from enhance.losses.pesq import PesqLoss, bark_bands, bark_of, hertz_of
from enhance.losses.predicted_mos import PredictedMos
from harness.errors import CheckpointError, ConfigError, TrainingError

RANDOM = WavlmConfig(source="random", channels=8, random=RandomWavlmConfig(layers=1, conv_channels=8))
SNRS = (-5, 0, 5, 10, 20, 30)  # dB


def noisy_at(clean: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    return clean + noise * np.sqrt(np.mean(clean**2) / np.mean(noise**2)) * 10 ** (-snr / 20)


def row(samples: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(samples.astype(np.float32))[None]


class TonePredictor(nn.Module):
    """Opinion scores from 1 to 5 by the share of power that is not white noise, more or less."""

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        roughness = (samples[:, 1:] - samples[:, :-1]).square().mean(-1) / samples.square().mean(-1)
        return 5 - 2 * roughness


@pytest.fixture
def predictor_module(monkeypatch):
    module = types.ModuleType("tone_predictor")
    module.make, module.number, module.word = TonePredictor, lambda: 3, lambda: lambda samples: samples
    module.blind = lambda: lambda samples: samples.detach().mean(-1)
    monkeypatch.setitem(sys.modules, "tone_predictor", module)
    return "tone_predictor:make"


@pytest.fixture
def losses(predictor_module):
    mos = PredictedMos(predictor_module, 16000)
    return {"lmos": Lmos(RANDOM, 16000), "pesq": PesqLoss(), "predicted_mos": lambda speech, clean: mos(speech)}


@pytest.mark.parametrize("name", ["lmos", "pesq", "predicted_mos"])
def test_a_loss_falls_as_noise_falls(name, losses, make_voice):
    clean = make_voice(0, 1.5)
    noise = np.random.default_rng(1).standard_normal(len(clean))
    values = [losses[name](row(noisy_at(clean, noise, snr)), row(clean)).item() for snr in SNRS]
    assert values == sorted(values, reverse=True)
    assert values[0] - values[-1] > 0.05


@pytest.mark.parametrize("name", ["lmos", "pesq", "predicted_mos"])
def test_a_step_against_the_gradient_lowers_a_loss(name, losses, make_voice):
    clean = make_voice(0, 1.0)
    noisy = noisy_at(clean, np.random.default_rng(1).standard_normal(len(clean)), 5)
    speech = row(noisy).requires_grad_()
    before = losses[name](speech, row(clean))
    before.backward()
    assert torch.isfinite(speech.grad).all()
    step = speech.grad / speech.grad.norm() * 0.01 * speech.norm()
    assert losses[name](speech.detach() - step, row(clean)) < before


def test_the_gradient_of_the_pesq_loss_is_its_slope(make_voice):
    clean = make_voice(0, 0.8).astype(np.float64)
    rng = np.random.default_rng(1)
    noisy = noisy_at(clean, rng.standard_normal(len(clean)), 10)
    loss = PesqLoss().double()
    speech = torch.from_numpy(noisy)[None].requires_grad_()
    loss(speech, torch.from_numpy(clean)[None]).backward()
    way = torch.from_numpy(rng.standard_normal(len(clean)))[None] * 1e-7
    with torch.no_grad():
        ends = [loss(speech + sign * way, torch.from_numpy(clean)[None]) for sign in (1, -1)]
    assert (ends[0] - ends[1]).item() / 2 == pytest.approx((speech.grad * way).sum().item(), rel=1e-3)


def test_equal_signals_cost_nothing_and_silence_costs_no_nan(losses, make_voice):
    clean = row(make_voice(0, 1.0))
    assert losses["lmos"](clean, clean).item() == 0
    assert losses["pesq"](clean, clean).item() == pytest.approx(0, abs=0.005)
    assert PesqLoss().scores(clean, clean).item() == pytest.approx(4.64, abs=0.01)
    silent = torch.zeros(1, 8000, requires_grad=True)
    for name in ("lmos", "pesq"):
        loss = losses[name](silent, clean[:, :8000]) + losses[name](silent, torch.zeros(1, 8000))
        loss.backward()
        assert torch.isfinite(silent.grad).all()


def test_the_pesq_loss_does_not_hear_the_level(make_voice):
    clean = make_voice(0, 1.0)
    noisy = noisy_at(clean, np.random.default_rng(1).standard_normal(len(clean)), 10)
    loss = PesqLoss()
    assert loss(row(0.1 * noisy), row(3 * clean)).item() == pytest.approx(loss(row(noisy), row(clean)).item(), rel=1e-4)


def test_added_sound_disturbs_asymmetrically_and_missing_sound_does_not():
    steady = np.random.default_rng(1).standard_normal(24000)
    time = np.arange(len(steady)) / 16000
    beeping = steady + 0.3 * np.sin(2 * np.pi * 2500 * time) * (time % 0.5 < 0.1)
    symmetric_added, added = PesqLoss().disturbances(row(beeping), row(steady))
    symmetric_missing, missing = PesqLoss().disturbances(row(steady), row(beeping))
    assert symmetric_missing > 0.5 * symmetric_added
    assert added > 3 * missing


def test_bark_bands_share_out_every_bin_but_the_constant():
    hertz = np.arange(257) * 31.25
    matrix, centres, widths = bark_bands(hertz)
    np.testing.assert_allclose(matrix[1:-1].sum(1), 1, atol=1e-12)
    assert (matrix.sum(0) > 0).all()
    np.testing.assert_allclose(widths, widths[0])
    np.testing.assert_allclose(hertz_of(bark_of(hertz)), hertz, atol=1e-9)
    assert centres[0] > 0


@pytest.mark.parametrize("rate", [16000, 48000])
def test_losses_hear_the_same_at_either_rate(rate, losses, make_voice):
    clean = make_voice(0, 1.0)
    noise = np.random.default_rng(1).standard_normal(len(clean))
    low_noise = scipy.signal.sosfiltfilt(scipy.signal.butter(8, 6000, fs=16000, output="sos"), noise)
    noisy = noisy_at(clean, low_noise, 10)
    high = [row(soxr.resample(signal, 16000, rate)) for signal in (noisy, clean)]
    assert PesqLoss(rate)(*high).item() == pytest.approx(losses["pesq"](row(noisy), row(clean)).item(), rel=0.1)
    features, _ = Lmos(RANDOM, rate).parts(*high)
    assert features.item() == pytest.approx(Lmos(RANDOM, 16000).parts(row(noisy), row(clean))[0].item(), rel=0.1)


def test_lmos_is_a_hundred_times_the_features_and_once_the_magnitudes(make_voice):
    loss = Lmos(RANDOM, 16000)
    clean, noisy = row(make_voice(0, 1.0)), row(make_voice(1, 1.0))
    window = torch.hann_window(1024)
    apart = [
        torch.stft(signal, 1024, 256, window=window, pad_mode="constant", return_complex=True).abs()
        for signal in (noisy, clean)
    ]
    features = (loss.wavlm.convolutions(noisy) - loss.wavlm.convolutions(clean)).square().mean()
    wanted = 100 * features + (apart[0] - apart[1]).abs().mean()
    assert loss(noisy, clean).item() == pytest.approx(wanted.item(), rel=1e-4)


def test_the_pesq_loss_ranks_real_noisy_speech_as_pesq_does(shared_dir):
    pesq = pytest.importorskip("pesq")
    speech = sorted((shared_dir / "corpora" / "speechocean762-kids" / "WAVE").glob("*/*"))[::400][:3]
    noises = sorted((shared_dir / "corpora" / "noise" / "test").glob("*.ogg"))[::27][:3]
    if not speech or not noises:
        pytest.skip("the shared folder holds no speech or no noise")
    loss, truth, ours = PesqLoss(), [], []
    for spoken, noise in zip(speech, noises, strict=True):
        clean = soundfile.read(spoken)[0][:64000]
        ground = np.resize(soundfile.read(noise)[0], len(clean))
        for snr in SNRS:
            noisy = noisy_at(clean, ground, snr)
            truth.append(pesq.pesq(16000, clean, noisy, "wb"))
            ours.append(loss(row(noisy), row(clean)).item())
    assert scipy.stats.spearmanr(truth, ours).statistic < -0.95


def test_a_torchscript_predictor_scores_as_the_module_it_was_made_from(tmp_path, predictor_module, make_voice):
    speech = row(make_voice(0, 0.5))
    with pytest.warns(DeprecationWarning, match=r"torch\.jit"):
        torch.jit.trace(TonePredictor(), speech).save(str(tmp_path / "mos.pt"))
    from_file = PredictedMos(str(tmp_path / "mos.pt"), 16000)
    assert from_file(speech).item() == pytest.approx(PredictedMos(predictor_module, 16000)(speech).item(), rel=1e-5)
    score = TonePredictor()(speech).item()
    assert from_file(speech).item() == pytest.approx(-5 / (1 + np.exp(2.5 - score)), rel=1e-5)


def test_a_predictors_weights_are_frozen_and_not_the_losses_own(monkeypatch):
    module = types.ModuleType("weighty")
    net = nn.Sequential(nn.Linear(100, 1), nn.Dropout())
    module.make = lambda: net
    monkeypatch.setitem(sys.modules, "weighty", module)
    loss = PredictedMos("weighty:make", 16000)
    speech = torch.randn(3, 100, requires_grad=True)
    loss(speech).backward()
    assert speech.grad.abs().sum() > 0
    assert net[0].weight.grad is None
    assert not net.training
    assert not list(loss.parameters())


@pytest.mark.parametrize(
    ("source", "kind", "problem"),
    [
        ("nowhere.pt", CheckpointError, "no such predictor"),
        ("mos.pt2", ConfigError, "may hold pickles"),
        ("no_such_module_at_all:make", ConfigError, "cannot be imported"),
        ("tone_predictor:absent", ConfigError, "has no 'absent'"),
        ("tone_predictor:number", ConfigError, "gave a int"),
        ("tone_predictor:word", TrainingError, r"one score a row \(2\), got \[2, 100\]"),
        ("tone_predictor:blind", TrainingError, "passes no gradient"),
    ],
)
def test_a_predictor_that_cannot_serve_is_named_with_its_fault(source, kind, problem, predictor_module):
    loss = PredictedMos(source, 16000)  # nothing is loaded yet
    with pytest.raises(kind, match=problem):
        loss(torch.randn(2, 100, requires_grad=True))


def test_a_file_that_is_not_torchscript_is_refused(tmp_path):
    (tmp_path / "mos.pt").write_bytes(b"something else")
    with pytest.raises(CheckpointError, match="cannot be read as TorchScript"):
        PredictedMos(str(tmp_path / "mos.pt"), 16000)(torch.randn(1, 100))
