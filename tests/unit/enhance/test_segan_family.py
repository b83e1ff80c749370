import pytest
import torch

from enhance.models.advanced_segan import AdvancedSegan, AdvancedSeganConfig
from enhance.models.segan import Segan, SeganConfig

BASIC = SeganConfig(
    activation="shared_prelu", skip="after", latent_first=False, padding="centred", last="prelu", initial="torch",
    emphasis=0.0,
)  # fmt: skip


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


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
