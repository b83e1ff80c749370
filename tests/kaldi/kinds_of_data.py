"""The rows of docs/kaldi.md about data directories, sound and features: written by one side, read by the other."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import numpy as np

from harness.atomic import write_whole
from kaldi_bridge.audio import read_utterances
from kaldi_bridge.compressed import compress
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.feature_config import FeatureConfig, read_config
from kaldi_bridge.features import apply_cmvn, make_features
from kaldi_bridge.sound_files import read_sound
from kaldi_bridge.spectral import compute_features
from kaldi_bridge.tables import MatrixWriter, packed_matrix, read_matrix_ark, read_matrix_scp, read_number_table
from kaldi_bridge.text_tables import read_text_table, write_text_table
from kaldi_bridge.wav_ark import write_wav_ark
from tests.kaldi.kind import Kind
from tests.kaldi.system import System, close, close_tables, same, same_bytes

TABLES = ("wav.scp", "text", "utt2spk", "spk2utt", "spk2gender")


def files_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def kaldi_accepts_our_directory(system: System) -> str:
    data = DataDir.read(system.ours / "data/train").subset(["ann-1", "bob-2", "dot-3"], system.fresh() / "data").write()
    before = files_of(data.path)
    system.kaldi(f"utils/validate_data_dir.sh {data.path}")
    system.kaldi(f"utils/fix_data_dir.sh {data.path}")
    return same(data.path, before, files_of(data.path), "valid, fixing changes no byte")


def we_read_a_directory_of_kaldi(system: System) -> str:
    out = system.fresh()
    system.kaldi(f"utils/subset_data_dir.sh --first data/train 5 {out}/theirs")
    DataDir.read(out / "theirs").write(out / "ours")
    wanted, found = (
        {name: [line.rstrip() for line in data.splitlines()] for name, data in files_of(out / side).items()}
        for side in ("theirs", "ours")
    )
    return same(out, wanted, found, "same bytes, written back, but for blanks at line ends")


def with_segments(system: System) -> DataDir:
    """Each recording of test cut in two."""
    data = DataDir.read(system.ours / "data/test").without("feats.scp", "cmvn.scp", "utt2num_frames", "utt2dur")
    times = {f"{name}-{half}": f"{name} {0.3 * half:.2f} {0.3 * half + 0.35:.2f}" for name in data.utterances
             for half in (0, 1)}  # fmt: skip
    tables = {"wav_scp": data.wav_scp, "segments": times}
    for name in ("text", "utt2spk"):
        tables[name] = {cut: data.tables[name][cut.rsplit("-", 1)[0]] for cut in times}
    return DataDir.build(system.fresh() / "cut", **tables).write()


def kaldi_cuts_by_our_segments(system: System) -> str:
    data, out = with_segments(system), system.fresh()
    system.kaldi(f"utils/validate_data_dir.sh --no-feats {data.path}")
    system.kaldi(f"extract-segments scp:{data.path}/wav.scp {data.path}/segments ark,scp:{out}/a.ark,{out}/a.scp")
    theirs = {key: read_sound(place)[0][:, 0] for key, place in read_text_table(out / "a.scp").items()}
    return close_tables(data.path, dict(read_utterances(data)), theirs, 0) + " of every sample"


def we_cut_by_segments_of_kaldi(system: System) -> str:
    out = system.fresh()
    system.kaldi(f"utils/copy_data_dir.sh data/test {out}/cut")
    system.kaldi(f"utils/data/get_segments_for_data.sh data/test > {out}/cut/segments")
    whole, cut = dict(read_utterances(DataDir.read(system.work / "data/test"))), DataDir.read(out / "cut")
    found = dict(read_utterances(cut))
    cut.write(out / "again")
    same_bytes(cut.path, (cut.path / "segments").read_bytes(), (out / "again/segments").read_bytes())
    return close_tables(cut.path, whole, found, 0) + " of every sample"


def kaldi_reads_our_sound_archive(system: System) -> str:
    out, wavs = system.fresh(), read_text_table(system.work / "data/test/wav.scp")
    places = write_wav_ark(out / "wav.ark", [(key, Path(path)) for key, path in wavs.items()])
    write_text_table(out / "wav.scp", {key: f"{out}/wav.ark:{offset}" for key, offset in places.items()})
    system.kaldi(f"wav-copy scp:{system.work}/data/test/wav.scp ark:{out}/theirs.ark")
    same_bytes(out, (out / "theirs.ark").read_bytes(), (out / "wav.ark").read_bytes())
    one, other = (system.kaldi(f"wav-to-duration scp:{scp} ark,t:-") for scp in ("data/test/wav.scp", out / "wav.scp"))
    return same_bytes(out, one, other)


def we_read_a_sound_archive_of_kaldi(system: System) -> str:
    out = system.fresh()
    system.kaldi(f"wav-copy scp:data/test/wav.scp ark,scp:{out}/wav.ark,{out}/wav.scp")
    plain = DataDir.read(system.ours / "data/test", validate=False).without("feats.scp")
    packed = DataDir.build(out, wav_scp=read_text_table(out / "wav.scp"), utt2spk=plain.utt2spk)
    return close_tables(out, dict(read_utterances(plain)), dict(read_utterances(packed)), 0) + " of every sample"


def same_numbers(one: Path, other: Path) -> str:
    return same(one, read_number_table(one), read_number_table(other), "frames")


def kaldi_reads_our_durations(system: System) -> str:
    out = system.fresh()
    lengths = system.kaldi(f"feat-to-len scp:{system.ours}/data/test/feats.scp ark,t:-")
    (out / "utt2num_frames").write_bytes(lengths)
    same_numbers(out / "utt2num_frames", system.ours / "data/test/utt2num_frames")
    system.kaldi(f"utils/copy_data_dir.sh {system.ours}/data/test {out}/data")
    system.kaldi(f"utils/data/get_segments_for_data.sh {out}/data > {out}/segments")
    ends = {key: float(value.split()[2]) for key, value in read_text_table(out / "segments").items()}
    ours = read_number_table(system.ours / "data/test/utt2dur")
    seconds = close(out, [ours[key] for key in sorted(ours)], [ends[key] for key in sorted(ours)], 0.006)
    return f"same frames; seconds: {seconds}"


def we_read_durations_of_kaldi(system: System) -> str:
    theirs, ours = system.work / "data/train", system.ours / "data/train"
    same_bytes(theirs, *((folder / "frame_shift").read_bytes() for folder in (theirs, ours)))
    frames = same_numbers(theirs / "utt2num_frames", ours / "utt2num_frames")
    durations = [list(read_number_table(folder / "utt2dur").values()) for folder in (theirs, ours)]
    return f"same {frames}; seconds: {close('utt2dur', *durations, 0.006)}"


def kaldi_takes_our_options(system: System) -> str:
    """compute-mfcc-feats with the conf/mfcc.conf that we leave in a data directory, against the features beside it."""
    out = system.fresh()
    data = DataDir.read(system.ours / "data/test").without("feats.scp", "cmvn.scp").write(out / "test").path
    make_features(data, FeatureConfig(num_ceps=11, num_mel_bins=20, snip_edges=False), compress=False, jobs=1)
    system.kaldi(f"compute-mfcc-feats --config={data}/conf/mfcc.conf scp:{data}/wav.scp ark:{out}/theirs.ark")
    tables = dict(read_matrix_ark(out / "theirs.ark")), dict(read_matrix_scp(data / "feats.scp").items())
    return "features: " + close_tables(data, *tables, 0.05)


def we_take_options_of_kaldi(system: System) -> str:
    """A conf file as recipes have it, read by both."""
    out, wavs = system.fresh(), dict(read_utterances(DataDir.read(system.ours / "data/test")))
    lines = [
        "--use-energy=false  # as all recipes",
        "--num-mel-bins=40",
        "--num-ceps=40",
        "--low-freq=20",
        "--high-freq=-400",
    ]
    (out / "mfcc.conf").write_text("\n".join([*lines, "--dither=0"]) + "\n", encoding="utf-8")
    system.kaldi(f"compute-mfcc-feats --config={out}/mfcc.conf scp:data/test/wav.scp ark:{out}/theirs.ark")
    config = read_config(out / "mfcc.conf")
    ours = {key: compute_features(samples, config) for key, samples in wavs.items()}
    return "features: " + close_tables(out, dict(read_matrix_ark(out / "theirs.ark")), ours, 0.05)


def kaldi_reads_our_features(system: System) -> str:
    ours, out = system.ours / "data/test/feats.scp", system.fresh()
    printed = system.kaldi(f"copy-feats scp:{ours} ark:-")
    (out / "copied.ark").write_bytes(printed)
    close_tables(ours, dict(read_matrix_scp(ours).items()), dict(read_matrix_ark(out / "copied.ark")), 0)
    options = "--use-energy=false --dither=0"
    (out / "plain.ark").write_bytes(
        system.kaldi(f"compute-mfcc-feats {options} scp:{system.ours}/data/test/wav.scp ark:-")
    )
    make_features(DataDir.read(system.ours / "data/test").without("feats.scp", "cmvn.scp").write(out / "test").path,
                  compress=False, jobs=1)  # fmt: skip
    tables = dict(read_matrix_ark(out / "plain.ark")), dict(read_matrix_scp(out / "test/feats.scp").items())
    return f"same values; before compression {close_tables(ours, *tables, 0.05)} from compute-mfcc-feats"


def we_read_features_of_kaldi(system: System) -> str:
    out, scp = system.fresh(), f"{system.work}/data/test/feats.scp"
    system.kaldi(f"copy-feats scp:{scp} ark:{out}/plain.ark")
    same_values = close_tables(scp, dict(read_matrix_ark(out / "plain.ark")), dict(read_matrix_scp(scp).items()), 0)
    for method in range(1, 8):
        system.kaldi(
            f"copy-feats --compress=true --compression-method={method} ark:{out}/plain.ark ark:{out}/{method}.ark"
        )
        system.kaldi(f"copy-feats ark:{out}/{method}.ark ark:{out}/un{method}.ark")
        tables = [dict(read_matrix_ark(out / f"{name}.ark")) for name in (f"un{method}", method)]
        close_tables(f"method {method}", *tables, 0)
    return f"{same_values}, all 7 methods"


def kaldi_reads_our_plain_matrices(system: System) -> str:
    out, features = system.fresh(), dict(read_matrix_scp(system.ours / "data/test/feats.scp").items())
    with MatrixWriter(out / "a.ark", out / "a.scp") as writer:
        for key, matrix in features.items():
            writer.write(key, matrix)
    system.kaldi(f"copy-feats scp:{out}/a.scp ark:{out}/theirs.ark")
    packed = system.kaldi(f"copy-feats --compress=true scp:{out}/a.scp ark:-")
    ours = b"".join(key.encode() + b" \0B" + compress(matrix)[2:] for key, matrix in features.items())
    same_bytes("compressed", packed, ours)
    return same_bytes(out, (out / "theirs.ark").read_bytes(), (out / "a.ark").read_bytes()) + ", compressed too"


def we_write_back_plain_matrices_of_kaldi(system: System) -> str:
    out = system.fresh()
    system.kaldi(f"copy-feats scp:data/test/feats.scp ark:{out}/a.ark")
    again = b"".join(key.encode() + b" " + packed_matrix(matrix) for key, matrix in read_matrix_ark(out / "a.ark"))
    system.kaldi(f"copy-feats ark:{out}/a.ark ark,t:{out}/text.ark")
    close_tables(out, dict(read_matrix_ark(out / "a.ark")), dict(read_matrix_ark(out / "text.ark")), 1e-4)
    return same_bytes(out, (out / "a.ark").read_bytes(), again) + ", written back; text too"


def index_with_commands(system: System, scp: Path) -> Path:
    """An scp of places, places with ranges of rows and columns, and commands, in turn."""
    out, lengths = system.fresh() / "mixed.scp", read_number_table(scp.parent / "utt2num_frames")
    rows = []
    for number, (key, place) in enumerate(read_text_table(scp).items()):
        ranged = f"{place}[3:{int(lengths[key]) - 2}]" if number % 2 else f"{place}[0:9,2:5]"
        rows.append(f"{key} {[place, ranged, f'copy-feats {place} - |'][number % 3]}")
    with write_whole(out) as stream:
        stream.write("\n".join(rows) + "\n")
    return out


def kaldi_reads_places_ranges_and_commands(system: System) -> str:
    scp, out = index_with_commands(system, system.ours / "data/test/feats.scp"), system.fresh()
    system.kaldi(f"copy-feats scp:{scp} ark:{out}/a.ark")
    with_kaldi = dict(read_matrix_ark(out / "a.ark"))
    return close_tables(scp, with_kaldi, read_in(system, scp), 1e-4)


def read_in(system: System, scp: Path) -> dict[str, np.ndarray]:
    """All of an scp, its commands run where Kaldi's programs are found."""
    with mock.patch.dict(os.environ, PATH=system.kaldi("printf %s $PATH").decode()):
        return dict(read_matrix_scp(scp).items())


def we_read_places_ranges_and_commands(system: System) -> str:
    scp, out = index_with_commands(system, system.work / "data/test/feats.scp"), system.fresh()
    system.kaldi(f"copy-feats scp:{scp} ark:{out}/a.ark")
    return close_tables(scp, dict(read_matrix_ark(out / "a.ark")), read_in(system, scp), 1e-4)


def cmvn_command(data: Path, feats: str = "") -> str:
    return f"apply-cmvn --utt2spk=ark:{data}/utt2spk scp:{data}/cmvn.scp {feats or f'scp:{data}/feats.scp'} ark:-"


def kaldi_normalises_with_our_statistics(system: System) -> str:
    data, out = system.ours / "data/test", system.fresh()
    (out / "a.ark").write_bytes(system.kaldi(cmvn_command(data)))
    spoken_by, stats = read_text_table(data / "utt2spk"), read_matrix_scp(data / "cmvn.scp")
    ours = {
        key: apply_cmvn(matrix, stats[spoken_by[key]]) for key, matrix in read_matrix_scp(data / "feats.scp").items()
    }
    (out / "theirs.ark").write_bytes(
        system.kaldi(f"compute-cmvn-stats --spk2utt=ark:{data}/spk2utt scp:{data}/feats.scp ark:-")
    )
    computed = close_tables(data, dict(read_matrix_ark(out / "theirs.ark")), dict(stats.items()), 1.0)
    return f"normalised: {close_tables(data, dict(read_matrix_ark(out / 'a.ark')), ours, 1e-4)}; statistics: {computed}"


def we_write_back_statistics_of_kaldi(system: System) -> str:
    ark = next((system.work / "mfcc").glob("cmvn_train.ark"))
    again = b"".join(key.encode() + b" " + packed_matrix(matrix) for key, matrix in read_matrix_ark(ark))
    return same_bytes(ark, ark.read_bytes(), again) + ", written back"


def kaldi_reads_our_vectors(system: System) -> str:
    out, rng = system.fresh(), np.random.default_rng(0)
    with MatrixWriter(out / "a.ark") as writer:
        for key in ("a", "b"):
            writer.write(key, rng.normal(0, 1, 5).astype(np.float32))
    system.kaldi(f"copy-vector ark:{out}/a.ark ark:{out}/theirs.ark")
    return same_bytes(out, (out / "theirs.ark").read_bytes(), (out / "a.ark").read_bytes())


def we_write_back_vectors_of_kaldi(system: System) -> str:
    out = system.fresh()
    system.kaldi(f"matrix-sum-rows scp:data/test/feats.scp ark:{out}/a.ark")
    again = b"".join(key.encode() + b" " + packed_matrix(vector) for key, vector in read_matrix_ark(out / "a.ark"))
    return same_bytes(out, (out / "a.ark").read_bytes(), again) + ", written back"


KINDS = (
    Kind("`wav.scp text utt2spk spk2utt spk2gender ...` of a data directory",
         "validate_data_dir.sh, fix_data_dir.sh", kaldi_accepts_our_directory,
         "subset_data_dir.sh", we_read_a_directory_of_kaldi),
    Kind("`segments`", "extract-segments", kaldi_cuts_by_our_segments,
         "get_segments_for_data.sh", we_cut_by_segments_of_kaldi),
    Kind("`wav.ark` and its scp", "wav-to-duration (bytes: wav-copy)", kaldi_reads_our_sound_archive,
         "wav-copy", we_read_a_sound_archive_of_kaldi),
    Kind("`utt2num_frames utt2dur frame_shift`", "feat-to-len, get_segments_for_data.sh", kaldi_reads_our_durations,
         "make_mfcc.sh", we_read_durations_of_kaldi),
    Kind("feature archives, compressed", "copy-feats", kaldi_reads_our_features,
         "make_mfcc.sh, copy-feats --compress", we_read_features_of_kaldi),
    Kind("`conf/mfcc.conf`", "compute-mfcc-feats --config", kaldi_takes_our_options,
         "written by hand, as recipes have it", we_take_options_of_kaldi),
    Kind("matrix archives, plain", "copy-feats", kaldi_reads_our_plain_matrices,
         "copy-feats, binary and text", we_write_back_plain_matrices_of_kaldi),
    Kind("`feats.scp` with places, ranges and commands", "copy-feats", kaldi_reads_places_ranges_and_commands,
         "make_mfcc.sh; edited", we_read_places_ranges_and_commands),
    Kind("CMVN statistics", "apply-cmvn (computed: compute-cmvn-stats)", kaldi_normalises_with_our_statistics,
         "compute_cmvn_stats.sh", we_write_back_statistics_of_kaldi),
    Kind("vector archives", "copy-vector", kaldi_reads_our_vectors, "matrix-sum-rows", we_write_back_vectors_of_kaldi),
)  # fmt: skip
