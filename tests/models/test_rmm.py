"""The recurrent mechanistic model: the paper's sizes and start, and the compiled loop against autograd in float64."""

import numpy as np
import pytest
import torch
from neurotwin.biophysics.dynamic_clamp import DynamicClamp
from neurotwin.errors import ConfigError
from neurotwin.models.filters import SigmoidBank
from neurotwin.models.rmm import RMM
from neurotwin.models.rmm_currents import Dense, HammersteinSynapse
from torch.nn import functional as F


def model(n_nodes=2, **settings):
    """Small banks of varied speed, with a plausible normalisation."""
    torch.manual_seed(0)
    settings = {"intrinsic_ms": (0.3, 2.0, 50.0), "synaptic_ms": (1.0, 20.0), "start": "small", **settings}
    built = RMM(n_nodes, 10_000.0, **settings)
    built.refer(torch.linspace(-45, -50, n_nodes))
    hidden = 5 * torch.randn(300, sum(built.hidden_sizes)) * built.hidden_scale
    built.fit_inputs(-50 + 5 * torch.randn(300, n_nodes), hidden)
    return built


def inputs(built, shots, steps):
    torch.manual_seed(1)
    voltage = -50 + 5 * torch.randn(shots, built.n_nodes)
    hidden = 5 * torch.randn(shots, sum(built.hidden_sizes)) * built.hidden_scale
    return voltage, hidden, torch.randn(shots, steps, built.n_nodes), -50 + 5 * torch.randn(shots, steps, built.n_nodes)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("synapse", "count"), [("lumped", 4066), ("mechanistic", 4128)])
def test_the_paper_counts_its_parameters_so(synapse, count):
    built = RMM(2, 10_000.0, synapse)
    assert sum(p.numel() for p in built.parameters()) == count
    assert sum(built.hidden_sizes) + built.n_nodes == 114


def test_the_papers_start():
    torch.manual_seed(0)
    built = RMM(2, 10_000.0, "mechanistic")
    leak = F.softplus(built.leak)
    assert ((leak >= 0.25) & (leak <= 0.75)).all()
    dense = Dense(33, 20, "tanh")
    torch.testing.assert_close(dense.weight.norm(dim=1), torch.full((20,), 2 * 0.7 * 20 ** (1 / 33)))
    torch.testing.assert_close(dense.bias, torch.linspace(-1, 1, 20) * 2 * 0.7 * 20 ** (1 / 33))
    synapse = built.currents[2]
    assert all((part.layer().weight > 0).all() for part in synapse.dense)
    torch.testing.assert_close(synapse.dense[-1].layer().weight.sum(), torch.tensor(1.0))
    torch.testing.assert_close(F.softplus(synapse.conductance), torch.tensor(1.0))


def test_min_max_maps_training_inputs_to_one_and_whitening_to_unit_covariance():
    torch.manual_seed(0)
    mixed = torch.randn(5000, 4) @ torch.randn(4, 4) + 100
    current = model(normalisation="minmax").currents[0]
    current.fit_inputs(mixed, "minmax")
    scaled = (mixed - current.centre) @ current.transform.T
    torch.testing.assert_close(scaled.max(dim=0).values, torch.ones(4))
    torch.testing.assert_close(scaled.min(dim=0).values, -torch.ones(4))
    current.fit_inputs(mixed, "whiten", floor=0.0)
    scaled = (mixed - current.centre) @ current.transform.T
    torch.testing.assert_close(scaled.T.cov(), torch.eye(4), atol=2e-3, rtol=0)


def test_depolarising_the_partner_opens_a_mechanistic_synapse():
    synapse = model(synapse="mechanistic").currents[-1]
    low, high = (synapse(torch.tensor([-50.0]), torch.full((1, 2), v - float(-45))) for v in (-60.0, -40.0))
    assert 0 < low < high
    assert synapse(torch.tensor([-80.0]), torch.zeros(1, 2)) == 0


def test_one_step_by_hand():
    built = model(n_nodes=1)
    voltage, hidden, injected, _ = inputs(built, 3, 1)
    c, g = F.softplus(built.inverse_capacitance), F.softplus(built.leak)
    f = built.currents[0](voltage[:, 0], hidden)[:, None]
    expected = voltage + 0.1 * c * (injected[:, 0] - g * voltage - built.leak_bias - f)
    for backend in ("plain", "compiled"):
        run = built.rollout(voltage, hidden, injected, backend=backend)
        torch.testing.assert_close(run.voltage[:, 0], expected)
        pole = torch.exp(torch.tensor(-0.1 / 0.3))
        torch.testing.assert_close(
            run.hidden[:, 0], pole * hidden[:, 0] + torch.sqrt(1 - pole**2) * (voltage[:, 0] - built.reference_mv[0])
        )


@pytest.mark.parametrize("forcing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    "settings",
    [
        {"trainable_filters": True},
        {"synapse": "mechanistic", "trainable_filters": True},
        {"synapse": "hammerstein"},
        {"n_nodes": 3, "wiring": [[0, 1], [1, 2]], "hidden": [5], "synaptic_hidden": []},
    ],
    ids=["lumped", "mechanistic", "hammerstein", "chain"],
)
def test_the_compiled_loop_and_its_gradient_agree_with_autograd(double, settings, forcing):
    """More shots than a group has, more steps than lie between kept states; every gradient."""
    built = model(**settings)
    results = {}
    for backend in ("plain", "compiled"):
        voltage, hidden, injected, teacher = inputs(built, 67, 35)
        voltage.requires_grad_()
        hidden.requires_grad_()
        built.zero_grad()
        run = built.rollout(voltage, hidden, injected, teacher, forcing, backend)
        weights = torch.randn(run.voltage.shape, generator=torch.Generator().manual_seed(2))
        ((run.voltage * weights).sum() + (run.hidden / built.hidden_scale).square().sum()).backward()
        results[backend] = [run.voltage, run.hidden, voltage.grad, hidden.grad, *(p.grad for p in built.parameters())]
    for plain, compiled in zip(results["plain"], results["compiled"], strict=True):
        assert (plain - compiled).norm() <= 1e-11 * plain.norm() + 1e-14


def test_float32_agrees_with_float64_closely():
    built = model()
    voltage, hidden, injected, _ = inputs(built, 5, 40)
    single = [built.rollout(voltage, hidden, injected, backend=backend).voltage for backend in ("compiled", "plain")]
    built.double()
    exact = built.rollout(voltage.double(), hidden.double(), injected.double(), backend="plain").voltage
    for run in single:
        assert (run - exact).abs().max() < 1e-3


def test_teacher_forcing_needs_no_recurrence():
    """With full forcing every step starts at the teacher's voltage: the derivative of each sample by itself."""
    built = model()
    voltage, hidden, injected, teacher = inputs(built, 4, 1)
    run = built.rollout(voltage, hidden, injected, teacher, 1.0)
    slope = built.derivative(teacher[:, 0], hidden, injected[:, 0])
    torch.testing.assert_close((run.voltage[:, 0] - teacher[:, 0]) / 0.1, slope, atol=1e-3, rtol=1e-3)


def test_warm_up_gives_the_states_that_the_recorded_voltages_drive():
    built = model()
    voltage, _, injected, teacher = inputs(built, 1, 400)
    states = built.warm_up(teacher[0].numpy(), torch.tensor([100, 300]).numpy())
    run = built.rollout(voltage, states[:1], injected[:, 100:300], teacher[:, 100:300], 1.0)
    torch.testing.assert_close(run.hidden, states[1:], atol=1e-3, rtol=1e-4)


def test_currents_add_up_to_the_derivative():
    built = model()
    voltage, hidden, injected, _ = inputs(built, 3, 1)
    parts = built.current(voltage, hidden)
    total = injected[:, 0] - parts["leak"] - parts["intrinsic"] - parts["synaptic"]
    torch.testing.assert_close(
        built.derivative(voltage, hidden, injected[:, 0]), F.softplus(built.inverse_capacitance) * total
    )


def test_errors_name_the_argument():
    with pytest.raises(ConfigError, match=r"model\.synapse='lumpd': did you mean 'lumped'"):
        RMM(2, 1e4, "lumpd")
    with pytest.raises(ConfigError, match="names a neuron outside 0 to 1"):
        RMM(2, 1e4, wiring=[[0, 2]])
    built = model()
    voltage, hidden, injected, _ = inputs(built, 1, 1)
    with pytest.raises(ConfigError, match="needs recorded voltages"):
        built.rollout(voltage, hidden, injected, forcing=0.1)
    with pytest.raises(ConfigError, match="runs on a CPU only"):
        built.rollout(voltage.to("meta"), hidden, injected, backend="compiled")


def test_a_hammerstein_synapse_has_84_weights_and_a_conductance():
    built = RMM(2, 10_000.0, "hammerstein")
    assert sum(p.numel() for p in built.parameters()) == 2 * (1540 + 85 + 3)
    assert sum(built.hidden_sizes) + built.n_nodes == 234


def test_a_hammerstein_synapse_can_be_the_one_of_a_dynamic_clamp():
    """One sigmoid and one filter, against the clamp's own gate stepped at the recorded voltage."""
    bank = SigmoidBank((-47.0,), (2.0,), (100.0,), 0.1)
    synapse = HammersteinSynapse(0, 1, bank, [Dense(1, 1, "identity", bias=False, positive=True)], -80.0, 0.05)
    synapse.refer(-50.0)
    voltage = -48 + 6 * np.sin(np.arange(8000) / 300)
    gate, gates = DynamicClamp(g_syn_us=0.05, half_syn_mv=-47.0).synapse, [0.0]
    for v in voltage[:-1]:
        gates.append(gate.step(gates[-1], v, 0.1))
    found = synapse(torch.full((1,), -55.0), torch.from_numpy(bank.filter(voltage + 50.0, np.array([7999]))))
    assert found.item() == pytest.approx(0.05 * gates[-1] * 25, rel=1e-3)


@pytest.mark.parametrize("synapse", ["lumped", "mechanistic", "hammerstein"])
def test_scaled_synapses_scale_the_currents_and_the_run(synapse):
    built = model(synapse=synapse)
    voltage, hidden, injected, _ = inputs(built, 3, 30)
    whole = built.current(voltage, hidden)
    with built.synapses_scaled(0.5):
        half = built.current(voltage, hidden)
        plain, compiled = (built.rollout(voltage, hidden, injected, backend=b).voltage for b in ("plain", "compiled"))
    torch.testing.assert_close(half["synaptic"], 0.5 * whole["synaptic"])
    torch.testing.assert_close(half["intrinsic"], whole["intrinsic"])
    torch.testing.assert_close(plain, compiled, atol=1e-3, rtol=0)
    with built.synapses_scaled(0.0):
        alone = built.rollout(voltage, hidden, injected).voltage
    other = voltage.clone()
    other[:, 1] += 5.0
    with built.synapses_scaled(0.0):
        torch.testing.assert_close(built.rollout(other, hidden, injected).voltage[..., 0], alone[..., 0])
    assert (built.rollout(voltage, hidden, injected).voltage - alone).abs().max() > 0
