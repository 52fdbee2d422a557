"""Frequency-dependent conductances against finite differences and sine waves; stability of an isolated cell."""

import numpy as np
import pytest
import torch
from neurotwin.models.filters import FilterBank, SigmoidBank
from neurotwin.models.rmm import RMM
from neurotwin.models.rmm_currents import Dense, HammersteinSynapse
from neurotwin.models.rmm_linear import (
    admittance,
    bifurcations,
    contraction,
    frequency_response,
    holding_current,
    jacobian,
    lyapunov_exponent,
    membrane_admittance,
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    built = RMM(2, 10_000.0, intrinsic_ms=(0.5, 5.0, 50.0), synaptic_ms=(2.0, 20.0), hidden=(6,), synaptic_hidden=(4,))
    built.refer(torch.tensor([-48.0, -46.0]))
    voltage = -50 + 5 * torch.randn(200, 2)
    built.fit_inputs(voltage, torch.randn(200, sum(built.hidden_sizes)) * built.hidden_scale)
    return built


@pytest.mark.parametrize("kind", ["orthonormal", "diagonal"])
def test_a_bank_answers_each_frequency_as_its_matrices_do(kind):
    bank = FilterBank((0.5, 5.0, 50.0), 0.1, kind)
    change, into = (part.double().numpy() for part in bank.matrices())
    for omega in (0.01, 1.0):
        z = np.exp(1j * omega * 0.1)
        expected = np.linalg.solve((z - 1) * np.eye(3) - change, into)
        np.testing.assert_allclose(frequency_response(bank, np.array([omega]))[0], expected, rtol=1e-4)
    np.testing.assert_allclose(frequency_response(bank, np.zeros(1))[0].real, bank.dc_gain, rtol=1e-5)


def test_slow_conductance_is_the_slope_of_the_steady_current(model):
    slow = membrane_admittance(model, 0, np.array([-45.0]), np.zeros(1))[0, 0]
    low, high = holding_current(model, 0, np.array([-45.05, -44.95]))
    assert slow.real == pytest.approx((high - low) / 0.1, rel=1e-2)
    assert slow.imag == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("kind", ["lumped", "mechanistic", "hammerstein"])
def test_a_synapse_answers_its_partner(model, kind):
    if kind != "lumped":
        model = RMM(2, 10_000.0, kind, intrinsic_ms=(0.5,), synaptic_ms=(2.0, 20.0))
        model.refer(torch.tensor([-48.0, -46.0]))
    synapse = model.terms[2]
    states = synapse.bank.steady(torch.tensor([-50.05, -49.95]) - model.reference_mv[synapse.driver])
    target = torch.full((2,), -48.0)
    low, high = synapse(target, states).tolist()
    slow = admittance(model, synapse, np.array([-50.0]), np.zeros(1), postsynaptic_mv=-48.0)
    assert slow[0, 0].real == pytest.approx((high - low) / 0.1, rel=1e-2)


@pytest.mark.parametrize("hertz", [5.0, 80.0])
def test_admittance_is_what_a_small_sine_wave_draws(model, hertz):
    omega = 2e-3 * np.pi * hertz
    time = np.arange(round(1e4 * (0.5 + 2 / hertz))) * 0.1
    wave = -45 + 0.2 * np.sin(omega * time)
    own = model.terms[0]
    states = torch.from_numpy(own.bank.filter(wave - float(model.reference_mv[0]), np.arange(len(wave))))
    with torch.no_grad():
        current = own(torch.from_numpy(wave.astype(np.float32)), states).double().numpy()
    part = slice(-round(1e4 / hertz), None)
    basis = np.exp(-1j * omega * time[part])
    ratio = (current[part] @ basis) / ((wave[part] - wave[part].mean()) @ basis)
    found = admittance(model, own, np.array([-45.0]), np.array([omega]))[0, 0]
    assert abs(found - ratio) < 0.03 * abs(ratio)


def test_the_jacobian_is_that_of_a_step_of_the_isolated_cell(model):
    alone = RMM(1, 10_000.0, intrinsic_ms=(0.5, 5.0, 50.0), synaptic_ms=(2.0,), hidden=(6,), wiring=())
    alone.refer(torch.tensor([-48.0]))
    own = alone.terms[0]
    rest = torch.cat([torch.tensor([-45.0]), own.bank.dc_gain * 3.0])

    def step(state):
        end = alone.rollout(state[None, :1], state[None, 1:], torch.zeros(1, 1, 1), backend="plain")
        return torch.cat([end.voltage[0, 0], end.hidden[0]])

    expected = torch.autograd.functional.jacobian(step, rest)
    np.testing.assert_allclose(jacobian(alone, 0, -45.0), expected, atol=2e-5)


def test_a_leak_that_turns_negative_gives_a_saddle_node():
    cell = RMM(1, 10_000.0, intrinsic_ms=(5.0,), synaptic_ms=(2.0,), hidden=(1,), wiring=())
    own = cell.terms[0]
    with torch.no_grad():
        # f = -0.8 tanh(v / 10) against a leak of 0.04: the slope 0.04 - 0.08 sech²(v / 10) is 0 at |v| = 8.81 mV.
        for layer, weight in zip(own.chain, ([[0.1, 0.0]], [[-0.8]]), strict=True):
            layer.weight.copy_(torch.tensor(weight))
        own.chain[0].bias.zero_()
        cell.leak.fill_(float(np.log(np.expm1(0.04))))
        cell.inverse_capacitance.fill_(float(np.log(np.expm1(1.0))))
    found = bifurcations(cell, 0, np.linspace(-20, 20, 42))
    assert [b.kind for b in found] == ["saddle-node", "saddle-node"]
    assert [b.voltage_mv for b in found] == pytest.approx([-8.814, 8.814], abs=0.01)
    assert found[1].current_na == pytest.approx(0.04 * 8.814 - 0.8 * np.tanh(0.8814), abs=1e-3)


def test_contraction_is_that_of_the_slowest_filter(model):
    found = contraction(model)
    assert found.slowest_ms == pytest.approx(50.0, rel=1e-3)
    assert found.spectral_radius == pytest.approx(np.exp(-0.1 / 50), rel=1e-6)
    assert found.forget_s == pytest.approx(0.05 * np.log(100), rel=1e-3)


@pytest.mark.parametrize(("rate", "forcing"), [(-0.05, 0.0), (0.02, 0.0), (0.02, 0.005)])
def test_lyapunov_exponent_of_linear_cells(rate, forcing):
    cell = RMM(1, 10_000.0, intrinsic_ms=(0.5,), synaptic_ms=(2.0,), hidden=(1,), wiring=())
    with torch.no_grad():
        for layer, weight in zip(cell.terms[0].chain, ([[1e-4, 0.0]], [[-1e4 * (rate + 0.1)]]), strict=True):
            layer.weight.copy_(torch.tensor(weight))
        cell.terms[0].chain[0].bias.zero_()
        cell.leak.fill_(float(np.log(np.expm1(0.1))))
        cell.inverse_capacitance.fill_(float(np.log(np.expm1(1.0))))
    voltage, injected = np.zeros((2001, 1)), np.zeros((2000, 1))
    found = lyapunov_exponent(cell, voltage, torch.zeros(1), injected, forcing)
    assert found == pytest.approx(1e4 * (np.log1p(0.1 * rate) + np.log1p(-forcing)), rel=0.02)


def test_constants_of_a_synapse_are_read_off_it():
    """One sigmoid and one filter: the synapse of a dynamic clamp."""
    model = RMM(2, 10_000.0, "hammerstein", intrinsic_ms=(0.5,))
    bank = SigmoidBank((-47.0,), (2.0,), (100.0,), 0.1)
    dense = [Dense(1, 1, "identity", bias=False, positive=True)]
    model.currents[2] = HammersteinSynapse(1, 0, bank, dense, -80.0, 0.05)
    model.refer(torch.tensor([-44.0, -46.0]))
    model.range_mv.copy_(torch.tensor([[-60.0, -60.0], [-25.0, -25.0]]))
    assert model.synapses()[1, 0] == pytest.approx((0.05, -47.0, 2.0, 100.0), rel=5e-3)
    model.range_mv[1] = -59.0  # never seen open
    assert np.isnan(model.synapses()[1, 0].half_mv)
