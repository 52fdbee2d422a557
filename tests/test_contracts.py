"""What every file in ``configs/`` promises, and that no file is left out of the test."""

import copy
import pickle

import numpy as np
import pytest
import torch
from model_cases import EXTRAS, SPECS, TABLE, build, installed, run, sample, table
from neurotwin.config import compose, compose_part, get_target, instantiate
from neurotwin.contracts import (
    ActivationBatch,
    CircuitBatch,
    ClampBatch,
    ConnectivityBatch,
    DataModule,
    DataSpec,
    EEGBatch,
    FittedModel,
    MRIBatch,
    ResponseBatch,
    TraceBatch,
)
from neurotwin.gates import check_targets
from neurotwin.registry import list_configs
from torch.nn.functional import cross_entropy, interpolate, mse_loss

from datamodules import fixtures

MODELS = [entry.name for entry in list_configs("model") if entry.source == "neurotwin"]
INSTALLED = [name for name in MODELS if installed(name)]
DATAMODULES = [entry.name for entry in list_configs("datamodule") if entry.source == "neurotwin"]
TASKS = [entry.name for entry in list_configs("task") if entry.source == "neurotwin"]
EXPERIMENTS = [entry.name for entry in list_configs("experiment") if entry.source == "neurotwin"]
#: Simulated sets are made small, real formats are written in miniature by ``fixtures.make_<name>``.
SIMULATED = {
    "simulated_clamp": ["neuron=nakl", "duration_ms=110", "fit_ms=25", "window_ms=15", "conditions=[control,K -50%]"],
    "simulated_cells": ["neuron=nakl", "n_cells=36", "folds=3", "window_ms=40", "parameters=conductances"],
    "simulated_eeg": ["n_subjects=6", "minutes=2", "folds=3"],
    "half_center": ["n_trials=2", "folds=2", "fold=0", "seconds=0.6", "drop_s=0.1", "segment_s=0.2"],
    "simulated_mri": [
        "n_patients=4",
        "folds=2",
        "sites=[mill,lake]",
        "max_exams=1",
        "fine_mm=1.2",
        "pixel_factor=2",
        "fov_mm=[96,72,32]",
        "patch_size=[32,32,16]",
        "patches_per_epoch=8",
        "val_fraction=0.3",
    ],
    "second_cohort": [
        *("n_subjects=9", "n_nodes=40", "rest_volumes=60", "story_volumes=40", "folds=3"),
        *("second_nodes=40", "second_subjects=6", "second_rest_volumes=60", "second_story_volumes=40"),
    ],
    "simulated_fc": ["n_subjects=9", "n_nodes=40", "rest_volumes=60", "story_volumes=40", "folds=3"],
}
#: Tasks whose models are all fitted in closed form: no loss falls from step to step.
CLOSED_FORM = {"activation", "encoding"}
TASK_CASES = {
    "assimilation": (
        "wells2025/demo",
        [
            *(f"datamodule.{o}" for o in SIMULATED["simulated_clamp"]),
            "task.recursion={_target_:neurotwin.tasks.recursion.Nudging,gains:[5.0]}",
            *("task.iterations=6", "model.n_starts=1"),
        ],
    ),
    "posterior": (
        "wells2025/amortised",
        [*(f"datamodule.{o}" for o in SIMULATED["simulated_cells"]), "datamodule.batch_size=12", "optimizer.lr=3e-3"],
    ),
    "segmentation": (
        "kujawa2024/demo",
        [f"datamodule.{o}" for o in SIMULATED["simulated_mri"]]
        + ["datamodule.fold=0", "task.augment=false", "datamodule.batch_size=1", "model.width=8"],
    ),
    "seizure_detection": ("mallick2024/demo", [f"datamodule.{o}" for o in SIMULATED["simulated_eeg"]]),
    "circuit": ("burghi2025/tf", ["optimizer.lr=1e-2", *(f"datamodule.{o}" for o in SIMULATED["half_center"])]),
    "connectivity": ("acker2024/demo", [f"datamodule.{o}" for o in SIMULATED["simulated_fc"]]),
}


def make_datamodule(name, folder, **extra):
    if name in SIMULATED:
        overrides = SIMULATED[name]
    else:
        given = getattr(fixtures, f"make_{name}")(folder)
        overrides = [f"{key}={value}" for key, value in given.items()]
    overrides = [*overrides, *(f"{key}={value}" for key, value in extra.items())]
    return instantiate(compose_part("datamodule", name, overrides).config["datamodule"])


@pytest.fixture(scope="module", params=DATAMODULES)
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "data"
    datamodule = make_datamodule(request.param, folder, batch_size=4)
    datamodule.prepare_data()
    datamodule.setup("fit")
    return request.param, folder, datamodule


def test_every_config_has_a_case():
    assert set(MODELS) == set(SPECS), "tests/model_cases.py: SPECS"
    assert set(TASKS) == set(TASK_CASES) | CLOSED_FORM, "tests/test_contracts.py: TASK_CASES"
    missing = [n for n in DATAMODULES if n not in SIMULATED and not hasattr(fixtures, f"make_{n}")]
    assert not missing, "tests/datamodules/fixtures.py: make_<name>, or SIMULATED"


@pytest.mark.parametrize(
    "kind", ["experiment", "datamodule", "model", "task", "optimizer", "scheduler", "trainer", "sweep"]
)
def test_every_file_says_what_it_is(kind):
    assert [entry.name for entry in list_configs(kind) if not entry.description] == []


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment_composes_and_its_targets_bind(name):
    composed = compose(name)
    check_targets(composed)
    assert composed.config["objective"]["metric"] is None or "/" in composed.config["objective"]["metric"]


def check_eeg(batch, spec):
    assert batch.signal.dtype == torch.float32
    assert batch.signal.shape[1:] == (spec.n_channels, spec.n_times)
    assert torch.isfinite(batch.signal).all()
    assert batch.target.min() >= 0
    assert batch.target.max() < spec.n_outputs
    assert len(spec.class_names) == spec.n_outputs


def check_connectivity(batch, spec):
    for matrix in batch[:-3]:
        assert matrix.dtype == torch.float32
        assert matrix.shape[1:] == (spec.n_nodes, spec.n_nodes)
        assert torch.equal(matrix.isnan(), matrix.mT.isnan())
        torch.testing.assert_close(matrix, matrix.mT, equal_nan=True)
    for matrix in (batch.baseline, batch.change, batch.mean_change, batch.start):
        assert torch.isfinite(matrix).all()
        assert (matrix.diagonal(dim1=1, dim2=2) == 0).all()


def check_activation(batch, spec):
    assert batch.activation.dtype == batch.connectivity.dtype == torch.float32
    assert batch.activation.shape[1:] == batch.mean_activation.shape[1:] == (spec.n_outputs,)
    assert batch.connectivity.shape[1:] == (spec.n_nodes, spec.n_nodes)
    torch.testing.assert_close(batch.connectivity, batch.connectivity.mT)
    assert (batch.connectivity.diagonal(dim1=1, dim2=2) == 0).all()
    assert torch.isfinite(batch.activation).all()


def check_response(batch, spec):
    assert batch.stimulus.shape[1:] == (spec.n_times, spec.n_channels)
    assert batch.response.shape[1:] == (spec.n_times, spec.n_nodes)
    for series in (batch.stimulus, batch.response):
        torch.testing.assert_close(series.mean(1), torch.zeros_like(series[:, 0]), atol=1e-5, rtol=0)
        torch.testing.assert_close(series.std(1, correction=0), torch.ones_like(series[:, 0]))


def check_circuit(batch, spec):
    steps = batch.current.shape[1]
    assert batch.voltage.shape[1:] == (steps + 1, spec.n_nodes)
    assert batch.current.shape == batch.synaptic.shape
    assert batch.voltage.dtype == batch.current.dtype == torch.float32
    assert torch.isfinite(batch.voltage).all()
    assert torch.isfinite(batch.current).all()


def check_mri(batch, spec):
    assert batch.image.dtype == torch.float32
    assert batch.image.shape[1] == batch.present.shape[1] == spec.n_channels
    assert batch.image.shape[2:] == batch.mask.shape[1:]
    assert torch.isfinite(batch.image).all()
    assert (batch.image[~batch.present] == 0).all()
    assert batch.mask.max() < spec.n_outputs
    torch.testing.assert_close(batch.spacing_mm[0], torch.tensor(spec.spacing_mm))


def check_clamp(batch, spec):
    assert batch.voltage.shape == batch.current.shape == batch.currents.shape[:2]
    assert batch.voltage.dtype == batch.current.dtype == torch.float64
    assert torch.isfinite(batch.voltage).all()
    assert torch.isfinite(batch.current).all()
    assert batch.lead.max() < batch.voltage.shape[1]
    assert batch.condition.max() < len(spec.conditions)


def check_traces(batch, spec):
    assert batch.trace.dtype == batch.parameters.dtype == torch.float32
    assert batch.trace.shape[1:] == (spec.n_channels, spec.n_times)
    assert batch.parameters.shape[1:] == (spec.n_outputs,)
    assert torch.isfinite(batch.trace).all()
    assert torch.isfinite(batch.parameters).all()


BATCHES = {
    TraceBatch: check_traces,
    ClampBatch: check_clamp,
    MRIBatch: check_mri,
    CircuitBatch: check_circuit,
    EEGBatch: check_eeg,
    ConnectivityBatch: check_connectivity,
    ActivationBatch: check_activation,
    ResponseBatch: check_response,
}


def test_datamodule_spec_matches_a_batch(case):
    _, _, datamodule = case
    assert isinstance(datamodule, DataModule)
    spec = datamodule.spec
    assert isinstance(spec, DataSpec)
    for loader in (datamodule.train_dataloader(), datamodule.val_dataloader(), datamodule.test_dataloader()):
        batch = next(iter(loader))
        assert len({len(field) for field in batch}) == 1
        BATCHES[type(batch)](batch, spec)


def test_one_task_takes_the_data_and_the_others_refuse_them(case):
    _, _, datamodule = case
    tasks = [get_target(compose_part("task", name).config["task"]["_target_"]) for name in TASKS]
    assert sum(hasattr(datamodule, task.needs[0]) for task in tasks) == 1


def test_datamodule_splits_are_disjoint_complete_and_repeatable(case):
    name, folder, datamodule = case
    splits = [datamodule.split(fold) for fold in range(datamodule.folds)]
    for split in splits:
        parts = [set(rows.tolist()) for rows in split.values()]
        assert sum(map(len, parts)) == len(set.union(*parts))
    tested = np.concatenate([split["test"] for split in splits])
    assert len(tested) == len(set(tested.tolist())), "a window is tested in two folds"
    again = make_datamodule(name, folder) if name in SIMULATED else copy.copy(datamodule)
    assert all(np.array_equal(again.split(0)[part], splits[0][part]) for part in splits[0])


def test_datamodule_fingerprint_follows_the_split(case):
    _, _, datamodule = case
    other = copy.copy(datamodule)
    other.fold = 1
    assert datamodule.fingerprint() == datamodule.fingerprint() != other.fingerprint()


def test_datamodule_survives_loader_processes(case):
    _, _, datamodule = case
    parallel = copy.copy(datamodule)
    parallel.num_workers = 2
    plain, forked = (next(iter(d.test_dataloader())) for d in (datamodule, parallel))
    for a, b in zip(plain, forked, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def loss(output, target):
    if isinstance(output, tuple):  # deep supervision: each output against the target at its own resolution
        sizes = [part.shape[2:] for part in output]
        shrunk = [interpolate(target[:, None].float(), size=size)[:, 0].long() for size in sizes]
        return sum(loss(part, small) for part, small in zip(output, shrunk, strict=True))
    return mse_loss(output, target) if target.is_floating_point() else cross_entropy(output, target)


@pytest.mark.parametrize("name", INSTALLED)
def test_model_maps_inputs_to_outputs_and_round_trips(name):
    spec = SPECS[name]
    model = build(name, spec)
    if isinstance(model, FittedModel):
        model.fit(*sample(spec, 20))
    signal, target = sample(spec)
    model.eval()
    with torch.no_grad():
        logits = run(model, signal)
    classes = (len(target), spec.n_outputs, *target.shape[1:])
    assert logits.shape == (target.shape if target.is_floating_point() else classes)
    assert torch.isfinite(logits).all()
    twin = build(name, spec).eval()
    twin.load_state_dict(model.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(run(twin, signal), logits)
        if name not in EXTRAS:  # others may hold their weights in ways that torch does not pickle
            torch.testing.assert_close(run(pickle.loads(pickle.dumps(model)), signal), logits)


@pytest.mark.parametrize("name", [name for name in INSTALLED if not isinstance(build(name, SPECS[name]), FittedModel)])
def test_gradients_reach_every_parameter(name):
    model = build(name, SPECS[name]).train()
    signal, target = sample(SPECS[name], 8)
    loss(run(model, signal), target).backward()
    with torch.no_grad():  # a last layer that starts at zero lets gradients through after one step only
        for parameter in model.parameters():
            parameter -= 0 if parameter.grad is None else 1e-3 * parameter.grad
    loss(run(model, signal), target).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_table_of_models_is_current():
    assert TABLE.read_text(encoding="utf-8") == table(), "run python tests/model_cases.py"


@pytest.mark.parametrize("name", TASK_CASES)
def test_the_loss_of_a_task_falls_on_one_batch(name, run_root):
    import neurotwin

    experiment, overrides = TASK_CASES[name]
    run = neurotwin.train(experiment, [*overrides, "debug=overfit", "trainer.max_epochs=40", "trainer.accelerator=cpu"])
    lines = (run.path / "metrics.csv").read_text().splitlines()
    losses = [float(line.split(",")[lines[0].split(",").index("train/loss")]) for line in lines[1:]]
    assert losses[-1] < 0.5 * losses[0]
