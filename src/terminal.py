"""What the command line prints: runs, metrics, progress."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .errors import printable

if TYPE_CHECKING:
    from .run_folder import Run


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


def print_rows(rows: Sequence[dict[str, Any]]) -> None:
    """Print runs as aligned columns."""
    columns = ("run", "experiment", "status", "objective", "seed", "age")
    table = [columns, *[tuple(_cell(row, column) for column in columns) for row in rows]]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


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
        number = f"{value:.4g}" if isinstance(value, int | float) else str(value)
        return printable(f"{row['metric']}={number}")
    return printable(str(value))


def print_run(run: Run) -> None:
    """Print a run's metrics, figures and folder."""
    print_metrics(run.metrics)
    for figure in run.figures:
        print(f"figure  {figure}")
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
