import numpy as np
import pytest
from typer.testing import CliRunner

from enhance.__main__ import app
from enhance.settings import load_settings
from enhance.statistics import sample_statistics
from harness.errors import AudioError


def test_statistics_of_unequal_utterances_are_those_of_all_samples_together():
    rng = np.random.default_rng(0)
    signals = [rng.normal(mean, 0.1 * i + 0.01, 100 * i).astype(np.float32) for i, mean in enumerate((0, 0.3, -0.2, 5))]
    found = sample_statistics(signals, "here")
    together = np.concatenate(signals).astype(np.float64)
    assert found.count == 600
    assert found.mean == pytest.approx(together.mean(), rel=1e-9)
    assert found.std == pytest.approx(together.std(), rel=1e-7)


def test_statistics_of_silence_are_refused():
    with pytest.raises(AudioError, match="here: holds no sound"):
        sample_statistics([np.zeros(10, np.float32)], "here")


def test_the_statistics_verb_writes_what_settings_of_advanced_segan_read(clean_dir, tmp_path, audio_of):
    result = CliRunner().invoke(app, ["statistics", "--clean", str(clean_dir), "--noisy", str(clean_dir)])
    assert result.exit_code == 0, result.output
    settings = tmp_path / "run.yaml"
    lines = "".join(f"  {line}\n" for line in result.stdout.splitlines())
    settings.write_text(f"model: advanced_segan\nobjective: advanced_segan\ngenerator:\n{lines}loss:\n{lines}")
    config = load_settings(settings)
    samples = np.concatenate([*audio_of(clean_dir).values()]).astype(np.float64)
    assert config.generator.clean_std == pytest.approx(samples.std(), rel=1e-5)
    assert config.loss.noisy_mean == pytest.approx(samples.mean(), abs=1e-8)
