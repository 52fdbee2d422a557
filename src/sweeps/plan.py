"""What a sweep was asked to do: read from the command line and a YAML file, checked, kept in ``sweep.json``."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..config import Composed, compose, compose_many, get_target, load_config
from ..errors import ConfigError, did_you_mean
from ..files import read_json, write_json
from ..registry import list_configs
from .space import MEMBER_KEYS, Axis, as_overrides, axes_from_mapping, corners, grid, numbers, parse_axes

SAMPLERS = ("grid", "random", "tpe", "cmaes", "nsga2")
PRUNERS = ("none", "median", "asha", "hyperband")
_FILE_KEYS = {
    "experiment",
    "space",
    "seeds",
    "data_seeds",
    "folds",
    "overrides",
    "sampler",
    "pruner",
    "trials",
    "objectives",
}
_FILE_KEYS |= {"experiment", "sampler_options", "pruner_options", "slurm"}


@dataclass(frozen=True)
class Plan:
    """A sweep.

    Attributes:
        experiment: ``paper/row``.
        fixed: Overrides that all trials share.
        axes: What varies from trial to trial.
        members: Config key to values: the runs of one trial are every combination of them (seeds, folds).
        objectives: Names and modes (``min`` or ``max``); the first is the one that pruners look at.
        sampler: One of :data:`SAMPLERS`.
        sampler_options: Arguments of Optuna's class.
        pruner: One of :data:`PRUNERS`.
        pruner_options: Arguments of Optuna's class.
        trials: How many.
        runs_dir: Where the runs lie.
        seed: Of the sampler.
        storage: Optuna storage URL; None for a journal file in the sweep's folder.
        name: Optuna study name.
        slurm: Options of submitit's executor.
    """

    experiment: str
    fixed: tuple[str, ...]
    axes: tuple[Axis, ...]
    members: Mapping[str, tuple[int, ...]]
    objectives: tuple[tuple[str, str], ...]
    sampler: str
    trials: int
    runs_dir: str
    sampler_options: Mapping[str, Any] = field(default_factory=dict)
    pruner: str = "none"
    pruner_options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    storage: str | None = None
    name: str = "sweep"
    slurm: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def grid(self) -> list[dict[str, Any]]:
        """Every point of a grid, in order."""
        return list(grid(self.axes))

    def jobs(self, parameters: Mapping[str, Any]) -> list[list[str]]:
        """Overrides of the runs that make up the trial at a point."""
        shared = [*self.fixed, *as_overrides(parameters)]
        combinations = itertools.product(*self.members.values())
        return [[*shared, *(f"{k}={v}" for k, v in zip(self.members, c, strict=True))] for c in combinations]

    def compose(self, parameters: Mapping[str, Any]) -> list[Composed]:
        """The configurations of a trial's runs."""
        return list(compose_many(self.experiment, self.jobs(parameters), self._read))

    def samples(self) -> Iterator[Composed]:
        """The jobs that must pass the gates before any starts: all of a grid, every choice and end of a search."""
        points = self.grid if self.sampler == "grid" else corners(self.axes)
        return compose_many(self.experiment, (job for point in points for job in self.jobs(point)), self._read)

    @cached_property
    def _read(self) -> dict[Any, Any]:
        """What composing has read from the files, for the next trial."""
        return {}

    def save(self, folder: Path) -> None:
        """Write ``sweep.json``."""
        write_json(folder / "sweep.json", asdict(self))


def load_plan(folder: Path) -> Plan:
    """Read ``sweep.json``.

    Raises:
        ConfigError: If the folder holds no sweep.
    """
    if not (folder / "sweep.json").exists():
        raise ConfigError(
            f"{folder}: is no sweep (no sweep.json); `neurotwin sweep` prints the folder that it works in"
        )
    values = read_json(folder / "sweep.json")
    values["axes"] = tuple(Axis(**{**axis, "choices": tuple(axis["choices"])}) for axis in values["axes"])
    values["members"] = {key: tuple(numbers) for key, numbers in values["members"].items()}
    values["objectives"] = tuple((name, mode) for name, mode in values["objectives"])
    values["fixed"] = tuple(values["fixed"])
    return Plan(**values)


def make_plan(experiment: str | None, arguments: Sequence[str], file: str | None = None, **given: Any) -> Plan:
    """A plan from what was typed.

    Args:
        experiment: ``paper/row``; by default the file's.
        arguments: Overrides, swept overrides, ``seeds=``, ``data_seeds=``, ``folds=``.
        file: Path of a sweep's YAML file, or its name as ``neurotwin list sweep`` prints it.
        **given: ``trials``, ``sampler``, ``pruner``, ``objectives``, ``storage``, ``seed``; None where not given. They
            win over the file.

    Raises:
        ConfigError: If something is missing, unknown or contradictory.
    """
    read = _read_file(file) if file else {}
    experiment = experiment or read.get("experiment")
    if experiment is None:
        raise ConfigError("which experiment? neurotwin sweep EXPERIMENT key=a,b (or --resume FOLDER)")
    typed, fixed, members = parse_axes(arguments)
    swept, shared, file_members = parse_axes([*axes_from_mapping(read.get("space", {})), *read.get("overrides", [])])
    axes = [*(axis for axis in swept if axis.key not in {t.key for t in typed}), *typed]
    fixed = [*shared, *fixed] if any(o.startswith("figures=") for o in fixed) else ["figures=false", *shared, *fixed]
    members = {**file_members, **{k: read[k] for k in MEMBER_KEYS if k in read}, **members}
    options = {**read, **{key: value for key, value in given.items() if value is not None}}
    base = compose(experiment, fixed)
    plan = Plan(
        experiment=experiment,
        fixed=tuple(fixed),
        axes=tuple(axes),
        members={MEMBER_KEYS[name]: _members(name, text, base) for name, text in members.items()},
        objectives=_objectives(options.get("objectives"), base),
        sampler=options.get("sampler") or ("grid" if all(axis.choices for axis in axes) else "tpe"),
        sampler_options=options.get("sampler_options", {}),
        pruner=options.get("pruner") or "none",
        pruner_options=options.get("pruner_options", {}),
        trials=options.get("trials") or 0,
        runs_dir=base.config["runs_dir"],
        seed=options.get("seed") or 0,
        storage=options.get("storage"),
        slurm=options.get("slurm", {}),
    )
    return _checked(plan)


def _checked(plan: Plan) -> Plan:
    for kind, name, choices in (("sampler", plan.sampler, SAMPLERS), ("pruner", plan.pruner, PRUNERS)):
        if name not in choices:
            raise ConfigError(f"{kind} {name!r}: {did_you_mean(name, choices)}")
    ranges = [axis.key for axis in plan.axes if not axis.choices]
    if not plan.axes and not plan.members:
        raise ConfigError("nothing is swept: write key=a,b or 'key=log(1e-4,1e-2)' or seeds=0..4")
    if plan.sampler == "grid" and ranges:
        raise ConfigError(f"a grid needs values, but {ranges[0]} is a range: choose --sampler random, tpe or cmaes")
    if plan.sampler != "grid" and plan.trials < 1:
        raise ConfigError(f"sampler {plan.sampler}: how many trials? --trials N")
    if plan.sampler == "cmaes" and (len(ranges) < 2 or len(plan.objectives) > 1):
        raise ConfigError("cmaes searches at least two ranges for one objective: choose --sampler tpe")
    if len(plan.objectives) > 1 and plan.pruner != "none":
        raise ConfigError("Optuna prunes with one objective only: leave out --pruner or all --objectives but one")
    swept = {axis.key for axis in plan.axes} & set(plan.members)
    if swept:
        raise ConfigError(f"{swept.pop()} is swept and among the members of a trial: leave out one of them")
    if plan.sampler == "grid":
        count = len(plan.grid)
        return replace(plan, trials=min(plan.trials, count) if plan.trials else count)
    return plan


def _read_file(name: str) -> dict[str, Any]:
    path = Path(name).expanduser()
    if path.suffix != ".yaml":
        entries = {entry.name: entry.path for entry in list_configs("sweep")}
        if name not in entries:
            raise ConfigError(f"there is no sweep {name!r}: {did_you_mean(name, entries)} (see `neurotwin list sweep`)")
        path = entries[name]
    read = load_config(path)
    for key in read:
        if key not in _FILE_KEYS:
            raise ConfigError(f"{path}: unknown key {key!r}; {did_you_mean(key, _FILE_KEYS)}")
    return read


def _members(name: str, text: Any, base: Composed) -> tuple[int, ...]:
    if name == "folds" and text == "all":
        datamodule = base.config["datamodule"]
        default = inspect.signature(get_target(datamodule["_target_"])).parameters.get("folds")
        count = datamodule.get("folds", default.default if default is not None else None)
        if not isinstance(count, int):
            raise ConfigError("folds=all: the datamodule does not say how many folds it has; write folds=0..4")
        return tuple(range(count))
    return numbers(name, text)


def _objectives(names: Any, base: Composed) -> tuple[tuple[str, str], ...]:
    """Names with modes: ``val/loss``, ``val/auroc:max``; one without a mode is the configured objective's, else min."""
    own = base.config["objective"]
    words = names.split(",") if isinstance(names, str) else list(names or [own["metric"]])
    found = []
    for word in words:
        name, _, mode = str(word).partition(":")
        if word is None:
            raise ConfigError(f"{base.experiment} has no objective.metric: name one, --objectives val/loss:min")
        if name.startswith("test/"):
            raise ConfigError(f"objective {name!r}: choosing by test scores would make them worthless; use val/…")
        mode = mode or (own["mode"] if name == own["metric"] else "min")
        if mode not in ("min", "max"):
            raise ConfigError(f"objective {word!r}: write NAME:min or NAME:max")
        found.append((name, mode))
    return tuple(found)
