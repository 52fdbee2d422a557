"""Filter banks: the cascade, the dense matrices, the poles and the filtering of a whole recording agree."""

import numpy as np
import pytest
import torch
from neurotwin.errors import ConfigError
from neurotwin.models.filters import INTRINSIC_MS, SYNAPTIC_MS, FilterBank


def run(bank, signal, x):
    """States before each sample and after the last, from the definition."""
    change, into = (m.detach().double() for m in bank.matrices())
    states = [x]
    for u in signal:
        states.append(states[-1] + change @ states[-1] + into * u)
    return torch.stack(states)


@pytest.fixture(autouse=True)
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_papers_time_constants():
    assert len(INTRINSIC_MS) == 32
    assert len(SYNAPTIC_MS) == 24
    assert INTRINSIC_MS[:24] == SYNAPTIC_MS
    assert (INTRINSIC_MS[7], INTRINSIC_MS[15], INTRINSIC_MS[23], INTRINSIC_MS[31]) == (1.6, 16.0, 90.0, 1500.0)
    bank = FilterBank(INTRINSIC_MS, 0.1)
    assert bank.transient == 69_078
    torch.testing.assert_close(bank.time_constants_ms, torch.tensor(INTRINSIC_MS))


def test_the_bank_is_orthonormal():
    """Impulse responses of different sections are orthogonal and have unit energy."""
    bank = FilterBank((0.5, 2.0, 2.0, 7.0), 0.1)
    signal = torch.zeros(3000)
    signal[0] = 1
    responses = run(bank, signal, torch.zeros(4))
    torch.testing.assert_close(responses.T @ responses, torch.eye(4), atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", ["orthonormal", "diagonal"])
def test_a_constant_is_passed_with_the_dc_gain(kind):
    bank = FilterBank((0.5, 2.0, 7.0), 0.1, kind)
    states = run(bank, torch.full((3000,), -50.0), torch.zeros(3))
    torch.testing.assert_close(states[-1], -50 * bank.dc_gain)
    if kind == "diagonal":
        torch.testing.assert_close(bank.dc_gain, torch.ones(3))
    else:
        pole = torch.exp(-0.1 / torch.tensor([0.5, 2.0, 7.0]))
        torch.testing.assert_close(bank.dc_gain, torch.sqrt((1 + pole) / (1 - pole)))


@pytest.mark.parametrize("kind", ["orthonormal", "diagonal"])
def test_filtering_a_recording_is_running_the_bank_over_it_twice(kind):
    bank = FilterBank((0.2, 3.0, 40.0), 0.1, kind)
    signal = np.random.default_rng(0).normal(-50, 5, 700)
    first = run(bank, torch.tensor(signal), signal[0] * bank.dc_gain)
    second = run(bank, torch.tensor(signal), first[-1])
    at = np.array([0, 5, 699])
    np.testing.assert_allclose(bank.filter(signal, at), second[at].numpy(), rtol=1e-6)


def test_trainable_poles_stay_inside_the_unit_circle():
    bank = FilterBank((1.0, 10.0), 0.1, trainable=True)
    with torch.no_grad():
        bank.logit += torch.tensor([-30.0, 30.0])
    assert ((1 - bank.leak).abs() < 1).all()
    assert [n for n, _ in FilterBank((1.0,), 0.1).named_parameters()] == []


def test_bad_banks_are_named():
    with pytest.raises(ConfigError, match="did you mean 'diagonal'"):
        FilterBank((1.0,), 0.1, "diagonl")
    with pytest.raises(ConfigError, match="all above 0"):
        FilterBank((1.0, 0.0), 0.1)
