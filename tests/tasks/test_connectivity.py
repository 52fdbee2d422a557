"""The connectivity task through the shared loop: rules, networks, pooled folds, figures, and the wrong data."""

import neurotwin
import numpy as np
import pytest
from neurotwin.errors import ConfigError, DataError
from neurotwin.tasks.connectivity import Connectivity

SMALL = {
    "datamodule.n_subjects": 18,
    "datamodule.n_nodes": 40,
    "datamodule.rest_volumes": 150,
    "datamodule.story_volumes": 100,
    "datamodule.folds": 3,
    "trainer.accelerator": "cpu",
}
EEG = ("n_subjects=3", "minutes=1", "folds=3", "val_fraction=0")


def test_a_rule_is_fitted_tested_and_drawn(run_root):
    run = neurotwin.train("acker2024/simulated_rule", {**SMALL, "model": "fc_mean_change"})
    rows = dict(np.load(run.path / "predictions" / "test.npz"))
    assert rows["predicted"].shape == (6, 40 * 39 // 2)
    np.testing.assert_allclose(rows["predicted"], rows["mean_change"], atol=1e-6)
    assert run.metrics["test/skill"] == pytest.approx(0, abs=1e-6)
    assert run.metrics["test/mse"] == pytest.approx(run.metrics["test/loss"], rel=1e-4)
    assert run.metrics["test/mse"] == pytest.approx(np.square(rows["predicted"] - rows["change"]).mean(), rel=1e-4)
    assert rows["language"].sum(1).min() > 0
    assert (run.path / "figures" / "change.png").exists()
    again = neurotwin.evaluate(run)
    assert again == pytest.approx({name: run.metrics[name] for name in again})
    assert "test/language_mse" in again


def test_folds_pool_and_regression_to_the_mean_pays(run_root):
    """With noise this large the shared slope beats the mean change on every fold and over all people."""
    runs = [neurotwin.train("acker2024/simulated_rule", {**SMALL, "datamodule.fold": fold}) for fold in range(3)]
    parts = [dict(np.load(run.path / "predictions" / "test.npz")) for run in runs]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    assert sorted(rows["window"]) == list(range(18))
    scores = Connectivity.score(rows)
    assert scores["skill"] > 0.05
    assert scores["p_mean_change"] < 0.05
    assert scores["mse"] > 0.9 * scores["noise_ceiling_mse"]


def test_other_data_are_refused(run_root):
    with pytest.raises(ConfigError, match="Connectivity needs matrices of two states, which SimulatedEEGDataModule"):
        neurotwin.train(
            "acker2024/simulated_rule",
            ["datamodule=simulated_eeg", "model=fc_identity", *[f"datamodule.{given}" for given in EEG]],
        )


def test_a_network_on_a_rule_predicts_a_file(run_root, tmp_path):
    """Training, and then a scan of one's own: matrix, table and figure agree, and other atlases are refused."""
    settings = {**SMALL, "model": "line_residual", "trainer.max_epochs": 2, "datamodule.val_fraction": 0.2}
    run = neurotwin.train("acker2024/simulated", {**settings, "task.explain": True})
    assert {path.name for path in run.figures} >= {"change.png", "explanation.png", "brain.png"}
    assert 0 < run.metrics["test/explained_auroc"] < 1
    assert run.metrics["test/skill"] > 0
    assert bool(run.model.rule.fitted)
    series = 100 + np.random.default_rng(0).standard_normal((80, 40))
    np.savetxt(tmp_path / "sub-x_rest.1D", series)
    matrix, table, picture = neurotwin.predict(run, tmp_path / "sub-x_rest.1D", tmp_path / "out")
    change = np.genfromtxt(matrix, delimiter=",", skip_header=1)[:, 1:]
    np.testing.assert_allclose(change, change.T)
    lines = [line.split("\t") for line in table.read_text().splitlines()]
    assert lines[0] == ["region_a", "region_b", "baseline", "change", "predicted", "drive"]
    assert {line[5] for line in lines[1:]} != {"0.000000"}
    assert abs(float(lines[1][3])) == np.abs(change).max()
    first, second = (int(name.removeprefix("roi-")) - 1 for name in lines[1][:2])
    assert float(lines[1][2]) == pytest.approx(np.corrcoef(series.T)[first, second], abs=1e-5)
    assert picture.exists()
    np.savetxt(tmp_path / "sub-y_rest.1D", series[:, :30])
    with pytest.raises(DataError, match="has 30 regions, the model was trained on 40"):
        neurotwin.predict(run, tmp_path / "sub-y_rest.1D", tmp_path / "out")
