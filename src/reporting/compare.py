"""Runs side by side: what differs in their configurations, then what came out.

Runs are summarised together only if their configurations are equal in everything but the seed and the fold. The folds
of a seed are pooled into one value, as for a paper's rows; different sets of folds are different quantities.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..config import config_hash, flatten
from ..run_folder import Run
from ..tables import Cell, Stat, Table

#: What runs of one group may differ in.
SEEDS = ("seed", "datamodule.split_seed", "datamodule.fold")
_FOLDERS = ("data_root", "datamodule.root")
_IGNORED = (*SEEDS, "runs_dir", "figures", "datamodule.num_workers")


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but seed and fold.

    Attributes:
        label: Names it in tables.
        runs: Its members, oldest first; of two runs of the same seed and fold only the newest counts.
        metrics: Test metrics over seeds.
        folds: Folds that every seed has; empty where the data have none.
    """

    label: str
    runs: tuple[Run, ...]
    metrics: Mapping[str, Stat]
    folds: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """Groups, and the settings in which they differ.

    Attributes:
        groups: In the order in which their first run was given.
        settings: What they have been called with: dotted key to one value a group.
        surroundings: The same for code, device and versions.
    """

    groups: tuple[Group, ...]
    settings: Mapping[str, tuple[str, ...]]
    surroundings: Mapping[str, tuple[str, ...]]

    def tables(self) -> list[Table]:
        """Members, differences and results."""
        head = tuple(group.label for group in self.groups)
        members: list[tuple[Cell, ...]] = [
            (group.label, run.path.name, run.status, str(run.record.get("seed")), _fold_text(run))
            for group in self.groups
            for run in group.runs
        ]
        found = [Table(("group", "run", "status", "seed", "fold"), tuple(members), "Runs")]
        if self.settings:
            rows = tuple((key, *values) for key, values in self.settings.items())
            found.append(Table(("setting", *head), rows, "What differs in the configurations"))
        if self.surroundings:
            rows = tuple((key, *values) for key, values in self.surroundings.items())
            found.append(Table(("circumstance", *head), rows, "What differs in code and machine"))
        names = list(dict.fromkeys(name for group in self.groups for name in group.metrics))
        lines: list[tuple[Cell, ...]] = []
        for name in names:
            cells = [group.metrics.get(name) for group in self.groups]
            change: tuple[Cell, ...] = ()
            if len(cells) == 2:
                first, second = cells
                change = (f"{second.mean - first.mean:+.4g}" if first and second else None,)
            lines.append((name, *cells, *change))
        delta = (f"{head[1]} − {head[0]}",) if len(head) == 2 else ()
        note = "Mean ± standard deviation over seeds (number of seeds); the folds of a seed are pooled into one value."
        if len(self.groups) > 1 and any(
            len(stat.values) == 1 for g in self.groups for stat in g.metrics.values() if stat
        ):
            note += " One seed says little: a difference may be that of the seeds."
        found.append(Table(("metric", *head, *delta), tuple(lines), "Results", note))
        return found


def comparison(runs: Sequence[Run]) -> Comparison:
    """Group runs and find out what differs between the groups."""
    grouped: dict[str, list[Run]] = {}
    for run in runs:
        grouped.setdefault(_key(run), []).append(run)
    sets = [part for members in grouped.values() for part in _by_folds(members)]
    leaves = [dict(flatten(part[0].config)) for part in sets]
    settings = _differences([{k: v for k, v in leaf.items() if k not in _IGNORED} for leaf in leaves])
    folds = [_folds(part) for part in sets]
    if len(set(folds)) > 1 and len(sets) > 1:
        settings["folds"] = tuple(", ".join(map(str, f)) or "-" for f in folds)
    labels = _labels(sets, settings)
    groups = tuple(
        Group(label, tuple(part), _metrics(part), fold) for label, part, fold in zip(labels, sets, folds, strict=True)
    )
    return Comparison(groups, settings, _differences([_circumstances(part) for part in sets]))


def per_run(runs: Sequence[Run]) -> Table:
    """One row a run, nothing averaged: group, seed, fold, differing settings, cost, metrics."""
    found = comparison(runs)
    names = list(dict.fromkeys(name for run in runs for name in run.metrics))
    rows: list[tuple[Cell, ...]] = []
    for number, group in enumerate(found.groups):
        for run in group.runs:
            fold = (run.config.get("datamodule") or {}).get("fold")
            settings = [values[number] for values in found.settings.values()]
            metrics = [_number(run.metrics.get(name)) for name in names]
            seconds = (run.record.get("cost") or {}).get("cpu_s")
            rows.append(
                (
                    *(run.path.name, run.experiment, group.label, run.status, run.record.get("seed"), fold),
                    *(*settings, run.record.get("parameters"), seconds, *metrics),
                )
            )
    head = ("run", "experiment", "group", "status", "seed", "fold", *found.settings, "parameters", "cpu_s", *names)
    return Table(head, tuple(rows))


def _key(run: Run) -> str:
    leaves = dict(flatten(run.config))
    return " ".join([run.experiment, config_hash(run.config, SEEDS), *(str(leaves.get(name)) for name in _FOLDERS)])


def _by_folds(members: list[Run]) -> list[list[Run]]:
    """Runs of equal configuration, parted where seeds have different folds; the newest of a seed and fold."""
    seeds: dict[tuple[Any, Any], dict[Any, Run]] = {}
    for run in sorted(members, key=lambda run: (run.status == "finished", str(run.record.get("started")))):
        data = run.config.get("datamodule") or {}
        seeds.setdefault((run.record.get("seed"), data.get("split_seed")), {})[data.get("fold")] = run
    parts: dict[tuple[Any, ...], list[Run]] = {}
    for folds in seeds.values():
        parts.setdefault(tuple(sorted(folds, key=str)), []).extend(folds[key] for key in sorted(folds, key=str))
    return list(parts.values())


def _folds(part: Sequence[Run]) -> tuple[int, ...]:
    folds = {(run.config.get("datamodule") or {}).get("fold") for run in part}
    return tuple(sorted(fold for fold in folds if fold is not None))


def _metrics(part: Sequence[Run]) -> dict[str, Stat]:
    """Values over seeds; a metric that some seed lacks, or that is undefined in one, is left out."""
    seeds: dict[tuple[Any, Any], list[Run]] = {}
    for run in part:
        data = run.config.get("datamodule") or {}
        seeds.setdefault((run.record.get("seed"), data.get("split_seed")), []).append(run)
    if any(run.status != "finished" for run in part):
        return {}
    values = [_pooled(members) for members in seeds.values()]
    names = [name for name in values[0] if not any(math.isnan(float(other.get(name, math.nan))) for other in values)]
    return {name: Stat(tuple(float(value[name]) for value in values)) for name in names}


def _pooled(members: Sequence[Run]) -> Mapping[str, float]:
    if len(members) == 1:
        return members[0].metrics
    from ..reproduction import pooled

    return pooled(members)


def _differences(maps: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    found = {}
    for key in dict.fromkeys(key for values in maps for key in values):
        shown = tuple(_shown(values, key) for values in maps)
        if len(set(shown)) > 1:
            found[key] = shown
    return found


def _shown(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return "-"
    value = values[key]
    if key.endswith("_target_"):
        return str(value).rpartition(".")[2]
    return value if isinstance(value, str) else json.dumps(value)


def _circumstances(part: Sequence[Run]) -> dict[str, str]:
    found: dict[str, set[str]] = {}
    for run in part:
        git = run.record.get("git") or {}
        commit = str(git.get("commit", "-"))[:10] + (" + uncommitted changes" if git.get("dirty") else "")
        facts = {"commit": commit, "device": run.record.get("device"), **(run.record.get("versions") or {})}
        for name, value in facts.items():
            found.setdefault(name, set()).add(str(value))
    return {name: ", ".join(sorted(values)) for name, values in found.items()}


def _labels(sets: Sequence[Sequence[Run]], settings: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The shortest names that tell the groups apart: experiments, one setting, or letters."""
    experiments = [part[0].experiment for part in sets]
    if len(set(experiments)) == len(sets):
        return experiments
    for key, values in settings.items():
        if len(set(values)) == len(sets) and all(len(value) <= 24 for value in values):
            short = key.removesuffix("._target_").rpartition(".")[2]
            return [f"{short}={value}" for value in values]
    return [_letter(number) for number in range(len(sets))]


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"{_letter(number // 26 - 1)}{_letter(number % 26)}"


def _fold_text(run: Run) -> str | None:
    fold = (run.config.get("datamodule") or {}).get("fold")
    return None if fold is None else str(fold)


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
