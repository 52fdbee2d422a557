"""SzCORE annotation files (Dan et al. 2024): one tab-separated row an event, BIDS ``*_events.tsv``."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ...contracts import Event
from ...errors import DataError

COLUMNS = ("onset", "duration", "eventType", "confidence", "channels", "dateTime", "recordingDuration")
BACKGROUND = "bckg"
_DATE_FORMAT = "%Y-%m-%d %H:%M:%S"


class SzcoreAnnotations(NamedTuple):
    """What an annotation file says.

    Attributes:
        events: Seizures, sorted by onset; ``bckg`` rows are left out.
        start: Clock time of the first sample, where it is given.
        recording_duration_s: Length of the recording, where it is given, s.
    """

    events: list[Event]
    start: datetime | None
    recording_duration_s: float | None


def read_szcore_tsv(path: Path | str) -> SzcoreAnnotations:
    """Read an annotation file; only ``onset``, ``duration`` and ``eventType`` must be there.

    Raises:
        DataError: A column is missing, or a value is no number, negative, or beyond the end of the recording.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", restval="")
            absent = [name for name in COLUMNS[:3] if name not in (reader.fieldnames or ())]
            if absent:
                raise DataError(
                    f"{path}: column(s) {', '.join(absent)} missing; a SzCORE file starts with the tab-separated line "
                    f"{' '.join(COLUMNS)}"
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read as a SzCORE annotation file ({error})") from error

    events, start, length = [], None, None
    for line, row in enumerate(rows, start=2):
        where = f"{path}, line {line}"
        length = _number(row, "recordingDuration", where) if _given(row, "recordingDuration") else length
        start = _date(row["dateTime"], where) if _given(row, "dateTime") else start
        onset, duration = _number(row, "onset", where), _number(row, "duration", where)
        if length is not None and onset + duration > length + 1.0:
            raise DataError(f"{where}: the event ends at {onset + duration:g} s, the recording has {length:g} s")
        if row["eventType"] != BACKGROUND:
            confidence = _number(row, "confidence", where) if _given(row, "confidence") else None
            events.append(Event(onset, duration, row["eventType"], confidence))
    return SzcoreAnnotations(sorted(events, key=_by_time), start, length)


def write_szcore_tsv(
    path: Path | str, events: Iterable[Event], recording_duration_s: float, start: datetime | None = None
) -> Path:
    """Write an annotation file; without events one ``bckg`` row carries date and duration.

    Args:
        path: File to write; its folder is created.
        events: Seizures on the clock that starts with the recording.
        recording_duration_s: Length of the recording, s.
        start: Clock time of the first sample; ``n/a`` where it is not known.

    Returns:
        The path.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = sorted(events, key=_by_time) or [Event(0.0, recording_duration_s, BACKGROUND)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(COLUMNS)
        for event in rows:
            confidence = "n/a" if event.confidence is None else f"{event.confidence:.4f}"
            date = "n/a" if start is None else start.strftime(_DATE_FORMAT)
            seconds = (f"{event.onset_s:.3f}", f"{event.duration_s:.3f}")
            writer.writerow((*seconds, event.kind, confidence, "n/a", date, f"{recording_duration_s:.3f}"))
    return path


def _by_time(event: Event) -> tuple[float, float, str]:
    return event.onset_s, event.duration_s, event.kind


def _given(row: dict[str, str], column: str) -> bool:
    return (row.get(column) or "n/a").strip().lower() not in ("", "n/a", "nan")


def _number(row: dict[str, str], column: str, where: str) -> float:
    try:
        value = float(row[column])
    except ValueError:
        raise DataError(f"{where}: {column}={row[column]!r} is not a number of seconds") from None
    if not math.isfinite(value) or value < 0:
        raise DataError(f"{where}: {column}={value:g} must be finite and not negative")
    return value


def _date(text: str, where: str) -> datetime:
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise DataError(f"{where}: dateTime={text!r} is not of the form YYYY-MM-DD HH:MM:SS") from None
