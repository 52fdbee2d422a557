"""Objectives of the forcing strategies by hand, trained shot states, adaptive forcing, and a whole small run."""

from copy import deepcopy
from functools import partial

import numpy as np
import pytest
import torch
from lightning import Trainer
from neurotwin.contracts import CircuitBatch, DynamicsModel
from neurotwin.datamodules.half_center import HalfCenterDataModule
from neurotwin.engine import train
from neurotwin.errors import ConfigError
from neurotwin.models.latent import GRUCircuit
from neurotwin.models.rmm import RMM
from neurotwin.tasks.circuit import Circuit, silent
from neurotwin.tasks.forcing import (
    GeneralisedTeacherForcing,
    MultipleShooting,
    Shots,
    ShotStates,
    TeacherForcing,
    jacobian_norms,
)
from pytorch_optimizer import SOAP
from torch import nn


def small_model():
    torch.manual_seed(0)
    built = RMM(
        2, 10_000.0, intrinsic_ms=(0.5, 5.0), synaptic_ms=(2.0,), hidden=(6,), synaptic_hidden=(4,), start="small"
    )
    built.refer(torch.tensor([-48.0, -46.0]))
    return built


def shots(model, n=5, steps=4):
    torch.manual_seed(1)
    voltage = -50 + torch.randn(n, steps + 1, 2)
    batch = CircuitBatch(voltage, torch.randn(n, steps, 2), torch.full((n, steps, 2), torch.nan), torch.arange(n))
    hidden = torch.randn(n, sum(model.hidden_sizes)) * model.hidden_scale
    following = torch.tensor([1, 2, -1, 4, -1])[:n]
    return batch, Shots(hidden, torch.arange(n), following)


def run(model, voltage, hidden, batch, forcing):
    """Voltages and last hidden states, one step at a time."""
    found = []
    for k in range(batch.current.shape[1]):
        voltage = forcing * batch.voltage[:, k] + (1 - forcing) * voltage
        step = model.rollout(voltage, hidden, batch.current[:, k : k + 1], backend="plain")
        voltage, hidden = step.voltage[:, 0], step.hidden
        found.append(voltage)
    return torch.stack(found, dim=1), hidden


def test_teacher_forcing_is_regression_of_the_derivative():
    model = small_model()
    batch, given = shots(model)
    hidden, errors = given.hidden, []
    for k in range(4):
        voltage = batch.voltage[:, k]
        slope = (batch.voltage[:, k + 1] - voltage) / 0.1
        errors.append((model.derivative(voltage, hidden, batch.current[:, k]) - slope) ** 2)
        hidden = model.rollout(voltage, hidden, batch.current[:, k : k + 1]).hidden
    expected = torch.stack(errors).mean(dim=(0, 1)).sum()
    torch.testing.assert_close(TeacherForcing().loss(model, batch, given), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("strategy", "teacher_epochs", "comparable"),
    [
        (TeacherForcing(), 0, True),
        (MultipleShooting(), 0, True),
        (MultipleShooting(), 2, False),
        (MultipleShooting(lagrangian=True), 0, False),
        (GeneralisedTeacherForcing(final_forcing=0.01), 0, False),
        (GeneralisedTeacherForcing(adaptive=True), 0, False),
    ],
)
def test_a_curriculum_says_that_its_losses_cannot_be_compared(strategy, teacher_epochs, comparable):
    task = Circuit(small_model(), strategy, teacher_epochs=teacher_epochs)
    assert task.comparable_losses is comparable


@pytest.mark.parametrize("forcing", [0.0, 0.2])
def test_multiple_shooting_adds_the_jumps_between_shots(forcing):
    model = small_model()
    batch, given = shots(model)
    start = batch.voltage[:, 0] + 0.1
    states = ShotStates(start, given.hidden, model.hidden_scale)
    strategy = GeneralisedTeacherForcing(forcing, voltage_weight=3.0, hidden_weight=7.0)
    predicted, end = run(model, start, given.hidden, batch, forcing)
    fit = (predicted - batch.voltage[:, 1:]).square().mean()
    before, after = torch.tensor([0, 1, 3]), torch.tensor([1, 2, 4])
    jump_v = 3 * (start[after] - predicted[before, -1]).square().mean()
    jump = (given.hidden[after] - end[before]) / model.hidden_scale
    jump_x = 7 * sum(part.square().mean() for part in jump.split(model.hidden_sizes, dim=1)) / 2
    loss = strategy.loss(model, batch, given._replace(states=states))
    torch.testing.assert_close(loss, (fit + jump_v + jump_x) / 0.01, rtol=1e-3, atol=1e-3)
    free = MultipleShooting(train_states=False).loss(model, batch, given)
    predicted, _ = run(model, batch.voltage[:, 0], given.hidden, batch, 0.0)
    torch.testing.assert_close(free, (predicted - batch.voltage[:, 1:]).square().mean() / 0.01, rtol=1e-3, atol=1e-3)


def test_newton_has_the_loss_and_gradient_of_stepping():
    model = small_model()
    batch, given = shots(model)
    found = []
    for solver in ("steps", "newton"):
        loss = GeneralisedTeacherForcing(0.2, solver=solver, train_states=False).loss(model, batch, given)
        found.append((loss.detach(), torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-2)


def test_shot_states_follow_adam_row_by_row():
    states = ShotStates(torch.zeros(4, 1), torch.zeros(4, 2), torch.tensor([2.0, 4.0]))
    twin = torch.zeros(4, 3, requires_grad=True)
    adam = torch.optim.Adam([twin], lr=0.1)
    goal = torch.tensor([1.0, 2.0, -4.0])
    for _ in range(3):
        ((states.take(torch.tensor([1, 3, 1])) - goal) / torch.tensor([1.0, 2.0, 4.0])).square().sum().backward()
        states.update(0.1)
        adam.zero_grad()
        ((twin[[1, 3, 1]] - goal / torch.tensor([1.0, 2.0, 4.0])).square()).sum().backward()
        adam.step()
    torch.testing.assert_close(states.values, twin.detach(), atol=1e-6, rtol=1e-5)
    assert states.steps.tolist() == [0, 3, 0, 3]


def test_adaptive_forcing_jumps_up_and_decays_slowly():
    model = small_model()
    batch, given = shots(model)
    norm = jacobian_norms(model, batch.voltage[:, 0], given.hidden, batch.current[:, :1]).log().mean().exp()
    wanted = max(0.0, 1 - 1 / float(norm))
    assert wanted > 0
    for start, expected in ((0.0, wanted), (1.0, 0.999 + 0.001 * wanted)):
        strategy = GeneralisedTeacherForcing(start, adaptive=True, adapt_every=2)
        strategy.after_batch(model, batch, given)
        assert strategy.forcing == start
        strategy.after_batch(model, batch, given)
        assert strategy.forcing == pytest.approx(expected)


def test_the_jacobian_is_that_of_one_step():
    model = small_model()
    batch, given = shots(model, 1)
    scale = torch.cat([torch.ones(2), model.hidden_scale])

    def step(state):
        voltage, hidden = (state * scale).tensor_split([2])
        end = model.rollout(voltage[None], hidden[None], batch.current[:1, :1], backend="plain")
        return torch.cat([end.voltage[0, 0], end.hidden[0]]) / scale

    state = torch.cat([batch.voltage[0, 0], given.hidden[0]]) / scale
    expected = torch.linalg.matrix_norm(torch.autograd.functional.jacobian(step, state), 2)
    torch.testing.assert_close(
        jacobian_norms(model, batch.voltage[:, 0], given.hidden, batch.current[:, :1])[0],
        expected,
        rtol=1e-3,
        atol=1e-3,
    )


def test_forcing_follows_its_schedule():
    strategy = GeneralisedTeacherForcing(0.2, final_forcing=0.0)
    assert [strategy.start_epoch(k, 3) or strategy.forcing for k in range(3)] == pytest.approx([0.2, 0.1, 0.0])


@pytest.mark.parametrize(("lagrangian", "largest"), [(False, None), (True, 0.1)])
def test_multipliers_close_the_jumps_that_a_weak_penalty_leaves(lagrangian, largest):
    """States alone are trained, on shots of a recording that the model does not fit."""
    model = small_model()
    batch, given = shots(model)
    states = ShotStates(batch.voltage[:, 0], given.hidden, model.hidden_scale, lagrangian)
    strategy = MultipleShooting(True, 1.0, 1.0, lagrangian)
    given = given._replace(states=states)
    for k in range(400):
        strategy.loss(model, batch, given).backward()
        states.update(lr=0.1 / (1 + k / 50))
        strategy.after_batch(model, batch, given)
    start, hidden = (states.values * states.scale).tensor_split([2], dim=1)
    end, _ = run(model, start, hidden, batch, 0.0)
    jump = (start[[1, 2, 4]] - end[[0, 1, 3], -1]).abs().max()
    assert jump < largest if lagrangian else jump > 0.3


def test_errors_name_the_key():
    with pytest.raises(ConfigError, match=r"task\.strategy\.forcing=2"):
        GeneralisedTeacherForcing(2.0)
    with pytest.raises(ConfigError, match="recorded states cannot be made continuous"):
        MultipleShooting(train_states=False, lagrangian=True)
    with pytest.raises(ConfigError, match="is no circuit model"):
        Circuit(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="GRUCircuit has no synapses to silence"):
        Circuit(GRUCircuit(2, 1e4), silence_weight=1.0)
    with pytest.raises(ConfigError, match=r"task\.strategy\.solver='newtn': did you mean 'newton'"):
        GeneralisedTeacherForcing(solver="newtn")
    batch, given = shots(small_model())
    with pytest.raises(ConfigError, match="GRUCircuit runs step by step only"):
        GeneralisedTeacherForcing(solver="newton", train_states=False).loss(GRUCircuit(2, 1e4), batch, given)
    assert isinstance(small_model(), DynamicsModel)


def test_a_black_box_learns_from_states_that_follow_its_weights(tmp_path):
    cut = {"n_trials": 2, "folds": 2, "fold": 1, "seconds": 0.8, "drop_s": 0.2, "segment_s": 0.3, "shot_steps": 20}
    data = HalfCenterDataModule(**cut, batch_size=64, noise_sd_mv=0.0)
    torch.manual_seed(0)
    task = Circuit(
        GRUCircuit(2, 10_000.0, size=6, run_in_ms=50.0),
        GeneralisedTeacherForcing(0.2, train_states=False),
        counterfactual_s=0.05,
        optimizer=partial(torch.optim.Adam, lr=1e-2),
    )
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(max_epochs=2, accelerator="cpu", num_sanity_val_steps=0, **quiet)
    at_start = {}
    task.on_train_start = lambda: at_start.update(table=task._table.clone(), weights=deepcopy(task.model))
    trainer.fit(task, datamodule=data)
    row = data.split(1)["train"][3]
    trial, first, _ = data.stretches[row]
    expected = at_start["weights"].warm_up(data.recordings[trial].voltage, np.array([first]))[0]
    torch.testing.assert_close(at_start["table"][row], expected, atol=1e-5, rtol=1e-4)
    trainer.test(task, datamodule=data, verbose=False)
    row = data.split(1)["test"][0]
    trial, first, _ = data.stretches[row]
    expected = task.model.warm_up(data.recordings[trial].voltage, np.array([first]))[0]
    torch.testing.assert_close(task._table[row], expected, atol=1e-5, rtol=1e-4)
    assert "test/counterfactual_divergence" in trainer.callback_metrics
    assert "test/conductance_error" not in trainer.callback_metrics, "a black box has none"
    assert [figure.stem for figure in task.figures(tmp_path, data)] == ["voltage", "interventions"]


@pytest.mark.parametrize(
    ("strategy", "optimizer"),
    [
        (TeacherForcing(), torch.optim.Adam),
        (MultipleShooting(True, 1.0, 1.0), torch.optim.Adam),
        (MultipleShooting(False), SOAP),  # forgets its preconditioners where teacher forcing ends
    ],
)
def test_a_small_circuit_learns_and_is_scored(strategy, optimizer, tmp_path):
    cut = {"n_trials": 2, "folds": 2, "fold": 1, "seconds": 1.0, "drop_s": 0.2, "segment_s": 0.4, "shot_steps": 10}
    data = HalfCenterDataModule(**cut, batch_size=64, noise_sd_mv=0.0)
    torch.manual_seed(0)
    filters = {"intrinsic_ms": (0.5, 5.0, 50.0), "synaptic_ms": (5.0, 50.0)}
    model = RMM(2, 10_000.0, normalisation="whiten", start="small", **filters)
    task = Circuit(model, strategy, teacher_epochs=1, counterfactual_s=0.1, optimizer=partial(optimizer, lr=3e-3))
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(max_epochs=4, accelerator="cpu", num_sanity_val_steps=0, **quiet)
    trainer.fit(task, datamodule=data)
    assert trainer.callback_metrics["val/loss"] < 3.0, "the recorded derivative has a variance of 4 (mV/ms)²"
    trainer.test(task, datamodule=data, verbose=False)
    scores = task.score(task.predictions)
    assert np.isfinite([scores["rmse_mv"], scores["synaptic_nrmse_forced"]]).all()
    assert 0 <= scores["angular_separation"] <= 1
    figures = task.figures(tmp_path, data)
    assert [figure.stem for figure in figures] == ["voltage", "conductance", "stability", "interventions"]
    assert min(figure.stat().st_size for figure in figures) > 1000
    logged = {name.partition("/")[2] for name in trainer.callback_metrics}
    assert {
        "conductance_error",
        "holding_current_error",
        "lyapunov_per_s",
        "rate_error_hz_silenced",
        "counterfactual_divergence",
    } <= logged


def test_a_neuron_counts_where_its_partners_have_long_been_low():
    """Ten seconds, the partner low in the last: one tenth of the averages, less the 0.3 s that they look back."""
    voltage = np.full((1000, 2), -40.0)
    voltage[900:, 1] = -60.0
    found = silent(voltage, 100.0, np.arange(1000))
    assert found[:900, 0].sum() == 0
    assert found[931:, 0].all()
    assert silent(np.random.default_rng(0).standard_normal((500, 1)), 100.0, np.arange(500)).sum() == 0


def test_the_silent_prior_is_what_the_model_says_flows_then():
    model = small_model()
    task = Circuit(model, silence_weight=3.0, weight_penalty=0.0)
    batch, given = shots(model)
    task._table, task._silent = given.hidden, torch.tensor([[1.0, 0.0]]).repeat(5, 1)
    task._position, task._following = given.rows, given.following
    task.log = lambda *_, **__: None
    task._trainer = type("Trainer", (), {"current_epoch": 0})()
    current = model.current(batch.voltage[:, 0], given.hidden)["synaptic"]
    expected = TeacherForcing().loss(model, batch, given) + 3 * current[:, 0].square().sum() / 10
    torch.testing.assert_close(task.step(batch, "train"), expected)


def test_real_pyloric_voltages_run_through_the_experiment(data_root, run_root):
    if not (data_root / "cpg" / "gnb_uam_pyloric").is_dir():
        pytest.skip("no pyloric recordings")
    done = train("burghi2025/pyloric", [f"data_root={data_root}", "trainer.max_epochs=1", "trainer.accelerator=cpu"])
    assert np.isfinite([done.metrics["test/loss"], done.metrics["test/rmse_mv"]]).all()
    assert "test/synaptic_nrmse_free" not in done.metrics, "nobody knows the synaptic currents of this recording"
