"""Critics of segan_pytorch, judged by its discriminator stated anew with its key names."""

import json

import pytest
import torch
from torch import nn

from enhance.critics import CRITICS
from enhance.foreign import CRITIC_KIND, import_checkpoint
from harness.checkpoint import load_checkpoint, load_weights
from harness.config import from_plain
from harness.errors import CheckpointError

CHANNELS, FRAMES = (4, 6, 8), 4


class Original(nn.Module):
    """Facts: 2 channels in, width 31, stride 4, reflect padding (14, 15), norm, PReLU; the heads' layers by name."""

    def __init__(self, head, norm):
        super().__init__()
        self.head_kind = head
        spectral = nn.utils.spectral_norm if norm == "snorm" else lambda layer: layer
        self.enc_blocks = nn.ModuleList()
        for few, many in zip((2, *CHANNELS[:-1]), CHANNELS, strict=True):
            block = nn.Module()
            block.conv, block.act = spectral(nn.Conv1d(few, many, 31, 4)), nn.PReLU(many, init=0.1)
            if norm == "bnorm":
                block.norm = nn.BatchNorm1d(many)
            self.enc_blocks.append(block)
        top = CHANNELS[-1]
        if head == "none":
            layers = [
                nn.Linear(top * FRAMES, 256),
                nn.PReLU(256),
                nn.Linear(256, 128),
                nn.PReLU(128),
                nn.Linear(128, 1),
            ]
            for place in (0, 2, 3):  # the slip of the original: the fourth is a PReLU
                spectral(layers[place])
            self.fc = nn.Sequential(*layers)
        elif head == "conv":
            self.pool_conv, self.fc = spectral(nn.Conv1d(top, 1, 1)), spectral(nn.Linear(FRAMES, 1))
        elif head == "mlp":
            layers = [nn.Conv1d(top, top, 1), nn.PReLU(top), nn.Conv1d(top, 1, 1)]
            for place in (0, 1):
                spectral(layers[place])
            self.mlp = nn.Sequential(*layers)
        else:
            self.fc = spectral(nn.Linear(top, 1))

    def forward(self, pair):
        hidden = pair
        for block in self.enc_blocks:
            hidden = block.conv(nn.functional.pad(hidden, (14, 15), mode="reflect"))
            hidden = block.act(block.norm(hidden) if hasattr(block, "norm") else hidden)
        match self.head_kind:
            case "none":
                return self.fc(hidden.flatten(1))
            case "conv":
                return self.fc(self.pool_conv(hidden).flatten(1))
            case "gmax":
                return self.fc(hidden.amax(-1))
            case "gavg":
                return self.fc(hidden.mean(-1))
        return self.mlp(hidden).flatten(1)


@pytest.mark.parametrize("head", ["none", "conv", "gmax", "gavg", "mlp"])
@pytest.mark.parametrize("norm", ["bnorm", "snorm", None])
def test_an_imported_critic_scores_as_the_original(tmp_path, head, norm):
    original = Original(head, norm)
    for _ in range(5):
        original(torch.randn(8, 2, FRAMES * 64))  # statistics of batch norm, power iterations of spectral norm
    original.eval()
    torch.save({"step": 1, "state_dict": original.state_dict()}, tmp_path / "D.ckpt")
    (tmp_path / "train.opts").write_text(json.dumps({"dpool_type": head, "phase_shift": 5}))
    found = import_checkpoint("segan-pytorch-critic", tmp_path / "D.ckpt", tmp_path / "critic.pt")
    state = load_checkpoint(tmp_path / "critic.pt", CRITIC_KIND)
    config_class, critic_class = CRITICS[state["critic"]]
    config = from_plain(config_class, state["config"], "critic.pt")
    # A window of the mlp and pooling heads may have any number of frames; the others fix it.
    assert config.frames == FRAMES or head in ("gmax", "gavg", "mlp")
    critic = critic_class(config)
    load_weights(critic, state["weights"], "critic.pt")
    speech, noisy = torch.randn(2, 3, critic.window)
    with torch.no_grad():
        scores = critic.eval()(speech, noisy).scores[0]
        torch.testing.assert_close(scores, original(torch.stack([speech, noisy], dim=1)), atol=1e-4, rtol=0)
    assert bool(found.notes) == (norm == "snorm")


def test_a_head_that_only_options_can_tell_is_asked_for(tmp_path):
    torch.save(Original("gmax", None).state_dict(), tmp_path / "D.ckpt")
    with pytest.raises(CheckpointError, match="dpool_type gmax or gavg"):
        import_checkpoint("segan-pytorch-critic", tmp_path / "D.ckpt", tmp_path / "critic.pt")
