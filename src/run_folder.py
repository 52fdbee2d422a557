"""Run folders: claimed atomically, recorded in ``run.json``, listed. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import csv
import math
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from .errors import NeurotwinError, did_you_mean
from .files import read_json, write_json
from .provenance import process_start
from .run_index import records

#: A run on another host whose record was not touched for so long counts as interrupted.
STALE_S = 900.0


@dataclass
class Run:
    """A run folder.

    Attributes:
        path: The folder.
        record: Content of ``run.json``.
    """

    path: Path
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def experiment(self) -> str:
        """``paper/row``."""
        return str(self.record["experiment"])

    @property
    def status(self) -> str:
        """``running``, ``finished``, ``failed`` or ``interrupted``; a killed process leaves ``interrupted``."""
        recorded = str(self.record.get("status", "interrupted"))
        return "interrupted" if recorded == "running" and not self._alive() else recorded

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Content of ``metrics.json``, undefined scores as NaN; empty until the run was tested."""
        path = self.path / "metrics.json"
        return {k: math.nan if v is None else v for k, v in read_json(path).items()} if path.exists() else {}

    @property
    def predictions(self) -> dict[str, Any]:
        """The tested items: arrays of equal first dimension, from ``predictions/test.npz``.

        Raises:
            NeurotwinError: If the run was not tested, or the file is damaged.
        """
        import zipfile

        import numpy as np

        path = self.path / "predictions" / "test.npz"
        try:
            with np.load(path, allow_pickle=False) as rows:
                return dict(rows)
        except FileNotFoundError:
            raise NeurotwinError(f"{self.path.name} has no test predictions: it is {self.status}") from None
        except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise NeurotwinError(f"{path}: cannot be read ({error}); `neurotwin resume` tests the run again") from error

    @property
    def history(self) -> list[dict[str, float]]:
        """Rows of ``metrics.csv``, one an epoch; an epoch without a score lacks it."""
        path = self.path / "metrics.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        from .config import load_config

        return load_config(self.path / "config.yaml")

    @property
    def figures(self) -> list[Path]:
        """Paths of the figures drawn after the test."""
        return sorted((self.path / "figures").glob("*.png"))

    def figure(self, name: str) -> Any:
        """An interactive figure of the tested run (plotly), drawn from its predictions where it was not kept.

        Args:
            name: As the task calls it, such as ``voltage`` or ``change``.

        Raises:
            NeurotwinError: If there is none of that name; the message offers the nearest.
        """
        import plotly.io

        folder = self.path / "figures"
        if not (folder / f"{name}.json").exists():
            self.draw()
        drawn = [path.stem for path in sorted(folder.glob("*.json"))]
        if name not in drawn:
            raise NeurotwinError(f"{self.path.name} has no figure {name!r}: {did_you_mean(name, drawn)}")
        return plotly.io.from_json((folder / f"{name}.json").read_text(encoding="utf-8"))

    def draw(self) -> None:
        """Draw the interactive figures from the run's predictions into its ``figures/``; needs its data."""
        from .engine import draw_plots

        draw_plots(self)

    def checkpoint(self, which: str | None = None) -> Path:
        """``best`` or ``last`` checkpoint; by default the one that the configuration tests.

        Raises:
            NeurotwinError: If no epoch was completed.
        """
        which = which or self.config["checkpoint"]
        for name in (which, "last"):
            if (path := self.path / "checkpoints" / f"{name}.ckpt").exists():
                return path
        raise NeurotwinError(
            f"{self.path} has no checkpoint: no epoch was completed; `neurotwin resume` starts it again"
        )

    @cached_property
    def task(self) -> Any:
        """The trained task (model, loss, metrics) in evaluation mode, and its datamodule as ``task.datamodule``."""
        from .engine import load_task

        return load_task(self)

    @property
    def model(self) -> Any:
        """The trained network."""
        return self.task.model

    def update(self, **values: Any) -> None:
        """Set values in ``run.json``, atomically."""
        self.record.update(values)
        write_json(self.path / "run.json", self.record)

    def _alive(self) -> bool:
        process = self.record.get("process", {})
        if process.get("host") == socket.gethostname():
            return process.get("started") == process_start(int(process.get("pid", -1))) is not None
        return time.time() - (self.path / "run.json").stat().st_mtime < STALE_S


def claim(runs_dir: Path | str, experiment: str, seed: int) -> Path:
    """Make a new run folder that no other launch can have: ``<experiment>/<date>_<time>_s<seed>_<4 hex>``."""
    parent = Path(runs_dir).expanduser().resolve() / experiment
    try:
        parent.mkdir(parents=True, exist_ok=True)
        while True:
            path = parent / f"{datetime.now():%Y-%m-%d_%H%M%S}_s{seed}_{secrets.token_hex(2)}"
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                break
    except OSError as error:
        raise NeurotwinError(
            f"{parent}: no run folder can be made there ({error.strerror}); pass runs_dir=FOLDER"
        ) from None
    for name in ("checkpoints", "figures", "predictions"):
        (path / name).mkdir()
    return path


class LockedError(NeurotwinError):
    """Another process works in the run folder."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run folder; the lock goes with the process, however it ends.

    Raises:
        LockedError: If another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: run.json's process is the only guard
        yield
        return
    with (path / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LockedError(f"{path.name}: another process works on this run") from None
        yield


def load_run(path: Path | str) -> Run:
    """Open a run by its folder, by the folder's name (or its unique end) below the runs folder, or by its experiment.

    An experiment ``paper/row`` means its newest finished run, or its newest where none has finished.

    Raises:
        NeurotwinError: If there is no such run; the message offers the nearest.
    """
    folder = Path(path).expanduser()
    if (folder / "run.json").exists():
        return Run(folder.resolve(), read_json(folder / "run.json"))
    known = {run.path.name: run for run in runs()}
    matches = [run for name, run in known.items() if str(path) and name.endswith(str(path))]
    if len(matches) == 1:
        return matches[0]
    if of_it := [run for run in known.values() if run.experiment == str(path)]:
        return max(of_it, key=lambda run: (run.status == "finished", str(run.record.get("started"))))
    if matches:
        raise NeurotwinError(f"{path!s} names {len(matches)} runs: {', '.join(r.path.name for r in matches)}")
    raise NeurotwinError(f"no run {str(path)!r}: {did_you_mean(str(path), known)} (see `neurotwin runs`)")


def runs(runs_dir: Path | str | None = None, experiment: str = "") -> list[Run]:
    """All runs below a folder (default ``$NEUROTWIN_RUNS`` or ``./runs``), oldest first."""
    root = Path(runs_dir or os.environ.get("NEUROTWIN_RUNS", "./runs")).expanduser()
    found = [
        Run(path, record) for path, record in records(root) if str(record.get("experiment", "")).startswith(experiment)
    ]
    return sorted(found, key=lambda run: (run.record.get("started", ""), run.path.name))


def remove_drafts(folder: Path) -> None:
    """Delete what a killed process had begun to write below a run folder; only under the folder's lock."""
    for path in folder.rglob(".*"):
        if path.suffix[1:].isdigit() and path.is_file():
            path.unlink(missing_ok=True)
