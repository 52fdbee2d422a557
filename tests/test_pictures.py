"""Pictures while training: they are drawn, reach the loggers and change nothing."""

import pytest
import torch
from neurotwin import train

SMALL = ["datamodule.n_subjects=12", "datamodule.n_nodes=20", "datamodule.rest_volumes=60", "trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = [f"runs_dir={tmp_path_factory.mktemp('runs')}"]
    plain = train("acker2024/demo", [*SMALL, *folder])
    drawn = ["callbacks=pictures", "callbacks.pictures.every_n_epochs=2", "logger=tensorboard"]
    return plain, train("acker2024/demo", [*SMALL, *folder, *drawn])


def test_pictures_of_the_chosen_epochs_lie_in_the_run_and_in_tensorboard(runs):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = runs[1]
    assert [path.name for path in (run.path / "figures").glob("epoch-*")] == ["epoch-0002"]
    names = {path.name for path in (run.path / "figures" / "epoch-0002").glob("*.png")}
    assert names == {path.name for path in run.figures}
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert f"pictures/{run.figures[0].stem}" in events.Tags()["images"]


def test_weights_are_those_of_a_run_without_pictures(runs):
    states = [run.model.state_dict() for run in runs]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=0)
    assert runs[0].metrics == pytest.approx(runs[1].metrics, nan_ok=True)


def test_interactive_figures_of_the_test_are_kept_beside(runs):
    assert len(runs[0].figure("change").data) == 3
