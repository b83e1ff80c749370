"""The verbs of the GMM system: gmm (the whole ladder), align, fmllr, decode-gmm, copy-ali."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[Path, typer.Option("--data", help="Kaldi data dir with feats.scp, cmvn.scp and text")]
LangOption = Annotated[Path, typer.Option("--lang", help="lang dir")]
ModelOption = Annotated[Path, typer.Option("--model", help="GMM directory (final.mdl, tree, ...)")]
OutOption = Annotated[Path, typer.Option("--out", help="directory to write")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="a file of cfg/hmm; default: Kaldi's schedules")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the config, as sat.leaves=1500")]
JobsOption = Annotated[int | None, typer.Option("--jobs", help="threads, parts of archives; default: all cores")]
ForceOption = Annotated[bool, typer.Option("--force", help="make it again although it stands")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the room's app."""
    app.command()(gmm)
    app.command()(align)
    app.command()(fmllr)
    app.command("decode-gmm")(decode_gmm)
    app.command("copy-ali")(copy_ali)


def gmm(
    data: DataOption,
    lang: LangOption,
    out: Annotated[Path, typer.Option("--out", help="exp folder: mono, mono_ali, tri1, ... are made in it")],
    until: Annotated[str, typer.Option("--until", help="last rung: mono, tri1, tri2b or tri3b")] = "tri3b",
    ali: Annotated[Path | None, typer.Option("--ali", help="train only tri3b, from this alignment directory")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    jobs: JobsOption = None,
    force: ForceOption = False,
) -> None:
    """Train mono, tri1, tri2b and tri3b (SAT) with their alignments; rungs that stand are not made again."""
    from harness.config import load_config
    from harness.jobs import default_jobs
    from hmm.ladder import train_ladder
    from hmm.ladder_config import LadderConfig

    options = load_config(LadderConfig, config, set_ or ())
    train_ladder(data, lang, out, options, until=until, ali=ali, jobs=jobs or default_jobs(), force=force)


def align(
    data: DataOption,
    lang: LangOption,
    model: ModelOption,
    out: OutOption,
    adapt: Annotated[bool | None, typer.Option("--adapt/--no-adapt", help="default: if it has final.alimdl")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    jobs: JobsOption = None,
    force: ForceOption = False,
) -> None:
    """Align a data dir with its transcripts; with a speaker-adaptive model also estimate fMLLR (trans.N)."""
    from harness.config import load_config
    from harness.jobs import default_jobs
    from hmm.align import AlignConfig
    from hmm.align_data import AlignFmllrConfig, align_fmllr
    from hmm.align_data import align as align_once

    jobs = jobs or default_jobs()
    if (model / "final.alimdl").is_file() if adapt is None else adapt:
        adaptive = load_config(AlignFmllrConfig, config, set_ or ())
        align_fmllr(data, lang, model, out, adaptive, jobs=jobs, force=force)
    else:
        plain = load_config(AlignConfig, config, set_ or ())
        align_once(data, lang, model, out, plain, jobs=jobs, force=force)


def fmllr(
    data: DataOption,
    lang: LangOption,
    model: ModelOption,
    out: OutOption,
    ali: Annotated[Path, typer.Option("--ali", help="alignments of these utterances, made with the same model")],
    config: ConfigOption = None,
    set_: SetOption = None,
    jobs: JobsOption = None,
    force: ForceOption = False,
) -> None:
    """Estimate fMLLR transforms (trans.N) of a data dir from given alignments, for example of noisy copies."""
    from harness.config import load_config
    from harness.jobs import default_jobs
    from hmm.align_data import estimate_transforms
    from hmm.fmllr import FmllrConfig

    options = load_config(FmllrConfig, config, set_ or ())
    estimate_transforms(data, lang, model, ali, out, options, jobs=jobs or default_jobs(), force=force)


def decode_gmm(
    data: Annotated[Path, typer.Option("--data", help="Kaldi data dir with feats.scp and cmvn.scp")],
    graph: Annotated[Path, typer.Option("--graph", help="graph directory with HCLG.fst")],
    model: ModelOption,
    out: Annotated[Path, typer.Option("--out", help="decode directory to write: lat.N.gz, trans.N, num_jobs")],
    config: ConfigOption = None,
    set_: SetOption = None,
    jobs: JobsOption = None,
    force: ForceOption = False,
) -> None:
    """Decode with a GMM system; in two passes with fMLLR per speaker where the model is speaker-adaptive."""
    from harness.config import load_config
    from harness.jobs import default_jobs
    from hmm import decode_gmm as decoding

    options = load_config(decoding.DecodeGmmConfig, config, set_ or ())
    decoding.decode_gmm(model, graph, data, out, options, jobs=jobs or default_jobs(), force=force)


def copy_ali(
    data: Annotated[Path, typer.Option("--data", help="data dir of the copies (noisy, enhanced)")],
    ali: Annotated[Path, typer.Option("--ali", help="alignment directory of the originals")],
    out: OutOption,
    prefix: Annotated[list[str] | None, typer.Option("--prefix", help="before the originals' ids; repeatable")] = None,
    jobs: JobsOption = None,
    force: ForceOption = False,
) -> None:
    """Give copies of aligned utterances the alignments of their originals."""
    from harness.jobs import default_jobs
    from hmm.align_data import copy_alignments

    copy_alignments(data, ali, out, prefix or (), jobs=jobs or default_jobs(), force=force)
