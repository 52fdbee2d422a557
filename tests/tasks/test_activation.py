"""Activation from resting connectivity: files, scores by hand, the shared loop, real data."""

import neurotwin
import numpy as np
import pytest
from datamodules.fixtures import make_activation
from neurotwin.datamodules.activation import ActivationDataModule
from neurotwin.datamodules.formats.activation import read_activations
from neurotwin.errors import ConfigError, DataError, MissingDataError
from neurotwin.metrics.activation_scores import score_activation


@pytest.fixture
def arguments(tmp_path):
    return make_activation(tmp_path)


def test_contrasts_of_a_table_and_of_an_npz_agree(arguments, tmp_path):
    found = read_activations(tmp_path / "activations.tsv")
    people = sorted(found["story"])
    beta = np.stack([[found[c][name] for name in people] for c in ("story", "math")]).transpose(2, 0, 1)
    np.savez(tmp_path / "beta.npz", taskbeta=beta, conditions=["story", "math"], subjects=people)
    one, other = (
        ActivationDataModule(**{**arguments, "contrast": "story - math", "activations": path})
        for path in (arguments["activations"], tmp_path / "beta.npz")
    )
    np.testing.assert_allclose(one.arrays[1], other.arrays[1])
    np.testing.assert_allclose(one.arrays[1][2], found["story"]["sub-03"] - found["math"]["sub-03"])
    assert list(one.people) == people


def test_the_mean_is_that_of_the_training_people(arguments):
    datamodule = ActivationDataModule(**arguments)
    datamodule.setup()
    rows = datamodule.split()["train"]
    batch = next(iter(datamodule.test_dataloader()))
    np.testing.assert_allclose(batch.mean_activation[0], datamodule.arrays[1][rows].mean(0), rtol=1e-5)


def test_messages(arguments, tmp_path):
    def fails(kind, match, **changed):
        with pytest.raises(kind, match=match):
            ActivationDataModule(**{**arguments, **changed}).setup()

    fails(ConfigError, "has no condition 'stoy'; did you mean 'story'", contrast="stoy")
    fails(ConfigError, "write a condition, or two", contrast="a - b - c")
    fails(ConfigError, "tangent: is not offered", estimator="tangent")
    fails(MissingDataError, r"none\.tsv", activations=tmp_path / "none.tsv")
    fails(DataError, "nobody has a 'sleep' scan", condition="sleep")
    lines = (tmp_path / "activations.tsv").read_text().splitlines()
    (tmp_path / "short.tsv").write_text("\n".join(line.rpartition("\t")[0] for line in lines))
    fails(DataError, "11 regions of sub-01, but 12 in .*sub-01_rest.1D", activations=tmp_path / "short.tsv")
    (tmp_path / "twice.tsv").write_text("\n".join([*lines, lines[1]]))
    fails(DataError, "stands in it twice", activations=tmp_path / "twice.tsv")
    (tmp_path / "other.npz").write_bytes(b"nothing")
    fails(DataError, r"other\.npz: not readable", activations=tmp_path / "other.npz")


def test_scores_by_hand():
    mean = np.array([[1.0, 2.0, 3.0]] * 2)
    measured = mean + np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 3.0]])
    predicted = mean + np.array([[2.0, -2.0, 0.0], [1.0, 0.0, -1.0]])
    scores = score_activation({"predicted": predicted, "activation": measured, "mean_activation": mean})
    assert scores["mse"] == pytest.approx((2 / 3 + 17 / 3) / 2)
    assert scores["skill"] == pytest.approx(1 - (19 / 6) / ((2 / 3 + 3) / 2))
    assert scores["better_than_mean"] == 0
    assert scores["deviation_r"] == pytest.approx((1 - 3 / np.sqrt(12)) / 2)  # r of the two people: 1 and -0.866
    assert "deviation_r" not in score_activation({"predicted": mean, "activation": measured, "mean_activation": mean})


def test_messages_of_the_own_regions_never_hold_the_region_itself(arguments, run_root):
    """Own activity enters as messages, so that a person's activation at a region cannot predict itself."""
    given = {f"datamodule.{key}": value for key, value in arguments.items()}
    how = {"model": "activation_own_flow", "task.own_activity": True, "trainer.accelerator": "cpu"}
    run = neurotwin.train("acker2024/activation", {**given, **how})
    rows, task = run.predictions, run.task
    datamodule = ActivationDataModule(**arguments)
    datamodule.setup()
    batch = next(iter(datamodule.test_dataloader()))
    changed = batch.activation.clone()
    changed[:, 4] += 100
    moved = task.model(task.inputs(batch._replace(activation=changed))) - task.model(task.inputs(batch))
    assert moved[:, 4].abs().max() == 0
    assert moved.abs().max() > 1
    np.testing.assert_allclose(task.model(task.inputs(batch)), rows["predicted"], rtol=1e-4, atol=1e-5)
    assert [path.name for path in run.figures] == ["activation.png"]


def test_real_betas(data_root):
    folder = data_root / "fmri" / "actflow_hcp_glasser"
    datamodule = ActivationDataModule(
        folder / "actflow_hcp24_rest_f16.npz", folder / "actflow_hcp24_taskbeta_f32.npz", "LANGUAGE:story", folds=24
    )
    connectivity, activation = datamodule.arrays
    assert connectivity.shape == (24, 360, 360)
    between = np.corrcoef(activation)[np.triu_indices(24, 1)].mean()
    assert between == pytest.approx(0.38, abs=0.02)  # as the data's SOURCE says
