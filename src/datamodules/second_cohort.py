"""Train on one simulated cohort, test on a small second one with another atlas, repetition time and effect."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .base import digest
from .connectivity import ConnectivityDataModule, ConnectivityDataset
from .group_folds import Rows
from .simulated_fc import SimulatedFCDataModule


class SecondCohortDataModule(SimulatedFCDataModule):
    """The first cohort trains and validates, the second is tested, a part of it in each fold.

    Acker et al. 2024 apply their models to a second data set of 12 people and another auditory language task. With
    another number of regions only models without parameters of single pairs or regions can be applied; nothing is then
    known of the second cohort's mean change, so that skill is measured against no change at all.

    Args:
        second_subjects: People of the second cohort.
        second_nodes: Regions of its atlas.
        second_rest_volumes: Volumes at rest.
        second_story_volumes: Volumes of listening.
        second_tr_s: Repetition time, s.
        second_task_gain: Mean log gain of the language network.
        second_seed: Seed of its people.
        **cohort: Of the first cohort, see :class:`~.simulated_fc.SimulatedFCDataModule`.
    """

    def __init__(
        self,
        second_subjects: int = 12,
        second_nodes: int = 84,
        second_rest_volumes: int = 240,
        second_story_volumes: int = 180,
        second_tr_s: float = 2.0,
        second_task_gain: float = 0.35,
        second_seed: int = 12,
        **cohort: Any,
    ):
        super().__init__(**cohort)
        self.second = SimulatedFCDataModule(
            n_subjects=second_subjects,
            n_nodes=second_nodes,
            rest_volumes=second_rest_volumes,
            story_volumes=second_story_volumes,
            tr_s=second_tr_s,
            task_gain=second_task_gain,
            data_seed=second_seed,
            estimator=self.estimator,
            folds=self.folds,
            fold=self.fold,
            split_seed=self.split_seed,
            val_fraction=0.0,
        )

    @property
    def tested(self) -> ConnectivityDataModule:
        """See the base."""
        return self.second

    def split(self, fold: int | None = None) -> Rows:
        """Rows; those of the second cohort follow on those of the first."""
        first = np.random.default_rng(self.split_seed).permutation(self.n_subjects)
        n_val = round(self.val_fraction * self.n_subjects)
        tested = self.second.split(self.fold if fold is None else fold)["test"] + self.n_subjects
        return {"train": np.sort(first[n_val:]), "val": np.sort(first[:n_val]), "test": tested}

    def setup(self, stage: str | None = None) -> None:
        """Lightning hook: both cohorts."""
        if self.datasets:
            return
        super().setup(stage)
        self.second.setup(stage)
        theirs = self.second.datasets["test"]
        assert isinstance(theirs, ConnectivityDataset)
        common = dict(theirs.common)
        for name in ("mean_change", "mean_baseline"):  # of the first cohort or of nobody, never of those tested
            known = self.datasets["train"].common[name]  # type: ignore[attr-defined]
            common[name] = known if known.shape == common[name].shape else torch.zeros_like(common[name])
        self.datasets["test"] = ConnectivityDataset(theirs.matrices, common, theirs.rows, self.n_subjects)

    def fingerprint(self) -> str:
        """Hash of both cohorts."""
        return digest(super().fingerprint(), self.second.fingerprint())
