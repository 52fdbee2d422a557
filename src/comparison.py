"""Paired comparisons of a paper's rows: the same test items under two rows, item by item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import get_target
from .errors import ConfigError, did_you_mean
from .run_folder import Run

Array = NDArray[np.float64]
#: Losses of a row: name to (sorted item numbers, loss of each item averaged over seeds).
Losses = dict[str, tuple[NDArray[np.int64], Array]]
_KEYS = {"title", "rows", "against", "losses"}
_RESAMPLES = 5000


def row_losses(groups: Sequence[Sequence[Run]]) -> Losses:
    """Losses of every tested item under one row, averaged over seeds.

    Args:
        groups: The runs of each seed, one a fold. Their task says what an item's losses are
            (:meth:`~neurotwin.tasks.base.BaseTask.losses`).
    """
    task = get_target(groups[0][0].config["task"]["_target_"])
    collected: dict[str, list[dict[int, float]]] = {}
    for group in groups:
        of_seed: dict[str, dict[int, float]] = {}
        for run in group:
            with np.load(run.path / "predictions" / "test.npz", allow_pickle=False) as rows:
                for name, values in task.losses(rows).items():
                    of_seed.setdefault(name, {}).update(zip(rows["window"].tolist(), values.tolist(), strict=True))
        for name, found in of_seed.items():
            collected.setdefault(name, []).append(found)
    losses: Losses = {}
    for name, seeds in collected.items():
        items = sorted(set.intersection(*(set(seed) for seed in seeds)))
        mean = np.mean([[seed[item] for item in items] for seed in seeds], axis=0)
        losses[name] = np.array(items, dtype=np.int64), mean
    return losses


def check_comparisons(entries: Sequence[Mapping[str, Any]], names: Sequence[str], where: str) -> None:
    """Refuse comparisons of rows that do not exist.

    Raises:
        ConfigError: With the entry and the key.
    """
    for entry in entries:
        title = entry.get("title", "?")
        for key in entry:
            if key not in _KEYS:
                raise ConfigError(f"{where}: comparison {title!r}: unknown key {key!r}; {did_you_mean(key, _KEYS)}")
        if missing := _KEYS - set(entry):
            raise ConfigError(f"{where}: comparison {title!r} has no {', '.join(sorted(missing))}")
        if entry["against"] not in names:
            raise ConfigError(
                f"{where}: comparison {title!r}: no row {entry['against']!r}; {did_you_mean(entry['against'], names)}"
            )


def compare(entries: Sequence[Mapping[str, Any]], losses: Mapping[str, Losses]) -> list[dict[str, Any]]:
    """Every comparison that the given rows allow.

    The test is Wilcoxon's signed-rank test, two-sided, over items that both rows tested, p values corrected within an
    entry (Benjamini & Hochberg 1995). The interval is a bootstrap over items (BCa, 95 %) of the relative difference of
    the mean losses.

    Args:
        entries: ``paper.yaml``'s ``comparisons``: ``title``, ``rows`` (globs), ``against`` (a row), ``losses`` (names).
        losses: By row name, from :func:`row_losses`.
    """
    from scipy.stats import false_discovery_control

    results = []
    for entry in entries:
        reference = losses.get(entry["against"])
        chosen = [n for n in losses if n != entry["against"] and any(fnmatch(n, p) for p in entry["rows"])]
        if reference is None:
            continue
        found = []
        for name in chosen:
            for loss in entry["losses"]:
                if loss in reference and loss in losses[name]:
                    test = paired(*_matched(losses[name][loss], reference[loss]))
                    found.append(
                        {"title": entry["title"], "row": name, "against": entry["against"], "loss": loss} | test
                    )
        if found:
            for result, p in zip(found, false_discovery_control([f["p"] for f in found]), strict=True):
                result["p_corrected"] = float(p)
        results += found
    return results


def paired(first: Array, second: Array) -> dict[str, Any]:
    """Relative difference of the mean of two paired samples, its bootstrap interval and Wilcoxon's p value."""
    from scipy.stats import bootstrap, wilcoxon

    def relative(a: Array, b: Array, axis: int = -1) -> Array:
        return a.mean(axis) / b.mean(axis) - 1

    same = bool(np.all(first == second))
    low = high = 0.0
    if not same and len(first) > 2:
        drawn = bootstrap(
            (first, second),
            relative,
            paired=True,
            vectorized=True,
            n_resamples=_RESAMPLES,
            rng=np.random.default_rng(0),
        )
        low, high = map(float, drawn.confidence_interval)
    return {
        "difference": float(relative(first, second)),
        "low": low,
        "high": high,
        "p": 1.0 if same else float(wilcoxon(first, second).pvalue),
        "lower_in": float(np.mean(first < second)),
        "n": len(first),
    }


def render_comparisons(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown, one table a title."""
    parts = []
    for title in dict.fromkeys(result["title"] for result in results):
        members = [result for result in results if result["title"] == title]
        lines = ["| row | loss | difference of the mean | 95 % interval | lower in | p | p, corrected |"]
        lines.append("| --- | --- | --- | --- | --- | --- | --- |")
        for r in members:
            interval = f"{r['low']:+.1%} to {r['high']:+.1%}"
            share = f"{r['lower_in']:.0%} of {r['n']}"
            lines.append(
                f"| {r['row']} | {r['loss']} | {r['difference']:+.1%} | {interval} | {share} | {r['p']:.2g} | "
                f"{r['p_corrected']:.2g} |"
            )
        parts.append(f"#### {title}: against {members[0]['against']}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def merge(
    before: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], order: Sequence[str], titles: Sequence[str]
) -> list[Any]:
    """Recorded comparisons with the new ones in their place, in the order of titles and rows; others go."""
    known = {(r["title"], r["row"], r["loss"]): r for r in [*before, *new]}
    kept = [r for r in known.values() if r["title"] in titles and r["row"] in order]
    return sorted(kept, key=lambda r: (titles.index(r["title"]), order.index(r["row"])))


def _matched(a: tuple[NDArray[np.int64], Array], b: tuple[NDArray[np.int64], Array]) -> tuple[Array, Array]:
    _, first, second = np.intersect1d(a[0], b[0], return_indices=True)
    return a[1][first], b[1][second]
