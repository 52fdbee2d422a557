"""The recursion of an assimilation: how strongly each pass ties the model's voltage to the recording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError


class Nudging:
    """Each pass adds ``u (V_obs - V)`` to the voltage's equation, with a weaker ``u`` each time.

    Pinning replaces V by noisy readings; nudging averages them over ``1/u`` and is what measured better.

    Args:
        gains: ``u`` of every pass, 1/ms; ``inf`` pins every sample. Passes beyond the last one repeat it.
    """

    def __init__(self, gains: Sequence[float] = (np.inf, 5.0, 1.0, 0.2, 0.0)):
        if not gains or min(gains) < 0:
            raise ConfigError(f"task.recursion.gains={list(gains)}: give one gain a pass, none below 0")
        self.gains = tuple(gains)

    def gain(self, number: int, n: int) -> NDArray[np.float64]:
        """Gain of the step that leads to each of ``n`` samples in pass ``number``."""
        return np.full(n, self.gains[min(number, len(self.gains) - 1)])


class Pinning:
    """Each pass sets V to the reading at fewer samples (the published recursion: WO2023/214156).

    Args:
        every: Distance of pinned samples in every pass; 0: none is pinned.
    """

    def __init__(self, every: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 0)):
        if not every or min(every) < 0:
            raise ConfigError(f"task.recursion.every={list(every)}: give one distance a pass, none below 0")
        self.every = tuple(every)

    def gain(self, number: int, n: int) -> NDArray[np.float64]:
        """The same as :meth:`Nudging.gain`; infinite where V is pinned."""
        distance = self.every[min(number, len(self.every) - 1)]
        found = np.zeros(n)
        if distance:
            found[::distance] = np.inf
        return found
