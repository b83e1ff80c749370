"""The process that measures one generator for `enhance profile`: python -m enhance.profiled REQUEST, JSON in and out.

Prints two lines: one when the first second of sound is enhanced, and one with what was measured, or what went wrong.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from harness.errors import SchoolyardError


def main() -> None:
    request = json.loads(sys.argv[1])
    try:
        found = measured(request)
    except SchoolyardError as error:
        print()
        found = {"where": error.where, "problem": error.problem, "mend": error.mend}
    print(json.dumps(found))


def measured(request: dict[str, Any]) -> dict[str, Any]:
    """Load, say that all is ready, warm up, and time the passes."""
    import numpy as np
    import torch

    from enhance.streaming import enhance_samples
    from enhance.weights import BUILTIN, load_generator

    torch.set_num_threads(request["threads"])
    bare = peak_memory()
    kind, model = load_generator(request["model"])
    rate = model.sample_rate
    sound = (0.05 * np.random.default_rng(0).standard_normal(round(request["seconds"] * rate))).astype(np.float32)
    enhance_samples(model, sound[:rate])
    print("ready", flush=True)
    enhance_samples(model, sound)  # not counted: caches, and memory that is taken once
    wall, processor = [], []
    for _ in range(request["repeats"]):
        begin = time.perf_counter(), time.process_time()
        enhance_samples(model, sound)
        wall.append(time.perf_counter() - begin[0])
        processor.append(time.process_time() - begin[1])
    file = BUILTIN if request["model"] == "builtin" else Path(request["model"])
    return {
        "kind": kind, "sample_rate": rate, "latency": model.latency, "seconds": len(sound) / rate, "wall": wall,
        "processor": processor, "peak_memory": peak_memory(), "bare_memory": bare,
        "parameters": sum(parameter.numel() for parameter in model.parameters()), "disk": file.stat().st_size,
    }  # fmt: skip


def peak_memory() -> int:
    """The most that was ever resident, in bytes.

    Of this program's own memory: getrusage would, on Linux, start from that of the process that started it.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
