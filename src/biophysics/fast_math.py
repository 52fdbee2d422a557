"""How time loops are compiled, and elementary functions for them: in float32 rational, so that they vectorise."""

# mypy: disallow-untyped-defs=False
from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.extending import overload

#: Of a time loop.
COMPILE: dict[str, Any] = {"cache": True, "fastmath": {"contract", "arcp", "nsz", "reassoc"}, "error_model": "numpy"}
#: Of the functions that it calls. Left as calls, a process that compiles the loop and one that loads it from the cache
#: would link two differently optimised copies of them, and results would differ in the last bits.
INLINED: dict[str, Any] = {**COMPILE, "forceinline": True}


def tanh(x):
    """Hyperbolic tangent; in float32 a rational function (Eigen's), exact to 4 ulp, else by ``exp`` to 2e-16."""
    return math.tanh(x)


@overload(tanh, inline="always")
def _typed_tanh(x):
    if x != numba.float32:

        def by_exponential(x):
            return 1.0 - 2.0 / (math.exp(2.0 * x) + 1.0)  # twice as fast as the library's

        return by_exponential
    f = np.float32
    a = tuple(map(f, (4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08)))
    a += tuple(map(f, (-8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16)))
    b = tuple(map(f, (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)))
    limit = f(7.90531110763549805)

    def rational(x):
        x = min(max(x, -limit), limit)
        s = x * x
        p = a[0] + s * (a[1] + s * (a[2] + s * (a[3] + s * (a[4] + s * (a[5] + s * a[6])))))
        return x * p / (b[0] + s * (b[1] + s * (b[2] + s * b[3])))

    return rational
