"""What a sweep varies: ``k=a,b`` and ``k=log(1e-4,1e-2)`` on the command line, lists and the same words in YAML."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..config import override_list, swept
from ..errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import Trial

#: ``log(low,high)``: the distribution is uniform in the logarithm; ``logint`` the same over integers.
_RANGES = {"uniform": (False, False), "log": (False, True), "int": (True, False), "logint": (True, True)}
_RANGE = re.compile(r"(uniform|log|int|logint|interval)\(([^,()]+),([^,()]+)\)")
#: Not keys of a configuration: they say which runs make up one trial.
MEMBER_KEYS = {"seeds": "seed", "data_seeds": "datamodule.split_seed", "folds": "datamodule.fold"}


@dataclass(frozen=True)
class Axis:
    """One swept key.

    Attributes:
        key: Dotted key, or the name of a config group.
        choices: Values in Hydra's grammar; empty for a range.
        low: Lower end of a range.
        high: Upper end of a range, inclusive.
        integer: Whether the range holds integers only.
        log: Whether the range is searched in the logarithm.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    integer: bool = False
    log: bool = False

    def distribution(self) -> BaseDistribution:
        """Optuna's description of the axis."""
        from optuna import distributions as d

        if self.choices:
            return d.CategoricalDistribution(self.choices)
        if self.integer:
            return d.IntDistribution(int(self.low), int(self.high), log=self.log)
        return d.FloatDistribution(self.low, self.high, log=self.log)

    def suggest(self, trial: Trial) -> Any:
        """The trial's value on this axis; a second call gives the same."""
        if self.choices:
            return trial.suggest_categorical(self.key, self.choices)
        if self.integer:
            return trial.suggest_int(self.key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def ends(self) -> list[Any]:
        """The values that stand for all others in a check: every choice, both ends of a range."""
        if self.choices:
            return list(self.choices)
        return [int(self.low), int(self.high)] if self.integer else [self.low, self.high]


def parse_axes(arguments: Iterable[str]) -> tuple[list[Axis], list[str], dict[str, str]]:
    """Split what follows an experiment's name.

    Returns:
        Axes, fixed overrides, and the texts of :data:`MEMBER_KEYS`.

    Raises:
        ConfigError: If a range is empty or a key is swept twice.
    """
    axes: list[Axis] = []
    fixed, members = [], {}
    for text in arguments:
        key, equals, value = text.partition("=")
        if key in MEMBER_KEYS and equals:
            members[key] = value
        elif found := _RANGE.fullmatch(value.replace(" ", "")):
            axes.append(_range(key.lstrip("+"), *found.groups()))
        elif choices := swept(text):
            axes.append(Axis(*choices))
        else:
            fixed.append(text)
    for axis in axes:
        if sum(other.key == axis.key for other in axes) > 1:
            raise ConfigError(f"{axis.key} is swept twice")
    return axes, fixed, members


def axes_from_mapping(space: Mapping[str, Any]) -> list[str]:
    """The ``space`` of a sweep's YAML file as command-line arguments: lists are choices, strings are as typed."""
    arguments = []
    for key, value in space.items():
        if isinstance(value, list):
            words = [text.partition("=")[2] for v in value for text in override_list({key: v})]
            arguments.append(f"{key}={','.join(words)}" if len(words) > 1 else f"{key}=choice({words[0]})")
        else:
            arguments.append(f"{key}={value}")
    return arguments


def grid(axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    """Every combination of the choices, the last axis fastest."""
    for values in itertools.product(*(axis.choices for axis in axes)):
        yield dict(zip((axis.key for axis in axes), values, strict=True))


def corners(axes: Sequence[Axis]) -> Iterator[dict[str, Any]]:
    """Points that try every choice and every end of a range at least once."""
    ends = [axis.ends() for axis in axes]
    for number in range(max(map(len, ends), default=0)):
        yield {axis.key: end[min(number, len(end) - 1)] for axis, end in zip(axes, ends, strict=True)}


def as_overrides(parameters: Mapping[str, Any]) -> list[str]:
    """A point as Hydra overrides."""
    return [f"{key}={value if isinstance(value, str) else repr(value)}" for key, value in parameters.items()]


def numbers(name: str, text: str | int | Sequence[int]) -> tuple[int, ...]:
    """``0..4``, ``0,1,2``, ``7`` or a list of whole numbers.

    Raises:
        ConfigError: With ``name`` and how to write it.
    """
    if isinstance(text, int):
        text = [text]
    if not isinstance(text, str):
        found = list(text)
    else:
        span = re.fullmatch(r"(\d+)\.\.(\d+)", text.strip())
        words = re.fullmatch(r"\d+(,\d+)*", text.replace(" ", ""))
        found = list(range(int(span[1]), int(span[2]) + 1)) if span else []
        found = [int(word) for word in text.split(",")] if words else found
    if not found or len(set(found)) < len(found) or not all(isinstance(n, int) and n >= 0 for n in found):
        raise ConfigError(f"{name}={text!r}: write 0,1,2 or 0..4")
    return tuple(found)


def _range(key: str, word: str, low: str, high: str) -> Axis:
    integer, log = _RANGES.get(word, (False, False))
    try:
        ends = float(low), float(high)
        if integer and not all(end.is_integer() for end in ends):
            raise ValueError
    except ValueError:
        kind = "whole numbers" if integer else "numbers"
        raise ConfigError(f"{key}={word}({low},{high}): the ends must be {kind}") from None
    if not ends[0] < ends[1] or (log and ends[0] <= 0):
        low_end = "0 < low < high" if log else "low < high"
        raise ConfigError(f"{key}={word}({low},{high}): a range needs {low_end}")
    return Axis(key, (), ends[0], ends[1], integer, log)
