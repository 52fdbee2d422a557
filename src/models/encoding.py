"""From a stimulus to the response of a listener who is not in the training set, in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import ConfigError


class MeanResponse(nn.Module):
    """What the other listeners did at that moment.

    The correlation of this prediction with a person's own series is the leave-one-out inter-subject correlation
    (Hasson et al. 2004; Nastase et al. 2019), and with it the ceiling of every model of the stimulus.

    Args:
        n_times: Volumes.
        n_nodes: Regions.
    """

    mean: Tensor

    def __init__(self, n_times: int, n_nodes: int):
        super().__init__()
        self.register_buffer("mean", torch.full((n_times, n_nodes), torch.nan))

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to responses ``(n, time, roi)``; the stimulus is not looked at."""
        self.mean.copy_(targets.mean(0))

    def forward(self, stimulus: Tensor) -> Tensor:
        """Response ``(batch, time, roi)`` to the stimulus ``(batch, time, feature)``."""
        _require(self, self.mean)
        return self.mean.expand(len(stimulus), -1, -1)


class LinearEncoding(nn.Module):
    """Least squares from the features of the stimulus to every region, the same for all listeners.

    Args:
        n_channels: Features.
        n_nodes: Regions.
    """

    weight: Tensor

    def __init__(self, n_channels: int, n_nodes: int):
        super().__init__()
        self.register_buffer("weight", torch.full((n_channels, n_nodes), torch.nan))

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to stimulus ``(n, time, feature)`` and responses ``(n, time, roi)``, both with zero mean."""
        x, y = inputs.double().flatten(0, 1), targets.double().flatten(0, 1)
        self.weight.copy_(torch.linalg.lstsq(x, y).solution)

    def forward(self, stimulus: Tensor) -> Tensor:
        """Response ``(batch, time, roi)`` to the stimulus ``(batch, time, feature)``."""
        _require(self, self.weight)
        return stimulus @ self.weight


def _require(model: nn.Module, fitted: Tensor) -> None:
    if fitted.isnan().any():
        name = type(model).__name__
        raise ConfigError(f"{name} is not fitted: train it first, or load a checkpoint of a trained run")
