"""Connectivity of people in two states, and what it may tell about their activation."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


class ConnectivityBatch(NamedTuple):
    """Connectivity of people in two states; matrices are ``(batch, roi, roi)``, float32, symmetric, zero diagonal.

    Attributes:
        baseline: Connectivity at baseline, in the unit of the datamodule's estimator.
        change: Measured change of the correlation from baseline to target.
        true_change: What an endless recording would show, relative to the measured baseline; NaN where it is not known.
        mean_change: Mean measured change of this fold's training people: the reference that skill is measured against.
        mean_baseline: Mean ``baseline`` of the same people: where the path of an explanation begins.
        start: Measured correlation at baseline, so that ``start + change`` is the target whatever the estimator is.
        language: Which pairs lie inside the language network, bool.
        changed: Pairs whose coupling truly changes, bool; none where that is not known.
        window: Row of the person, ``(batch,)``, int64; the same in every fold.
    """

    baseline: Tensor
    change: Tensor
    true_change: Tensor
    mean_change: Tensor
    mean_baseline: Tensor
    start: Tensor
    language: Tensor
    changed: Tensor
    window: Tensor


class ActivationBatch(NamedTuple):
    """Resting connectivity and task activation of people.

    Attributes:
        connectivity: At rest, ``(batch, roi, roi)``, float32, symmetric, zero diagonal.
        activation: Of every region, ``(batch, roi)``, float32, in the unit of the file (such as a GLM beta).
        mean_activation: Mean of this fold's training people, ``(batch, roi)``: the reference of skill.
        window: Row of the person, ``(batch,)``, int64; the same in every fold.
    """

    connectivity: Tensor
    activation: Tensor
    mean_activation: Tensor
    window: Tensor


@runtime_checkable
class StartedModel(Protocol):
    """A network with a part that is fitted in closed form before its first gradient step."""

    def start_from(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit that part to all training samples, ``(n, ...)`` and ``(n, ...)``; nothing where it is fitted already."""
        ...
