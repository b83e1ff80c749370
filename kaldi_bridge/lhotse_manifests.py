"""lhotse's manifests, read and written as the JSON lines they are; lhotse itself need not be installed.

recordings.jsonl(.gz) and supervisions.jsonl(.gz), or cuts.jsonl(.gz) that carry both.  Reference: lhotse 1.33,
https://lhotse.readthedocs.io.  Recordings are files or commands; segments count in seconds.
"""

from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.atomic import whole_dir
from harness.errors import DataDirError
from kaldi_bridge.audio import CHANNEL_NAMES
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.extended_names import kind_of
from kaldi_bridge.sound_files import open_sound
from kaldi_bridge.text_tables import fields_of

MEND = "write the manifests anew with lhotse (to_file), or give others"


@dataclass(frozen=True, kw_only=True)
class Supervision:
    """What is said in a stretch of a recording.  recording: a file, or a command that ends in '|'.  start, end: in
    seconds; both None where it is the whole recording."""

    name: str
    recording: str
    text: str
    speaker: str
    gender: str
    age: str
    start: float | None
    end: float | None


def read_manifests(folder: str | os.PathLike[str]) -> list[Supervision]:
    """The supervisions of a folder with recordings and supervisions, or cuts.  Raises DataDirError with the line."""
    root = Path(folder)
    cuts = _manifest(root, "cuts")
    if cuts is not None:
        pairs = [pair for where, cut in _lines(cuts) for pair in _of_cut(cut, where)]
    else:
        recordings, supervisions = _manifest(root, "recordings"), _manifest(root, "supervisions")
        if recordings is None or supervisions is None:
            problem = "holds neither cuts.jsonl nor recordings.jsonl and supervisions.jsonl (nor the same with .gz)"
            raise DataDirError(root, problem, mend=MEND)
        known = {_get(row, "id", where): row for where, row in _lines(recordings)}
        pairs = []
        for where, row in _lines(supervisions):
            if (recording := known.get(_get(row, "recording_id", where))) is None:
                raise DataDirError(where, f"recording {row['recording_id']} is not in {recordings.name}", mend=MEND)
            pairs.append((where, row, recording, 0.0))
    return [_checked(*pair) for pair in pairs]


def _checked(where: str, *row: Any) -> Supervision:
    """A supervision; values of other types than lhotse writes, and keys that are missing, raise DataDirError."""
    try:
        return _supervision(where, *row)
    except (TypeError, ValueError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise DataDirError(where, f"is not as lhotse writes it ({error!r})", mend=MEND) from None


def _of_cut(cut: Mapping[str, Any], where: str) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any], Any]]:
    kind = cut.get("type", "MonoCut")
    if kind != "MonoCut":
        raise DataDirError(
            where, f"is a {kind}, not a MonoCut", mend="save the mixed sound first (lhotse: save_audios)"
        )
    for row in cut.get("supervisions", []):
        yield where, row, _get(cut, "recording", where), _get(cut, "start", where)


def _supervision(where: str, row: Mapping[str, Any], recording: Mapping[str, Any], offset: Any) -> Supervision:
    start = float(offset) + float(_get(row, "start", where))
    end = start + float(_get(row, "duration", where))
    length = float(_get(recording, "duration", where))
    whole = start <= 0 and end >= length - 1 / float(_get(recording, "sampling_rate", where))
    custom = row.get("custom") or {}
    gender = str(row.get("gender") or "").strip().lower()[:1]
    return Supervision(
        name=str(_get(row, "id", where)), recording=_source(recording, where), text=str(row.get("text") or "").strip(),
        speaker=str(_get(row, "speaker", where)), gender=gender if gender in ("m", "f") else "",
        age=str(custom.get("age") or ""), start=None if whole else start, end=None if whole else min(end, length),
    )  # fmt: skip


def _source(recording: Mapping[str, Any], where: str) -> str:
    """The file or command of a recording of one channel."""
    sources = _get(recording, "sources", where)
    if len(sources) != 1 or len(sources[0].get("channels", [0])) != 1:
        mend = "choose one channel with lhotse first"
        raise DataDirError(where, f"recording {recording['id']} has several channels or files", mend=mend)
    match sources[0].get("type"):
        case "file":
            return str(Path(sources[0]["source"]).absolute())
        case "command":
            return f"{sources[0]['source']} |"
        case kind:
            problem = f"recording {recording['id']} is of type {kind!r}, not a file or a command"
            raise DataDirError(where, problem, mend="save it as a file first (lhotse: save_audios)")


def write_manifests(data: DataDir, out: str | os.PathLike[str], *, force: bool = False) -> tuple[int, int]:
    """Write recordings.jsonl.gz and supervisions.jsonl.gz of a data directory; returns how many of each.

    Raises DataDirError: no wav.scp, a recording within an archive, which lhotse cannot read.
    """
    if data.wav_scp is None:
        raise DataDirError(data.path / "wav.scp", "no such file", mend="make wav.scp")
    recordings = {name: _recording(data, name) for name in sorted(data.keys("recording"))}
    rows = [_row(data, utterance, recordings) for utterance in data.utterances]
    with whole_dir(out, force=force) as aside:
        _write(aside / "recordings.jsonl.gz", recordings.values())
        _write(aside / "supervisions.jsonl.gz", rows)
    return len(recordings), len(rows)


def _recording(data: DataDir, name: str) -> dict[str, Any]:
    place = (data.wav_scp or {})[name].strip()
    if kind_of(place) == "place" and not os.path.exists(place):
        problem = f"recording {name} lies in an archive, which lhotse cannot read"
        raise DataDirError(data.path / "wav.scp", problem, mend="copy it out: wav-copy in wav.scp, as a command with |")
    command = place.endswith("|")
    with open_sound(place, where=f"{data.path}: recording {name}") as (_, info):
        source = place.removesuffix("|").strip() if command else os.path.abspath(place)
        return {
            "id": name, "sources": [{"type": "command" if command else "file", "channels": list(range(info.channels)),
                                     "source": source}],
            "sampling_rate": info.rate, "num_samples": info.frames, "duration": info.frames / info.rate,
            "channel_ids": list(range(info.channels)),
        }  # fmt: skip


def _row(data: DataDir, utterance: str, recordings: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    recording, start, end, channel = data.segment_of(utterance)
    length = recordings[recording]["duration"]
    speaker = data.utt2spk[utterance]
    if channel is None and len(recordings[recording]["channel_ids"]) > 1:
        line = data.tables.get("reco2file_and_channel", {}).get(recording, "")
        channel = CHANNEL_NAMES.get(fields_of(line)[-1] if line else "")
        if channel is None:
            mend = "name one in reco2file_and_channel ('<recording> <file> A' or B)"
            raise DataDirError(data.path, f"recording {recording} has several channels and none is chosen", mend=mend)
    row: dict[str, Any] = {
        "id": utterance, "recording_id": recording, "start": start, "channel": channel or 0,
        "duration": round((length if end < 0 else min(end, length)) - start, 8), "speaker": speaker,
    }  # fmt: skip
    if data.text is not None:
        row["text"] = data.text[utterance]
    if data.spk2gender is not None:
        row["gender"] = data.spk2gender[speaker]
    if data.spk2age is not None:
        row["custom"] = {"age": data.spk2age[speaker]}
    return row


def _manifest(folder: Path, stem: str) -> Path | None:
    """stem.jsonl(.gz), also as lhotse's recipes name them: CORPUS_stem_PART.jsonl.gz, where there is one."""
    found = [path for path in (folder / f"{stem}.jsonl", folder / f"{stem}.jsonl.gz") if path.is_file()]
    found = found or sorted(path for path in folder.glob(f"*{stem}*.jsonl*") if path.is_file())
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataDirError(folder, f"has several manifests of {stem}: {names}", mend="put each part into a folder")
    return found[0] if found else None


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file:line, object) of each line."""
    raw = path.read_bytes()
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataDirError(path, f"cannot be read ({error})", mend=MEND) from None
    for number, line in enumerate(text.split("\n"), start=1):  # a text may hold other ends of lines
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataDirError(f"{path}:{number}", f"is no JSON ({error})", mend=MEND) from None
        if not isinstance(row, dict):
            raise DataDirError(f"{path}:{number}", "is no object with keys", mend=MEND)
        yield f"{path}:{number}", row


def _get(row: Mapping[str, Any], key: str, where: str) -> Any:
    if row.get(key) is None:
        raise DataDirError(where, f"has no {key}", mend=MEND)
    return row[key]


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Gzipped JSON lines without a time stamp: the same rows, the same bytes."""
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", mtime=0) as packed:
        for row in rows:
            packed.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    path.write_bytes(stream.getvalue())
