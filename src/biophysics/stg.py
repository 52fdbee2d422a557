"""Conductances of neurons of the crustacean stomatogastric ganglion (STG), with intracellular calcium.

Liu, Golowasch, Marder & Abbott 1998 (J. Neurosci. 18:2309) measured and modelled them; Prinz, Billimoria & Marder 2003
(J. Neurophysiol. 90:3998) slowed every gate but that of H by two (``speed=0.5``) and changed H. Constants as in the
xolotl simulator, channel folders ``liu`` and ``prinz``.

    C dV/dt = I - Σ g m^p h^q (V - E),   dm/dt = (m_inf - m) / tau_m,   tau_Ca d[Ca]/dt = -f I_Ca - [Ca] + [Ca]_0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .gates import Form, Gate, TimeConstant

#: Membrane area of the model cell: 0.628e-3 cm², so 1 mS/cm² is 0.628 µS and 1 µF/cm² is 0.628 nF.
AREA_MS_CM2_TO_US = 0.628
CAPACITANCE_NF = 0.628
#: RT/2F at 10 °C, mV; calcium outside and at rest inside, µM.
NERNST_MV, CALCIUM_OUTSIDE_UM, CALCIUM_REST_UM = 12.19, 3000.0, 0.05
#: Half-activation of KCa by calcium, µM.
KCA_HALF_UM = 3.0
#: Rise of calcium for a current, µM/nA, and its time constants, ms (Prinz 2003; Liu 1998).
CALCIUM_GAIN_UM_NA, CALCIUM_TAU_PRINZ_MS, CALCIUM_TAU_LIU_MS = 14.96, 200.0, 20.0


@dataclass(frozen=True)
class Channel:
    """A current ``g m^p h^q (V - E)``.

    Attributes:
        m: Activation.
        p: Its power.
        h: Inactivation, if any (power 1).
        reversal_mv: ``E``; ``None`` for calcium, whose reversal follows its concentration.
        needs_calcium: The steady state of ``m`` is multiplied by ``[Ca] / ([Ca] + 3 µM)``.
    """

    m: Gate
    p: int
    h: Gate | None
    reversal_mv: float | None
    needs_calcium: bool = False


def _sigmoid(base: float, scale: float, half: float, slope: float) -> TimeConstant:
    return TimeConstant(Form.SIGMOID, base, scale, half, slope)


def _bell(base: float, scale: float, half_1: float, slope_1: float, half_2: float, slope_2: float) -> TimeConstant:
    return TimeConstant(Form.BELL, base, scale, half_1, slope_1, half_2, slope_2)


#: Liu 1998 at speed 1. Conductances come from the cell, see :data:`PRINZ_CELLS`.
CHANNELS: dict[str, Channel] = {
    "Na": Channel(
        Gate(-25.5, -5.29, _sigmoid(1.32, -1.26, -120.0, -25.0)),
        3,
        Gate(-48.9, 5.18, TimeConstant(Form.SIGMOID, 0.0, 0.67, -62.9, -10.0, -34.9, 3.6, offset=1.5)),
        50.0,
    ),
    "CaT": Channel(
        Gate(-27.1, -7.2, _sigmoid(21.7, -21.3, -68.1, -20.5)),
        3,
        Gate(-32.1, 5.5, _sigmoid(105.0, -89.8, -55.0, -16.9)),
        None,
    ),
    "CaS": Channel(
        Gate(-33.0, -8.1, _bell(1.4, 7.0, -27.0, 10.0, -70.0, -13.0)),
        3,
        Gate(-60.0, 6.2, _bell(60.0, 150.0, -55.0, 9.0, -65.0, -16.0)),
        None,
    ),
    "A": Channel(
        Gate(-27.2, -8.7, _sigmoid(11.6, -10.4, -32.9, -15.2)),
        3,
        Gate(-56.9, 4.9, _sigmoid(38.6, -29.2, -38.9, -26.5)),
        -80.0,
    ),
    "KCa": Channel(Gate(-28.3, -12.6, _sigmoid(90.3, -75.1, -46.0, -22.7)), 4, None, -80.0, needs_calcium=True),
    "Kd": Channel(Gate(-12.3, -11.8, _sigmoid(7.2, -6.4, -28.3, -19.2)), 4, None, -80.0),
    "H": Channel(Gate(-70.0, 6.0, _sigmoid(272.0, 1499.0, -42.2, -8.73)), 1, None, -20.0),
    # Prinz 2003. The published numerator is 2: halved because the speed of 0.5 that goes with it is not meant for H.
    "H_prinz": Channel(Gate(-75.0, 5.5, _bell(0.0, 1.0, -169.7, -11.6, 26.7, 14.3)), 1, None, -20.0),
}

_ORDER = ("Na", "CaT", "CaS", "A", "KCa", "Kd", "H_prinz", "leak")
#: Maximal conductances of Prinz 2004 (Nat. Neurosci. 7:1345, table 2), mS/cm², for ``speed=0.5``; leak reverses at -50.
PRINZ_CELLS: dict[str, dict[str, float]] = {
    name: dict(zip(_ORDER, values, strict=True))
    for name, values in {
        "PM_0": (400, 2.5, 6, 50, 10, 100, 0.01, 0.0),
        "PM_4": (300, 2.5, 2, 10, 5, 125, 0.01, 0.0),
        "LP_0": (100, 0.0, 8, 40, 5, 75, 0.05, 0.02),
        "LP_2": (100, 0.0, 10, 50, 5, 100, 0.0, 0.03),
        "LP_3": (100, 0.0, 4, 20, 0, 25, 0.05, 0.03),
        "LP_4": (100, 0.0, 6, 30, 0, 50, 0.03, 0.02),
        "PY_1": (200, 7.5, 0, 50, 0, 75, 0.05, 0.0),
        "PY_5": (500, 2.5, 2, 40, 0, 125, 0.0, 0.02),
    }.items()
}


def calcium_reversal(calcium: Any) -> Any:
    """Nernst potential of calcium in mV at the concentration ``calcium`` (µM) inside."""
    ratio = CALCIUM_OUTSIDE_UM / calcium
    return NERNST_MV * (torch.log(ratio) if isinstance(ratio, torch.Tensor) else np.log(ratio))


def calcium_step(calcium: Any, current_na: Any, dt_ms: float, tau_ms: float) -> Any:
    """Advance the concentration (µM) by ``dt_ms`` while the calcium current (nA, inward negative) is held, exactly."""
    target = CALCIUM_REST_UM - CALCIUM_GAIN_UM_NA * current_na
    return target + (calcium - target) * np.exp(-dt_ms / tau_ms)
