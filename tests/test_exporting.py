"""Exported networks compute what the network computes, for any batch, and say what they are."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from neurotwin import export, train
from neurotwin.errors import ConfigError, NeurotwinError

CASES = {
    "seizures": (
        "mallick2024/demo",
        *(["datamodule.n_subjects=6", "datamodule.minutes=1.5", "datamodule.longest_seizure_s=20", "model.n_units=1"],),
    ),
    "volumes": (
        "kujawa2024/demo",
        *(["datamodule.n_patients=5", "datamodule.folds=2", "datamodule.fine_mm=2", "datamodule.fov_mm=[96,64,32]"],),
    ),
    "edges": ("acker2024/demo", ["datamodule.n_subjects=12", "datamodule.n_nodes=20", "datamodule.rest_volumes=60"]),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: train(experiment, [*overrides, f"runs_dir={folder}", "figures=false"], debug=True)
        for name, (experiment, overrides) in CASES.items()
    }


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("batch", [1, 7])
def test_onnxruntime_agrees_with_the_network(runs, tmp_path_factory, name, batch):
    folder = tmp_path_factory.getbasetemp() / "onnx"
    path = folder / f"{name}.onnx"
    if not path.exists():
        export(runs[name], path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    values = torch.randn(batch, *given.shape[1:], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = runs[name].model(values).numpy()
    np.testing.assert_allclose(session.run(None, {given.name: values.numpy()})[0], expected, rtol=1e-4, atol=1e-5)


def test_the_file_says_what_it_needs(runs, tmp_path):
    path, card = export(runs["seizures"], tmp_path / "net.onnx")
    about = json.loads({p.key: p.value for p in onnx.load(str(path)).metadata_props}["neurotwin"])
    assert about["spec"]["sampling_rate_hz"] == 128.0
    assert 0 <= about["task"]["decision_threshold"] <= 1
    text = card.read_text(encoding="utf-8")
    assert "Research only. This is not a medical device" in text
    assert "**simulated** recordings" in text


def test_torch_export_by_the_name_of_the_file(runs, tmp_path):
    path, _ = export(runs["edges"], tmp_path / "net.pt2")
    values = torch.randn(3, 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(torch.export.load(path).module()(values), runs["edges"].model(values))


def test_a_file_that_computes_something_else_is_not_kept(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("neurotwin.exporting._largest_difference", lambda *_: float("nan"))
    with pytest.raises(NeurotwinError, match="not kept"):
        export(runs["edges"], tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_named(runs):
    with pytest.raises(ConfigError, match="did you mean 'onnx'"):
        export(runs["edges"], format="onx")


@pytest.mark.parametrize(
    ("output", "format", "written"),
    [
        ("net", None, "net.onnx"),
        ("net", "pt2", "net.pt2"),
        ("", "pt2", "acker2024-demo.pt2"),
        ("v1.2", None, "v1.2.onnx"),
    ],
)
def test_the_name_ends_as_the_format_asks(runs, tmp_path, output, format, written):
    path, card = export(runs["edges"], tmp_path / output, format)
    assert (path.name, card.name) == (written, f"{written}.md")
    assert sorted(p.name for p in tmp_path.iterdir()) == [written, f"{written}.md"]


def test_a_name_of_another_format_is_refused(runs, tmp_path):
    with pytest.raises(ConfigError, match="contradict"):
        export(runs["edges"], tmp_path / "net.onnx", "pt2")
