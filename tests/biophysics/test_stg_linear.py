"""The linearised neuron against the slope of its steady current and against the integrator under a small sine wave."""

import numpy as np
import pytest
import torch
from neurotwin.biophysics.stg_linear import ClampedNeuron
from neurotwin.simulators.half_center import HalfCenterSimulator


@pytest.fixture
def neuron():
    return ClampedNeuron(HalfCenterSimulator(seconds=1.0).circuit, 1)


@pytest.mark.parametrize("voltage", [-55.0, -45.0, -35.0])
def test_everything_rests(neuron, voltage):
    change, _ = neuron.flow(neuron.steady(voltage), torch.tensor(voltage, dtype=torch.float64))
    assert float(change.abs().max()) < 1e-10


def test_slow_conductance_is_the_slope_of_the_steady_current(neuron):
    low, high = (
        float(neuron.flow(neuron.steady(v), torch.tensor(v, dtype=torch.float64))[1]) for v in (-45.001, -44.999)
    )
    slow = neuron.admittance(np.array([-45.0]), np.zeros(1))[0, 0]
    assert slow.real == pytest.approx((high - low) / 0.002, rel=1e-4)


def test_fast_conductance_is_that_of_the_open_channels(neuron):
    state, at = neuron.steady(-45.0), torch.tensor(-45.0, dtype=torch.float64)
    step = torch.tensor(1e-4, dtype=torch.float64)
    instant = (neuron.flow(state, at + step)[1] - neuron.flow(state, at - step)[1]) / 2e-4
    fast = neuron.admittance(np.array([-45.0]), np.array([1e5]))[0, 0]
    assert fast.real == pytest.approx(float(instant), rel=1e-4)


def test_a_small_sine_wave_draws_the_admittance(neuron):
    voltage, omega, dt = -50.0, 1.0, 0.02
    state, drawn = neuron.steady(voltage), []
    times = np.arange(0, 4 * 2 * np.pi / omega, dt)
    wave = 0.01 * np.sin(omega * times)
    for v in wave:  # explicit Euler of the definitions
        change, current = neuron.flow(state, torch.tensor(voltage + v, dtype=torch.float64))
        state = state + dt * change
        drawn.append(float(current))
    part = slice(-round(2 * np.pi / omega / dt), None)
    basis = np.exp(-1j * omega * times[part])
    ratio = ((np.array(drawn) - drawn[0])[part] @ basis) / (wave[part] @ basis)
    found = neuron.admittance(np.array([voltage]), np.array([omega]))[0, 0]
    assert abs(ratio - found) < 0.03 * abs(found)
