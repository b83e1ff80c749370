"""The verbs that make and run acoustic models: pack, train, forward, show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.errors import SchoolyardError

if TYPE_CHECKING:
    from am.config import AcousticConfig
    from am.dataset import FrameSet
    from hmm.graph_note import GraphNote

Paths = list[Path]
DataOption = Annotated[Path, typer.Option("--data", help="Kaldi data dir with feats.scp")]
DataOptions = Annotated[Paths | None, typer.Option("--data", help="Kaldi data dir; repeat for several sets")]
AliOption = Annotated[Path | None, typer.Option("--ali", help="directory with ali.N.gz and final.mdl")]
FmllrOption = Annotated[Path | None, typer.Option("--fmllr", help="directory with trans.N; default: plain feats.scp")]
GmmOption = Annotated[
    Path | None, typer.Option("--gmm", help="directory with final.mat and splice_opts; default: --fmllr or above it")
]
LangOption = Annotated[Path | None, typer.Option("--lang", help="lang dir with phones.txt; default: --ali")]
ExtraOption = Annotated[Paths | None, typer.Option("--extra", help="data dir of a further feature stream, appended")]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="a file of cfg/am; default: the paper's Li-GRU")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE over the config, as train.epochs=3")]
DatasetOptions = Annotated[Paths | None, typer.Option("--dataset", help="file of 'am pack'; repeat for several")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N")]
CommandsOption = Annotated[
    bool, typer.Option("--commands/--no-commands", help="run the commands (pipes) in feats.scp and cmvn.scp, or refuse")
]
ForceOption = Annotated[bool, typer.Option("--force", help="replace what the output holds")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the room's app."""
    for verb in (pack, train, forward, show):
        app.command()(verb)


def pack(
    data: DataOption,
    out: Annotated[Path, typer.Option("--out", help="the .npz to write")],
    ali: AliOption = None,
    fmllr: FmllrOption = None,
    gmm: GmmOption = None,
    lang: LangOption = None,
    extra: ExtraOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    storage: Annotated[str, typer.Option("--storage", help="float16, or uint8 for half the size")] = "float16",
    commands: CommandsOption = True,
) -> None:
    """Features and targets of one data dir as one compact file, for training on any machine."""
    from am.inputs import Source, read_frames
    from harness.log import get_logger

    if storage not in ("float16", "uint8", "float32"):
        raise SchoolyardError("--storage", f"unknown form {storage!r}", mend="choose float16, uint8 or float32")
    streams = tuple(extra or ())
    source = Source(data=data, ali=ali, fmllr=fmllr, gmm=gmm, lang=lang, extra=streams, allow_commands=commands)
    frames = read_frames(source, _load(config, set_).inputs, storage=storage)  # type: ignore[arg-type]
    frames.save(out)
    size = out.stat().st_size / 2**20
    get_logger("am").info(
        "%s: %d utterances, %d frames of %d, %.1f MiB", out, len(frames.utterances), frames.frames, frames.dim, size
    )


def train(
    out: Annotated[Path, typer.Option("--out", help="directory of the model")],
    data: DataOptions = None,
    ali: Annotated[Paths | None, typer.Option("--ali", help="alignment directory, one for each --data")] = None,
    fmllr: Annotated[Paths | None, typer.Option("--fmllr", help="transform directory, one for each --data")] = None,
    gmm: GmmOption = None,
    lang: LangOption = None,
    graph: Annotated[
        Path | None, typer.Option("--graph", help="graph dir of the alignments' model; noted for decoding")
    ] = None,
    dataset: DatasetOptions = None,
    dev_data: Annotated[Path | None, typer.Option("--dev-data", help="development data dir")] = None,
    dev_ali: Annotated[Path | None, typer.Option("--dev-ali", help="its alignment directory")] = None,
    dev_fmllr: Annotated[Path | None, typer.Option("--dev-fmllr", help="its transform directory")] = None,
    dev_dataset: Annotated[Paths | None, typer.Option("--dev-dataset", help="development file of 'am pack'")] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    commands: CommandsOption = True,
    device: DeviceOption = "cpu",
    force: ForceOption = False,
) -> None:
    """Train an acoustic model on data dirs with alignments, or on packed files; a killed run goes on when rerun."""
    from am.dataset import hold_out, merge
    from am.train import train_model

    settings = _load(config, set_)
    device = _device(device)
    note = _graph_of(graph, ali)
    lang = lang or _symbols_of(graph, ali)
    sets, names = _packed(dataset)
    for position, path in enumerate(data or ()):
        choice = {"ali": _matching(ali, position, data, "--ali"), "fmllr": _matching(fmllr, position, data, "--fmllr")}
        sets.append(_read(settings, path, gmm=gmm, lang=lang, allow_commands=commands, **choice))
        names.append(str(path))
    if not sets:
        raise SchoolyardError("am train", "no training set", mend="give --dataset FILE, or --data DIR --ali DIR")
    _check_normalisation(settings, sets, names)
    whole = merge(sets, names)
    dev_sets, dev_names = _packed(dev_dataset)
    if dev_data is not None:
        places = {"ali": dev_ali, "fmllr": dev_fmllr, "gmm": gmm, "lang": lang, "allow_commands": commands}
        dev_sets.append(_read(settings, dev_data, **places))
        dev_names.append(str(dev_data))
    train_set, dev_set = (
        (whole, merge(dev_sets, dev_names)) if dev_sets else hold_out(whole, settings.train.dev_speakers)
    )
    _check_speakers(train_set, dev_set, dev_names)
    train_model(settings, train_set, dev_set, out, device=device, force=force)
    if note is not None:
        note.write(out)


def forward(
    model: Annotated[Path, typer.Option("--model", help="best.pt of 'am train'")],
    out: Annotated[Path, typer.Option("--out", help="directory for loglikes.N.ark and .scp")],
    data: Annotated[Path | None, typer.Option("--data", help="Kaldi data dir with feats.scp")] = None,
    fmllr: FmllrOption = None,
    gmm: GmmOption = None,
    extra: ExtraOption = None,
    dataset: Annotated[Path | None, typer.Option("--dataset", help="a file of 'am pack' in place of --data")] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="number of arks")] = 1,
    output: Annotated[str, typer.Option("--output", help="loglikes, or posteriors (log, no priors)")] = "loglikes",
    device: DeviceOption = "cpu",
    threads: Annotated[int, typer.Option("--threads", min=1, help="CPU threads")] = 1,
    commands: CommandsOption = True,
    force: ForceOption = False,
) -> None:
    """Log-likelihoods of every utterance, as arks that Kaldi's latgen-faster-mapped decodes."""
    import torch

    from am.dataset import FrameSet
    from am.forward import forward_to_ark
    from am.inputs import InputConfig, Source, read_frames
    from am.models.hybrid import load_model

    if output not in ("loglikes", "posteriors"):
        raise SchoolyardError("--output", f"unknown output {output!r}", mend="choose loglikes or posteriors")
    if (data is None) == (dataset is None):
        raise SchoolyardError("am forward", "needs one input", mend="give either --data or --dataset")
    torch.set_num_threads(threads)
    device = _device(device)
    if dataset is not None:
        frames = FrameSet.load(dataset)
    else:
        assert data is not None
        norm = load_model(model)[1]["inputs"]["speaker_norm"]
        source = Source(data=data, fmllr=fmllr, gmm=gmm, extra=tuple(extra or ()), allow_commands=commands)
        frames = read_frames(source, InputConfig(speaker_norm=norm), storage="float32")
    forward_to_ark(model, frames, out, jobs=jobs, output=output, device=device, force=force)  # type: ignore[arg-type]


def show(model: Annotated[Path, typer.Argument(help="best.pt of 'am train'")]) -> None:
    """What a trained model is: sizes, inputs, development figures."""
    import json

    from am.models.hybrid import load_model

    network, state = load_model(model)
    facts = {key: value for key, value in state.items() if key != "weights"}
    facts["phones"] = len(facts["phones"])
    facts["config"] = {"model": network.config.model, **facts["config"][network.config.model]}
    facts["parameters"] = sum(parameter.numel() for parameter in network.parameters())
    typer.echo(json.dumps(facts, indent=2))


def _load(config: Path | None, overrides: list[str] | None) -> AcousticConfig:
    from am.config import AcousticConfig
    from harness.config import load_config

    return load_config(AcousticConfig, config, overrides or ())


def _device(name: str) -> str:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SchoolyardError("--device", f"unknown device {name!r}", mend="give cpu, cuda or cuda:N") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SchoolyardError("--device", "no CUDA device is available", mend="give --device cpu")
    return name


def _packed(paths: Paths | None) -> tuple[list[FrameSet], list[str]]:
    from am.dataset import FrameSet

    return [FrameSet.load(path) for path in paths or ()], [str(path) for path in paths or ()]


def _matching(values: Paths | None, position: int, data: Paths | None, option: str) -> Path | None:
    if not values:
        return None
    if len(values) != len(data or ()):
        problem = f"{len(values)} given for {len(data or ())} --data"
        raise SchoolyardError(option, problem, mend=f"give one {option} for each --data, in the same order")
    return values[position]


def _read(settings: AcousticConfig, data: Path, **places: Any) -> FrameSet:
    from am.inputs import Source, read_frames

    if places.get("ali") is None:
        raise SchoolyardError(
            data, "has no alignments given", mend="give --ali DIR for each --data (--dev-ali for --dev-data)"
        )
    return read_frames(Source(data=data, **places), settings.inputs)


def _graph_of(graph: Path | None, ali: Paths | None) -> GraphNote | None:
    """The note of --graph, which must be of the model of every --ali."""
    from hmm.graph_note import check_graph

    if graph is None:
        return None
    if not ali:
        raise SchoolyardError("--graph", "needs alignments to be checked against", mend="give --data and --ali")
    notes = [check_graph(graph, one) for one in ali]
    return notes[0]


def _symbols_of(graph: Path | None, ali: Paths | None) -> Path | None:
    """The graph directory, where it has the phones.txt that the alignment directories lack."""
    if graph is None or not (graph / "phones.txt").is_file():
        return None
    return None if all((one / "phones.txt").is_file() for one in ali or ()) else graph


def _check_speakers(train_set: FrameSet, dev_set: FrameSet, dev_names: list[str]) -> None:
    """A development set with voices of the training set would choose the best at learning them by heart."""
    shared = sorted(set(train_set.speakers) & set(dev_set.speakers))
    if shared:
        problem = f"{len(shared)} of its speakers are in the training set too (first: {shared[0]})"
        raise SchoolyardError(", ".join(dev_names), problem, mend="split by speaker: every child in one set only")


def _check_normalisation(settings: AcousticConfig, sets: list[FrameSet], names: list[str]) -> None:
    for one, name in zip(sets, names, strict=True):
        if one.meta.speaker_norm != settings.inputs.speaker_norm:
            problem = f"inputs.speaker_norm is {settings.inputs.speaker_norm}, but {name} is {one.meta.speaker_norm}"
            raise SchoolyardError(name, problem, mend="pack it with the same --config, or change the setting")
