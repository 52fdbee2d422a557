"""What the command line prints: runs, metrics, progress."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from .errors import printable

if TYPE_CHECKING:
    from rich.table import Table

    from .registry import Entry
    from .run_folder import Run

_COLOURS = {"finished": "green", "running": "cyan", "failed": "red", "interrupted": "yellow"}


def log_to_terminal() -> logging.Handler:
    """Progress goes to stderr, so that results can be piped."""
    logger, handler = logging.getLogger("neurotwin"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return handler


def run_row(run: Run) -> dict[str, Any]:
    """What `neurotwin runs` shows of a run; age in seconds."""
    from datetime import datetime

    try:
        started = datetime.fromisoformat(str(run.record["started"]))
    except ValueError:
        started = None
    age = (datetime.now(started.tzinfo) - started).total_seconds() if started else None
    epoch, left = _progress(run)
    return {
        "run": run.path.name,
        "experiment": run.experiment,
        "status": run.status,
        "objective": (run.record.get("objective") or {}).get("value"),
        "metric": (run.record.get("objective") or {}).get("metric"),
        "seed": run.record.get("seed"),
        "age": age,
        "epoch": epoch,
        "left": left,
        "path": str(run.path),
    }


def print_entries(entries: Sequence[Entry]) -> None:
    """Print what there is to choose from; a terminal folds long descriptions, a pipe gets one line each."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        for entry in entries:
            table.add_row(Text(entry.name), Text(printable(entry.description)))
        Console().print(table)
        return
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        print(f"{entry.name:<{width}}  {entry.description}".rstrip())


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print runs: a coloured table on a terminal, aligned columns into a pipe."""
    columns = _columns(rows)
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(runs_table(rows))
        return
    table = [columns, *[tuple(_cell(row, column) for column in columns) for row in rows]]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def runs_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Runs as a table for a terminal."""
    from rich.table import Table
    from rich.text import Text

    columns = _columns(rows)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("run", "status", "age"))
    for row in rows:
        style = _COLOURS.get(row["status"], "")
        cells = [Text(_cell(row, column), style=style if column == "status" else "") for column in columns]
        table.add_row(*cells)
    return table


def watch(rows: Callable[[], Sequence[dict[str, Any]]], every_s: float = 2.0) -> None:
    """Show runs until Ctrl-C; a pipe gets them once."""
    if not sys.stdout.isatty():
        print_rows(rows())
        return
    from rich.live import Live

    def shown(lines: int) -> Table:
        # What does not fit is cut at the bottom, where the newest runs are; a row may be folded into two lines.
        return runs_table(list(rows())[-max(1, (lines - 2) // 2) :])

    with Live(auto_refresh=False) as live, contextlib.suppress(KeyboardInterrupt):
        while True:
            live.update(shown(live.console.height), refresh=True)
            time.sleep(every_s)


def _columns(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    progress = ("epoch", "left") if any(row["epoch"] for row in rows) else ()
    return ("run", "experiment", "status", *progress, "objective", "seed", "age")


def _progress(run: Run) -> tuple[str | None, float | None]:
    """Completed epochs of a running run, of how many, and the seconds that the others take at most.

    At the pace of all epochs so far, setting up included; early stopping may end it before.
    """
    if run.status != "running":
        return None, None
    import yaml

    with contextlib.suppress(OSError, ValueError, yaml.YAMLError):
        history = run.path / "metrics.csv"
        done = max(0, len(history.read_text(encoding="utf-8").splitlines()) - 1) if history.exists() else 0
        config = yaml.safe_load((run.path / "config.yaml").read_text(encoding="utf-8"))
        total = (config.get("trainer") or {}).get("max_epochs")
        wall_s = (run.record.get("cost") or {}).get("wall_s")
        left = wall_s / done * (total - done) if done > 0 and wall_s and total and total > 0 else None
        return f"{done}/{total or '?'}", left
    return None, None


def _cell(row: dict[str, Any], column: str) -> str:
    value = row[column]
    if value is None:
        return "-"
    if column in ("age", "left"):
        for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
            if value >= size:
                return f"{value / size:.0f} {unit}"
        return f"{value:.0f} s"
    if column == "objective":
        number = f"{value:.4g}" if isinstance(value, int | float) else str(value)
        return printable(f"{row['metric']}={number}")
    return printable(str(value))


def print_run(run: Run) -> None:
    """Print a run's metrics, figures and folder."""
    print_metrics(run.metrics)
    for figure in run.figures:
        print(f"figure  {figure}")
    for text in run.record.get("warnings", ()):
        print(f"warning {printable(str(text))}")
    print(f"run     {run.path}")


def print_metrics(metrics: dict[str, float]) -> None:
    """Print a table of metrics."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("metric", "value", box=None, pad_edge=False)
    for name, value in metrics.items():
        table.add_row(Text(printable(name)), f"{value:.4g}")
    Console().print(table)
