"""Declared neurons: names and bounds, closed forms, both kernels against torch, second order, sensitivities."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from neurotwin.biophysics.conductance import CALCIUM_OUTSIDE_UM, GHK_MV, Neuron, ghk
from neurotwin.biophysics.conductance_adjoint import SEGMENT
from neurotwin.biophysics.declaration import parse_currents, parse_gates
from neurotwin.biophysics.simulate import follow, resting_voltage, simulate
from neurotwin.config import compose_part, instantiate
from neurotwin.errors import ConfigError

LEAK = Neuron(parse_currents({"L": {"reversal": "L"}}), {"g_L": 0.1, "E_L": -65.0})


def neuron(name):
    return instantiate(compose_part("model", name).config["model"], sampling_rate_hz=50_000.0).neuron


@pytest.fixture(scope="module")
def nine():
    return neuron("hippocampal")


def drive(n, dt_ms=0.02):
    t = np.arange(n) * dt_ms
    return 12 + 25 * np.sin(t / 3) * np.sin(t / 7.3)


@pytest.mark.parametrize(
    ("name", "states", "parameters", "free"),
    [("nakl", 4, 23, 21), ("nakl_a_h", 7, 41, 40), ("pydsi", 7, 41, 40), ("hippocampal", 12, 70, 69)],
)
def test_sizes_of_the_declared_neurons(name, states, parameters, free):
    declared = neuron(name)
    assert (len(declared.state_names), len(declared.names), len(declared.free)) == (states, parameters, free)
    assert len(declared.units) == parameters


def test_a_passive_membrane_charges_exponentially():
    injected = torch.full((1, 2001), 1.0, dtype=torch.float64)
    theta = torch.tensor(LEAK.theta)[None]
    voltage = simulate(LEAK, theta, injected, 0.05, -65.0)[0]
    expected = -65 + 10 * (1 - torch.exp(-0.05 * torch.arange(2001, dtype=torch.float64) / 10))
    torch.testing.assert_close(voltage, expected, rtol=0, atol=2e-5)


def test_constant_field_current_vanishes_at_the_nernst_potential_and_is_smooth_at_0_mv():
    calcium = torch.tensor([0.1], dtype=torch.float64)
    nernst = GHK_MV * torch.log(CALCIUM_OUTSIDE_UM / calcium)
    assert float(ghk(nernst, calcium)) == pytest.approx(0, abs=1e-9)
    near = ghk(torch.tensor([-1e-3, 0.0, 1e-3], dtype=torch.float64), calcium)
    assert float(near[1]) == pytest.approx(0.01 * (0.1 - 2000), rel=1e-9)
    assert float(near[0] + near[2] - 2 * near[1]) == pytest.approx(0, abs=1e-6)


def test_a_gate_by_hand():
    gate = Neuron(
        parse_currents({"X": {"gates": {"x": 2}, "reversal": "X"}}),
        {"g_X": 2.0, "E_X": 10.0, **parse_gates({"x": [-40.0, 10.0, 20.0, 0.5, 2.0]})},
    )
    theta = torch.tensor(gate.theta)[None]
    derivative = gate.rhs(theta, torch.tensor([[-30.0, 0.25]], dtype=torch.float64), torch.tensor([3.0]))
    steady, tau = 0.5 * (1 + np.tanh(1.0)), 0.5 + 2.0 * (1 - np.tanh(0.5) ** 2)
    torch.testing.assert_close(derivative[0, 0].item(), 3.0 - 2.0 * 0.25**2 * (-40.0))
    torch.testing.assert_close(derivative[0, 1].item(), (steady - 0.25) / tau)


@pytest.mark.parametrize("name", ["nakl", "pydsi", "hippocampal"])
def test_both_kernels_agree_with_torch(name):
    declared = neuron(name)
    scale = torch.tensor([[0.95], [1.0], [1.05]], dtype=torch.float64)
    theta = torch.tensor(declared.theta) * scale
    injected = torch.tensor(drive(400))[None].expand(3, -1) * declared.theta[1]
    plain = simulate(declared, theta, injected, 0.02, -66.0, substeps=2, backend="plain")
    assert plain.max() > -20, "the test drives no spike"
    torch.testing.assert_close(simulate(declared, theta, injected, 0.02, -66.0, substeps=2), plain, rtol=0, atol=1e-8)
    one = follow(declared, theta[2].numpy(), injected[2].numpy(), 0.02, -66.0, substeps=2)
    np.testing.assert_allclose(one.voltage, plain[2], atol=1e-8)
    single = simulate(declared, theta.float(), injected, 0.02, -66.0, substeps=2)
    torch.testing.assert_close(single.double(), plain, rtol=0, atol=2e-2)


def test_the_scheme_is_of_second_order_and_solves_the_equations(nine):
    n, dt = 500, 0.02
    injected = drive(n)
    runs = {steps: follow(nine, nine.theta, injected, dt, -66.0, substeps=steps).voltage for steps in (2, 4, 32)}
    errors = [np.abs(runs[steps] - runs[32]).max() for steps in (2, 4)]
    assert 3.4 < errors[0] / errors[1] < 4.6
    state, theta = (
        nine.steady(torch.tensor(nine.theta)[None], torch.tensor([-66.0]).double()),
        torch.tensor(nine.theta)[None],
    )
    h = dt / 4
    for k in range(4 * (n - 1)):  # Runge-Kutta on the stated equations
        at = [torch.tensor([np.interp((k + f) / 4, np.arange(n), injected)]) for f in (0.0, 0.5, 1.0)]
        k1 = nine.rhs(theta, state, at[0])
        k2 = nine.rhs(theta, state + 0.5 * h * k1, at[1])
        k3 = nine.rhs(theta, state + 0.5 * h * k2, at[1])
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + nine.rhs(theta, state + h * k3, at[2]))
    assert float(state[0, 0]) == pytest.approx(runs[32][-1], abs=0.02)


@pytest.mark.parametrize("name", ["nakl", "pydsi", "hippocampal"])
def test_sensitivities_are_finite_differences(name):
    declared = neuron(name)
    rng = np.random.default_rng(0)
    injected = drive(400) * declared.theta[1]
    observed = follow(declared, declared.theta, injected, 0.02, -66.0).voltage + rng.normal(size=400)
    gain = np.full(400, 0.5)
    gain[::9] = np.inf
    arguments = {"observed": observed, "gain": gain}
    run = follow(declared, declared.theta, injected, 0.02, -66.0, columns=np.arange(len(declared.names)), **arguments)
    largest = np.abs(run.jacobian * declared.theta).max()
    for j, value in enumerate(declared.theta):
        step = 1e-6 * max(abs(value), 0.01)
        up, down = (np.where(np.arange(len(declared.theta)) == j, value + s, declared.theta) for s in (step, -step))
        difference = [follow(declared, t, injected, 0.02, -66.0, **arguments).voltage for t in (up, down)]
        np.testing.assert_allclose(
            run.jacobian[:, j] * value,
            (difference[0] - difference[1]) / (2 * step) * value,
            atol=1e-6 * largest,
            err_msg=declared.names[j],
        )


@pytest.mark.parametrize("name", ["nakl", "pydsi", "hippocampal"])
def test_the_adjoint_is_autograd_by_parameters_current_and_first_voltage(name):
    declared = neuron(name)
    n, grads = 2 * SEGMENT + 6, []
    weights = torch.sin(torch.arange(n, dtype=torch.float64))
    for backend in ("plain", "compiled"):
        scale = torch.tensor([[0.95], [1.0], [1.05]], dtype=torch.float64)
        theta = (torch.tensor(declared.theta) * scale).requires_grad_()
        injected = (torch.tensor(drive(n) * declared.theta[1])[None].repeat(3, 1) + 10).requires_grad_()
        start = torch.tensor([-66.0, -60.0, -50.0], dtype=torch.float64, requires_grad=True)
        voltage = simulate(declared, theta, injected, 0.02, start, 2, backend)
        (voltage * weights).sum().backward()
        grads.append((theta.grad, injected.grad, start.grad))
    for found, expected in zip(grads[1], grads[0], strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10 * float(expected.abs().max()))


def test_calcium_at_its_floor_passes_no_gradient(nine):
    theta = torch.tensor(nine.theta).repeat(1, 1)
    theta[0, nine.index["calcium_gain"]] = -5.0  # drives calcium down
    theta[0, nine.index["c_shift"]] = 0.0
    grads = []
    for backend in ("plain", "compiled"):
        leaf = theta.clone().requires_grad_()
        simulate(nine, leaf, torch.tensor(drive(120))[None], 0.02, -66.0, backend=backend)[:, -20:].sum().backward()
        grads.append(leaf.grad)
    assert float(grads[0].abs().max()) > 0
    torch.testing.assert_close(grads[1], grads[0], rtol=1e-7, atol=1e-9)


def test_single_precision_gradients_are_those_of_double(nine):
    grads = []
    for dtype in (torch.float32, torch.float64):
        theta = torch.tensor(nine.theta, dtype=dtype)[None].requires_grad_()
        injected = torch.tensor(drive(500), dtype=dtype)[None]
        simulate(nine, theta, injected, 0.02, -66.0).square().mean().backward()
        grads.append(theta.grad.double() * torch.tensor(nine.theta))
    torch.testing.assert_close(grads[0], grads[1], rtol=0, atol=1e-3 * float(grads[1].abs().max()))


def test_a_pinned_neuron_follows_and_a_nudged_one_is_drawn(nine):
    injected = drive(600)
    observed = follow(nine, nine.theta, injected, 0.02, -66.0).voltage
    wrong = nine.theta.copy()
    wrong[nine.index["g_K"]] *= 0.5
    errors = []
    for gain in (0.0, 0.5, 5.0, np.inf):
        run = follow(nine, wrong, injected, 0.02, -66.0, observed, np.full(600, gain))
        errors.append(np.abs(run.voltage - observed).max())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 * errors[0]


def test_states_give_currents_that_balance(nine):
    injected = drive(1000)
    run = follow(nine, nine.theta, injected, 0.02, -66.0, states=True)
    total = nine.currents_of(torch.tensor(nine.theta), torch.tensor(run.states)).sum(-1).numpy()
    slope = np.gradient(run.voltage, 0.02)
    np.testing.assert_allclose((injected - total)[2:-2], slope[2:-2], atol=0.03 * np.abs(slope).max())


def test_errors_name_the_parameter(nine):
    with pytest.raises(ConfigError, match=r"model\.values has no 'E_L'"):
        Neuron(LEAK.currents, {"g_L": 0.1})
    with pytest.raises(ConfigError, match="no parameter is called 'g_NaX'; did you mean 'g_NaT'"):
        replace(nine, fixed=("g_NaX",))
    with pytest.raises(ConfigError, match=r"g_H=0\.12 is outside its bounds 1 to 2"):
        replace(nine, bounds={"g_H": (1.0, 2.0)})
    with pytest.raises(ConfigError, match=r"model\.currents\.X: unknown key 'gate'"):
        parse_currents({"X": {"gate": {}, "reversal": "K"}})


def test_a_rest_that_the_parameters_imply_stays_and_its_sensitivities_are_finite_differences(nine):
    injected = np.concatenate([np.full(200, 0.5), drive(300)])

    def run(theta, **columns):
        start, slope = resting_voltage(nine, theta, injected[0], -64.0)
        return follow(nine, theta, injected, 0.02, start, start_slope=slope, **columns)

    found = run(nine.theta, columns=np.arange(len(nine.names)))
    assert np.ptp(found.voltage[:200]) < 1e-4
    assert found.voltage.max() > -20, "the test drives no spike"
    for name in ("area", "g_NaP", "E_L", "r_half", "calcium_gain"):
        j, change = nine.index[name], np.zeros(len(nine.theta))
        change[j] = 1e-6 * nine.theta[j]
        difference = (run(nine.theta + change).voltage - run(nine.theta - change).voltage) / (2 * change[j])
        expected = found.jacobian[:, j]
        np.testing.assert_allclose(difference, expected, atol=1e-3 * np.abs(expected).max(), err_msg=name)


def test_where_a_neuron_does_not_rest_the_start_is_what_was_read(nine):
    start, slope = resting_voltage(nine, nine.theta, 0.0, 30.0)
    assert start == 30.0
    assert not slope.any()


def test_extrapolation_removes_the_leading_error(nine):
    injected = drive(500)
    runs = {n: follow(nine, nine.theta, injected, 0.02, -66.0, substeps=n).voltage for n in (4, 64)}
    better = follow(nine, nine.theta, injected, 0.02, -66.0, substeps=2, extrapolate=True).voltage
    assert np.abs(better - runs[64]).max() < 0.1 * np.abs(runs[4] - runs[64]).max()
