"""Seconds that the light verbs take as whole processes, beside a bare Python start.

Run: ``python benchmarks/cli_startup.py``; writes ``benchmarks/results/cli_startup.json``.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from neurotwin.provenance import cpu_name

RESULT = Path(__file__).parent / "results" / "cli_startup.json"
VERBS = {
    "python -c pass": None,
    "--help": ["--help"],
    "list": ["list"],
    "list model": ["list", "model"],
    "runs": ["runs"],
}
REPEATS = 15


def seconds(arguments, folder):
    """Wall seconds of one process."""
    command = (
        [sys.executable, "-c", "pass"] if arguments is None else [sys.executable, "-m", "neurotwin.cli", *arguments]
    )
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder)
    return time.perf_counter() - start


def main():
    times = {name: [] for name in VERBS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(REPEATS):  # in turn, so that a slow moment of the machine meets all of them
            for name, arguments in VERBS.items():
                times[name].append(seconds(arguments, folder))
    rows = {n: {"median_s": round(statistics.median(t), 3), "max_s": round(max(t), 3)} for n, t in times.items()}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"device": cpu_name(), "repeats": REPEATS, "verbs": rows}, indent=2) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
