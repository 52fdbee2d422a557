"""Rhythms of the healthy or drowsy brain that are taken for seizures: no evolution, no spread, no suppression."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .artefacts import Canvas
from .head import CORTEX, lead_field
from .seizure_script import STATES

Array = NDArray[np.floating]


class Variant(NamedTuple):
    """A rhythm: cortical centre, whether it may lie on either side, and ranges of frequency, amplitude and length."""

    centre: tuple[float, float, float]
    lateral: bool
    hz: tuple[float, float]
    uv: tuple[float, float]
    duration_s: tuple[float, float]
    sharpness: tuple[float, float]


#: Benign variants and encephalopathic patterns (Schomer & Lopes da Silva 2017, chapters on benign variants and IRDA).
VARIANTS: dict[str, Variant] = {
    # Rhythmic mid-temporal theta of drowsiness.
    "mimic-temporal-theta": Variant((-0.95, 0.1, 0.2), True, (4.5, 6.5), (25.0, 70.0), (5.0, 15.0), (0.3, 0.6)),
    # Frontal intermittent rhythmic delta.
    "mimic-frontal-delta": Variant((0.0, 0.85, 0.5), False, (1.8, 3.0), (30.0, 90.0), (4.0, 12.0), (0.0, 0.2)),
    # Wicket waves.
    "mimic-wicket": Variant((-0.95, 0.15, 0.25), True, (7.0, 10.5), (25.0, 70.0), (2.0, 6.0), (0.4, 0.7)),
    # Hypnagogic hypersynchrony.
    "mimic-hypnagogic": Variant((0.0, 0.3, 0.95), False, (3.5, 5.0), (30.0, 90.0), (3.0, 8.0), (0.0, 0.3)),
}


def add_mimics(rng: np.random.Generator, canvas: Canvas, states: NDArray[np.int8], per_min: float, gain: float) -> None:
    """Paint rhythmic non-seizures at Poisson times outside seizures; ``gain`` is the subject's."""
    names = list(VARIANTS)
    for onset in canvas.times(rng, per_min):
        kind = names[rng.integers(len(names))]
        variant = VARIANTS[kind]
        duration = rng.uniform(*variant.duration_s)
        start = int(onset * canvas.sampling_rate_hz)
        stop = start + int(duration * canvas.sampling_rate_hz)
        if (states[start:stop] == STATES.index("ictal")).any():
            continue
        wave = rng.uniform(*variant.uv) * gain / np.sqrt(2) * _rhythm(rng, canvas.seconds(duration), variant)
        canvas.paint(onset, wave, _topography(rng, variant), kind)


def _rhythm(rng: np.random.Generator, time: Array, variant: Variant) -> Array:
    """Waves of one frequency within 5 %, waxing and waning, pointed by a second harmonic."""
    knots = np.linspace(0.0, time[-1] + 1e-9, 8)
    hz = rng.uniform(*variant.hz) * np.interp(time, knots, 1.0 + 0.05 * rng.standard_normal(8))
    phase = 2 * np.pi * (np.cumsum(hz) * (time[1] - time[0]) + rng.random())
    wave = np.sin(phase) + rng.uniform(*variant.sharpness) * np.sin(2 * phase + 0.8)
    swell = np.interp(time, knots, rng.uniform(0.6, 1.3, 8))
    edge = np.clip(np.minimum(time, time[-1] - time) / 0.6, 0.0, 1.0)
    return wave * swell * edge


def _topography(rng: np.random.Generator, variant: Variant) -> Array:
    position = np.array(variant.centre) + 0.1 * rng.standard_normal(3)
    if variant.lateral:
        position[0] *= rng.choice([-1, 1])
    position *= CORTEX / np.linalg.norm(position)
    normal = position / np.linalg.norm(position) + 0.3 * rng.standard_normal(3)
    field = lead_field(position[None], normal[None] / np.linalg.norm(normal))[:, 0]
    return field / np.abs(field).max()
