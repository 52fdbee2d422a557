"""Figures of a tested assimilation: forecast, ionic currents, the posterior, what drugs left of each conductance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..contracts import Predictions
from ..metrics.clamp_scores import hill_fit, ratio_intervals
from .seizure_figures import BLUE, GREY, STYLE, VERMILLION

Array = NDArray[np.float64]
#: Length of the stretch in which single spikes of a current can be told apart.
ZOOM_MS = 60.0
#: Entries of the least known direction that are named.
_NAMED = 10


def draw_all(folder: Path, rows: Predictions, names: Sequence[str], conditions: Sequence[str]) -> list[Path]:
    """All figures that the predictions allow; returns their paths."""
    paths = [draw_forecast(folder / "forecast.png", rows, conditions)]
    paths.append(draw_currents(folder / "currents.png", rows, names))
    if len(conditions) > 1:
        paths.append(draw_drugs(folder / "drugs.png", rows, names, conditions))
        doses = doses_of(conditions)
        if len(doses) > 2:
            paths.append(draw_dose(folder / "dose.png", rows, names, doses))
    return paths


def doses_of(conditions: Sequence[str]) -> dict[int, tuple[str, float, str]]:
    """Number of a condition to drug, dose and unit, if all but the first are doses of one drug in one unit."""
    found = {}
    for number, condition in enumerate(conditions[1:], start=1):
        if dosed := re.fullmatch(r"(\S+) (\d+(?:\.\d+)?) ?([nuµm]M)", condition):
            found[number] = (dosed[1], float(dosed[2]), dosed[3])
    same = len({(drug, unit) for drug, _, unit in found.values()}) == 1
    return found if same and len(found) == len(conditions) - 1 else {}


class DoseResponse(NamedTuple):
    """Block of one current at several doses of a drug.

    Attributes:
        drug: Its name.
        unit: Of the doses.
        current: Name of the current.
        dose: ``(dose,)``.
        block: Share of the conductance that is gone, ``(dose,)``.
        low: Lower end of its 90 % interval, ``(dose,)``.
        high: Upper end, ``(dose,)``.
        truth: True block, ``(dose,)``; NaN where it is not known.
        fit: Of :func:`~neurotwin.metrics.clamp_scores.hill_fit`.
    """

    drug: str
    unit: str
    current: str
    dose: Array
    block: Array
    low: Array
    high: Array
    truth: Array
    fit: dict[str, Any]

    def curve(self, dose: Array) -> Array:
        """Fitted block at other doses."""
        block: Array = 1 / (1 + (self.fit["ic50"] / dose) ** self.fit["hill"])
        return block


def dose_response(rows: Predictions, names: Sequence[str], doses: Mapping[int, tuple[str, float, str]]) -> DoseResponse:
    """Block against dose of the current that is most certainly blocked."""
    at = [int(np.flatnonzero(rows["condition"] == number)[0]) for number in doses]
    dose = np.array([entry[1] for entry in doses.values()])
    drug, _, unit = next(iter(doses.values()))
    current = int((1 - ratio_intervals(rows["change"][at], rows["change_sd"][at])[1]).sum(0).argmax())
    change, sd = rows["change"][at, current], rows["change_sd"][at, current]
    low, high = ratio_intervals(change, sd)
    fit = hill_fit(dose, 1 - np.exp(change), np.exp(change) * sd)
    truth = 1 - np.exp(rows["true_change"][at, current])
    return DoseResponse(drug, unit, names[current], dose, 1 - np.exp(change), 1 - high, 1 - low, truth, fit)


def draw_dose(path: Path, rows: Predictions, names: Sequence[str], doses: Mapping[int, tuple[str, float, str]]) -> Path:
    """Block of the current that is most certainly blocked against dose, with a Hill curve."""
    drug, unit, current, dose, block, low, high, _, fit = response = dose_response(rows, names, doses)
    with rc_context(STYLE):
        figure = Figure(figsize=(4.0, 2.8), layout="constrained")
        axis = figure.subplots()
        grid = np.geomspace(dose.min() / 3, dose.max() * 3, 100)
        axis.plot(grid, response.curve(grid), color=BLUE, label="Hill curve")
        axis.errorbar(dose, block, [block - low, high - block], fmt="o", color=VERMILLION, markersize=4)
        a, b = fit["ic50_90"]
        axis.set(xscale="log", ylim=(-0.05, 1.05), xlabel=f"{drug} ({unit})", ylabel=f"block of {current}")
        axis.set_title(f"IC50 {fit['ic50']:.3g} {unit} (90 %: {a:.2g}-{b:.2g}), Hill {fit['hill']:.2g}")
        figure.savefig(path)
    return path


def draw_forecast(path: Path, rows: Predictions, conditions: Sequence[str]) -> Path:
    """Recorded and freely predicted voltage of the first test window of each condition (at most four)."""
    _, first = np.unique(rows["condition"], return_index=True)
    first = first[:4]
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 1.0 + 1.4 * len(first)), layout="constrained")
        axes = figure.subplots(len(first), 1, sharex=True, squeeze=False)[:, 0]
        for axis, row in zip(axes, first, strict=True):
            time = np.arange(rows["voltage"].shape[1]) * rows["dt_ms"][row]
            axis.plot(time, rows["voltage"][row], color="#BBBBBB", linewidth=2.4, label="recorded")
            axis.plot(time, rows["forecast"][row], color=BLUE, linewidth=0.8, label="predicted, free run")
            axis.set(ylabel="V (mV)")
            axis.set_title(conditions[int(rows["condition"][row])])
        axes[0].legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1))
        axes[-1].set(xlabel="time in the test window (ms)", xlim=(0, time[-1]))
        figure.savefig(path)
    return path


def draw_currents(path: Path, rows: Predictions, names: Sequence[str]) -> Path:
    """Every ionic current around spikes of the first test window, beside the truth where it is known."""
    dt_ms = float(rows["dt_ms"][0])
    peak = int(rows["voltage"][0].argmax())
    span = round(ZOOM_MS / dt_ms)
    begin = max(0, min(peak - span // 3, rows["voltage"].shape[1] - span))
    here = slice(begin, begin + span)
    columns = 3
    height = -(-len(names) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 0.5 + 1.4 * height), layout="constrained")
        axes = figure.subplots(height, columns, sharex=True, squeeze=False).ravel()
        for number, (axis, name) in enumerate(zip(axes, names, strict=False)):
            model, truth = rows["currents"][0, here, number], rows["true_currents"][0, here, number]
            time = begin * dt_ms + np.arange(len(model)) * dt_ms
            if np.isfinite(truth).any():
                axis.plot(time, truth, color="#BBBBBB", linewidth=3.0, label="true")
            axis.plot(time, model, color=VERMILLION, linewidth=0.9, label="estimated")
            axis.set_title(name)
            if number % columns == 0:
                axis.set_ylabel("µA/cm²")
        for axis in axes[len(names) :]:
            axis.remove()
        for axis in axes[max(0, len(names) - columns) : len(names)]:
            axis.set_xlabel("time (ms)")
            axis.tick_params(labelbottom=True)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        figure.savefig(path)
    return path


def largest_entries(rows: Predictions, parameters: Sequence[str]) -> tuple[list[str], Array]:
    """Names and values, ``(entry,)``, of the largest entries of the least known direction, the largest first."""
    direction = rows["loosest_direction"][0]
    largest = np.argsort(-np.abs(direction))[:_NAMED]
    return [parameters[k] for k in largest], direction[largest]


def draw_directions(path: Path, rows: Predictions, parameters: Sequence[str]) -> Path:
    """How well each direction of the parameters is known, and what the least known one consists of."""
    sd = rows["direction_sd"][0]
    names, entries = largest_entries(rows, parameters)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 2.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        left.plot(np.arange(1, len(sd) + 1), np.where(sd > 0, sd, np.nan), "o", color=VERMILLION, markersize=3)
        left.axhline(1.0, color=GREY, linewidth=0.6, linestyle=":")
        left.set(yscale="log", xlabel="direction of the parameters", ylabel="posterior sd / half of the box")
        left.set_title("how well each direction is known")
        right.barh(names[::-1], entries[::-1], color=BLUE, height=0.6)
        right.axvline(0.0, color=GREY, linewidth=0.6)
        right.set(xlabel="share of half of the parameter's box", title="the least known direction")
        figure.savefig(path)
    return path


def draw_drugs(path: Path, rows: Predictions, names: Sequence[str], conditions: Sequence[str]) -> Path:
    """What each condition left of each conductance, with 90 % intervals and, where known, the truth."""
    _, first = np.unique(rows["condition"], return_index=True)
    drugs = [row for row in first if rows["condition"][row] > 0]
    columns = min(3, len(drugs))
    height = -(-len(drugs) // columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.5, 0.6 + 1.8 * height), layout="constrained")
        axes = figure.subplots(height, columns, sharey=True, squeeze=False).ravel()
        x = np.arange(len(names))
        for axis, row in zip(axes, drugs, strict=False):
            change, sd, truth = (rows[name][row] for name in ("change", "change_sd", "true_change"))
            ratio = np.exp(change)
            low, high = ratio_intervals(change, sd)
            if np.isfinite(truth).any():
                axis.plot(x, np.exp(truth), "_", color=GREY, markersize=11, markeredgewidth=2.5, label="true")
            axis.errorbar(
                x, ratio, [ratio - low, high - ratio], fmt="o", color=VERMILLION, markersize=3, label="estimated"
            )
            axis.axhline(1.0, color=GREY, linewidth=0.6, linestyle=":")
            axis.set(xticks=x, ylim=(0, 2))
            axis.set_xticklabels(names, rotation=60)
            axis.set_title(conditions[int(rows["condition"][row])])
        for axis in axes[len(drugs) :]:
            axis.remove()
        for axis in axes[:: columns or 1]:
            if axis.figure is not None:
                axis.set_ylabel("conductance / control")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
        figure.savefig(path)
    return path
