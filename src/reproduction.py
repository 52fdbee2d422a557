"""Reproduce a paper: run what is missing of its rows, pool the folds, put our numbers beside the published ones."""

from __future__ import annotations

import itertools
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from .code_version import code_hash
from .comparison import check_comparisons, compare, merge, render_comparisons, row_losses
from .config import Composed, compose_many, get_target, load_config
from .errors import ConfigError, NeurotwinError, did_you_mean
from .files import read_json, write_json, write_text
from .gates import build_part
from .registry import paper_dir, papers
from .run_folder import Run, runs
from .sweeps.pool import run_all
from .sweeps.space import numbers
from .tables import render, tables, total, update_readme

log = logging.getLogger("neurotwin")
_ROW_KEYS = {"name", "config", "overrides", "grid", "folds", "seeds", "metric", "published", "source", "tolerance"}
DATA = ("real", "simulated", "other")
_SMOKE = ("debug=fast", "trainer.max_epochs=1")  # the latter again, because a row's own override would win over debug
_ROW_KEYS |= {"better", "data", "note", "smoke", "needs"}


@dataclass(frozen=True)
class Row:
    """One line of a paper's table.

    Attributes:
        name: Unique name; of grid rows, the labels joined by ``/``.
        config: Experiment ``paper/row``.
        overrides: Hydra overrides on top of it.
        seeds: Model and split seeds; one value of every metric each.
        folds: Folds pooled into that value; None for a single run.
        metric: The metric that the verdict is about.
        labels: Grid axis to label, for tables.
        published: The paper's value, if it gives one.
        source: Where in the paper.
        tolerance: Largest difference that still counts as reproduced.
        better: ``higher`` or ``lower`` values of the metric.
        data: ``real``, ``simulated``, or ``other`` for real data that are not those of the paper.
        note: What a reader must know about the comparison.
        smoke: Further overrides of a smoke run, such as shorter recordings; rows that they make alike run once.
        needs: An optional package, also the name of neurotwin's extra; without it the row is left out.
        tried: Whether a smoke run of all rows takes it: of a grid, rows that have every value of every axis.
    """

    name: str
    config: str
    metric: str
    overrides: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    folds: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    published: float | None = None
    source: str = ""
    tolerance: float = 0.01
    better: str = "higher"
    data: str = "real"
    note: str = ""
    smoke: tuple[str, ...] = ()
    needs: str = ""
    tried: bool = True


@dataclass(frozen=True)
class Reproduction:
    """What a call of :func:`reproduce` came to.

    Attributes:
        text: The tables as Markdown.
        failed: How many runs failed.
    """

    text: str
    failed: int


def reproduce(paper: str, rows: Sequence[str] = (), seeds: str | Sequence[int] | None = None, **how: Any) -> str:
    """Run the missing runs of a paper's rows and return the tables as Markdown; arguments as of :func:`run_paper`."""
    return run_paper(paper, rows, seeds, **how).text


def run_paper(
    paper: str,
    rows: Sequence[str] = (),
    seeds: str | Sequence[int] | None = None,
    jobs: int = 1,
    smoke: bool = False,
    update: bool = False,
    runs_dir: Path | None = None,
    any_code: bool = False,
    backend: str = "process",
) -> Reproduction:
    """Run the missing runs of a paper's rows and put them beside the published numbers.

    Finished runs of the same configuration, data and code are reused, interrupted ones are resumed, so an aborted call
    goes on where it stopped. The tables are also written to ``<runs_dir>/<paper>/reproduction.{md,csv,tex,json}``.

    Args:
        paper: Folder name below ``experiments/``.
        rows: Glob patterns on row names; empty for all.
        seeds: Instead of the rows' own.
        jobs: Processes.
        smoke: Two batches of one fold and one seed of every row, with the row's ``smoke`` overrides; without ``rows``,
            as few cells of each grid as hold every value of every axis.
        update: Write ``expected.json`` and the tables of the paper's README.
        runs_dir: Where the runs lie; default as for training.
        any_code: Reuse runs of other code too.
        backend: ``process``, ``slurm`` or ``local``, as for sweeps.

    Raises:
        ConfigError: Before anything runs, if a row cannot be composed.
    """
    folder = paper_dir(paper)
    path = folder / "paper.yaml"
    written = load_config(path)
    every, entries = rows_of(written, path), written.get("comparisons", [])
    check_comparisons(entries, [row.name for row in every], str(path))
    chosen = _installed(select(every, rows))
    if smoke and not rows:
        chosen = [row for row in chosen if row.tried]
    extra = ["figures=false", *([f"runs_dir={runs_dir}"] if runs_dir else [])]
    plan: list[tuple[Row, list[list[Composed]]]] = []
    read: dict[str, dict[Any, Any]] = defaultdict(dict)
    for row in chosen:
        wanted = numbers("--seeds", seeds) if seeds is not None else row.seeds
        wanted, folds = (wanted[:1], 1) if smoke else (wanted, row.folds)
        last = [*extra, *_SMOKE, *row.smoke] if smoke else extra
        plan.append((row, [_jobs(row, seed, folds, last, read[row.config]) for seed in wanted]))
    composed = [job for _, groups in plan for group in groups for job in group]
    known = _known_runs(composed, any_code)
    for _, groups in plan:
        _same_data(groups[0][0], known.get(groups[0][0].hash))
    target = Path(composed[0].config["runs_dir"]).expanduser() / paper
    target.mkdir(parents=True, exist_ok=True)
    done = _run_missing(target, composed, known, jobs, backend)
    results, losses = {}, {}
    for row, groups in plan:
        complete = [[done[job.hash] for job in group] for group in groups if all(job.hash in done for job in group)]
        if complete:
            results[row.name] = _summary(row, complete)
            if any(fnmatch(row.name, p) for entry in entries for p in [*entry["rows"], entry["against"]]):
                losses[row.name] = row_losses(complete)
    compared = compare(entries, losses)
    layout = written.get("tables", [])
    if update and not smoke:
        before = read_json(folder / "expected.json") if (folder / "expected.json").exists() else {"rows": {}}
        merged = {**before["rows"], **results}  # in the order of paper.yaml; rows that are no longer there go
        ordered = {row.name: merged[row.name] for row in every if row.name in merged}
        record: dict[str, Any] = {"rows": ordered}
        if entries:
            titles = [entry["title"] for entry in entries]
            record["comparisons"] = merge(before.get("comparisons", []), compared, list(ordered), titles)
        write_json(folder / "expected.json", record)
        tests = render_comparisons(record.get("comparisons", []))
        update_readme(folder / "README.md", "\n".join(filter(None, [render(ordered, layout), tests])))
    text = "\n".join(filter(None, [render(results, layout), render_comparisons(compared)]))
    if not smoke:  # reports show it
        write_json(target / "reproduction.json", {"rows": results})
    write_text(target / "reproduction.md", text)
    write_text(target / "reproduction.csv", "".join(table.csv() for table in tables(results)))
    write_text(target / "reproduction.tex", "\n".join(table.latex() for table in tables(results, layout)))
    failed = len({job.hash for job in composed} - set(done))
    note = f"\n{failed} of {len(composed)} runs failed; `neurotwin runs {paper}` lists them.\n" if failed else ""
    return Reproduction(text + note, failed)


def run_papers(**how: Any) -> Reproduction:
    """:func:`run_paper` for every paper; one that fails stops no other."""
    texts, failed = [], 0
    for paper in papers():
        try:
            one = run_paper(paper, **how)
        except NeurotwinError as error:
            one = Reproduction(f"{error}\n", 1)
        texts.append(f"## {paper}\n\n{one.text}")
        failed += one.failed
    return Reproduction("\n".join(texts), failed)


def read_rows(path: Path) -> list[Row]:
    """The rows of a ``paper.yaml``; see :func:`rows_of`."""
    return rows_of(load_config(path), path)


def rows_of(written: Mapping[str, Any], path: Path) -> list[Row]:
    """The rows of a paper, grids expanded.

    Args:
        written: What its ``paper.yaml`` says.
        path: That file, for errors.

    Raises:
        ConfigError: With the file, the row and the key.
    """
    rows: list[Row] = []
    for entry in written.get("rows", []):
        name = entry.get("name", "?")
        for key in entry:
            if key not in _ROW_KEYS:
                raise ConfigError(f"{path}: row {name!r}: unknown key {key!r}; {did_you_mean(key, _ROW_KEYS)}")
        for key in ("name", "config", "metric"):
            if key not in entry:
                raise ConfigError(f"{path}: row {name!r} has no {key!r}")
        axes = entry.get("grid") or {}
        diagonal = _diagonal(axes)
        for labels in itertools.product(*axes.values()):
            cell = dict(zip(axes, map(str, labels), strict=True))
            overrides = [*entry.get("overrides", [])]
            for axis, label in zip(axes, labels, strict=True):
                value = axes[axis][label]
                overrides += [value] if isinstance(value, str) else list(value or [])
            published = entry.get("published")
            if isinstance(published, Mapping):
                published = next((published[label] for label in cell.values() if label in published), None)
            rows.append(
                Row(
                    name=name.format(**cell) if axes else name,
                    config=entry["config"],
                    metric=entry["metric"],
                    overrides=tuple(overrides),
                    seeds=tuple(entry.get("seeds", [0])),
                    folds=entry.get("folds"),
                    labels=cell,
                    published=published,
                    source=entry.get("source", ""),
                    tolerance=float(entry.get("tolerance", 0.01)),
                    better=entry.get("better", "higher"),
                    data=_data(path, name, entry.get("data", "real")),
                    note=entry.get("note", ""),
                    smoke=tuple(entry.get("smoke", [])),
                    needs=entry.get("needs", ""),
                    tried=labels in diagonal,
                )
            )
    duplicates = [row.name for row in rows if sum(r.name == row.name for r in rows) > 1]
    if duplicates:
        raise ConfigError(f"{path}: several rows are named {duplicates[0]!r}")
    if not rows:
        raise ConfigError(f"{path}: has no rows")
    return rows


def _diagonal(axes: Mapping[str, Sequence[Any]]) -> set[tuple[Any, ...]]:
    """Cells of a grid, as few as hold every value of every axis."""
    longest = max(map(len, axes.values()), default=1)
    return {tuple(list(axis)[k % len(axis)] for axis in axes.values()) for k in range(longest)}


def _data(path: Path, name: str, kind: str) -> str:
    if kind not in DATA:
        raise ConfigError(f"{path}: row {name!r}: data: {kind}: {did_you_mean(kind, DATA)}")
    return kind


def select(rows: Sequence[Row], patterns: Sequence[str]) -> list[Row]:
    """Rows that match any of the glob patterns; all without patterns."""
    chosen = [row for row in rows if not patterns or any(fnmatch(row.name, pattern) for pattern in patterns)]
    if not chosen:
        raise ConfigError(f"no row matches {', '.join(patterns)}; {did_you_mean(patterns[0], [r.name for r in rows])}")
    return chosen


def _installed(rows: Sequence[Row]) -> list[Row]:
    """The rows whose optional package is there; the others are named."""
    found = [row for row in rows if not row.needs or find_spec(row.needs)]
    reasons = [f"{row.name} needs: pip install 'neurotwin[{row.needs}]'" for row in rows if row not in found]
    if not found:
        raise ConfigError("; ".join(reasons))
    for reason in reasons:
        log.warning("left out: %s", reason)
    return found


def _jobs(row: Row, seed: int, folds: int | None, extra: Sequence[str], read: dict[Any, Any]) -> list[Composed]:
    per_fold = [[f"datamodule.fold={fold}"] for fold in range(folds)] if folds else [[]]
    split = [f"datamodule.split_seed={seed}"] if folds else []
    jobs = [[*row.overrides, f"seed={seed}", *split, *fold, *extra] for fold in per_fold]
    return list(compose_many(row.config, jobs, read))


def _known_runs(composed: Sequence[Composed], any_code: bool) -> dict[str, Run]:
    """The newest run of each configuration by today's code, finished ones first."""
    wanted = {job.hash: job for job in composed}
    known: dict[str, Run] = {}
    other: Counter[str] = Counter()
    for run in runs(composed[0].config["runs_dir"]):
        key = str(run.record.get("config_hash"))
        if key not in wanted:
            continue
        if not any_code and run.record.get("code") != code_hash(wanted[key].config):
            other[_commit(run)] += run.status == "finished"
        elif run.status == "finished" or key not in known:
            known[key] = run
    if other.total():
        commits = ", ".join(sorted(other))
        log.warning("%d finished runs are of other code (%s) and not reused; --any-code would", other.total(), commits)
    return known


def _same_data(job: Composed, run: Run | None) -> None:
    """Refuse to mix runs on different data: the configuration's hash leaves the folder of the data out."""
    if run is None or run.status != "finished":
        return
    datamodule = build_part(job, "datamodule")
    datamodule.setup("fit")
    if (now := datamodule.fingerprint()) != run.record.get("data"):
        raise ConfigError(
            f"{run.path}: was trained on other data (fingerprint {run.record.get('data')}, now {now}); "
            "set NEUROTWIN_RUNS to another folder, or remove the old runs"
        )


def _run_missing(
    folder: Path, composed: Sequence[Composed], known: Mapping[str, Run], jobs: int, backend: str
) -> dict[str, Run]:
    """Finished runs by configuration hash; what is not there yet is run, failures are logged and left out."""
    done = {job.hash: known[job.hash] for job in composed if job.hash in known and known[job.hash].status == "finished"}
    todo = list({job.hash: job for job in composed if job.hash not in done}.values())
    log.info("%d runs are there, %d to do", len(done), len(todo))
    for number, (job, outcome) in enumerate(run_all(folder, todo, known, jobs, backend), 1):
        label = " ".join(job.overrides)
        if isinstance(outcome, Run):
            done[job.hash] = outcome
            log.info("[%d/%d] %s %s", number, len(todo), job.experiment, label)
        else:
            log.error("[%d/%d] %s %s failed: %s", number, len(todo), job.experiment, label, outcome)
    return done


def _summary(row: Row, groups: Sequence[Sequence[Run]]) -> dict[str, Any]:
    """Metrics of a row: the folds of a seed pooled into one value, then mean and sd over seeds."""
    values: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        for name, value in pooled(group).items():
            values[name].append(value)
    members = [run for group in groups for run in group]
    return {
        "data": row.data,
        "labels": dict(row.labels),
        "metric": row.metric,
        "published": row.published,
        "source": row.source,
        "tolerance": row.tolerance,
        "better": row.better,
        "note": row.note,
        "seeds": len(groups),
        "folds": row.folds,
        "parameters": members[0].record.get("parameters"),
        "commit": sorted({_commit(run) for run in members}),
        "device": sorted({str(run.record.get("device")) for run in members})[0],
        "cpu_seconds": round(sum(run.record["cost"]["cpu_s"] for run in members), 1),
        "wall_seconds": round(sum(run.record["cost"]["wall_s"] for run in members), 1),
        "peak_memory_mb": max(run.record["cost"].get("peak_memory_mb", 0.0) for run in members),
        "energy_j": total([run.record["cost"].get("energy_j") for run in members]),
        "metrics": {
            name: {
                "mean": float(np.mean(v)),
                "sd": float(np.std(v, ddof=1)) if len(v) > 1 else None,
                "n": len(v),
                "values": v,
            }
            for name, v in values.items()
        },
    }


def pooled(group: Sequence[Run]) -> dict[str, float]:
    """One value a metric from all folds of a seed: scores of the concatenated predictions, not means of scores."""
    if len(group) == 1:
        return group[0].metrics
    task = get_target(group[0].config["task"]["_target_"])
    parts = [run.predictions for run in group]
    rows = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if len(np.unique(rows["window"])) != len(rows["window"]):
        raise NeurotwinError(f"{group[0].experiment}: folds overlap: an item is tested in more than one of them")
    return {f"test/{name}": float(value) for name, value in task.score(rows).items()}


def _commit(run: Run) -> str:
    git = run.record.get("git") or {}
    return str(git.get("commit", "unknown"))[:10] + ("+" if git.get("dirty") else "")
