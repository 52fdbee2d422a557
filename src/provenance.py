"""Where a result comes from: time, process, machine, code, versions. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any


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


def now() -> str:
    """UTC time, ISO 8601, seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def process_identity() -> dict[str, Any]:
    """What tells later whether this process still lives: host, pid and the pid's start time."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": process_start(os.getpid())}


def cpu_name() -> str:
    """Model of the processor, or at least its kind."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_state() -> dict[str, Any] | None:
    """Commit of the code, and a hash of its uncommitted changes; None outside a checkout.

    Texts and recorded results are no code: `reproduce --update` writes them between two rows of one commit.
    """
    folder = Path(__file__).resolve().parent
    try:
        _git(folder, "ls-files", "--error-unmatch", Path(__file__).name)  # installed inside somebody else's checkout?
        commit = _git(folder, "rev-parse", "HEAD").strip()
        places = [".", *(p for p in ("../configs", "../experiments") if (folder / p).is_dir())]
        places += [":(exclude)../**/*.md", ":(exclude)../**/expected.json"]
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


def process_start(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, so that a reused pid is not taken for the old process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        pass
    if pid < 1:  # to kill(2) a group of processes, or all of them
        return None
    try:  # no /proc: macOS
        os.kill(pid, 0)
    except (OSError, OverflowError):
        return None
    return 0
