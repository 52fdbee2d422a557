"""Figures that the report draws itself: learning curves, and our numbers with their intervals beside the published."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from ..plotting import BLUE, FAINT, PALETTE, VERMILLION, blank
from ..run_folder import Run
from ..tables import Stat, chosen_rows

_STAGES = {"train": "dot", "val": "solid"}
_MAX_PANELS = 6
_COLUMNS = ("epoch", "step", "lr")


def learning_curves(runs: Sequence[Run], labels: Mapping[str, str]) -> go.Figure | None:
    """What each run logged every epoch, training dotted, validation solid; None if there is nothing to draw.

    Args:
        runs: With a ``metrics.csv``.
        labels: Name of the run folder to the group's name: one colour each.
    """
    histories = {run.path.name: read_history(run) for run in runs}
    histories = {name: rows for name, rows in histories.items() if len(rows) > 1}
    names = {key for rows in histories.values() for row in rows for key in row if key not in _COLUMNS}
    found = sorted({name.partition("/")[2] for name in names if "/" in name}, key=lambda name: (name != "loss", name))
    if not found:
        return None
    panels = found[:_MAX_PANELS]
    columns = min(3, len(panels))
    n_rows = -(-len(panels) // columns)
    left_out = f" Not shown: {', '.join(found[_MAX_PANELS:])}." if len(found) > _MAX_PANELS else ""
    figure = blank(
        "Learning curves",
        f"Dotted: training, solid: validation, each epoch.{left_out}",
        n_rows,
        columns,
        90 + 240 * n_rows,
        subplot_titles=panels,
        vertical_spacing=0.22 / n_rows,
        horizontal_spacing=0.08,
    )
    colours = {
        label: PALETTE[k % len(PALETTE)] for k, label in enumerate(dict.fromkeys(labels[name] for name in histories))
    }
    seen: set[str] = set()
    for name, rows in histories.items():
        label = labels[name]
        for place, panel in enumerate(panels):
            for stage, dash in _STAGES.items():
                points = [(row["epoch"], row[f"{stage}/{panel}"]) for row in rows if f"{stage}/{panel}" in row]
                if not points:
                    continue
                figure.add_scatter(
                    x=[x for x, _ in points],
                    y=[y for _, y in points],
                    mode="lines+markers" if len(points) < 4 else "lines",
                    line={"color": colours[label], "dash": dash, "width": 1.6},
                    name=label,
                    legendgroup=label,
                    showlegend=len(colours) > 1 and label not in seen,
                    hovertemplate=f"{stage} %{{y:.4g}}, epoch %{{x}}<extra>{name}</extra>",
                    row=place // columns + 1,
                    col=place % columns + 1,
                )
                seen.add(label)
    figure.update_xaxes(title_text="epoch", row=n_rows)
    if len(colours) == 1:  # no legend above the titles
        figure.update_layout(margin={"t": 36})
    return figure


def read_history(run: Run) -> list[dict[str, float]]:
    """Rows of ``metrics.csv``; cells that are empty or undefined are left out."""
    path = run.path / "metrics.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = [{k: float(v) for k, v in row.items() if v not in ("", None)} for row in csv.DictReader(file)]
    return [{k: v for k, v in row.items() if math.isfinite(v)} for row in rows]


def forest(rows: Mapping[str, Mapping[str, Any]], entry: Mapping[str, Any]) -> go.Figure | None:
    """Our means with their 95 % intervals over seeds, every seed's value, and the published value where there is one.

    Args:
        rows: ``expected.json``'s rows.
        entry: The table of the layout that says which rows; None is returned unless they share one metric.
    """
    chosen = chosen_rows(rows, entry)
    metrics = {entry.get("metric") or row["metric"] for row in chosen.values()}
    if len(metrics) != 1 or len(chosen) < 2:
        return None
    metric = metrics.pop()
    stats = {name: Stat.of(row["metrics"].get(metric)) for name, row in chosen.items()}
    shown = {name: stat for name, stat in stats.items() if stat is not None}
    if len(shown) < 2:
        return None
    several = any(stat.sd is not None for stat in shown.values())
    caption = f"{metric}: mean" + (
        " and 95 % interval over seeds (Student's t), every seed as a dot." if several else ", one seed each."
    )
    figure = blank(entry.get("title", metric), caption, height=110 + 26 * len(shown))
    names = list(shown)
    dots = [(value, name) for name, stat in shown.items() for value in stat.values]
    if several:
        figure.add_scatter(
            x=[x for x, _ in dots],
            y=[y for _, y in dots],
            mode="markers",
            marker={"size": 5, "color": FAINT, "opacity": 0.6},
            name="seeds",
            hovertemplate="%{x:.4g}<extra>seed</extra>",
        )
    means = [stat.mean for stat in shown.values()]
    halves = [(i[1] - i[0]) / 2 if (i := stat.interval) else None for stat in shown.values()]
    figure.add_scatter(
        x=means,
        y=names,
        mode="markers",
        marker={"size": 9, "color": BLUE},
        error_x={"array": halves, "color": BLUE, "thickness": 1.5, "width": 4},
        name="ours",
        hovertemplate="%{y}: %{x:.4g}<extra>ours</extra>",
    )
    published = [(row["published"], name) for name, row in chosen.items() if row["published"] is not None]
    if published and metric in {row["metric"] for row in chosen.values()}:
        figure.add_scatter(
            x=[x for x, _ in published],
            y=[y for _, y in published],
            mode="markers",
            marker={"size": 11, "symbol": "diamond-open", "color": VERMILLION, "line": {"width": 2}},
            name="published",
            hovertemplate="%{y}: %{x:.4g}<extra>published</extra>",
        )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False, tickfont={"size": 12})
    figure.update_xaxes(title=metric)
    figure.update_layout(showlegend=several or bool(published))
    return figure
