"""What each verb of the command line does: call the function, print the result. Heavy imports stay inside."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .terminal import print_entries, print_metrics, print_rows, print_run, run_row, watch

if TYPE_CHECKING:
    from .run_folder import Run


def version(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Print the version, or the help."""
    from . import __version__

    print(f"neurotwin {__version__}") if options.version else parser.print_help()


def list_entries(options: argparse.Namespace) -> None:
    """Print the members of a config group."""
    from .registry import list_configs

    entries = list_configs(options.kind)
    if options.json:
        print(json.dumps([{**vars(entry), "path": str(entry.path)} for entry in entries], indent=2))
        return
    print_entries(entries)


def show(options: argparse.Namespace) -> None:
    """Print the composed configuration with its origins."""
    from . import config

    if options.json:
        composed = config.compose(options.experiment, options.overrides)
        rows = [(key, value, composed.where(key)) for key, value in config.flatten(composed.config)]
        print(json.dumps({key: {"value": value, "from": where} for key, value, where in rows}, indent=2))
        return
    print(config.show(options.experiment, options.overrides))


def check(options: argparse.Namespace) -> None:
    """Pass all gates without training."""
    from . import gates
    from .run_log import quiet

    with quiet():
        composed = gates.check(options.experiment, options.overrides)
    print(f"{composed.experiment}: all gates passed (config {composed.hash})")


def train(options: argparse.Namespace) -> int:
    """Train and test one experiment, or every combination of swept values."""
    from . import engine

    if not options.multirun:
        _print_once(engine.train(options.experiment, options.overrides, debug=options.debug))
        return 0
    extra = ["debug=fast"] if options.debug else []
    jobs = engine.train_many(options.experiment, [*options.overrides, *extra])
    for run in filter(None, jobs):
        print_run(run)
    return 0 if all(jobs) else 1


def resume(options: argparse.Namespace) -> None:
    """Go on with an interrupted run."""
    from . import engine

    _print_once(engine.resume(options.run))


def _print_once(run: Run) -> None:
    """Of several processes that train one run, the first prints it."""
    from .ranks import follower

    if not follower():
        print_run(run)


def evaluate(options: argparse.Namespace) -> None:
    """Score a trained run on a split."""
    from . import engine

    print_metrics(engine.evaluate(options.run, options.split))


def replay(options: argparse.Namespace) -> None:
    """Run the step again whose loss or gradient was not finite."""
    from . import replaying

    print(replaying.replay(options.run))


def predict(options: argparse.Namespace) -> None:
    """Apply a trained run to a user's file."""
    from . import prediction

    for path in prediction.predict(options.run, options.source, options.target, options.bids):
        print(path)


def audit(options: argparse.Namespace) -> int:
    """Search a split for leaks; 3 if one is found."""
    from rich.console import Console

    from .leakage import audit as leakage

    report = leakage.audit(options.datamodule, overrides=options.overrides, output=options.output)
    Console().print(report)
    return 0 if report.verdict == "pass" else 3


def reproduce(options: argparse.Namespace) -> int:
    """Run a paper's rows, or those of all papers, and print the tables; 1 if a run failed."""
    from . import reproduction
    from .errors import ConfigError

    names = ("seeds", "jobs", "smoke", "update", "any_code", "backend")
    how = {"rows": options.row, **{name: getattr(options, name) for name in names}}
    if (options.paper is None) != options.all:
        raise ConfigError("which paper? neurotwin reproduce PAPER, or --all (see `neurotwin report` for their names)")
    done = reproduction.run_papers(**how) if options.all else reproduction.run_paper(options.paper, **how)
    print(done.text)
    return 1 if done.failed else 0


def export(options: argparse.Namespace) -> None:
    """Write a trained network as a file of its own."""
    from . import exporting

    for path in exporting.export(options.run, options.output, options.format):
        print(path)


def simulate(options: argparse.Namespace) -> None:
    """Simulate one recording and write it."""
    from . import simulation, simulation_files

    made = simulation.make(options.simulator, options.seed, options.overrides)
    if options.out is None:
        print(made.data)
        return
    for path in simulation_files.write(made, options.out):
        print(path)


def report(options: argparse.Namespace) -> None:
    """Report on papers and runs."""
    from . import reporting

    written = reporting.report(
        options.subjects,
        format="html" if options.html else options.format,
        output=options.output,
        draw=not options.no_draw,
    )
    print(written)


def runs(options: argparse.Namespace) -> None:
    """List the runs."""
    from . import run_folder

    def found() -> list[dict[str, Any]]:
        rows = [run_row(run) for run in run_folder.runs(options.dir, options.experiment)]
        if options.sort != "age":
            rows.sort(key=lambda row: (row[options.sort] is None, str(type(row[options.sort])), row[options.sort]))
        return rows

    if options.watch:
        watch(found)
        return
    rows = found()
    if options.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        print_rows(rows)
    else:
        print("no runs yet; `neurotwin list` shows what there is to train")


def sweep(options: argparse.Namespace) -> int:
    """Run or resume a sweep, or export it; 1 if a trial failed or is left."""
    from .sweeps.backends import executor_options
    from .sweeps.launch import export_wandb, sweep

    if options.wandb:
        given = {"trials": options.trials, "sampler": options.sampler, "pruner": options.pruner}
        path = export_wandb(options.wandb, options.experiment, options.overrides, options.plan, **given)
        print(f"wrote {path}; next: wandb sweep {path}")
        return 0
    result = sweep(
        options.experiment,
        options.overrides,
        plan=options.plan,
        resume=options.resume,
        trials=options.trials,
        sampler=options.sampler,
        pruner=options.pruner,
        objectives=options.objectives,
        storage=options.storage,
        seed=options.sampler_seed,
        jobs=options.jobs,
        backend=options.backend,
        fail_fast=options.fail_fast,
        retry_failed=options.retry_failed,
        budget_h=options.budget,
        any_code=options.any_code,
        slurm=executor_options(options.slurm),
    )
    counts = result.counts()
    table = result.table()
    print(replace(table, rows=table.rows[:20]).markdown())
    if len(table.rows) > 20:
        print(f"… {len(table.rows) - 20} more in results.md and .csv")
    print(f"sweep   {result.folder}")
    return 0 if not counts["failed"] and not counts["open"] else 1
