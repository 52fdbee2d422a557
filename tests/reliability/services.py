"""Faults of runs that are more than one process: a rank of a distributed run, a worker or the database of a sweep.

Each case starts the command line anew in a session of its own, because ranks and workers are started by it. Run as a
module (``python -m reliability.services train …``) it is that command line with the fault of ``$RELIABILITY_FAULT``
armed in one rank.
"""

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from neurotwin import engine
from neurotwin.cli import main
from neurotwin.run_folder import runs
from neurotwin.sweeps.results import SweepResult

from reliability.faults import Fault

HERE = Path(__file__).parent
_FC = ["n_subjects=9", "n_nodes=20", "rest_volumes=60", "story_volumes=40", "folds=3", "batch_size=2"]
EXPERIMENT = ["acker2024/demo", "trainer.accelerator=cpu", "figures=false", *(f"datamodule.{o}" for o in _FC)]
#: Family to its cases: point, kind, epoch, and the rank that is struck.
CASES = {
    "two processes": [
        ("mid-step", "rank killed", 1, 1),
        ("mid-validation", "rank killed", 0, 1),
        ("between epochs", "rank killed", 0, 0),
        ("in the test", "rank killed", 0, 0),
    ],
    "sweep": [
        ("in a run", "sweep worker killed", 0, 0),
        ("in a run", "sweep driver killed", 0, 0),
        ("in a run", "database locked", 0, 0),
        ("in a run", "database gone", 0, 0),
    ],
}
#: What a sweep's database may stay locked, in the fault and in a busy cluster.
LOCKED_S = 8
TIMEOUT_S = 400


def start(module, arguments, log, **settings):
    """The command line in a session of its own, its words into ``log``."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])}
    with log.open("ab") as file:
        return subprocess.Popen(
            command, env={**environment, **settings}, stdout=file, stderr=file, start_new_session=True
        )


def finish(process, session):
    """Wait for the end; the exit code, and the processes of the session that stay."""
    try:
        code = process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return "hangs", []
    end = time.monotonic() + 150  # gloo sees a lost rank late; a server that still imports on a busy machine ends later
    while (left := session(process.pid)) and time.monotonic() < end:
        time.sleep(0.2)
    for pid in left:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return code, left


def unbroken(family, folder, harness):
    """What a case of the family must end with."""
    log = folder / "log.txt"
    code, _ = finish(start("neurotwin.cli", _arguments(family, folder), log), harness.session)
    if code != 0:
        raise RuntimeError(f"{family}: {log.read_text()[-2000:]}")
    return _digest(family, folder, harness)


def _arguments(family, folder):
    if family == "two processes":
        return ["train", *EXPERIMENT, "trainer=ddp", "trainer.max_epochs=3", f"runs_dir={folder}"]
    storage = f"sqlite:///{folder}/sweep.db"
    return [
        "sweep",
        *EXPERIMENT,
        "optimizer.lr=1e-3,3e-3",
        "trainer.max_epochs=40",
        f"runs_dir={folder}",
        "--storage",
        storage,
    ]


def _digest(family, folder, harness):
    if family == "two processes":
        return harness.digest(runs(folder)[0].path)
    return {run.record["config_hash"]: harness.digest(run.path) for run in runs(folder)}


def strike(case, folder, baseline, harness):
    """Run a case; returns the broken promises."""
    folder.mkdir(parents=True)
    log = folder / "log.txt"
    broken = (_strike_rank if case.family == "two processes" else _strike_sweep)(case, folder, log, harness)
    text = log.read_text(errors="replace")
    # Of a killed rank the other one's library may say what it saw; the command line itself must not.
    broken += ["a traceback is printed"] if "Traceback" in text and case.family == "sweep" else []
    broken += [f"torn: {bad}" for run in runs(folder) for bad in harness.torn(run.path)]
    if not broken and _digest(case.family, folder, harness) != baseline:
        broken.append("not bit-identical")
    return broken + ([text[-600:]] if broken else [])


def _strike_rank(case, folder, log, harness):
    fault = json.dumps([case.point, "SIGKILL", case.epoch, 1, str(folder)])
    settings = {"RELIABILITY_FAULT": fault, "RELIABILITY_RANK": str(case.batch)}
    code, left = finish(
        start("reliability.services", _arguments(case.family, folder), log, **settings), harness.session
    )
    if "struck:" not in log.read_text(errors="replace"):
        return ["the fault did not strike"]
    broken = [f"processes stay: {left}"] if left else []
    broken += [f"exit code {code}"] if code in (0, "hangs") else []
    (run,) = runs(folder)
    if run.status not in ("interrupted", "failed"):
        broken.append(f"listed as {run.status}")
    code, left = finish(start("neurotwin.cli", ["resume", run.path], log), harness.session)
    return broken + ([f"resume: exit code {code}, left {left}"] if code != 0 or left else [])


def _strike_sweep(case, folder, log, harness):
    process = start("neurotwin.cli", _arguments(case.family, folder), log)
    database = folder / "sweep.db"
    struck = _await(lambda: [r for r in runs(folder) if r.status == "running" and r.history], process)
    if not struck:
        return ["the fault did not strike: no run was seen"]
    if case.kind == "sweep worker killed":
        os.kill(struck[0].record["process"]["pid"], signal.SIGKILL)
    elif case.kind == "sweep driver killed":
        process.kill()
    elif case.kind == "database locked":
        with contextlib.closing(sqlite3.connect(database, timeout=60)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(LOCKED_S)
    else:
        database.rename(folder / "gone.db")
    code, left = finish(process, harness.session)
    broken = [f"processes stay: {left}"] if left else []
    if code == "hangs":
        return [*broken, "the sweep hangs"]
    if case.kind in ("sweep worker killed", "database locked") and code != 0:
        broken.append(f"exit code {code}")
    if case.kind == "database gone":
        broken += [f"exit code {code}"] if code not in (0, 2) else []  # an open file outlives its name
        database.unlink(missing_ok=True)
        (folder / "gone.db").rename(database)
    (sweep,) = folder.glob("sweeps/*")
    code, left = finish(start("neurotwin.cli", ["sweep", "--resume", sweep], log), harness.session)
    broken += [f"resume: exit code {code}, left {left}"] if code != 0 or left else []
    counts = SweepResult(sweep).counts()
    if counts != {"finished": 2, "pruned": 0, "failed": 0, "open": 0}:
        broken.append(f"trials after resume: {counts}")
    hashes = [run.record["config_hash"] for run in runs(folder) if run.status == "finished"]
    return broken + (["a trial was run twice"] if len(hashes) != len(set(hashes)) else [])


def _await(condition, process):
    end = time.monotonic() + TIMEOUT_S
    while process.poll() is None and time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    return None


if __name__ == "__main__":
    if os.environ.get("LOCAL_RANK", "0") == os.environ["RELIABILITY_RANK"]:
        struck = Fault(*json.loads(os.environ["RELIABILITY_FAULT"]))
        struck.arm()
        engine.launch = partial(engine.launch, callbacks=[struck])
    sys.exit(main(sys.argv[1:]))
