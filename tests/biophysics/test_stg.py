"""STG conductances against hand-computed numbers, and the compiled integrator against the plain one."""

import numpy as np
import pytest
import torch
from neurotwin.biophysics.dynamic_clamp import DynamicClamp
from neurotwin.biophysics.gates import Form, Gate, TimeConstant, steady_and_tau
from neurotwin.biophysics.stg import CHANNELS, PRINZ_CELLS, calcium_reversal, calcium_step
from neurotwin.biophysics.stg_circuit import Circuit, Clamped, Compartment, integrate, integrate_plain

GATES = {f"{name}.{part}": getattr(c, part) for name, c in CHANNELS.items() for part in ("m", "h") if getattr(c, part)}


def test_gates_have_the_published_values():
    na, cas, h = CHANNELS["Na"], CHANNELS["CaS"], CHANNELS["H_prinz"]
    assert na.m.steady(-25.5) == 0.5
    assert na.m.tau(-120.0) == pytest.approx(1.32 - 1.26 / 2)
    assert na.h.tau(-62.9) == pytest.approx(0.67 / 2 * (1.5 + 1 / (1 + np.exp((-62.9 + 34.9) / 3.6))))
    assert cas.m.tau(-50.0) == pytest.approx(1.4 + 7 / (np.exp(-2.3) + np.exp(-20 / 13)))
    assert cas.h.tau(-50.0) == pytest.approx(60 + 150 / (np.exp(5 / 9) + np.exp(-15 / 16)))
    assert h.m.tau(-50.0) / 0.5 == pytest.approx(2 / (np.exp(-119.7 / 11.6) + np.exp(-76.7 / 14.3)))


def test_clamp_gates_have_the_published_values():
    clamp = DynamicClamp(tau_h_ms=1000.0)
    assert clamp.h.tau(-60.0) == pytest.approx(1000 * (1 + np.exp(-50 / 13)))
    assert clamp.synapse.steady(-48.0) == pytest.approx(1 / (1 + np.exp(-1)))
    assert clamp.synapse.tau(-48.0) == 100.0
    assert clamp.mi.tau(-21.0) == 4.0
    assert clamp.scaled(0.0).g_syn_us == 0.0


@pytest.mark.parametrize("name", GATES)
def test_compiled_gates_agree_with_numpy_and_torch(name):
    gate, packed = GATES[name], np.array(GATES[name].packed())
    voltage = np.linspace(-100, 40, 29)
    steady, tau = np.array([steady_and_tau(packed, v) for v in voltage]).T
    np.testing.assert_allclose(gate.steady(voltage), steady, rtol=1e-13)
    np.testing.assert_allclose(gate.tau(voltage), tau, rtol=1e-13)
    np.testing.assert_allclose(gate.tau(torch.tensor(voltage)).numpy(), tau, rtol=1e-13)
    assert (tau > 0).all()


def test_a_gate_relaxes_exactly():
    gate = Gate(0.0, -5.0, TimeConstant(Form.SIGMOID, 10.0))
    assert gate.step(0.0, 0.0, 10.0) == pytest.approx(0.5 * (1 - np.exp(-1)))
    assert gate.step(0.0, 0.0, 10.0, speed=0.5) == pytest.approx(0.5 * (1 - np.exp(-0.5)))


def test_calcium():
    assert calcium_reversal(0.05) == pytest.approx(12.19 * np.log(60000))
    assert calcium_reversal(torch.tensor(3000.0)) == 0.0
    assert calcium_step(0.05, 0.0, 1.0, 20.0) == pytest.approx(0.05)
    assert calcium_step(0.05, -1.0, 1e9, 20.0) == pytest.approx(15.01)


def circuit():
    cells = [{n: 0.628 * g for n, g in PRINZ_CELLS[c].items() if n != "leak"} for c in ("LP_0", "PM_0")]
    parts = [Compartment(0.628, cell, 0.0126) for cell in cells]
    clamp = DynamicClamp(g_syn_us=0.05, g_h_us=0.05, g_mi_us=0.02, g_leak_us=0.01)
    soma = Compartment(0.3, {"Kd": 1.0}, 0.01)
    return Circuit((*parts, soma), ((0, 2, 0.1),), (Clamped(0, 1, clamp), Clamped(1, 0, clamp)), 0.5)


def test_compiled_integration_agrees_with_the_plain_one():
    injected = np.random.default_rng(0).normal(3.0, 2.0, (300, 2))
    fast, plain = integrate(circuit(), injected), integrate_plain(circuit(), injected)
    assert np.ptp(plain.voltage[:, 0]) > 20
    for name, value in vars(plain).items():
        np.testing.assert_allclose(getattr(fast, name), value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_passive_membrane_charges_as_an_rc_circuit():
    passive = Circuit((Compartment(0.5, {}, 0.02, -60.0),), clamped=(Clamped(0, 0, DynamicClamp()),))
    voltage = integrate(passive, np.full((1000, 1), 0.1)).voltage[:, 0]
    time = np.arange(1000) * 0.1
    np.testing.assert_allclose(voltage, -55 + 5 * np.exp(-time * 0.02 / 0.5), rtol=1e-12)
