"""Non-finite losses and gradients end a run, or are skipped, and can be replayed; silent divergence is warned of."""

import math

import neurotwin
import pytest
import torch
from neurotwin.callbacks import random_state, set_random_state
from neurotwin.cli import main
from neurotwin.errors import NeurotwinError
from neurotwin.numerical_health import FILE, NumericalHealth, pack, unpack

SETTINGS = ["trainer.accelerator=cpu", "trainer.max_epochs=3", "datamodule.batch_size=8", "datamodule.folds=4"]
SKIP = [*SETTINGS, "callbacks=skip_nonfinite"]


@pytest.fixture
def plugin(example, run_root):
    import neurotwin_example

    return neurotwin_example


def failed(overrides=SETTINGS):
    with pytest.raises(NeurotwinError) as error:
        neurotwin.train("example/tones", overrides)
    return neurotwin.runs()[-1], str(error.value)


@pytest.fixture
def spoilt(plugin, monkeypatch):
    """Item 7 of the training data holds a NaN."""
    real = plugin.Tones.setup

    def setup(self, stage=None):
        real(self, stage)
        item = next(item for item in self.datasets["train"] if item["window"] == 7)
        item["signal"][0, 5] = math.nan

    monkeypatch.setattr(plugin.Tones, "setup", setup)


@pytest.fixture
def changed_step(plugin, monkeypatch):
    """Replaces the loss of training by a function of the task, the batch and the old loss."""
    real = plugin.Regression.step

    def change(make):
        def step(self, batch, stage):
            loss = real(self, batch, stage)
            return make(self, batch, loss) if stage == "train" else loss

        monkeypatch.setattr(plugin.Regression, "step", step)

    return change


def test_a_nan_in_the_data_is_traced_to_its_item(spoilt, capsys):
    run, message = failed()
    assert "the loss is nan in epoch 0, batch" in message
    assert f"neurotwin replay {run.path.name}" in message
    assert run.status == "failed"
    saved = torch.load(run.path / FILE, weights_only=True)
    row = saved["batch"]["window"].tolist().index(7)
    found = neurotwin.replay(run)
    assert found.reproduced
    assert math.isnan(found.loss)
    assert found.found[0] == f"in the batch: signal, 1 of 512 numbers of (8, 1, 64), rows {row}"
    assert main(["replay", run.path.name]) == 0
    assert "recorded  the loss is nan in epoch 0, batch" in capsys.readouterr().out


def test_the_step_that_failed_is_the_step_that_is_replayed(changed_step):
    """The fault depends on the weights, on what the step draws, and on the epoch: all three must be those of then."""
    told = []

    def make(task, batch, loss):
        draw = torch.rand(())
        told.append((task.current_epoch, float(draw), float(task.model[1].weight.sum()), batch["window"].tolist()))
        return loss * math.inf if task.current_epoch == 1 and draw > 0.7 else loss

    changed_step(make)
    run, _ = failed()
    then = told[-1]
    assert neurotwin.replay(run).reproduced
    assert told[-1] == then


def test_an_infinite_gradient_of_a_finite_loss_is_traced_to_its_operation(changed_step):
    def make(task, batch, loss):
        return loss + (task.model(batch["signal"]).sum() * 0).sqrt()

    changed_step(make)
    run, message = failed()
    assert "the gradient of model.1.weight, model.1.bias, model.4.weight … is not finite in epoch 0, batch 0" in message
    weights = torch.load(run.path / FILE, weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in weights.values()), "the step was not taken"
    found = neurotwin.replay(run)
    assert math.isfinite(found.loss)
    assert found.gradients == ["model.1.weight", "model.1.bias", "model.4.weight", "model.4.bias"]
    assert found.found[0].startswith(
        "infinity comes out of div.Tensor: backward pass of tests/test_numerical_health.py:"
    )
    assert ".sqrt()" in found.found[0]
    assert found.found[1].startswith("NaN comes out of mul.")


def test_a_skipped_batch_takes_no_step(spoilt):
    run = neurotwin.train("example/tones", SKIP)
    assert run.status == "finished"
    assert all(value.isfinite().all() for value in run.model.state_dict().values())
    assert math.isfinite(run.metrics["test/loss"])
    (warning,) = run.record["warnings"]
    assert "a batch was skipped, because the loss is nan" in warning
    assert neurotwin.replay(run).reproduced


def test_skipping_equals_leaving_the_batch_out(spoilt, changed_step):
    run = neurotwin.train("example/tones", [*SKIP, "model.dropout=0", "trainer.max_epochs=1"])

    def leave_out(task, batch, loss):
        return loss if loss.isfinite() else None

    changed_step(leave_out)
    other = neurotwin.train("example/tones", [*SETTINGS, "model.dropout=0", "trainer.max_epochs=1"])
    assert run.metrics == other.metrics


def test_nothing_but_skipped_batches_ends_the_run(changed_step):
    changed_step(lambda task, batch, loss: loss * math.nan)
    run, message = failed([*SKIP, "callbacks.numerical_health.max_skipped=3"])
    assert message.startswith("4 batches in a row were skipped; the last because the loss is nan")
    assert run.status == "failed"


def test_an_unknown_choice_is_refused(plugin):
    with pytest.raises(NeurotwinError, match=r"nonfinite='skipp': input should be 'stop' or 'skip'"):
        neurotwin.train("example/tones", [*SKIP, "callbacks.numerical_health.nonfinite=skipp"])


def test_a_healthy_run_has_no_warning_and_nothing_to_replay(plugin):
    run = neurotwin.train("example/tones", SETTINGS)
    assert "warnings" not in run.record
    with pytest.raises(NeurotwinError, match="has no step to replay"):
        neurotwin.replay(run)


def test_divergence_without_a_nan_is_told(changed_step, capsys):
    changed_step(lambda task, batch, loss: loss * (1000.0 if task.current_epoch == 2 else 1.0))
    run = neurotwin.train("example/tones", SETTINGS)
    (warning,) = run.record["warnings"]
    assert warning.startswith("epoch 2: the training loss is ")
    assert warning.endswith("the fit diverges")


def test_a_curriculum_may_raise_its_loss(changed_step, plugin, monkeypatch):
    monkeypatch.setattr(plugin.Regression, "comparable_losses", False, raising=False)
    changed_step(lambda task, batch, loss: loss * (1000.0 if task.current_epoch == 2 else 1.0))
    assert "warnings" not in neurotwin.train("example/tones", SETTINGS).record


@pytest.mark.parametrize(
    ("first", "means", "expected"),
    [
        (1.0, [0.5, 0.9], []),  # falls, then loses part of what it had gained
        (1.0, [0.5, 1.6], [2]),
        (-5.0, [-9.0, -5.0, 2.0], [3]),  # a log-likelihood
        (0.7, [0.69, 0.71, 0.7], []),  # a plateau
    ],
)
def test_what_counts_as_divergence(first, means, expected):
    health, told = NumericalHealth(), []
    health.tell = told.append

    class Trainer:
        current_epoch = 0

    for epoch, mean in enumerate([first, *means]):
        Trainer.current_epoch = epoch
        health.on_train_epoch_start(Trainer, None)
        health._losses = [mean - 0.01, mean + 0.01]
        health.on_train_epoch_end(Trainer, None)
    assert [int(text.split(":")[0].split()[1]) for text in told] == expected


def test_batches_of_every_kind_are_kept():
    from neurotwin.contracts import CircuitBatch

    batch = CircuitBatch(*(torch.rand(2) for _ in CircuitBatch._fields))
    again = unpack(pack(batch), batch)
    assert type(again) is CircuitBatch
    assert torch.equal(again.voltage, batch.voltage)
    assert unpack(pack([1, (2.0, "x", None)]), [1, (2.0, "x", None)]) == [1, (2.0, "x", None)]
    with pytest.raises(NeurotwinError, match="holds a set, which is not kept"):
        unpack(pack([{1}]), [None])
    with pytest.raises(NeurotwinError, match=r"CircuitBatch, but the run's data now give dict"):
        unpack(pack(batch), {})


def test_random_state_round_trip():
    state = random_state()
    one = torch.rand(3)
    set_random_state(state)
    assert torch.equal(one, torch.rand(3))


def test_an_averaged_checkpoint_holds_the_threshold_of_its_own_epoch(run_root):
    """Lightning's averaging takes its weights back before the task chooses; the checkpoint must hold what it chose."""
    small = [f"datamodule.{o}" for o in ("n_subjects=6", "minutes=1", "folds=3")]
    settings = ["trainer.accelerator=cpu", "trainer.max_epochs=1", "callbacks=ema", "figures=false", *small]
    run = neurotwin.train("mallick2024/demo", settings)
    saved = float(torch.load(run.checkpoint("last"), weights_only=True)["state_dict"]["decision_threshold"])
    assert saved != 0.5
    task, datamodule = run.task, run.task.datamodule
    datamodule.setup("fit")
    from neurotwin.metrics.seizure_scores import best_threshold

    with torch.no_grad():
        parts = [(task.model(b.signal).softmax(-1)[:, 1], b.target) for b in datamodule.val_dataloader()]
    probability, target = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    assert saved == pytest.approx(best_threshold(probability, target), abs=1e-6)
