"""Run folders: claimed atomically, recorded in ``run.json``, listed by a scan. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import csv
import errno
import hashlib
import json
import math
import os
import platform
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from .errors import NeurotwinError, did_you_mean
from .privacy import redact

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
            return process.get("started") == _process_start(int(process.get("pid", -1))) is not None
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


def new_record(experiment: str, seed: int, config_hash: str, overrides: Sequence[str]) -> dict[str, Any]:
    """First content of ``run.json``: what was asked for, by which code, on which machine."""
    return {
        "experiment": experiment,
        "status": "running",
        "seed": seed,
        "config_hash": config_hash,
        "overrides": list(overrides),
        "argv": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": now(),
        "process": process_identity(),
        "git": git_state(),
        "versions": dict(versions()),
        "device": cpu_name(),
    }


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
    """Open a run by its folder, or by the folder's name (or its unique end) below the runs folder.

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
    if matches:
        raise NeurotwinError(f"{path!s} names {len(matches)} runs: {', '.join(r.path.name for r in matches)}")
    raise NeurotwinError(f"no run {str(path)!r}: {did_you_mean(str(path), known)} (see `neurotwin runs`)")


def runs(runs_dir: Path | str | None = None, experiment: str = "") -> list[Run]:
    """All runs below a folder (default ``$NEUROTWIN_RUNS`` or ``./runs``), oldest first."""
    root = Path(runs_dir or os.environ.get("NEUROTWIN_RUNS", "./runs")).expanduser()
    found = []
    for file in _records(root):
        try:
            record = read_json(file)
        except NeurotwinError:
            continue
        if not {"experiment", "status", "started"} <= record.keys() or not isinstance(record.get("process"), dict):
            continue  # not ours, or torn
        if str(record.get("experiment", "")).startswith(experiment):
            found.append(Run(file.parent, record))
    return sorted(found, key=lambda run: (run.record.get("started", ""), run.path.name))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        NeurotwinError: If the file is missing, torn or no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NeurotwinError(f"{path}: cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise NeurotwinError(f"{path}: holds no JSON object")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write JSON, NaN as null, so that a reader, or a kill in between, sees the old file or the new one."""
    write_text(path, json.dumps(_without_nan(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (temporary file beside it, flush to disk, rename), without secrets."""
    with replaced(path) as file:
        file.write(redact(text).encode())


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` when it is whole and on the disk; otherwise nothing changes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_drafts(folder: Path) -> None:
    """Delete what a killed process had begun to write below a run folder; only under the folder's lock."""
    for path in folder.rglob(".*"):
        if path.suffix[1:].isdigit() and path.is_file():
            path.unlink(missing_ok=True)


def unwritable(error: BaseException | None) -> bool:
    """Whether an error, or its cause, says that the disk is full, over its quota or read-only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            return True
        error = error.__cause__ or error.__context__
    return False


def now() -> str:
    """UTC time, ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def process_identity() -> dict[str, Any]:
    """What tells later whether this process still lives: host, pid and the pid's start time."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": _process_start(os.getpid())}


def cpu_name() -> str:
    """Model of the processor, or at least its kind."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_state() -> dict[str, Any] | None:
    """Commit of the code, and a hash of its uncommitted changes; None outside a checkout."""
    folder = Path(__file__).resolve().parent
    try:
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)  # installed inside somebody else's checkout?
        commit = _git(folder, "rev-parse", "HEAD").strip()
        places = [".", *(p for p in ("../configs", "../experiments") if (folder / p).is_dir())]
        difference = _git(folder, "diff", "HEAD", "--", *places)
        difference += _git(folder, "ls-files", "--others", "--exclude-standard", "--", *places)
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": hashlib.sha256(difference.encode()).hexdigest()[:12] if difference else None}


@cache
def versions() -> Mapping[str, str]:
    """Versions of Python and of the packages that can change a result."""
    names = ("neurotwin", "torch", "lightning", "hydra-core", "torchmetrics", "numpy", "scipy", "scikit-learn")
    found = {"python": platform.python_version()}
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    for point in metadata.entry_points(group="neurotwin.plugins"):
        if point.dist is not None:
            found[point.dist.name] = point.dist.version
    return found


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=True,
        timeout=20,
    ).stdout


def _records(root: Path) -> Iterable[Path]:
    return root.glob("*/*/*/run.json")


def _process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, so that a reused pid is not taken for the old process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        pass
    try:  # no /proc: macOS
        os.kill(pid, 0)
    except OSError:
        return None
    return 0
