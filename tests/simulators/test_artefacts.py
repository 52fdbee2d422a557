"""Each artefact looks like itself at the electrodes where it belongs, and is labelled where it is."""

import numpy as np
import pytest
from neurotwin.simulators import artefacts
from neurotwin.simulators.head import ELECTRODES
from neurotwin.simulators.seizure_script import draw_seizures
from scipy.signal import welch

RATE = 128
OPEN = np.zeros(120 * RATE, bool)


@pytest.fixture
def canvas():
    return artefacts.Canvas(np.zeros((19, 120 * RATE), np.float32), float(RATE))


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def channel(canvas, name):
    return canvas.signal[ELECTRODES.index(name)]


def test_blinks(canvas, rng):
    artefacts.blinks(rng, canvas, 15.0, OPEN)
    assert 15 <= len(canvas.events) <= 50
    assert 80 <= channel(canvas, "Fp1").max() <= 450  # two may coincide
    assert np.abs(channel(canvas, "O1")).max() < 5
    np.testing.assert_allclose(channel(canvas, "Fp1"), channel(canvas, "Fp2"), rtol=1e-4)
    outside = np.ones(120 * RATE, bool)
    for event in canvas.events:
        assert event.kind == "artefact-blink"
        assert 0.19 <= event.duration_s <= 0.41
        outside[round(event.onset_s * RATE) : round((event.onset_s + event.duration_s) * RATE)] = False
    assert not canvas.signal[:, outside].any()


def test_no_blink_with_closed_eyes(canvas, rng):
    artefacts.blinks(rng, canvas, 15.0, ~OPEN)
    artefacts.lateral_eye_movements(rng, canvas, 15.0, ~OPEN)
    assert not canvas.events
    assert not canvas.signal.any()


def test_lateral_eye_movements_have_opposite_signs(canvas, rng):
    artefacts.lateral_eye_movements(rng, canvas, 10.0, OPEN)
    np.testing.assert_allclose(channel(canvas, "F7"), -channel(canvas, "F8"), atol=1e-3)
    assert 30 <= np.abs(channel(canvas, "F8")).max() <= 200


@pytest.mark.parametrize("paint", [artefacts.muscle, artefacts.chewing])
def test_muscle_is_fast_and_temporal(canvas, rng, paint):
    paint(rng, canvas, 8.0)
    temporal, occipital = channel(canvas, "T4") + channel(canvas, "T3"), channel(canvas, "O1")
    hz, density = welch(temporal, RATE, nperseg=RATE)
    fast = density[(hz >= 20) & (hz < 58)].sum()
    assert temporal.std() > 10 * occipital.std()
    assert fast > 0.8 * density[hz > 8].sum()


def test_ictal_muscle_lies_in_the_seizure(canvas):
    seizure = draw_seizures(np.random.default_rng(0), 120.0, 1, 5)[0]
    for seed in range(4):
        artefacts.ictal_muscle(np.random.default_rng(seed), canvas, seizure)
    active = np.flatnonzero(canvas.signal.any(axis=0)) / RATE
    assert seizure.onset_s < active.min() < active.max() <= seizure.end_s + 0.02
    assert all(event.kind == "artefact-emg" for event in canvas.events)


def test_a_pop_is_one_electrode(canvas, rng):
    artefacts.pops(rng, canvas, 1.0)
    for event in canvas.events:
        start = round(event.onset_s * RATE)
        touched = np.flatnonzero(canvas.signal[:, start])
        assert len(touched) == 1
        assert 60 <= abs(canvas.signal[touched[0], start]) <= 300


def test_heart(canvas, rng):
    artefacts.heart(rng, canvas, 20.0, [])
    assert channel(canvas, "T3").max() > 8  # positive on the left, negative on the right
    assert channel(canvas, "T4").min() < -8
    beats = (np.diff((channel(canvas, "T3") > 5).astype(int)) == 1).sum()
    assert 0.9 * 120 <= beats <= 1.5 * 120
    assert canvas.events == [(0.0, 120.0, "artefact-ecg", None)]


def test_mains(canvas, rng):
    artefacts.mains(rng, canvas, 50.0, 2.0)
    hz, density = welch(canvas.signal, RATE, nperseg=RATE)
    assert (hz[density.argmax(axis=1)] == 50).all()


def test_no_mains_above_nyquist(rng):
    canvas = artefacts.Canvas(np.zeros((19, 1000), np.float32), 100.0)
    artefacts.mains(rng, canvas, 60.0, 2.0)
    assert not canvas.signal.any()


def test_flat_channel(canvas, rng):
    canvas.signal += 1.0
    artefacts.flat_channels(rng, canvas, 3.0)
    silent = (canvas.signal == 0).sum(axis=1) / RATE
    assert canvas.events
    assert silent.sum() == pytest.approx(sum(e.duration_s for e in canvas.events), abs=0.5 * len(canvas.events))


@pytest.mark.parametrize("paint", [artefacts.drifts, artefacts.rhythmic_movement])
def test_slow_artefacts_are_slow(canvas, rng, paint):
    paint(rng, canvas, 4.0)
    hz, density = welch(canvas.signal, RATE, nperseg=4 * RATE)
    assert density[:, hz < 8].sum() > 0.95 * density.sum()
    assert canvas.events
    assert max(e.onset_s + e.duration_s for e in canvas.events) <= 120.0
