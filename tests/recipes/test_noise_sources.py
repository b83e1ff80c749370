"""Preparation of noise and room collections on miniatures in the layout of their distributions, whole and damaged."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harness.errors import SchoolyardError
from kaldi_bridge.sound_sources import SoundSource, SourcesConfig, part_of, write_sources
from recipes.lib.download import Archive
from tests.recipes.preparing import preparation_of, serving

ROOT = Path(__file__).resolve().parents[2]


def record(path: Path, seconds: float = 0.1, rate: int = 16000, channels: int = 1, level: float = 0.1) -> None:
    """Noise that is the same for the same file name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "big")
    samples = level * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))
    soundfile.write(path, samples, rate, subtype="PCM_16")


def prepare(corpus: str, source: Path, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / f"recipes/{corpus}/prepare.py"), "--source", str(source), "--out", str(out)]
    env = os.environ | {"PYTHONPATH": str(ROOT), "SCHOOLYARD_JOBS": "1"}
    return subprocess.run([*command, *words], env=env, capture_output=True, text=True, check=False)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert "mend:" in result.stderr
    return result.stderr


def musan(root: Path) -> Path:
    for number in range(12):
        record(root / f"noise/free-sound/noise-free-sound-{number:04d}.wav")
    record(root / "noise/sound-bible/noise-sound-bible-0000.wav")
    record(root / "music/fma/music-fma-0000.wav")
    record(root / "speech/librivox/speech-librivox-0000.wav")
    (root / "noise/free-sound/LICENSE").write_text("public domain\n")
    return root


def demand(root: Path) -> Path:
    for place in ("DKITCHEN", "NPARK", "TBUS"):
        for microphone in range(1, 17):
            record(root / place / f"ch{microphone:02d}.wav", rate=48000)
    return root


def esc50(root: Path) -> Path:
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for target, category in enumerate(("dog", "rain")):
            name = f"{fold}-100{fold}{target}-A-{target}.wav"
            record(root / "audio" / name, rate=44100)
            rows.append(f"{name},{fold},{target},{category},True,100{fold}{target},A")
    (root / "meta").mkdir()
    (root / "meta/esc50.csv").write_text("\n".join(rows) + "\n")
    return root


def rirs_noises(root: Path) -> Path:
    lists: dict[str, list[str]] = {}
    for size in ("smallroom", "mediumroom", "largeroom"):
        for room in range(1, 4):
            for place in range(1, 4):
                name = f"simulated_rirs/{size}/Room{room:03d}/Room{room:03d}-{place:05d}.wav"
                record(root / name, 0.02)
                row = f"--rir-id {size}-Room{room:03d}-{place:05d} --room-id {size}-Room{room:03d} RIRS_NOISES/{name}"
                lists.setdefault(f"simulated_rirs/{size}/rir_list", []).append(row)
    real = "real_rirs_isotropic_noises"
    for room in ("largeroom1", "office"):
        for angle in ("angla", "anglb"):
            name = f"{real}/RVB2014_type1_rir_{room}_{angle}.wav"
            record(root / name, 0.02, channels=8)
            row = f"--rir-id {room}{angle} --room-id RVB2014_{room} RIRS_NOISES/{name}"
            lists.setdefault(f"{real}/rir_list", []).append(row)
        record(root / real / f"RVB2014_type1_noise_{room}_1.wav", channels=8)
        row = f"--noise-id {room} --noise-type isotropic --room-linkage RVB2014_{room} "
        lists.setdefault(f"{real}/noise_list", []).append(row + f"RIRS_NOISES/{real}/RVB2014_type1_noise_{room}_1.wav")
    for number in range(12):
        name = f"pointsource_noises/noise-free-sound-{number:04d}.wav"
        record(root / name)
        row = f"--noise-id {number:05d} --noise-type point-source --bg-fg-type foreground RIRS_NOISES/{name}"
        lists.setdefault("pointsource_noises/noise_list", []).append(row)
    for name, rows in lists.items():
        (root / name).write_text("\n".join(rows) + "\n")
    return root


MAKERS = {"musan": musan, "demand": demand, "esc50": esc50, "rirs_noises": rirs_noises}


@pytest.mark.parametrize("corpus", MAKERS)
def test_a_miniature_gives_the_same_bytes_twice_and_mono_wav_at_16_khz(corpus: str, tmp_path: Path) -> None:
    source = MAKERS[corpus](tmp_path / "source")
    for name in ("one", "two"):
        result = prepare(corpus, source, tmp_path / name)
        assert result.returncode == 0, result.stderr
    first = files_of(tmp_path / "one")
    assert first == files_of(tmp_path / "two")
    wavs = [tmp_path / "one" / name for name in first if name.endswith(".wav")]
    assert wavs
    assert {(soundfile.info(wav).samplerate, soundfile.info(wav).channels) for wav in wavs} == {(16000, 1)}


@pytest.mark.parametrize("corpus", MAKERS)
def test_a_folder_that_is_no_such_corpus_is_refused_with_what_is_missing(corpus: str, tmp_path: Path) -> None:
    record(tmp_path / "source/other.wav")
    error = refusal(prepare(corpus, tmp_path / "source", tmp_path / "out"))
    assert "is missing from the corpus" in error or "holds none of the 18 places" in error
    assert not (tmp_path / "out/noise").exists()


def test_musan_gives_its_noises_and_other_kinds_on_request(tmp_path: Path) -> None:
    source = musan(tmp_path / "source")
    prepare("musan", source, tmp_path / "out")
    wavs = sorted((tmp_path / "out/noise").rglob("*.wav"))
    assert len(wavs) == 13
    assert all(part_of(wav.stem) == wav.relative_to(tmp_path / "out/noise").parts[0] for wav in wavs)
    rows = (tmp_path / "out/noise/sources.tsv").read_text().splitlines()
    assert len(rows) == 14
    assert rows[1].split("\t")[3] == "0.1"
    prepare("musan", source, tmp_path / "all", "--kinds", "noise,music,speech")
    assert len(list((tmp_path / "all/noise").rglob("*.wav"))) == 15
    assert "there is no kind 'songs'" in refusal(prepare("musan", source, tmp_path / "no", "--kinds", "songs"))


def test_musan_names_a_damaged_recording_and_stops_past_the_limit(tmp_path: Path) -> None:
    source = musan(tmp_path / "source")
    (source / "noise/free-sound/noise-free-sound-0003.wav").write_bytes(b"RIFF")
    error = refusal(prepare("musan", source, tmp_path / "out"))
    assert "1 of 13 recordings cannot be used" in error
    assert "noise-free-sound-0003.wav" in error
    assert not (tmp_path / "out/noise").exists()
    result = prepare("musan", source, tmp_path / "out", "--max-failed", "0.1")
    assert result.returncode == 0
    assert "1 of 13 recordings left out" in result.stderr
    assert len(list((tmp_path / "out/noise").rglob("*.wav"))) == 12


def test_musan_cuts_long_recordings_on_request_and_says_so_in_the_list(tmp_path: Path) -> None:
    prepare("musan", musan(tmp_path / "source"), tmp_path / "out", "--longest", "0.05")
    wav = next((tmp_path / "out/noise").rglob("*.wav"))
    assert soundfile.info(wav).frames == 800
    rows = [row.split("\t") for row in (tmp_path / "out/noise/sources.tsv").read_text().splitlines()[1:]]
    assert {row[4] for row in rows} == {"cut"}


def test_demand_parts_its_places_as_voicebank_demand_did(tmp_path: Path) -> None:
    result = prepare("demand", demand(tmp_path / "source"), tmp_path / "out")
    names = sorted(name for name in files_of(tmp_path / "out/noise") if name.endswith(".wav"))
    assert names == ["dev/NPARK/NPARK-ch01.wav", "test/TBUS/TBUS-ch01.wav", "train/DKITCHEN/DKITCHEN-ch01.wav"]
    assert "15 of 18 places are not there" in result.stderr
    prepare("demand", tmp_path / "source", tmp_path / "more", "--channels", "3")
    assert len(list((tmp_path / "more/noise").rglob("*.wav"))) == 9


def test_demand_names_a_missing_microphone(tmp_path: Path) -> None:
    source = demand(tmp_path / "source")
    (source / "TBUS/ch01.wav").unlink()
    assert "TBUS/ch01.wav: is missing from the corpus" in refusal(prepare("demand", source, tmp_path / "out"))


def test_esc50_follows_the_folds_of_its_table(tmp_path: Path) -> None:
    prepare("esc50", esc50(tmp_path / "source"), tmp_path / "out")
    names = [name for name in files_of(tmp_path / "out/noise") if name.endswith(".wav")]
    counts = {part: sum(name.startswith(part) for name in names) for part in ("train", "dev", "test")}
    assert counts == {"train": 6, "dev": 2, "test": 2}
    assert all(Path(name).name.startswith("5-") for name in names if name.startswith("test"))
    prepare("esc50", tmp_path / "source", tmp_path / "rain", "--classes", "rain")
    assert {path.parent.name for path in (tmp_path / "rain/noise").rglob("*.wav")} == {"rain"}


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("2-10020-A-0.wav,2,", "2-10020-A-0.wav,6,", "esc50.csv:4: fold '6' is none of 1 to 5"),
        ("2-10020-A-0.wav,2,", "2-10020-B-0.wav,2,", "esc50.csv:4: no recording at"),
        (",category,", ",kind,", "has no column 'category'"),
        (",True,10050,", ",True,10010,", "clips of recording 10010 are in train and in test"),
    ],
)
def test_esc50_names_the_line_of_a_damaged_table(before: str, after: str, said: str, tmp_path: Path) -> None:
    table = esc50(tmp_path / "source") / "meta/esc50.csv"
    assert before in table.read_text()
    table.write_text(table.read_text().replace(before, after))
    assert said in refusal(prepare("esc50", tmp_path / "source", tmp_path / "out"))


def test_rirs_noises_keeps_a_room_and_its_noise_in_one_part(tmp_path: Path) -> None:
    result = prepare("rirs_noises", rirs_noises(tmp_path / "source"), tmp_path / "out", "--per-room", "2")
    assert result.returncode == 0, result.stderr
    assert "smallroom: 6 of 9 responses kept (2 a room)" in result.stderr
    rooms = [path.relative_to(tmp_path / "out/rooms").parts for path in (tmp_path / "out/rooms").rglob("*.wav")]
    assert len(rooms) == 3 * 3 * 2 + 4
    home: dict[tuple[str, str], set[str]] = {}
    for part, kind, name in rooms:
        home.setdefault((kind, name.split("-")[0].split("_angl")[0]), set()).add(part)
    assert all(len(parts) == 1 for parts in home.values())
    for noise in (tmp_path / "out/noise").glob("*/isotropic/*.wav"):
        assert part_of("RVB2014_" + noise.stem.split("_")[3]) == noise.parts[-3]
        assert noise.parts[-3] == next(p for p, k, n in rooms if k == "real" and noise.stem.split("_")[3] in n)


def test_rirs_noises_puts_point_sources_where_musan_has_the_same_recording(tmp_path: Path) -> None:
    prepare("rirs_noises", rirs_noises(tmp_path / "rirs"), tmp_path / "one")
    prepare("musan", musan(tmp_path / "musan"), tmp_path / "two")
    point = {path.stem: path.parts[-3] for path in (tmp_path / "one/noise").glob("*/point/*.wav")}
    free = {path.stem: path.parts[-3] for path in (tmp_path / "two/noise").glob("*/noise-free-sound/*.wav")}
    assert len(point) == 12
    assert point == free


def test_rirs_noises_names_the_line_of_a_recording_that_is_absent(tmp_path: Path) -> None:
    source = rirs_noises(tmp_path / "source")
    (source / "simulated_rirs/largeroom/Room002/Room002-00003.wav").unlink()
    assert "largeroom/rir_list:6: no recording at" in refusal(prepare("rirs_noises", source, tmp_path / "out"))


def test_rirs_noises_names_the_line_of_a_response_without_a_room(tmp_path: Path) -> None:
    table = rirs_noises(tmp_path / "source") / "real_rirs_isotropic_noises/rir_list"
    table.write_text(table.read_text().replace("--room-id RVB2014_office", "--room RVB2014_office"))
    assert "rir_list:3: has no --room-id" in refusal(prepare("rirs_noises", tmp_path / "source", tmp_path / "out"))


def test_a_part_is_the_hash_of_the_name_and_about_a_fifth_is_test() -> None:
    parts = [part_of(f"recording-{number}") for number in range(2000)]
    assert part_of("recording-7") == part_of("recording-7")
    assert 340 <= parts.count("test") <= 460
    assert 140 <= parts.count("dev") <= 260
    place = int(hashlib.sha256(b"recording-7").hexdigest()[:16], 16) / 16**16
    assert parts[7] == ("test" if place < 0.2 else "dev" if place < 0.3 else "train")


def test_room_responses_are_brought_to_one_peak_and_silence_is_refused(tmp_path: Path) -> None:
    record(tmp_path / "room.wav", level=0.01)
    soundfile.write(tmp_path / "silent.wav", np.zeros(100), 16000)
    room = SoundSource(file=tmp_path / "room.wav", name="room", kind="k", part="train")
    config = SourcesConfig(normalise=True, max_failed=0.6)
    silent = SoundSource(file=tmp_path / "silent.wav", name="silent", kind="k", part="train")
    counts = write_sources([room, silent], tmp_path / "out", tmp_path, config, jobs=1)
    assert counts == {"train": 1}
    assert np.abs(soundfile.read(tmp_path / "out/train/k/room.wav")[0]).max() == pytest.approx(0.9, abs=1e-4)


PACKED = {  # archives as they are distributed: {name: (folder of the miniature, the folder's name within)}
    "musan": {"musan.tar.gz": (".", "musan")},
    "demand": {f"{place}_16k.zip": (place, place) for place in ("DKITCHEN", "NPARK", "TBUS")},
    "esc50": {"ESC-50-master.zip": (".", "ESC-50-master")},
    "rirs_noises": {"rirs_noises.zip": (".", "RIRS_NOISES")},
}


def pack(folder: Path, inside: str, archive: Path) -> Path:
    """A zip or tar.gz of a folder, under another name within."""
    if archive.suffix == ".gz":
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder, inside)
    else:
        with zipfile.ZipFile(archive, "w") as opened:
            for file in sorted(path for path in folder.rglob("*") if path.is_file()):
                opened.write(file, f"{inside}/{file.relative_to(folder)}")
    return archive


@pytest.mark.parametrize("corpus", MAKERS)
def test_what_a_server_has_is_fetched_checked_unpacked_and_prepared_as_a_folder_is(
    corpus: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, site = MAKERS[corpus](tmp_path / "made"), tmp_path / "site"
    site.mkdir()
    packed = [pack(source / folder, inside, site / name) for name, (folder, inside) in PACKED[corpus].items()]
    module = preparation_of(corpus)
    assert {archive.file_name for archive in module.ARCHIVES} >= PACKED[corpus].keys()
    with serving(site) as address:
        archives = [
            Archive(url=f"{address}/{file.name}", digest=f"md5:{hashlib.md5(file.read_bytes()).hexdigest()}")
            for file in packed
        ]
        monkeypatch.setattr(module, "ARCHIVES", tuple(archives))
        module.prepare(source=tmp_path / "fetched", out=tmp_path / "out", download=True, jobs=1)
    module.prepare(source=source, out=tmp_path / "folder", jobs=1)
    wavs = {name: content for name, content in files_of(tmp_path / "folder").items() if name.endswith(".wav")}
    assert wavs
    assert {name: files_of(tmp_path / "out")[name] for name in wavs} == wavs
    assert {path.name for path in (tmp_path / "fetched/downloads").iterdir()} == PACKED[corpus].keys()


def test_a_fetched_archive_that_is_not_as_published_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "musan.tar.gz").write_bytes(b"something else")
    module = preparation_of("musan")
    wrong = Archive(url=(tmp_path / "musan.tar.gz").as_uri(), digest="md5:" + 32 * "0")
    monkeypatch.setattr(module, "ARCHIVES", (wrong,))
    with pytest.raises(SchoolyardError, match="published is md5:0000"):
        module.prepare(source=tmp_path / "corpus", out=tmp_path / "out", download=True)
