"""Black-box circuits: sizes, a step by hand, states that a recording drives, bounded orbits."""

import numpy as np
import pytest
import torch
from neurotwin.contracts import DynamicsModel, ReadableModel
from neurotwin.errors import ConfigError
from neurotwin.models.latent import PLRNN, GRUCircuit
from torch.nn import functional as F

KINDS = [GRUCircuit, PLRNN]


def build(kind, **settings):
    torch.manual_seed(0)
    model = kind(2, 10_000.0, **settings)
    model.refer(torch.tensor([-48.0, -46.0]))
    model.fit_inputs(-48 + 5 * torch.randn(100, 2), torch.zeros(100, model.size))
    return model


@pytest.mark.parametrize(("kind", "count"), [(GRUCircuit, 3952), (PLRNN, 3970)])
def test_they_are_as_large_as_the_mechanistic_model(kind, count):
    model = build(kind)
    assert sum(p.numel() for p in model.parameters()) == count
    assert isinstance(model, DynamicsModel)
    assert not isinstance(model, ReadableModel)


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_by_hand(kind):
    model = build(kind, size=3)
    voltage, x, injected = torch.tensor([[-50.0, -40.0]]), torch.randn(1, 3), torch.tensor([[[0.1, -0.2]]])
    teacher = torch.tensor([[[-42.0, -44.0]]])
    run, after = model.rollout(voltage, x, injected, teacher, 0.25)
    forced = torch.tensor([[-48.0, -41.0]])
    s = (forced - model.centre_mv) / model.spread_mv
    out = model.readout(torch.cat([s, x], dim=1))
    expected = forced + 0.1 * F.softplus(model.inverse_capacitance) * (injected[:, 0] - out)
    torch.testing.assert_close(run[:, 0], expected)
    torch.testing.assert_close(after, model.advance(x, s))
    torch.testing.assert_close(model.current(forced, x)["total"], out)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("forcing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_the_compiled_run_is_the_plain_one(kind, forcing, precision):
    model = build(kind).to(precision)
    generator = torch.Generator().manual_seed(1)
    voltage, teacher = (-48 + 5 * torch.randn(3, *n, 2, generator=generator).to(precision) for n in ([], [200]))
    x, injected = (torch.randn(3, *n, generator=generator).to(precision) for n in ([model.size], [200, 2]))
    expected, end = model.plain_rollout(voltage, x, injected, teacher, forcing)
    with torch.no_grad():
        run, last = model.rollout(voltage, x, injected, teacher, forcing)
        half, middle = model.rollout(voltage, x, injected[:, :77], teacher[:, :77], forcing)
    tolerance = {"atol": 1e-3, "rtol": 1e-4} if precision == torch.float32 else {"atol": 1e-10, "rtol": 1e-10}
    torch.testing.assert_close(run, expected.detach(), **tolerance)
    torch.testing.assert_close(last, end.detach(), **tolerance)
    torch.testing.assert_close(half, run[:, :77])
    assert middle.shape == last.shape
    assert run.dtype == precision


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_through_torch(kind):
    model = build(kind)
    run, _ = model.rollout(torch.full((1, 2), -48.0), torch.zeros(1, model.size), torch.zeros(1, 5, 2))
    run.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_drives_the_states_that_a_forced_run_reaches(kind):
    """Before the recording its first sample holds, for 300 steps."""
    model = build(kind, size=4, run_in_ms=30.0)
    voltage = -48 + 5 * np.sin(np.arange(600) / 40)[:, None] * np.ones((1, 2))
    at = np.array([590, 0, 17])
    states = model.warm_up(voltage, at)
    teacher = torch.from_numpy(voltage.astype(np.float32))
    for k, sample in enumerate(at):
        start = torch.cat([teacher[:1].expand(300, -1), teacher[:sample]])[None]
        _, end = model.rollout(start[:, 0], torch.zeros(1, 4), torch.zeros_like(start), start, 1.0)
        torch.testing.assert_close(states[k : k + 1], end.detach(), atol=1e-4, rtol=1e-3)


def test_time_constants_start_spread():
    model = build(GRUCircuit)
    kept = torch.sigmoid(model.cell.bias_ih[34:68] + model.cell.bias_hh[34:68])
    times = -0.1 / torch.log(kept)
    torch.testing.assert_close(times[[0, -1]], torch.tensor([0.5, 1000.0]), rtol=1e-2, atol=0)


def test_a_plrnn_stays_bounded():
    model = build(PLRNN)
    x = 1e3 * torch.ones(1, 32)
    with torch.no_grad():
        model.decay.clamp_(max=2.0)
        for _ in range(300):
            x = model.advance(x, torch.zeros(1, 2))
        bound = (model.first.abs() @ model.shift.abs() + model.bias.abs()) / (1 - torch.sigmoid(model.decay))
    assert (x[0].abs() <= bound + 1e-3).all()


def test_errors_name_the_argument():
    with pytest.raises(ConfigError, match=r"model\.size=0"):
        GRUCircuit(2, 1e4, size=0)
    model = build(GRUCircuit)
    with pytest.raises(ConfigError, match="needs recorded voltages"):
        model.rollout(torch.zeros(1, 2), torch.zeros(1, 34), torch.zeros(1, 1, 2), forcing=0.1)
