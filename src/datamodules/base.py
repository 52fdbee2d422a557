"""The base of every datamodule: loaders, fold and seed arguments, and the hash that identifies what was loaded."""

from __future__ import annotations

import hashlib
import inspect
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from ..contracts import DataSpec
from ..errors import ConfigError
from ..signatures import merged_signature


class BaseDataModule(LightningDataModule):
    """Loaders around three datasets that a subclass's ``setup`` puts into ``self.datasets``.

    Args:
        root: Folder that holds the data; ``None`` for simulated sets.
        batch_size: Samples a batch.
        num_workers: Loader processes.
        fold: Which of the ``folds`` is the test set, from 0.
        folds: Number of folds.
        split_seed: Seed of the fold assignment, apart from the model's seed.

    Attributes:
        datasets: ``{"train": …, "val": …, "test": …}`` after ``setup``.
    """

    __signature__: ClassVar[inspect.Signature]

    def __init__(
        self,
        root: str | Path | None = None,
        batch_size: int = 64,
        num_workers: int = 0,
        fold: int = 0,
        folds: int = 5,
        split_seed: int = 0,
    ):
        super().__init__()
        if folds < 2:
            raise ConfigError(f"datamodule.folds={folds}: a split needs at least 2 folds")
        if not 0 <= fold < folds:
            raise ConfigError(f"datamodule.fold={fold} is out of range: folds={folds}, choose 0 to {folds - 1}")
        if batch_size < 1:
            raise ConfigError(f"datamodule.batch_size={batch_size}: must be at least 1")
        self.root = None if root is None else Path(root).expanduser()
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.fold = fold
        self.folds = folds
        self.split_seed = split_seed
        self.datasets: dict[str, Dataset[Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Show a subclass's own arguments and the inherited ones in one signature, for the checks of a config."""
        super().__init_subclass__(**kwargs)
        cls.__signature__ = merged_signature(cls)

    @property
    def spec(self) -> DataSpec:
        """What the data are; available after ``setup``."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Short hash of the data, the windows and the split; available after ``setup``."""
        raise NotImplementedError

    def train_dataloader(self) -> DataLoader[Any]:
        """Lightning hook."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> Any:
        """Lightning hook; no loader when there is no validation part."""
        return self._loader("val") if len(self.datasets["val"]) else []  # type: ignore[arg-type]

    def test_dataloader(self) -> DataLoader[Any]:
        """Lightning hook."""
        return self._loader("test")

    def _loader(self, stage: str, shuffle: bool = False) -> DataLoader[Any]:
        return DataLoader(
            self.datasets[stage], batch_size=self.batch_size, shuffle=shuffle, num_workers=self.num_workers
        )


def digest(*parts: Any) -> str:
    """Sixteen hex digits over arrays, strings and plain values, in order."""
    hasher = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            hasher.update(f"{part.dtype}{part.shape}".encode())
            hasher.update(np.ascontiguousarray(part).data)
        else:
            hasher.update(repr(part).encode())
    return hasher.hexdigest()[:16]
