"""A grid of 500 short trials, four at a time, whose driver is killed (SIGKILL) five times: what is lost, what doubled?

The same grid is then swept without a kill, and both are compared trial by trial.
Run: ``python benchmarks/sweep_kills.py``; writes ``benchmarks/results/sweep_kills.json``.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import example_plugin

TRIALS, JOBS, KILLS = 500, 4, 5
RESULT = Path(__file__).parent / "results" / "sweep_kills.json"
SETTINGS = ["trainer.max_epochs=1", "trainer.accelerator=cpu"]
SPACE = ["model.hidden=range(1,251)", "optimizer.lr=0.01,0.003"]


def ended(runs_dir):
    """How many runs have written their scores."""
    return sum(1 for _ in runs_dir.glob("example/tones/*/metrics.json"))


def drive(runs_dir, *arguments):
    """A driver in a process of its own."""
    command = [sys.executable, "-m", "neurotwin.cli", "sweep", *map(str, arguments), "--jobs", str(JOBS)]
    environment = {**os.environ, "NEUROTWIN_RUNS": str(runs_dir)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def swept(runs_dir, kills=0):
    """Sweep the grid, kill the driver now and then, begin it again; returns the result and what it took."""
    from neurotwin.run_folder import runs
    from neurotwin.sweeps.results import SweepResult

    start, done, restarts = time.monotonic(), 0, 0
    driver = drive(runs_dir, "example/tones", *SETTINGS, *SPACE)
    while driver.poll() is None:
        if done < kills and ended(runs_dir) > (done + 1) * TRIALS / (kills + 1):
            driver.kill()
            driver.wait()
            done += 1
            driver = drive(runs_dir, "--resume", next(runs_dir.glob("sweeps/*")))
            restarts += 1
        time.sleep(0.2)
    result = SweepResult(next(runs_dir.glob("sweeps/*")))
    found = runs(runs_dir)
    finished = Counter(run.record["config_hash"] for run in found if run.status == "finished")
    wall = time.monotonic() - start
    return result, {
        "driver_killed": done,
        "exit_code": driver.returncode,
        "trials_finished": result.counts()["finished"],
        "lost": TRIALS - len(finished),
        "doubled": sum(count - 1 for count in finished.values()),
        "resumed_from_a_checkpoint": sum(bool(run.record["resumed"]) for run in found),
        "wall_s": round(wall, 1),
        "wall_s_a_trial": round(wall / TRIALS, 2),
    }


def main():
    """Sweep with kills, sweep without, compare."""
    folder = Path(tempfile.mkdtemp())
    example_plugin.install(folder)
    from neurotwin.files import write_json
    from neurotwin.provenance import cpu_name, git_state

    killed, with_kills = swept(folder / "killed", KILLS)
    whole, without = swept(folder / "whole")
    values = [
        {tuple(sorted(trial.parameters.items())): trial.objectives["val/loss"] for trial in result.trials}
        for result in (killed, whole)
    ]
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    record = {
        "trials": TRIALS,
        "at_a_time": JOBS,
        "killed": with_kills,
        "uninterrupted": without,
        "same_best": killed.best.parameters == whole.best.parameters,
        "trials_that_score_the_same": sum(values[0].get(point) == score for point, score in values[1].items()),
        "cpu_s_of_the_drivers": round(usage.ru_utime + usage.ru_stime, 1),
        "cpus": os.cpu_count(),
        "load_at_the_end": round(os.getloadavg()[0], 1),
        "device": cpu_name(),
        "git": git_state(),
    }
    write_json(RESULT, record)
    print(json.dumps(record, indent=2))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
