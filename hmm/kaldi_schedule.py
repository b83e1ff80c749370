"""A ladder's schedule as words of Kaldi's training scripts, so that both train the same sizes for the same iterations.

Used by recipes/lib/kaldi.sh: ``python -m hmm.kaldi_schedule RUNG [FILE of cfg/hmm]`` prints a word a line: the options
of steps/train_mono.sh (mono), train_deltas.sh (tri1), train_lda_mllt.sh (tri2b), train_sat.sh (tri3b), then leaves and
Gaussians.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.config import load_config
from harness.errors import ConfigError
from harness.script import run_script
from hmm.align import AlignConfig
from hmm.ladder_config import RUNGS, DeltasConfig, LadderConfig, LdaMlltConfig, MonoConfig, SatConfig

SAID = {  # what the scripts have options for; the rest must be as they have it
    MonoConfig: {"gaussians", "iterations", "last_growth", "realign", "first_beam", "align", "seed"},
    DeltasConfig: {"leaves", "gaussians", "iterations", "last_growth", "realign", "align", "seed"},
    LdaMlltConfig: {"dim", "left_context", "right_context", "mllt"},
    SatConfig: {"adapt"},
}


def schedule_words(rung: str, config: LadderConfig, where: str = "the ladder") -> list[str]:
    """Options and sizes of one rung's script.  Raises ConfigError for a setting that the script has no option for."""
    part: Any = dict(zip(RUNGS, (config.mono, config.deltas, config.lda_mllt, config.sat), strict=True))[rung]
    said = set().union(*(SAID.get(kind, set()) for kind in type(part).__mro__))
    for field in fields(part):
        if field.name not in said and getattr(part, field.name) != getattr(type(part)(), field.name):
            problem = f"{rung}: Kaldi's script has no option for '{field.name}'"
            raise ConfigError(where, problem, mend="leave it out, or train without --kaldi")
    words = ["--num-iters", str(part.iterations), "--max-iter-inc", str(part.last_growth)]
    words += ["--realign-iters", _spaced(part.realign), *_align_words(part.align, mono=rung == "mono", where=where)]
    match part:
        case MonoConfig():
            return [*words, "--initial-beam", str(part.first_beam), "--totgauss", str(part.gaussians)]
        case LdaMlltConfig():
            context = f"--left-context={part.left_context} --right-context={part.right_context}"
            words += ["--dim", str(part.dim), "--mllt-iters", _spaced(part.mllt), "--splice-opts", context]
        case SatConfig():
            words += ["--fmllr-iters", _spaced(part.adapt)]
    return [*words, str(part.leaves), str(part.gaussians)]


def _align_words(align: AlignConfig, *, mono: bool, where: str) -> list[str]:
    if align.min_active != AlignConfig().min_active:
        raise ConfigError(where, "Kaldi's scripts have no option for 'min_active'", mend="leave it out")
    scales = (
        f"--transition-scale={align.transition_scale} --acoustic-scale={align.acoustic_scale} "
        f"--self-loop-scale={align.self_loop_scale}"
    )
    beam = "--regular-beam" if mono else "--beam"
    boost = ["--boost-silence", str(align.boost_silence)]
    return ["--scale-opts", scales, beam, str(align.beam), "--retry-beam", str(align.retry_beam), *boost]


def _spaced(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers))


def main(arguments: Sequence[str]) -> None:
    """Print the words of a rung."""
    rung, *file = arguments
    if rung not in RUNGS:
        raise ConfigError("hmm.kaldi_schedule", f"unknown rung '{rung}'", mend=f"choose from: {', '.join(RUNGS)}")
    path = Path(file[0]) if file and file[0] else None
    print("\n".join(schedule_words(rung, load_config(LadderConfig, path), str(path or "the ladder"))))


if __name__ == "__main__":
    run_script(main)
