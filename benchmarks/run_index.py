"""How long 10,000 runs take to list, and a sweep of 10,000 trials to be gone on with.

Run records and a study are written first; files lie in the page cache when they are read. Wall time is what a user
waits for, CPU time is what it would be on a machine with nothing else to do.
Run: ``python benchmarks/run_index.py``; writes ``benchmarks/results/run_index.json``.
"""

import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from neurotwin.files import write_json
from neurotwin.provenance import cpu_name, git_state, new_record
from neurotwin.run_folder import runs
from neurotwin.sweeps.ledger import FinishedRuns
from neurotwin.sweeps.plan import make_plan
from neurotwin.sweeps.study import Study

RUNS = 10_000
RESULT = Path(__file__).parent / "results" / "run_index.json"
AXES = ("model.dropout", "optimizer.lr", "optimizer.weight_decay", "datamodule.window_s")
CHANNELS = [f"EEG channel {number}" for number in range(19)]


def write_runs(root):
    """Finished runs as the trainer loop records them, an hour old."""
    record = new_record("mallick2024/demo", 0, "0" * 12, ["model.dropout=0.2", "optimizer.lr=0.001"])
    record |= {"status": "finished", "objective": {"metric": "val/loss", "value": 0.1}, "code": "0" * 12}
    record |= {"cost": {"wall_s": 9.0, "cpu_s": 9.0, "peak_memory_mb": 700.0}, "parameters": 3141, "data": "0" * 16}
    record |= {"spec": {"n_channels": 19, "n_outputs": 2, "sampling_rate_hz": 128.0, "channel_names": CHANNELS}}
    for number in range(RUNS):
        folder = root / "mallick2024" / "demo" / f"2026-01-01_000000_s0_{number:05d}"
        folder.mkdir(parents=True)
        file = folder / "run.json"
        file.write_text(json.dumps(record | {"config_hash": f"{number:012x}"}, indent=2))
        os.utime(file, (time.time() - 3600,) * 2)


def in_new_process(*command):
    """Wall and CPU seconds of a command, start of the process included."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}


def best_of(call, repeats=3):
    """The fastest of several."""
    return min((call() for _ in range(repeats)), key=lambda times: times["wall_s"])


def timed(call):
    """Wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return {"wall_s": round(time.perf_counter() - wall, 2), "cpu_s": round(time.process_time() - cpu, 2)}


def write_study(root):
    """A grid of as many trials, all but one ended; returns its folder, its plan and the time a trial took to note."""
    folder = root / "sweeps" / "one"
    folder.mkdir(parents=True)
    axes = [f"{key}={','.join(str((k + 1) / 100) for k in range(10))}" for key in AXES]
    plan = replace(make_plan("mallick2024/demo", [*axes, f"runs_dir={root}"]), name="one")
    plan.save(folder)
    study = Study(folder, plan, create=True)
    cpu = time.process_time()
    for number in itertools.count(1):
        trial = study.ask()
        study.note_jobs(trial, [f"{number:012x}"])
        if number == RUNS:
            break  # this one is going on
        study.tell(trial, "finished", [float(number)])
    return folder, plan, 1000 * (time.process_time() - cpu) / RUNS


def main():
    """Write, measure, record."""
    root = Path(tempfile.mkdtemp())
    write_runs(root)
    size = next(root.glob("*/*/*/run.json")).stat().st_size
    folder, plan, per_trial_ms = write_study(root)

    def decide():
        study = Study(folder, plan, create=True)
        (going,) = study.running()
        known = FinishedRuns(plan, any_code=False)
        jobs = plan.compose(going.params)
        assert study.ask() is None  # all were begun
        assert known.of(jobs[0]) is None

    listing = ("-m", "neurotwin.cli", "runs", "--dir", root)
    record = {
        "runs": RUNS,
        "bytes_a_record": size,
        "list_first_time": in_new_process(*listing),
        "list": best_of(lambda: in_new_process(*listing)),
        "start_of_the_command": best_of(lambda: in_new_process("-m", "neurotwin.cli", "runs", "--dir", root / "none")),
        "runs_in_python": best_of(lambda: timed(lambda: runs(root))),
        "resume_decision": best_of(lambda: timed(decide)),
        "index_mb": round((root / ".index.json").stat().st_size / 1e6, 1),
        "journal_mb": round((folder / "journal.log").stat().st_size / 1e6, 1),
        "bookkeeping_a_trial_cpu_ms": round(per_trial_ms, 1),
        "load_at_the_end": round(os.getloadavg()[0], 1),
        "cpus": os.cpu_count(),
        "device": cpu_name(),
        "git": git_state(),
    }
    write_json(RESULT, record)
    print(json.dumps(record, indent=2))
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
