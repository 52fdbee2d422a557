"""Reports: papers and runs as Markdown, CSV, LaTeX and one self-contained HTML page."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ..errors import ConfigError, did_you_mean
from ..files import write_text
from ..registry import list_configs, paper_dir, papers
from ..run_folder import Run, load_run, runs
from ..tables import Table
from .compare import comparison, per_run
from .paper import Paper, read_paper

FORMATS = ("md", "csv", "latex", "html")
log = logging.getLogger("neurotwin")


def report(
    subjects: Sequence[str | Path | Run] = (),
    format: str = "md",
    output: str | Path | None = None,
    draw: bool = True,
    runs_dir: Path | None = None,
) -> str | Path:
    """Report on papers and runs.

    A paper is shown by the numbers recorded with the code, and by those of ``neurotwin reproduce`` in the runs folder
    where there are some. Runs stand side by side, the differences of their configurations first; runs that differ in
    nothing but seed and fold are summarised together, others never.

    Args:
        subjects: Papers, experiments ``paper/row`` (all their runs), runs, or ends of their names; empty: all papers.
        format: ``md``, ``csv`` (a row a run, or a row of the paper; numbers in full), ``latex`` (booktabs) or ``html``.
        output: File to write; ``report.html`` for HTML, otherwise the text is returned.
        draw: Whether interactive figures that a run did not keep are drawn now, which needs its data.
        runs_dir: Where runs are looked for.

    Returns:
        The text, or the path of the written file.

    Raises:
        ConfigError: If a subject or the format is unknown; the message offers the nearest.
    """
    if format not in FORMATS:
        raise ConfigError(f"format={format!r} is unknown: {did_you_mean(format, FORMATS)}")
    chosen_papers, chosen_runs = resolve(subjects, runs_dir)
    if format == "html":
        from .page import render_page

        path = Path(output or "report.html").expanduser()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, render_page(chosen_papers, chosen_runs, draw, runs_dir))
        return path
    text = "\n".join(_text(table, format) for table in _tables(chosen_papers, chosen_runs, format))
    if output is None:
        return text
    path = Path(output).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return path


def resolve(subjects: Sequence[str | Path | Run], runs_dir: Path | None = None) -> tuple[list[Paper], list[Run]]:
    """Papers and runs that are meant by what a user typed."""
    known = papers()
    experiments = {entry.name for entry in list_configs("experiment")}
    chosen_papers, chosen_runs = [], []
    for subject in subjects or [name for name in known if (paper_dir(name) / "expected.json").exists()]:
        if isinstance(subject, Run):
            chosen_runs.append(subject)
        elif str(subject) in known:
            chosen_papers.append(read_paper(str(subject), runs_dir))
        elif str(subject) in experiments:
            of_it = [run for run in runs(runs_dir, str(subject)) if run.experiment == str(subject)]
            if not of_it:
                raise ConfigError(f"{subject} has no run yet; `neurotwin train {subject}` makes one")
            chosen_runs += of_it
        else:
            chosen_runs.append(_run(str(subject), [*known, *experiments]))
    return chosen_papers, list({run.path: run for run in chosen_runs}.values())


def _run(name: str, other: list[str]) -> Run:
    try:
        return load_run(name)
    except Exception as error:
        near = did_you_mean(name, other)
        if near.startswith("did you mean"):
            raise ConfigError(f"{name!r} is no paper, experiment or run: {near}") from None
        raise ConfigError(f"{name!r} is no paper and no experiment; {error}") from None


def _tables(chosen_papers: Sequence[Paper], chosen_runs: Sequence[Run], format: str) -> list[Table]:
    if format == "csv":
        return [*(paper.everything() for paper in chosen_papers), *([per_run(chosen_runs)] if chosen_runs else [])]
    found = [table for paper in chosen_papers for table in paper.tables()]
    return found + (comparison(chosen_runs).tables() if chosen_runs else [])


def _text(table: Table, format: str) -> str:
    return {"md": table.markdown, "csv": table.csv, "latex": table.latex}[format]()
