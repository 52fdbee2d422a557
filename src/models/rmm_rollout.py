"""Running a recurrent mechanistic model: plain torch steps, or the compiled time loop as a differentiable function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from . import rmm_kernel as kernel
from .filters import SigmoidBank

if TYPE_CHECKING:
    from .rmm import RMM

_ACTIVATIONS = {"identity": kernel.IDENTITY, "tanh": kernel.TANH, "sigmoid": kernel.SIGMOID}
_BANKS = {"orthonormal": kernel.ORTHONORMAL, "diagonal": kernel.DIAGONAL}


def plain_rollout(
    model: RMM, voltage: Tensor, hidden: Tensor, injected: Tensor, teacher: Tensor | None, forcing: float
) -> tuple[Tensor, Tensor]:
    """The definition, step by step: what :func:`compiled_rollout` is tested against. Arguments as ``RMM.rollout``."""
    matrices = [current.bank.matrices() for current in model.terms]
    taught = [None] * injected.shape[1] if teacher is None else teacher.unbind(1)
    voltages = []
    for current, recorded in zip(injected.unbind(1), taught, strict=True):
        if recorded is not None and forcing:
            voltage = forcing * recorded + (1 - forcing) * voltage
        change = model.dt_ms * model.derivative(voltage, hidden, current)
        parts = hidden.split(model.hidden_sizes, dim=1)
        banks = zip(model.terms, matrices, parts, strict=True)
        centred = voltage - model.reference_mv
        hidden = torch.cat([x + x @ a.T + c.bank.drive(centred[:, c.driver]) * b for c, (a, b), x in banks], dim=1)
        voltage = voltage + change
        voltages.append(voltage)
    return torch.stack(voltages, dim=1), hidden


def compiled_rollout(
    model: RMM, voltage: Tensor, hidden: Tensor, injected: Tensor, teacher: Tensor | None, forcing: float
) -> tuple[Tensor, Tensor]:
    """The same in one call, with its own backward pass. Injected currents and the teacher get no gradient."""
    theta, blocks, reversals, layers, rows = pack(model)
    offsets = np.cumsum([0, *(n + 1 for n in model.hidden_sizes)])
    places = np.concatenate([np.arange(o + 1, o + 1 + n) for o, n in zip(offsets, model.hidden_sizes, strict=False)])
    static = (blocks, reversals, layers, rows, model.reference_mv.numpy(), model.dt_ms, float(forcing), places)
    trainable = any(current.bank.logit.requires_grad for current in model.terms)
    taught = injected if teacher is None else teacher
    return _CompiledRollout.apply(theta, voltage, hidden, injected, taught, static, trainable)


def pack(model: RMM) -> tuple[Tensor, np.ndarray, np.ndarray, np.ndarray, int]:
    """``theta``, ``blocks``, ``reversals``, ``layers`` and the number of output rows: see :mod:`.rmm_kernel`."""
    parts = [F.softplus(model.inverse_capacitance), F.softplus(model.leak), model.leak_bias]
    blocks: list[list[int]] = []
    reversals: list[float] = []
    layers: list[list[int]] = []
    offset, row, output = 3 * model.n_nodes, 0, 0
    for current in model.terms:
        bank, network = current.bank, current.layers()
        n = len(bank)
        sigmoids = [bank.threshold, bank.steepness] if isinstance(bank, SigmoidBank) else []
        parts += [bank.leak, bank.gain, *sigmoids]
        first_input = row if current.sees_voltage else row + 1
        blocks.append(
            [
                *(kernel.SIGMOIDS if sigmoids else _BANKS[bank.kind], current.driver, current.target, n),
                *(row, first_input, offset, offset + n),
                *(len(layers), len(network), int(current.reversal_mv is not None)),
            ]
        )
        reversals.append(current.reversal_mv or 0.0)
        offset, row = offset + (2 + len(sigmoids)) * n, row + n + 1
        for weight, bias, activation in network:
            n_out, n_in = weight.shape
            parts.append(weight.reshape(-1))
            at_bias = -1 if bias is None else offset + n_in * n_out
            if bias is not None:
                parts.append(bias)
            layers.append([n_in, n_out, _ACTIVATIONS[activation], offset, at_bias, output])
            offset, output = offset + n_in * n_out + (0 if bias is None else n_out), output + n_out
    theta = torch.cat(parts)
    return theta, np.array(blocks), np.array(reversals, theta.detach().numpy().dtype), np.array(layers), output


class _CompiledRollout(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        theta: Tensor,
        voltage: Tensor,
        hidden: Tensor,
        injected: Tensor,
        teacher: Tensor,
        static: tuple,
        poles: bool,
    ) -> tuple[Tensor, Tensor]:
        blocks, reversals, layers, rows, reference, dt_ms, forcing, places = static
        kind = theta.detach().numpy().dtype
        x0 = np.zeros((len(hidden.T) + len(blocks), len(hidden)), kind)
        x0[places] = hidden.detach().numpy().T
        common = (
            theta.detach().numpy(),
            blocks,
            reversals,
            layers,
            rows,
            reference,
            kind.type(dt_ms),
            kind.type(forcing),
        )
        signals = tuple(np.ascontiguousarray(s.detach().numpy().transpose(1, 2, 0)) for s in (injected, teacher))
        keep = any(ctx.needs_input_grad)
        v0 = np.ascontiguousarray(voltage.detach().numpy().T)
        out, last, *kept = kernel.forward(*common, v0, x0, *signals, keep)
        ctx.saved = common, signals, kept, places, forcing < 1 or ctx.needs_input_grad[2] or poles, poles
        return torch.from_numpy(out).permute(2, 0, 1), torch.from_numpy(last[places].T.copy())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple:
        common, signals, kept, places, states_too, poles = ctx.saved
        grad_out = np.ascontiguousarray(grads[0].numpy().transpose(1, 2, 0))
        grad_last = np.zeros((kept[1].shape[1], kept[1].shape[2]), common[0].dtype)
        grad_last[places] = grads[1].numpy().T
        theta, v0, x0 = kernel.backward(*common, *signals, *kept, grad_out, grad_last, states_too, poles)
        given = torch.from_numpy(theta), torch.from_numpy(v0.T), torch.from_numpy(x0[places].T)
        return (*given, None, None, None, None)
