"""Files of intracellular recordings: ABF, NWB, Igor waves, MATLAB, NPZ/NPY and CSV, brought to mV and nA.

Units are read from the file where it states them; a stated unit that differs from the file's is an error, and voltages
that no neuron has are taken for a wrong unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contracts import ClampRecording
from ...errors import ConfigError, DataError
from .matlab import read_mat

Array = NDArray[np.float64]
#: Factors to mV and to nA.
VOLTAGE_UNITS = {"V": 1e3, "mV": 1.0, "uV": 1e-3}
CURRENT_UNITS = {"A": 1e9, "mA": 1e6, "uA": 1e3, "nA": 1.0, "pA": 1e-3}
#: Current densities stay what they are: a model then needs no area.
DENSITY_UNITS = {"uA/cm2": 1.0, "mA/cm2": 1e3}
#: No membrane potential lies outside ± this many mV.
PLAUSIBLE_MV = 250.0
#: Of an ABF file; pyabf's time grows with their square.
_MOST_SWEEPS = 5000


@dataclass(frozen=True)
class ClampFormat:
    """What a file does not say itself.

    Attributes:
        voltage_unit: ``V``, ``mV`` or ``uV``; ``None``: as the file states.
        current_unit: ``A`` … ``pA``, or ``uA/cm2``; ``None``: as the file states.
        sampling_rate_hz: For files without a time axis.
        voltage_name: Array or column of a MATLAB, NPZ or CSV file.
        current_name: The same for the injected current.
    """

    voltage_unit: str | None = None
    current_unit: str | None = None
    sampling_rate_hz: float | None = None
    voltage_name: str = "V"
    current_name: str = "I"

    def __post_init__(self) -> None:
        for unit, known in ((self.voltage_unit, VOLTAGE_UNITS), (self.current_unit, CURRENT_UNITS | DENSITY_UNITS)):
            if unit is not None and _unit(unit) not in known:
                raise ConfigError(f"unit {unit!r}: choose from {', '.join(known)}")


class _Trace:
    """Samples with their unit and rate, as read."""

    def __init__(self, values: Any, unit: str | None, rate_hz: float | None):
        self.values, self.unit, self.rate_hz = np.asarray(values, float), _unit(unit), rate_hz


def read_clamp(path: Path, current_path: Path | None = None, how: ClampFormat | None = None) -> list[ClampRecording]:
    """Read the sweeps of a file.

    Args:
        path: ``.abf``, ``.nwb``, ``.ibw``, ``.mat``, ``.npz``, ``.npy`` or ``.csv``; suffixes in either case.
        current_path: The file of the injected current, where it is another one (Igor waves, NPY).
        how: What the file does not say itself.

    Returns:
        One recording a sweep, in mV and nA (or a current density).

    Raises:
        DataError: If the file is unreadable, holds no voltage or no current, or is in an unknown or implausible unit.
    """
    how = how or ClampFormat()
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown format; known are {', '.join(READERS)}")
    try:
        sweeps = reader(path, how)
        others = READERS[current_path.suffix.lower()](current_path, how) if current_path else []
    except (DataError, ConfigError):
        raise
    except Exception as error:  # each library has its own errors for a damaged file
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    if others and len(others) != len(sweeps):
        raise DataError(f"{current_path}: {len(others)} sweeps, {path.name} has {len(sweeps)}")
    if others:  # a file of one wave does not know whether it is voltage or current
        pairs = zip(sweeps, others, strict=True)
        sweeps = [(first[0] or first[1], second[1] or second[0]) for first, second in pairs]
    found = []
    for number, (voltage, current) in enumerate(sweeps):
        if voltage is None or current is None:
            missing = "voltage" if voltage is None else "injected current"
            raise DataError(
                f"{path}: no {missing} in it; name the array (voltage_name, current_name) or the other file"
            )
        name = path.stem if len(sweeps) == 1 else f"{path.stem}-{number:02d}"
        found.append(_recording(path, name, voltage, current, how))
    return found


def _recording(path: Path, name: str, voltage: _Trace, current: _Trace, how: ClampFormat) -> ClampRecording:
    rate = voltage.rate_hz or current.rate_hz or how.sampling_rate_hz
    if rate is None:
        raise DataError(f"{path}: states no sampling rate; give sampling_rate_hz")
    if how.sampling_rate_hz is not None and abs(rate / how.sampling_rate_hz - 1) > 1e-3:
        raise DataError(f"{path}: is sampled at {rate:g} Hz, sampling_rate_hz says {how.sampling_rate_hz:g}")
    if voltage.values.shape != current.values.shape or voltage.values.ndim != 1:
        raise DataError(
            f"{path}: voltage {voltage.values.shape} and current {current.values.shape} must be equal vectors"
        )
    mv = converted(path, "voltage", voltage, how.voltage_unit, VOLTAGE_UNITS)
    na = converted(path, "current", current, how.current_unit, CURRENT_UNITS | DENSITY_UNITS)
    if not (np.isfinite(mv).all() and np.isfinite(na).all()):
        raise DataError(f"{path}: {name} holds values that are not finite; cut them out first")
    if np.abs(mv).max() > PLAUSIBLE_MV or np.ptp(mv) < 1e-3:
        raise DataError(
            f"{path}: {name} would run from {mv.min():.3g} to {mv.max():.3g} mV, which no membrane does; "
            f"the unit {how.voltage_unit or voltage.unit or 'mV'} is wrong: set voltage_unit"
        )
    return ClampRecording(name, float(rate), mv, na)


def converted(path: Path, what: str, trace: _Trace, stated: str | None, known: Mapping[str, float]) -> Array:
    """A trace in mV or nA; ``stated`` is the user's unit, ``None`` leaves it to the file."""
    unit = _unit(stated)
    if unit and trace.unit and unit != trace.unit:
        raise DataError(f"{path}: {what} is in {trace.unit}, {what}_unit says {stated}")
    unit = unit or trace.unit
    if unit is None:
        raise DataError(f"{path}: states no unit of the {what}; set {what}_unit ({', '.join(known)})")
    if unit not in known:
        raise DataError(f"{path}: {what} in {unit!r}; known are {', '.join(known)}")
    return trace.values * known[unit]


def _unit(text: str | None) -> str | None:
    """One spelling a unit: micro is ``u``, squares are ``2``."""
    plain = (text or "").strip(" \x00").replace("µ", "u").replace("μ", "u").replace("²", "2").replace("^", "")
    return {"volts": "V", "volt": "V", "amperes": "A", "amps": "A", "ampere": "A"}.get(plain.lower(), plain) or None


Sweep = tuple[_Trace | None, _Trace | None]


def _abf(path: Path, how: ClampFormat) -> list[Sweep]:
    import pyabf

    _check_sweeps(path)
    abf = pyabf.ABF(str(path))
    units = [_unit(unit) for unit in abf.adcUnits]
    voltage = next((k for k, unit in enumerate(units) if unit in VOLTAGE_UNITS), None)
    recorded = next((k for k, unit in enumerate(units) if unit in CURRENT_UNITS), None)
    found: list[Sweep] = []
    for sweep in abf.sweepList:
        traces = [None if k is None else _channel(abf, sweep, k, units[k]) for k in (voltage, recorded)]
        if recorded is None and voltage is not None:
            traces[1] = _command(abf, sweep, voltage)
        found.append((traces[0], traces[1]))
    return found


def _check_sweeps(path: Path) -> None:
    """Refuse a number of sweeps that the file cannot hold: pyabf would work on it for hours."""
    with path.open("rb") as file:
        header = file.read(20)
    at = {b"ABF ": 16, b"ABF2": 12}.get(header[:4])
    sweeps = int.from_bytes(header[at : at + 4], "little") if at else 0
    if sweeps > min(path.stat().st_size // 64, _MOST_SWEEPS):
        raise DataError(
            f"{path}: its header says {sweeps} sweeps, but a file of {path.stat().st_size} bytes holds fewer, and more "
            f"than {_MOST_SWEEPS} are not read; it is damaged, or split it"
        )


def _channel(abf: Any, sweep: int, channel: int, unit: str | None) -> _Trace:
    abf.setSweep(sweep, channel=channel)
    return _Trace(abf.sweepY.copy(), unit, abf.sampleRate)


def _command(abf: Any, sweep: int, channel: int) -> _Trace | None:
    """The protocol's command waveform, which stands in for a current that was not recorded."""
    abf.setSweep(sweep, channel=channel)
    command = abf.sweepC.copy()
    if not np.isfinite(command).all():  # not a number where the file holds no protocol
        return None
    return _Trace(command, abf.sweepUnitsC, abf.sampleRate)


def _nwb(path: Path, how: ClampFormat) -> list[Sweep]:
    from pynwb import NWBHDF5IO
    from pynwb.icephys import CurrentClampSeries, CurrentClampStimulusSeries

    with NWBHDF5IO(str(path), "r", load_namespaces=True) as io:
        file = io.read()
        responses = _by_number(file.acquisition, CurrentClampSeries)
        stimuli = _by_number(file.stimulus, CurrentClampStimulusSeries)
        return [(_series(responses[n]), _series(stimuli[n]) if n in stimuli else None) for n in sorted(responses)]


def electrode_sweeps(path: Path) -> list[list[tuple[_Trace, _Trace | None]]]:
    """Voltage and injected current of every electrode in every sweep of an ABF or NWB file.

    ABF: voltage channels in the order of the file, each with the current channel of the same rank, or its command
    waveform. NWB: current-clamp series by sweep number (one sweep, where they have none) and electrode.
    """
    if path.suffix.lower() == ".abf":
        import pyabf

        _check_sweeps(path)
        abf = pyabf.ABF(str(path))
        units = [_unit(unit) for unit in abf.adcUnits]
        voltages = [k for k, unit in enumerate(units) if unit in VOLTAGE_UNITS]
        currents = [k for k, unit in enumerate(units) if unit in CURRENT_UNITS]
        found = []
        for sweep in abf.sweepList:
            pairs: list[tuple[_Trace, _Trace | None]] = []
            for rank, k in enumerate(voltages):
                if len(currents) == len(voltages):
                    current: _Trace | None = _channel(abf, sweep, currents[rank], units[currents[rank]])
                else:
                    current = _command(abf, sweep, k)
                pairs.append((_channel(abf, sweep, k, units[k]), current))
            found.append(pairs)
        return found
    from pynwb import NWBHDF5IO
    from pynwb.icephys import CurrentClampSeries, CurrentClampStimulusSeries

    with NWBHDF5IO(str(path), "r", load_namespaces=True) as io:
        file = io.read()
        responses = _by_electrode(file.acquisition, CurrentClampSeries)
        stimuli = _by_electrode(file.stimulus, CurrentClampStimulusSeries)
        sweeps: dict[int, list[tuple[_Trace, _Trace | None]]] = {}
        for number, electrode in sorted(responses):
            stimulus = stimuli.get((number, electrode))
            pair = _series(responses[number, electrode]), None if stimulus is None else _series(stimulus)
            sweeps.setdefault(number, []).append(pair)
        return list(sweeps.values())


def _by_electrode(container: Any, kind: type) -> dict[tuple[int, str], Any]:
    """Series by sweep number, 0 where they have none, and the name of their electrode."""
    series: list[Any] = [part for part in container.values() if isinstance(part, kind)]
    return {(int(getattr(part, "sweep_number", None) or 0), str(part.electrode.name)): part for part in series}


def _by_number(container: Any, kind: type) -> dict[tuple[int, ...], Any]:
    """Series by sweep number, or by the numbers in their name where they have none."""
    found = {}
    for name, series in container.items():
        if isinstance(series, kind):
            number = getattr(series, "sweep_number", None)
            numbers = (int(number),) if number is not None else tuple(map(int, re.findall(r"\d+", name)))
            found[numbers] = series
    return found


def _series(series: Any) -> _Trace:
    rate = series.rate
    if rate is None:
        stamps = np.asarray(series.timestamps)
        rate = (len(stamps) - 1) / (stamps[-1] - stamps[0])
    values = np.asarray(series.data, float) * series.conversion + (series.offset or 0.0)
    return _Trace(values, series.unit, float(rate))


def _igor(path: Path, how: ClampFormat) -> list[Sweep]:
    from igor2 import binarywave

    _check_igor(path)
    wave = binarywave.load(str(path))["wave"]
    header = wave["wave_header"]
    raw = header.get("dataUnits", b"")
    unit = _unit(b"".join(np.atleast_1d(raw).tolist()).decode("latin-1").strip("\x00"))
    step = float(np.atleast_1d(header.get("sfA", header.get("hsA", 0.0)))[0])
    scale = _unit(b"".join(np.ravel(header.get("dimUnits", b"")).tolist()).decode("latin-1").strip("\x00"))
    rate = (1e3 if scale == "ms" else 1.0) / step if step and step != 1.0 else None
    trace = _Trace(np.ravel(wave["wData"]), unit, rate)
    is_current = unit in CURRENT_UNITS or (unit is None and path.stem == how.current_name)
    return [(None, trace) if is_current else (trace, None)]


def _check_igor(path: Path) -> None:
    """Compare the sizes that a version 5 header announces with the file's: igor2 takes minutes over absurd ones."""
    data = path.read_bytes()
    order = {b"\x05\x00": "<", b"\x00\x05": ">"}.get(data[:2])
    if order is None or len(data) < 148:
        return  # an older version, or no wave: igor2 says so at once
    sizes = np.frombuffer(data[4:56] + data[76:80] + data[132:148], f"{order}i4")
    if sizes.min() < 0 or sizes.max() > len(data):
        raise DataError(
            f"{path}: damaged: its header announces {sizes.max()} bytes or points, it has {len(data)} bytes"
        )


def _named(path: Path, how: ClampFormat) -> list[Sweep]:
    """MATLAB and NPZ: arrays ``(time,)`` or ``(sweep, time)`` of the given names; ``t`` is a time axis in ms."""
    if path.suffix.lower() == ".mat":
        arrays = {name: np.asarray(value) for name, value in read_mat(path).items() if not name.startswith("__")}
    else:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    return _pairs(path, arrays, how)


def _csv(path: Path, how: ClampFormat) -> list[Sweep]:
    import pandas as pd

    table = pd.read_csv(path, sep=None, engine="python", comment="#")
    return _pairs(path, {str(name).strip(): table[name].to_numpy() for name in table}, how)


def _npy(path: Path, how: ClampFormat) -> list[Sweep]:
    """Columns time (ms), voltage or current, further ones ignored (VarAnneal's files)."""
    table = np.load(path, allow_pickle=False)
    if table.ndim != 2 or table.shape[1] < 2:
        raise DataError(f"{path}: has shape {table.shape}; expected columns time (ms) and voltage or current")
    return [(_Trace(table[:, 1], None, _rate(table[:, 0])), None)]


def _pairs(path: Path, arrays: Mapping[str, Array], how: ClampFormat) -> list[Sweep]:
    """Names may carry a unit: ``V``, ``V_mV``, ``V (mV)``."""
    found: dict[str, tuple[Array, str | None]] = {}
    for wanted in (how.voltage_name, how.current_name, "t"):
        for name, values in arrays.items():
            stated = re.fullmatch(rf"{re.escape(wanted)}(?:[ _]?[(\[]?([A-Za-zµμ/²0-9^]+)[)\]]?)?", name)
            if stated and wanted not in found:
                found[wanted] = (np.squeeze(np.asarray(values, float)), _unit(stated[1]))
    for wanted in (how.voltage_name, how.current_name):
        if wanted not in found:
            raise DataError(f"{path}: no {wanted!r} in it; it holds {', '.join(arrays) or 'nothing'}")
    rate = None
    if "t" in found:
        rate = _rate(found["t"][0] * (1e3 if found["t"][1] == "s" else 1.0))
    voltage, current = (np.atleast_2d(found[name][0]) for name in (how.voltage_name, how.current_name))
    if len(current) == 1 and len(voltage) > 1:
        current = np.repeat(current, len(voltage), axis=0)
    units = found[how.voltage_name][1], found[how.current_name][1]
    return [(_Trace(v, units[0], rate), _Trace(i, units[1], rate)) for v, i in zip(voltage, current, strict=True)]


def _rate(time_ms: Array) -> float:
    steps = np.diff(time_ms)
    if not len(steps) or steps.min() <= 0 or np.ptp(steps) > 0.01 * steps.mean():
        raise DataError("the time axis is not evenly spaced")
    return 1e3 / float(steps.mean())


READERS: dict[str, Callable[[Path, ClampFormat], list[Sweep]]] = {
    ".abf": _abf,
    ".nwb": _nwb,
    ".ibw": _igor,
    ".mat": _named,
    ".npz": _named,
    ".npy": _npy,
    ".csv": _csv,
}
