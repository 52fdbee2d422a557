"""Soak: the same process trains, evaluates, predicts and lists for hours; its memory and file handles must not grow.

``python -m reliability.soak --minutes 120`` (from ``tests/``) writes ``results/soak.json``. A round is one small run of
one family; memory is what stays after a garbage collection.
"""

import argparse
import contextlib
import gc
import io
import json
import os
import resource
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

import neurotwin
from neurotwin.datamodules.formats.montage import COMMON_AVERAGE
from neurotwin.provenance import git_state
from neurotwin.terminal import print_rows, run_row

from datamodules import fixtures
from reliability.crash import COMMON, FAMILIES

RESULTS = Path(__file__).with_name("results") / "soak.json"
#: Growth that is allowed: of memory, of what it was after warming up; of file handles and threads none.
GROWTH = 0.05


def one_round(family, folder):
    """Train, evaluate, list, and predict where the family takes a file."""
    experiment, overrides = FAMILIES[family]
    run = neurotwin.train(experiment, [*COMMON, *overrides, f"runs_dir={folder}"])
    neurotwin.evaluate(run)
    if family == "seizure detection":
        source = folder / "a.edf"
        fixtures.write_edf(
            source, COMMON_AVERAGE.channel_names, fixtures.noise(len(COMMON_AVERAGE.channel_names), 7680), 256
        )
        neurotwin.predict(run, source, folder / "predicted")
    with contextlib.redirect_stdout(io.StringIO()):
        print_rows([run_row(run) for run in neurotwin.runs(folder)])


def measure():
    """Resident memory, file handles and threads of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return {
        "memory_mb": round(pages * resource.getpagesize() / 2**20, 1),
        "handles": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }


def soak(minutes, busy, families=tuple(FAMILIES)):
    """Rounds of all families until the time is over; yields a measurement after each time through them.

    Args:
        minutes: How long.
        busy: Share of the time that is spent working, so that a soak can run beside other work.
        families: Which families.
    """
    end = time.monotonic() + 60 * minutes
    with tempfile.TemporaryDirectory() as name:
        while time.monotonic() < end:
            for family in families:
                begun, folder = time.monotonic(), Path(name) / "runs"
                one_round(family, folder)
                shutil.rmtree(folder)
                time.sleep((time.monotonic() - begun) * (1 / busy - 1))
            yield measure()


def growth(samples):
    """Growth from the second fifth of the samples to the last, of the medians: memory as a share, the others in number.

    The first fifth warms up: imports, compiled kernels, caches of bounded size.
    """
    fifth = max(1, len(samples) // 5)
    early, late = samples[fifth : 2 * fifth] or samples[:1], samples[-fifth:]

    def change(name, share):
        one, other = (statistics.median(s[name] for s in part) for part in (early, late))
        return round((other - one) / (one if share else 1), 4)

    return {name: change(name, name == "memory_mb") for name in ("memory_mb", "handles", "threads")}


def command_line():
    """Soak and write the result; fails if something grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--busy", type=float, default=1.0, help="share of the time that is spent working")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    samples, begun, commit = [], time.monotonic(), (git_state() or {}).get("commit")
    for sample in soak(options.minutes, options.busy):
        samples.append({"minute": round((time.monotonic() - begun) / 60, 1), **sample})
        print(samples[-1], flush=True)
        grown = growth(samples)
        ok = grown["memory_mb"] <= GROWTH and grown["handles"] <= 0 and grown["threads"] <= 0
        summary = {
            "minutes": samples[-1]["minute"],
            "runs": len(samples) * len(FAMILIES),
            "cpu_seconds": round(sum(os.times()[:4])),
            "growth": grown,
            "ok": ok,
            "commit": commit,
        }
        kept = samples[:: max(1, len(samples) // 60)]
        options.output.parent.mkdir(exist_ok=True)
        options.output.write_text(json.dumps({**summary, "samples": kept}, indent=1) + "\n")
    print(grown)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(command_line())
