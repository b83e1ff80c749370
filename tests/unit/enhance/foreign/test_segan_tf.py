"""TensorFlow variables of the first SEGAN, judged by its network stated anew, [time, channels]."""

import numpy as np
import pytest
import torch
from torch import nn

from enhance.foreign import import_checkpoint
from enhance.layers.latent import latent_noise
from enhance.weights import load_generator
from harness.errors import CheckpointError

CHANNELS = (4, 6, 8)


def variables(rng, *, prelu, bias, nearest):
    """Facts: W [31, 1, in, out], of a transposed convolution [31, 1, out, in]; skips and latent double the inputs."""
    found = {}
    for index, (few, many) in enumerate(zip((1, *CHANNELS[:-1]), CHANNELS, strict=True)):
        found[f"g_ae/enc_{index}/W"] = 0.1 * rng.standard_normal((31, 1, few, many))
        found[f"g_ae/enc_{index}/b"] = rng.standard_normal(many)
        found[f"g_ae/enc_prelu_{index}/alpha"] = rng.uniform(0, 0.5, many)
    for index, (many, few) in enumerate(zip(CHANNELS[::-1], (*CHANNELS[-2::-1], 1), strict=True)):
        shape = (31, 1, 2 * many, few) if nearest else (31, 1, few, 2 * many)
        found[f"g_ae/dec_{index}/W"] = 0.05 * rng.standard_normal(shape)
        found[f"g_ae/dec_{index}/b"] = 0.1 * rng.standard_normal(few)
        if few > 1:
            found[f"g_ae/dec_prelu_{index}/alpha"] = rng.uniform(0, 0.5, few)
    keep = {key: value.astype(np.float32) for key, value in found.items()}
    return {
        key: value for key, value in keep.items()
        if (prelu or "alpha" not in key) and (bias or not key.endswith("/b"))
    }  # fmt: skip


def conv_same(signal, kernel, stride):
    """TensorFlow's SAME convolution of [time, in] with [31, in, out], tap by tap."""
    count = -(-len(signal) // stride)
    missing = max(0, (count - 1) * stride + 31 - len(signal))
    padded = np.pad(signal, ((missing // 2, missing - missing // 2), (0, 0)))
    return np.stack([np.einsum("ki,kio->o", padded[t * stride : t * stride + 31], kernel) for t in range(count)])


def transposed_same(signal, kernel):
    """The transpose of the SAME convolution of stride 2: each input frame adds its kernel; 14 samples cut before."""
    out = np.zeros((2 * len(signal) + 29, kernel.shape[1]))
    for t, frame in enumerate(signal):
        out[2 * t : 2 * t + 31] += np.einsum("koi,i->ko", kernel, frame)
    return out[14 : 14 + 2 * len(signal)]


def network(found, signal, z, nearest):
    def act(hidden, name):
        slope = found.get(f"g_ae/{name}/alpha", 0.3)
        return np.where(hidden > 0, hidden, slope * hidden)

    hidden, skips = signal[:, None], []
    for index in range(len(CHANNELS)):
        hidden = conv_same(hidden, found[f"g_ae/enc_{index}/W"][:, 0], 2) + found.get(f"g_ae/enc_{index}/b", 0)
        skips.append(hidden)
        hidden = act(hidden, f"enc_prelu_{index}")
    skips.pop()
    hidden = np.concatenate([z, hidden], axis=1)
    for index in range(len(CHANNELS)):
        kernel = found[f"g_ae/dec_{index}/W"][:, 0]
        up = conv_same(hidden.repeat(2, axis=0), kernel, 1) if nearest else transposed_same(hidden, kernel)
        hidden = up + found.get(f"g_ae/dec_{index}/b", 0)
        if skips:
            hidden = np.concatenate([act(hidden, f"dec_prelu_{index}"), skips.pop()], axis=1)
    return np.tanh(hidden[:, 0])


@pytest.mark.parametrize("prelu", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("nearest", [True, False])
@torch.no_grad()
def test_imported_variables_say_what_the_network_says(tmp_path, prelu, bias, nearest):
    found = variables(np.random.default_rng(0), prelu=prelu, bias=bias, nearest=nearest)
    extra = {"g_ae/z/z": np.zeros((2, 8, 8)), "d_model/d_block_0/W": np.zeros(3), "g_ae/enc_0/W/RMSProp": np.zeros(3)}
    np.savez(tmp_path / "g.npz", **found, **extra)
    import_checkpoint("segan-tf", tmp_path / "g.npz", tmp_path / "best.pt")
    name, model = load_generator(tmp_path / "best.pt")
    assert name == "segan"
    samples = 0.3 * torch.randn(1, 512)
    seed, frames = model.config.latent_seed, 512 // 8
    z = latent_noise(torch.zeros(1, 8, frames), fresh=False, frame=0, period=16384 // 8, seed=seed)[0].T.numpy()
    expected = network(found, samples[0].numpy().astype(np.float64), z, nearest)
    np.testing.assert_allclose(model.raw(samples, 0)[0].numpy(), expected, atol=1e-4)
    assert nn.functional.l1_loss(model.raw(samples, 0)[0], samples[0]) > 0.01


def test_a_file_that_is_no_npz_or_holds_other_arrays_is_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK not an archive")
    with pytest.raises(CheckpointError, match=r"a.npz: cannot be read as an npz file"):
        import_checkpoint("segan-tf", tmp_path / "a.npz", tmp_path / "best.pt")
    np.savez(tmp_path / "b.npz", other=np.zeros(3))
    with pytest.raises(CheckpointError, match="holds no variables g_ae/enc_i/W"):
        import_checkpoint("segan-tf", tmp_path / "b.npz", tmp_path / "best.pt")
