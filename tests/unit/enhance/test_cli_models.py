"""What the options of the verbs that carry and judge models do: models, import, export, gate."""

import json

import pytest
import torch
from safetensors import safe_open

from enhance import gate
from enhance.models.segan_plus import SeganPlus, SeganPlusConfig
from enhance.weights import BUILTIN, load_generator, save_generator
from tests.unit.enhance.called import ran, refused


def test_the_table_of_models_is_of_a_folder_timed_and_written_only_when_asked(tmp_path):
    (tmp_path / "tiny.yaml").write_text("model: gatewave\ngenerator: {hidden: 2, depth: 2}\nobjective: denoiser\n")
    listed = ["models", "--settings", tmp_path]
    plain = ran(*listed).output
    assert "tiny" in plain and "demucs48" not in plain
    written = ran(*listed, "--measure", "--markdown", tmp_path / "table.md").output
    timed = next(line for line in written.splitlines() if "tiny" in line)
    assert "real-time factor" in written and "real-time factor" not in plain
    assert float(timed.split("|")[-2]) > 0
    assert timed in (tmp_path / "table.md").read_text()


@pytest.fixture
def foreign(tmp_path):
    """A SEGAN+ as segan_pytorch writes it, at three levels, and the model that it is."""
    torch.manual_seed(0)
    model = SeganPlus(SeganPlusConfig(channels=(3, 4, 5))).eval()
    kept = {}
    for name, value in model.state_dict().items():
        part, index, rest = name.split(".", 2)
        match part:
            case "encoder":
                kept[f"enc_blocks.{index}.{rest if rest.startswith('conv') else f'conv.{rest}'}"] = value
            case "decoder":
                kept[f"dec_blocks.{index}.{rest if rest.startswith('deconv') else f'deconv.{rest}'}"] = value
            case "encoder_act" | "decoder_act":
                kept[f"{part[:3]}_blocks.{index}.act.{rest}"] = value
            case "skips":
                kept[f"alpha_{index}.{rest}"] = value
    assert len(kept) == len(model.state_dict())
    torch.save({"state_dict": kept}, tmp_path / "G-1.ckpt")
    return tmp_path / "G-1.ckpt", model


def test_foreign_weights_are_read_as_the_kind_and_with_the_options_that_are_named(foreign, tmp_path):
    file, model = foreign
    words = ["import", "--from", "segan-pytorch", "--checkpoint", file, "--out", tmp_path / "ours.pt"]
    ran(*words)
    name, ours = load_generator(tmp_path / "ours.pt")
    sound = 0.1 * torch.randn(1, 4000)
    with torch.inference_mode():
        assert name == "segan_plus"
        assert (ours.eval()(sound) - model(sound)).abs().max() < 1e-5
    (tmp_path / "own.json").write_text(json.dumps({"preemph": 0.5}))
    ran(*words, "--options", tmp_path / "own.json")
    assert load_generator(tmp_path / "ours.pt")[1].config.emphasis == 0.5
    assert "did you mean" in refused(*[word if word != "segan-pytorch" else "segan-pytorc" for word in words])


def test_a_generator_is_exported_in_the_form_and_length_that_are_asked_for(tmp_path):
    torch.manual_seed(0)
    checkpoint = tmp_path / "one.pt"
    save_generator(checkpoint, "segan_plus", SeganPlus(SeganPlusConfig(channels=(2, 3))), {"step": 1})
    ran("export", "--checkpoint", checkpoint, "--out", tmp_path / "one.safetensors")
    assert load_generator(tmp_path / "one.safetensors")[0] == "segan_plus"
    graph = ["export", "--checkpoint", checkpoint, "--out", tmp_path / "one.pt2", "--to", "torch-export"]
    assert "at 4096 samples" in ran(*graph, "--samples", 4096).output
    assert torch.export.load(tmp_path / "one.pt2").module()(torch.zeros(1, 4096)).shape == (1, 4096)
    assert "is no form that is known" in refused(*graph[:-1], "tflite")


def test_the_built_in_weights_and_exports_are_exported_under_any_name_with_the_facts_of_their_training(tmp_path):
    ran("export", "--checkpoint", "builtin", "--out", tmp_path / "x.st")
    ran("export", "--checkpoint", tmp_path / "x.st", "--out", tmp_path / "y.safetensors")
    name, ours = load_generator("builtin")
    with safe_open(BUILTIN, "pt") as built_in:
        facts = json.loads(built_in.metadata()["facts"])
    assert facts["step"] > 0
    for path in (tmp_path / "x.st", tmp_path / "y.safetensors"):
        exported_name, theirs = load_generator(path)
        assert exported_name == name
        assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())
        with safe_open(path, "pt") as exported:
            assert json.loads(exported.metadata()["facts"]) == facts


def test_the_gate_reads_its_limits_from_a_file_and_says_how_many_work(clean_dir, tmp_path, monkeypatch):
    scored = ["score", "--reference", clean_dir, "--estimate", clean_dir, "--out", tmp_path / "s", "--jobs", 1]
    ran(*scored, "--metrics", "si_sdr")
    (tmp_path / "limits.yaml").write_text("mean: {si_sdr: 20.0}\nharm: {}\n")
    jobs, real = [], gate.steps_of
    monkeypatch.setattr(gate, "steps_of", lambda *words, **named: jobs.append(named["jobs"]) or real(*words, **named))
    words = ["gate", "--reference", clean_dir, "--estimate", clean_dir, "--scores", tmp_path / "s", "--out"]
    words += [tmp_path / "gate.json", "--jobs", 1]
    assert "pesq has a limit and was not scored" in refused(*words)
    said = ran(*words, "--limits", tmp_path / "limits.yaml").output
    assert "mean si_sdr" in said and "pesq" not in said
    assert jobs == [1, 1]
