"""Scalp EEG of people with epilepsy, with the truth about every seizure, spike and artefact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d
from scipy.signal import butter, sosfilt

from ..biophysics import neural_mass
from ..contracts import Event, Recording
from ..errors import ConfigError
from .artefacts import Canvas, add_artefacts
from .background import simulate_background
from .head import ELECTRODES, lead_field
from .mimics import add_mimics
from .noise import slow
from .seizure_script import LONGEST_S, STATES, Seizure, draw_seizures, gain_course, states
from .subject import Subject, draw_subject, knobs

Array = NDArray[np.floating]

#: Standard deviation of a mass in the rhythmic phase, mV: what `Subject.ictal_uv` corresponds to.
_RHYTHM_MV = 5.0
#: Network coupling: rate that a mass receives per unit mean rate of its neighbours; the mirror region gets a fifth.
_COUPLING, _COUPLING_ACROSS = 8.0, 1.6
#: Corner of the amplifier's high-pass filter, Hz.
_HIGH_PASS_HZ = 0.5
#: Potential that counts as an epileptic spike of the focus, mV.
_SPIKE_MV = 5.0


@dataclass(frozen=True)
class EEGSimulator:
    """Recordings of simulated people, each with a brain, a seizure focus and an amplifier of their own.

    Sources are Wendling neural masses (:mod:`..biophysics.neural_mass`) for the epileptic network and coloured noise
    for the healthy cortex, seen by 19 electrodes through a spherical head (:mod:`.head`), with artefacts on top
    (:mod:`.artefacts`). The same seed gives the same bits on one machine.

    Args:
        minutes: Length of a recording.
        seizures: Seizures in a recording.
        difficulty: From 0 (large seizures, few artefacts) to 1 (small ones among artefacts and seizure-like rhythms);
            see :func:`.subject.knobs`.
        sampling_rate_hz: Samples per second.
        longest_seizure_s: Cuts the durations, to shorten demonstrations.
        clip_uv: Range of the amplifier; CHB-MIT clips at 800.

    Example:
        >>> recording = EEGSimulator(minutes=2, seizures=1).record(np.random.SeedSequence(0), "sub-01")
        >>> recording.signal.shape
        (19, 15360)
    """

    minutes: float = 5.0
    seizures: int = 1
    difficulty: float = 0.5
    sampling_rate_hz: float = 128.0
    longest_seizure_s: float = LONGEST_S
    clip_uv: float = 800.0

    def __post_init__(self) -> None:
        if self.sampling_rate_hz < 100:
            raise ConfigError(
                f"sampling_rate_hz={self.sampling_rate_hz:g}: the simulator needs at least 100 Hz to show muscle"
            )
        if self.minutes <= 0 or self.seizures < 0:
            raise ConfigError(f"minutes={self.minutes:g}, seizures={self.seizures}: neither may be negative or empty")
        knobs(self.difficulty)

    def cohort(self, n_subjects: int, data_seed: int = 0) -> list[Recording]:
        """One recording for each of ``n_subjects`` people; the first ones stay the same when more are asked for."""
        seeds = np.random.SeedSequence(data_seed).spawn(n_subjects)
        return [self.record(seed, f"sub-{i:02d}") for i, seed in enumerate(seeds, start=1)]

    def record(self, seed: np.random.SeedSequence | int, name: str = "sub-01") -> Recording:
        """Simulate one person.

        Args:
            seed: Decides everything; each part of the simulation has a stream of its own below it.
            name: Subject, group and recording.

        Returns:
            Signal in µV. Events: seizures (``sz_foc``, or ``sz_foc_f2b`` where they reach the other hemisphere),
            ``preictal``, ``postictal``, ``spike``, ``eyes-closed``, ``artefact-…`` and ``mimic-…``.
            ``metadata["subject"]`` holds the person's :class:`~.subject.Subject`.
        """
        seed = np.random.SeedSequence(seed) if isinstance(seed, int) else seed
        # Children by key instead of spawn(): a second call with the same sequence gives the same person.
        streams = [
            np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, part)))
            for part in range(7)
        ]
        people, script, masses, background, mimicry, artefact, amplifier = streams
        rate, setting = self.sampling_rate_hz, knobs(self.difficulty)
        n_samples = round(self.minutes * 60 * rate)
        subject = draw_subject(people, setting)
        seizures = draw_seizures(script, n_samples / rate, self.seizures, setting.focus_size, self.longest_seizure_s)
        state = states(seizures, n_samples, rate)

        healthy = simulate_background(background, subject, seizures, n_samples, rate)
        canvas = Canvas(healthy.signal, rate)
        epileptic, spikes = _epileptic_activity(script, masses, subject, seizures, state, rate)
        canvas.signal += epileptic
        add_mimics(mimicry, canvas, state, setting.mimics_per_min, subject.gain)
        add_artefacts(artefact, canvas, subject, seizures, healthy.eyes_closed, setting.artefact_rate)

        events = [*_script_events(seizures), *spikes, *_runs(healthy.eyes_closed, rate, "eyes-closed"), *canvas.events]
        return Recording(
            signal=self._amplify(amplifier, canvas.signal, subject),
            sampling_rate_hz=rate,
            channel_names=ELECTRODES,
            name=name,
            subject=name,
            group=name,
            events=sorted(events),
            metadata={"subject": subject, "montage": "common average"},
        )

    def _amplify(self, rng: np.random.Generator, potential: Array, subject: Subject) -> NDArray[np.float32]:
        """Add sensor noise, filter, clip, and refer to the common average; float32, µV."""
        noise = rng.standard_normal(potential.shape, dtype=np.float32)
        signal = _high_pass(potential + np.float32(subject.sensor_uv) * noise, self.sampling_rate_hz)
        np.clip(signal, -self.clip_uv, self.clip_uv, out=signal)
        return signal - signal.mean(axis=0)


def sample_states(recording: Recording) -> NDArray[np.int8]:
    """State of the brain at every sample as an index into :data:`STATES`, ``(time,)``."""
    codes = np.zeros(recording.signal.shape[1], np.int8)
    for event in recording.events:
        kind = "ictal" if event.kind.startswith("sz") else event.kind
        if kind in STATES:
            edges = (event.onset_s, event.onset_s + event.duration_s)
            start, end = (round(edge * recording.sampling_rate_hz) for edge in edges)
            codes[start:end] = STATES.index(kind)
    return codes


def _epileptic_activity(
    script: np.random.Generator,
    drive: np.random.Generator,
    subject: Subject,
    seizures: list[Seizure],
    state: NDArray[np.int8],
    rate: float,
) -> tuple[Array, list[Event]]:
    """Potential of the epileptic network, ``(19, time)``, µV, and the spikes of its focus."""
    n_masses, n_samples = len(subject.network_positions), len(state)
    gains = gain_course(script, seizures, n_masses, n_samples, rate, subject.spikes_per_min, subject.ictal_speed)
    coupling = np.full((n_masses, n_masses), _COUPLING)
    n_near = n_masses - n_masses // 3
    coupling[n_near:, :n_near] = coupling[:n_near, n_near:] = _COUPLING_ACROSS
    np.fill_diagonal(coupling, 0.0)
    # The masses settle before the recording begins.
    settle = round(2 * rate)
    gains = np.pad(gains, ((0, 0), (0, 0), (settle, 0)), mode="edge")
    potential = neural_mass.simulate(gains, rate, drive, coupling / max(1, n_masses - 1), subject.ictal_speed)
    spikes = _find_spikes(potential[0, settle:], state, rate)
    potential = _high_pass(potential, rate)[:, settle:]
    for mass in range(n_masses):
        # The number of columns in step with each other waxes and wanes.
        potential[mass] *= np.exp(0.25 * slow(script, n_samples, rate, 0.3))
    field = lead_field(subject.network_positions, subject.network_orientations)
    field *= subject.ictal_uv * subject.gain / (_RHYTHM_MV * np.abs(field.sum(axis=1)).max())
    return field.astype(np.float32) @ potential, spikes


def _find_spikes(focus: Array, state: NDArray[np.int8], rate: float) -> list[Event]:
    """Discharges of the focal mass away from seizures: where its potential exceeds :data:`_SPIKE_MV`."""
    # The last discharge of a seizure may end after its label: a second of margin keeps it from being a spike.
    ictal = maximum_filter1d((state == STATES.index("ictal")).view(np.int8), 2 * round(rate) + 1) > 0
    active = (np.abs(focus) > _SPIKE_MV) & ~ictal
    edges = np.flatnonzero(np.diff(np.concatenate([[0], active.view(np.int8), [0]])))
    events: list[Event] = []
    for start, end in zip(edges[::2] / rate, edges[1::2] / rate, strict=True):
        if events and start - (events[-1].onset_s + events[-1].duration_s) < 0.15:
            events[-1] = events[-1]._replace(duration_s=float(end - events[-1].onset_s))
        else:
            events.append(Event(float(start), float(end - start), "spike"))
    return events


def _high_pass(signal: Array, rate: float) -> Array:
    """Causal second-order high-pass as in an amplifier, along the last axis."""
    return sosfilt(butter(2, _HIGH_PASS_HZ, "highpass", fs=rate, output="sos"), signal, axis=-1).astype(np.float32)


def _script_events(seizures: list[Seizure]) -> list[Event]:
    events = []
    for s in seizures:
        n_mirror = len(s.delays_s) // 3
        generalises = n_mirror > 0 and bool(np.isfinite(s.delays_s[-n_mirror:]).any())
        events += [
            Event(s.onset_s - s.preictal_s, s.preictal_s, "preictal"),
            Event(s.onset_s, s.duration_s, "sz_foc_f2b" if generalises else "sz_foc"),
            Event(s.end_s, s.postictal_s, "postictal"),
        ]
    return events


def _runs(mask: NDArray[np.bool_], rate: float, kind: str) -> list[Event]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.view(np.int8), [0]])))
    return [Event(float(a / rate), float((b - a) / rate), kind) for a, b in zip(edges[::2], edges[1::2], strict=True)]
