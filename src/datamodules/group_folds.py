"""Folds over people that keep families and sites together, and the base of the datamodules that are split so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .base import BaseDataModule

Rows = dict[str, NDArray[np.int64]]


class GroupedDataModule(BaseDataModule):
    """Data in rows that belong to groups (people, families, sites) which stay whole in every split.

    Args:
        val_fraction: Share of the groups outside the test fold that validates; 0 for none.
        **splitting: Arguments of :class:`~.base.BaseDataModule`.
    """

    def __init__(self, *, val_fraction: float = 0.1, **splitting: Any):
        super().__init__(**splitting)
        self.val_fraction = val_fraction

    def groups(self) -> list[str]:
        """What each row must stay together with."""
        raise NotImplementedError

    def split(self, fold: int | None = None) -> Rows:
        """Rows of ``train``, ``val`` and ``test``, disjoint, repeatable by ``split_seed``.

        Args:
            fold: Instead of the configured one.
        """
        fold = self.fold if fold is None else fold
        return group_fold(self.groups(), self.folds, fold, self.split_seed, self.val_fraction)

    def split_rows(self) -> list[NDArray[np.int64]]:
        """Training, validation and test rows in this order, for a fingerprint."""
        parts = self.split()
        return [parts[name] for name in ("train", "val", "test")]


def group_fold(groups: Sequence[str], folds: int, fold: int, seed: int = 0, val_fraction: float = 0.1) -> Rows:
    """Rows of the training, validation and test part of one fold; no group lies in two parts.

    Groups are shuffled and dealt out, the largest first and always to the fold with the fewest rows, so that folds are
    of nearly equal size however large families are.

    Args:
        groups: What must stay together, one name a row.
        folds: Number of folds; as many as groups leaves one group out at a time.
        fold: The test fold, from 0.
        seed: Seed of the assignment.
        val_fraction: Share of the remaining groups that validates; 0 for none.

    Returns:
        ``train``, ``val`` and ``test``: sorted row indices, disjoint.

    Raises:
        ConfigError: There are fewer groups than the parts need.
    """
    if not 0 <= val_fraction <= 0.5:
        raise ConfigError(f"datamodule.val_fraction={val_fraction}: must lie between 0 (no validation part) and 0.5")
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    n = int(codes.max()) + 1
    if n < folds:
        raise ConfigError(f"datamodule.folds={folds}: there are only {n} groups to keep together; lower folds")
    size = np.bincount(codes)
    fold_of = np.empty(n, dtype=int)
    load = np.zeros(folds)
    order = np.random.default_rng(seed).permutation(n)
    for group in order[np.argsort(-size[order], kind="stable")]:
        fold_of[group] = int(np.argmin(load))
        load[fold_of[group]] += size[group]
    rest = [group for group in order if fold_of[group] != fold]
    n_val = max(1, round(val_fraction * len(rest))) if val_fraction > 0 else 0
    if len(rest) - n_val < 1:
        raise ConfigError(f"datamodule.val_fraction={val_fraction} leaves no group to train on ({n} groups in all)")
    held = set(rest[:n_val])
    part = np.array(["test" if fold_of[g] == fold else "val" if g in held else "train" for g in range(n)])
    return {name: np.flatnonzero(part[codes] == name) for name in ("train", "val", "test")}
