"""What scalp electrodes record besides the brain: eyes, muscles, heart, movement, bad contacts and the power line."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from ..contracts import Event
from .head import ELECTRODES, bump, electrode_positions
from .noise import slow
from .seizure_script import Seizure
from .subject import Subject

Array = NDArray[np.floating]

_FP1, _FP2, _F7, _F8, _T3, _T4 = (ELECTRODES.index(name) for name in ("Fp1", "Fp2", "F7", "F8", "T3", "T4"))
#: Muscle noise starts at this frequency and reaches up to 60 Hz or 90 % of the Nyquist frequency.
_EMG_LOW_HZ, _EMG_HIGH_HZ = 20.0, 60.0


@dataclass
class Canvas:
    """A recording that artefacts are painted on.

    Attributes:
        signal: Potential of each electrode, ``(19, time)``, µV; changed in place.
        sampling_rate_hz: Samples per second.
        events: One entry for each artefact, kinds ``artefact-blink``, ``artefact-emg``, ….
    """

    signal: NDArray[np.float32]
    sampling_rate_hz: float
    events: list[Event] = field(default_factory=list)

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.signal.shape[1] / self.sampling_rate_hz

    def paint(self, onset_s: float, waveform: Array, weights: Array, kind: str | None) -> None:
        """Add ``weights ⊗ waveform`` from ``onset_s`` on, cut at the end of the recording, and label it."""
        start = max(0, round(onset_s * self.sampling_rate_hz))
        part = waveform[: max(0, self.signal.shape[1] - start)]
        touched = np.flatnonzero(np.abs(weights) > 1e-3)
        self.signal[touched, start : start + len(part)] += np.outer(weights[touched], part).astype(np.float32)
        if kind is not None and len(part):
            self.events.append(Event(start / self.sampling_rate_hz, len(part) / self.sampling_rate_hz, kind))

    def seconds(self, duration_s: float) -> Array:
        """Sample times from 0 up to a duration, s."""
        return np.arange(max(1, round(duration_s * self.sampling_rate_hz))) / self.sampling_rate_hz

    def times(self, rng: np.random.Generator, per_min: float) -> Array:
        """Poisson event times, s."""
        return np.sort(rng.uniform(0.0, self.duration_s, rng.poisson(per_min * self.duration_s / 60.0)))


def add_artefacts(
    rng: np.random.Generator,
    canvas: Canvas,
    subject: Subject,
    seizures: list[Seizure],
    eyes_closed: NDArray[np.bool_],
    rate: float,
) -> None:
    """Paint every kind of artefact; ``rate`` multiplies how often each happens (blinks and heart beats excepted)."""
    blinks(rng, canvas, subject.blinks_per_min, eyes_closed)
    lateral_eye_movements(rng, canvas, 4.0 * rate, eyes_closed)
    muscle(rng, canvas, 1.5 * rate)
    chewing(rng, canvas, 0.4 * rate)
    pops(rng, canvas, 0.5 * rate)
    drifts(rng, canvas, 0.4 * rate)
    rhythmic_movement(rng, canvas, 0.5 * rate)
    for seizure in seizures:
        ictal_muscle(rng, canvas, seizure)
    heart(rng, canvas, subject.ecg_uv, seizures)
    mains(rng, canvas, subject.mains_hz, subject.mains_uv)
    flat_channels(rng, canvas, 0.06 * rate)


def blinks(rng: np.random.Generator, canvas: Canvas, per_min: float, eyes_closed: NDArray[np.bool_]) -> None:
    """Positive frontopolar waves of 100-300 µV and 0.2-0.4 s while the eyes are open."""
    weights = bump(np.array([0.0, 1.0, -0.25]), 0.7)
    weights /= weights[_FP1]
    typical = rng.uniform(100.0, 220.0)
    for onset in canvas.times(rng, per_min):
        if eyes_closed[int(onset * canvas.sampling_rate_hz)]:
            continue
        duration = rng.uniform(0.2, 0.4)
        phase = canvas.seconds(duration) / duration
        height = np.clip(typical * rng.lognormal(0.0, 0.25), 80.0, 300.0)
        # Lids close faster than they open.
        canvas.paint(onset, height * np.sin(np.pi * phase**0.75) ** 2, weights, "artefact-blink")


def lateral_eye_movements(
    rng: np.random.Generator, canvas: Canvas, per_min: float, eyes_closed: NDArray[np.bool_]
) -> None:
    """Saccades: steps of opposite sign at F7 and F8 that decay with the time constant of the amplifier."""
    positions = electrode_positions()
    weights = positions[:, 0] * bump(np.array([0.0, 1.0, -0.2]), 0.9)
    weights /= weights[_F8]
    for onset in canvas.times(rng, per_min):
        if eyes_closed[int(onset * canvas.sampling_rate_hz)]:
            continue
        time = canvas.seconds(rng.uniform(0.3, 1.2))
        wave = np.minimum(1.0, time / 0.05) * np.exp(-time / 0.6)
        canvas.paint(onset, rng.choice([-1, 1]) * rng.uniform(30.0, 100.0) * wave, weights, "artefact-eye-movement")


def muscle(rng: np.random.Generator, canvas: Canvas, per_min: float) -> None:
    """Bursts of temporalis or frontalis muscle, 20-60 Hz, 10-100 µV, 1-8 s."""
    for onset in canvas.times(rng, per_min):
        duration = rng.uniform(1.0, 8.0)
        time = canvas.seconds(duration)
        envelope = np.sin(np.pi * time / duration) * np.exp(rng.uniform(np.log(8.0), np.log(60.0)))
        envelope *= np.exp(0.5 * slow(rng, len(time), canvas.sampling_rate_hz, 1.5))
        _paint_muscle(rng, canvas, onset, envelope, rng.choice(["left", "right", "both", "front"]), "artefact-emg")


def chewing(rng: np.random.Generator, canvas: Canvas, per_min: float) -> None:
    """Trains of bilateral muscle bursts at 1-2 Hz over a slow jaw movement: rhythmic, but no seizure."""
    for onset in canvas.times(rng, per_min):
        time = canvas.seconds(rng.uniform(4.0, 15.0))
        cycles = rng.uniform(1.0, 2.0) * time + 0.05 * np.sin(2 * np.pi * 0.3 * time)
        bite = np.maximum(0.0, np.sin(2 * np.pi * cycles)) ** 2
        _paint_muscle(rng, canvas, onset, bite * rng.uniform(20.0, 70.0), "both", "artefact-chewing")
        slow = rng.uniform(15.0, 60.0) * np.sin(2 * np.pi * cycles - 0.7)
        canvas.paint(onset, slow, _muscle_weights("both"), None)


def ictal_muscle(rng: np.random.Generator, canvas: Canvas, seizure: Seizure) -> None:
    """Muscle that builds up through two thirds of the seizures and jerks with the clonic bursts."""
    if rng.random() > 0.65:
        return
    begin = rng.uniform(0.15, 0.5) * seizure.duration_s
    duration = seizure.duration_s - begin
    time = canvas.seconds(duration)
    envelope = np.minimum(1.0, time / (0.5 * duration)) * np.exp(rng.uniform(np.log(5.0), np.log(40.0)))
    envelope *= np.exp(0.4 * slow(rng, len(time), canvas.sampling_rate_hz, 0.5))
    clonic = time > duration - seizure.clonic_s
    jerks = np.maximum(0.0, np.sin(2 * np.pi * np.mean(seizure.bursts_hz) * time)) ** 2
    envelope = np.where(clonic, 1.3 * envelope * jerks, envelope)
    _paint_muscle(rng, canvas, seizure.onset_s + begin, envelope, "both", "artefact-emg")


def pops(rng: np.random.Generator, canvas: Canvas, per_min: float) -> None:
    """One electrode steps by 60-300 µV and decays exponentially."""
    for onset in canvas.times(rng, per_min):
        time = canvas.seconds(rng.uniform(1.0, 3.0))
        height = rng.choice([-1, 1]) * rng.uniform(60.0, 300.0)
        canvas.paint(onset, height * np.exp(-time / rng.uniform(0.1, 0.6)), _one_electrode(rng), "artefact-pop")


def drifts(rng: np.random.Generator, canvas: Canvas, per_min: float) -> None:
    """Sweat and cable movement: slow waves of 0.2-0.6 Hz over a region, 50-200 µV, 5-20 s."""
    for onset in canvas.times(rng, per_min):
        duration = rng.uniform(5.0, 20.0)
        time = canvas.seconds(duration)
        wave = slow(rng, len(time), canvas.sampling_rate_hz, rng.uniform(0.2, 0.6)) * np.sin(np.pi * time / duration)
        canvas.paint(onset, rng.uniform(50.0, 200.0) * wave, _region(rng), "artefact-drift")


def rhythmic_movement(rng: np.random.Generator, canvas: Canvas, per_min: float) -> None:
    """Patting, scratching or rocking: 1-5 Hz waves of unsteady amplitude at few electrodes, 4-12 s."""
    for onset in canvas.times(rng, per_min):
        duration = rng.uniform(4.0, 12.0)
        time = canvas.seconds(duration)
        cycles = rng.uniform(1.0, 5.0) * time + 0.1 * slow(rng, len(time), canvas.sampling_rate_hz, 1.0)
        swell = np.sin(np.pi * time / duration) * np.exp(0.5 * slow(rng, len(time), canvas.sampling_rate_hz, 1.0))
        wave = np.sin(2 * np.pi * cycles) * swell * rng.uniform(20.0, 80.0)
        canvas.paint(onset, wave, _region(rng), "artefact-movement")


def heart(rng: np.random.Generator, canvas: Canvas, r_wave_uv: float, seizures: list[Seizure]) -> None:
    """QRS complexes at about 1 Hz, 40 % faster in seizures, with a gradient from the left ear to the right."""
    if r_wave_uv < 0.5:
        return
    positions = electrode_positions()
    weights = -positions[:, 0] * 0.8 - positions[:, 2] * 0.3
    rate = rng.uniform(0.95, 1.4)
    time = canvas.seconds(0.1) - 0.05
    qrs = r_wave_uv * (np.exp(-((time / 0.009) ** 2)) - 0.3 * np.exp(-(((time - 0.022) / 0.011) ** 2)))
    beat = rng.uniform(0.0, 1.0)
    while beat < canvas.duration_s:
        canvas.paint(beat, qrs, weights, None)
        ictal = any(s.onset_s + 5.0 < beat < s.end_s + 20.0 for s in seizures)
        beat += (1.0 / (rate * (1.4 if ictal else 1.0))) * (1.0 + 0.04 * rng.standard_normal())
    canvas.events.append(Event(0.0, canvas.duration_s, "artefact-ecg"))


def mains(rng: np.random.Generator, canvas: Canvas, hz: float, amplitude_uv: float) -> None:
    """The power line, different at each electrode, where the sampling rate can hold it."""
    if hz > 0.49 * canvas.sampling_rate_hz or amplitude_uv < 0.1:
        return
    phase = 2 * np.pi * (hz * canvas.seconds(canvas.duration_s) + rng.random())
    amplitudes = (amplitude_uv * rng.exponential(1.0, len(ELECTRODES))).astype(np.float32)
    canvas.signal += amplitudes[:, None] * np.sin(phase).astype(np.float32)[: canvas.signal.shape[1]]
    canvas.events.append(Event(0.0, canvas.duration_s, "artefact-mains"))


def flat_channels(rng: np.random.Generator, canvas: Canvas, per_min: float) -> None:
    """One electrode records nothing for 5-30 s."""
    for onset in canvas.times(rng, per_min):
        electrode = int(rng.integers(len(ELECTRODES)))
        start = round(onset * canvas.sampling_rate_hz)
        end = min(canvas.signal.shape[1], start + round(rng.uniform(5.0, 30.0) * canvas.sampling_rate_hz))
        canvas.signal[electrode, start:end] = 0.0
        canvas.events.append(Event(onset, (end - start) / canvas.sampling_rate_hz, "artefact-flat"))


def _paint_muscle(
    rng: np.random.Generator, canvas: Canvas, onset_s: float, envelope: Array, where: str, kind: str
) -> None:
    high = min(_EMG_HIGH_HZ, 0.45 * canvas.sampling_rate_hz)
    band = butter(2, [_EMG_LOW_HZ, high], "bandpass", fs=canvas.sampling_rate_hz, output="sos")
    weights = _muscle_weights(where)
    touched = np.flatnonzero(weights > 0.05)
    # Motor units under different electrodes fire independently.
    noise = sosfilt(band, rng.standard_normal((len(touched), len(envelope))), axis=1)
    noise /= noise.std() + 1e-12
    for electrode, trace in zip(touched, noise, strict=True):
        one = np.zeros(len(ELECTRODES))
        one[electrode] = weights[electrode]
        canvas.paint(onset_s, trace * envelope, one, None)
    start = max(0.0, onset_s)
    canvas.events.append(Event(start, min(len(envelope) / canvas.sampling_rate_hz, canvas.duration_s - start), kind))


def _muscle_weights(where: str) -> Array:
    left, right = bump(np.array([-1.0, 0.35, -0.1]), 0.55), bump(np.array([1.0, 0.35, -0.1]), 0.55)
    front = bump(np.array([0.0, 1.0, 0.0]), 0.5)
    return {"left": left, "right": right, "both": left + right, "front": front}[where]


def _one_electrode(rng: np.random.Generator) -> Array:
    weights = np.zeros(len(ELECTRODES))
    weights[rng.integers(len(ELECTRODES))] = 1.0
    return weights


def _region(rng: np.random.Generator) -> Array:
    return bump(electrode_positions()[rng.integers(len(ELECTRODES))], rng.uniform(0.3, 0.9))
