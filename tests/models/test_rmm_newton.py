"""Runs solved for all times at once: the values and gradients of stepping, and an error where they do not converge."""

import pytest
import torch
from neurotwin.errors import NeurotwinError
from neurotwin.models.rmm_newton import _scan, newton_rollout, solve
from neurotwin.models.rmm_rollout import plain_rollout
from test_rmm import double, inputs, model  # noqa: F401


@pytest.mark.parametrize("synapse", ["lumped", "mechanistic", "hammerstein"])
@pytest.mark.parametrize("forcing", [0.0, 0.2, 1.0])
def test_values_and_gradients_are_those_of_stepping(synapse, forcing, double):  # noqa: F811
    built = model(synapse=synapse, trainable_filters=synapse == "lumped")
    voltage, hidden, injected, teacher = inputs(built, 3, 25)
    leaves = [voltage.requires_grad_(), hidden.requires_grad_(), *(p for p in built.parameters() if p.requires_grad)]
    weights = torch.randn(3, 25, 2), torch.randn(3, hidden.shape[1])
    found = []
    for run in (plain_rollout, newton_rollout):
        out, end = run(built, voltage, hidden, injected, teacher, forcing)
        loss = (weights[0] * out).sum() + (weights[1] * end / built.hidden_scale).sum()
        found.append((out.detach(), end.detach(), torch.autograd.grad(loss, leaves)))
    for plain, newton in zip(found[0][:2], found[1][:2], strict=True):
        torch.testing.assert_close(newton, plain, atol=1e-8, rtol=1e-9)
    for plain, newton in zip(found[0][2], found[1][2], strict=True):
        torch.testing.assert_close(newton, plain, atol=1e-8, rtol=1e-7)


def test_it_converges_quadratically_not_step_by_step(double):  # noqa: F811
    built = model()
    voltage, hidden, injected, _ = inputs(built, 2, 200)
    teacher, _ = plain_rollout(built, voltage, hidden, injected, None, 0.0)
    found = solve(built, voltage, hidden, injected, teacher.detach() + 0.1, 0.2)
    assert found.iterations <= 5


def test_a_scan_is_the_recursion(double):  # noqa: F811
    change, inputs_ = 0.1 * torch.randn(4, 4) - 0.2 * torch.eye(4), torch.randn(2, 13, 4)
    y, expected = torch.zeros(2, 4), []
    for t in range(13):
        y = y + y @ change.T + inputs_[:, t]
        expected.append(y)
    torch.testing.assert_close(_scan(change, inputs_), torch.stack(expected, dim=1))


def test_what_does_not_converge_is_an_error(double):  # noqa: F811
    built = model()
    with torch.no_grad():
        built.inverse_capacitance.fill_(4000.0)  # the Euler step overshoots
    voltage, hidden, injected, teacher = inputs(built, 2, 100)
    with pytest.raises(NeurotwinError, match=r"did not converge.*solver=steps"):
        built.parallel_rollout(voltage, hidden, injected, teacher, 0.0)
