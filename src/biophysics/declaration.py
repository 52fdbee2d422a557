"""Neurons from their YAML form: currents, gates, values and bounds, as in ``configs/model``."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from ..errors import ConfigError, did_you_mean
from .conductance import GATE_PARAMETERS, Current, Neuron


def parse_currents(declared: Mapping[str, Mapping[str, object]]) -> tuple[Current, ...]:
    """Currents from their YAML form, ``NaT: {gates: {m: 3, h: 1}, reversal: Na}``."""
    found = []
    for name, entry in declared.items():
        unknown = set(entry) - {"gates", "reversal", "calcium"}
        if unknown or "reversal" not in entry:
            wrong = f"unknown key {min(unknown)!r}" if unknown else "no reversal"
            raise ConfigError(f"model.currents.{name}: {wrong}; a current has gates, reversal and calcium")
        if entry.get("calcium") not in (None, "hill"):
            raise ConfigError(f"model.currents.{name}.calcium={entry['calcium']!r}: choose hill, or leave it out")
        gates = entry.get("gates") or {}
        assert isinstance(gates, Mapping)
        powers = {str(gate): int(power) for gate, power in gates.items()}
        calcium = entry.get("calcium")
        found.append(Current(name, powers, str(entry["reversal"]), None if calcium is None else str(calcium)))
    return tuple(found)


def parse_gates(declared: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Values from ``m: [half, width, tau_width, tau_min, tau_range]``."""
    for gate, numbers in declared.items():
        if len(numbers) != len(GATE_PARAMETERS):
            raise ConfigError(f"model.gates.{gate}: has {len(numbers)} numbers, needs {', '.join(GATE_PARAMETERS)}")
    return {f"{g}_{w}": float(v) for g, row in declared.items() for w, v in zip(GATE_PARAMETERS, row, strict=True)}


def declare(
    currents: Mapping[str, Mapping[str, Any]],
    gates: Mapping[str, Sequence[float]],
    values: Mapping[str, float],
    speeds: Mapping[str, float] = MappingProxyType({}),
    shifted: Sequence[str] = (),
    fixed: Sequence[str] = ("capacitance",),
    bounds: Mapping[str, Sequence[Any]] = MappingProxyType({}),
) -> Neuron:
    """A neuron from its YAML form; a gate in ``fixed`` or ``bounds`` means its five numbers. See :class:`Neuron`."""
    return Neuron(
        parse_currents(currents),
        {**{name: float(value) for name, value in values.items()}, **parse_gates(gates)},
        speeds=dict(speeds),
        shifted=tuple(shifted),
        fixed=tuple(name for entry in fixed for name in (_of_gate(entry) if entry in gates else (entry,))),
        bounds=_parse_bounds(bounds, gates),
    )


def load_neuron(name: str, extra: Mapping[str, Mapping[str, Any]] = MappingProxyType({})) -> Neuron:
    """The neuron that ``configs/model/<name>.yaml``, or a YAML file at the path ``name``, declares.

    Args:
        name: Of the file.
        extra: What the neuron has besides: ``currents``, ``gates`` and ``values``, as in the file.
    """
    folder = resources.files("neurotwin.configs") / "model"
    path = Path(name) if name.endswith((".yaml", ".yml")) else Path(str(folder / f"{name}.yaml"))
    declared = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if "currents" not in declared:
        known = [p.stem for p in Path(str(folder)).glob("*.yaml") if "currents:" in p.read_text(encoding="utf-8")]
        raise ConfigError(
            f"neuron={name!r} is no declared neuron; {did_you_mean(name, known)}, or a path to such a file"
        )
    for part, entries in extra.items():
        if part not in ("currents", "gates", "values"):
            raise ConfigError(f"extra.{part}: an addition to a neuron has currents, gates and values")
        declared[part] = {**declared.get(part, {}), **entries}
    accepted = inspect.signature(declare).parameters
    return declare(**{key: value for key, value in declared.items() if key in accepted})


def _of_gate(gate: str) -> tuple[str, ...]:
    return tuple(f"{gate}_{what}" for what in GATE_PARAMETERS)


def _parse_bounds(
    declared: Mapping[str, Sequence[Any]], gates: Mapping[str, Sequence[float]]
) -> dict[str, tuple[float, float]]:
    found = {}
    for name, entry in declared.items():
        pairs = {name: entry}
        if name in gates:
            if len(entry) != len(GATE_PARAMETERS):
                raise ConfigError(f"model.bounds.{name}: a gate needs five pairs of bounds, got {len(entry)}")
            pairs = dict(zip(_of_gate(name), entry, strict=True))
        for key, pair in pairs.items():
            if len(pair) != 2 or not pair[0] <= pair[1]:
                raise ConfigError(f"model.bounds.{key}={list(pair)}: give [lower, upper]")
            found[key] = (float(pair[0]), float(pair[1]))
    return found
