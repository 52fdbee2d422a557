"""What differs between simulated people, and how hard their recordings are to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .head import CORTEX

Array = NDArray[np.floating]

#: Where seizures start: centre on the left cortex (right, front, up) and share of the patients.
_FOCI: dict[str, tuple[tuple[float, float, float], float]] = {
    "temporal": ((-0.95, 0.2, 0.15), 0.55),
    "frontal": ((-0.55, 0.7, 0.45), 0.25),
    "central": ((-0.6, 0.0, 0.8), 0.08),
    "parietal": ((-0.5, -0.65, 0.55), 0.06),
    "occipital": ((-0.4, -0.9, 0.1), 0.06),
}


class Knobs(NamedTuple):
    """What difficulty sets.

    Attributes:
        ictal_gain: Factor on the amplitude of seizures.
        focus_size: Neural masses of the epileptic network.
        artefact_rate: Factor on the rate of every artefact.
        mimics_per_min: Rhythmic events that are no seizures.
    """

    ictal_gain: float
    focus_size: int
    artefact_rate: float
    mimics_per_min: float


def knobs(difficulty: float) -> Knobs:
    """Settings for a difficulty in [0, 1]: from large, clean seizures to small ones among artefacts and mimics.

    Raises:
        ConfigError: Difficulty outside [0, 1].
    """
    if not 0.0 <= difficulty <= 1.0:
        raise ConfigError(f"difficulty={difficulty}: must lie between 0 (easy) and 1 (hard)")
    return Knobs(
        ictal_gain=float(3.0 * 8.0**-difficulty),
        focus_size=round(9 - 5 * difficulty),
        artefact_rate=float(0.4 * 8.0**difficulty),
        mimics_per_min=float(5.0 * difficulty**2),
    )


@dataclass(frozen=True)
class Subject:
    """A simulated person.

    Attributes:
        age_years: Sets the prior of the alpha frequency.
        gain: Factor on everything that the brain generates (skull and scalp).
        alpha_hz: Posterior dominant rhythm.
        alpha_uv: Its standard deviation at the occipital electrodes with eyes closed, µV.
        background_uv: Standard deviation of the aperiodic background, median of the electrodes, µV.
        aperiodic_exponent: Power of the background falls as ``f ** -exponent``.
        lobe: Where seizures start.
        side: -1 left, 1 right.
        network_positions: Dipoles of the epileptic network in head radii, focus first, ``(mass, 3)``.
        network_orientations: Unit vectors, ``(mass, 3)``.
        ictal_uv: Standard deviation of the rhythmic phase at the most involved electrode, µV.
        ictal_speed: Factor on the synaptic rates of the network, hence on ictal frequencies.
        spikes_per_min: Interictal epileptiform discharges.
        blinks_per_min: With eyes open.
        ecg_uv: R wave at the most affected electrode, µV.
        sensor_uv: White noise of electrode and amplifier, µV.
        mains_hz: 50 or 60.
        mains_uv: Mean amplitude of the line at an electrode, µV.
    """

    age_years: float
    gain: float
    alpha_hz: float
    alpha_uv: float
    background_uv: float
    aperiodic_exponent: float
    lobe: str
    side: int
    network_positions: Array
    network_orientations: Array
    ictal_uv: float
    ictal_speed: float
    spikes_per_min: float
    blinks_per_min: float
    ecg_uv: float
    sensor_uv: float
    mains_hz: float
    mains_uv: float


def draw_subject(rng: np.random.Generator, setting: Knobs) -> Subject:
    """Draw a person from ranges seen in adults and children with epilepsy."""
    age = rng.uniform(4.0, 70.0)
    # The posterior rhythm reaches 8 Hz at three to four years and about 10 Hz in adults; it slows a little with age.
    typical_alpha = np.interp(age, [4.0, 12.0, 50.0, 70.0], [8.3, 9.8, 10.0, 9.3])
    lobes = list(_FOCI)
    lobe = lobes[rng.choice(len(lobes), p=[share for _, share in _FOCI.values()])]
    side = int(rng.choice([-1, 1]))
    positions, orientations = _network(rng, np.array(_FOCI[lobe][0]) * [-side, 1, 1], setting.focus_size)
    return Subject(
        age_years=float(age),
        gain=float(rng.lognormal(0.0, 0.25)),
        alpha_hz=float(np.clip(rng.normal(typical_alpha, 0.7), 8.0, 12.0)),
        alpha_uv=float(rng.uniform(10.0, 28.0)),
        background_uv=float(rng.uniform(9.0, 18.0)),
        aperiodic_exponent=float(rng.uniform(1.5, 2.0)),
        lobe=lobe,
        side=side,
        network_positions=positions,
        network_orientations=orientations,
        ictal_uv=float(setting.ictal_gain * np.clip(rng.lognormal(np.log(75.0), 0.6), 20.0, 250.0)),
        ictal_speed=float(rng.uniform(0.45, 1.1)),
        spikes_per_min=float(rng.gamma(1.0, 2.0)),
        blinks_per_min=float(rng.uniform(10.0, 20.0)),
        ecg_uv=float(rng.exponential(4.0)),
        sensor_uv=float(rng.uniform(0.4, 1.2)),
        mains_hz=float(rng.choice([50.0, 60.0])),
        mains_uv=float(rng.exponential(0.4)),
    )


def _network(rng: np.random.Generator, focus: Array, size: int) -> tuple[Array, Array]:
    """Dipoles of the epileptic network: a patch around the focus and, last, a third of them in its mirror region."""
    n_mirror = size // 3
    centres = np.repeat(focus[None], size, axis=0)
    centres[size - n_mirror :, 0] *= -1
    spread = np.full(size, 0.3)
    spread[0] = 0.05
    positions = centres / np.linalg.norm(focus) + spread[:, None] * rng.standard_normal((size, 3))
    positions[:, 2] = np.maximum(positions[:, 2], 0.0)
    positions *= CORTEX / np.linalg.norm(positions, axis=1, keepdims=True)
    return positions, cortical_orientations(rng, positions, tangential=0.5)


def cortical_orientations(rng: np.random.Generator, positions: Array, tangential: float) -> Array:
    """Unit vectors along the outward normal (gyri) bent by a random part of relative size ``tangential`` (sulci)."""
    normal = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    bent = normal + tangential * rng.standard_normal(positions.shape)
    return bent / np.linalg.norm(bent, axis=1, keepdims=True)
