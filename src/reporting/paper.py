"""A paper's numbers: those recorded with the code, and those of the machine that asks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..config import load_config
from ..files import read_json
from ..registry import paper_dir
from ..tables import Table, cost, tables

Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Paper:
    """One folder of ``experiments/``.

    Attributes:
        name: Folder name.
        folder: Where it is.
        layout: ``paper.yaml``'s tables.
        recorded: Rows of ``expected.json``: what came with the code.
        own: Rows of the last ``neurotwin reproduce`` in the runs folder.
    """

    name: str
    folder: Path
    layout: Sequence[Mapping[str, Any]] = ()
    recorded: Rows = field(default_factory=dict)
    own: Rows = field(default_factory=dict)

    @property
    def title(self) -> str:
        """First heading of its README."""
        readme = self.folder / "README.md"
        lines = readme.read_text(encoding="utf-8").splitlines() if readme.exists() else []
        return next((line[2:].strip() for line in lines if line.startswith("# ")), self.name)

    def sets(self) -> dict[str, Rows]:
        """Both sets of rows by their names, empty ones left out."""
        return {
            name: rows
            for name, rows in (("recorded with the code", self.recorded), ("of this machine", self.own))
            if rows
        }

    def tables(self) -> list[Table]:
        """The layout's tables of both sets, each set's cost below its last."""
        found: list[Table] = []
        for name, rows in self.sets().items():
            made = tables(rows, self.layout)
            made[-1] = replace(made[-1], note=" ".join(filter(None, [made[-1].note, cost(rows)])))
            own = name == "of this machine"
            found += [replace(t, title=f"{t.title or self.name} ({name})") if own else t for t in made]
        return found

    def everything(self) -> Table:
        """One line a row, every metric that any of them has."""
        rows = {f"{name} [this machine]": row for name, row in self.own.items()}
        rows = {**self.recorded, **rows}
        metrics = list(dict.fromkeys(metric for row in rows.values() for metric in row["metrics"]))
        made = tables(rows, [{"metrics": metrics}])
        return made[0] if made else Table(("row",), ())


def read_paper(name: str, runs_dir: Path | None = None) -> Paper:
    """Read a paper's folder and, where there is one, the last reproduction in the runs folder.

    Raises:
        ConfigError: If there is no such paper.
    """
    folder = paper_dir(name)
    root = Path(runs_dir or os.environ.get("NEUROTWIN_RUNS", "./runs")).expanduser()
    return Paper(
        name=name,
        folder=folder,
        layout=load_config(folder / "paper.yaml").get("tables", []),
        recorded=_rows(folder / "expected.json"),
        own=_rows(root / name / "reproduction.json"),
    )


def _rows(path: Path) -> Rows:
    return read_json(path)["rows"] if path.exists() else {}
