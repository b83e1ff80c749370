"""Kaldi data directories: read, build, subset, write.

A directory holds tables keyed by utterance (text, utt2spk, feats.scp, any other utt2*), by speaker (spk2gender,
spk2age, cmvn.scp, any other spk2*) and by recording (wav.scp, reco2dur, reco2file_and_channel).  Without ``segments`` a
recording is an utterance.  Reference: http://kaldi-asr.org/doc/data_prep.html.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.atomic import whole_dir, write_whole
from harness.errors import DataDirError
from kaldi_bridge.text_tables import (
    fields_of,
    group_by_speaker,
    key_and_value,
    read_text_table,
    text_lines,
    write_text_table,
)

UTTERANCE_TABLES = ("text", "utt2spk", "segments", "feats.scp", "vad.scp")  # and every utt2*
SPEAKER_TABLES = ("cmvn.scp",)  # and every spk2*
RECORDING_TABLES = ("wav.scp", "reco2file_and_channel", "reco2dur")  # and every reco2*
SINGLE_VALUES = ("frame_shift",)  # files of one value
STALE_AFTER_NEW_AUDIO = ("feats.scp", "cmvn.scp", "vad.scp", "utt2num_frames", "cmvn_utt.scp")


def key_kind(name: str) -> str | None:
    """What a table's keys are: "utterance", "speaker" or "recording"; None for a file that is no table."""
    if name in ("spk2utt", *SINGLE_VALUES) or name.endswith((".tmp", "~", ".bak")):
        return None
    if name in UTTERANCE_TABLES or name.startswith("utt2"):
        return "utterance"
    if name in SPEAKER_TABLES or name.startswith("spk2"):
        return "speaker"
    if name in RECORDING_TABLES or name.startswith("reco2"):
        return "recording"
    return "utterance" if name.endswith(".scp") else None


@dataclass
class DataDir:
    """A data directory in memory.

    path: where it was read from or is to be written.
    tables: {file name: {key: value}}; ``data.tables["utt2snr"]`` is any extra table, attributes name the usual ones.
    values: {file name: content} of files with a single value (frame_shift).
    """

    path: Path
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | os.PathLike[str], validate: bool = True) -> DataDir:
        """Read every table in ``path``; validate refuses what Kaldi's validate_data_dir.sh refuses of the files there.

        Raises DataDirError with file and line.
        """
        from kaldi_bridge.validate import ValidateOptions, validate_data_dir

        directory = Path(path)
        if not directory.is_dir():
            raise DataDirError(path, "no such data directory", mend="check the path, or run the stage that makes it")
        if validate:
            validate_data_dir(directory, ValidateOptions.as_present())
        tables, values = {}, {}
        for file in sorted(directory.iterdir()):
            if not file.is_file() or file.name.startswith("."):
                continue
            if file.name in SINGLE_VALUES:
                values[file.name] = "".join(line for _, line in text_lines(file)).strip()
            elif key_kind(file.name):
                tables[file.name] = read_text_table(file)
        if "utt2spk" not in tables:
            mend = "make utt2spk: one line '<utterance> <speaker>' an utterance"
            raise DataDirError(directory / "utt2spk", "no such file", mend=mend)
        return cls(directory, tables, values)

    @classmethod
    def build(cls, path: str | os.PathLike[str], **tables: Mapping[str, str] | None) -> DataDir:
        """A new directory in memory: ``DataDir.build(p, wav_scp=..., utt2spk=..., spk2age=...)``; None is left out."""
        named = {_file_name(name): dict(table) for name, table in tables.items() if table is not None}
        if "utt2spk" not in named:
            raise ValueError("a data directory needs utt2spk")
        return cls(Path(path), named)

    # ---- what is in it

    @property
    def wav_scp(self) -> dict[str, str] | None:
        """{recording: extended file name}"""
        return self.tables.get("wav.scp")

    @property
    def segments(self) -> dict[str, str] | None:
        """{utterance: "recording start end"}, seconds; `segment_of` parses one."""
        return self.tables.get("segments")

    @property
    def text(self) -> dict[str, str] | None:
        """{utterance: transcript}"""
        return self.tables.get("text")

    @property
    def utt2spk(self) -> dict[str, str]:
        """{utterance: speaker}"""
        return self.tables["utt2spk"]

    @property
    def utt2dur(self) -> dict[str, str] | None:
        """{utterance: seconds}"""
        return self.tables.get("utt2dur")

    @property
    def utt2num_frames(self) -> dict[str, str] | None:
        """{utterance: feature frames}"""
        return self.tables.get("utt2num_frames")

    @property
    def spk2gender(self) -> dict[str, str] | None:
        """{speaker: m or f}"""
        return self.tables.get("spk2gender")

    @property
    def spk2age(self) -> dict[str, str] | None:
        """{speaker: years}"""
        return self.tables.get("spk2age")

    @property
    def feats_scp(self) -> dict[str, str] | None:
        """{utterance: place of its features}"""
        return self.tables.get("feats.scp")

    @property
    def cmvn_scp(self) -> dict[str, str] | None:
        """{speaker: place of its CMVN statistics}"""
        return self.tables.get("cmvn.scp")

    @property
    def utterances(self) -> list[str]:
        """Utterance ids, sorted."""
        return sorted(self.utt2spk)

    @property
    def spk2utt(self) -> dict[str, list[str]]:
        """{speaker: sorted utterances}"""
        return group_by_speaker(self.utt2spk)

    @property
    def speakers(self) -> list[str]:
        """Speaker ids, sorted."""
        return sorted(set(self.utt2spk.values()))

    def segment_of(self, utterance: str) -> tuple[str, float, float, int | None]:
        """(recording, start, end in seconds, channel or None); a negative end means to the end of the recording."""
        if self.segments is None:
            return utterance, 0.0, -1.0, None
        parts = fields_of(self.segments[utterance])
        try:
            channel = int(parts[3]) if len(parts) == 4 else None
            recording, start, end = parts[0], float(parts[1]), float(parts[2])
        except (IndexError, ValueError) as error:
            problem = f"segment of {utterance}: expected 'recording start end', got {self.segments[utterance]!r}"
            raise DataDirError(self.path / "segments", problem, mend="times are seconds, as 1.25") from error
        return recording, start, end, channel

    def recording_of(self, utterance: str) -> str:
        """The recording that an utterance lies in."""
        return self.segment_of(utterance)[0]

    def keys(self, kind: str) -> set[str]:
        """All ids of a kind: "utterance", "speaker" or "recording"."""
        match kind:
            case "utterance":
                return set(self.utt2spk)
            case "speaker":
                return set(self.utt2spk.values())
            case "recording":
                return {self.recording_of(utterance) for utterance in self.utt2spk}
            case _:
                raise ValueError(f"kind must be utterance, speaker or recording, got {kind!r}")

    # ---- new directories out of it

    def subset(self, utterances: Iterable[str], path: str | os.PathLike[str] | None = None) -> DataDir:
        """The directory of these utterances alone, with their speakers and recordings; every table is kept.

        Raises DataDirError where an utterance is not in the directory, or none is left.
        """
        wanted = set(utterances)
        if strange := wanted - set(self.utt2spk):
            problem = f"{len(strange)} of the wanted utterances are not here (first: {min(strange)})"
            raise DataDirError(self.path / "utt2spk", problem, mend="check the list against utt2spk")
        if not wanted:
            raise DataDirError(self.path, "the subset has no utterances", mend="give at least one")
        utt2spk = {utterance: speaker for utterance, speaker in self.utt2spk.items() if utterance in wanted}
        small = DataDir(Path(path) if path is not None else self.path, {**self.tables, "utt2spk": utt2spk})
        keep = {kind: small.keys(kind) for kind in ("utterance", "speaker", "recording")}
        tables = {
            name: {key: value for key, value in table.items() if key in keep[key_kind(name) or "utterance"]}
            for name, table in small.tables.items()
        }
        return DataDir(small.path, tables, dict(self.values))

    def subset_speakers(self, speakers: Iterable[str], path: str | os.PathLike[str] | None = None) -> DataDir:
        """The utterances of these speakers; a speaker who is not here raises DataDirError."""
        wanted = set(speakers)
        if strange := wanted - set(self.utt2spk.values()):
            problem = f"{len(strange)} of the wanted speakers are not here (first: {min(strange)})"
            raise DataDirError(self.path / "utt2spk", problem, mend="check the list against spk2utt")
        return self.subset((utt for utt, speaker in self.utt2spk.items() if speaker in wanted), path)

    def split_by_speaker(self, parts: int) -> list[DataDir]:
        """Cut into parts of about equal numbers of utterances, no speaker in two; see kaldi_bridge.split."""
        from kaldi_bridge.split import split_by_speaker

        return split_by_speaker(self, parts)

    def rename(self, of_utterance: Callable[[str], str], of_speaker: Callable[[str], str],
               of_recording: Callable[[str], str] | None = None) -> DataDir:  # fmt: skip
        """The same directory under other ids; recordings are renamed as utterances where there are no segments."""
        of_recording = of_utterance if self.segments is None or of_recording is None else of_recording
        new_name = {"utterance": of_utterance, "speaker": of_speaker, "recording": of_recording}
        tables = {
            name: {new_name[key_kind(name) or "utterance"](key): value for key, value in table.items()}
            for name, table in self.tables.items()
        }
        tables["utt2spk"] = {key: of_speaker(value) for key, value in tables["utt2spk"].items()}
        if self.segments is not None:
            for utterance, value in tables["segments"].items():
                recording, times = key_and_value(value)
                tables["segments"][utterance] = f"{of_recording(recording)} {times}"
        return DataDir(self.path, tables, dict(self.values))

    def without(self, *names: str) -> DataDir:
        """The same directory without these tables; one that is not there is no error."""
        tables = {name: table for name, table in self.tables.items() if name not in names}
        return DataDir(self.path, tables, {name: v for name, v in self.values.items() if name not in names})

    # ---- to disk and back

    def write(self, path: str | os.PathLike[str] | None = None, *, force: bool = True) -> DataDir:
        """Write all tables, sorted, with spk2utt, as a whole directory; returns it as it then stands.

        A directory that is there is replaced (its subdirectories and unknown files stay); force=False refuses it.
        """
        target = Path(path) if path is not None else self.path
        with whole_dir(target, force=force) as aside:
            if target.is_dir():
                _carry_other_files(target, aside)
            self.write_tables(aside)
        return DataDir(target, self.tables, self.values)

    def write_tables(self, directory: Path) -> None:
        """Write the tables as files into an existing directory, each whole."""
        for name, table in self.tables.items():
            write_text_table(directory / name, table)
        write_text_table(directory / "spk2utt", {spk: " ".join(utts) for spk, utts in self.spk2utt.items()})
        for name, value in self.values.items():
            with write_whole(directory / name) as stream:
                stream.write(value + "\n")

    def validate(self) -> None:
        """Refuse, with file and line, what Kaldi's validator refuses; the files in ``path`` are judged."""
        from kaldi_bridge.validate import ValidateOptions, validate_data_dir

        validate_data_dir(self.path, ValidateOptions.as_present())

    def fix(self) -> DataDir:
        """Sort and filter the files in ``path`` as fix_data_dir.sh does, old ones in .backup; returns the fixed one."""
        from kaldi_bridge.fix import fix_data_dir

        return fix_data_dir(self.path)


def _file_name(name: str) -> str:
    return name[: -len("_scp")] + ".scp" if name.endswith("_scp") else name


def _carry_other_files(old: Path, new: Path) -> None:
    """Keep what is no table of ours: conf/, log/, .backup/, stm, notes."""
    for entry in old.iterdir():
        if entry.is_dir():
            if not re.fullmatch(r"split[0-9]+(utt)?", entry.name):  # stale as soon as the tables change
                shutil.copytree(entry, new / entry.name, symlinks=True, copy_function=_link)
        elif not (key_kind(entry.name) or entry.name == "spk2utt" or entry.name in SINGLE_VALUES):
            _link(entry, new / entry.name)


def _link(old: str | Path, new: str | Path) -> str:
    """A hard link, for arks may be large; a copy where the file system has none."""
    try:
        os.link(old, new)
    except OSError:
        shutil.copy2(old, new)
    return os.fspath(new)


def read_spk2utt(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """{speaker: utterances} of a spk2utt file."""
    return {key: fields_of(value) for key, value in (key_and_value(line) for _, line in text_lines(path))}
