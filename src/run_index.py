"""Find the records of all runs: a scan of the folders, and a cache of what stood in them. Imports nothing heavy.

The folders are the only truth. ``.index.json`` in the runs folder keeps the content of records that nobody has touched
for a minute, each with its file's stamp; one whose stamp differs is read again. It may be deleted, torn, older than the
folders or written by several processes at once without a wrong answer.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import NeurotwinError
from .files import read_json, replaced

NAME = ".index.json"
#: A record that changed later than this is not kept: a running run's would be out of date at once.
SETTLED_S = 60.0


def records(root: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Run folders ``<root>/<paper>/<row>/<run>`` with the content of their ``run.json``; what is torn is left out."""
    cache = _read(root / NAME)
    kept: dict[str, Any] = {}
    found = []
    fresh = 0
    settled = time.time() - SETTLED_S
    for name, state in _files(root):
        stamp = [state.st_mtime_ns, state.st_size, state.st_ino]
        known = cache.get(name)
        if known is not None and known[0] == stamp:
            record = known[1]
        else:
            try:
                record = read_json(root / name / "run.json")
            except NeurotwinError:
                continue
            if not {"experiment", "status", "started"} <= record.keys() or not isinstance(record.get("process"), dict):
                continue  # not ours, or torn
            fresh += state.st_mtime < settled
        if state.st_mtime < settled:
            kept[name] = [stamp, record]
        found.append((root / name, record))
    if fresh > 20 + len(kept) // 20:  # writing all of them costs as much as reading a few
        _write(root / NAME, kept)
    return found


def _files(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Run folders relative to the root, with the state of their record."""
    for paper in _folders(root):
        for row in _folders(root, paper):
            for name in _folders(root, row):
                with contextlib.suppress(OSError):
                    yield name, os.stat(f"{root}/{name}/run.json")


def _folders(root: Path, inner: str = "") -> Iterator[str]:
    try:
        entries = os.scandir(os.path.join(root, inner))
    except OSError:
        return
    with entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.is_dir():
                yield f"{inner}/{entry.name}" if inner else entry.name


def _read(path: Path) -> dict[str, Any]:
    """Name to stamp and record; empty when there is no usable cache."""
    try:
        cache = json.loads(path.read_text(encoding="utf-8"))
        rows = cache["runs"] if cache["version"] == 1 else {}
        return rows if all(len(row) == 2 and isinstance(row[1], dict) for row in rows.values()) else {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(path: Path, kept: dict[str, Any]) -> None:
    """Whole or not at all; a folder that cannot be written goes without."""
    with contextlib.suppress(OSError), replaced(path) as file:
        file.write(json.dumps({"version": 1, "runs": kept}, ensure_ascii=False, separators=(",", ":")).encode())
