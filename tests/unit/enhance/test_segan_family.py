import pytest
import torch

from enhance.models.advanced_segan import AdvancedSegan, AdvancedSeganConfig
from enhance.models.dwave import DWave, DWaveConfig
from enhance.models.segan import Segan, SeganConfig

BASIC = SeganConfig(
    activation="shared_prelu", skip="after", latent_first=False, padding="centred", last="prelu", initial="torch",
    emphasis=0.0,
)  # fmt: skip


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def noisy_weights(model, size=0.1):
    """In use, with weights that are no longer as they started."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return model.eval()


def reach(model, samples, place):
    """The first and last sample that the output at `place` depends on."""
    signal = torch.randn(1, samples, dtype=torch.float64, requires_grad=True)
    model.double().raw(signal, 0)[0, place].backward()
    touched = signal.grad[0].nonzero()
    return touched.min().item(), touched.max().item()


@pytest.mark.parametrize(
    ("config", "parameters"),
    [
        (SeganConfig(), 73_100_049),
        (SeganConfig(encoder_bias=False, decoder_bias=False), 73_096_048),
        (BASIC, 73_096_071),
    ],
)
def test_segan_has_the_published_number_of_parameters(config, parameters):
    with torch.device("meta"):
        assert count(Segan(config)) == parameters


def test_advanced_segan_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert count(AdvancedSegan(AdvancedSeganConfig())) == 117_726_726


def test_dwave_has_as_many_weights_as_its_layers_say():
    block = 2 * (1 + 1) * 3 * 32 + 32  # filter and gate over signal and noise, and the residual
    assert count(DWave(DWaveConfig())) == 10 * block + 9 * 32 + 1


@torch.inference_mode()
def test_a_causal_dwave_answers_at_once_and_never_looks_ahead():
    model = noisy_weights(DWave(DWaveConfig(kernels=4, causal=True)))
    assert model.causal
    assert model.latency == 1 / 16000
    signal = torch.randn(1, 3000)
    later = signal.clone()
    later[:, 2000:] = 0
    torch.testing.assert_close(model(later)[:, :2000], model(signal)[:, :2000])
    stream = model.open_stream(1.0)
    pieces = [stream.push(part) for part in signal[0].split(500)]
    assert [len(piece) for piece in pieces] == [500] * 6
    torch.testing.assert_close(torch.cat(pieces)[None], model(signal), atol=1e-5, rtol=1e-4)


def test_a_centred_dwave_looks_as_far_as_it_says():
    model = noisy_weights(DWave(DWaveConfig(kernels=4)), 0.3)
    assert model.context == 1023
    assert reach(model, 4000, 2000) == (2000 - 1023, 2000 + 1023)
