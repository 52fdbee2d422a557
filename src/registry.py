"""What there is to run: the YAML files of neurotwin and of installed plugins. Imports nothing heavy.

The files are the registry. A plugin is any installed package that names itself in the entry-point group
``neurotwin.plugins``; its ``configs/`` and ``experiments/`` folders are searched after neurotwin's own.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path

from .errors import ConfigError, did_you_mean

log = logging.getLogger("neurotwin")
KINDS = (
    "experiment",
    "datamodule",
    "model",
    "task",
    "optimizer",
    "scheduler",
    "trainer",
    "callbacks",
    "logger",
    "debug",
    "simulator",
    "sweep",
)


@dataclass(frozen=True)
class Source:
    """A place where configuration lives.

    Attributes:
        name: Package name, or the folder given by the user.
        configs: Folder of config groups.
        experiments: Folder of ``<paper>/<row>.yaml``.
    """

    name: str
    configs: Path
    experiments: Path


@dataclass(frozen=True)
class Entry:
    """One selectable file: its group, the name to type, its one-line description and where it is."""

    kind: str
    name: str
    description: str
    path: Path
    source: str


def sources() -> list[Source]:
    """Neurotwin itself, the user's ``$NEUROTWIN_CONFIG_DIR`` folders (``:``-separated), then installed plugins."""
    found = [Source("neurotwin", _package_dir("neurotwin.configs"), _package_dir("neurotwin.experiments"))]
    for folder in filter(None, os.environ.get("NEUROTWIN_CONFIG_DIR", "").split(os.pathsep)):
        path = Path(folder).expanduser().resolve()
        if not path.is_dir():
            raise ConfigError(f"NEUROTWIN_CONFIG_DIR names {folder!r}, which is no folder")
        found.append(Source(folder, path / "configs", path / "experiments"))
    for name in _plugins(tuple(sys.path)):
        path = _package_dir(name)
        found.append(Source(name, path / "configs", path / "experiments"))
    return found


@cache
def _plugins(paths: tuple[str, ...]) -> list[str]:
    """Installed plugins by package name. Kept for a search path: looking takes 70 ms, and every check asks."""
    found = []
    for point in metadata.entry_points(group="neurotwin.plugins"):
        try:
            _package_dir(point.value)
        except ConfigError as error:
            log.warning("plugin %r is left out: %s; reinstall or uninstall it", point.name, error)
            continue
        found.append(point.value)
    return found


def list_configs(kind: str = "experiment") -> list[Entry]:
    """All entries of one kind (see :data:`KINDS`), by name.

    Raises:
        ConfigError: If ``kind`` is none of :data:`KINDS`.
    """
    if kind not in KINDS:
        raise ConfigError(f"unknown kind {kind!r}: {did_you_mean(kind, KINDS)}")
    entries: dict[str, Entry] = {}
    for source in sources():
        folder = source.experiments if kind == "experiment" else source.configs / kind
        for path in _yaml_files(folder):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if kind == "experiment" and (path.stem == "paper" or name.count("/") != 1):
                continue  # paper/row, no deeper: a run's folder is found by its depth
            if not path.stem.startswith("_"):
                entries.setdefault(name, Entry(kind, name, _first_comment(path), path, source.name))
        for path in source.experiments.glob("*/sweep/*.yaml") if kind == "sweep" else ():
            name = f"{path.parents[1].name}/{path.stem}"
            entries.setdefault(name, Entry(kind, name, _first_comment(path), path, source.name))
    return [entries[name] for name in sorted(entries)]


def experiment_entry(name: str) -> Entry:
    """The experiment ``paper/row``.

    Raises:
        ConfigError: If there is none of that name, the message offers the nearest; or if its file would be composed
            below ``experiments`` instead of at the root.
    """
    entries = {entry.name: entry for entry in list_configs("experiment")}
    if name not in entries:
        raise ConfigError(f"unknown experiment {name!r}: {did_you_mean(name, entries)} (see `neurotwin list`)")
    path = entries[name].path
    if not re.search(r"^# *@package +_global_\s*$", path.read_text(encoding="utf-8", errors="replace"), re.M):
        raise ConfigError(f"{path}: an experiment's first line must be '# @package _global_'")
    return entries[name]


def papers() -> dict[str, Path]:
    """Papers by name, with the folder that holds ``paper.yaml``."""
    found = {p.parent.name: p.parent for s in sources() for p in s.experiments.glob("*/paper.yaml")}
    return dict(sorted(found.items()))


def paper_dir(paper: str) -> Path:
    """Folder of a paper's experiments."""
    known = papers()
    if paper not in known:
        raise ConfigError(f"unknown paper {paper!r}: {did_you_mean(paper, known)}")
    return known[paper]


def _package_dir(name: str) -> Path:
    try:
        spec = util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"package {name!r} is not importable")
    return Path(next(iter(spec.submodule_search_locations)))


def _yaml_files(folder: Path) -> Iterator[Path]:
    return iter(sorted(folder.rglob("*.yaml"))) if folder.is_dir() else iter(())


def _first_comment(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("#") and not line.startswith("# @package"):
                return line.lstrip("# ").strip()
            if line.strip() and not line.startswith("#"):
                break
    return ""
