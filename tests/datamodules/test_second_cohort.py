"""Nothing of the tested cohort is in training, and a network without parameters of regions fits another atlas."""

import neurotwin
import numpy as np
import torch
from neurotwin.datamodules.second_cohort import SecondCohortDataModule

FIRST = {"n_subjects": 9, "n_nodes": 40, "rest_volumes": 60, "story_volumes": 40, "folds": 2}
SECOND = {"second_subjects": 6, "second_nodes": 48, "second_rest_volumes": 50, "second_story_volumes": 50}


def test_reference_of_the_tested_comes_from_the_first_cohort_or_from_nobody():
    same, other = (SecondCohortDataModule(**{**FIRST, **SECOND, "second_nodes": n}) for n in (40, 48))
    for datamodule in (same, other):
        datamodule.setup()
        rows = datamodule.split()
        assert len(rows["train"]) + len(rows["val"]) == 9
        tested = np.concatenate([datamodule.split(fold)["test"] for fold in range(2)])
        assert sorted(tested) == list(range(9, 15))
    batch = next(iter(same.test_dataloader()))
    assert batch.window.tolist() == same.split()["test"].tolist()
    train = same.datasets["train"]
    expected = train.matrices["change"][same.split()["train"]].mean(0)
    torch.testing.assert_close(batch.mean_change[0], expected)
    batch = next(iter(other.test_dataloader()))
    assert batch.change.shape[1:] == (48, 48)
    assert batch.mean_change.abs().max() == batch.mean_baseline.abs().max() == 0


def test_a_line_network_is_tested_on_another_atlas(run_root):
    given = {f"datamodule.{key}": value for key, value in {**FIRST, **SECOND}.items()}
    run = neurotwin.train(
        "acker2024/simulated",
        ["datamodule=second_cohort", "trainer.max_epochs=1", "trainer.accelerator=cpu", "model.hidden=[4]"]
        + [f"{key}={value}" for key, value in given.items()],
    )
    assert run.predictions["predicted"].shape == (3, 48 * 47 // 2)
    assert {path.name for path in run.figures} == {"change.png", "brain.png"}
