"""The fused GPU loops: trusted only where they equal the plain ones."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from am.models import ligru_fused, ligru_step
from am.models.ligru import LiGRUConfig, LiGRULayer
from am.models.packing import Packing

ROOT = Path(__file__).resolve().parents[3]
PLAIN = (ligru_step.run_forward, ligru_step.run_backward)
INTERPRETED = """
import torch
from am.models.ligru_fused import _triton_loops, largest_difference
print(max(largest_difference(_triton_loops(), torch.device("cpu"), groups) for groups in (1, 2)))
"""


@pytest.fixture(autouse=True)
def fresh_proofs():
    ligru_fused._proved_loops.cache_clear()
    yield
    ligru_fused._proved_loops.cache_clear()


def test_kernels_equal_the_plain_loops_in_tritons_interpreter():
    """Without a GPU the kernels run one step a launch, interpreted; the barrier between steps needs the gpu test."""
    pytest.importorskip("triton", reason="Triton comes with torch for CUDA only")
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 1e-4


def test_a_cpu_keeps_the_plain_loops():
    assert ligru_fused.fused_loops(torch.zeros(1)) is None


def test_loops_that_equal_the_plain_ones_are_used(monkeypatch, caplog):
    monkeypatch.setattr(ligru_fused, "_triton_loops", lambda: PLAIN)
    with caplog.at_level("INFO"):
        assert ligru_fused._proved_loops("cpu") == PLAIN
    assert "fused Li-GRU kernel in use" in caplog.text


def test_a_missing_compiler_falls_back_with_a_warning(monkeypatch, caplog):
    def missing():
        raise ImportError("no module named triton")

    monkeypatch.setattr(ligru_fused, "_triton_loops", missing)
    assert ligru_fused._proved_loops("cpu") is None
    assert "no fused Li-GRU kernel (ImportError: no module named triton)" in caplog.text


@pytest.mark.parametrize("wrong", [2.0, float("nan")])
def test_loops_with_another_result_are_refused(monkeypatch, caplog, wrong):
    def forward(gates, states, recurrent, mask, packing):
        ligru_step.run_forward(gates, states, recurrent, mask, packing)
        states[-1] += wrong

    monkeypatch.setattr(ligru_fused, "_triton_loops", lambda: (forward, ligru_step.run_backward))
    assert ligru_fused._proved_loops("cpu") is None
    assert "differs by" in caplog.text


@pytest.mark.gpu
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("batch", [3, 16, 40])
def test_on_a_gpu_the_fused_layer_equals_the_plain_one(tied, batch):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.manual_seed(0)
    layer = LiGRULayer(40, LiGRUConfig(units=550, tied_directions=tied, dropout=0.0)).cuda()
    packing = Packing.of(sorted(torch.randint(20, 120, (batch,)).tolist(), reverse=True), device="cuda")
    rows, results = torch.randn(packing.frames, 40, device="cuda"), []
    for allowed in (True, False):
        ligru_fused.allow_fused(allowed)
        layer.zero_grad()
        output = layer(rows, packing)
        (output * torch.linspace(-1, 1, output.numel(), device="cuda").view_as(output)).sum().backward()
        results.append((output, layer.recurrent.grad.clone(), layer.feedforward.grad.clone()))
    ligru_fused.allow_fused(True)
    assert ligru_fused.fused_loops(rows) is not None
    for fused, plain in zip(*results, strict=True):
        assert torch.allclose(fused, plain, atol=1e-3 * plain.abs().max().item())
