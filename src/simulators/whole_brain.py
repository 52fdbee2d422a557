"""A cohort scanned at rest and while listening to a story, with known true functional connectivity in both.

Story listening strengthens coupling inside and between the language and auditory networks, more on the left, weakens
the default network, and raises the input to auditory cortex. How much differs between people: part of it follows from
a trait that also shows in their resting connectivity, part of it does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError, did_you_mean
from .connectome import Connectome, generate_connectome
from .hopf import HopfBrain
from .linear_brain import LinearBrain

Array = NDArray[np.float64]
DYNAMICS = ("linear", "hopf")
_GROUP_SEED = 20241115
_OSCILLATORS_HZ = (0.04, 0.07)
_HOPF_COUPLING_PER_S = 0.4  # per unit of the global coupling; with it resting connectivity is as spread as real one
_HOPF_NOISE = 4e-4  # variance per second of a region's own noise; the cubic term then damps as much as a does
_LARGEST_RADIUS = 0.95  # of the coupling matrix while listening; 1 is the edge of stability
Brain = LinearBrain | HopfBrain


@dataclass(frozen=True)
class Variability:
    """How people differ. The defaults are tuned to resting connectivity of the Human Connectome Project.

    Seven people, 94 regions: mean 0.29, standard deviation over pairs 0.20, correlation between two people 0.71.

    Attributes:
        weight_log_sd: Log-normal scatter of a person's connections around the group's.
        coupling: Mean of the global coupling g; 1 is the edge of stability.
        coupling_sd: Its standard deviation over people.
        input_log_sd: Log-normal scatter of the standard deviation of a region's own input.
        global_input: Mean loading of a region on an input that all share.
        network_input: Mean loading of a region on the input of its network.
        region_sd: Scatter of both loadings over regions, the same in everybody and in mirror regions.
        loading_sd: Scatter of both loadings of a region over people.
    """

    weight_log_sd: float = 0.42
    coupling: float = 0.65
    coupling_sd: float = 0.02
    input_log_sd: float = 0.5
    global_input: float = 0.42
    network_input: float = 1.2
    region_sd: float = 1.2
    loading_sd: float = 0.35


@dataclass(frozen=True)
class Scans:
    """One simulated person.

    Attributes:
        rest: BOLD at rest, ``(volume, roi)``, arbitrary unit.
        story: BOLD while listening, ``(volume, roi)``.
        rest_connectivity: Expected correlation at rest, ``(roi, roi)``, zero diagonal.
        story_connectivity: The same while listening.
        effect: Log gain of the language network in this person.
        trait: The part of ``effect`` that resting connectivity reveals, z-scored.
    """

    rest: Array
    story: Array
    rest_connectivity: Array
    story_connectivity: Array
    effect: float
    trait: float


@dataclass(frozen=True)
class WholeBrainSimulator:
    """Rest and story scans of a cohort.

    Args:
        connectome: Group connectome.
        rest_volumes: Volumes of the resting scan (HCP: 1,200).
        story_volumes: Volumes of story listening (HCP: about 150 a run, two runs).
        tr_s: Repetition time, s.
        task_gain: Mean log gain of the language network.
        predictable: Standard deviation over people of the gain that follows from their trait.
        unpredictable: Standard deviation of the gain that does not. A gain that would make the brain unstable is cut.
        default_gain: Log gain of the default network.
        auditory_input: Relative increase of the input variance of auditory cortex.
        time_constant_s: Neural time constant.
        noise_ratio: Variance of the measurement noise over that of the BOLD signal.
        dynamics: ``linear``, whose true connectivity is exact, or ``hopf``, oscillators that are not linear and whose
            true connectivity is an approximation, see :mod:`.hopf`.
        variability: How people differ.
    """

    connectome: Connectome = field(default_factory=generate_connectome)
    rest_volumes: int = 1195
    story_volumes: int = 300
    tr_s: float = 0.72
    task_gain: float = 0.5
    predictable: float = 0.35
    unpredictable: float = 0.25
    default_gain: float = -0.3
    auditory_input: float = 0.8
    time_constant_s: float = 0.5
    noise_ratio: float = 0.33
    dynamics: str = "linear"
    variability: Variability = field(default_factory=Variability)

    def __post_init__(self) -> None:
        if self.dynamics not in DYNAMICS:
            raise ConfigError(f"dynamics={self.dynamics!r} is unknown: {did_you_mean(self.dynamics, DYNAMICS)}")
        for name in ("rest_volumes", "story_volumes"):
            if getattr(self, name) < 10:
                raise ConfigError(f"{name}={getattr(self, name)}: connectivity needs at least 10 volumes")
        for network in ("language", "auditory", "default"):
            if not self.connectome.members(network).any():
                raise ConfigError(
                    f"the connectome has no region of the {network} network, which the story task changes"
                )

    @property
    def task_pattern(self) -> Array:
        """Log gain of each connection for a person with unit effect, ``(roi, roi)``; the default network apart."""
        c = self.connectome
        left = c.members("language", "L") | c.members("auditory", "L")
        right = c.members("language", "R") | c.members("auditory", "R")
        return (
            np.outer(left, left) + 0.6 * np.outer(right, right) + 0.5 * (np.outer(left, right) + np.outer(right, left))
        )

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Pairs whose coupling the story changes, ``(roi, roi)``."""
        default = self.connectome.members("default")
        pattern = (self.task_pattern > 0) | (np.outer(default, default) & (self.default_gain != 0))
        np.fill_diagonal(pattern, False)
        return pattern

    def cohort(self, n_subjects: int, seed: int = 0) -> list[Scans]:
        """Simulate people; person k is the same whatever ``n_subjects`` is."""
        if n_subjects < 1:
            raise ConfigError(f"n_subjects={n_subjects}: at least one person is needed")
        return [self.subject(np.random.default_rng([seed, k])) for k in range(n_subjects)]

    def record(self, seed: int) -> Scans:
        """The first person of the cohort of that seed."""
        return self.cohort(1, seed)[0]

    def subject(self, rng: np.random.Generator) -> Scans:
        """Draw a person and both scans."""
        trait, surprise = rng.standard_normal(2)
        effect = self.task_gain + self.predictable * trait + self.unpredictable * surprise
        rest, story, effect = self.states(rng, trait, effect)
        return Scans(
            rest=rest.sample(self.rest_volumes, self.tr_s, rng),
            story=story.sample(self.story_volumes, self.tr_s, rng),
            rest_connectivity=rest.expected_connectivity(self.tr_s),
            story_connectivity=story.expected_connectivity(self.tr_s),
            effect=effect,
            trait=float(trait),
        )

    def states(self, rng: np.random.Generator, trait: float, effect: float) -> tuple[Brain, Brain, float]:
        """The brain of a person at rest and while listening, and the effect that its stability allows."""
        c, v, n = self.connectome, self.variability, self.connectome.n_nodes
        scatter = np.triu(rng.standard_normal((n, n)), 1)
        # The trait is anatomy: a stronger language network at rest goes with a stronger response.
        weights = c.weights * np.exp(v.weight_log_sd * (scatter + scatter.T) + 0.2 * trait * self.task_pattern)
        weights /= np.abs(np.linalg.eigvalsh(weights)).max()
        coupling = v.coupling + v.coupling_sd * rng.standard_normal()
        inputs = self._inputs(rng)
        default = c.members("default")
        suppressed = weights * np.exp(self.default_gain * np.outer(default, default))
        while coupling * np.linalg.eigvalsh(suppressed * np.exp(effect * self.task_pattern)).max() > _LARGEST_RADIUS:
            effect *= 0.9
        louder = np.where(c.members("auditory"), np.sqrt(1 + self.auditory_input), 1.0)
        story = suppressed * np.exp(effect * self.task_pattern)
        return (
            self._brain(weights, coupling, inputs),
            self._brain(story, coupling, inputs * np.outer(louder, louder)),
            float(effect),
        )

    def _brain(self, weights: Array, coupling: float, inputs: Array) -> Brain:
        if self.dynamics == "linear":
            return LinearBrain.coupled(weights, coupling, self.time_constant_s, inputs, self.noise_ratio)
        rng = np.random.default_rng([_GROUP_SEED, len(weights), 1])
        frequencies = rng.uniform(*_OSCILLATORS_HZ, len(weights))  # the same in everybody
        return HopfBrain(_HOPF_COUPLING_PER_S * coupling * weights, frequencies, _HOPF_NOISE * inputs, self.noise_ratio)

    @cached_property
    def group_loadings(self) -> Array:
        """Loadings of every region on the global and on its network's input, ``(2, roi)``."""
        c, v = self.connectome, self.variability
        rng = np.random.default_rng([_GROUP_SEED, c.n_nodes])
        rank = [c.networks[:k].count(c.networks[k]) // 2 for k in range(c.n_nodes)]  # alike in both hemispheres
        drawn = {key: rng.standard_normal(2) for key in sorted(set(zip(c.networks, rank, strict=True)))}
        scatter = np.array([drawn[key] for key in zip(c.networks, rank, strict=True)]).T
        return np.array([[v.global_input], [v.network_input]]) + v.region_sd * scatter

    def _inputs(self, rng: np.random.Generator) -> Array:
        """Input covariance: own noise, and loadings on a global and on the networks' inputs."""
        c, v, n = self.connectome, self.variability, self.connectome.n_nodes
        scale = np.exp(v.input_log_sd * rng.standard_normal(n))
        whole, own = self.group_loadings + v.loading_sd * rng.standard_normal((2, n))
        membership = np.equal.outer(c.networks, sorted(set(c.networks)))
        loadings = np.column_stack([whole, own[:, None] * membership])
        return (np.eye(n) + loadings @ loadings.T) * np.outer(scale, scale)
