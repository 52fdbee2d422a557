"""Joules that the machine's own counters saw: RAPL of Intel and AMD processors, NVML of NVIDIA GPUs.

The counters are those of whole processor packages, their memory, and whole GPUs: what other processes did meanwhile is
in them. Where there is none, or none that may be read (since 2020 Linux shows RAPL to root only), nothing is recorded.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")


class EnergyMeter:
    """Energy since it was made. Counters overflow within the hour: read it every few minutes.

    Args:
        powercap: Folder of the ``intel-rapl:*`` zones; AMD's have the same name.
    """

    def __init__(self, powercap: Path = POWERCAP):
        self._counters = [*_rapl(powercap), *_nvml()]
        self._last = [read() for read, _ in self._counters]
        self._joules = 0.0

    def read(self) -> float | None:
        """Joules so far; None without a counter."""
        for number, (read, overflow) in enumerate(self._counters):
            now, before = read(), self._last[number]
            if now is None or before is None:
                continue
            self._joules += now - before + (overflow if now < before else 0.0)
            self._last[number] = now
        return self._joules if any(value is not None for value in self._last) else None


#: Reads joules since some time, and the joules after which it begins at 0 again.
Counter = tuple[Callable[[], float | None], float]


def _rapl(powercap: Path) -> list[Counter]:
    """Packages and their memory; cores and graphics are parts of the package."""
    found: list[Counter] = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        with contextlib.suppress(OSError, ValueError):
            name = (zone / "name").read_text(encoding="ascii").strip()
            if name.startswith("package") or name == "dram":
                overflow = int((zone / "max_energy_range_uj").read_text(encoding="ascii")) / 1e6
                found.append((partial(_microjoules, zone / "energy_uj"), overflow))
    return found


def _microjoules(file: Path) -> float | None:
    try:
        return int(file.read_text(encoding="ascii")) / 1e6
    except (OSError, ValueError):
        return None


def _nvml() -> list[Counter]:
    """GPUs that this process may use, where ``nvidia-ml-py`` is installed."""
    try:
        import pynvml
        import torch
    except ImportError:
        return []
    found: list[Counter] = []
    with contextlib.suppress(Exception):  # no driver, no such counter
        if torch.cuda.is_available():
            pynvml.nvmlInit()
            for number in range(torch.cuda.device_count()):
                uuid = f"GPU-{torch.cuda.get_device_properties(number).uuid}"
                card = pynvml.nvmlDeviceGetHandleByUUID(uuid)
                pynvml.nvmlDeviceGetTotalEnergyConsumption(card)  # older cards have none
                found.append((partial(_millijoules, pynvml.nvmlDeviceGetTotalEnergyConsumption, card), math.inf))
    return found


def _millijoules(read: Callable[[Any], int], card: Any) -> float:
    return read(card) / 1e3
