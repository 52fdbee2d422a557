"""The HTML page: everything inside one file, which opens without a network and asks for none."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from .. import __version__
from ..provenance import now
from ..run_folder import Run, runs
from ..tables import BEGIN, END, Stat, Table, chosen_rows, cost, tables, text
from .compare import Comparison, comparison
from .curves import forest, learning_curves
from .paper import Paper

log = logging.getLogger("neurotwin")


@dataclass(frozen=True)
class Shown:
    """A figure in the page: plotly's JSON, or the data address of a PNG.

    Attributes:
        title: Heading.
        caption: How to read it.
        plot: JSON that the page's script draws.
        image: ``data:image/png;base64,…`` instead.
        height: Pixels that the page keeps free until the figure is drawn.
        group: Figures of a group share a place; a list chooses which of them is seen.
        place: In that list.
    """

    title: str
    caption: str = ""
    plot: Markup | None = None
    image: str | None = None
    height: int = 0
    group: str = ""
    place: int = 0


def render_page(chosen_papers: Sequence[Paper], chosen_runs: Sequence[Run], draw: bool, runs_dir: Path | None) -> str:
    """The whole page.

    Args:
        chosen_papers: Shown with their tables and the newest run of each of their experiments.
        chosen_runs: Shown side by side, then one by one.
        draw: Whether figures that a run did not keep are drawn now.
        runs_dir: Where the papers' runs lie.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("neurotwin.reporting"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"cell": _cell, "badge": _badge, "interval": _interval, "anchor": _anchor}
    compared = comparison(chosen_runs) if chosen_runs else None
    examples = {paper.name: newest(paper.name, runs_dir) for paper in chosen_papers}
    return environment.get_template("page.html.j2").render(
        title=_title(chosen_papers, chosen_runs),
        generated=now(),
        version=__version__,
        papers=[_paper(paper, examples[paper.name], draw) for paper in chosen_papers],
        comparison=_compared(compared, chosen_runs),
        runs=[_run(run, draw) for run in chosen_runs],
        plotly=Markup(_plotly()),
        css=Markup(_asset("page.css")),
        script=Markup(_asset("page.js")),
    )


def newest(paper: str, runs_dir: Path | None) -> list[Run]:
    """The newest finished run of each experiment of a paper, those with figures first."""
    found: dict[str, Run] = {}
    finished = [run for run in runs(runs_dir, f"{paper}/") if run.status == "finished"]
    for run in sorted(finished, key=lambda run: (any((run.path / "figures").iterdir()), run.record["started"])):
        found[run.experiment] = run
    return [found[name] for name in sorted(found)]


def _title(chosen_papers: Sequence[Paper], chosen_runs: Sequence[Run]) -> str:
    names = [paper.name for paper in chosen_papers] + list(dict.fromkeys(run.experiment for run in chosen_runs))
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _paper(paper: Paper, examples: Sequence[Run], draw: bool) -> dict[str, Any]:
    sets = []
    for name, rows in paper.sets().items():
        entries = [entry for entry in paper.layout or [{}] if chosen_rows(rows, entry)]
        drawn = [_plot(figure) if (figure := forest(rows, entry)) else None for entry in entries]
        made = [table.without_empty().without("95 % CI") for table in tables(rows, entries)]  # it stands in small print
        sets.append({"name": name, "tables": list(zip(made, drawn, strict=True)), "cost": cost(rows)})
    return {
        "name": paper.name,
        "title": paper.title,
        "readme": _readme(paper.folder / "README.md"),
        "sets": sets,
        "runs": [_run(run, draw, brief=True) for run in examples],
    }


def _compared(found: Comparison | None, chosen: Sequence[Run]) -> dict[str, Any] | None:
    if found is None:
        return None
    labels = {run.path.name: group.label for group in found.groups for run in group.runs}
    curves = learning_curves([run for run in chosen if run.path.name in labels], labels)
    several = len(chosen) > 1
    return {"tables": found.tables() if several else [], "curves": _plot(curves) if curves and several else None}


def _run(run: Run, draw: bool, brief: bool = False) -> dict[str, Any]:
    figures, remark = _figures(run, draw)
    curves = learning_curves([run], {run.path.name: run.path.name})
    metrics = tuple((name, float(value)) for name, value in run.metrics.items())
    return {
        "name": run.path.name,
        "experiment": run.experiment,
        "status": run.status,
        "brief": brief,
        "metrics": Table(("metric", "value"), metrics),
        "figures": _grouped(figures),
        "remark": remark,
        "curves": _plot(curves) if curves else None,
        "config": (run.path / "config.yaml").read_text(encoding="utf-8"),
        "overrides": run.record.get("overrides") or [],
        "facts": list(_facts(run)),
        "error": run.record.get("error"),
    }


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    """Provenance and cost."""
    record, cost = run.record, run.record.get("cost") or {}
    git = record.get("git") or {}
    yield "command", " ".join(record.get("argv") or [])
    yield "started", str(record.get("started"))
    yield "seed", str(record.get("seed"))
    if git:
        dirty = f", uncommitted changes {git['dirty']}" if git.get("dirty") else ""
        yield "code", f"commit {str(git.get('commit'))[:10]}{dirty}"
    yield "data", f"fingerprint {record.get('data', '-')}"
    yield "configuration", f"hash {record.get('config_hash')}"
    yield "trained parameters", text(record.get("parameters"))
    yield "device", str(record.get("device"))
    if cost:
        peak = cost.get("peak_memory_mb", 0.0)
        energy = f", {cost['energy_j'] / 1e3:.1f} kJ of the whole machine" if "energy_j" in cost else ""
        yield "cost", f"{cost['wall_s']:.1f} s, {cost['cpu_s']:.1f} CPU-s, at most {peak:.0f} MB of memory{energy}"
    if record.get("resumed"):
        yield "resumed", f"{record['resumed']} times"
    yield "versions", ", ".join(f"{name} {version}" for name, version in (record.get("versions") or {}).items())


def _figures(run: Run, draw: bool) -> tuple[list[Shown], str]:
    """Interactive figures, then the pictures that none of them replaces, and why any are missing."""
    folder, remark = run.path / "figures", ""
    kept = sorted(folder.glob("*.json"))
    if not kept and run.status == "finished" and draw:
        try:
            log.info("drawing the figures of %s", run.path.name)
            run.draw()
        except Exception as error:  # a report is still worth having without them
            remark = f"Interactive figures could not be drawn: {type(error).__name__}: {error}"
        kept = sorted(folder.glob("*.json"))
    shown = [_embed(path.read_text(encoding="utf-8")) for path in kept]
    stems = {path.stem for path in kept}
    for path in run.figures:
        if path.stem not in stems:
            data = base64.b64encode(path.read_bytes()).decode()
            shown.append(Shown(path.stem.replace("_", " ").capitalize(), image=f"data:image/png;base64,{data}"))
    return shown, remark


def _plot(figure: Any) -> Shown:
    return _embed(figure.to_json(engine="json"))


def _embed(content: str) -> Shown:
    layout = json.loads(content).get("layout", {})
    meta = layout.get("meta") or {}
    # Inside a script element only "</" could end the element early.
    plot = Markup(content.replace("</", "<\\/"))
    known = {name: meta[name] for name in ("title", "caption", "group", "place") if name in meta}
    return Shown(**{"title": "", **known}, plot=plot, height=int(layout.get("height", 400)))


def _grouped(figures: Sequence[Shown]) -> list[tuple[str, list[Shown]]]:
    """Figures with those of one group together, at the place of the first; what is in no group stands alone."""
    sets: dict[str, list[Shown]] = {}
    for number, shown in enumerate(figures):
        sets.setdefault(shown.group or f"{number}", []).append(shown)
    return [(found[0].group, sorted(found, key=lambda shown: shown.place)) for found in sets.values()]


def _readme(path: Path) -> Markup | None:
    """A README as HTML without its title and its tables, which the page shows itself; raw HTML in it is escaped."""
    if not path.exists():
        return None
    from markdown_it import MarkdownIt

    content = path.read_text(encoding="utf-8")
    head, _, rest = content.partition(BEGIN)
    content = re.sub(r"\A# .*\n", "", head) + rest.partition(END)[2]
    content = re.sub(r"\n## Results\s*(?=\n## |\Z)", "\n", content)
    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(content)
    # Links to files of the checkout lead nowhere from here.
    return Markup(re.sub(r'<a href="(?!https?://)[^"]*">(.*?)</a>', r"\1", rendered))


def _cell(cell: Any) -> str:
    return text(cell).rpartition(" (")[0] if isinstance(cell, Stat) else text(cell)


def _interval(cell: Any) -> str:
    """What stands in small print below a measured number: its interval, and the number of seeds."""
    if not isinstance(cell, Stat):
        return ""
    seeds = f"{len(cell.values)} seed{'s' * (len(cell.values) > 1)}"
    if cell.interval is None:
        return seeds
    low, high = (f"{edge:.{cell.digits}f}" for edge in cell.interval)
    return f"{low} to {high}, {seeds}"


def _badge(cell: Any) -> str:
    """Class of a verdict."""
    known = {"within tolerance": "same", "better": "better", "worse": "worse", "simulated": "simulated"}
    return known.get(str(cell), "")


def _anchor(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _asset(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs().replace("</script", "<\\/script")
