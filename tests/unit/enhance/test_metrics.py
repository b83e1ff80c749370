"""Metrics against equations worked by hand, known noise levels, scaled copies and the programs of others."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.linalg import solve_toeplitz, toeplitz

from enhance.metrics import METRICS, chosen, composite, distances, dnsmos, measure, needs_clean, perceptual
from harness.errors import AudioError, ConfigError

RATE = 16000


def white(seconds: float, power: float, seed: int = 0) -> np.ndarray:
    return math.sqrt(power) * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """A coloured, breathing noise with a pause: nothing periodic that the measures could lock to."""
    sound = np.convolve(white(2.0, 1.0), [1, 0.8, 0.5, 0.2])[: 2 * RATE]
    envelope = np.abs(np.sin(2 * np.pi * 2.1 * np.arange(2 * RATE) / RATE)) ** 2
    return (0.05 * sound * envelope).astype(np.float32)


def noisy_at(clean: np.ndarray, decibels: float, seed: int = 7) -> np.ndarray:
    """Clean with white noise at exactly this SNR over the whole signal."""
    noise = np.random.default_rng(seed).standard_normal(len(clean))
    noise *= math.sqrt((clean @ clean) / (noise @ noise) / 10 ** (decibels / 10))
    return (clean + noise).astype(np.float64)


# ---- known values


@pytest.mark.parametrize("decibels", [-5.0, 0.0, 12.5])
def test_snr_is_that_of_the_mixture(speech, decibels):
    assert distances.snr(speech, noisy_at(speech, decibels), RATE) == pytest.approx(decibels, abs=1e-6)


def test_a_copy_at_half_the_scale_has_6_db_of_snr_and_a_perfect_si_sdr(speech):
    assert distances.snr(speech, 0.5 * speech, RATE) == pytest.approx(20 * math.log10(2), abs=1e-4)
    assert distances.si_sdr(speech, 0.5 * speech, RATE) > 100


def test_si_sdr_of_noise_that_is_orthogonal_to_speech_is_the_energy_ratio():
    clean, noise = np.tile([1.0, 1.0, -1.0, -1.0], 400), np.tile([1.0, -1.0, 1.0, -1.0], 400)
    assert distances.si_sdr(clean, 3 * clean + 0.3 * noise, RATE) == pytest.approx(20.0, abs=1e-9)


def test_segmental_snr_of_stationary_noises_is_their_exact_ratio():
    """Noise at a tenth of the amplitude, sample by sample, has 20 dB in every frame."""
    clean = white(1.0, 0.01)
    assert composite.segmental_snr(clean, 1.1 * clean, RATE) == pytest.approx(20.0, abs=1e-6)


def test_segmental_snr_is_clipped_frame_by_frame_before_the_mean():
    clean = white(1.0, 0.01)
    assert composite.segmental_snr(clean, clean, RATE) == 35.0
    assert composite.segmental_snr(clean, -20 * clean, RATE) == -10.0
    mixed = clean.copy()
    mixed[: RATE // 2] *= -20
    halves = composite.segmental_snr(clean, mixed, RATE)
    assert halves == pytest.approx((35 - 10) / 2, abs=1.0)  # a few frames lie across the border


def test_the_last_whole_frame_stays_out_of_segmental_snr_as_in_the_published_program():
    clean = white(0.030 + 2 * 0.0075, 0.01)  # three whole frames, of which two count
    spoilt = clean.copy()
    spoilt[-119:] *= -20
    assert composite.segmental_snr(clean, spoilt, RATE) == 35.0
    spoilt[480:] *= -20
    assert composite.segmental_snr(clean, spoilt, RATE) < 35.0


def test_log_spectral_distance_of_a_scaled_copy_is_the_scale_in_db():
    clean = white(1.0, 1.0)  # far above the floor
    assert distances.log_spectral_distance(clean, 0.1 * clean, RATE) == pytest.approx(20.0, abs=1e-4)
    assert distances.log_spectral_distance(clean, clean, RATE) == 0.0


def test_log_spectral_distance_takes_the_root_in_each_frame_not_over_the_file():
    """Half of the frames off by 20 dB, half by none: the mean of the roots is 10, the root of the mean would be 14."""
    clean, half = white(16.0, 0.01), 8 * RATE
    estimate = np.concatenate([clean[:half], 0.1 * clean[half:]])
    assert distances.log_spectral_distance(clean, estimate, RATE) == pytest.approx(10.0, abs=0.2)


def test_spectra_below_the_floor_of_100_db_under_full_scale_are_equal():
    sine = np.sin(2 * np.pi * 1000 * np.arange(RATE) / RATE)
    assert distances.log_spectral_distance(1e-7 * sine, 1e-6 * sine, RATE) == pytest.approx(0.0, abs=1e-9)
    full = distances._power(sine[None, :2048] * np.hanning(2049)[:-1], 2 / np.hanning(2049)[:-1].sum())
    assert full.max() == pytest.approx(1.0, abs=1e-6)


def test_log_mel_error_of_a_scaled_copy_is_the_log_of_the_power_ratio():
    clean = white(1.0, 0.04)
    assert distances.log_mel_error(clean, 0.5 * clean, RATE) == pytest.approx(2 * math.log(2), abs=1e-3)


def test_composites_are_the_published_sums_and_stay_between_1_and_5():
    assert composite.csig(2.0, 0.5, 30.0) == pytest.approx(3.093 - 0.5145 + 1.206 - 0.27)
    assert composite.cbak(2.0, 30.0, 4.0) == pytest.approx(1.634 + 0.956 - 0.21 + 0.252)
    assert composite.covl(2.0, 0.5, 30.0) == pytest.approx(1.594 + 1.61 - 0.256 - 0.21)
    assert composite.csig(4.64, 0.0, 0.0) == 5.0
    assert composite.covl(1.0, 3.0, 100.0) == 1.0
    assert math.isnan(composite.covl(math.nan, 0.5, 30.0))  # no PESQ, no composite


# ---- LLR and WSS against the definitions, written out sample by sample


def frames_of(sound: np.ndarray) -> list[np.ndarray]:
    window = [0.5 * (1 - math.cos(2 * math.pi * n / 481)) for n in range(1, 481)]
    count = int(len(sound) / 120 - 480 / 120)
    return [sound[120 * k : 120 * k + 480] * window for k in range(count)]


def test_llr_is_that_of_normal_equations_solved_frame_by_frame(speech):
    estimate, found = noisy_at(speech, 5.0), []
    for truth, ours in zip(frames_of(speech + 2.0**-52), frames_of(estimate + 2.0**-52), strict=True):
        lags = [np.array([x[: 480 - k] @ x[k:] for k in range(17)]) for x in (truth, ours)]
        filters = [np.concatenate([[1.0], -solve_toeplitz(r[:-1], r[1:])]) for r in lags]
        matrix = toeplitz(lags[0])
        found.append(math.log((filters[1] @ matrix @ filters[1]) / (filters[0] @ matrix @ filters[0])))
    expected = np.mean(sorted(found)[: round(0.95 * len(found))])
    assert composite.log_likelihood_ratio(speech, estimate, RATE) == pytest.approx(expected, rel=1e-6)


def band_energies(frame: np.ndarray) -> list[float]:
    power, energies = np.abs(np.fft.fft(frame, 1024)[:512]) ** 2, []
    for centre, width in zip(composite.CENTRES, composite.BANDWIDTHS, strict=True):
        middle, wide = math.floor(centre / 8000 * 512), width / 8000 * 512
        total = 0.0
        for bin_, value in enumerate(power):
            weight = math.exp(-11 * ((bin_ - middle) / wide) ** 2 + math.log(70) - math.log(width))
            total += value * weight * (weight > math.exp(-30 / (2 * 2.303)))
        energies.append(10 * math.log10(max(total, 1e-10)))
    return energies


def slope_weights(energies: list[float]) -> list[float]:
    weights = []
    for band in range(24):
        place = band
        if energies[band + 1] > energies[band]:
            while place < 24 and energies[place + 1] > energies[place]:
                place += 1
            peak = energies[place - 1]
        else:
            while place >= 0 and energies[place + 1] <= energies[place]:
                place -= 1
            peak = energies[place + 1]
        weights.append(20 / (20 + max(energies) - energies[band]) * 1 / (1 + peak - energies[band]))
    return weights


def test_wss_is_that_of_klatts_weights_band_by_band(speech):
    clean, found = speech[:2400].astype(np.float64), []
    estimate = noisy_at(speech, 0.0)[:2400]
    for truth, ours in zip(frames_of(clean), frames_of(estimate), strict=True):
        energies = [band_energies(x) for x in (truth, ours)]
        weights = [(a + b) / 2 for a, b in zip(*map(slope_weights, energies), strict=True)]
        changes = [(np.diff(energies[0])[k] - np.diff(energies[1])[k]) ** 2 for k in range(24)]
        found.append(sum(w * c for w, c in zip(weights, changes, strict=True)) / sum(weights))
    expected = np.mean(sorted(found)[: round(0.95 * len(found))])
    assert composite.weighted_spectral_slope(clean, estimate, RATE) == pytest.approx(expected, rel=1e-9)


def test_a_critical_band_begins_where_the_one_below_ends():
    steps = np.diff(composite.CENTRES)
    assert steps == pytest.approx(composite.BANDWIDTHS[:-1], rel=1e-3)


def test_long_sounds_are_measured_in_blocks_that_change_nothing(speech, monkeypatch):
    estimate = noisy_at(speech, 5.0)
    names = ("ssnr", "llr", "wss", "lsd")
    whole = measure(chosen(names), speech, estimate, RATE)[0]
    monkeypatch.setattr(composite, "BLOCK", 17)
    monkeypatch.setattr(distances, "BLOCK", 3)
    assert measure(chosen(names), speech, estimate, RATE)[0] == pytest.approx(whole, rel=1e-9)


# ---- all of them


def test_a_perfect_copy_has_the_best_value_of_every_metric(make_voice):
    pytest.importorskip("pesq", reason="PESQ is not installed")
    clean = make_voice(0, 2.0)
    names = [name for name, metric in METRICS.items() if needs_clean(metric)]
    values, problems = measure(chosen(names), clean, clean, RATE)
    assert problems == {}
    assert values["pesq"] == pytest.approx(4.644, abs=1e-3)
    assert values["pesq_nb"] == pytest.approx(4.549, abs=1e-3)
    assert (values["stoi"], values["estoi"]) == pytest.approx((1.0, 1.0))
    assert (values["csig"], values["cbak"], values["covl"], values["ssnr"]) == (5.0, 5.0, 5.0, 35.0)
    assert [values[name] for name in ("llr", "wss", "lsd", "log_mel")] == [0.0, 0.0, 0.0, 0.0]
    assert values["si_sdr"] > 100 and values["plain_snr"] > 100


def test_every_metric_with_a_reference_prefers_less_noise(make_voice):
    pytest.importorskip("pesq", reason="PESQ is not installed")
    clean = make_voice(1, 2.0).astype(np.float64)
    names = [name for name, metric in METRICS.items() if needs_clean(metric)]
    rows = [measure(chosen(names), clean, noisy_at(clean, snr), RATE)[0] for snr in (-5.0, 5.0, 15.0, 30.0)]
    for name in names:
        values = [row[name] if METRICS[name].better == "higher" else -row[name] for row in rows]
        assert values == sorted(values) and values[0] < values[-1], (name, values)


def test_extended_stoi_and_narrow_band_pesq_are_those_of_the_packages(make_voice):
    pesq = pytest.importorskip("pesq", reason="PESQ is not installed").pesq
    from pystoi import stoi

    from kaldi_bridge.audio import resample

    clean = make_voice(2, 2.0)
    noisy = noisy_at(clean, 5.0).astype(np.float32)
    assert perceptual.extended_stoi_of(clean, noisy, RATE) == pytest.approx(stoi(clean, noisy, RATE, True), abs=1e-6)
    narrow = [resample(x, RATE, 8000) for x in (clean, noisy)]
    assert perceptual.pesq_narrow_of(clean, noisy, RATE) == pytest.approx(pesq(8000, *narrow, "nb"))
    assert perceptual.pesq_narrow_of(*narrow, 8000) == pytest.approx(pesq(8000, *narrow, "nb"))
    with pytest.raises(AudioError, match="wide band needs 16000 Hz, not 8000"):
        perceptual.pesq_of(*narrow, 8000)


def test_sounds_too_long_for_pesqs_program_are_refused_before_it_crashes():
    """On 200 s with pauses the package dies of a segmentation fault."""
    pytest.importorskip("pesq", reason="PESQ is not installed")
    long = white(61.0, 0.01)
    values, problems = measure(chosen(["pesq", "pesq_nb", "plain_snr"]), long, 0.9 * long, RATE)
    assert set(values) == {"plain_snr"}
    assert problems["pesq"] == problems["pesq_nb"] == "PESQ: judges 60 s at most, and this has 61 s"


def test_extended_stoi_is_the_same_twice_and_leaves_the_global_generator_alone(make_voice):
    clean = make_voice(0, 1.0)
    noisy = noisy_at(clean, 5.0)
    np.random.seed(3)
    first = perceptual.extended_stoi_of(clean, noisy, RATE)
    drawn = np.random.rand()
    assert perceptual.extended_stoi_of(clean, noisy, RATE) == first
    np.random.seed(3)
    assert drawn == np.random.rand()


def test_what_several_metrics_need_is_computed_once(speech, monkeypatch):
    calls = []
    real = METRICS["llr"]
    counted = type(real)(function=lambda *a: calls.append(1) or 0.5, better="lower", unit="")
    for name in ("pesq", "wss", "llr", "ssnr"):
        monkeypatch.setitem(METRICS, name, counted)
    values, _ = measure(chosen(["csig", "cbak", "covl", "llr"]), speech, speech, RATE)
    assert len(calls) == 4
    assert values["llr"] == 0.5
    assert values["csig"] == pytest.approx(3.093 - 1.029 * 0.5 + 0.603 * 0.5 - 0.009 * 0.5)


def test_a_metric_that_is_not_defined_is_named_and_the_others_are_given(make_voice):
    short = make_voice(0, 2.0)[2000:5000]  # too short for STOI
    noisy = short + 0.01
    values, problems = measure(chosen(["plain_snr", "stoi", "lsd"]), short, noisy, RATE)
    assert set(values) == {"plain_snr", "lsd"}
    assert "STOI: gives no score" in problems["stoi"]


def test_composites_of_a_file_without_pesq_have_its_problem(speech):
    pytest.importorskip("pesq", reason="PESQ is not installed")
    values, problems = measure(chosen(["pesq", "covl", "llr"]), speech[:2000], 0.9 * speech[:2000], RATE)
    assert set(values) == {"llr"}
    assert set(problems) == {"pesq", "covl"} and problems["pesq"] == problems["covl"]


@pytest.mark.parametrize(
    ("clean", "estimate", "said"),
    [
        (np.zeros(RATE), np.ones(RATE), "reference: is silent"),
        (np.ones(RATE), np.zeros(RATE), "estimate: is silent"),
        (np.ones(RATE), np.full(RATE, np.nan), "not finite"),
        (np.ones(RATE), np.ones(RATE - 1), "has 15999 samples, its reference 16000"),
    ],
)
def test_sounds_that_cannot_be_compared_are_refused(clean, estimate, said):
    with pytest.raises(AudioError, match=said):
        measure(chosen(["plain_snr"]), clean, estimate, RATE)


def test_digital_silence_within_speech_leaves_every_composite_part_finite(speech):
    clean, estimate = speech.copy(), noisy_at(speech, 5.0).astype(np.float32)
    clean[:8000] = 0
    estimate[20000:28000] = 0
    values, problems = measure(chosen(["ssnr", "llr", "wss", "lsd"]), clean, estimate, RATE)
    assert problems == {} and all(map(math.isfinite, values.values()))


def test_an_unknown_metric_is_answered_with_the_list():
    with pytest.raises(ConfigError, match="unknown metric 'pesk'") as error:
        chosen(["pesk"])
    assert "pesq_nb" in error.value.mend


# ---- DNSMOS


def test_bands_of_the_p808_net_are_triangles_of_unit_area_between_slaneys_corners():
    bands = dnsmos._mel_bands()
    assert bands.shape == (161, 120)
    fine = bands[:, -20:].sum(0) * RATE / dnsmos.SIZE  # bands of many bins: the sum is the integral
    assert fine == pytest.approx(np.ones(20), abs=0.05)
    peaks = bands[:, -20:].argmax(0) * RATE / dnsmos.SIZE
    corners = 1000 * 6.4 ** ((np.linspace(0, 15 + 27 * math.log(8) / math.log(6.4), 122)[-21:-1] - 15) / 27)
    assert peaks == pytest.approx(corners, abs=0.6 * RATE / dnsmos.SIZE)


def test_dnsmos_is_that_of_its_own_package(speech):
    pytest.importorskip("librosa", reason="speechmos' own code needs librosa")
    theirs = pytest.importorskip("speechmos.dnsmos", reason="speechmos is not installed").run(speech, RATE)
    ours = dnsmos.p835(speech, RATE)
    assert (ours.sig, ours.bak, ours.ovrl) == pytest.approx(
        (theirs["sig_mos"], theirs["bak_mos"], theirs["ovrl_mos"]), abs=1e-4
    )
    assert dnsmos.p808(speech, RATE) == pytest.approx(theirs["p808_mos"], abs=1e-3)


def test_dnsmos_of_known_noise_is_what_its_package_gave_and_the_same_twice():
    """White noise of 10 s (seed 0, deviation 0.1): the figures of speechmos 0.0.1.1 with librosa 0.11."""
    if not dnsmos.dnsmos_installed():
        pytest.skip("speechmos or onnxruntime is not installed")
    noise = (0.1 * np.random.default_rng(0).standard_normal(10 * RATE)).clip(-1, 1).astype(np.float32)
    opinion = dnsmos.p835(noise, RATE)
    assert (opinion.sig, opinion.bak, opinion.ovrl) == pytest.approx((1.17698, 1.09436, 1.11422), abs=1e-3)
    assert dnsmos.p808(noise, RATE) == pytest.approx(2.07502, abs=1e-3)
    assert dnsmos.p835(noise, RATE) == opinion
