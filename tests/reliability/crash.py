"""Crash matrix: strike runs at random points, then hold what they leave to five promises.

No file is torn; the run is listed with the right status; the last good checkpoint loads; no process stays; ``resume``
ends bit-identical to a run that was never struck. Processes are forked from one that has imported everything, so a
fault costs seconds. ``python -m reliability.crash --faults 240`` (from ``tests/``) writes ``results/crash.json``.
"""

import argparse
import contextlib
import csv
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import namedtuple
from functools import partial
from pathlib import Path

import numpy as np
import torch
from neurotwin import engine
from neurotwin.cli import main
from neurotwin.config import load_config
from neurotwin.files import read_json
from neurotwin.provenance import git_state
from neurotwin.run_folder import runs

from reliability import services
from reliability.faults import FILES, KINDS, POINTS, Fault

RESULTS = Path(__file__).with_name("results") / "crash.json"
COMMON = ["trainer.accelerator=cpu", "trainer.max_epochs=3", "figures=false"]
_EEG = ["datamodule.n_subjects=6", "datamodule.minutes=1", "datamodule.folds=3"]
_CPG = ["n_trials=2", "folds=2", "fold=0", "seconds=0.6", "drop_s=0.1", "segment_s=0.2"]
_FC = ["n_subjects=9", "n_nodes=20", "rest_volumes=60", "story_volumes=40", "folds=3", "batch_size=2"]
_MRI = ["n_patients=4", "folds=2", "fold=0", "sites=[mill,lake]", "max_exams=1", "fine_mm=2", "fov_mm=[64,48,24]"]
_MRI += ["patch_size=[32,16,16]", "patches_per_epoch=8", "val_fraction=0.3", "batch_size=2"]
_CLAMP = ["duration_ms=110", "fit_ms=25", "window_ms=25"]
#: Family to experiment and the overrides that make it small.
FAMILIES = {
    "seizure detection": ("mallick2024/demo", _EEG),
    "circuit": (
        "burghi2025/tf",
        [
            "optimizer.lr=1e-2",
            "trainer.check_val_every_n_epoch=1",
            "task.counterfactual_s=0",
            *(f"datamodule.{o}" for o in _CPG),
        ],
    ),
    "connectivity": ("acker2024/demo", [f"datamodule.{o}" for o in _FC]),
    "MRI": ("kujawa2024/demo", ["model.width=8", *(f"datamodule.{o}" for o in _MRI)]),
    "patch clamp": (
        "wells2025/demo",
        ["task.iterations=2", "model.n_starts=1", *(f"datamodule.{o}" for o in _CLAMP)],
    ),
    "closed form": ("acker2024/simulated_rule", ["model=fc_edge_ridge", *(f"datamodule.{o}" for o in _FC)]),
}
Case = namedtuple("Case", "family point kind epoch batch")
#: After which a process counts as hanging, wall seconds: on a busy machine a first compilation takes minutes.
TIMEOUT_S = 1200


def draw_cases(n, seed=0, families=tuple(FAMILIES), mounts=True, several=True):
    """``n`` cases: every family, point and kind in turn where they go together, epoch and batch at random.

    With ``several`` those of ``services.py`` too, which take several processes each.
    """
    rng = random.Random(seed)
    every = [(f, p, k) for f in families for p in POINTS for k in KINDS if _possible(f, p, k, mounts)]
    rng.shuffle(every)
    chosen = [every[i % len(every)] for i in range(n)]
    drawn = [Case(f, p, k, 0 if f == "closed form" else rng.randrange(2), rng.randrange(4)) for f, p, k in chosen]
    return [Case(family, *case) for family in services.CASES if several for case in services.CASES[family]] + drawn


def _possible(family, point, kind, mounts):
    if kind in ("disk full", "read-only") and not mounts:
        return False
    if family == "patch clamp" and (point in ("mid-validation", "renaming best.ckpt") or kind == "worker killed"):
        return False  # one batch holds all; it chooses the last epoch and has no validation of its own
    if family == "closed form" and point in ("mid-step", "mid-validation", "between epochs", "renaming best.ckpt"):
        return False  # it takes no optimiser step, has one epoch and is not validated
    if kind == "worker killed":
        return point in ("mid-step", "mid-validation")
    return not (kind in ("read-only", "out of memory", "clock back a day", "clock on a day") and point in FILES)


def fork(action, log):
    """Run ``action`` in a child that leads a session of its own; returns its exit status and what it left running."""
    sys.stdout.flush()
    reading, writing = os.pipe()  # a limit on the size of files must not silence the messages
    os.set_blocking(reading, False)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            code = action()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            with contextlib.suppress(BaseException):
                traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb", buffering=0) as pipe, log.open("ab") as file:
        return _wait(pid, pipe, file)


def _wait(pid, pipe, log):
    end = time.monotonic() + TIMEOUT_S
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "hangs", []
        log.write(pipe.read(1 << 16) or b"")
        time.sleep(0.05)
    log.write(pipe.read(1 << 16) or b"")
    _, status = os.waitpid(pid, 0)
    deadline = time.monotonic() + 15  # loader processes look every five seconds whether their parent lives
    while (left := session(pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return os.waitstatus_to_exitcode(status), left


def session(leader):
    """Processes that live in a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def arguments(family, folder, workers):
    """What is typed for a family."""
    experiment, overrides = FAMILIES[family]
    workers = ["datamodule.num_workers=2"] if workers else []
    return ["train", experiment, *COMMON, *overrides, *workers, f"runs_dir={folder}"]


def digest(path):
    """What must be equal to the bit: weights, history, metrics, predictions."""
    found = {name: hashlib.sha256((path / name).read_bytes()).hexdigest() for name in ("metrics.csv", "metrics.json")}
    for name in ("last", "best"):
        file = path / "checkpoints" / f"{name}.ckpt"
        if file.exists():
            state = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
            found[name] = hashlib.sha256(_bytes(state)).hexdigest()
    with np.load(path / "predictions" / "test.npz", allow_pickle=False) as rows:
        found["predictions"] = hashlib.sha256(b"".join(rows[k].tobytes() for k in sorted(rows))).hexdigest()
    return found


def _bytes(value):
    if isinstance(value, dict):
        return b"".join(_bytes(value[key]) for key in sorted(value))
    return value.numpy().tobytes() if isinstance(value, torch.Tensor) else repr(value).encode()


def torn(path):
    """Files of a run folder that cannot be read as what they are."""
    bad = []
    for file in sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith(".")):
        try:
            if file.suffix == ".json":
                read_json(file)
            elif file.suffix == ".yaml":
                load_config(file)
            elif file.suffix == ".ckpt":
                torch.load(file, map_location="cpu", weights_only=True)
            elif file.suffix == ".npz":
                with np.load(file, allow_pickle=False) as arrays:
                    dict(arrays)
            elif file.name == "metrics.csv":
                rows = list(csv.reader(file.open()))
                assert all(len(row) == len(rows[0]) for row in rows)
        except Exception as error:
            bad.append(f"{file.name}: {type(error).__name__}: {error}")
    return bad


def strike(case, folder, baseline):
    """Run a case; returns the broken promises, none if all is well."""
    if case.family in services.CASES:
        return services.strike(case, folder, baseline, sys.modules[__name__])
    disk = folder / "disk"
    disk.mkdir(parents=True)
    mounted = case.kind in ("disk full", "read-only")
    if mounted:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk)], check=True)
    try:
        return _strike(case, folder, disk, baseline)
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(disk)], check=False)


def _strike(case, folder, disk, baseline):
    log = folder / "log.txt"
    argv = arguments(case.family, disk, case.kind == "worker killed")

    def struck():
        fault = Fault(*case[1:], disk)
        fault.arm()
        engine.launch = partial(engine.launch, callbacks=[fault])
        return main(argv)

    code, left = fork(struck, log)
    text = log.read_text(errors="replace")
    if "struck:" not in text:
        return [f"the fault did not strike: {text[-200:]}"]
    broken = [f"processes stay: {left}"] if left else []
    broken += ["a traceback is printed"] if "Traceback" in text and case.kind != "worker killed" else []
    if case.kind == "read-only":
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    (disk / "filler").unlink(missing_ok=True)
    found = runs(disk)
    if len(found) != 1:
        return [*broken, f"{len(found)} runs listed, not 1"]
    run = found[0]
    broken += [f"torn: {bad}" for bad in torn(run.path)]
    clock = case.kind.startswith("clock")
    expected = {"SIGKILL": -9, "SIGTERM": (143, -15), "SIGINT": 130}.get(case.kind, 0 if clock else (1, 2))
    if case.kind == "worker killed":
        expected = (0, 1, 2)  # 0: it had nothing left to load
    if code not in (expected if isinstance(expected, tuple) else (expected,)):
        broken.append(f"exit code {code}, not {expected}: {text[-300:]}")
    allowed = (
        ("finished",)
        if clock or code == 0
        else ("interrupted",)
        if case.kind.startswith("SIG")
        else ("interrupted", "failed")
    )
    if run.status not in allowed:
        broken.append(f"listed as {run.status}, not {' or '.join(allowed)}")
    code, left = fork(lambda: main(["resume", str(run.path)]), log)
    if code != 0 or left:
        return [*broken, f"resume: exit code {code}, left {left}: {log.read_text(errors='replace')[-400:]}"]
    run = runs(disk)[0]
    if run.status != "finished":
        broken.append(f"{run.status} after resume")
    if any(value < 0 for value in run.record["cost"].values()):
        broken.append(f"cost {run.record['cost']}")
    drafts = [p.name for p in run.path.rglob(".*") if p.name != ".lock"]
    broken += [f"drafts stay: {drafts}"] if drafts else []
    broken += [f"torn after resume: {bad}" for bad in torn(run.path)]
    differs = [name for name, value in digest(run.path).items() if baseline.get(name) != value]
    return broken + ([f"not bit-identical: {', '.join(differs)}"] if differs else [])


def unbroken(family, folder, workers=False):
    """Digests of a run of the family that nothing struck."""
    code, _ = fork(lambda: main(arguments(family, folder, workers)), folder / "log.txt")
    if code != 0:
        raise RuntimeError(f"{family}: {(folder / 'log.txt').read_text()[-2000:]}")
    return digest(runs(folder)[0].path)


def can_mount():
    """Whether small file systems can be made here, for faults of the disk."""
    with tempfile.TemporaryDirectory() as folder:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
        return made.returncode == 0 and subprocess.run(["umount", folder]).returncode == 0


def matrix(cases, folder):
    """Run all cases; yields each with its broken promises and its seconds."""
    baselines = {}
    for number, case in enumerate(cases):
        key = case.family, case.kind == "worker killed"
        if key not in baselines:
            place = folder / f"baseline{len(baselines)}"
            place.mkdir()
            if case.family in services.CASES:
                baselines[key] = services.unbroken(case.family, place, sys.modules[__name__])
            else:
                baselines[key] = unbroken(*key[:1], place, key[1])
        place, start = folder / f"case{number}", time.monotonic()
        yield case, strike(case, place, baselines[key]), time.monotonic() - start
        shutil.rmtree(place)


def share(cases, number, jobs, output, commit):
    """Every ``jobs``-th case from ``number`` on; written after each, and a later call at that commit goes on there."""
    chosen = cases[number::jobs]
    done = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {"commit": None}
    rows, before = [], 0
    if done["commit"] == commit and [[row[n] for n in Case._fields] for row in done["cases"]] == [
        list(case) for case in chosen[: len(done["cases"])]
    ]:
        rows, before = done["cases"], done["cpu_seconds"]
    with tempfile.TemporaryDirectory() as folder:
        for case, broken, seconds in matrix(chosen[len(rows) :], Path(folder)):
            rows.append({**case._asdict(), "broken": broken, "seconds": round(seconds, 1)})
            print("ok  " if not broken else "FAIL", " | ".join(case[:3]), broken or "", flush=True)
            done = {"commit": commit, "cpu_seconds": before + round(sum(os.times()[:4])), "cases": rows}
            output.write_text(json.dumps(done), encoding="utf-8")


def command_line():
    """Run many faults and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the faults")
    parser.add_argument("--one-process", action="store_true", help="leave out faults of ranks and sweeps")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    cases = draw_cases(options.faults, options.seed, mounts=can_mount(), several=not options.one_process)
    options.output.parent.mkdir(exist_ok=True)
    parts = [options.output.with_suffix(f".{number}.part") for number in range(options.jobs)]
    commit = (git_state() or {}).get("commit")
    if options.jobs == 1:
        share(cases, 0, 1, parts[0], commit)
    else:
        context = multiprocessing.get_context("fork")
        children = [
            context.Process(target=share, args=(cases, k, options.jobs, part, commit)) for k, part in enumerate(parts)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()
    found = [json.loads(part.read_text(encoding="utf-8")) for part in parts]
    results = [row for part in found for row in part["cases"]]
    failed = sum(bool(row["broken"]) for row in results)
    summary = {"faults": len(results), "failed": failed, "cpu_seconds": sum(part["cpu_seconds"] for part in found)}
    summary["commit"] = commit
    options.output.write_text(json.dumps({**summary, "cases": results}, indent=1) + "\n", encoding="utf-8")
    for part in parts:
        part.unlink()
    return 1 if failed or len(results) < len(cases) else 0


if __name__ == "__main__":
    sys.exit(command_line())
