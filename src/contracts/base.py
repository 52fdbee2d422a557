"""What every twin shares: the description of data, the datamodule, fitted models, predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True)
class DataSpec:
    """What a data set is, as far as a model needs to know. Fields that do not apply stay ``None`` or empty.

    Constructor arguments of a model that its YAML leaves out and that bear the name of a field here are filled from
    the data; a YAML value that differs from the data is an error.

    Attributes:
        n_channels: Input channels of a sample.
        n_outputs: Classes or regression targets of a sample.
        n_times: Time samples in a window.
        sampling_rate_hz: Samples per second of the windows that the model sees.
        n_nodes: Nodes of a graph, regions of an atlas, neurons of a circuit.
        spacing_mm: Voxel spacing (x, y, z) of the volumes that the model sees.
        patch_size: Voxels (x, y, z) of a training patch.
        channel_names: One name a channel.
        class_names: One name an output class.
        conditions: Experimental conditions of the recordings, the reference (control) first.
    """

    n_channels: int | None = None
    n_outputs: int | None = None
    n_times: int | None = None
    sampling_rate_hz: float | None = None
    n_nodes: int | None = None
    spacing_mm: tuple[float, float, float] | None = None
    patch_size: tuple[int, int, int] | None = None
    channel_names: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()


@runtime_checkable
class DataModule(Protocol):
    """What the engine asks of a datamodule beyond Lightning's own loaders."""

    fold: int
    folds: int

    @property
    def spec(self) -> DataSpec:
        """What the data are; available after ``setup``."""
        ...

    def fingerprint(self) -> str:
        """Short hash that changes when the data, the windows or the split change."""
        ...


#: What a task hands over after a test pass: one row a tested item. Arrays only, so that folds can be concatenated.
Predictions = Mapping[str, "np.ndarray"]


@runtime_checkable
class FittedModel(Protocol):
    """A model that is fitted in closed form (a scikit-learn estimator, a ridge), not by gradient steps.

    The task collects one epoch of training batches and calls :meth:`fit` once.
    """

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to all training samples at once: ``(n, ...)`` and ``(n, ...)``."""
        ...


@runtime_checkable
class FilePredictor(Protocol):
    """A task that can be applied to a user's own file (``neurotwin predict``)."""

    def predict_file(self, datamodule: Any, source: Path, target: Path) -> list[Path]:
        """Apply the model to ``source``, write results below ``target`` and return the written paths."""
        ...
