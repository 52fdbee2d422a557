"""Which code a run executes: one hash over its source files, so that a change elsewhere does not make it stale."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .registry import sources

#: They decide what is run and where it is written, not what comes out: the resolved configuration is hashed apart.
_BYSTANDERS = frozenset(
    f"neurotwin.{name}"
    for name in (
        "code_version",
        "config",
        "config_errors",
        "energy",
        "errors",
        "files",
        "loggers",
        "privacy",
        "provenance",
        "ranks",
        "registry",
        "run_folder",
        "run_index",
        "run_log",
        "targets",
    )
)


#: ``from .module import (names)`` and ``import module``. A regular expression, because parsing takes 20 times as long.
_FROM = re.compile(rb"^[ \t]*from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^#\n]*)", re.M)
_IMPORT = re.compile(rb"^[ \t]*import[ \t]+([\w.]+)", re.M)


def code_hash(config: Mapping[str, Any]) -> str:
    """Twelve hex digits over the source of all that a configuration's ``_target_``s and the trainer loop import.

    neurotwin's own modules and those of plugins count; other packages are recorded by version in ``run.json``.
    """
    packages = {"neurotwin", *(source.name.partition(".")[0] for source in sources())}
    todo = {("neurotwin.engine", ""), *((module, "") for module in target_modules(config))}
    seen: dict[str, str] = {}
    done: set[tuple[str, str]] = set()
    while todo:
        done.add(wanted := todo.pop())
        module = _where(*wanted)
        if module in seen or module in _BYSTANDERS or module.partition(".")[0] not in packages:
            continue
        file = _file(module)
        if file is not None:
            seen[module], imported = _read(file, module, file.stat().st_mtime_ns)
            todo |= imported - done
    return hashlib.sha256(repr(sorted(seen.items())).encode()).hexdigest()[:12]


def target_modules(config: Any) -> set[str]:
    """Modules of every ``_target_`` in a configuration."""
    if isinstance(config, list | tuple):
        return set().union(*map(target_modules, config))
    if not isinstance(config, Mapping):
        return set()
    own = {str(config["_target_"]).rpartition(".")[0]} if "_target_" in config else set()
    return own.union(*map(target_modules, config.values()))


def _file(module: str) -> Path | None:
    """Source file of a module, found without importing it; None for a name that is no module."""
    top, *rest = module.split(".")
    spec = find_spec(top)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, *rest)
        for candidate in (path / "__init__.py", path.with_suffix(".py")):
            if (rest or candidate.name == "__init__.py") and candidate.is_file():
                return candidate
    return None


def _where(module: str, name: str) -> str:
    """The module that defines a name: a submodule, or the one that a package's ``__init__`` takes it from."""
    file = _file(module)
    if not name or file is None or file.name != "__init__.py":
        return module
    if _file(f"{module}.{name}") is not None:
        return f"{module}.{name}"
    _, imported = _read(file, module, file.stat().st_mtime_ns)
    return next((origin for origin, known in imported if known == name and origin != module), module)


@cache
def _read(file: Path, module: str, changed_ns: int) -> tuple[str, frozenset[tuple[str, str]]]:
    """Hash of a source file, and what it imports: modules and names."""
    text = file.read_bytes()
    return hashlib.sha256(text).hexdigest(), frozenset(_imports(text, module, file.name == "__init__.py"))


def _imports(text: bytes, module: str, package: bool) -> Iterator[tuple[str, str]]:
    parts = module.split(".")
    for dots, tail, names in _FROM.findall(text):
        here = parts[: len(parts) - len(dots) + package] if dots else []
        base = ".".join([*here, *([tail.decode()] if tail else [])])
        for name in re.findall(rb"(\w+)(?:[ \t]+as[ \t]+\w+)?", names):
            yield base, name.decode()
    for name in _IMPORT.findall(text):
        yield name.decode(), ""
