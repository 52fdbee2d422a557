"""Electrode compensation: what the electrode adds to a recorded voltage while current flows through it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_toeplitz
from scipy.optimize import curve_fit
from scipy.signal import fftconvolve

from ..contracts import ClampRecording
from ..errors import ConfigError, DataError
from .formats.clamp_files import ClampFormat, read_clamp

Array = NDArray[np.float64]


class SeriesResistance:
    """Subtract ``R I``, as bridge balance does.

    Args:
        resistance_mohm: mV per nA.
    """

    def __init__(self, resistance_mohm: float):
        self.resistance_mohm = resistance_mohm

    def __call__(self, recording: ClampRecording) -> ClampRecording:
        """The recording without the electrode's part."""
        return replace(recording, voltage=recording.voltage - self.resistance_mohm * recording.current)


class ActiveElectrode:
    """Active electrode compensation: subtract the electrode's kernel convolved with the current.

    The kernel from current to voltage is estimated by least squares from a sub-threshold recording with fluctuating
    current; its slow part, an exponential fitted to the tail, is the membrane's, the rest is the electrode's (Brette et
    al. 2008, Badel et al. 2008).

    Args:
        voltage_file: The sub-threshold recording.
        current_file: Its current, where it lies in another file.
        voltage_unit: See :class:`.formats.clamp_files.ClampFormat`.
        current_unit: See there.
        kernel_ms: Length of the kernel.
        tail_ms: From here on it is the membrane's alone.
    """

    def __init__(
        self,
        voltage_file: str | Path,
        current_file: str | Path | None = None,
        voltage_unit: str | None = None,
        current_unit: str | None = None,
        kernel_ms: float = 30.0,
        tail_ms: float = 4.0,
    ):
        if not 0 < tail_ms < kernel_ms:
            raise ConfigError(f"compensate.tail_ms={tail_ms:g} must lie between 0 and kernel_ms={kernel_ms:g}")
        paths = [Path(p).expanduser() if p else None for p in (voltage_file, current_file)]
        for path in paths:
            if path is not None and not path.is_file():
                raise DataError(
                    f"compensate: {path} is missing; name a sub-threshold recording, or leave compensate out"
                )
        assert paths[0] is not None
        (probe,) = read_clamp(paths[0], paths[1], ClampFormat(voltage_unit, current_unit))
        self.dt_ms = 1e3 / probe.sampling_rate_hz
        self.kernel = electrode_kernel(probe.current, probe.voltage, self.dt_ms, kernel_ms, tail_ms)

    @property
    def resistance_mohm(self) -> float:
        """Total of the electrode's kernel."""
        return float(self.kernel.sum())

    def __call__(self, recording: ClampRecording) -> ClampRecording:
        """The recording without the electrode's part."""
        if abs(1e3 / recording.sampling_rate_hz / self.dt_ms - 1) > 1e-3:
            raise DataError(
                f"{recording.name}: sampled at {recording.sampling_rate_hz:g} Hz, the electrode's recording at "
                f"{1e3 / self.dt_ms:g} Hz; record both at one rate"
            )
        added = fftconvolve(recording.current, self.kernel)[: len(recording.current)]
        return replace(recording, voltage=recording.voltage - added)


def electrode_kernel(current: Array, voltage: Array, dt_ms: float, kernel_ms: float, tail_ms: float) -> Array:
    """Kernel of the electrode in MOhm a sample, up to ``tail_ms``."""
    n = round(kernel_ms / dt_ms)
    i, v = current - current.mean(), voltage - voltage.mean()
    size = 2 * len(i)
    spectrum = np.fft.rfft(i, size)
    auto = np.fft.irfft(np.abs(spectrum) ** 2, size)[:n]
    cross = np.fft.irfft(np.conj(spectrum) * np.fft.rfft(v, size), size)[:n]
    auto[0] *= 1 + 1e-6
    kernel = solve_toeplitz(auto, cross)
    time = np.asarray(np.arange(n) * dt_ms, dtype=np.float64)
    late = time >= tail_ms

    def membrane(t: Array, height: float, tau: float) -> Array:
        return height * np.exp(-t / tau)

    try:
        (height, tau), _ = curve_fit(membrane, time[late], kernel[late], [max(kernel[late][0], 1e-6), 15.0])
    except RuntimeError as error:
        raise DataError(f"compensate: no membrane is seen in the kernel after {tail_ms:g} ms ({error})") from error
    early = ~late
    return np.asarray(kernel[early] - membrane(time[early], height, tau))
