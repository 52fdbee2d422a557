"""Simulated rest and story scans: needs no file, and the true change is known."""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from ..simulators.connectome import generate_connectome, load_connectome
from ..simulators.whole_brain import Scans, WholeBrainSimulator
from .connectivity import ConnectivityDataModule, Person
from .connectivity_estimate import estimate
from .formats.timeseries import TimeSeries

Array = NDArray[np.float64]


class SimulatedFCDataModule(ConnectivityDataModule):
    """People from :class:`~..simulators.whole_brain.WholeBrainSimulator`.

    Args:
        n_subjects: People.
        n_nodes: Regions of the generated connectome.
        connectome: NPZ with a measured connectome instead, see :func:`~..simulators.connectome.load_connectome`.
        rest_volumes: Volumes at rest.
        story_volumes: Volumes of story listening.
        tr_s: Repetition time, s.
        task_gain: Mean log gain of the language network.
        predictable: Standard deviation of the gain that a person's resting connectivity reveals.
        unpredictable: Standard deviation of the gain that it does not.
        dynamics: ``linear`` or ``hopf``, see the simulator.
        data_seed: Seed of the people; the connectome is that of seed 0 for everybody.
        **matrices: See :class:`ConnectivityDataModule`.
    """

    def __init__(
        self,
        n_subjects: int = 205,
        n_nodes: int = 94,
        connectome: str | Path | None = None,
        rest_volumes: int = 1195,
        story_volumes: int = 300,
        tr_s: float = 0.72,
        task_gain: float = 0.5,
        predictable: float = 0.35,
        unpredictable: float = 0.25,
        dynamics: str = "linear",
        data_seed: int = 0,
        **matrices: Any,
    ):
        super().__init__(**matrices)
        if n_subjects < 3:
            raise ConfigError(
                f"datamodule.n_subjects={n_subjects}: training, validation and test need 3 people or more"
            )
        self.n_subjects = n_subjects
        self.data_seed = data_seed
        self._brain = n_nodes if connectome is None else str(connectome)
        names = ("rest_volumes", "story_volumes", "tr_s", "task_gain", "predictable", "unpredictable", "dynamics")
        given = (rest_volumes, story_volumes, tr_s, task_gain, predictable, unpredictable, dynamics)
        self._settings = tuple(zip(names, given, strict=True))
        self.simulator = _simulator(self._brain, self._settings)
        brain = self.simulator.connectome
        self.language = tuple(
            name
            for name, network in zip(brain.names, brain.networks, strict=True)
            if network in ("language", "auditory")
        )

    def load(self) -> list[Person]:
        """Simulate everybody: about a second for ten people, 94 regions and 1,500 volumes."""
        names, tr_s = self.simulator.connectome.names, self.simulator.tr_s
        people = []
        for number, scans in enumerate(_cohort(self._brain, self._settings, self.n_subjects, self.data_seed)):
            name = f"sim-{number:03d}"
            rest, story = (
                TimeSeries(values, names, tr_s, f"{name}_{condition}")
                for values, condition in ((scans.rest, "rest"), (scans.story, "story"))
            )
            people.append(Person(name, rest, story, true_target=scans.story_connectivity))
        return people

    @cached_property
    def correlations(self) -> tuple[Array, Array]:
        """See the base; shared by the folds of one cohort in this process."""
        return _correlations(self._brain, self._settings, self.n_subjects, self.data_seed)

    @property
    def region_networks(self) -> tuple[str, ...]:
        """Network of each region."""
        return self.simulator.connectome.networks

    @property
    def region_positions_mm(self) -> Array | None:
        """See the base; the generated brain is moved from the origin to the middle of MNI space."""
        positions = self.simulator.connectome.positions_mm
        if positions is None or not isinstance(self._brain, int):
            return positions
        return positions + np.array([0.0, -17.0, 14.0])

    @property
    def changed_pairs(self) -> NDArray[np.bool_]:
        """See the base."""
        return self.simulator.changed


def _simulator(brain: int | str, settings: tuple[Any, ...]) -> WholeBrainSimulator:
    connectome = generate_connectome(brain) if isinstance(brain, int) else load_connectome(brain)
    return WholeBrainSimulator(connectome, **dict(settings))


@lru_cache(maxsize=2)  # the second cohort of a transfer is small
def _cohort(brain: int | str, settings: tuple[Any, ...], n_subjects: int, seed: int) -> tuple[Scans, ...]:
    """The people simulated last in this process: the folds of one cohort differ in nothing but the split."""
    return tuple(_simulator(brain, settings).cohort(n_subjects, seed))


@lru_cache(maxsize=2)
def _correlations(brain: int | str, settings: tuple[Any, ...], n_subjects: int, seed: int) -> tuple[Array, Array]:
    people = _cohort(brain, settings, n_subjects, seed)
    return estimate([scans.rest for scans in people], "pearson"), estimate([scans.story for scans in people], "pearson")
