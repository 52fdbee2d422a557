"""The command line. Every verb is a Python function of the same name; heavy packages are imported inside the verbs."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import NeurotwinError

if TYPE_CHECKING:
    from .run_folder import Run

_EPILOG = (
    "What follows an experiment's name is Hydra's override grammar: model.dropout=0.2 +trainer.limit_train_batches=5"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code: 0 done, 1 our mistake, 2 the user's, 3 a leak found, 130 interrupted."""
    parser = _parser()
    options, rest = parser.parse_known_args(arguments)
    if any(text.startswith("-") or not hasattr(options, "overrides") for text in rest):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # overrides after a flag: argparse does not mix them with positionals by itself
        options.overrides += rest
    handler = _log_to_terminal()
    show_traceback = getattr(options, "traceback", False)
    try:
        return options.verb(options) or 0
    except NeurotwinError as error:
        if show_traceback:
            traceback.print_exc()
        print(f"neurotwin: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("neurotwin: interrupted; `neurotwin runs` lists the run, `neurotwin resume RUN` goes on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if show_traceback:
            traceback.print_exc()
        print(f"neurotwin: {type(error).__name__}: {error}\n(--traceback shows where)", file=sys.stderr)
        return 1
    finally:
        logging.getLogger("neurotwin").removeHandler(handler)


def _log_to_terminal() -> logging.Handler:
    """Progress goes to stderr, so that results can be piped."""
    logger, handler = logging.getLogger("neurotwin"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return handler


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    # No default: a verb's parser would overwrite a flag given before the verb.
    help_text = "show the Python traceback of an error"
    common.add_argument("--traceback", action="store_true", default=argparse.SUPPRESS, help=help_text)
    parser = argparse.ArgumentParser("neurotwin", description="Digital twins of neural systems.", parents=[common])
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.set_defaults(verb=lambda options: _version(options, parser))
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")

    def verb(name: str, run: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text, parents=[common], epilog=_EPILOG)
        sub.set_defaults(verb=run)
        return sub

    def overrides(sub: argparse.ArgumentParser, name: str = "experiment") -> None:
        sub.add_argument(name, help="paper/row, as `neurotwin list` prints it" if name == "experiment" else None)
        sub.add_argument("overrides", nargs="*", metavar="key=value")

    sub = verb("list", _list, "List experiments, or the members of a config group")
    sub.add_argument("kind", nargs="?", default="experiment")
    sub.add_argument("--json", action="store_true")
    overrides(verb("show", _show, "Print the composed configuration and the file that each value came from"))
    overrides(verb("check", _check, "Pass all gates without training"))
    sub = verb("train", _train, "Train and test an experiment")
    overrides(sub)
    sub.add_argument("--debug", action="store_true", help="two batches of everything, one epoch")
    sub.add_argument("-m", "--multirun", action="store_true", help="every combination of swept values (a=1,2)")
    sub = verb("resume", _resume, "Go on with an interrupted run from its last completed epoch")
    sub.add_argument("run", help="run folder, or the end of its name")
    sub = verb("evaluate", _evaluate, "Score a trained run on a split")
    sub.add_argument("run")
    sub.add_argument("--split", default="test", help="train, val or test")
    sub = verb("predict", _predict, "Apply a trained run to a file of your own")
    sub.add_argument("run")
    sub.add_argument("--input", required=True, type=Path, dest="source")
    sub.add_argument("--output", required=True, type=Path, dest="target", help="folder for the results")
    sub = verb("runs", _runs, "List the runs below the runs folder")
    sub.add_argument("experiment", nargs="?", default="", help="only those whose name begins so")
    sub.add_argument("--dir", type=Path, default=None, help="runs folder (default $NEUROTWIN_RUNS or ./runs)")
    sub.add_argument("--sort", default="age", choices=("age", "experiment", "objective", "seed", "status"))
    sub.add_argument("--json", action="store_true")
    sub = verb("audit", _audit, "Search a datamodule's split for leaks between training and test")
    overrides(sub, "datamodule")
    sub.add_argument("--output", type=Path, default=Path("audit"), help="folder for audit.json and audit.png")
    sub = verb("reproduce", _reproduce, "Run the rows of a paper and print them beside the published numbers")
    sub.add_argument("paper")
    sub.add_argument("--row", action="append", default=[], help="only rows that match (glob); repeatable")
    sub.add_argument("--seeds", help="instead of the paper.yaml's: 0,1,2 or 0..4")
    sub.add_argument("--jobs", type=int, default=1, help="processes")
    sub.add_argument("--smoke", action="store_true", help="two batches of one fold of every row: does it run?")
    sub.add_argument("--update", action="store_true", help="write expected.json and the table in the README")
    return parser


def _version(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    from . import __version__

    print(f"neurotwin {__version__}") if options.version else parser.print_help()


def _list(options: argparse.Namespace) -> None:
    from .registry import list_configs

    entries = list_configs(options.kind)
    if options.json:
        print(json.dumps([{**vars(entry), "path": str(entry.path)} for entry in entries], indent=2))
        return
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        print(f"{entry.name:<{width}}  {entry.description}".rstrip())


def _show(options: argparse.Namespace) -> None:
    from .config import show

    print(show(options.experiment, options.overrides))


def _check(options: argparse.Namespace) -> None:
    from .gates import check

    composed = check(options.experiment, options.overrides)
    print(f"{composed.experiment}: all gates passed (config {composed.hash})")


def _train(options: argparse.Namespace) -> int:
    from .engine import train, train_many

    if not options.multirun:
        _print_run(train(options.experiment, options.overrides, debug=options.debug))
        return 0
    extra = ["debug=fast"] if options.debug else []
    jobs = train_many(options.experiment, [*options.overrides, *extra])
    for run in filter(None, jobs):
        _print_run(run)
    return 0 if all(jobs) else 1


def _resume(options: argparse.Namespace) -> None:
    from .engine import resume

    _print_run(resume(options.run))


def _evaluate(options: argparse.Namespace) -> None:
    from .engine import evaluate

    _print_metrics(evaluate(options.run, options.split))


def _predict(options: argparse.Namespace) -> None:
    from .prediction import predict

    for path in predict(options.run, options.source, options.target):
        print(path)


def _audit(options: argparse.Namespace) -> int:
    from rich.console import Console

    from .leakage_audit import audit

    report = audit(options.datamodule, overrides=options.overrides, output=options.output)
    Console().print(report)
    return 0 if report.verdict == "pass" else 3


def _reproduce(options: argparse.Namespace) -> None:
    from .reproduction import reproduce

    table = reproduce(
        options.paper,
        rows=options.row,
        seeds=options.seeds,
        jobs=options.jobs,
        smoke=options.smoke,
        update=options.update,
    )
    print(table)


def _runs(options: argparse.Namespace) -> None:
    from .run_folder import runs

    found = runs(options.dir, options.experiment)
    rows = [_run_row(run) for run in found]
    if options.sort != "age":
        rows.sort(key=lambda row: (row[options.sort] is None, str(type(row[options.sort])), row[options.sort]))
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print("no runs yet; `neurotwin list` shows what there is to train")
        return
    columns = ("run", "experiment", "status", "objective", "seed", "age")
    table = [columns, *[tuple(_cell(row, column) for column in columns) for row in rows]]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def _run_row(run: Run) -> dict[str, Any]:
    from datetime import datetime

    try:
        started = datetime.fromisoformat(str(run.record["started"]))
    except ValueError:
        started = None
    age = (datetime.now(started.tzinfo) - started).total_seconds() if started else None
    return {
        "run": run.path.name,
        "experiment": run.experiment,
        "status": run.status,
        "objective": (run.record.get("objective") or {}).get("value"),
        "metric": (run.record.get("objective") or {}).get("metric"),
        "seed": run.record.get("seed"),
        "age": age,
        "path": str(run.path),
    }


def _cell(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if value is None:
        return "-"
    if column == "age":
        for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
            if value >= size:
                return f"{value / size:.0f} {unit}"
        return f"{value:.0f} s"
    if column == "objective":
        return f"{row['metric']}={value:.4g}"
    return str(value)


def _print_run(run: Run) -> None:
    _print_metrics(run.metrics)
    for figure in run.figures:
        print(f"figure  {figure}")
    print(f"run     {run.path}")


def _print_metrics(metrics: dict[str, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", box=None, pad_edge=False)
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
