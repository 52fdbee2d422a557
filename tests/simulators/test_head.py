"""The lead field against the series solution and against MNE's head with a skull."""

import mne
import numpy as np
import pytest
from neurotwin.datamodules.formats.montage import COMMON_AVERAGE
from neurotwin.simulators import head
from scipy.special import eval_legendre


def random_dipoles(n, eccentricity, seed=0):
    rng = np.random.default_rng(seed)
    positions = rng.standard_normal((n, 3))
    positions[:, 2] = np.abs(positions[:, 2])
    positions *= eccentricity / np.linalg.norm(positions, axis=1, keepdims=True)
    moments = rng.standard_normal((n, 3))
    return positions, moments / np.linalg.norm(moments, axis=1, keepdims=True)


def test_electrodes():
    positions = dict(zip(head.ELECTRODES, head.electrode_positions(), strict=True))
    assert COMMON_AVERAGE.channel_names == head.ELECTRODES
    np.testing.assert_allclose(np.linalg.norm(list(positions.values()), axis=1), 1.0)
    np.testing.assert_allclose(positions["Cz"], [0, 0, 1], atol=1e-12)
    for left, right in (("Fp1", "Fp2"), ("F7", "F8"), ("T3", "T4"), ("C3", "C4"), ("O1", "O2")):
        np.testing.assert_allclose(positions[left] * [-1, 1, 1], positions[right], atol=1e-12)
        assert positions[left][0] < 0
    assert positions["Fp1"][1] > 0.9 > -0.9 > positions["O1"][1]


def test_closed_form_equals_the_series():
    """V = q · ∇0 Σ (2n+1)/n |r0|^n P_n(cos) / (4 π σ R²), with a numerical gradient."""
    positions, moments = random_dipoles(4, 0.5)
    electrodes = head.electrode_positions()

    def potential(point):
        radius = np.linalg.norm(point)
        cosine = electrodes @ point / radius
        series = sum((2 * n + 1) / n * radius**n * eval_legendre(n, cosine) for n in range(1, 80))
        return series / (4 * np.pi * head.CONDUCTIVITY_S_M * head.HEAD_RADIUS_M**2)

    step = 1e-5
    expected = [
        sum(q[i] * (potential(p + step * e) - potential(p - step * e)) / (2 * step) for i, e in enumerate(np.eye(3)))
        for p, q in zip(positions, moments, strict=True)
    ]
    np.testing.assert_allclose(head.sphere_potential(electrodes, positions, moments), np.transpose(expected), rtol=1e-6)


def test_the_skull_as_in_a_four_shell_head():
    positions, orientations = random_dipoles(20, head.CORTEX)
    sphere = mne.make_sphere_model((0, 0, 0), head.HEAD_RADIUS_M, verbose="error")
    info = mne.create_info(list(head.ELECTRODES), 128, "eeg")
    sensors = dict(zip(head.ELECTRODES, head.electrode_positions() * head.HEAD_RADIUS_M, strict=True))
    info.set_montage(mne.channels.make_dig_montage(sensors, coord_frame="head"))
    grid = {"rr": positions * head.HEAD_RADIUS_M, "nn": orientations}
    space = mne.setup_volume_source_space(pos=grid, sphere=(0, 0, 0, 0.09), mindist=0, verbose="error")
    forward = mne.make_forward_solution(info, None, space, sphere, meg=False, mindist=0, verbose="error")
    expected = (forward["sol"]["data"].reshape(19, -1, 3) * orientations).sum(axis=-1)
    expected -= expected.mean(axis=0)
    ours = head.lead_field(positions, orientations)
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(ours.T, expected.T, strict=True)]
    assert min(alike) > 0.93
    assert np.linalg.norm(ours) == pytest.approx(np.linalg.norm(expected), rel=0.25)


def test_bump_is_one_at_its_centre():
    weights = head.bump(head.electrode_positions()[4], 0.5)
    assert weights.argmax() == 4
    assert weights[4] == pytest.approx(1.0)
    assert weights[head.ELECTRODES.index("Fp2")] < 1e-3
