"""Features against Kaldi's programs, its golden files and kaldi-native-fbank; CMVN, deltas and splicing likewise."""

from __future__ import annotations

import shutil
from pathlib import Path

import kaldi_native_fbank as knf
import numpy as np
import pytest

from harness.errors import ConfigError, DataDirError, DiskError, StageError
from kaldi_bridge.audio import read_utterances, write_wav
from kaldi_bridge.data_dir import DataDir
from kaldi_bridge.features import (
    FeatureConfig,
    add_deltas,
    apply_cmvn,
    cmvn_stats,
    compute_cmvn,
    compute_features,
    make_features,
    read_config,
    splice,
)
from kaldi_bridge.programs import run_kaldi
from kaldi_bridge.tables import MatrixWriter, read_matrix_ark, read_matrix_scp, read_number_table
from kaldi_bridge.text_tables import read_text_table
from kaldi_bridge.validate import problems
from tests.unit.kaldi_bridge.conftest import RATE, sound

CONFIGS = {
    "mfcc": FeatureConfig.mfcc(),
    "mfcc_hires": FeatureConfig.mfcc_hires(),
    "fbank": FeatureConfig.fbank(),
    "mfcc with energy and all edges": FeatureConfig(use_energy=True, snip_edges=False),
    "mfcc with windowed energy for HTK": FeatureConfig(
        use_energy=True, raw_energy=False, htk_compat=True, window_type="hamming"
    ),
    "mfcc with a high energy floor": FeatureConfig(use_energy=True, energy_floor=1e9, window_type="hanning"),
    "fbank of magnitudes with energy": FeatureConfig.fbank(use_energy=True, use_power=False, num_mel_bins=80),
    "fbank without logarithm": FeatureConfig.fbank(use_log_fbank=False, htk_compat=True, use_energy=True),
    "mfcc with odd options": FeatureConfig(
        window_type="blackman",
        preemphasis_coefficient=0.5,
        frame_shift=5.0,
        remove_dc_offset=False,
        cepstral_lifter=0.0,
    ),
    "mfcc without padding": FeatureConfig(round_to_power_of_two=False, window_type="rectangular", low_freq=100.0),
}


@pytest.fixture(scope="module")
def golden_audio(golden_dir) -> dict[str, np.ndarray]:
    tables = {}
    for line in (golden_dir / "data" / "train" / "wav.scp").read_text().splitlines()[:12]:
        key, path = line.split()
        tables[key] = str(golden_dir / path)
    return dict(read_utterances(DataDir.build("golden", wav_scp=tables, utt2spk=dict.fromkeys(tables, "s"))))


@pytest.mark.kaldi
@pytest.mark.parametrize("name", CONFIGS)
def test_features_are_those_of_kaldi_programs(name, golden_audio, tmp_path, kaldi_root):
    config = CONFIGS[name]
    (tmp_path / "conf").write_text("\n".join(config.lines()))
    for key, samples in golden_audio.items():
        write_wav(tmp_path / f"{key}.wav", samples, RATE)
    (tmp_path / "wav.scp").write_text("".join(f"{key} {tmp_path}/{key}.wav\n" for key in golden_audio))
    run_kaldi(f"compute-{config.kind}-feats --config={tmp_path}/conf scp:{tmp_path}/wav.scp ark:{tmp_path}/f.ark")
    for key, theirs in read_matrix_ark(tmp_path / "f.ark"):
        ours = compute_features(golden_audio[key], config)
        assert ours.shape == theirs.shape == (config.num_frames(len(golden_audio[key])), config.dim)
        np.testing.assert_allclose(ours, theirs, atol=0.01, rtol=1e-3)


@pytest.mark.kaldi
@pytest.mark.parametrize("warp", [0.85, 1.0, 1.15])
def test_warped_features_are_those_of_kaldi(warp, golden_audio, tmp_path, kaldi_root):
    key, samples = next(iter(golden_audio.items()))
    write_wav(tmp_path / "u.wav", samples, RATE)
    run_kaldi(
        f"echo '{key} {tmp_path}/u.wav' | compute-mfcc-feats --use-energy=false --dither=0"
        f" --vtln-map='ark:echo {key} {warp}|' scp:- ark:{tmp_path}/f.ark"
    )
    [(_, theirs)] = read_matrix_ark(tmp_path / "f.ark")
    np.testing.assert_allclose(compute_features(samples, FeatureConfig(), warp=warp), theirs, atol=0.01)


@pytest.mark.parametrize("kind", ["mfcc", "mfcc_hires", "fbank"])
def test_features_are_those_of_kaldi_native_fbank(kind):
    config, samples = CONFIGS[kind], sound(1.0)
    options = knf.MfccOptions() if config.kind == "mfcc" else knf.FbankOptions()
    options.frame_opts.dither, options.use_energy = 0, False
    options.mel_opts.num_bins, options.mel_opts.high_freq = config.num_mel_bins, config.high_freq
    if config.kind == "mfcc":
        options.num_ceps = config.num_ceps
    stream = (knf.OnlineMfcc if config.kind == "mfcc" else knf.OnlineFbank)(options)
    stream.accept_waveform(RATE, (samples * 32768).tolist())
    stream.input_finished()
    theirs = np.stack([stream.get_frame(frame) for frame in range(stream.num_frames_ready)])
    np.testing.assert_allclose(compute_features(samples, config), theirs, atol=0.02)


def test_golden_features_are_ours_up_to_one_step_of_their_compression(golden_dir, golden_audio, monkeypatch):
    monkeypatch.chdir(golden_dir)
    config = read_config("conf/mfcc.conf")
    assert config == FeatureConfig()
    golden = read_matrix_scp("data/train/feats.scp")
    for key, samples in golden_audio.items():
        step = np.ptp(golden[key], axis=0) / 64  # the widest step a byte can mean
        assert (np.abs(compute_features(samples, config) - golden[key]) <= step + 0.01).all()


def test_long_audio_gives_the_same_frames_as_its_pieces():
    samples = sound(30.0)
    whole = compute_features(samples, FeatureConfig())
    piece = compute_features(samples[25 * RATE :], FeatureConfig())
    np.testing.assert_allclose(whole[2500:], piece, atol=1e-3)


def test_too_short_audio_gives_no_frame_and_wrong_shapes_are_refused():
    assert compute_features(np.zeros(399, np.float32), FeatureConfig()).shape == (0, 13)
    assert compute_features(np.zeros(400, np.float32), FeatureConfig()).shape == (1, 13)
    with pytest.raises(ValueError, match=r"samples must be \[n\], got \[400, 1\]"):
        compute_features(np.zeros((400, 1), np.float32), FeatureConfig())


def test_dither_needs_a_generator_and_is_the_same_for_the_same_seed():
    config, samples = FeatureConfig(dither=1.0), sound(0.3)
    with pytest.raises(ValueError, match="dither needs"):
        compute_features(samples, config)
    one, two = (compute_features(samples, config, rng=np.random.default_rng(1)) for _ in range(2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, compute_features(samples, FeatureConfig()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_ceps": 30}, "num_ceps"), ({"low_freq": 9000.0}, "bad band"), ({"high_freq": 9000.0}, "bad band"),
        ({"frame_shift": 0.0}, "too short"), ({"num_mel_bins": 2, "num_ceps": 2}, "at least 3"),
    ],
)  # fmt: skip
def test_options_that_contradict_are_refused_at_birth(changes, words):
    with pytest.raises(ValueError, match=words):
        FeatureConfig(**changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--use-energy=false\n--num-cep=13\n", r"conf:2: unknown option --num-cep; did you mean --num-ceps"),
        ("use-energy=false\n", r"conf:1: expected --option=value"),
        ("# fine\n--use-energy=no\n", r"conf:2: --use-energy must be true or false, got 'no'"),
        ("--num-ceps=13.5\n", r"conf:1: --num-ceps must be int"),
        ("--num-ceps=40\n", r"conf: num_ceps must lie in"),
    ],
)
def test_a_bad_conf_file_is_refused_at_its_line(tmp_path, text, words):
    (tmp_path / "conf").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_config(tmp_path / "conf")


def test_a_conf_file_gives_kaldis_defaults_for_the_rest(tmp_path):
    (tmp_path / "conf").write_text("--num-mel-bins=30  # more\n\n--snip-edges\n--verbose=2\n")
    config = read_config(tmp_path / "conf")
    assert (config.num_mel_bins, config.snip_edges, config.use_energy, config.dither) == (30, True, True, 0.0)


# ---- whole directories


def test_making_features_writes_every_table_and_does_not_depend_on_jobs(make_data, tmp_path):
    data = make_data(speakers=3, utterances=12, seconds=0.2)
    report = make_features(data.path, FeatureConfig(), tmp_path / "one", jobs=1)
    first = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir() if path.suffix == ".ark"}
    make_features(data.path, FeatureConfig(), tmp_path / "two", jobs=2)
    assert {p.name: p.read_bytes() for p in (tmp_path / "two").iterdir() if p.suffix == ".ark"} == first
    assert report.made == 36
    assert problems(data.path) == []
    feats = read_matrix_scp(data.path / "feats.scp")
    audio = dict(read_utterances(data))
    frames, seconds = read_number_table(data.path / "utt2num_frames"), read_number_table(data.path / "utt2dur")
    for utterance, samples in audio.items():
        wanted = compute_features(samples, FeatureConfig())
        assert feats[utterance].shape == wanted.shape == (frames[utterance], 13)
        assert np.abs(feats[utterance] - wanted).max() < 2.0  # one byte a value
        assert seconds[utterance] == pytest.approx(len(samples) / RATE, abs=1e-6)
    assert (data.path / "frame_shift").read_text() == "0.01\n"
    assert read_config(data.path / "conf" / "mfcc.conf") == FeatureConfig()


def test_features_again_move_the_old_ones_and_their_statistics_away(make_data, tmp_path):
    data = make_data()
    make_features(data.path, FeatureConfig(), tmp_path / "a", jobs=1)
    compute_cmvn(data.path, tmp_path / "a")
    old = (data.path / "feats.scp").read_bytes()
    make_features(data.path, FeatureConfig.fbank(), tmp_path / "b", jobs=1, compress=False)
    assert not (data.path / "cmvn.scp").exists()
    assert (data.path / ".backup" / "feats.scp").read_bytes() == old
    exact = read_matrix_scp(data.path / "feats.scp")
    for utterance, samples in read_utterances(data):
        assert np.array_equal(exact[utterance], compute_features(samples, FeatureConfig.fbank()))


def break_some(data: DataDir, count: int) -> None:
    for utterance in data.utterances[:count]:
        Path(data.tables["wav.scp"][utterance]).unlink(missing_ok=True)


def test_few_failures_are_listed_and_many_fail_the_stage(make_data, tmp_path, caplog):
    data = make_data(speakers=2, utterances=10, seconds=0.1)
    break_some(data, 1)
    report = make_features(data.path, FeatureConfig(), tmp_path / "out", jobs=2)
    assert list(report.failed) == ["kid01-000"]
    assert "no such file" in (tmp_path / "out" / "failed_train").read_text()
    assert "1 of 20 utterances have no features" in caplog.text
    assert len(read_text_table(data.path / "feats.scp")) == 19
    break_some(data, 2)
    before = {path.name: path.read_bytes() for path in data.path.iterdir() if path.is_file()}
    with pytest.raises(StageError, match=r"2 of 20 utterances have no features, more than 5%; the first: .*kid01-000"):
        make_features(data.path, FeatureConfig(), tmp_path / "out", jobs=2)
    assert {path.name: path.read_bytes() for path in data.path.iterdir() if path.is_file()} == before
    assert all(len(feats) for feats in read_matrix_scp(data.path / "feats.scp").values())  # its archive is still there


def test_options_without_a_mel_bank_are_refused_before_the_work(make_data, tmp_path):
    data = make_data(speakers=1, utterances=1)
    with pytest.raises(ConfigError, match=r"num_mel_bins=200 leaves a mel bin without any bin of the spectrum"):
        make_features(data.path, FeatureConfig(num_mel_bins=200), tmp_path / "arks", jobs=1)
    (tmp_path / "mfcc.conf").write_text("--window-type=triangle\n")
    with pytest.raises(ConfigError, match=r"mfcc.conf: window_type must be one of povey, .*got 'triangle'"):
        read_config(tmp_path / "mfcc.conf")
    assert not (tmp_path / "arks").exists()


def test_a_warp_factor_without_room_in_the_band_is_a_failure_of_its_speaker(make_data, tmp_path):
    data = make_data(speakers=2, utterances=1)
    data.tables["spk2warp"] = dict(zip(data.speakers, ("1.0", "1.4"), strict=True))
    data.write()
    report = make_features(data.path, FeatureConfig(vtln_low=6000.0), tmp_path / "arks", jobs=1, max_failed=0.5)
    assert report.made == 1
    [(utterance, why)] = report.failed.items()
    assert utterance == data.utterances[1]
    assert "warp 1.4 does not fit" in why


def test_too_short_an_utterance_is_a_failure_with_its_length(make_data, tmp_path):
    data = make_data(speakers=1, utterances=2)
    write_wav(data.tables["wav.scp"]["kid01-000"], sound(0.02), RATE)
    report = make_features(data.path, FeatureConfig(), tmp_path / "out", jobs=1, max_failed=0.5)
    assert "0.020 s are too short for a frame of 25 ms" in report.failed["kid01-000"]


def test_another_rate_fails_the_stage_unless_resampled(make_data, tmp_path):
    data = make_data(speakers=1, utterances=2)
    for path in data.tables["wav.scp"].values():
        write_wav(path, sound(0.5, rate=8000), 8000)
    with pytest.raises(StageError, match=r"has 8000 samples a second where 16000 are expected"):
        make_features(data.path, FeatureConfig(), tmp_path / "out", jobs=1)
    assert make_features(data.path, FeatureConfig(), tmp_path / "out", jobs=1, resample=True).resampled == 2


def test_a_full_disk_is_told_and_the_directory_stays_as_it_was(make_data, tmp_path, monkeypatch):
    data = make_data()
    before = sorted(path.name for path in data.path.iterdir())
    monkeypatch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DiskError, match=r"raw_mfcc_train.1.ark: no space left"):
        make_features(data.path, FeatureConfig(), tmp_path / "out", jobs=1)
    assert sorted(path.name for path in data.path.iterdir()) == before
    assert list((tmp_path / "out").iterdir()) == []


def test_a_run_killed_before_its_index_is_written_leaves_no_wrong_index_and_can_be_repeated(
    make_data, tmp_path, monkeypatch
):
    data = make_data()
    make_features(data.path, FeatureConfig(), tmp_path / "whole", jobs=1)
    make_features(data.path, FeatureConfig(num_ceps=10), tmp_path / "out", jobs=1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("kaldi_bridge.features._install", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        make_features(data.path, FeatureConfig(), tmp_path / "out", jobs=1)
    assert not (data.path / "feats.scp").exists()
    make_features(data.path, FeatureConfig(), tmp_path / "out", jobs=1)
    name = "raw_mfcc_train.1.ark"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.kaldi
def test_kaldi_reads_our_features_and_its_steps_go_on_from_them(make_data, tmp_path, kaldi_root):
    data = make_data()
    data.tables["spk2warp"] = {"kid01": "0.9", "kid02": "1.1"}
    data.write()
    make_features(data.path, FeatureConfig(), tmp_path / "ours", jobs=1, compress=False)
    compute_cmvn(data.path, tmp_path / "ours")
    options = (
        f"--config={data.path}/conf/mfcc.conf --vtln-map=ark:{data.path}/spk2warp --utt2spk=ark:{data.path}/utt2spk"
    )
    run_kaldi(
        f"compute-mfcc-feats {options} scp:{data.path}/wav.scp ark:- | "
        f"compare-feats --threshold=0.99999 ark:- scp:{data.path}/feats.scp"
    )
    said = run_kaldi(
        f"apply-cmvn --utt2spk=ark:{data.path}/utt2spk scp:{data.path}/cmvn.scp scp:{data.path}/feats.scp ark:- "
        f"| feat-to-len ark:- ark,t:-"
    )
    assert {line.split()[0] for line in said.decode().splitlines()} == set(data.utterances)


# ---- statistics and context


@pytest.mark.parametrize("sets", ["train", "test"])
def test_golden_statistics_are_ours_to_the_bit(golden_dir, monkeypatch, sets):
    monkeypatch.chdir(golden_dir)
    feats, stats = read_matrix_scp(f"data/{sets}/feats.scp"), read_matrix_scp(f"data/{sets}/cmvn.scp")
    for speaker, utterances in DataDir.read(f"data/{sets}").spk2utt.items():
        assert np.array_equal(cmvn_stats(feats[utterance] for utterance in utterances), stats[speaker])


def test_statistics_of_utterances_and_speakers_are_written(golden_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(golden_dir)
    copy = Path(shutil.copytree("data/train", tmp_path / "train"))
    (tmp_path / "train").chmod(0o755)
    (copy / "cmvn.scp").unlink()
    compute_cmvn(copy, tmp_path / "stats")
    ours, golden = read_matrix_scp(copy / "cmvn.scp"), read_matrix_scp("data/train/cmvn.scp")
    assert all(np.array_equal(ours[key], golden[key]) for key in golden)
    compute_cmvn(copy, tmp_path / "stats", per_utterance=True)
    each = read_matrix_scp(copy / "cmvn_utt.scp")
    np.testing.assert_allclose(sum(each[key] for key in each if key.startswith("ana")), golden["ana"], rtol=1e-9)


def test_statistics_of_nothing_or_of_mixed_features_are_refused(make_data, tmp_path):
    data = make_data()
    with pytest.raises(DataDirError, match=r"feats.scp: no such file"):
        compute_cmvn(data.path)
    with pytest.raises(ValueError, match="features of 3 columns after features of 2"):
        cmvn_stats([np.ones((2, 2), np.float32), np.ones((2, 3), np.float32)])
    feats = np.ones((3, 13), np.float32)
    with pytest.raises(ValueError, match=r"must be \[2, 14\]"):
        apply_cmvn(feats, np.ones((2, 13)))
    with pytest.raises(ValueError, match="count 0 frames"):
        apply_cmvn(feats, np.zeros((2, 14)))


def test_normalised_features_have_mean_0_and_variance_1():
    feats = np.random.default_rng(0).normal(5, 3, (500, 4)).astype(np.float32)
    both = apply_cmvn(feats, cmvn_stats([feats]), norm_vars=True)
    np.testing.assert_allclose(both.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(both.std(axis=0), 1, atol=1e-5)
    assert both.dtype == np.float32


def test_deltas_of_a_straight_line_are_its_slope():
    line = np.arange(20, dtype=np.float32)[:, None] * 3
    deltas = add_deltas(line, order=2)
    np.testing.assert_allclose(deltas[4:-4], np.stack([line[4:-4, 0], np.full(12, 3), np.zeros(12)], axis=1), atol=1e-5)


def test_splicing_repeats_the_ends():
    feats = np.array([[0], [1], [2]], np.float32)
    assert splice(feats, 1, 2).tolist() == [[0, 0, 1, 2], [0, 1, 2, 2], [1, 2, 2, 2]]
    assert splice(feats[:0], 4, 4).shape == (0, 9)


@pytest.mark.kaldi
@pytest.mark.parametrize(
    ("command", "ours"),
    [
        ("apply-cmvn ark:{stats} ark:- ark:-", lambda feats, stats: apply_cmvn(feats, stats)),
        ("apply-cmvn --norm-vars=true ark:{stats} ark:- ark:-", lambda feats, stats: apply_cmvn(feats, stats, True)),
        ("add-deltas ark:- ark:-", lambda feats, stats: add_deltas(feats)),
        ("add-deltas --delta-order=3 --delta-window=1 ark:- ark:-", lambda feats, stats: add_deltas(feats, 3, 1)),
        ("splice-feats --left-context=4 --right-context=2 ark:- ark:-", lambda feats, stats: splice(feats, 4, 2)),
    ],
)
def test_normalisation_deltas_and_splicing_are_kaldis(command, ours, tmp_path, kaldi_root):
    rng = np.random.default_rng(5)
    items = {f"u{size}": rng.normal(3, 20, (size, 13)).astype(np.float32) for size in (1, 2, 7, 100)}
    with MatrixWriter(tmp_path / "feats.ark") as feats, MatrixWriter(tmp_path / "stats.ark") as stats:
        for key, value in items.items():
            feats.write(key, value)
            stats.write(key, cmvn_stats([items["u100"]]))
    line = command.format(stats=tmp_path / "stats.ark")
    run_kaldi(f"cat {tmp_path}/feats.ark | {line} > {tmp_path}/out.ark")
    for key, theirs in read_matrix_ark(tmp_path / "out.ark"):
        np.testing.assert_allclose(ours(items[key], cmvn_stats([items["u100"]])), theirs, atol=3e-5)
