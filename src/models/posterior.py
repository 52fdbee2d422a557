"""Distributions over a neuron's parameters, told from one recording: a network with a flow, and two simple bars."""

from __future__ import annotations

import torch
import zuko
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from ..errors import ConfigError

#: What an upstroke has to cross to be a spike, and the ceiling of voltages that are called subthreshold, mV.
SPIKE_MV, SUBTHRESHOLD_MV = -20.0, -45.0


class FlowPosterior(nn.Module):
    """Neural posterior estimation: convolutions read a trace, a conditional flow gives the distribution.

    The flow is a neural spline flow (Durkan et al. 2019) of coupling layers, from zuko. The network sees the trace
    twice, in units of spikes and, squashed, in units of what happens below them.

    Args:
        n_times: Samples of a trace.
        n_outputs: Parameters.
        width: Channels of the first layer; later ones have two to four times as many.
        embedding: Numbers that the flow is given of a trace.
        transforms: Layers of the flow.
        hidden: Width of the two hidden layers in each of them.
        bins: Of each spline.

    Example:
        >>> model = FlowPosterior(n_times=400, n_outputs=3)
        >>> model.posterior(torch.full((2, 1, 400), -65.0)).sample((5,)).shape
        torch.Size([5, 2, 3])
    """

    def __init__(
        self,
        n_times: int,
        n_outputs: int,
        width: int = 32,
        embedding: int = 128,
        transforms: int = 4,
        hidden: int = 96,
        bins: int = 8,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        length, channels = n_times, 2
        for factor, kernel, stride in ((1, 15, 5), (2, 8, 4), (3, 5, 4), (4, 4, 2)):
            layers += [nn.Conv1d(channels, factor * width, kernel, stride, padding=kernel // 2), nn.GELU()]
            length, channels = (length + 2 * (kernel // 2) - kernel) // stride + 1, factor * width
        self.read = nn.Sequential(*layers, nn.Flatten(), nn.Linear(length * channels, embedding), nn.GELU())
        self.flow = zuko.flows.NSF(
            n_outputs, embedding, bins=bins, transforms=transforms, hidden_features=(hidden, hidden), passes=2
        )

    def posterior(self, trace: Tensor) -> torch.distributions.Distribution:
        """Over ``(batch, parameter)``, of traces ``(batch, 1, time)`` in mV."""
        seen = torch.cat([(trace + 60) / 30, torch.tanh((trace + 65) / 10)], dim=1)
        found: torch.distributions.Distribution = self.flow(self.read(seen))
        return found

    def forward(self, trace: Tensor) -> Tensor:
        """What the flow makes of its base's centre, ``(batch, parameter)``: a point that stands for the posterior."""
        posterior = self.posterior(trace)
        assert isinstance(posterior, zuko.distributions.NormalizingFlow)
        centre: Tensor = posterior.transform.inv(trace.new_zeros(len(trace), self.flow.base().event_shape[0]))
        return centre


class GaussianPosterior(nn.Module):
    """Normal distribution around a ridge regression on features of the trace; without them, around the training mean.

    Its covariance is that of the training residuals, the same for every trace.

    Args:
        n_outputs: Parameters.
        features: ``spikes``, see :func:`spike_features`, or ``none``: the prior.
        penalty: Of the ridge, a sample, on features of variance 1.
    """

    weight: Tensor
    centre: Tensor
    scale: Tensor
    factor: Tensor

    def __init__(self, n_outputs: int, features: str = "spikes", penalty: float = 1e-3):
        super().__init__()
        if features not in ("spikes", "none"):
            raise ConfigError(f"model.features={features!r}: choose spikes or none")
        self.features, self.penalty = features, penalty
        self.register_buffer("weight", torch.full((N_FEATURES + 1, n_outputs), torch.nan))
        self.register_buffer("centre", torch.zeros(N_FEATURES))
        self.register_buffer("scale", torch.ones(N_FEATURES))
        self.register_buffer("factor", torch.eye(n_outputs))

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit to traces ``(n, 1, time)`` and parameters ``(n, parameter)``."""
        found = spike_features(inputs)
        self.centre.copy_(found.mean(0))
        self.scale.copy_(found.std(0).clamp(min=1e-6))
        x, y = self._design(inputs).double(), targets.double()
        ridge = self.penalty * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
        ridge[0, 0] = 0
        weight = torch.linalg.solve(x.T @ x + ridge, x.T @ y)
        self.weight.copy_(weight)
        residual = y - x @ weight
        covariance = residual.T @ residual / len(x)
        jitter = 1e-6 * torch.eye(len(covariance), dtype=x.dtype)
        self.factor.copy_(torch.linalg.cholesky(covariance + jitter))

    def posterior(self, trace: Tensor) -> torch.distributions.Distribution:
        """Over ``(batch, parameter)``, of traces ``(batch, 1, time)`` in mV."""
        return MultivariateNormal(self(trace), scale_tril=self.factor)

    def forward(self, trace: Tensor) -> Tensor:
        """Its mean, ``(batch, parameter)``."""
        if self.weight.isnan().any():
            raise ConfigError("GaussianPosterior is not fitted: train it first, or load a checkpoint of a trained run")
        return self._design(trace) @ self.weight

    def _design(self, trace: Tensor) -> Tensor:
        found = (spike_features(trace) - self.centre) / self.scale
        return torch.cat([torch.ones_like(found[:, :1]), found if self.features == "spikes" else 0 * found], dim=1)


#: Stretches of a trace that are described one by one.
_PARTS = 10
N_FEATURES = 6 + 2 * _PARTS


def spike_features(trace: Tensor) -> Tensor:
    """Features of a voltage trace ``(batch, 1, time)``, ``(batch, feature)``.

    Mean, variation, trough, peak and steepest rise and fall of the whole; spikes and mean subthreshold voltage of each
    tenth.
    """
    voltage = trace[:, 0]
    rise = voltage.diff(dim=1)
    above = voltage > SPIKE_MV
    up = (above[:, 1:] & ~above[:, :-1]).to(voltage.dtype)
    whole = [voltage.mean(1), voltage.std(1), voltage.amin(1), voltage.amax(1), rise.amax(1), rise.amin(1)]
    counts = [part.sum(1) for part in up.tensor_split(_PARTS, dim=1)]
    below = [part.mean(1) for part in voltage.clamp(max=SUBTHRESHOLD_MV).tensor_split(_PARTS, dim=1)]
    return torch.stack([*whole, *counts, *below], dim=1)
