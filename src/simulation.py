"""One simulated recording with its truth, as labelled arrays; ``configs/simulator`` says what there is."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import yaml
from numpy.typing import NDArray

from . import __version__
from .config import flatten, instantiate, load_config
from .contracts import CircuitRecording, Exam, Recording
from .errors import ConfigError, did_you_mean
from .registry import list_configs
from .simulators.eeg import STATES, sample_states
from .simulators.half_center import HIDDEN_UNITS
from .simulators.patch_clamp import ClampSession
from .simulators.whole_brain import Scans


@dataclass(frozen=True)
class Simulated:
    """What a simulator made.

    Attributes:
        name: Of the simulator.
        recording: In the form that datamodules take.
        simulator: The simulator with its settings.
        data: The same as labelled arrays: every variable has its unit as ``attrs["units"]``; what no instrument could
            have seen has ``attrs["role"] == "truth"``.
    """

    name: str
    recording: Any
    simulator: Any
    data: xr.Dataset


def simulate(
    name: str, seed: int = 0, overrides: Mapping[str, Any] | Iterable[str] = (), **settings: Any
) -> xr.Dataset:
    """Simulate one recording.

    Args:
        name: A simulator, as ``neurotwin list simulator`` prints it.
        seed: Decides the recording.
        overrides: Settings with dotted names: ``{"clamp.half_syn_mv": -50}`` or ``["clamp.half_syn_mv=-50"]``.
        **settings: Other settings of the simulator's file: ``seconds=10``.

    Returns:
        Labelled arrays with units and the truth, see :class:`Simulated`.

    Raises:
        ConfigError: If simulator or setting is unknown, or a value is refused.

    Example:
        >>> trial = simulate("half_center", seconds=0.1, burn_in_s=0.0, seed=1)
        >>> trial.voltage.dims, trial.voltage.attrs["units"]
        (('time', 'neuron'), 'mV')
    """
    return make(name, seed, overrides, **settings).data


def make(name: str, seed: int = 0, overrides: Mapping[str, Any] | Iterable[str] = (), **settings: Any) -> Simulated:
    """:func:`simulate`, and the recording itself; writers need it."""
    entries = {entry.name: entry for entry in list_configs("simulator")}
    if name not in entries:
        raise ConfigError(f"unknown simulator {name!r}: {did_you_mean(name, entries)} (see `neurotwin list simulator`)")
    path = entries[name].path
    config = load_config(path)
    for key, value in {**_pairs(overrides), **settings}.items():
        _set(config, key, value, path)
    try:
        simulator = instantiate(config)
        recording = simulator.record(seed)
    except Exception as error:
        cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
        if isinstance(cause, ConfigError):
            raise cause from None
        if isinstance(cause, TypeError | ValueError):
            raise ConfigError(f"simulate {name}: {type(cause).__name__}: {cause}") from error
        raise
    data = describe(recording, simulator)
    used = json.dumps({key: value for key, value in flatten(config) if not key.endswith("_target_")})
    data.attrs |= {"simulator": name, "seed": seed, "settings": used, "origin": f"neurotwin {__version__}, simulated"}
    return Simulated(name, recording, simulator, data)


@singledispatch
def describe(recording: Any, simulator: Any) -> xr.Dataset:
    """A recording as labelled arrays; one implementation a kind of recording.

    Args:
        recording: What the simulator made.
        simulator: Knows names that the recording lacks.
    """
    raise ConfigError(f"{type(recording).__name__}: recordings of this kind cannot be described yet")


@describe.register
def _(recording: CircuitRecording, simulator: Any) -> xr.Dataset:
    dims = ("time", "neuron")
    found = {
        "voltage": (dims, recording.voltage, _measured("mV", "membrane potential, measurement noise included")),
        "injected_current": (dims, recording.current, _measured("nA", "injected current")),
    }
    if recording.synaptic is not None:
        found["synaptic_current"] = (dims, recording.synaptic, _truth("nA", "synaptic current, outward positive"))
    for name, values in recording.hidden.items():
        found[f"true_{name}"] = (dims, values, _truth(HIDDEN_UNITS.get(name, ""), name))
    time = _clock(len(recording.voltage), recording.sampling_rate_hz)
    neurons = list(range(1, recording.n_nodes + 1))
    return xr.Dataset(found, {"time": time, "neuron": neurons}, {"sampling_rate_hz": recording.sampling_rate_hz})


@describe.register
def _(recording: ClampSession, simulator: Any) -> xr.Dataset:
    sweeps, neuron = recording.sweeps, simulator.neuron
    dims = ("sweep", "time")

    def all_of(name: str) -> NDArray[Any]:
        return np.stack([sweep.truth[name] if name in sweep.truth else getattr(sweep, name) for sweep in sweeps])

    found = {
        "voltage": (dims, np.stack([s.voltage for s in sweeps]), _measured("mV", "membrane potential, with noise")),
        # The same number is the density in µA/cm² in a membrane of 1e-3 cm².
        "injected_current": (dims, all_of("current"), _measured("nA", "injected current")),
        "true_voltage": (dims, all_of("voltage"), _truth("mV", "membrane potential without noise")),
        "ionic_current": ((*dims, "current"), all_of("currents"), _truth("µA/cm²", "ionic current, outward positive")),
        "left": (("sweep", "current"), all_of("ratios"), _truth("1", "what the condition leaves of each conductance")),
        "parameters": (("sweep", "parameter"), all_of("theta"), _truth("see parameter_unit", "parameters of the cell")),
    }
    coordinates = {
        "time": _clock(len(sweeps[0].voltage), simulator.sampling_rate_hz),
        "condition": ("sweep", [sweep.condition for sweep in sweeps]),
        "current": [current.name for current in neuron.currents],
        "parameter": list(neuron.names),
        "parameter_unit": ("parameter", list(neuron.units)),
    }
    return xr.Dataset(found, coordinates, {"sampling_rate_hz": simulator.sampling_rate_hz})


@describe.register
def _(recording: Recording, simulator: Any) -> xr.Dataset:
    events = sorted(recording.events)
    meanings = ", ".join(f"{code} {state}" for code, state in enumerate(STATES))
    found = {
        "signal": (("channel", "time"), recording.signal, _measured("µV", "scalp potential")),
        "state": ("time", sample_states(recording), _truth("1", f"state of the brain: {meanings}")),
        "onset": ("event", [event.onset_s for event in events], _truth("s", "begin of an event")),
        "duration": ("event", [event.duration_s for event in events], _truth("s", "length of an event")),
        "kind": ("event", [event.kind for event in events], _truth("", "kind of an event; seizures begin with sz")),
    }
    time = _clock(recording.signal.shape[-1], recording.sampling_rate_hz)
    coordinates = {"time": time, "channel": list(recording.channel_names)}
    return xr.Dataset(found, coordinates, {"sampling_rate_hz": recording.sampling_rate_hz})


@describe.register
def _(recording: Scans, simulator: Any) -> xr.Dataset:
    brain = simulator.connectome
    expected = "expected correlation, zero diagonal, "
    found = {
        "rest": (("rest_volume", "region"), recording.rest, _measured("1", "BOLD at rest, arbitrary unit")),
        "story": (("story_volume", "region"), recording.story, _measured("1", "BOLD while listening, arbitrary unit")),
        "rest_connectivity": (("region", "other_region"), recording.rest_connectivity, _truth("1", f"{expected}rest")),
        "story_connectivity": (
            ("region", "other_region"),
            recording.story_connectivity,
            _truth("1", f"{expected}story"),
        ),
        "effect": ((), recording.effect, _truth("1", "log gain of the language network")),
        "trait": ((), recording.trait, _truth("1", "the part of it that rest reveals, z-scored")),
    }
    names = list(brain.names)
    coordinates = {"region": names, "other_region": names, "network": ("region", list(brain.networks))}
    return xr.Dataset(found, coordinates, {"tr_s": simulator.tr_s})


@describe.register
def _(recording: Exam, simulator: Any) -> xr.Dataset:
    found = {}
    for name, volume in recording.images.items():
        dims = tuple(f"{axis}_{name}" for axis in "ijk")  # the grids of two sequences differ
        place = {"affine": volume.affine.ravel().tolist(), "spacing_mm": list(volume.spacing_mm)}
        found[name] = (dims, volume.data, _measured("1", f"{name}, arbitrary intensity") | place)
        if name in recording.masks:
            found[f"{name}_mask"] = (dims, recording.masks[name].data, _truth("1", "tumour label") | place)
    known = {key: value for key, value in recording.metadata.items() if isinstance(value, str | int | float)}
    return xr.Dataset(found, attrs={"patient": recording.patient, "site": recording.site, **known})


def _clock(n: int, rate_hz: float) -> xr.Variable:
    return xr.Variable("time", np.arange(n) / rate_hz, {"units": "s"})


def _measured(unit: str, what: str) -> dict[str, str]:
    return {"units": unit, "long_name": what, "role": "measured"}


def _truth(unit: str, what: str) -> dict[str, str]:
    return {"units": unit, "long_name": what, "role": "truth"}


def _pairs(overrides: Mapping[str, Any] | Iterable[str]) -> dict[str, Any]:
    if isinstance(overrides, Mapping):
        return dict(overrides)
    pairs = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError(f"{text!r}: write settings as key=value")
        pairs[key] = yaml.safe_load(value)
    return pairs


def _set(config: dict[str, Any], key: str, value: Any, path: Path) -> None:
    known = [name for name, _ in flatten(config) if not name.endswith("_target_")]
    if key not in known:
        raise ConfigError(f"simulate {path.stem}: there is no setting {key!r}; {did_you_mean(key, known)}")
    node = config
    *parents, last = key.split(".")
    for parent in parents:
        node = node[parent]
    if isinstance(node[last], int | float) and not isinstance(value, int | float):
        raise ConfigError(f"simulate {path.stem}: {key}={value!r} is no number")
    node[last] = value
