"""Calibration of posteriors: closed forms must pass, posteriors that are too narrow or shifted must not."""

import numpy as np
import pytest
from neurotwin.metrics.posterior_scores import (
    coverage_curve,
    posterior_scores,
    ranks,
    relative_errors,
    tarp_ranks,
    uniform_p,
)


def normal_problem(factor=1.0, shift=0.0, items=600, n_samples=99):
    """Prior N(0, 1), reading N(theta, 1): the posterior is N(x/2, 1/2); its width times ``factor``."""
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((items, 2))
    seen = truth + rng.standard_normal((items, 2))
    centre, sd = seen / 2 + shift, factor / np.sqrt(2)
    samples = centre + sd * rng.standard_normal((n_samples, items, 2))
    low, high = np.quantile(samples, [0.05, 0.95], axis=0, method="weibull")
    nll = (0.5 * ((truth - centre) / sd) ** 2 + np.log(sd * np.sqrt(2 * np.pi))).sum(1)
    tarp = tarp_ranks(samples, truth, rng.standard_normal((items, 2)))
    return posterior_scores(ranks(samples, truth), tarp, n_samples, low, high, truth, nll)


def test_the_exact_posterior_passes():
    found = normal_problem()
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.02)
    assert found["sbc_p_lowest"] > 0.05
    assert found["tarp_p"] > 0.05
    assert found["tarp_gap"] < 0.07
    assert found["nll"] == pytest.approx(2 * 0.5 * np.log(2 * np.pi * np.e * 0.5), abs=0.05)


@pytest.mark.parametrize("wrong", [{"factor": 0.5}, {"factor": 2.0}, {"shift": 0.4}])
def test_wrong_posteriors_are_found_out_and_cost_more(wrong):
    found, exact = normal_problem(**wrong), normal_problem()
    assert found["sbc_rejected"] == 1
    assert found["sbc_p_lowest"] < 1e-3
    assert found["nll"] > exact["nll"]
    if "factor" in wrong:
        assert found["tarp_gap"] > 0.08
        assert abs(found["coverage_90"] - 0.9) > 0.05


def test_ranks_and_errors_by_hand():
    samples = np.array([[[0.0]], [[1.0]], [[3.0]]])
    assert ranks(samples, np.array([[2.0]])).tolist() == [[2]]
    assert tarp_ranks(samples, np.array([[2.0]]), np.array([[0.5]])).tolist() == [2]
    names, truth = ["g_K", "m_half", "g_L"], np.array([[1.0, 5.0, 2.0]] * 3)
    found = relative_errors(np.array([[1.1, 0.0, 2.0], [0.8, 0.0, 2.0], [1.5, 0.0, 2.0]]), truth, names)
    assert found == pytest.approx({"error_conductances": 0.1, "error_g_K": 0.2, "error_g_L": 0.0})
    assert relative_errors(truth, truth, ["a", "b", "c"]) == {}


def test_uniform_ranks_lie_on_the_diagonal():
    even = np.repeat(np.arange(10), 50)
    credibility, covered = coverage_curve(even, 9)
    assert np.abs(credibility - covered).max() < 0.06
    assert uniform_p(even, 9) > 0.5
    assert uniform_p(even // 2, 9) < 1e-6
