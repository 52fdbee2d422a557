"""A simulated recording has the statistics of scalp EEG, its labels are true, and a seed gives it again."""

import numpy as np
import pytest
from neurotwin.errors import ConfigError
from neurotwin.simulators.eeg import EEGSimulator, sample_states
from neurotwin.simulators.head import ELECTRODES
from neurotwin.simulators.mimics import VARIANTS
from neurotwin.simulators.subject import knobs
from scipy.signal import welch

RATE, WINDOW = 128, 512


@pytest.fixture(scope="module")
def cohort():
    return EEGSimulator(minutes=5, seizures=1).cohort(16, data_seed=0)


@pytest.fixture(scope="module")
def easy():
    return EEGSimulator(minutes=5, seizures=1, difficulty=0.2).cohort(10, data_seed=0)


def windows(recording):
    """Signal ``(channel, window, time)`` and masks of the windows that lie wholly in one state."""
    n = recording.signal.shape[1] // WINDOW
    state = sample_states(recording)[: n * WINDOW].reshape(n, WINDOW)
    pure = {code: (state == code).all(axis=1) for code in range(4)}
    return recording.signal[:, : n * WINDOW].reshape(len(recording.signal), n, WINDOW), pure


def line_length_ratio(recording):
    """Of the most involved electrode."""
    signal, pure = windows(recording)
    length = np.abs(np.diff(signal)).mean(axis=-1)
    return (np.median(length[:, pure[2]], axis=1) / np.median(length[:, pure[0]], axis=1)).max()


def test_alpha_is_posterior_and_follows_the_eyes(cohort):
    posterior, frontal = [], []
    for recording in cohort:
        closed = np.zeros(recording.signal.shape[1], bool)
        for event in recording.events:
            if event.kind == "eyes-closed":
                start = round((event.onset_s + 1) * RATE)
                closed[start : round((event.onset_s + event.duration_s) * RATE)] = True
        rest = sample_states(recording) == 0
        powers = []
        for mask in (closed & rest, ~closed & rest):
            hz, density = welch(recording.signal[:, mask], RATE, nperseg=2 * RATE)
            powers.append(density[:, (hz >= 8) & (hz <= 12.5)].sum(axis=1))
        ratio = dict(zip(ELECTRODES, powers[0] / powers[1], strict=True))
        posterior.append((ratio["O1"] + ratio["O2"]) / 2)
        frontal.append((ratio["F3"] + ratio["F4"]) / 2)
    assert 3 < np.median(posterior) < 15
    assert np.mean(posterior) > 1.5 * np.mean(frontal)


def test_background_is_one_over_f(cohort):
    slopes = []
    for recording in cohort:
        hz, density = welch(recording.signal[:, sample_states(recording) == 0], RATE, nperseg=WINDOW)
        band = ((hz >= 2) & (hz <= 7)) | ((hz >= 14) & (hz <= 35))
        slopes.append(-np.polyfit(np.log(hz[band]), np.log(np.median(density, axis=0)[band]), 1)[0])
    assert 1.5 < np.median(slopes) < 2.3
    assert min(slopes) > 1.0
    assert max(slopes) < 3.2


def test_amplitudes(cohort):
    background, ictal = [], []
    for recording in cohort:
        signal, pure = windows(recording)
        background.append(np.median(np.ptp(signal[:, pure[0]], axis=-1)))
        ictal.append(np.median(np.ptp(signal[:, pure[2]], axis=-1), axis=1).max())
        assert np.abs(recording.signal).max() <= 1600  # two channels at the rails
        np.testing.assert_allclose(recording.signal.mean(axis=0), 0, atol=1e-2)
    assert 40 < np.median(background) < 140  # within 4 s, peak to peak: three to five deviations of 10-30 µV
    assert 100 < np.median(ictal) < 800


def test_line_length_rises_in_seizures_as_in_bonn(easy, cohort):
    assert 3 < np.median([line_length_ratio(recording) for recording in easy]) < 8
    assert 2 < np.median([line_length_ratio(recording) for recording in cohort]) < 6


def test_ictal_to_postictal_deviation_as_in_chbmit(cohort):
    ratios = []
    for recording in cohort:
        signal, pure = windows(recording)
        deviation = signal.std(axis=-1)
        ratios.append(np.median(deviation[:, pure[2]], axis=1).mean() / np.median(deviation[:, pure[3]], axis=1).mean())
    inside = [0.7 <= ratio <= 2.7 for ratio in ratios]
    assert np.mean(inside) >= 0.75


def test_seizures_are_rhythmic_and_slow_down(easy):
    early, late = [], []
    for recording in easy:
        seizure = next(e for e in recording.events if e.kind.startswith("sz"))
        signal, pure = windows(recording)
        worst = np.median(signal[:, pure[2]].std(axis=-1), axis=1).argmax()
        for share, peaks in (((0.15, 0.45), early), ((0.65, 1.0), late)):
            first, last = (round((seizure.onset_s + s * seizure.duration_s) * RATE) for s in share)
            hz, density = welch(recording.signal[worst, first:last], RATE, nperseg=2 * RATE)
            band = (hz >= 1) & (hz <= 20)
            peaks.append((hz[band] * density[band]).sum() / density[band].sum())
    assert np.median(late) < np.median(early)
    assert 2 < np.median(late) < 8


def test_labels(cohort):
    kinds = {event.kind for recording in cohort for event in recording.events}
    assert kinds >= {"preictal", "postictal", "spike", "eyes-closed", *VARIANTS, "artefact-ecg", "artefact-mains"}
    assert kinds >= {f"artefact-{name}" for name in ("blink", "eye-movement", "emg", "chewing", "pop", "drift", "flat")}
    assert kinds & {"sz_foc", "sz_foc_f2b"}
    for recording in cohort:
        assert recording.events == sorted(recording.events)
        assert sum(event.kind.startswith("sz") for event in recording.events) == 1
        for event in recording.events:
            assert event.onset_s >= 0
            assert event.onset_s + event.duration_s <= recording.duration_s + 1e-6


def test_spike_labels_mark_the_discharges_of_the_focus(easy):
    """Near a labelled spike the most involved electrode deviates more than elsewhere between seizures."""
    gains = []
    for recording in easy:
        rest = sample_states(recording) == 0
        near = np.zeros_like(rest)
        for event in recording.events:
            if event.kind == "spike":
                near[round(event.onset_s * RATE) : round((event.onset_s + event.duration_s + 0.1) * RATE)] = True
        if (near & rest).sum() > 20:
            gains.append((recording.signal[:, near & rest].std(1) / recording.signal[:, ~near & rest].std(1)).max())
    assert len(gains) >= 4
    assert np.median(gains) > 2


def test_a_seed_gives_the_same_bits_and_people_are_independent():
    simulator = EEGSimulator(minutes=1, seizures=1)
    first, again = simulator.cohort(2, data_seed=5), simulator.cohort(3, data_seed=5)
    for one, two in zip(first, again, strict=False):
        np.testing.assert_array_equal(one.signal, two.signal)
        assert one.events == two.events
    assert again[2].name == "sub-03"
    assert not np.array_equal(first[0].signal, first[1].signal)
    assert not np.array_equal(first[0].signal, simulator.cohort(1, data_seed=6)[0].signal)
    sequence = np.random.SeedSequence(9)
    np.testing.assert_array_equal(simulator.record(sequence).signal, simulator.record(sequence).signal)
    np.testing.assert_array_equal(simulator.record(9).signal, simulator.record(sequence).signal)


def test_no_seizure_and_another_rate():
    recording = EEGSimulator(minutes=0.5, seizures=0, sampling_rate_hz=256).record(0)
    assert recording.signal.shape == (19, 30 * 256)
    assert recording.signal.dtype == np.float32
    assert not sample_states(recording).any()


def test_difficulty_moves_every_knob():
    easy, hard = knobs(0.0), knobs(1.0)
    assert easy.ictal_gain > 4 * hard.ictal_gain
    assert easy.focus_size > hard.focus_size
    assert hard.artefact_rate > 4 * easy.artefact_rate
    assert hard.mimics_per_min > easy.mimics_per_min == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"difficulty": 1.5}, r"difficulty=1.5: must lie between 0"),
        ({"sampling_rate_hz": 64.0}, r"sampling_rate_hz=64: the simulator needs at least 100 Hz"),
        ({"minutes": 0.0}, r"minutes=0, seizures=1: neither may be negative or empty"),
    ],
)
def test_settings_are_checked(arguments, message):
    with pytest.raises(ConfigError, match=message):
        EEGSimulator(**arguments)
