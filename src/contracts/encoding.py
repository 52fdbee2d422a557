"""Responses of people to a stimulus that all of them met."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


class ResponseBatch(NamedTuple):
    """Brain responses in step with a stimulus; every series has zero mean and unit variance over time.

    Attributes:
        stimulus: Features of the stimulus, already convolved with a haemodynamic response, ``(batch, time, feature)``.
        response: BOLD of the regions, ``(batch, time, roi)``, float32.
        window: Row of the person, ``(batch,)``, int64; the same in every fold.
    """

    stimulus: Tensor
    response: Tensor
    window: Tensor
