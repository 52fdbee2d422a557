"""The errors a user can cause: each names the object, the value, the cause and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class NeurotwinError(Exception):
    """Base of every error that the command line prints without a traceback (exit code 2)."""


class ConfigError(NeurotwinError):
    """The configuration is wrong: an unknown key, a wrong type, a contradiction. Raised before the first epoch."""


class DataError(NeurotwinError):
    """A file is unreadable, truncated, mislabelled or holds what it must not hold."""


class MissingDataError(DataError):
    """A data set is not on this machine.

    Args:
        path: Where it was looked for.
        citation: Whom to cite, in one line.
        source: Where the data are published.
        layout: The files expected under ``path``, in one or a few lines.
    """

    def __init__(self, path: Path | str, citation: str, source: str, layout: str):
        super().__init__(
            f"no data at {path}\n"
            f"  published:  {source} ({citation})\n"
            f"  expected:   {layout}\n"
            f"  then:       set NEUROTWIN_DATA or pass datamodule.root=FOLDER and run the same command again"
        )


class Pruned(NeurotwinError):
    """A sweep gave up a run because others were better at this epoch."""

    run_status = "pruned"


def did_you_mean(name: str, choices: Iterable[str], limit: int = 8) -> str:
    """Phrase that ends an error about an unknown ``name``: the nearest valid choice, or all of them.

    Example:
        >>> did_you_mean("bon", ["bonn", "chbmit"])
        "did you mean 'bonn'?"
        >>> did_you_mean("xyz", ["bonn", "chbmit"])
        'choose from bonn, chbmit'
    """
    names = sorted(set(map(str, choices)))
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"did you mean {near[0]!r}?"
    if not names:
        return "there is none to choose from"
    return "choose from " + ", ".join(names[:limit]) + (f", … ({len(names)} in all)" if len(names) > limit else "")


def printable(text: str) -> str:
    r"""The text with control characters written out: a file's content must not move the cursor of a terminal.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)
