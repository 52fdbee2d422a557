"""What a run costs, what it writes into ``train.log``, and what it does not print."""

from __future__ import annotations

import logging
import resource
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from .energy import EnergyMeter
from .privacy import redact


class Meter:
    """Wall and CPU seconds of a run, those of its earlier starts included, peak memory, energy where it is counted."""

    def __init__(self, before: Mapping[str, float]):
        self._before = dict(before)
        self._energy = EnergyMeter()
        self._start = time.perf_counter(), _cpu_seconds()

    def read(self) -> dict[str, float]:
        """The cost so far."""
        spent = {"wall_s": time.perf_counter() - self._start[0], "cpu_s": _cpu_seconds() - self._start[1]}
        cost = {name: round(value + self._before.get(name, 0.0), 2) for name, value in spent.items()}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cost["peak_memory_mb"] = round(max(peak, self._before.get("peak_memory_mb", 0.0)), 1)
        if (joules := self._energy.read()) is not None:
            cost["energy_j"] = round(joules + self._before.get("energy_j", 0.0), 1)
        return cost


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Copy what neurotwin and Lightning log, and warnings, into a file."""
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(_Redacted("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [logging.getLogger(name) for name in ("neurotwin", "lightning", "py.warnings")]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning's advertisements and its advice about loader processes do not reach the terminal."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        yield


class _LogFile(logging.FileHandler):
    """A log that lets a run go on when its disk is full: what the run itself cannot write ends it, with one message."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Nothing for a line that the disk does not take; a traceback for mistakes of ours, as logging has it."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)


class _Redacted(logging.Formatter):
    """A line of the log without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _cpu_seconds() -> float:
    """CPU time of this process and of the loader processes that have ended."""
    return sum(
        u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )
