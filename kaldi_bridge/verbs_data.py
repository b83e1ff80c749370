"""The verbs of python -m kaldi_bridge that work on data directories: validate, fix, subset, split, features, ..."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from harness.errors import ConfigError, DataDirError

if TYPE_CHECKING:
    from kaldi_bridge.data_dir import DataDir

DataArgument = Annotated[Path, typer.Argument(help="A Kaldi data directory.")]
OutArgument = Annotated[Path, typer.Argument(help="The data directory to write.")]
Jobs = Annotated[Optional[int], typer.Option(help="Processes; all cores if not given.")]  # noqa: UP045
Force = Annotated[bool, typer.Option("--force", help="Replace the output if it is there.")]
NoCommands = Annotated[bool, typer.Option("--no-commands", help="Refuse to run the commands in wav.scp.")]


def register(app: typer.Typer) -> None:
    """Add the verbs to the app of the room."""
    for verb in (validate, fix, copy, subset, split, combine, features, cmvn):
        app.command()(verb)
    app.command("perturb-speed")(perturb_speed)
    app.command("perturb-volume")(perturb_volume)
    app.command("check-audio")(check_audio)
    app.command("check-speakers")(check_speakers)
    app.command("to-lhotse")(to_lhotse)


def validate(
    data: DataArgument,
    feats: Annotated[bool, typer.Option(help="Must feats.scp be there?")] = True,
    text: Annotated[bool, typer.Option(help="Must text be there?")] = True,
    wav: Annotated[bool, typer.Option(help="Must wav.scp be there?")] = True,
    spk_sort: Annotated[bool, typer.Option(help="Must speakers be prefixes of utterances?")] = True,
    non_print: Annotated[bool, typer.Option("--non-print", help="Let characters pass that cannot be printed.")] = False,
) -> None:
    """Refuse what Kaldi's validate_data_dir.sh refuses; every problem is listed with file, line and mend."""
    from kaldi_bridge.validate import ValidateOptions, problems

    options = ValidateOptions(feats=feats, text=text, wav=wav, speaker_sort=spk_sort, printable=not non_print)
    found = problems(data, options)
    for problem in found[1:]:
        typer.echo(str(problem.error()), err=True)
    if found:
        raise found[0].error(more=len(found) - 1)
    typer.echo(f"{data} is a valid data directory")


def to_lhotse(
    data: DataArgument,
    out: Annotated[Path, typer.Argument(help="The folder to write recordings.jsonl.gz and supervisions.jsonl.gz to.")],
    force: Force = False,
) -> None:
    """Write lhotse's manifests of a data directory; prepare_data.sh --corpus lhotse is the way back."""
    from kaldi_bridge.data_dir import DataDir
    from kaldi_bridge.lhotse_manifests import write_manifests

    recordings, supervisions = write_manifests(DataDir.read(data), out, force=force)
    typer.echo(f"{out}: {recordings} recordings, {supervisions} supervisions")


def fix(data: DataArgument) -> None:
    """Sort and filter the tables to what all of them have; the old ones go to .backup."""
    from kaldi_bridge.fix import fix_data_dir

    fixed = fix_data_dir(data)
    typer.echo(f"{data}: {len(fixed.utterances)} utterances of {len(fixed.speakers)} speakers")


def copy(
    data: DataArgument,
    out: OutArgument,
    utt_prefix: Annotated[str, typer.Option(help="Put before every utterance id.")] = "",
    spk_prefix: Annotated[str, typer.Option(help="Put before every speaker id.")] = "",
    force: Force = False,
) -> None:
    """Copy the tables, with prefixes if wanted."""
    from kaldi_bridge.data_dir import DataDir

    source = DataDir.read(data)
    if utt_prefix or spk_prefix:
        source = source.rename(lambda utt: utt_prefix + utt, lambda spk: spk_prefix + spk, lambda recording: recording)
    _write(source, out, force)


def subset(
    data: DataArgument,
    out: OutArgument,
    first: Annotated[Optional[int], typer.Option(help="The first N utterances.")] = None,  # noqa: UP045
    last: Annotated[Optional[int], typer.Option(help="The last N utterances.")] = None,  # noqa: UP045
    shortest: Annotated[Optional[int], typer.Option(help="The shortest N utterances.")] = None,  # noqa: UP045
    random: Annotated[Optional[int], typer.Option(help="N utterances drawn with --seed.")] = None,  # noqa: UP045
    per_spk: Annotated[Optional[int], typer.Option(help="N utterances of each speaker.")] = None,  # noqa: UP045
    speakers: Annotated[Optional[int], typer.Option(help="Whole speakers until N utterances.")] = None,  # noqa: UP045
    utt_list: Annotated[Optional[Path], typer.Option(help="A file with utterances.")] = None,  # noqa: UP045
    spk_list: Annotated[Optional[Path], typer.Option(help="A file with speakers.")] = None,  # noqa: UP045
    seed: Annotated[int, typer.Option(help="Of --random and --speakers.")] = 0,
    force: Force = False,
) -> None:
    """Write the directory of some utterances; choose by exactly one option."""
    from kaldi_bridge.data_dir import DataDir
    from kaldi_bridge.split import choose_utterances
    from kaldi_bridge.text_tables import read_list

    source = DataDir.read(data)
    counts = {"first": first, "last": last, "shortest": shortest, "random": random, "per_speaker": per_spk,
              "speakers": speakers}  # fmt: skip
    if sum(choice is not None for choice in (*counts.values(), utt_list, spk_list)) != 1:
        raise ConfigError("subset", "give exactly one way to choose", mend="for example --first 100; see --help")
    if spk_list is not None:
        _write(source.subset_speakers(read_list(spk_list)), out, force)
    elif utt_list is not None:
        _write(source.subset(read_list(utt_list)), out, force)
    else:
        _write(source.subset(choose_utterances(source, seed=seed, **counts)), out, force)


def split(
    data: DataArgument,
    parts: Annotated[int, typer.Argument(help="How many parts.")],
    per_utt: Annotated[bool, typer.Option("--per-utt", help="Let a speaker be in two parts.")] = False,
) -> None:
    """Write DATA/splitN/1 ... as split_data.sh does."""
    from kaldi_bridge.split import write_split

    for path in write_split(data, parts, per_utterance=per_utt):
        typer.echo(path)


def combine(
    out: OutArgument,
    sources: Annotated[list[Path], typer.Argument(help="Data directories.")],
    force: Force = False,
) -> None:
    """Write one directory out of several."""
    from kaldi_bridge.combine import combine as combined
    from kaldi_bridge.data_dir import DataDir

    _write(combined([DataDir.read(source) for source in sources], out), out, force)


def features(
    data: DataArgument,
    kind: Annotated[str, typer.Option(help="mfcc, mfcc_hires or fbank; for --config: mfcc or fbank.")] = "mfcc",
    config: Annotated[Optional[Path], typer.Option(help="A Kaldi conf file.")] = None,  # noqa: UP045
    out: Annotated[Optional[Path], typer.Option(help="Folder of the arks; DATA/data if absent.")] = None,  # noqa: UP045
    compress: Annotated[bool, typer.Option(help="Kaldi's compressed matrices.")] = True,
    max_failed: Annotated[float, typer.Option(help="Share of utterances that may fail.")] = 0.05,
    resample: Annotated[bool, typer.Option("--resample", help="Convert other sample rates; said, counted.")] = False,
    no_commands: NoCommands = False,
    jobs: Jobs = None,
) -> None:
    """Make MFCC or filterbank features of every utterance: feats.scp, utt2num_frames, utt2dur."""
    from kaldi_bridge.features import PRESETS, make_features, read_config

    if kind not in PRESETS:
        raise ConfigError("--kind", f"must be one of {', '.join(PRESETS)}, got {kind!r}", mend="choose one of these")
    options = PRESETS[kind]() if config is None else read_config(config, "fbank" if kind == "fbank" else "mfcc")
    report = make_features(
        data, options, out, jobs, compress=compress, max_failed=max_failed, resample=resample,
        allow_commands=not no_commands,
    )  # fmt: skip
    typer.echo(f"{data}: features of {report.made} utterances, {len(report.failed)} failed")


def cmvn(
    data: DataArgument,
    out: Annotated[Optional[Path], typer.Option(help="Folder of the ark; DATA/data if not given.")] = None,  # noqa: UP045
    per_utt: Annotated[bool, typer.Option("--per-utt", help="Statistics of utterances, as cmvn_utt.scp.")] = False,
) -> None:
    """Compute mean and variance statistics of every speaker: cmvn.scp."""
    from kaldi_bridge.cmvn import compute_cmvn

    typer.echo(compute_cmvn(data, out, per_utterance=per_utt))


def perturb_speed(
    factor: Annotated[float, typer.Argument(help="0.9 is slower and lower.")],
    data: DataArgument,
    out: OutArgument,
    pipes: Annotated[bool, typer.Option("--pipes", help="Write sox pipes, as Kaldi does, not files.")] = False,
    no_commands: NoCommands = False,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Write a copy that is FACTOR times as fast; ids get the prefix spFACTOR-."""
    from kaldi_bridge import perturb

    try:
        perturb.perturb_speed(
            data, out, factor, jobs=jobs, pipes=pipes, allow_commands=not no_commands, force=force
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError("factor", str(error), mend="0.9 and 1.1 are usual") from error
    typer.echo(out)


def perturb_volume(
    data: DataArgument,
    out: OutArgument,
    low: Annotated[float, typer.Option(help="Smallest factor.")] = 0.125,
    high: Annotated[float, typer.Option(help="Largest factor.")] = 2.0,
    seed: Annotated[int, typer.Option(help="Of the draw, which also hangs on the recording.")] = 0,
    pipes: Annotated[bool, typer.Option("--pipes", help="Write sox pipes, as Kaldi does, not files.")] = False,
    no_commands: NoCommands = False,
    jobs: Jobs = None,
    force: Force = False,
) -> None:
    """Write a copy with each recording's volume multiplied by a drawn factor (table reco2vol)."""
    from kaldi_bridge import perturb

    try:
        perturb.perturb_volume(
            data, out, low=low, high=high, seed=seed, jobs=jobs, pipes=pipes,
            allow_commands=not no_commands, force=force,
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError("low, high", str(error), mend="0.125 and 2 are usual") from error
    typer.echo(out)


def check_audio(
    data: DataArgument,
    sample_rate: Annotated[int, typer.Option(help="What every recording must have.")] = 16000,
    no_commands: NoCommands = False,
) -> None:
    """Read every utterance; list all that cannot be read, with the reason."""
    from harness.errors import AudioError
    from harness.log import progress
    from kaldi_bridge.audio import AudioTable
    from kaldi_bridge.data_dir import DataDir

    table = AudioTable(DataDir.read(data), sample_rate=sample_rate, allow_commands=not no_commands)
    failed, seconds = [], 0.0
    for utterance in progress(table.data.utterances, label=f"audio of {data}"):
        try:
            seconds += len(table.read(utterance)) / sample_rate
        except AudioError as error:
            failed.append(error)
            typer.echo(str(error), err=True)
    total = len(table.data.utterances)
    if failed:
        problem = f"{len(failed)} of {total} utterances cannot be read (first: {failed[0].where})"
        raise DataDirError(data, problem, mend="mend or remove the recordings listed above")
    typer.echo(f"{data}: {total} utterances, {seconds / 3600:.2f} hours, all readable")


def check_speakers(sets: Annotated[list[Path], typer.Argument(help="Train, dev and test directories.")]) -> None:
    """Refuse sets that share a speaker."""
    from kaldi_bridge.split import refuse_shared_speakers

    refuse_shared_speakers(sets)
    typer.echo(f"{len(sets)} sets, no shared speaker")


def _write(data: DataDir, out: Path, force: bool) -> None:
    written = data.write(out, force=force)
    typer.echo(f"{out}: {len(written.utterances)} utterances of {len(written.speakers)} speakers")
