"""The ``chbXX-summary.txt`` files of CHB-MIT: the only place where its seizures are written in plain text."""

from __future__ import annotations

import re
from pathlib import Path

from ...contracts import Event
from ...errors import DataError

_FILE = re.compile(r"File Name:[ \t]*(\S+)", re.IGNORECASE)
_COUNT = re.compile(r"Number of Seizures in File:\s*(\d+)", re.IGNORECASE)
# chb01 writes "Seizure Start Time", most others "Seizure 1 Start Time".
_TIME = re.compile(r"Seizure\s*\d*\s*(Start|End) Time:\s*(\d+(?:\.\d+)?)\s*sec", re.IGNORECASE)


def read_summary(path: Path | str) -> dict[str, list[Event]]:
    """Seizures of every recording that a summary names, onset and duration in seconds from its first sample.

    Blocks look like ``File Name: chb01_03.edf … Number of Seizures in File: 1 … Seizure Start Time: 2996 seconds …
    Seizure End Time: 3036 seconds``; clock times and channel lists between them are passed over.

    Returns:
        ``{"chb01_03.edf": [Event(2996.0, 40.0)], …}`` in the order of the file.

    Raises:
        DataError: The file names no recording, a block promises another number of seizures than it lists, or a
            seizure does not end after it starts.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    _, *blocks = re.split(r"(?=File Name:)", text, flags=re.IGNORECASE)
    if not blocks:
        raise DataError(f"{path}: no line 'File Name: …' found; not a CHB-MIT summary")
    seizures: dict[str, list[Event]] = {}
    for block in blocks:
        named = _FILE.match(block)
        if not named:
            raise DataError(f"{path}: a line 'File Name:' names no file")
        name = named[1]
        times = [(edge.lower(), float(seconds)) for edge, seconds in _TIME.findall(block)]
        starts = [seconds for edge, seconds in times if edge == "start"]
        ends = [seconds for edge, seconds in times if edge == "end"]
        count = _COUNT.search(block)
        promised = int(count[1]) if count else 0
        if not len(starts) == len(ends) == promised:
            raise DataError(
                f"{path}: {name} announces {promised} seizure(s) but lists {len(starts)} start and {len(ends)} end "
                f"times"
            )
        for onset, end in zip(starts, ends, strict=True):
            if end <= onset:
                raise DataError(f"{path}: {name} has a seizure from {onset:g} s to {end:g} s: it ends before it starts")
        seizures[name] = [Event(onset, end - onset) for onset, end in zip(starts, ends, strict=True)]
    return seizures
