"""What a trial of a sweep costs before it trains, beside the bare import and building of the same pieces.

``bare`` imports the trainer loop in a new process, composes the configuration and builds data, network and task.
``new process`` is a job on a cluster: the same, and all that a run is besides, up to the hook before its first step.
``fork server`` is a job of ``--backend process``: forked from a process that has imported everything. The job is one
epoch of a dense network on 48 short signals, so that there is next to nothing to train.
Run: ``python benchmarks/trial_overhead.py``; writes ``benchmarks/results/trial_overhead.json``.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import forkserver
from pathlib import Path

import example_plugin

REPEATS = 5
SETTINGS = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "figures=false"]
RESULT = Path(__file__).parent / "results" / "trial_overhead.json"
BARE = """
from neurotwin import engine
from neurotwin.config import compose
engine.prepare(compose("example/tones", {settings!r}))
"""
JOB = """
from pathlib import Path
from neurotwin.sweeps.job import Task
from neurotwin.sweeps.worker import work
work(Task(Path({folder!r}), {hash!r}, "example/tones"))
"""


def make_task(folder, number):
    """A job that nobody has begun."""
    from neurotwin.config import compose
    from neurotwin.sweeps.job import Job, Task

    one = compose("example/tones", [*SETTINGS, f"seed={number}"])
    job = Job(folder / "jobs" / one.hash)
    job.save(one)
    return Task(folder, one.hash, "example/tones")


def in_new_process(code, task=None):
    """Wall seconds to the first hook and to the end of a process, and its CPU seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = until_begun(task, start) if task else None
    assert process.wait() == 0
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"first_step_s": first or wall, "end_s": wall, "cpu_s": cpu}


def until_begun(task, start):
    """Wait for what a job writes right before its first step."""
    while not (task.job.folder / "run.txt").exists():
        time.sleep(0.002)
    return time.perf_counter() - start


def forked(backend, task):
    """The same of a job that is forked."""
    before, start = children_s(), time.perf_counter()
    (handle,) = backend.start([task])
    first = until_begun(task, start)
    while handle.ended() is None:
        backend.wait([handle], 1.0)
    wall = time.perf_counter() - start
    time.sleep(0.1)  # until the server has reaped it
    assert task.job.state == "finished", task.job.error
    return {"first_step_s": first, "end_s": wall, "cpu_s": children_s() - before}


def children_s():
    """CPU seconds of the fork server's children that have ended."""
    fields = Path(f"/proc/{forkserver._forkserver._forkserver_pid}/stat").read_text(encoding="ascii").split()
    return (int(fields[15]) + int(fields[16])) / os.sysconf("SC_CLK_TCK")


def main():
    """Measure in turn, so that a machine whose speed drifts slows all alike."""
    folder = Path(tempfile.mkdtemp())
    example_plugin.install(folder)
    os.environ["NEUROTWIN_RUNS"] = str(folder / "runs")
    from neurotwin.files import write_json
    from neurotwin.provenance import cpu_name, git_state
    from neurotwin.sweeps.backends import Processes

    backend = Processes()
    forked(backend, make_task(folder, 1000))  # the server imports before it forks for the first time
    times = {"bare": [], "new process": [], "fork server": []}
    for number in range(REPEATS):
        times["bare"].append(in_new_process(BARE.format(settings=SETTINGS)))
        task = make_task(folder, number)
        times["new process"].append(in_new_process(JOB.format(folder=str(folder), hash=task.hash), task))
        times["fork server"].append(forked(backend, make_task(folder, 100 + number)))
    table = {
        name: {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}
        for name, rows in times.items()
    }
    record = {
        "repeats": REPEATS,
        "median": table,
        "first_step_over_bare": {n: round(v["first_step_s"] / table["bare"]["end_s"], 2) for n, v in table.items()},
        "cpu_over_bare": {n: round(v["cpu_s"] / table["bare"]["cpu_s"], 2) for n, v in table.items()},
        "load_at_the_end": round(os.getloadavg()[0], 1),
        "cpus": os.cpu_count(),
        "device": cpu_name(),
        "git": git_state(),
    }
    write_json(RESULT, record)
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
