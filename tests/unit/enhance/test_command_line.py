import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from kaldi_bridge.data_dir import DataDir

ROOT = Path(__file__).parents[3]


def enhance(*arguments):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "enhance", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_help_names_every_verb_without_loading_torch():
    script = "import sys; from enhance.__main__ import app; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
    said = enhance("--help")
    assert said.returncode == 0
    for verb in ("mix", "train", "denoise", "stream", "score", "models", "pack-clean", "export-builtin"):
        assert verb in said.stdout


def test_models_lists_every_table():
    said = enhance("models")
    assert said.returncode == 0
    for name in ("compact", "segan_plus", "spectrogram"):
        assert name in said.stdout


WRONG_CALLS = {
    "mix --data {clean} --noise {empty} --out {out}": "holds no audio files",
    "mix --data {clean} --noise {noise} --snr five --out {out}": "expected numbers in dB",
    "denoise --data {clean} --model {clean}/text --out {out}": "cannot be read as a checkpoint",
    "denoise --out {out}": "needs either --data or --in",
    "denoise --data {clean} --model {model} --mix 2 --out {out}": "mix must lie in",
    "denoise --data {clean} --device tpu --out {out}": "must be cpu, cuda or auto",
    "train --noise {noise} --out {out}": "needs either --data or --pack",
    "train --data {clean} --noise {noise} --set train.stepss=3 --out {out}": "did you mean 'steps'",
    "score --reference {clean} --estimate {empty} --out {out}": "holds no audio files",
}


@pytest.mark.parametrize("call", WRONG_CALLS)
def test_a_wrong_call_exits_with_1_and_says_where_what_and_the_mend(clean_dir, noise_dir, small_model, tmp_path, call):
    (tmp_path / "empty").mkdir()
    places = {"clean": clean_dir, "noise": noise_dir, "model": small_model, "empty": tmp_path / "empty"}
    said = enhance(*call.format(out=tmp_path / "out", **places).split())
    assert said.returncode == 1
    assert WRONG_CALLS[call] in said.stderr
    assert "mend:" in said.stderr
    assert "Traceback" not in said.stderr
    assert not (tmp_path / "out").exists()


def test_the_verbs_work_one_after_the_other(clean_dir, noise_dir, tmp_path):
    mixed = enhance("mix", "--data", clean_dir, "--noise", noise_dir, "--out", tmp_path / "noisy", "--jobs", 1)
    assert mixed.returncode == 0, mixed.stderr
    settings = [
        "generator.channels=8", "generator.dual_paths=1", "generator.dilations=[1]", "loss.adversarial=0.0",
        "loss.matching=0.0", "pairs.batch=2", "pairs.seconds=0.3", "train.steps=4", "train.validate_every=4",
        "train.validation_batches=1",
    ]  # fmt: skip
    changes = [word for setting in settings for word in ("--set", setting)]
    run = tmp_path / "run"
    trained = enhance("train", "--data", clean_dir, "--noise", noise_dir, "--out", run, "--device", "cpu", *changes)
    assert trained.returncode == 0, trained.stderr
    exported = enhance("export-builtin", "--checkpoint", run / "best.pt", "--out", tmp_path / "model.safetensors")
    assert exported.returncode == 0, exported.stderr
    denoised = enhance(
        "denoise", "--data", tmp_path / "noisy", "--out", tmp_path / "enhanced", "--model",
        tmp_path / "model.safetensors", "--jobs", 1,
    )  # fmt: skip
    assert denoised.returncode == 0, denoised.stderr
    scored = enhance("score", "--reference", clean_dir, "--estimate", tmp_path / "enhanced", "--out", tmp_path / "s")
    assert scored.returncode == 0, scored.stderr
    assert (tmp_path / "s" / "summary.csv").is_file()
    place = DataDir.read(tmp_path / "enhanced").wav_scp["ann-1"]
    assert soundfile.info(place).frames == soundfile.info(clean_dir / "audio" / "ann-1.wav").frames
