"""The options of feature extraction, by Kaldi's names, and Kaldi's ``conf/mfcc.conf`` files read strictly."""

from __future__ import annotations

import dataclasses
import difflib
import os
from dataclasses import dataclass
from typing import Any, Literal, get_args

from harness.errors import ConfigError
from kaldi_bridge.text_tables import text_lines

Window = Literal["povey", "hamming", "hanning", "rectangular", "blackman", "sine"]


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Options of compute-mfcc-feats and compute-fbank-feats; each is ``--its-name`` with underscores.

    Defaults are Kaldi's but for dither (0 here, so that the same audio gives the same features) and use_energy (off, as
    all recipes set it).
    """

    kind: Literal["mfcc", "fbank"] = "mfcc"
    sample_frequency: float = 16000.0  # Hz
    frame_length: float = 25.0  # ms
    frame_shift: float = 10.0  # ms
    dither: float = 0.0  # standard deviation of added noise, 16-bit units; Kaldi's programs default to 1
    preemphasis_coefficient: float = 0.97
    remove_dc_offset: bool = True
    window_type: Window = "povey"
    blackman_coeff: float = 0.42
    round_to_power_of_two: bool = True
    snip_edges: bool = True  # only whole frames; otherwise one a shift, mirrored at the ends
    num_mel_bins: int = 23
    low_freq: float = 20.0  # Hz
    high_freq: float = 0.0  # Hz; 0 or less is counted from half the sample frequency
    vtln_low: float = 100.0  # Hz, ends of the warped band
    vtln_high: float = -500.0
    num_ceps: int = 13
    cepstral_lifter: float = 22.0
    use_energy: bool = False  # log energy for C0 (mfcc) or as an extra column (fbank)
    raw_energy: bool = True  # of the frame before pre-emphasis and window
    energy_floor: float = 0.0
    htk_compat: bool = False  # energy or C0 last
    use_log_fbank: bool = True
    use_power: bool = True

    def __post_init__(self) -> None:
        if self.window_type not in get_args(Window):
            raise ValueError(f"window_type must be one of {', '.join(get_args(Window))}, got {self.window_type!r}")
        if self.kind == "mfcc" and not 0 < self.num_ceps <= self.num_mel_bins:
            raise ValueError(f"num_ceps must lie in 1..num_mel_bins ({self.num_mel_bins}), got {self.num_ceps}")
        if self.num_mel_bins < 3:
            raise ValueError(f"num_mel_bins must be at least 3, got {self.num_mel_bins}")
        if self.window < 2 or self.shift < 1:
            raise ValueError(f"frames of {self.frame_length} ms every {self.frame_shift} ms are too short")
        if not 0 <= self.low_freq < self.top_freq <= self.sample_frequency / 2:
            raise ValueError(f"bad band {self.low_freq} to {self.top_freq} Hz for {self.sample_frequency} Hz audio")
        if not 0 <= self.preemphasis_coefficient <= 1 or self.dither < 0:
            raise ValueError("preemphasis_coefficient must lie in [0, 1] and dither must not be negative")

    @classmethod
    def mfcc(cls, **changes: Any) -> FeatureConfig:
        """13 MFCC of 23 bins: the GMM's features."""
        return cls(**changes)

    @classmethod
    def mfcc_hires(cls, **changes: Any) -> FeatureConfig:
        """40 MFCC of 40 bins, as conf/mfcc_hires.conf: a neural network's features."""
        return cls(**{"num_mel_bins": 40, "num_ceps": 40, "low_freq": 20.0, "high_freq": -400.0, **changes})

    @classmethod
    def fbank(cls, **changes: Any) -> FeatureConfig:
        """40 log mel energies."""
        return cls(**{"kind": "fbank", "num_mel_bins": 40, **changes})

    @property
    def window(self) -> int:
        """Samples of a frame."""
        return int(self.sample_frequency * 0.001 * self.frame_length)

    @property
    def shift(self) -> int:
        """Samples from one frame to the next."""
        return int(self.sample_frequency * 0.001 * self.frame_shift)

    @property
    def fft_size(self) -> int:
        """Samples of a frame with its zero padding."""
        return 1 << (self.window - 1).bit_length() if self.round_to_power_of_two else self.window

    @property
    def top_freq(self) -> float:
        """Upper end of the mel bank, Hz."""
        return self.high_freq if self.high_freq > 0 else self.sample_frequency / 2 + self.high_freq

    @property
    def dim(self) -> int:
        """Columns of the features."""
        return self.num_ceps if self.kind == "mfcc" else self.num_mel_bins + int(self.use_energy)

    def num_frames(self, samples: int) -> int:
        """How many frames Kaldi makes of so many samples."""
        if not self.snip_edges:
            return (samples + self.shift // 2) // self.shift
        return 0 if samples < self.window else 1 + (samples - self.window) // self.shift

    def lines(self) -> list[str]:
        """As the lines of a Kaldi configuration file that Kaldi's program of this kind reads."""
        skipped = {"fbank": ("num_ceps", "cepstral_lifter"), "mfcc": ("use_log_fbank", "use_power")}[self.kind]
        lines = []
        for option in dataclasses.fields(self):
            if option.name == "kind" or option.name in skipped:
                continue
            value = getattr(self, option.name)
            text = (
                str(value).lower()
                if isinstance(value, bool)
                else f"{value:g}"
                if isinstance(value, float)
                else str(value)
            )
            lines.append(f"--{option.name.replace('_', '-')}={text}")
        return lines


PRESETS = {"mfcc": FeatureConfig.mfcc, "mfcc_hires": FeatureConfig.mfcc_hires, "fbank": FeatureConfig.fbank}
IGNORED = (
    "allow-downsample",
    "allow-upsample",
    "max-feature-vectors",
    "verbose",
    "debug-mel",
)  # no effect on the numbers


def read_config(path: str | os.PathLike[str], kind: Literal["mfcc", "fbank"] = "mfcc") -> FeatureConfig:
    """A Kaldi conf file (``--use-energy=false`` a line, ``#`` comments).  Raises ConfigError at its line.

    Options that the file leaves out have Kaldi's defaults (use_energy true for mfcc), but dither is 0.
    """
    values: dict[str, Any] = {"kind": kind, "use_energy": kind == "mfcc"}
    types = {option.name: type(option.default) for option in dataclasses.fields(FeatureConfig)}
    for number, line in text_lines(path, ConfigError):
        text = line.split("#", 1)[0].strip()
        if not text:
            continue
        where = f"{os.fspath(path)}:{number}"
        name, equals, value = text.removeprefix("--").partition("=")
        if not text.startswith("--"):
            raise ConfigError(where, f"expected --option=value, got {text!r}", mend="write one option a line")
        if name in IGNORED:
            continue
        field = name.strip().replace("-", "_")
        if field not in types or field == "kind":
            near = difflib.get_close_matches(name, [key.replace("_", "-") for key in types], 1)
            raise ConfigError(where, f"unknown option --{name}" + (f"; did you mean --{near[0]}?" if near else ""),
                              mend="use the options of compute-mfcc-feats or compute-fbank-feats")  # fmt: skip
        values[field] = _parse(value.strip() if equals else "true", types[field], where, name)
    try:
        return FeatureConfig(**values)
    except ValueError as error:
        raise ConfigError(path, str(error), mend="correct the file") from error


def _parse(text: str, wanted: type, where: str, name: str) -> Any:
    if wanted is bool:
        if text.lower() in ("true", "t", "1", ""):
            return True
        if text.lower() in ("false", "f", "0"):
            return False
        raise ConfigError(where, f"--{name} must be true or false, got {text!r}", mend="correct the value")
    try:
        return wanted(text)
    except ValueError as error:
        raise ConfigError(
            where, f"--{name} must be {wanted.__name__}, got {text!r}", mend="correct the value"
        ) from error
