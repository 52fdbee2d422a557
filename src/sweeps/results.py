"""What a sweep found: a table of its trials, and Optuna's own plots of the study."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import write_json, write_text
from ..run_folder import Run
from ..tables import COSTS, Cell, Stat, Table, total
from .job import Job, objective_value
from .plan import Plan, load_plan
from .study import Study

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

_STATES = {"COMPLETE": "finished", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "open", "WAITING": "open"}


@dataclass(frozen=True)
class Trial:
    """One point of a sweep and its runs.

    Attributes:
        number: Optuna's number.
        state: ``finished``, ``pruned``, ``failed`` or ``open``.
        parameters: Swept keys and their values.
        objectives: Name to the values of the runs, on validation data.
        runs: Its run folders, those that exist.
        error: Why it failed.
    """

    number: int
    state: str
    parameters: Mapping[str, Any]
    objectives: Mapping[str, tuple[float, ...]]
    runs: tuple[Run, ...]
    error: str = ""


class SweepResult:
    """The state of a sweep, read from its folder at this moment.

    Args:
        folder: The sweep's folder.
    """

    def __init__(self, folder: Path | str):
        self.folder = Path(folder).expanduser().resolve()
        self.plan: Plan = load_plan(self.folder)
        self.study = Study(self.folder, self.plan)

    @cached_property
    def trials(self) -> list[Trial]:
        """By number; of a point that was tried again, the last."""
        latest = {trial.user_attrs.get("retry", trial.number): trial for trial in self.study.trials}
        return [self._trial(trial) for trial in latest.values()]

    @property
    def best(self) -> Trial | None:
        """The finished trial with the best first objective: the mean over its runs."""
        finished = [trial for trial in self.trials if trial.state == "finished"]
        name, mode = self.plan.objectives[0]
        sign = 1 if mode == "min" else -1
        return min(finished, key=lambda t: sign * sum(t.objectives[name]) / len(t.objectives[name]), default=None)

    def counts(self) -> dict[str, int]:
        """Trials by state; those that were not begun yet are ``open``."""
        found = dict.fromkeys(("finished", "pruned", "failed", "open"), 0)
        for trial in self.trials:
            found[trial.state] += 1
        found["open"] += max(0, self.plan.trials - len(self.trials))
        return found

    def table(self, tested: bool = False) -> Table:
        """A row a trial, the best first.

        Args:
            tested: Also the scores on test data, which nobody should choose by.
        """
        metrics = list(dict.fromkeys(m for t in self.trials for run in t.runs for m in run.metrics)) if tested else []
        keys = [axis.key for axis in self.plan.axes]
        names = [name for name, _ in self.plan.objectives]
        head = ("trial", *keys, *names, *metrics, "state", *COSTS, "error")
        rows: list[tuple[Cell, ...]] = []
        for trial in sorted(self.trials, key=self._rank):
            costs = [run.record.get("cost") or {} for run in trial.runs]
            joules = total([cost.get("energy_j") for cost in costs])
            rows.append(
                (
                    str(trial.number),
                    *[trial.parameters.get(key) for key in keys],
                    *[_stat(trial.objectives.get(name, ())) for name in names],
                    *[_stat([run.metrics[m] for run in trial.runs if m in run.metrics]) for m in metrics],
                    trial.state,
                    f"{sum(cost.get('cpu_s', 0.0) for cost in costs):.1f}" if costs else None,
                    f"{max(cost.get('peak_memory_mb', 0.0) for cost in costs):.0f}" if costs else None,
                    None if joules is None else f"{joules / 1e3:.1f}",
                    trial.error or None,
                )
            )
        return Table(head, tuple(rows)).without_empty()

    def write(self) -> None:
        """``results.md``, ``.csv``, ``.tex``, ``.json`` and ``plots.html`` in the sweep's folder."""
        counts = ", ".join(f"{n} {state}" for state, n in self.counts().items() if n)
        head = f"# Sweep of {self.plan.experiment}\n\n{self.plan.sampler}, {counts}.\n\n"
        full = self.table(tested=True)
        write_text(self.folder / "results.md", head + self.table().markdown())
        write_text(self.folder / "results.csv", full.csv())
        write_text(self.folder / "results.tex", self.table().latex())
        write_json(self.folder / "results.json", [_plain(trial) for trial in self.trials])
        if sum(trial.state == "finished" for trial in self.trials) > 1:
            write_text(self.folder / "plots.html", self.page())

    def plots(self) -> dict[str, Any]:
        """Optuna's plotly figures by name: history, parallel coordinates, importance; a front for two objectives."""
        from optuna import visualization as v

        study = self.study.optuna
        if len(self.plan.objectives) > 1:
            names = [name for name, _ in self.plan.objectives]
            return {"pareto_front": v.plot_pareto_front(study, target_names=names)} if len(names) < 4 else {}
        name = self.plan.objectives[0][0]
        figures = {"history": v.plot_optimization_history(study, target_name=name)}
        if self.plan.axes:
            figures["parallel_coordinates"] = v.plot_parallel_coordinate(study, target_name=name)
        if len(self.plan.axes) > 1 and sum(t.state == "finished" for t in self.trials) > 3:
            figures["importance"] = v.plot_param_importances(study, target_name=name)
        return figures

    def page(self) -> str:
        """The plots as one HTML page that needs no network."""
        parts = []
        for number, figure in enumerate(self.plots().values()):
            parts.append(figure.to_html(full_html=False, include_plotlyjs=number == 0))
        title = html.escape(f"Sweep of {self.plan.experiment}")
        head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        return f"{head}<body><h1>{title}</h1>{''.join(parts)}</body></html>\n"

    def _trial(self, trial: FrozenTrial) -> Trial:
        jobs = [Job(self.folder / "jobs" / key) for key in trial.user_attrs.get("jobs", ())]
        runs = tuple(run for job in jobs if (run := job.run) is not None)
        state = _STATES[trial.state.name]
        scored = runs if state == "finished" else ()
        objectives = {
            name: tuple(objective_value(run, name, run.config["objective"]) for run in scored)
            for name, _ in self.plan.objectives
        }
        error = next((job.error for job in jobs if job.error), "") if state == "failed" else ""
        return Trial(trial.number, state, dict(trial.params), objectives, runs, error)

    def _rank(self, trial: Trial) -> tuple[bool, float, int]:
        name, mode = self.plan.objectives[0]
        values = trial.objectives.get(name, ())
        mean = sum(values) / len(values) if values else math.inf
        return not values, mean if mode == "min" else -mean, trial.number


def _stat(values: Any) -> Stat | None:
    return Stat(tuple(values)) if values and all(map(math.isfinite, values)) else None


def _plain(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "state": trial.state,
        "parameters": dict(trial.parameters),
        "objectives": {name: list(values) for name, values in trial.objectives.items()},
        "runs": [str(run.path) for run in trial.runs],
        "metrics": [run.metrics for run in trial.runs],
        "error": trial.error,
    }
