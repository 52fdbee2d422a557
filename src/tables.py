"""Result tables: from the numbers of ``expected.json`` alone to Markdown, CSV, LaTeX and, by the report, HTML."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .errors import ConfigError
from .files import write_text

BEGIN, END = "<!-- tables: written by `neurotwin reproduce --update` -->", "<!-- end of tables -->"


#: What a row took; the energy is that of the whole machine meanwhile, where it has a counter.
COSTS = ("CPU-s", "peak MB", "energy kJ")


@dataclass(frozen=True)
class Stat:
    """A number that was measured several times, once a seed.

    Attributes:
        values: One a seed.
    """

    values: tuple[float, ...]

    @classmethod
    def of(cls, metric: Mapping[str, Any] | None) -> Stat | None:
        """From a metric of ``expected.json``; None where there is none, or where its mean is undefined."""
        values = () if metric is None else tuple(math.nan if v is None else float(v) for v in metric["values"])
        return cls(values) if values and not math.isnan(sum(values)) else None

    @property
    def mean(self) -> float:
        """Arithmetic mean."""
        return sum(self.values) / len(self.values)

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds, n - 1 in the denominator; None of one value."""
        n, mean = len(self.values), self.mean
        return math.sqrt(math.fsum((v - mean) ** 2 for v in self.values) / (n - 1)) if n > 1 else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % confidence interval of the mean over seeds (Student's t): other seeds, not other data."""
        if self.sd is None:
            return None
        from scipy.special import stdtrit

        n = len(self.values)
        half = float(stdtrit(n - 1, 0.975)) * self.sd / math.sqrt(n)
        return self.mean - half, self.mean + half

    @property
    def digits(self) -> int:
        """Decimals: three significant digits of the mean, four above 1; at most five; none of a count from 10 on."""
        mean = abs(self.mean)
        if mean >= 10 and mean.is_integer() and not self.sd:
            return 0
        if mean == 0 or 0.1 <= mean < 1:
            return 3
        return min(5, max(1, (3 if mean >= 1 else 2) - math.floor(math.log10(mean))))

    def __str__(self) -> str:
        spread = "" if self.sd is None else f" ± {self.sd:.{self.digits}f}"
        return f"{self.mean:.{self.digits}f}{spread} ({len(self.values)})"


Cell = str | int | float | Stat | None


@dataclass(frozen=True)
class Table:
    """Rows under a head, and how they are written.

    Attributes:
        head: One name a column.
        rows: Cells; None is printed as a dash.
        title: Heading.
        note: A sentence below.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    note: str = ""

    def without_empty(self) -> Table:
        """The same without the columns in which nothing stands."""
        return self._only([k for k in range(len(self.head)) if any(row[k] not in (None, "") for row in self.rows)])

    def without(self, name: str) -> Table:
        """The same without the columns of that name."""
        return self._only([k for k, other in enumerate(self.head) if other != name])

    def _only(self, kept: Sequence[int]) -> Table:
        rows = tuple(tuple(row[k] for k in kept) for row in self.rows)
        return replace(self, head=tuple(self.head[k] for k in kept), rows=rows)

    def markdown(self) -> str:
        """Heading, table, note."""
        lines = [list(self.head), ["---"] * len(self.head), *[[text(cell) for cell in row] for row in self.rows]]
        heading = f"### {self.title}\n\n" if self.title else ""
        note = f"\n\n{self.note}" if self.note else ""
        return heading + "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"{note}\n"

    def csv(self) -> str:
        """Numbers in full; a column of measured numbers becomes four: mean, ``_sd``, ``_n`` and the ``_values``."""
        measured = [any(isinstance(row[k], Stat) for row in self.rows) for k in range(len(self.head))]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        head: list[str] = []
        for name, several in zip(self.head, measured, strict=True):
            head += [name, f"{name}_sd", f"{name}_n", f"{name}_values"] if several else [name]
        writer.writerow(head)
        for row in self.rows:
            line: list[Any] = []
            for cell, several in zip(row, measured, strict=True):
                if isinstance(cell, Stat):
                    line += [cell.mean, cell.sd, len(cell.values), " ".join(map(repr, cell.values))]
                else:
                    line += [cell, None, None, None] if several else [cell]
            writer.writerow(line)
        return out.getvalue()

    def latex(self) -> str:
        """A ``tabular`` for the package booktabs."""
        numeric = [all(not isinstance(row[k], str) for row in self.rows) for k in range(len(self.head))]
        columns = "".join("r" if right else "l" for right in numeric)
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        lines += [" & ".join(map(_tex, self.head)) + r" \\", r"\midrule"]
        lines += [" & ".join(_tex(text(cell)) for cell in row) + r" \\" for row in self.rows]
        lines += [r"\bottomrule", r"\end{tabular}"]
        title = f"% {self.title}\n" if self.title else ""
        return title + "\n".join(lines) + "\n"


def text(cell: Cell) -> str:
    """A cell as it is printed."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return "-"
    if isinstance(cell, int) and not isinstance(cell, bool):
        return f"{cell:,}"
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)


def tables(rows: Mapping[str, Mapping[str, Any]], layout: Sequence[Mapping[str, Any]] = ()) -> list[Table]:
    """All tables of a paper.

    Args:
        rows: ``expected.json``'s rows.
        layout: ``paper.yaml``'s ``tables``; each either a list (``title``, ``rows`` globs) or, with ``index``,
            ``columns`` and ``metric``, a pivot of grid axes. Without a layout, one list of everything.
    """
    found = []
    for entry in layout or [{"rows": ["*"]}]:
        chosen = chosen_rows(rows, entry)
        if chosen:
            found.append(_pivot(chosen, entry) if "index" in entry else _list(chosen, entry))
    return found


def chosen_rows(rows: Mapping[str, Mapping[str, Any]], entry: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The rows that a table of the layout shows."""
    return {n: r for n, r in rows.items() if any(fnmatch(n, p) for p in entry.get("rows", ["*"]))}


def render(rows: Mapping[str, Mapping[str, Any]], layout: Sequence[Mapping[str, Any]] = ()) -> str:
    """:func:`tables` as Markdown, and what they cost."""
    return "\n".join([*(table.markdown() for table in tables(rows, layout)), f"{cost(rows)}\n"])


def cost(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """How many rows, what they cost, on which device and by which code."""
    commits = sorted({commit for row in rows.values() for commit in row["commit"]})
    seconds = sum(row["cpu_seconds"] for row in rows.values())
    devices = ", ".join(sorted({row["device"] for row in rows.values()}))
    code = ", ".join(commits)
    return f"{len(rows)} rows, {seconds / 3600:.2f} CPU-hours on {devices}, code {code} (+: uncommitted changes)."


def verdict(row: Mapping[str, Any]) -> str:
    """How our number stands to the published one."""
    if row["data"] == "simulated":
        return "simulated"
    if row["published"] is None:
        return ""
    if row["note"]:
        return row["note"]
    if row["data"] == "other":
        return "not comparable"
    ours = row["metrics"].get(row["metric"], {}).get("mean")
    if ours is None or math.isnan(ours):
        return "undefined"
    difference = ours - row["published"]
    if abs(difference) <= row["tolerance"]:
        return "within tolerance"
    return "better" if (difference > 0) == (row["better"] == "higher") else "worse"


def update_readme(path: Path, text: str, markers: tuple[str, str] = (BEGIN, END)) -> None:
    """Replace what stands between two markers of a README, by default those of the result tables.

    Raises:
        ConfigError: If the file or its markers are missing.
    """
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    begin, end = markers
    if begin not in old or end not in old:
        raise ConfigError(f"{path}: no place for the tables: add the two lines {begin!r} and {end!r}")
    head, _, rest = old.partition(begin)
    write_text(path, f"{head}{begin}\n\n{text}\n{end}{rest.partition(end)[2]}")


def _list(rows: Mapping[str, Mapping[str, Any]], entry: Mapping[str, Any]) -> Table:
    metrics = entry.get("metrics", [])
    lines: list[tuple[Cell, ...]] = []
    for name, row in rows.items():
        ours, published = Stat.of(row["metrics"].get(row["metric"])), row["published"]
        source = f" ({row['source']})" if row["source"] else ""
        lines.append(
            (
                name,
                None if published is None else f"{published:g}{source}",
                ours,
                _interval(ours),
                None if published is None or ours is None else f"{ours.mean - published:+.3f}",
                verdict(row),
                *[Stat.of(row["metrics"].get(metric)) for metric in metrics],
                row["parameters"] or None,
                f"{row['cpu_seconds']:.0f}",
                f"{row['peak_memory_mb']:.0f}" if row.get("peak_memory_mb") else None,
                f"{row['energy_j'] / 1e3:.1f}" if row.get("energy_j") else None,
            )
        )
    head = ("row", "published", "ours", "95 % CI", "Δ", "verdict", *metrics, "parameters", *COSTS)
    return Table(head, tuple(lines), entry.get("title", ""), entry.get("note", "")).without_empty()


def total(energies: Iterable[float | None]) -> float | None:
    """Joules of several runs; None if one of them was not counted."""
    known = list(energies)
    return None if not known or None in known else round(sum(filter(None, known)), 1)


def _interval(stat: Stat | None) -> str | None:
    """The 95 % confidence interval of the mean over seeds."""
    if stat is None or (ends := stat.interval) is None:
        return None
    return f"{ends[0]:.{stat.digits}f} to {ends[1]:.{stat.digits}f}"


def _pivot(rows: Mapping[str, Mapping[str, Any]], entry: Mapping[str, Any]) -> Table:
    index, column, metric = entry["index"], entry["columns"], entry.get("metric")
    members = [row for row in rows.values() if index in row["labels"] and column in row["labels"]]
    columns = list(dict.fromkeys(row["labels"][column] for row in members))
    lines: list[tuple[Cell, ...]] = []
    for label in dict.fromkeys(row["labels"][index] for row in members):
        cells = {row["labels"][column]: row for row in members if row["labels"][index] == label}
        found = (cells.get(name) for name in columns)
        lines.append((label, *[Stat.of(r["metrics"].get(metric or r["metric"])) if r else None for r in found]))
    return Table((index, *columns), tuple(lines), entry.get("title", ""), entry.get("note", ""))


_TEX = {"±": r"$\pm$", "Δ": r"$\Delta$", "−": "--", "µ": r"$\mu$", "<": r"$<$", ">": r"$>$", "~": r"\textasciitilde{}"}
_TEX |= {mark: "\\" + mark for mark in "&%$#_{}"} | {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}"}


def _tex(cell: str) -> str:
    return re.sub("|".join(map(re.escape, _TEX)), lambda match: _TEX[match[0]], cell)
