"""A generator for other programs: ONNX, torch.export, safetensors; each is read back and must say the same.

The graphs take noisy [batch, samples] and give as much clean speech, at any length from SHORTEST on where the network
permits, else at one length that is asked for.  What stands in the way of a graph is put otherwise: the recursive
de-emphasis as a convolution (its answer has faded after FADED samples), the fixed latent noise as a constant, the
Fourier transforms as products with cosines and sines.  A generator that works in windows goes into the graph without:
any length up to its window.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from enhance.layers.emphasis import pre_emphasis
from enhance.layers.filled import parts_of
from enhance.layers.short_time import ShortTime
from enhance.models import Generator
from enhance.models.compact import SILENCE, Compact
from enhance.models.context_stream import ContextGenerator
from enhance.models.window_stream import WindowGenerator
from enhance.weights import export_generator, load_generator
from harness.atomic import write_whole
from harness.errors import ConfigError, ModelError

SHORTEST, LONGEST = 2048, 60 * 60 * 48000  # samples
LENGTHS = (SHORTEST, 5001, 16000, 33333)  # samples at which a graph is compared
CLOSE = 1e-4  # of the largest sample, or of 1 if that is larger
FADED = 1024  # samples after which 0.95 ** n is below 1e-22
FORMS = ("onnx", "torch-export", "safetensors")

Run = Callable[[Tensor], Tensor]


def export_model(
    checkpoint: str | os.PathLike[str], form: str, out: str | os.PathLike[str], *, samples: int | None = None
) -> str:
    """Write a generator in one of FORMS and say what was compared.  samples: one length instead of any.

    Raises ConfigError: unknown form.  ModelError: the network does not go into such a graph, or says something else
    there; nothing is written then.
    """
    if form == "safetensors":
        return _safetensors(checkpoint, out)
    if form not in FORMS:
        raise ConfigError(f"--to {form}", "is no form that is known", mend=f"choose from: {', '.join(FORMS)}")
    name, model = load_generator(checkpoint)
    if samples is None and _has_recurrence(model) and form == "torch-export":
        problem = f"{name} has recurrent layers, which torch unrolls over time in a graph of any length"
        raise ModelError(checkpoint, problem, mend="give one length with --samples")
    longest = model.window if isinstance(model, WindowGenerator) and not model.causal else LONGEST
    lengths = (tuple(n for n in LENGTHS if n <= longest) or (longest,)) if samples is None else (samples,)
    graph = _graph_of(load_generator(checkpoint)[1]).eval()  # takes its model apart
    write = _write_onnx if form == "onnx" else _write_torch_export
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder) / "graph"
        try:
            with torch.no_grad(), _quiet():
                graph(torch.zeros(1, lengths[-1]))  # constants are drawn before the graph is traced
                run = write(graph, lengths[-1], longest if samples is None else None, aside)
        except ImportError as error:
            mend = "pip install onnx onnxruntime"
            raise ModelError(checkpoint, f"cannot be written ({error})", mend=mend) from error
        except Exception as error:  # the exporters fail in any way; their first line says where
            first = next((line for line in str(error).splitlines() if line.strip()), "")[:200]
            problem = f"{name} does not go into a graph of {'any' if samples is None else 'this'} length ({first})"
            mend = "give one length with --samples" if samples is None else "export as safetensors"
            raise ModelError(checkpoint, problem, mend=mend) from error
        worst = _compared(model, run, lengths, checkpoint)
        with write_whole(out, "wb") as stream:
            stream.write(aside.read_bytes())
    shown = ", ".join(map(str, lengths))
    windowed = samples is None and longest < LONGEST
    limit = f"; for {longest} samples at most, the generator's window" if windowed else ""
    return f"wrote {out}: {name}, within {worst:.1e} of the checkpoint at {shown} samples{limit}"


def _safetensors(checkpoint: str | os.PathLike[str], out: str | os.PathLike[str]) -> str:
    export_generator(checkpoint, out)
    (name, ours), (_, theirs) = load_generator(checkpoint), load_generator(out)
    for key, value in ours.state_dict().items():
        if not torch.equal(value, theirs.state_dict()[key]):
            raise ModelError(out, f"{key} was not written as it is", mend="export again")
    return f"wrote {out}: {name} ({Path(out).stat().st_size / 1e6:.2f} MB), every tensor the same"


@torch.no_grad()
def _compared(model: Generator, run: Run, lengths: tuple[int, ...], where: str | os.PathLike[str]) -> float:
    """The largest difference, as a share of the largest sample (at least 1).  Raises ModelError beyond CLOSE."""
    worst = 0.0
    for count in lengths:
        noisy = 0.1 * torch.randn(1, count, generator=torch.Generator().manual_seed(count))
        expected = model(noisy)
        try:
            got = run(noisy)
        except Exception as error:  # what runs the graph fails in any way too
            first = str(error).splitlines()[0][:200]
            mend = "give one length with --samples"
            raise ModelError(where, f"the graph fails at {count} samples ({first})", mend=mend) from error
        if got.shape != expected.shape:
            problem = f"the graph gives {list(got.shape)} for {list(noisy.shape)}"
            raise ModelError(where, problem, mend="give one length with --samples")
        worst = max(worst, (got - expected).abs().max().item() / max(1.0, expected.abs().max().item()))
    if not worst <= CLOSE:
        raise ModelError(where, f"the graph differs by {worst:.1e}", mend="give one length with --samples")
    return worst


def _write_torch_export(graph: nn.Module, count: int, longest: int | None, out: Path) -> Run:
    """longest: of any length, or None for `count` alone."""
    from torch.export import load, save

    save(_exported(graph, count, longest), out.with_suffix(".pt2"))
    out.with_suffix(".pt2").rename(out)
    with open(out, "rb") as stream:
        module = load(stream).module()
    return lambda noisy: module(noisy)


def _exported(graph: nn.Module, count: int, longest: int | None) -> Any:
    from torch.export import Dim, export

    shapes = None if longest is None else {"noisy": {1: Dim("samples", min=SHORTEST, max=longest)}}
    return export(
        graph, (torch.zeros(1, count),), dynamic_shapes=shapes, prefer_deferred_runtime_asserts_over_guards=True
    )


def _write_onnx(graph: nn.Module, count: int, longest: int | None, out: Path) -> Run:
    """longest: of any length, or None for `count` alone."""
    import onnxruntime

    axes = {0: "batch", 1: "samples"}
    # The tracing exporter keeps an LSTM whole and is done in seconds; the newer one unrolls it, and reasons for minutes
    # about the lengths inside a net of eight strides.
    torch.onnx.export(
        graph, (torch.zeros(1, count),), str(out), dynamo=False, input_names=["noisy"], output_names=["clean"],
        dynamic_axes=None if longest is None else {"noisy": axes, "clean": axes},
    )  # fmt: skip
    session = onnxruntime.InferenceSession(out.read_bytes(), providers=["CPUExecutionProvider"])
    return lambda noisy: torch.from_numpy(session.run(None, {"noisy": noisy.numpy()})[0])


def _has_recurrence(model: nn.Module) -> bool:
    return any(isinstance(part, nn.RNNBase) for part in model.modules())


def _graph_of(model: Generator) -> nn.Module:
    """The model put so that it can be traced at any length."""
    if isinstance(model, Compact):
        return CompactGraph(model)
    _simplify(model)
    if isinstance(model, ContextGenerator):
        return ContextGraph(model)
    return model


def _simplify(model: Generator) -> None:
    """Complex numbers, norms of weights and windows go."""
    for parent in list(model.modules()):
        if is_parametrized(parent):
            for name in list(parent.parametrizations):  # type: ignore[arg-type]
                remove_parametrizations(parent, name)
        for name, part in list(parent.named_children()):
            if isinstance(part, ShortTime):
                setattr(parent, name, RealShortTime(part))
    if isinstance(model, WindowGenerator):
        model.window = LONGEST


class RealShortTime(nn.Module):
    """ShortTime with cosines and sines: convolutions forth and back."""

    forth: Tensor
    back: Tensor
    squares: Tensor

    def __init__(self, transform: ShortTime) -> None:
        super().__init__()
        self.size, self.hop = transform.size, transform.hop
        self.register_buffer("forth", _analysis(transform.window).T[:, None])  # [2 bins, 1, size]
        self.register_buffer("back", _synthesis(transform.window)[:, None])
        self.register_buffer("squares", transform.window.square()[None, None])

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        real, imag = nn.functional.conv1d(rows[:, None], self.forth, stride=self.hop).chunk(2, dim=1)
        return real, imag

    def inverse(self, real: Tensor, imag: Tensor, samples: int) -> Tensor:
        values, ones = torch.cat([real, imag], dim=1), torch.ones_like(real[:, :1])
        summed = nn.functional.conv_transpose1d(values, self.back, stride=self.hop)
        weight = nn.functional.conv_transpose1d(ones, self.squares, stride=self.hop)
        first = self.size // 2
        return (summed[..., first : first + samples] / weight[..., first : first + samples])[:, 0]


def _filled(samples: Tensor, multiple: int) -> Tensor:
    """Zeros up to the next multiple, put so that a graph knows it is one."""
    whole = parts_of(samples.shape[-1], multiple) * multiple
    return nn.functional.pad(samples, (0, multiple - 1))[..., :whole]


class ContextGraph(nn.Module):
    """A ContextGenerator with the de-emphasis as a convolution."""

    fading: Tensor

    def __init__(self, model: ContextGenerator) -> None:
        super().__init__()
        self.model = model
        powers = torch.tensor(model.emphasis, dtype=torch.float64) ** torch.arange(FADED - 1, -1, -1)
        self.register_buffer("fading", powers.float()[None, None])

    def forward(self, noisy: Tensor) -> Tensor:
        scale = self.model._scale(noisy.square().mean(-1, keepdim=True).sqrt())
        filled = _filled(pre_emphasis(noisy / scale, self.model.emphasis), self.model.alignment)
        out = self.model.raw(filled, 0)[:, : noisy.shape[-1]]
        if self.model.emphasis:
            out = nn.functional.conv1d(nn.functional.pad(out, (FADED - 1, 0))[:, None], self.fading)[:, 0]
        return out * scale


class CompactGraph(nn.Module):
    """The compact model with cosines and sines instead of Fourier transforms, and a bounded mask of two parts."""

    forth: Tensor
    back: Tensor

    def __init__(self, model: Compact) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("forth", _analysis(model.spectrum.window))  # [size, 2 bins]
        self.register_buffer("back", _synthesis(model.spectrum.window))  # [2 bins, size]

    def forward(self, noisy: Tensor) -> Tensor:
        hop, count = self.model.config.hop, noisy.shape[-1]
        level = noisy.square().mean(-1, keepdim=True).sqrt().clamp(min=SILENCE)
        hops = _filled(noisy / level, hop).reshape(noisy.shape[0], -1, hop)
        hops = nn.functional.pad(hops, (0, 0, 1, 1))
        real, imag = (torch.cat([hops[:, :-1], hops[:, 1:]], dim=-1) @ self.forth).chunk(2, dim=-1)
        mask, _ = self.model.mask_parts(real, imag, 0, real.shape[1], None)
        masked = torch.cat([real * mask[0] - imag * mask[1], real * mask[1] + imag * mask[0]], dim=-1)
        first, second = (masked @ self.back).chunk(2, dim=-1)
        return (second[:, :-1] + first[:, 1:]).flatten(1)[:, :count] * level


def _analysis(window: Tensor) -> Tensor:
    """What the windowed transform makes of each sample, the transform of the identity: [size, 2 bins]."""
    values = torch.fft.rfft(torch.eye(len(window), dtype=torch.float64) * window.double())
    return torch.cat([values.real, values.imag], dim=-1).float()


def _synthesis(window: Tensor) -> Tensor:
    """What the windowed inverse makes of each real and imaginary part: [2 bins, size]."""
    size = len(window)
    bins = torch.eye(size // 2 + 1, dtype=torch.complex128)
    parts = torch.cat([torch.fft.irfft(bins, n=size), torch.fft.irfft(1j * bins, n=size)])
    return (parts * window.double()).float()


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters' remarks about their own coming versions are kept from the user."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
