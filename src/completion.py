"""Completion in the shell: experiments, runs, papers, override keys (``register-python-argcomplete neurotwin``)."""

from __future__ import annotations

import argparse
import os
from typing import Any

from .errors import NeurotwinError


def offer(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and exit, if it is the shell that asks."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    import argcomplete

    for sub in _verbs(parser):
        for action in sub._actions:
            if action.dest in _COMPLETERS:
                action.completer = _COMPLETERS[action.dest]  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser)


def experiments(**_: Any) -> list[str]:
    """Names of experiments."""
    return _names("experiment")


def runs(**_: Any) -> list[str]:
    """Experiments that have runs, names of run folders, and their ends, which are quicker to type."""
    from .run_folder import runs as found

    there = found()
    names = [run.path.name for run in there]
    return [*{run.experiment for run in there}, *(name.rpartition("_")[2] for name in names), *names]


def papers(**_: Any) -> list[str]:
    """Names of papers."""
    from .registry import papers as found

    return list(found())


def rows(parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Names of a paper's rows."""
    from .registry import papers as found
    from .reproduction import read_rows

    folder = found().get(parsed_args.paper)
    return [row.name for row in read_rows(folder / "paper.yaml")] if folder else []


def kinds(**_: Any) -> list[str]:
    """Config groups that can be listed."""
    from .registry import KINDS

    return list(KINDS)


def overrides(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """``key=`` for every key of the experiment, ``group=member`` once the group is typed."""
    from .config import compose, compose_part, flatten
    from .registry import KINDS

    group, equals, _value = prefix.partition("=")
    if equals:
        return [f"{group}={name}" for name in _names(group)] if group in KINDS else []
    try:
        if name := getattr(parsed_args, "experiment", None):
            keys = [key for key, _ in flatten(compose(name).config)]
        else:
            keys = [key for key, _ in flatten(compose_part("datamodule", parsed_args.datamodule).config["datamodule"])]
    except (NeurotwinError, AttributeError):
        return []
    return [f"{key}=" for key in [*keys, *KINDS]]


def _names(kind: str) -> list[str]:
    from .registry import list_configs

    return [entry.name for entry in list_configs(kind)]


def _verbs(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    choices = [action.choices for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return [sub for group in choices for sub in (group or {}).values()]


_COMPLETERS = {
    "experiment": experiments,
    "run": runs,
    "paper": papers,
    "row": rows,
    "kind": kinds,
    "subjects": lambda **_: [*papers(), *experiments(), *runs()],
    "datamodule": lambda **_: _names("datamodule"),
    "simulator": lambda **_: _names("simulator"),
    "overrides": overrides,
}
