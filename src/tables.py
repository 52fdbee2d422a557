"""Result tables as Markdown, from the numbers of ``expected.json`` alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .run_folder import write_text

BEGIN, END = "<!-- tables: written by `neurotwin reproduce --update` -->", "<!-- end of tables -->"


def render(rows: Mapping[str, Mapping[str, Any]], layout: Sequence[Mapping[str, Any]] = ()) -> str:
    """All tables of a paper.

    Args:
        rows: ``expected.json``'s rows.
        layout: ``paper.yaml``'s ``tables``; each either a list (``title``, ``rows`` globs) or, with ``index``,
            ``columns`` and ``metric``, a pivot of grid axes. Without a layout, one list of everything.
    """
    parts = []
    for table in layout or [{"title": "", "rows": ["*"]}]:
        chosen = {n: r for n, r in rows.items() if any(fnmatch(n, p) for p in table.get("rows", ["*"]))}
        if not chosen:
            continue
        text = _pivot(chosen, table) if "index" in table else _list(chosen, table.get("metrics", []))
        heading = f"### {table['title']}\n\n" if table.get("title") else ""
        note = f"\n\n{table['note']}" if table.get("note") else ""
        parts.append(f"{heading}{text}{note}\n")
    commits = sorted({commit for row in rows.values() for commit in row["commit"]})
    cost = sum(row["cpu_seconds"] for row in rows.values())
    devices = ", ".join(sorted({row["device"] for row in rows.values()}))
    code = ", ".join(commits)
    parts.append(f"{len(rows)} rows, {cost / 3600:.2f} CPU-hours on {devices}, code {code} (+: uncommitted changes).\n")
    return "\n".join(parts)


def verdict(row: Mapping[str, Any]) -> str:
    """How our number stands to the published one."""
    if row["data"] == "simulated":
        return "simulated"
    if row["published"] is None:
        return ""
    if row["note"]:
        return row["note"]
    ours = row["metrics"].get(row["metric"], {}).get("mean")
    if ours is None or math.isnan(ours):
        return "undefined"
    difference = ours - row["published"]
    if abs(difference) <= row["tolerance"]:
        return "within tolerance"
    return "better" if (difference > 0) == (row["better"] == "higher") else "worse"


def update_readme(path: Path, text: str) -> None:
    """Replace what stands between the table markers of a README.

    Raises:
        ConfigError: If the file or its markers are missing.
    """
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if BEGIN not in old or END not in old:
        raise ConfigError(f"{path}: no place for the tables: add the two lines {BEGIN!r} and {END!r}")
    head, _, rest = old.partition(BEGIN)
    write_text(path, f"{head}{BEGIN}\n\n{text}\n{END}{rest.partition(END)[2]}")


def _list(rows: Mapping[str, Mapping[str, Any]], metrics: Sequence[str]) -> str:
    head = ["row", "published", "ours", "Δ", "verdict", *metrics, "parameters", "CPU-s"]
    lines = [head, ["---"] * len(head)]
    for name, row in rows.items():
        ours = row["metrics"].get(row["metric"])
        published = row["published"]
        lines.append(
            [
                name,
                "-" if published is None else f"{published:g}" + (f" ({row['source']})" if row["source"] else ""),
                _value(ours),
                "-" if published is None or _value(ours) == "-" else f"{ours['mean'] - published:+.3f}",
                verdict(row),
                *[_value(row["metrics"].get(metric)) for metric in metrics],
                f"{row['parameters']:,}" if row["parameters"] else "-",
                f"{row['cpu_seconds']:.0f}",
            ]
        )
    return _markdown(lines)


def _pivot(rows: Mapping[str, Mapping[str, Any]], table: Mapping[str, Any]) -> str:
    index, column = table["index"], table["columns"]
    members = [row for row in rows.values() if index in row["labels"] and column in row["labels"]]
    columns = list(dict.fromkeys(row["labels"][column] for row in members))
    lines = [[index, *columns], ["---"] * (len(columns) + 1)]
    for label in dict.fromkeys(row["labels"][index] for row in members):
        cells = {row["labels"][column]: row for row in members if row["labels"][index] == label}
        metric = table.get("metric")
        lines.append(
            [
                label,
                *[
                    _value(cells[c]["metrics"].get(metric or cells[c]["metric"])) if c in cells else "-"
                    for c in columns
                ],
            ]
        )
    return _markdown(lines)


def _value(metric: Mapping[str, Any] | None) -> str:
    if metric is None or metric["mean"] is None or math.isnan(metric["mean"]):  # such as a mean over no subject
        return "-"
    mean, sd = metric["mean"], metric["sd"]
    # Three significant digits, but no more than five decimals: what is smaller is rounding.
    digits = 3 if mean == 0 or abs(mean) >= 0.1 else min(5, 2 - math.floor(math.log10(abs(mean))))
    spread = "" if sd is None else f" ± {sd:.{digits}f}"
    return f"{mean:.{digits}f}{spread} ({metric['n']})"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
