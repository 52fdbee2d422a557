"""When seizures happen and how they run: gains of the neural masses from interictal to post-ictal EEG."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from ..biophysics.neural_mass import REGIMES
from ..errors import ConfigError
from .noise import slow

Array = NDArray[np.floating]

#: Log-normal law of seizure durations with the quartiles of CHB-MIT: 27, 48 and 76 s, longest 264 s.
MEDIAN_S, LOG_SD, SHORTEST_S, LONGEST_S = 48.0, 0.767, 8.0, 264.0
#: Preictal and post-ictal periods where the recording leaves room for them, s.
PREICTAL_S, POSTICTAL_S = (300.0, 1800.0), (60.0, 300.0)
#: Share of a recording's slot for one seizure that the seizure may fill.
_LARGEST_SHARE = 0.5
#: Time in which slow inhibition collapses at onset, s. A jump would be a step of the potential on the scalp.
_ENTRY_S = 1.5
#: States of the brain, in the order of their codes.
STATES = ("interictal", "preictal", "ictal", "postictal")


@dataclass(frozen=True)
class Seizure:
    """One scripted seizure; times in seconds of the recording.

    Attributes:
        onset_s: First low-voltage fast activity at the focus.
        duration_s: From onset to the end of the last clonic burst.
        preictal_s: Length of the ramp before onset.
        postictal_s: Length of the suppression after the end.
        fast_s: Length of the low-voltage fast phase.
        clonic_s: Length of the terminal clonic phase.
        delays_s: When each mass joins after onset, ``(mass,)``; ``inf`` for a mass that never does.
        bursts_hz: Clonic burst rate at the begin and at the end of the clonic phase.
    """

    onset_s: float
    duration_s: float
    preictal_s: float
    postictal_s: float
    fast_s: float
    clonic_s: float
    delays_s: Array
    bursts_hz: tuple[float, float]

    @property
    def end_s(self) -> float:
        """End of ictal activity."""
        return self.onset_s + self.duration_s


def draw_durations(rng: np.random.Generator, n: int, longest_s: float = LONGEST_S) -> Array:
    """Seizure durations, ``(n,)``, s: log-normal with the quartiles of CHB-MIT, clipped."""
    return np.clip(MEDIAN_S * np.exp(LOG_SD * rng.standard_normal(n)), min(SHORTEST_S, longest_s), longest_s)


def draw_seizures(
    rng: np.random.Generator, duration_s: float, n_seizures: int, n_masses: int, longest_s: float = LONGEST_S
) -> list[Seizure]:
    """Place seizures in a recording, one in each of ``n_seizures`` equal slots.

    Preictal and post-ictal periods are shortened to the room between seizures.

    Args:
        rng: Source of all draws.
        duration_s: Length of the recording.
        n_seizures: How many.
        n_masses: Size of the epileptic network; its last third is the mirror region.
        longest_s: Cut of the duration, to shorten demonstrations.

    Raises:
        ConfigError: Slots of less than 30 s.
    """
    if n_seizures == 0:
        return []
    slot = duration_s / n_seizures
    if slot < 30.0:
        raise ConfigError(
            f"{n_seizures} seizures do not fit into {duration_s / 60:g} minutes: each needs at least 30 s, "
            f"so ask for at most {int(duration_s // 30)} or for longer recordings"
        )
    durations = np.minimum(draw_durations(rng, n_seizures, longest_s), _LARGEST_SHARE * slot)
    # A quarter of the free time stays before the onset at least, so that every seizure has an interictal baseline.
    onsets = np.arange(n_seizures) * slot + (slot - durations) * rng.uniform(0.25, 0.7, n_seizures)
    gaps_before = onsets - np.concatenate([[0.0], (onsets + durations)[:-1]])
    gaps_after = np.concatenate([gaps_before[1:], [duration_s - onsets[-1] - durations[-1]]])
    seizures = []
    for onset, length, before, after in zip(onsets, durations, gaps_before, gaps_after, strict=True):
        delays = np.concatenate([[0.0], rng.uniform(0.5, 5.0, n_masses - 1)])
        n_mirror = n_masses // 3
        if n_mirror:
            generalises = rng.random() < 0.5
            delays[-n_mirror:] = delays[-n_mirror:] + rng.uniform(3.0, 12.0) if generalises else np.inf
        seizures.append(
            Seizure(
                onset_s=float(onset),
                duration_s=float(length),
                preictal_s=float(min(rng.uniform(*PREICTAL_S), 0.4 * before)),
                postictal_s=float(min(rng.uniform(*POSTICTAL_S), 0.5 * after)),
                fast_s=float(min(rng.uniform(3.0, 8.0), 0.2 * length)),
                clonic_s=float(rng.uniform(0.15, 0.35) * length),
                delays_s=np.where(delays < 0.4 * length, delays, np.inf),
                bursts_hz=(float(rng.uniform(2.2, 3.0)), float(rng.uniform(1.0, 1.6))),
            )
        )
    return seizures


def states(seizures: list[Seizure], n_samples: int, sampling_rate_hz: float) -> NDArray[np.int8]:
    """Code of the state (index into :data:`STATES`) at every sample, ``(time,)``."""
    codes = np.zeros(n_samples, np.int8)
    time_s = np.arange(n_samples) / sampling_rate_hz
    for seizure in seizures:
        codes[(time_s >= seizure.onset_s - seizure.preictal_s) & (time_s < seizure.onset_s)] = 1
        codes[(time_s >= seizure.onset_s) & (time_s < seizure.end_s)] = 2
        codes[(time_s >= seizure.end_s) & (time_s < seizure.end_s + seizure.postictal_s)] = 3
    return codes


def gain_course(
    rng: np.random.Generator,
    seizures: list[Seizure],
    n_masses: int,
    n_samples: int,
    sampling_rate_hz: float,
    spikes_per_min: float,
    speed: float = 1.0,
) -> NDArray[np.float32]:
    """Gains ``A, B, G`` of every mass at every sample, ``(3, mass, time)``, mV.

    Interictal masses rest at (5, 50, 15); slow inhibition of the focus collapses for a moment at Poisson times, which
    gives single spikes. Before a seizure ``B`` of the focus falls to 40. The seizure starts with low-voltage fast
    activity (5, 5, 25), goes on with a rhythm that slides from (5, 15, 0) at 11 Hz to (5, 25, 15) at 4 Hz, breaks
    into clonic bursts and ends at once in all masses.
    """
    rest, fast = REGIMES["background"], REGIMES["low_voltage_fast"]
    first, last = REGIMES["quasi_sinusoidal"], REGIMES["spike_wave"]
    gains = np.empty((3, n_masses, n_samples), np.float32)
    gains[:] = np.array(rest, np.float32)[:, None, None]
    time_s = np.arange(n_samples) / sampling_rate_hz
    _add_spikes(rng, gains, sampling_rate_hz, spikes_per_min, speed)
    for seizure in seizures:
        ramp = (time_s >= seizure.onset_s - seizure.preictal_s) & (time_s < seizure.onset_s)
        progress = 1 + (time_s[ramp] - seizure.onset_s) / max(seizure.preictal_s, 1e-9)
        gains[1, 0, ramp] = np.minimum(gains[1, 0, ramp], rest.B + (REGIMES["spikes"].B - rest.B) * progress)
        for mass, delay in enumerate(seizure.delays_s):
            if not np.isfinite(delay):
                continue
            joins = seizure.onset_s + delay
            rhythmic, clonic = joins + seizure.fast_s, seizure.end_s - seizure.clonic_s
            early = (time_s >= joins) & (time_s < rhythmic)
            gains[:, mass, early] = np.array(fast, np.float32)[:, None]
            gains[1, mass, early] += (rest.B - fast.B) * np.clip(1.0 - (time_s[early] - joins) / _ENTRY_S, 0.0, 1.0)
            late = (time_s >= rhythmic) & (time_s < seizure.end_s)
            slide = np.sqrt(np.clip((time_s[late] - rhythmic) / max(clonic - rhythmic, 1e-9), 0.0, 1.0))
            # The unsteady inhibition keeps ictal rhythms from being clockwork.
            gains[1, mass, late] = first.B + (last.B - first.B) * slide + slow(rng, len(slide), sampling_rate_hz, 0.5)
            gains[2, mass, late] = first.G + (last.G - first.G) * slide
            gaps = late & (time_s >= clonic)
            gaps[gaps] = _between_bursts(time_s[gaps] - clonic, seizure)
            gains[:, mass, gaps] = np.array(rest, np.float32)[:, None]
    # Networks do not switch in one sample; without the ramp the potential's jump rings in the amplifier's filter.
    return uniform_filter1d(gains, max(1, round(0.1 * sampling_rate_hz)), axis=2, mode="nearest")


def _between_bursts(elapsed_s: Array, seizure: Seizure) -> NDArray[np.bool_]:
    """Whether the clonic phase is in a gap; the burst rate falls linearly, all masses burst together."""
    begin, end = seizure.bursts_hz
    cycles = begin * elapsed_s + 0.5 * (end - begin) * elapsed_s**2 / max(seizure.clonic_s, 1e-9)
    return cycles % 1.0 > 0.55


def _add_spikes(
    rng: np.random.Generator, gains: NDArray[np.float32], sampling_rate_hz: float, rate: float, speed: float
) -> None:
    n_samples = gains.shape[2]
    n = rng.poisson(rate * n_samples / sampling_rate_hz / 60.0)
    length = max(1, round(0.15 / speed * sampling_rate_hz))
    for start in rng.integers(0, max(1, n_samples - length), n):
        # A spike of the focus often carries its neighbours along.
        reach = 1 + rng.integers(0, max(1, gains.shape[1] - gains.shape[1] // 3))
        gains[1, :reach, start : start + length] = 15.0
