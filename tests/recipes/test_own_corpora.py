"""Corpora of the user's own: a Kaldi data directory, a folder with transcripts; whole and damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kaldi_bridge.data_dir import DataDir

ROOT = Path(__file__).resolve().parents[2]
CHILDREN = ("anna", "ben-1", "ben", "carl", "dora", "eve", "finn", "greta", "hal", "ida", "jo", "kim")


def record(path: Path, seconds: float = 0.1, channels: int = 1) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.ones((round(16000 * seconds), channels)), 16000, subtype="PCM_16")
    return str(path)


def prepare(corpus: str, source: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / f"recipes/{corpus}/prepare.py"), "--source", str(source), "--out", str(out)]
    return subprocess.run(
        [*command, *words], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )


def prepared(corpus: str, source: Path, out: Path, *words: str) -> dict[str, DataDir]:
    result = prepare(corpus, source, out, *words)
    assert result.returncode == 0, result.stderr
    return {name: DataDir.read(out / name) for name in ("train", "dev", "test") if (out / name).is_dir()}


def refusal(corpus: str, source: Path, out: Path, *words: str) -> str:
    result = prepare(corpus, source, out, *words)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert "mend:" in result.stderr
    assert not (out / "train").exists()
    return result.stderr


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def data_dir(folder: Path, speakers: range = range(12)) -> Path:
    """Two utterances a speaker; spk2utt is not there yet."""
    data = DataDir.build(
        folder,
        wav_scp={f"s{s:02d}-{u}": record(folder / f"wav/s{s:02d}-{u}.wav") for s in speakers for u in "ab"},
        text={f"s{s:02d}-{u}": "HELLO THERE" for s in speakers for u in "ab"},
        utt2spk={f"s{s:02d}-{u}": f"s{s:02d}" for s in speakers for u in "ab"},
        spk2age={f"s{s:02d}": str(6 + s // 2) for s in speakers},
    )
    data.write_tables(folder)
    (folder / "spk2utt").unlink()
    return folder


# ---- kaldi


def test_a_data_directory_is_split_by_speaker_twice_to_the_same_bytes(tmp_path: Path) -> None:
    source = data_dir(tmp_path / "source")
    before = files_of(source)
    sets = prepared("kaldi", source, tmp_path / "one")
    assert {name: len(data.speakers) for name, data in sets.items()} == {"train": 9, "dev": 1, "test": 2}
    assert sum(len(data.utterances) for data in sets.values()) == 24
    assert files_of(source) == before
    prepared("kaldi", source, tmp_path / "two")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    prepared("kaldi", source, tmp_path / "other", "--seed", "1")
    assert files_of(tmp_path / "one") != files_of(tmp_path / "other")


def test_a_disordered_data_directory_is_mended_and_the_losses_are_counted(tmp_path: Path) -> None:
    source = data_dir(tmp_path / "source")
    lines = (source / "utt2spk").read_text().splitlines()
    (source / "utt2spk").write_text("\r\n".join(reversed(lines)) + "\r\n")
    text = (source / "text").read_text().splitlines()
    (source / "text").write_text("\n".join(text[1:]) + "\n")
    (source / "wav/s03-a.wav").unlink()
    sets = prepared("kaldi", source, tmp_path / "out")
    assert sum(len(data.utterances) for data in sets.values()) == 22
    left_out = json.loads((tmp_path / "out/local/prepared.json").read_text())["left_out"]
    assert left_out["not in all tables"] == {"count": 1, "first": ["s00-a"]}
    assert left_out["recording missing"] == {"count": 1, "first": ["s03-a"]}
    assert "2 of 24 utterances cannot be used" in refusal("kaldi", source, tmp_path / "no", "--max-lost", "0.05")


def test_the_corpus_itself_is_no_output(tmp_path: Path) -> None:
    for name, speakers in (("train", range(12)), ("test", range(12, 15))):
        data_dir(tmp_path / "data" / name, speakers)
    before = files_of(tmp_path / "data")
    result = prepare("kaldi", tmp_path / "data", tmp_path / "data")
    assert result.returncode == 1
    assert "is the corpus itself, whose tables would be overwritten" in result.stderr
    assert files_of(tmp_path / "data") == before


def test_repeated_keys_and_empty_lines_are_mended_as_the_header_says(tmp_path: Path) -> None:
    source = data_dir(tmp_path / "source")
    with (source / "text").open("a") as text, (source / "utt2spk").open("a") as utt2spk:
        text.write("s00-a HELLO AGAIN\n\n")
        utt2spk.write("s00-a s00\n")
    sets = prepared("kaldi", source, tmp_path / "out", "--part", "test")
    assert len(sets["test"].utterances) == 24
    assert (sets["test"].text or {})["s00-a"] == "HELLO THERE"


def test_relative_recordings_become_absolute_from_the_given_root_and_commands_stay(tmp_path: Path) -> None:
    source = data_dir(tmp_path / "source")
    table = (source / "wav.scp").read_text().replace(f"{source}/", "")
    (source / "wav.scp").write_text(table.replace("s05-a wav/s05-a.wav", "s05-a cat wav/s05-a.wav |"))
    error = refusal("kaldi", source, tmp_path / "no", "--part", "test", "--root", "/nowhere")
    assert "23 of 24 utterances cannot be used (recording missing: 23" in error
    assert "--root" in error
    sets = prepared("kaldi", source, tmp_path / "out", "--root", str(source), "--part", "test")
    assert list(sets) == ["test"]
    assert (sets["test"].wav_scp or {})["s00-a"] == str(source / "wav/s00-a.wav")
    assert (sets["test"].wav_scp or {})["s05-a"] == "cat wav/s05-a.wav |"


def test_given_parts_stay_and_a_missing_dev_comes_from_train(tmp_path: Path) -> None:
    data_dir(tmp_path / "source/train", range(8))
    data_dir(tmp_path / "source/test", range(8, 12))
    sets = prepared("kaldi", tmp_path / "source", tmp_path / "out", "--dev-every", "4")
    assert sets["test"].speakers == ["s08", "s09", "s10", "s11"]
    assert len(sets["dev"].speakers) == 2
    assert sorted(sets["train"].speakers + sets["dev"].speakers) == [f"s{number:02d}" for number in range(8)]


def test_a_speaker_of_train_and_test_is_refused(tmp_path: Path) -> None:
    data_dir(tmp_path / "source/train", range(8))
    data_dir(tmp_path / "source/test", range(7, 12))
    assert "speaker s07 is also in" in refusal("kaldi", tmp_path / "source", tmp_path / "out")


def test_a_folder_that_is_no_data_directory_is_refused(tmp_path: Path) -> None:
    assert "is no data directory" in refusal("kaldi", tmp_path, tmp_path / "out")


def test_utterances_that_do_not_sort_as_their_speakers_are_refused(tmp_path: Path) -> None:
    source = data_dir(tmp_path / "source")
    table = (source / "utt2spk").read_text()
    (source / "utt2spk").write_text(table.replace("s00-a s00", "s00-a s99").replace("s00-b s00", "s00-b s99"))
    (source / "spk2age").unlink()
    assert "the speakers are not in order" in refusal("kaldi", source, tmp_path / "out")


# ---- folder


def folder(root: Path) -> Path:
    """A folder a child, a text file beside every recording."""
    for child in CHILDREN:
        for number in range(2):
            record(root / child / f"take {number}.wav")
            (root / child / f"take {number}.txt").write_text("Hello, I am 8!\n", encoding="utf-8")
    return root


def test_text_beside_the_audio_gives_sorted_ids_and_clean_words_twice_the_same(tmp_path: Path) -> None:
    source = folder(tmp_path / "source")
    sets = prepared("folder", source, tmp_path / "one")
    assert {name: len(data.speakers) for name, data in sets.items()} == {"train": 9, "dev": 1, "test": 2}
    every = {key: value for data in sets.values() for key, value in (data.text or {}).items()}
    assert len(every) == 24
    assert every["ben_1-take_0"] == "HELLO I AM EIGHT"
    assert {data.utt2spk[key] for data in sets.values() for key in data.utt2spk if key.startswith("ben_1")} == {"ben_1"}
    prepared("folder", source, tmp_path / "two")
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_text_stays_raw_or_takes_another_case_on_request(tmp_path: Path) -> None:
    source = folder(tmp_path / "source")
    raw = prepared("folder", source, tmp_path / "raw", "--raw-text", "--part", "test")
    assert (raw["test"].text or {})["anna-take_0"] == "Hello, I am 8!"
    lower = prepared("folder", source, tmp_path / "lower", "--set", "case=lower", "--part", "test")
    assert (lower["test"].text or {})["anna-take_0"] == "hello i am eight"


def table_of(root: Path, form: str) -> Path:
    """The same twelve children in one flat folder, transcripts in one table."""
    rows = [
        {"audio": f"{child}.wav", "sentence": "yes", "child": child, "Age": str(6 + number // 2), "sex": "girl"}
        for number, child in enumerate(CHILDREN)
    ]
    for row in rows:
        record(root / row["audio"])
    path = root / f"table.{form}"
    if form in ("csv", "tsv"):
        mark = {"csv": ",", "tsv": "\t"}[form]
        path.write_text("\n".join(mark.join(row) for row in [list(rows[0]), *(r.values() for r in rows)]) + "\n")
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


def test_every_form_of_table_gives_the_same_data_directories(tmp_path: Path) -> None:
    found = []
    for form in ("csv", "tsv", "json", "jsonl"):
        table = table_of(tmp_path / "source", form)
        prepared("folder", table.parent, tmp_path / form, "--transcripts", str(table))
        found.append(files_of(tmp_path / form))
    assert found[0] == found[1] == found[2] == found[3]
    test = DataDir.read(tmp_path / "csv/test")
    assert set((test.spk2gender or {}).values()) == {"f"}
    assert len(test.spk2age or {}) == 2


def test_times_in_the_table_become_segments(tmp_path: Path) -> None:
    record(tmp_path / "long.wav", seconds=2)
    rows = [
        "file,text,speaker,start,end",
        "long.wav,one,ann,0,0.75",
        "long.wav,two,ann,0.75,2",
        "long.wav,three,bob,1,1.5",
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    words = ("--transcripts", str(tmp_path / "t.csv"), "--part", "test")
    test = prepared("folder", tmp_path, tmp_path / "out", *words)["test"]
    assert test.segments == {
        "ann-long-0000000": "long 0 0.75", "ann-long-0000750": "long 0.75 2", "bob-long-0001000": "long 1 1.5",
    }  # fmt: skip
    assert test.wav_scp == {"long": str(tmp_path / "long.wav")}


def test_a_row_without_an_end_goes_to_the_end_of_its_recording(tmp_path: Path) -> None:
    record(tmp_path / "long.wav", seconds=2)
    (tmp_path / "t.csv").write_text("file,text,speaker,start,end\nlong.wav,one,ann,0,0.75\nlong.wav,two,ann,0.75,\n")
    words = ("--transcripts", str(tmp_path / "t.csv"), "--part", "test")
    test = prepared("folder", tmp_path, tmp_path / "out", *words)["test"]
    assert test.segments == {"ann-long-0000000": "long 0 0.75", "ann-long-0000750": "long 0.75 2"}


@pytest.mark.parametrize(("words", "text"), [((), "HELLO THERE"), (("--raw-text",), "hello there")])
def test_a_transcript_of_several_lines_keeps_its_words_apart(words: tuple[str, ...], text: str, tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    (tmp_path / "t.csv").write_text('file,text,speaker\na.wav,"hello\nthere",x\n')
    every = ("--transcripts", str(tmp_path / "t.csv"), "--part", "test", *words)
    assert prepared("folder", tmp_path, tmp_path / "out", *every)["test"].text == {"x-a": text}


def test_children_whose_folders_are_links_are_not_passed_over(tmp_path: Path) -> None:
    source = folder(tmp_path / "source")
    (source / "anna").rename(tmp_path / "anna")
    (source / "anna").symlink_to(tmp_path / "anna")
    (source / "ben" / "loop").symlink_to(source)
    sets = prepared("folder", source, tmp_path / "out")
    assert "anna" in {speaker for data in sets.values() for speaker in data.speakers}
    assert sum(len(data.utterances) for data in sets.values()) == 24


def test_a_flat_folder_takes_the_speaker_from_the_file_name(tmp_path: Path) -> None:
    for child in ("c01", "c02"):
        record(tmp_path / f"{child}_story.wav")
        (tmp_path / f"{child}_story.txt").write_text("once\n")
    assert "who speaks in c01_story is not known" in refusal("folder", tmp_path, tmp_path / "no")
    sets = prepared("folder", tmp_path, tmp_path / "out", "--speaker", "^(c[0-9]+)_", "--part", "test")
    assert sets["test"].speakers == ["c01", "c02"]
    assert "has no group" in refusal("folder", tmp_path, tmp_path / "no", "--speaker", "^c")
    assert "finds nothing in c01_story" in refusal("folder", tmp_path, tmp_path / "no", "--speaker", "^(x)_")


def test_what_cannot_be_used_is_counted_by_reason(tmp_path: Path) -> None:
    source = folder(tmp_path / "source")
    (source / "anna/take 0.txt").unlink()
    (source / "carl/take 0.wav").write_bytes(b"RIFFnothing")
    record(source / "dora/take 0.wav", channels=2)
    (source / "eve/take 0.txt").write_text("...\n")
    prepared("folder", source, tmp_path / "out", "--max-lost", "0.2")
    left_out = json.loads((tmp_path / "out/local/prepared.json").read_text())["left_out"]
    assert {reason: row["count"] for reason, row in left_out.items()} == {
        "no transcript beside the audio": 1, "recording unreadable": 1, "recording of several channels": 1,
        "no words": 1,
    }  # fmt: skip
    assert "3 of 23 utterances cannot be used" in refusal("folder", source, tmp_path / "no")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("audio,words_said,child\na.wav,yes,x\n", "t.csv:2: has no text, only audio, child, words_said"),
        ("audio,text,child,age\na.wav,yes,x,eight\n", "t.csv:2: age 'eight' is no number of years"),
        ("audio,text,child,sex\na.wav,yes,x,child\n", "t.csv:2: gender 'child' is not known"),
        ("audio,text,child,start\na.wav,yes,x,soon\n", "t.csv:2: start 'soon' is no number of seconds"),
        ("audio,text,child,age\na.wav,yes,x,8\nb.wav,no,x,9\n", "speaker x has two values of age: 8 and 9"),
        ("audio,text,child\na.wav,yes,x\na.wav,no,x\n", "x/a and x/a would both be x-a"),
        ('audio,child,text\na.wav,x,"yes\nb.wav,y,no\n', "t.csv:2: is no line of a table (unexpected end of data)"),
        ("audio,text,child\na.wav,yes,x y\nb.wav,no,x_y\n", "speakers 'x y' and 'x_y' would both be x_y"),
    ],
)
def test_a_damaged_table_is_refused_with_its_line(content: str, said: str, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        record(tmp_path / name)
    (tmp_path / "t.csv").write_text(content)
    assert said in refusal("folder", tmp_path, tmp_path / "out", "--transcripts", str(tmp_path / "t.csv"))


def test_a_damaged_json_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"audio": "a.wav", "text": "yes", "speaker": "x"}\n{"audio": \n')
    record(tmp_path / "a.wav")
    assert "t.jsonl:2: is no JSON" in refusal(
        "folder", tmp_path, tmp_path / "o", "--transcripts", str(tmp_path / "t.jsonl")
    )


def test_json_that_is_no_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("5")
    said = refusal("folder", tmp_path, tmp_path / "o", "--transcripts", str(tmp_path / "t.json"))
    assert "t.json: is no list of objects" in said


def test_a_line_separator_within_a_json_line_parts_words_alone(tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    row = json.dumps({"audio": "a.wav", "text": "yes\u2028no", "speaker": "x"}, ensure_ascii=False)
    (tmp_path / "t.jsonl").write_text(row + "\n", encoding="utf-8")
    words = ("--transcripts", str(tmp_path / "t.jsonl"), "--part", "test")
    assert prepared("folder", tmp_path, tmp_path / "out", *words)["test"].text == {"x-a": "YES NO"}


@pytest.mark.parametrize("corpus", ["folder", "lhotse"])
def test_a_folder_that_is_not_there_is_said_to_be_missing(corpus: str, tmp_path: Path) -> None:
    error = refusal(corpus, tmp_path / "nowhere", tmp_path / "out")
    assert f"ERROR {tmp_path}/nowhere: no such folder" in error
    assert "mend: check the path after --source" in error


def test_without_a_lexicon_none_is_written(tmp_path: Path) -> None:
    prepared("folder", folder(tmp_path / "source"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out/local").iterdir()] == ["prepared.json"]


def test_a_lexicon_is_taken_along_and_its_missing_words_are_listed(tmp_path: Path) -> None:
    source = folder(tmp_path / "source")
    (tmp_path / "lexicon.txt").write_text("hello HH AH L OW\nI AY\nam AE M\n")
    prepared("folder", source, tmp_path / "out", "--lexicon", str(tmp_path / "lexicon.txt"))
    assert (tmp_path / "out/local/lexicon.txt").read_text().splitlines()[0] == "HELLO HH AH L OW"
    assert (tmp_path / "out/local/oov_words.txt").read_text() == "EIGHT 24\n"
