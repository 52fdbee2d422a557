"""Ionic and synaptic currents of a recurrent mechanistic model: small networks on filtered voltages.

Layers, normalisation and initial weights as in the code of Burghi et al. 2025 (ChannelModels.jl, LayerModels.jl,
ANNUtilities.jl). A current is positive outward.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .filters import FilterBank

#: Range of the inputs over which an activation is not saturated (Nguyen & Widrow 1990).
ACTIVE_RANGE = {"tanh": 2.0, "identity": 1.0, "sigmoid": 4.0}
#: Voltages that the mechanistic synapse maps to -1 and 1, mV.
SYNAPSE_RANGE_MV = (-60.0, -40.0)


class Layer(NamedTuple):
    """An effective dense layer: ``activation(weight @ x + bias)``.

    Attributes:
        weight: ``(out, in)``.
        bias: ``(out,)``, or ``None``.
        activation: A key of :data:`ACTIVE_RANGE`.
    """

    weight: Tensor
    bias: Tensor | None
    activation: str


class Dense(nn.Module):
    """A dense layer with Nguyen-Widrow start; with ``positive``, all weights stay above 0 through a softplus.

    Args:
        n_in: Inputs.
        n_out: Outputs.
        activation: ``tanh``, ``sigmoid`` or ``identity``.
        bias: Whether there is one.
        positive: Whether weights are positive.
        scale: Multiplies the initial weights and biases; 1 is the paper's.
    """

    def __init__(
        self, n_in: int, n_out: int, activation: str, bias: bool = True, positive: bool = False, scale: float = 1.0
    ):
        super().__init__()
        self.activation, self.positive = activation, positive
        reach = ACTIVE_RANGE[activation] * scale
        if positive:
            weight = 4 / n_in * torch.empty(n_out, n_in).uniform_(0.25, 0.75) * reach
            weight = inverse_softplus(weight)
        else:
            reach *= 0.7 * n_out ** (1 / n_in)
            weight = F.normalize(torch.empty(n_out, n_in).uniform_(-1, 1), dim=1) * reach
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.linspace(-1, 1, n_out) * reach) if bias else None

    def layer(self) -> Layer:
        """What the layer computes with, after the softplus."""
        return Layer(F.softplus(self.weight) if self.positive else self.weight, self.bias, self.activation)


class Current(nn.Module):
    """A current into ``target``, from a filter bank driven by the voltage of ``driver``.

    ``y = net(transform @ (inputs - centre))``, and the current is ``y``, or ``y (V - E)`` where a reversal is given.

    Args:
        driver: Neuron whose voltage is filtered.
        target: Neuron that the current flows out of.
        bank: Its filters.
        dense: The network.
        sees_voltage: Whether the target's voltage is the first input, before the filter states.
        reversal_mv: ``E``; ``None`` for a current that is not split into conductance and driving force.
    """

    centre: Tensor
    transform: Tensor

    def __init__(
        self,
        driver: int,
        target: int,
        bank: FilterBank,
        dense: Sequence[Dense],
        sees_voltage: bool,
        reversal_mv: float | None = None,
    ):
        super().__init__()
        self.driver, self.target, self.sees_voltage, self.reversal_mv = driver, target, sees_voltage, reversal_mv
        self.bank = bank
        self.dense = nn.ModuleList(dense)
        n = len(bank) + sees_voltage
        self.register_buffer("centre", torch.zeros(n))
        self.register_buffer("transform", torch.eye(n))
        #: Multiplies the current: an intervention on a trained model, no part of it.
        self.factor = 1.0

    @property
    def chain(self) -> list[Dense]:
        """The dense layers."""
        return [part for part in self.dense if isinstance(part, Dense)]

    def layers(self) -> list[Layer]:
        """The network with the normalisation of its inputs folded into the first layer."""
        first, *rest = [part.layer() for part in self.chain]
        weight = first.weight @ self.transform
        shift = -(weight @ self.centre)
        bias = shift if first.bias is None else first.bias + shift
        layers = [Layer(weight, bias, first.activation), *rest]
        last = layers[-1]
        scaled = last.bias if last.bias is None else last.bias * self.factor
        return [*layers[:-1], last._replace(weight=last.weight * self.factor, bias=scaled)]

    def forward(self, voltage: Tensor, states: Tensor) -> Tensor:
        """The current, ``(batch,)``, nA.

        Args:
            voltage: Of the target, ``(batch,)``, mV.
            states: Of the bank, ``(batch, filter)``.
        """
        x = torch.cat([voltage[:, None], states], dim=1) if self.sees_voltage else states
        x = (x - self.centre) @ self.transform.T
        for part in self.chain:
            layer = part.layer()
            x = F.linear(x, layer.weight, layer.bias)
            x = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "identity": lambda y: y}[layer.activation](x)
        x = x[:, 0] * self.factor
        return x if self.reversal_mv is None else x * (voltage - self.reversal_mv)

    def penalty(self) -> Tensor:
        """Sum of the squares of all weights, biases left out."""
        return torch.stack([part.layer().weight.square().sum() for part in self.chain]).sum()

    @torch.no_grad()
    def fit_inputs(self, inputs: Tensor, how: str, floor: float = 1e-6) -> None:
        """Set the normalisation from training data.

        Args:
            inputs: Rows as the network sees them, ``(sample, input)``.
            how: ``minmax`` to [-1, 1] as in the paper, or ``whiten``: principal components of the z-scored inputs,
                which filters of neighbouring time constants make nearly collinear, each to unit variance.
            floor: Added to the variance of each component in whitening.
        """
        x = inputs.double()
        if how == "minmax":
            low, high = x.min(dim=0).values, x.max(dim=0).values
            centre, transform = (low + high) / 2, torch.diag(2 / (high - low).clamp_min(1e-6))
        else:
            centre, deviation = x.mean(dim=0), x.std(dim=0).clamp_min(1e-6)
            z = (x - centre) / deviation
            eigenvalues, vectors = torch.linalg.eigh(z.T @ z / len(z))
            transform = (vectors / torch.sqrt(eigenvalues.clamp_min(0) + floor)).T / deviation
        self.centre.copy_(centre)
        self.transform.copy_(transform)


class MechanisticSynapse(Current):
    """``I = g s(y) (V - E)``: the presynaptic voltage through parallel filters and a monotone network (521 parameters).

    The inputs are normalised by :data:`SYNAPSE_RANGE_MV`, not by data, and all weights are positive, so depolarising
    the partner can only open the synapse. ``conductance_us`` is where its maximal conductance starts: 1 is the paper's.
    """

    def __init__(
        self,
        driver: int,
        target: int,
        bank: FilterBank,
        dense: Sequence[Dense],
        reversal_mv: float,
        conductance_us: float = 1.0,
    ):
        super().__init__(driver, target, bank, dense, False, reversal_mv)
        self.conductance = nn.Parameter(torch.tensor(math.log(math.expm1(conductance_us))))
        with torch.no_grad():
            last = self.chain[-1]
            weight = F.softplus(last.weight)
            last.weight.copy_(inverse_softplus(weight / weight.sum()))
        self.refer(0.0)

    @torch.no_grad()
    def refer(self, reference_mv: float) -> None:
        """Set the normalisation for states that are filtered from ``V - reference_mv``."""
        low, high = SYNAPSE_RANGE_MV
        gain = self.bank.dc_gain
        self.centre.copy_(gain * ((low + high) / 2 - reference_mv))
        self.transform.copy_(torch.diag(2 / ((high - low) * gain)))

    def layers(self) -> list[Layer]:
        """As :meth:`Current.layers`, with the maximal conductance in the readout."""
        *rest, last = super().layers()
        return [*rest, last._replace(weight=last.weight * F.softplus(self.conductance))]

    def forward(self, voltage: Tensor, states: Tensor) -> Tensor:
        """As :meth:`Current.forward`."""
        return super().forward(voltage, states) * F.softplus(self.conductance)


class HammersteinSynapse(MechanisticSynapse):
    """``I = g Σ_j w_j y_j (V - E)``, ``w >= 0``: filters of sigmoids of the presynaptic voltage (85 parameters).

    The nonlinearity comes first, then the filter, as in the synapse of a dynamic clamp; the paper's mechanistic synapse
    filters first. Linear in its weights, so teacher forcing has no bad minima for it.
    """

    @torch.no_grad()
    def refer(self, reference_mv: float) -> None:
        """Move the sigmoids for a voltage measured from ``reference_mv``; they need no further normalisation."""
        self.bank.refer(reference_mv)


def inverse_softplus(x: Tensor) -> Tensor:
    """``y`` with ``softplus(y) = x``."""
    return x + torch.log(-torch.expm1(-x))
