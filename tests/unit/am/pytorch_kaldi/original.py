"""The forward passes of pytorch-kaldi at test, restated from its description: one sequence, one frame at a time.

Every function takes the tensors of one net by the names of its checkpoint.  Judge of the imported models.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


def layer_norm(x, gamma, beta):
    deviation = ((x - x.mean(-1, keepdim=True)) ** 2).sum(-1, keepdim=True).div(x.shape[-1] - 1).sqrt()
    return gamma * (x - x.mean(-1, keepdim=True)) / (deviation + 1e-6) + beta


def batch_norm(x, net, name, epsilon=1e-5):
    """x: [rows, features], or [rows, features, length]."""
    shape = (1, -1) + (1,) * (x.dim() - 2)
    mean, var, weight, bias = (
        net[f"{name}.{part}"].view(shape) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + epsilon).sqrt() * weight + bias


def affine(x, net, name):
    y = x @ net[f"{name}.weight"].T
    return y + net[f"{name}.bias"] if f"{name}.bias" in net else y


def mlp(net, x, layers):
    """layers: (batch norm?, activation) of each; a bias is always there."""
    if "bn0.weight" in net:
        x = batch_norm(x, net, "bn0")
    for i, (norm, activation) in enumerate(layers):
        x = affine(x, net, f"wx.{i}")
        x = batch_norm(x, net, f"bn.{i}") if norm else x
        x = torch.log_softmax(x, 1) if activation == "softmax" else torch.relu(x)
    return x


def recurrent(net, x, cell, layers, *, drop, act, bn, ln, bidir):
    """x: [frames, features]; cell: liGRU, GRU, minimalGRU or LSTM."""
    if "bn0.weight" in net:
        x = batch_norm(x, net, "bn0")
    for i in range(layers):
        ways = [run(net, way, cell, i, drop=drop, act=act, bn=bn, ln=ln) for way in ([x, x.flip(0)] if bidir else [x])]
        x = torch.cat([ways[0], ways[1].flip(0)], 1) if bidir else ways[0]
    return x


def run(net, x, cell, i, *, drop, act, bn, ln):
    def term(name):
        y = affine(x, net, f"{name}.{i}")
        return batch_norm(y, net, f"bn_{name}.{i}") if bn else y

    def back(name, h):
        return net[f"{name}.{i}.weight"] @ h

    activation, kept, sigmoid = ACTIVATIONS[act], 1 - drop, torch.sigmoid
    names = {"LSTM": "wcx wfx wix wox", "GRU": "wh wz wr", "minimalGRU": "wh wz", "liGRU": "wh wz"}[cell].split()
    terms = {name: term(name) for name in names}
    units = net[f"{names[0]}.{i}.weight"].shape[0]
    h, c, outputs = torch.zeros(units), torch.zeros(units), []
    for k in range(len(x)):
        if cell == "LSTM":
            f, write, o = (sigmoid(terms[f"w{g}x"][k] + back(f"u{g}h", h)) for g in "fio")
            c = write * activation(terms["wcx"][k] + back("uch", h)) * kept + f * c
            h = o * activation(c)
        else:
            z = sigmoid(terms["wz"][k] + back("uz", h))
            inner = h
            if cell == "GRU":
                inner = sigmoid(terms["wr"][k] + back("ur", h)) * h
            if cell == "minimalGRU":
                inner = z * h
            h = z * h + (1 - z) * activation(terms["wh"][k] + back("uh", inner)) * kept
        h = layer_norm(h, net[f"ln.{i}.gamma"], net[f"ln.{i}.beta"]) if ln else h
        outputs.append(h)
    return torch.stack(outputs)


def sru(net, x, layers, units, *, activation, bidir):
    """Version 2.1 of the sru package."""
    ways = 2 if bidir else 1
    for i in range(layers):
        part = {key.split(".", 3)[3]: value for key, value in net.items() if key.startswith(f"sru.rnn_lst.{i}.")}
        inner = x @ part["weight_proj"] if "weight_proj" in part else x
        u = (inner @ part["weight"]).view(len(x), ways, units, -1)
        wf, wr = part["weight_c"].view(2, ways, units)
        bf, br = part["bias"].view(2, ways, units)
        highway = u[..., 3] if u.shape[-1] == 4 else x.view(len(x), ways, units) * part["scale_x"].item()
        h = torch.zeros(len(x), ways, units)
        for d in range(ways):
            c = torch.zeros(units)
            for t in range(len(x)) if d == 0 else reversed(range(len(x))):
                forget = torch.sigmoid(u[t, d, :, 1] + bf[d] + wf[d] * c)
                reset = torch.sigmoid(u[t, d, :, 2] + br[d] + wr[d] * c)
                c = forget * c + (1 - forget) * u[t, d, :, 0]
                g = {"identity": lambda v: v, **ACTIVATIONS}[activation](c)
                h[t, d] = reset * g + (1 - reset) * highway[t, d]
        x = h.view(len(x), -1)
    return x


def convolutions(net, x, pools, *, norm, sinc=None):
    """x: [frames, window]; norm: layer, batch or none; sinc: (taps, rate, min_low_hz, min_band_hz) of a SincNet."""
    if "ln0.gamma" in net:
        x = layer_norm(x, net["ln0.gamma"], net["ln0.beta"])
    x = x[:, None]
    for i, pool in enumerate(pools):
        if sinc is not None and i == 0:
            x = functional.conv1d(x, sinc_filters(net["conv.0.low_hz_"], net["conv.0.band_hz_"], *sinc))
        else:
            x = functional.conv1d(x, net[f"conv.{i}.weight"], net[f"conv.{i}.bias"])
        x = functional.max_pool1d(x, pool)
        if norm == "layer":
            x = layer_norm(x, net[f"ln.{i}.gamma"], net[f"ln.{i}.beta"])
        if norm == "batch":
            x = batch_norm(x, net, f"bn.{i}", epsilon=x.shape[2])  # the length stands in epsilon's place
        x = torch.relu(x)
    return x.flatten(1)


def sinc_filters(low_hz, band_hz, taps, rate, min_low, min_band):
    """[filters, 1, taps]: differences of two low passes over their largest value, under a Hamming window."""
    filters = torch.zeros(len(low_hz), 1, taps)
    for k in range(len(low_hz)):
        low = min_low / rate + abs(low_hz[k].item())
        high = low + min_band / rate + abs(band_hz[k].item())
        taps_of = []
        for n in range(taps):
            t = n - (taps - 1) / 2
            value = 2 * (high - low)
            if t != 0:
                value = (math.sin(2 * math.pi * high * t) - math.sin(2 * math.pi * low * t)) / (math.pi * t)
            taps_of.append(value)
        for n, value in enumerate(taps_of):
            filters[k, 0, n] = value / max(taps_of) * (0.54 - 0.46 * math.cos(2 * math.pi * n / (taps - 1)))
    return filters


def window(x, left, right):
    """[frames, (left + 1 + right) * features]: neighbours side by side, earliest first, the ends repeated."""
    rows = [torch.cat([x[min(max(t + lag, 0), len(x) - 1)] for lag in range(-left, right + 1)]) for t in range(len(x))]
    return torch.stack(rows)
