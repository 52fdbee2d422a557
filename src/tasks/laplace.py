"""A Laplace posterior's parts: how many samples count, and which directions of the parameters they determine."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def directions(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """What a recording says of parameters taken together: principal directions of their posterior.

    Args:
        covariance: In box coordinates, ``(parameter, parameter)``. What neither data nor prior determine, and what a
            bound holds, has no variance in it.

    Returns:
        Standard deviation along each direction in halves of the box, the largest first, ``(direction,)``, and the
        direction of the largest, ``(parameter,)``, its largest entry positive.
    """
    variance, vectors = torch.linalg.eigh(covariance)
    loosest = vectors[:, -1] * torch.sign(vectors[vectors[:, -1].abs().argmax(), -1])
    return variance.clamp(min=0).sqrt().flip(0), loosest


def correlation_time(error: Array, longest: int = 500) -> float:
    """``1 + 2 Σ ρ_k`` of a series ``(time,)``, summed to its first non-positive term; at least 1. Samples."""
    centred = error - error.mean()
    n = len(centred)
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    rho = np.fft.irfft(spectrum)[: min(longest, n)]
    rho = rho / max(rho[0], 1e-300)
    negative = np.flatnonzero(rho <= 0)
    stop = negative[0] if len(negative) else len(rho)
    return float(max(1.0, 1 + 2 * rho[1:stop].sum()))
