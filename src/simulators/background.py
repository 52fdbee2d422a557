"""Interictal EEG: aperiodic activity, a posterior alpha rhythm that eye closure switches, post-ictal slowing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from .head import CORTEX, ELECTRODES, lead_field
from .noise import coloured, slow
from .seizure_script import Seizure
from .subject import Subject, cortical_orientations

Array = NDArray[np.floating]

#: Dipoles of the aperiodic background and of the posterior rhythm.
N_BACKGROUND, N_ALPHA = 64, 8
#: Mean length of a stretch with open and with closed eyes, s.
_EYES_OPEN_S, _EYES_CLOSED_S = 15.0, 12.0
#: Alpha that is left with open eyes.
_OPEN_SHARE = 0.2
_POSTERIOR = [ELECTRODES.index(name) for name in ("O1", "O2")]


class Background(NamedTuple):
    """Potentials against the common average, ``(19, time)``, µV, and the eyes.

    Attributes:
        signal: Sum of all components.
        eyes_closed: ``(time,)``.
    """

    signal: NDArray[np.float32]
    eyes_closed: NDArray[np.bool_]


def simulate_background(
    rng: np.random.Generator, subject: Subject, seizures: list[Seizure], n_samples: int, sampling_rate_hz: float
) -> Background:
    """Draw the activity of healthy cortex, weakened during and after seizures.

    Aperiodic part: :data:`N_BACKGROUND` dipoles all over the cortex with power ``f ** -exponent`` above 1 Hz. Alpha:
    :data:`N_ALPHA` occipital and parietal dipoles with a spectral peak of 0.8 Hz deviation. After a seizure both fall
    to 30-60 % and delta waves of 0.7-3 Hz, largest near the focus, take their place.
    """
    eyes_closed = draw_eyes(rng, n_samples, sampling_rate_hz)
    gate = uniform_filter1d(np.where(eyes_closed, 1.0, _OPEN_SHARE), max(1, round(0.6 * sampling_rate_hz)))
    post, ictal = _envelopes(seizures, n_samples, sampling_rate_hz)
    suppressed = 1.0 - rng.uniform(0.4, 0.7) * post
    # What the seizure does not generate itself is attenuated in some people and goes on in others.
    blocked, decrement = rng.uniform(0.0, 1.0), rng.uniform(0.0, 0.4)
    vigilance = np.exp(0.25 * slow(rng, n_samples, sampling_rate_hz, 0.03))

    aperiodic = _aperiodic(rng, subject, n_samples, sampling_rate_hz)
    alpha = _alpha(rng, subject, n_samples, sampling_rate_hz)
    delta = _delta(rng, subject, n_samples, sampling_rate_hz)
    drowsy = _drowsy(rng, subject, n_samples, sampling_rate_hz)
    signal = aperiodic * (vigilance * suppressed * (1.0 - decrement * ictal)).astype(np.float32)
    signal += drowsy * (suppressed * (1.0 - decrement * ictal)).astype(np.float32)
    signal += alpha * (gate * (1.0 - np.maximum(blocked * ictal, 0.95 * post))).astype(np.float32)
    signal += delta * post.astype(np.float32)
    return Background(signal * np.float32(subject.gain), eyes_closed)


def draw_eyes(rng: np.random.Generator, n_samples: int, sampling_rate_hz: float) -> NDArray[np.bool_]:
    """Whether the eyes are closed: blocks of exponential length and at least 3 s, ``(time,)``."""
    closed = np.zeros(n_samples, bool)
    position, now = 0, bool(rng.random() < 0.5)
    while position < n_samples:
        length = 3.0 + rng.exponential((_EYES_CLOSED_S if now else _EYES_OPEN_S) - 3.0)
        end = position + round(length * sampling_rate_hz)
        closed[position:end] = now
        position, now = end, not now
    return closed


def _aperiodic(
    rng: np.random.Generator, subject: Subject, n_samples: int, sampling_rate_hz: float
) -> NDArray[np.float32]:
    positions = rng.standard_normal((N_BACKGROUND, 3))
    positions[:, 2] = np.abs(positions[:, 2]) - 0.2
    positions *= CORTEX / np.linalg.norm(positions, axis=1, keepdims=True)
    orientations = cortical_orientations(rng, positions, tangential=1.0)

    def amplitude(hz: Array) -> Array:
        return np.maximum(hz, 1.0) ** (-subject.aperiodic_exponent / 2) * (hz > 0.3)

    noise = coloured(rng, lead_field(positions, orientations), amplitude, n_samples, sampling_rate_hz)
    return noise * np.float32(subject.background_uv / np.median(noise.std(axis=1)))


def _alpha(rng: np.random.Generator, subject: Subject, n_samples: int, sampling_rate_hz: float) -> NDArray[np.float32]:
    side = np.tile([-1.0, 1.0], N_ALPHA // 2)
    positions = np.stack([0.4 * side, np.full(N_ALPHA, -0.9), rng.uniform(-0.05, 0.3, N_ALPHA)], axis=1)
    positions += 0.1 * rng.standard_normal((N_ALPHA, 3))
    positions *= CORTEX / np.linalg.norm(positions, axis=1, keepdims=True)
    field = lead_field(positions, cortical_orientations(rng, positions, tangential=0.3))

    def amplitude(hz: Array) -> Array:
        # Half a hertz of deviation gives spindles that wax and wane over about a second.
        return np.exp(-0.25 * ((hz - subject.alpha_hz) / 0.5) ** 2)

    noise = coloured(rng, field, amplitude, n_samples, sampling_rate_hz)
    return noise * np.float32(subject.alpha_uv / noise[_POSTERIOR].std())


def _drowsy(rng: np.random.Generator, subject: Subject, n_samples: int, sampling_rate_hz: float) -> NDArray[np.float32]:
    """Fronto-central theta that comes and goes with drowsiness; children have more of it."""
    positions = np.array([0.0, 0.35, 0.85]) + 0.4 * rng.standard_normal((10, 3))
    positions[:, 2] = np.abs(positions[:, 2])
    positions *= CORTEX / np.linalg.norm(positions, axis=1, keepdims=True)
    centre = rng.uniform(4.5, 6.5)

    def amplitude(hz: Array) -> Array:
        return np.exp(-0.25 * ((hz - centre) / 1.0) ** 2)

    field = lead_field(positions, cortical_orientations(rng, positions, tangential=0.5))
    noise = coloured(rng, field, amplitude, n_samples, sampling_rate_hz)
    depth = np.clip(0.3 + 0.7 * slow(rng, n_samples, sampling_rate_hz, 0.02), 0.0, 1.6)
    level = subject.background_uv * rng.uniform(0.4, 1.0) * np.interp(subject.age_years, [4.0, 15.0], [1.5, 1.0])
    return noise * (level / np.median(noise.std(axis=1)) * depth).astype(np.float32)


def _delta(rng: np.random.Generator, subject: Subject, n_samples: int, sampling_rate_hz: float) -> NDArray[np.float32]:
    n_focal, centre = len(subject.network_positions), rng.uniform(1.0, 3.0)
    scattered = rng.standard_normal((6, 3))
    scattered[:, 2] = np.abs(scattered[:, 2])
    scattered *= CORTEX / np.linalg.norm(scattered, axis=1, keepdims=True)
    positions = np.concatenate([subject.network_positions, scattered])
    orientations = np.concatenate([subject.network_orientations, cortical_orientations(rng, scattered, tangential=0.5)])
    weights = np.concatenate([np.full(n_focal, 1.0), np.full(6, 0.8)])

    def amplitude(hz: Array) -> Array:
        return np.exp(-0.25 * ((hz - centre) / (0.5 * centre)) ** 2) * (hz > 0.4)

    noise = coloured(rng, lead_field(positions, orientations) * weights, amplitude, n_samples, sampling_rate_hz)
    return noise * np.float32(rng.uniform(0.8, 2.2) * subject.background_uv / np.median(noise.std(axis=1)))


def _envelopes(seizures: list[Seizure], n_samples: int, sampling_rate_hz: float) -> tuple[Array, Array]:
    """Courses in [0, 1] of post-ictal suppression, which recovers slowly, and of ictal desynchronisation."""
    time_s = np.arange(n_samples) / sampling_rate_hz
    post, ictal = np.zeros(n_samples), np.zeros(n_samples)
    for seizure in seizures:
        elapsed = time_s - seizure.end_s
        inside = (elapsed >= 0) & (elapsed < seizure.postictal_s)
        rise = np.minimum(1.0, elapsed[inside] / 0.5)
        post[inside] = rise * np.cos(0.5 * np.pi * elapsed[inside] / seizure.postictal_s)
        fall = np.clip(1.0 - elapsed / 0.5, 0.0, 1.0)
        ictal = np.maximum(ictal, np.clip((time_s - seizure.onset_s) / 2.0, 0.0, 1.0) * fall)
    return post, ictal
