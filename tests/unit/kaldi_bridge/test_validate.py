"""The validator against Kaldi's own: both refuse, both accept; and our words name file, line and mend."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from harness.errors import DataDirError, ProgramError
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.programs import kaldi_workspace, run_kaldi
from kaldi_bridge.validate import ValidateOptions, problems, validate_data_dir

OPTIONS = ValidateOptions(feats=False)
GOOD = {
    "utt2spk": "a-1 a\na-2 a\nb-1 b\n",
    "spk2utt": "a a-1 a-2\nb b-1\n",
    "text": "a-1 HELLO THERE\na-2 YES\nb-1 NO\n",
    "wav.scp": "a-1 /x/1.wav\na-2 sox /x/2.flac -t wav - |\nb-1 /x/3.ark:17\n",
    "spk2gender": "a f\nb m\n",
    "spk2age": "a 7\nb 8\n",
    "utt2dur": "a-1 1.5\na-2 2\nb-1 0.3\n",
    "utt2num_frames": "a-1 148\na-2 198\nb-1 28\n",
    "feats.scp": "a-1 f.ark:4\na-2 f.ark:99\nb-1 f.ark:200\n",
    "cmvn.scp": "a c.ark:2\nb c.ark:200\n",
    "vad.scp": "a-1 v.ark:4\na-2 v.ark:99\nb-1 v.ark:200\n",
    "utt2lang": "a-1 en\na-2 en\nb-1 fr\n",
}
SEGMENTS = {
    "segments": "a-1 r1 0 1.5\na-2 r1 1.5 3.5\nb-1 r2 0.0 0.3\n",
    "wav.scp": "r1 /x/1.wav\nr2 /x/2.wav\n",
    "reco2dur": "r1 3.5\nr2 0.4\n",
    "reco2file_and_channel": "r1 r1 A\nr2 r2 B\n",
}

# name: (files changed, what our message says); None as content removes the file.  Kaldi refuses these too.
BROKEN = {
    "no utt2spk": ({"utt2spk": None}, r"utt2spk: no such file"),
    "no spk2utt": ({"spk2utt": None}, r"spk2utt: no such file"),
    "no text": ({"text": None}, r"text: no such file"),
    "no wav.scp": ({"wav.scp": None}, r"wav.scp: no such file"),
    "empty utt2spk": ({"utt2spk": ""}, r"utt2spk: the file is empty"),
    "empty text": ({"text": ""}, r"text: the file is empty"),
    "three fields in utt2spk": (
        {"utt2spk": "a-1 a\na-2 a x\nb-1 b\n"},
        r"utt2spk:2: expected '<utterance> <speaker>', got 3",
    ),
    "one field in utt2spk": ({"utt2spk": "a-1 a\na-2\nb-1 b\n"}, r"utt2spk:2: expected .* got 1 fields"),
    "unsorted utt2spk": ({"utt2spk": "a-2 a\na-1 a\nb-1 b\n"}, r"utt2spk:2: not sorted: a-1 comes after a-2"),
    "duplicate in utt2spk": (
        {"utt2spk": "a-1 a\na-1 a\na-2 a\nb-1 b\n"},
        r"utt2spk:2: key a-1 is a duplicate of line 1",
    ),
    "no final newline": ({"utt2spk": "a-1 a\na-2 a\nb-1 b"}, r"utt2spk:3: the last line has no newline"),
    "spk2utt lacks an utterance": (
        {"spk2utt": "a a-1\nb b-1\n"},
        r"spk2utt: does not match utt2spk \(first at speaker a",
    ),
    "speaker no prefix": (
        {"utt2spk": "a-1 z\na-2 z\nb-1 b\n", "spk2utt": "b b-1\nz a-1 a-2\n"},
        r"utt2spk:3: sorted by utt.* b after z",
    ),
    "text lacks an utterance": ({"text": "a-1 HELLO\nb-1 NO\n"}, r"text: lacks utterance a-2 of utt2spk"),
    "text has a strange one": ({"text": GOOD["text"] + "c-1 NO\n"}, r"text:4: utterance c-1 is not in utt2spk"),
    "unsorted text": ({"text": "a-2 YES\na-1 HELLO\nb-1 NO\n"}, r"text:2: not sorted"),
    "sentence start in text": ({"text": "a-1 <s> HELLO\na-2 YES\nb-1 NO\n"}, r"text:1: holds the symbol <s>"),
    "sentence end in text": ({"text": "a-1 HELLO </s>\na-2 YES\nb-1 NO\n"}, r"text:1: holds the symbol </s>"),
    "disambiguation symbol": ({"text": "a-1 HELLO\na-2 #0\nb-1 NO\n"}, r"text:2: holds the symbol #0"),
    "control character": ({"text": "a-1 HEL\x07LO\na-2 YES\nb-1 NO\n"}, r"text:1: holds the character U\+0007"),
    "no-break space": ({"text": "a-1 HELLO\na-2 YES\u00a0SIR\nb-1 NO\n"}, r"text:2: holds the white space U\+00A0"),
    "ideographic space": ({"text": "a-1 HELLO\na-2 YES\u3000SIR\nb-1 NO\n"}, r"text:2: holds the white space U\+3000"),
    "windows line ends": ({"text": "a-1 HELLO\r\na-2 YES\r\nb-1 NO\r\n"}, r"text:1: carriage return"),
    "wav.scp lacks one": ({"wav.scp": "a-1 x\na-2 y\n"}, r"wav.scp: lacks utterance b-1"),
    "tilde in wav.scp": ({"wav.scp": "a-1 ~/1.wav\na-2 y\nb-1 z\n"}, r"wav.scp:1: the path starts with ~"),
    "unsorted wav.scp": ({"wav.scp": "a-2 x\na-1 y\nb-1 z\n"}, r"wav.scp:2: not sorted"),
    "segments without wav.scp": (
        {**SEGMENTS, "wav.scp": None, "reco2dur": None, "reco2file_and_channel": None},
        r"wav.scp: no such file",
    ),
    "segment ends before start": (
        {**SEGMENTS, "segments": "a-1 r1 2 1.5\na-2 r1 1.5 3.5\nb-1 r2 0 1\n"},
        r"segments:1: expected",
    ),
    "segment of three fields": (
        {**SEGMENTS, "segments": "a-1 r1 2\na-2 r1 1.5 3.5\nb-1 r2 0 1\n"},
        r"segments:1: expected",
    ),
    "segments lack one": ({**SEGMENTS, "segments": "a-1 r1 0 1\nb-1 r2 0 1\n"}, r"segments: lacks utterance a-2"),
    "recording without segment": ({**SEGMENTS, "wav.scp": SEGMENTS["wav.scp"] + "r3 /x\n"}, r"wav.scp:3: recording r3"),
    "segment without recording": ({**SEGMENTS, "wav.scp": "r1 /x/1.wav\n"}, r"wav.scp: lacks recording r2 of segments"),
    "channel C": ({**SEGMENTS, "reco2file_and_channel": "r1 r1 C\nr2 r2 B\n"}, r"reco2file_and_channel:1: expected"),
    "channel of a strange recording": (
        {**SEGMENTS, "reco2file_and_channel": "r1 r1 A\nr9 r2 B\n"},
        r"lacks recording r2",
    ),
    "reco2dur of zero": ({**SEGMENTS, "reco2dur": "r1 0\nr2 1\n"}, r"reco2dur:1: expected a positive number"),
    "reco2dur lacks one": ({**SEGMENTS, "reco2dur": "r1 1\n"}, r"reco2dur: lacks recording r2"),
    "feats.scp lacks one": ({"feats.scp": "a-1 f\na-2 g\n"}, r"feats.scp: lacks utterance b-1"),
    "unsorted feats.scp": ({"feats.scp": "b-1 f\na-1 f\na-2 g\n"}, r"feats.scp:2: not sorted"),
    "cmvn.scp lacks a speaker": ({"cmvn.scp": "a c.ark:1\n"}, r"cmvn.scp: lacks speaker b of spk2utt"),
    "gender in capitals": ({"spk2gender": "a F\nb m\n"}, r"spk2gender:1: expected"),
    "gender of a strange speaker": ({"spk2gender": "a f\nc m\n"}, r"spk2gender: lacks speaker b"),
    "warp too large": ({"spk2warp": "a 1.0\nb 1.7\n"}, r"spk2warp:2: expected a warp factor"),
    "warp of an utterance too small": ({"utt2warp": "a-1 1.0\na-2 0.3\nb-1 1\n"}, r"utt2warp:2: expected a warp"),
    "vad.scp lacks one": ({"vad.scp": "a-1 v\na-2 v\n"}, r"vad.scp: lacks utterance b-1"),
    "utt2lang unsorted": ({"utt2lang": "a-2 en\na-1 en\nb-1 fr\n"}, r"utt2lang:2: not sorted"),
    "utt2uniq lacks one": ({"utt2uniq": "a-1 a\na-2 b\n"}, r"utt2uniq: lacks utterance b-1"),
    "duration of zero": ({"utt2dur": "a-1 0\na-2 2\nb-1 0.3\n"}, r"utt2dur:1: expected a positive number of seconds"),
    "duration lacks one": ({"utt2dur": "a-1 1\na-2 2\n"}, r"utt2dur: lacks utterance b-1"),
    "half a frame": ({"utt2num_frames": "a-1 1.5\na-2 2\nb-1 3\n"}, r"utt2num_frames:1: expected a positive whole"),
    "three fields in utt2num_frames": ({"utt2num_frames": "a-1 1 1\na-2 2\nb-1 3\n"}, r"utt2num_frames:1: expected"),
}

ACCEPTED = {
    "all tables": {},
    "segments": SEGMENTS,
    "an utterance without words": {"text": "a-1\na-2 YES\nb-1 NO\n"},
    "letters of other languages": {"text": "a-1 GRÜẞE\na-2 你好\nb-1 ÇA\n"},
    "symbols inside words": {"text": "a-1 A<s>B\na-2 X#01\nb-1 NO\n"},
    "tabs and many spaces": {"utt2spk": "a-1\ta\na-2\ta\nb-1\tb\n", "text": "a-1   HELLO\t THERE\na-2 YES\nb-1 NO\n"},
    "channel 1": {**SEGMENTS, "reco2file_and_channel": "r1 r1 1\nr2 r2 B\n"},
    "capitals sort before small letters": {
        "utt2spk": "B-1 B\na-1 a\n",
        "spk2utt": "B B-1\na a-1\n",
        "text": "B-1 X\na-1 Y\n",
        "wav.scp": "B-1 x\na-1 y\n",
        **dict.fromkeys(
            ["spk2gender", "spk2age", "utt2dur", "utt2num_frames", "feats.scp", "cmvn.scp", "vad.scp", "utt2lang"]
        ),
    },
}

STRICTER = {  # Kaldi's script lets these pass; each breaks a later step or hides a mistake
    "empty line": ({"spk2age": "a 7\n\nb 8\n"}, r"spk2age:2: empty line"),
    "latin-1 text": ({"text": b"a-1 CAF\xc9\na-2 YES\nb-1 NO\n"}, r"text:1: byte 8 is not UTF-8"),
    "duration in words": ({"utt2dur": "a-1 long\na-2 2\nb-1 0.3\n"}, r"utt2dur:1: expected a positive number"),
    "recording without a file": ({"wav.scp": "a-1 x\na-2\nb-1 z\n"}, r"wav.scp:2: no file for a-2"),
    "age in words": ({"spk2age": "a seven\nb 8\n"}, r"spk2age:1: expected a positive number of years"),
    "a child without an age": ({"spk2age": "a 7\n"}, r"spk2age: lacks speaker b"),
}

HANGS_ON_LOCALE = (
    "letters of other languages",
    "latin-1 text",
)  # Kaldi's grep needs a locale C.UTF-8 or en_US.UTF-8 of that spelling


def write_dir(directory: Path, changes: dict) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in {**GOOD, **changes}.items():
        if content is not None:
            raw = content if isinstance(content, bytes) else content.encode()
            (directory / name).write_bytes(raw)
    return directory


@pytest.mark.parametrize("case", [*BROKEN, *STRICTER])
def test_a_broken_directory_is_refused_with_file_line_and_mend(case, tmp_path):
    changes, words = {**BROKEN, **STRICTER}[case]
    directory = write_dir(tmp_path / "data", changes)
    found = [problem for problem in problems(directory, OPTIONS) if re.search(words, str(problem.error()))]
    assert found, problems(directory, OPTIONS)
    assert found[0].where.startswith(str(directory))
    assert found[0].mend
    with pytest.raises(DataDirError):
        validate_data_dir(directory, OPTIONS)


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_good_directory_has_no_problems(case, tmp_path):
    assert problems(write_dir(tmp_path / "data", ACCEPTED[case]), OPTIONS) == []


def test_the_first_problem_is_raised_with_the_count_of_the_rest(tmp_path):
    changes = {"text": "a-1 <s>\na-2 #0\n", "spk2gender": "a x\nb m\n"}
    directory = write_dir(tmp_path / "data", changes)
    with pytest.raises(DataDirError, match=r"text:1: .*\(and 3 more problems\)"):
        validate_data_dir(directory, OPTIONS)


def test_options_let_files_be_absent_and_order_differ(tmp_path):
    directory = write_dir(tmp_path / "data", {"wav.scp": None, "text": None, "feats.scp": None})
    assert len(problems(directory)) == 3
    assert problems(directory, ValidateOptions.as_present()) == []
    other = write_dir(tmp_path / "other", BROKEN["speaker no prefix"][0])
    unsorted = {p.problem for p in problems(other, ValidateOptions(feats=False, speaker_sort=False))}
    assert not any("speakers are not in order" in problem for problem in unsorted)


def test_reading_an_invalid_directory_raises_at_its_line(tmp_path):
    directory = write_dir(tmp_path / "data", {"text": "a-1 HELLO\nb-1 NO\n"})
    with pytest.raises(DataDirError, match=r"text: lacks utterance a-2"):
        DataDir.read(directory)


@pytest.fixture(scope="module")
def workspace(kaldi_root, tmp_path_factory) -> Path:
    return kaldi_workspace(tmp_path_factory.mktemp("kaldi"), kaldi_root)


def kaldi_accepts(workspace: Path, directory: Path) -> bool:
    """Kaldi's verdict; by its last words, for it exits with 0 on a bad utt2spk."""
    try:
        said = run_kaldi(["utils/validate_data_dir.sh", "--no-feats", str(directory)], cwd=workspace)
    except ProgramError:
        return False
    return b"Successfully validated" in said


@pytest.mark.kaldi
@pytest.mark.parametrize("case", BROKEN)
def test_kaldi_refuses_what_we_refuse(case, tmp_path, workspace):
    assert not kaldi_accepts(workspace, write_dir(tmp_path / "data", BROKEN[case][0]))


@pytest.mark.kaldi
@pytest.mark.parametrize("case", [case for case in (*ACCEPTED, *STRICTER) if case not in HANGS_ON_LOCALE])
def test_kaldi_accepts_what_we_accept_and_the_stricter_ones(case, tmp_path, workspace):
    changes = ACCEPTED[case] if case in ACCEPTED else STRICTER[case][0]
    assert kaldi_accepts(workspace, write_dir(tmp_path / "data", changes))


@pytest.mark.kaldi
def test_our_golden_data_dirs_are_accepted_by_both(golden_dir, workspace, tmp_path):
    shutil.copytree(golden_dir / "data" / "train", tmp_path / "train")
    assert problems(tmp_path / "train") == []
    assert kaldi_accepts(workspace, tmp_path / "train")
