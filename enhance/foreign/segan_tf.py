"""The first SEGAN's TensorFlow variables (github.com/santi-pdp/segan, MIT; AM_GAN is a fork), from an npz file.

TensorFlow's checkpoints need TensorFlow to be read.  Where it is installed, this writes the npz (g.npz):

    import numpy, tensorflow as tf
    reader = tf.train.load_checkpoint("segan_v1.1/SEGAN-41700")  # the prefix, without .index or .data
    names = [name for name in reader.get_variable_to_shape_map() if "g_ae/" in name]
    numpy.savez("g.npz", **{name: reader.get_tensor(name) for name in names})

Names: g_ae/enc_i/W [31, 1, in, out], g_ae/enc_i/b, g_ae/enc_prelu_i/alpha, g_ae/dec_i/W [31, 1, out, in] (transposed
convolution; [31, 1, in, out] after nearest-neighbour upsampling), g_ae/dec_i/b, g_ae/dec_prelu_i/alpha.  No alpha:
LeakyReLU 0.3.  The latent noise g_ae/z/z and the optimiser's slots are left.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from enhance.foreign.layout import Foreign, Weights, config_of, matched, number_of
from enhance.models.segan import Segan, SeganConfig
from harness.errors import CheckpointError

VARIABLE = re.compile(r"(?:.*/)?g_ae/((?:enc|dec)(?:_prelu)?_\d+/(?:W|b|alpha))(?::0)?")
MEND = "export it anew, as the text of enhance/foreign/segan_tf.py says"


def read_generator(content: Any, options: dict[str, Any], path: Path) -> Foreign:
    """content: not used, the arrays are read from `path`.  options: preemph, if it is not 0.95."""
    weights = _variables(path)
    levels = number_of(weights, "enc_{}/W")
    if not levels or "dec_0/W" not in weights:
        raise CheckpointError(path, "holds no variables g_ae/enc_i/W", mend=MEND)
    channels = tuple(weights[f"enc_{i}/W"].shape[3] for i in range(levels))
    first = weights["dec_0/W"].shape[2:]
    nearest = first[1] == channels[-2]
    values = {
        "channels": channels, "activation": "prelu" if "enc_prelu_0/alpha" in weights else "leaky",
        "upsampling": "nearest" if nearest else "transposed", "latent": max(first) == 2 * channels[-1],
        "encoder_bias": "enc_0/b" in weights, "decoder_bias": "dec_0/b" in weights,
        "emphasis": options.get("preemph", 0.95),
    }  # fmt: skip
    config = config_of(SeganConfig, values, path)
    plain = {key: _turned(key, value) for key, value in weights.items()}
    with torch.device("meta"):
        model = Segan(config)
    return Foreign(name="segan", config=config, weights=matched(model, plain, _their_key, path))


def _variables(path: Path) -> Weights:
    """The generator's variables by their names below g_ae."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        problem = f"cannot be read as an npz file ({str(error)[:120]})"
        raise CheckpointError(path, problem, mend=MEND) from error
    names = {key: match for key in found if (match := VARIABLE.fullmatch(key))}
    return {match[1]: torch.from_numpy(np.ascontiguousarray(found[key])) for key, match in names.items()}


def _turned(key: str, value: torch.Tensor) -> torch.Tensor:
    """A kernel [width, 1, a, b] as torch has it: [out, in, width], of a transposed convolution [in, out, width].

    TensorFlow's kernel is [in, out] for a convolution and [out, in] for a transposed one, so both are [b, a, width].
    """
    return value[:, 0].permute(2, 1, 0) if key.endswith("/W") else value


def _their_key(ours: str) -> str:
    table, index, kind = ours.split(".")
    side = "enc" if table.startswith("encoder") else "dec"
    if table.endswith("_act"):
        return f"{side}_prelu_{index}/alpha"
    return f"{side}_{index}/{'W' if kind == 'weight' else 'b'}"
