"""Writes ``docs/reliability.md`` from the committed results of the crash matrix and the fuzzer."""

import json
from collections import Counter
from pathlib import Path

from reliability.faults import KINDS, SERVICES

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "docs" / "reliability.md"
BENCHMARKS = HERE.parents[1] / "benchmarks" / "results"


def read(name):
    """A result file."""
    return json.loads((HERE / "results" / name).read_text())


def table():
    """The page as Markdown."""
    crash, fuzz = read("crash.json"), read("fuzz.json")
    lines = [
        "# Reliability",
        "",
        "Written by `python -m reliability.table`, which ends `make reliability`.",
        "",
    ]
    lines += [
        "## Crash matrix",
        "",
        f"{crash['faults']} faults, {crash['failed']} broke a promise. After each: no",
    ]
    lines += [
        "torn file, the right status, no process left, and `resume` ends bit-identical to a run never struck. A cell"
    ]
    lines += ["gives faults survived of faults injected, by family of experiments.", ""]
    lines += [_cost(crash), ""]
    lines += [crash["note"], ""] if "note" in crash else []
    families = list(dict.fromkeys(case["family"] for case in crash["cases"]))
    lines += [f"| fault | {' | '.join(families)} |", f"| --- |{' ---: |' * len(families)}"]
    total = Counter((case["kind"], case["family"]) for case in crash["cases"])
    good = Counter((case["kind"], case["family"]) for case in crash["cases"] if not case["broken"])
    for kind in (*KINDS, *SERVICES):
        cells = [f"{good[kind, f]} / {total[kind, f]}" if total[kind, f] else "-" for f in families]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    broken = [case for case in crash["cases"] if case["broken"]]
    for case in broken:
        lines.append(f"\nBroken: {case['family']}, {case['point']}, {case['kind']}.")
    lines += [
        "",
        "## Damaged input",
        "",
        f"{fuzz['inputs']:,} mutated inputs; kinds of failure: {fuzz['failures']}.",
    ]
    lines += ["Each must end in a result or in a named error, within ten seconds of the processor and 3 GiB.", ""]
    lines += [_cost(fuzz), ""]
    lines += [fuzz["note"], ""] if "note" in fuzz else []
    lines += ["| reader | inputs | read | named error | failed |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, row in fuzz["readers"].items():
        failed = row["inputs"] - row["result"] - row["error"]
        lines.append(f"| {name} | {row['inputs']:,} | {row['result']:,} | {row['error']:,} | {failed:,} |")
    return "\n".join([*lines, *_load(), *_benchmarks(), *_soak()]) + "\n"


def _cost(found):
    return f"{found['cpu_seconds'] / 60:.0f} CPU-minutes, commit {str(found.get('commit') or 'not recorded')[:7]}."


def _load():
    if not (HERE / "results" / "load.json").exists():
        return []
    found = read("load.json")
    names = {
        "recording": "EDF, 19 channels of 10 million samples",
        "volume": "NIfTI, 512 x 512 x 300 voxels",
    }
    lines = [
        "",
        "## Load",
        "",
        "`neurotwin predict` in a process of its own, one CPU thread; `python -m reliability.load`.",
    ]
    lines += ["The libraries alone take about 650 MB.", ""]
    lines += ["| file | MB on disk | peak memory, MB | bound, MB | CPU-s |", "| --- | ---: | ---: | ---: | ---: |"]
    for kind, row in found.items():
        cells = [row["file_mb"], row["peak_memory_mb"], row["bound_mb"], row["cpu_seconds"]]
        lines.append(f"| {names[kind]} | {' | '.join(map(str, cells))} |")
    commits = sorted({str(row.get("commit") or "not recorded")[:7] for row in found.values()})
    return [*lines, "", f"Commit {', '.join(commits)}."]


def _benchmarks():
    """What the benchmarks have measured of large numbers of runs."""
    index, kills = (json.loads((BENCHMARKS / f"{n}.json").read_text()) for n in ("run_index", "sweep_kills"))
    killed = kills["killed"]
    return [
        "",
        f"`neurotwin runs` lists {index['runs']:,} runs in {index['list']['wall_s']:g} s (`benchmarks/run_index.py`).",
        f"A sweep of {kills['trials']} trials, {kills['at_a_time']} at a time, whose driver was killed",
        f"{killed['driver_killed']} times, lost {killed['lost']} trials and doubled {killed['doubled']}",
        "(`benchmarks/sweep_kills.py`).",
    ]


def _soak():
    if not (HERE / "results" / "soak.json").exists():
        return []
    found, grown = read("soak.json"), read("soak.json")["growth"]
    first, last = found["samples"][0], found["samples"][-1]
    lines = ["", "## Soak", ""]
    lines += [f"{found['runs']} small runs of all families in one process over {found['minutes']:.0f} minutes,"]
    lines += ["each trained, evaluated and listed, one of them applied to a file. Memory after warming up changed by"]
    lines += [
        f"{100 * grown['memory_mb']:+.1f} % (first {first['memory_mb']:.0f} MB, last {last['memory_mb']:.0f} MB), "
    ]
    lines[-1] += f"file handles by {grown['handles']:+.0f}, threads by {grown['threads']:+.0f}."
    commit = str(found.get("commit") or "not recorded")[:7]
    lines += [f"{found['cpu_seconds'] / 60:.0f} CPU-minutes, commit {commit}."]
    lines += [found["note"]] if "note" in found else []
    return [*lines, "", "`make soak` runs the same for two hours."]


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
