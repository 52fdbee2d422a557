"""Load: a recording of 10 million samples a channel and a 512 x 512 x 300 volume through `predict`, in bounded memory.

``python -m reliability.load`` (from ``tests/``) trains two demos, writes both files, applies each run to its file in a
process of its own and writes that process's time and peak memory into ``results/load.json``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import neurotwin
import numpy as np
from neurotwin.datamodules.formats.montage import COMMON_AVERAGE
from neurotwin.datamodules.formats.volume_files import write_volume
from neurotwin.provenance import git_state

from datamodules import fixtures
from reliability.crash import COMMON, FAMILIES

RESULTS = Path(__file__).with_name("results") / "load.json"
#: What a process may hold at its peak, MB: the samples as float32 twice, and the libraries.
BOUND_MB = {"recording": 2500, "volume": 6000}


def write_recording(path, samples, rate=128):
    """An EDF file of 19 electrodes at the rate of the model, written record by record."""
    names = COMMON_AVERAGE.channel_names
    seconds = samples // rate
    fixtures.write_edf(path, names, fixtures.noise(len(names), rate * 60), rate)
    whole = path.read_bytes()
    header, body = whole[: 256 * (len(names) + 1)], whole[256 * (len(names) + 1) :]
    header = header[:236] + f"{seconds:<8d}".encode() + header[244:]
    with path.open("wb") as file:
        file.write(header)
        size = len(body) // 60
        for minute in range(-(-seconds // 60)):
            file.write(body[: size * min(60, seconds - 60 * minute)])


def write_head(path, shape=(512, 512, 300)):
    """A volume of noise, 0.5 x 0.5 x 0.6 mm."""
    rng = np.random.default_rng(0)
    plane = rng.integers(0, 900, shape[:2]).astype(np.int16)
    data = np.repeat(plane[:, :, None], shape[2], axis=2)
    write_volume(path, data, np.diag([0.5, 0.5, 0.6, 1.0]))


def peak_of(arguments):
    """Run the command line; its peak memory in MB, CPU seconds and wall seconds."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "neurotwin.cli", *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(f"{arguments}: exit code {os.waitstatus_to_exitcode(status)}")
    cpu = usage.ru_utime + usage.ru_stime
    return {
        "peak_memory_mb": round(usage.ru_maxrss / 1024),
        "cpu_seconds": round(cpu),
        "wall_seconds": round(time.monotonic() - start),
    }


def measure(kind, folder, samples, step_s):
    """Train, write the file, predict."""
    family = {"recording": "seizure detection", "volume": "MRI"}[kind]
    experiment, overrides = FAMILIES[family]
    extra = [f"task.step_s={step_s}"] if kind == "recording" else ["datamodule.fov_mm=[96,72,32]"]
    settings = [*COMMON, *overrides, *extra, "trainer.max_epochs=1", f"runs_dir={folder}/runs"]
    run = neurotwin.train(experiment, settings)
    source = folder / {"recording": "a.edf", "volume": "ceT1w.nii"}[kind]
    write_recording(source, samples) if kind == "recording" else write_head(source)
    found = peak_of(["predict", run.path, "--input", source, "--output", folder / "out"])
    return {"file_mb": round(source.stat().st_size / 2**20), "bound_mb": BOUND_MB[kind], **found}


def command_line():
    """Measure both and write the result; fails if a bound is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--step-s", type=float, default=10.0, help="between windows of the recording")
    parser.add_argument("--only", choices=tuple(BOUND_MB))
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    found = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
    for kind in [options.only] if options.only else BOUND_MB:
        with tempfile.TemporaryDirectory() as folder:
            found[kind] = measure(kind, Path(folder), options.samples, options.step_s)
        found[kind] |= {"commit": (git_state() or {}).get("commit")}
        print(kind, found[kind], flush=True)
        options.output.parent.mkdir(exist_ok=True)
        options.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 1 if any(found[k]["peak_memory_mb"] > found[k]["bound_mb"] for k in found) else 0


if __name__ == "__main__":
    sys.exit(command_line())
