"""Fuzzer: damaged files through every reader. Each ends in a result or in one of our named errors, in bounded time.

Inputs are read in forked workers under a limit of memory and time, so that a crash of a library costs one worker and
is counted. ``python -m reliability.fuzz --inputs 100000`` (from ``tests/``) writes ``results/fuzz.json``; with --keep
the first input of each kind of failure stays in ``regressions/``, which the tests read from then on.
"""

import argparse
import contextlib
import hashlib
import json
import logging
import mmap
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

from neurotwin.errors import NeurotwinError
from neurotwin.provenance import git_state

from reliability.mutations import mutate
from reliability.readers import TARGETS

HERE = Path(__file__).parent
TIME_S, MEMORY_BYTES = 10, 3 << 30


class TooLong(BaseException):
    """An input took longer than it may."""


def sample(name, folder):
    """The valid file of a target below ``folder``: its path and bytes."""
    folder.mkdir(parents=True)
    TARGETS[name].make(folder)
    path = next(p for p in sorted(folder.rglob("*"), key=_rank) if p.is_file())
    return path, path.read_bytes()


def _rank(path):
    return path.suffix == ".npz" and (path.parent / "index.json").exists(), path


def judge(name, path):
    """``result``, ``error`` (a named one), or what went wrong."""
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, TIME_S)  # of the processor: a busy machine is no fault of a reader
    try:
        TARGETS[name].read(path)
    except NeurotwinError as error:
        return "error" if str(error).strip() else "an error without a message"
    except TooLong:
        return f"longer than {TIME_S} s"
    except BaseException as error:
        frame = next((f for f in reversed(traceback.extract_tb(error.__traceback__)) if "/src/" in f.filename), None)
        return f"{type(error).__name__}: {str(error)[:120]} ({frame and f'{Path(frame.filename).name}:{frame.name}'})"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return "result"


def _too_long(*_):
    raise TooLong


def fuzz(name, inputs, folder, seed=0):
    """Damage the valid file of a target ``inputs`` times; returns the counts and the failures with their bytes."""
    path, valid = sample(name, folder / name.replace(" ", "_"))
    counts, failures, done = {"result": 0, "error": 0}, {}, 0
    while done < inputs:
        done, found = _worker(name, path, valid, done, inputs, seed)
        for outcome, (number, data) in found["failures"].items():
            failures.setdefault(outcome, (number, data))
        for outcome, count in found["counts"].items():
            counts[outcome] = counts.get(outcome, 0) + count
    return counts, failures


def _worker(name, path, valid, first, last, seed):
    """Run inputs from ``first`` on in a child; returns where to go on, and what was found."""
    progress, report = mmap.mmap(-1, 8), Path(tempfile.mkstemp()[1])
    progress[:] = first.to_bytes(8, "little")
    pid = os.fork()
    if pid == 0:
        try:
            _child(name, path, valid, first, last, seed, progress, report)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(70)
    seen, since = first, time.monotonic()
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.01)
        if (at := int.from_bytes(progress[:], "little")) != seen:
            seen, since = at, time.monotonic()
        elif time.monotonic() - since > 12 * TIME_S:
            os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    found = pickle.loads(report.read_bytes()) if report.stat().st_size else {"counts": {}, "failures": {}}
    report.unlink()
    at = int.from_bytes(progress[:], "little")
    if code != 0:  # the input that the worker was at; what it found before is lost with it and is run again
        outcome = f"the process dies ({code})"
        found = {"counts": {outcome: 1}, "failures": {outcome: (at, damaged(valid, seed, at))}}
        if at > first:
            at, found = first, _merge(_worker(name, path, valid, first, at, seed)[1], found)
            at = int.from_bytes(progress[:], "little")
        return at + 1, found
    return last, found


def _merge(one, other):
    counts = {k: one["counts"].get(k, 0) + other["counts"].get(k, 0) for k in {*one["counts"], *other["counts"]}}
    return {"counts": counts, "failures": {**other["failures"], **one["failures"]}}


def damaged(valid, seed, number):
    """Input ``number`` of a target."""
    return mutate(valid, random.Random(f"{seed}/{number}"))


def _child(name, path, valid, first, last, seed, progress, report):
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    quiet = os.open(os.devnull, os.O_WRONLY)  # some libraries write to the terminal from C
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
    counts, failures = {}, {}
    for number in range(first, last):
        progress[:] = number.to_bytes(8, "little")
        data = damaged(valid, seed, number)
        path.write_bytes(data)
        outcome = judge(name, path)
        counts[outcome] = counts.get(outcome, 0) + 1
        failures.setdefault(outcome, (number, data))
    with contextlib.suppress(KeyError):
        del failures["result"]
    failures.pop("error", None)
    report.write_bytes(pickle.dumps({"counts": counts, "failures": failures}))


def keep(name, data):
    """Keep the bytes of a failure as a regression file."""
    place = HERE / "regressions" / name.replace(" ", "_")
    place.mkdir(parents=True, exist_ok=True)
    (place / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)


def command_line():
    """Fuzz every reader and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep", action="store_true", help="keep failing inputs in regressions/")
    parser.add_argument("--output", type=Path, default=HERE / "results" / "fuzz.json")
    options = parser.parse_args()
    chosen = {name: target for name, target in TARGETS.items() if options.only in name}
    total, rows, bad = sum(t.weight for t in chosen.values()), {}, 0
    with tempfile.TemporaryDirectory() as folder:
        for name, target in chosen.items():
            start, inputs = time.monotonic(), -(-options.inputs * target.weight // total)
            counts, failures = fuzz(name, inputs, Path(folder), options.seed)
            rows[name] = {"inputs": sum(counts.values()), **counts, "seconds": round(time.monotonic() - start, 1)}
            bad += len(failures)
            print(name, rows[name], flush=True)
            if options.keep:
                for _, data in failures.values():
                    keep(name, data)
            shutil.rmtree(Path(folder) / name.replace(" ", "_"))
    used = os.times()
    cpu = round(used.user + used.system + used.children_user + used.children_system)
    summary = {"inputs": sum(row["inputs"] for row in rows.values()), "failures": bad, "cpu_seconds": cpu}
    summary["commit"] = (git_state() or {}).get("commit")
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text(json.dumps({**summary, "readers": rows}, indent=1) + "\n")
    print(summary)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(command_line())
