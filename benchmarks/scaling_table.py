"""Write what the sweep, index and data benchmarks measured into docs/scaling.md.

Run: ``python benchmarks/scaling_table.py`` after any of them.
"""

import json
from pathlib import Path

from neurotwin.tables import update_readme

ROOT = Path(__file__).resolve().parents[1]
MARKERS = ("<!-- measured: written by `python benchmarks/scaling_table.py` -->", "<!-- end of measured -->")


def result(name):
    """Content of a committed result."""
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def seconds(times):
    """CPU and wall time as two cells."""
    return f"{times['cpu_s']:.2g} s | {times.get('wall_s', times.get('end_s')):.2g} s"


def lines():
    """The table, then a paragraph about memory."""
    trial, index = result("trial_overhead")["median"], result("run_index")
    data = {kind: [row for row in result("data_throughput")["sets"] if row["kind"] == kind] for kind in ("eeg", "mri")}
    yield "| what | CPU | wall under load | in |"
    yield "|---|---|---|---|"
    yield f"| a trial of next to nothing, fork server (`--backend process`) | {seconds(trial['fork server'])} | " + (
        "`trial_overhead.json` |"
    )
    yield f"| the same in a new process, as on a cluster | {seconds(trial['new process'])} | |"
    yield f"| bare import and building of the same pieces | {seconds(trial['bare'])} | |"
    yield f"| `neurotwin runs` over {index['runs']:,} runs | {seconds(index['list'])} | `run_index.json` |"
    yield f"| the first time, without the index | {seconds(index['list_first_time'])} | |"
    yield f"| deciding how a sweep of {index['runs']:,} trials goes on | {seconds(index['resume_decision'])} | |"
    yield f"| noting a trial in a journal of {index['runs']:,} | {index['bookkeeping_a_trial_cpu_ms']:.0f} ms | | |"
    for kind, item, files in (("eeg", "a window of EEG", "recordings"), ("mri", "a 96³ patch of MRI", "exams")):
        row = data[kind][-1]
        what = f"{item}, {row['files']} mapped {files}, {row['gb']:.2g} GB"
        yield f"| {what} | {row['ours_cpu_ms']:.2g} ms | {row['ours_per_s']:,} a second | `data_throughput.json` |"
        yield f"| the same by a bare `DataLoader` | {row['bare_cpu_ms']:.2g} ms | {row['bare_per_s']:,} a second | |"
    yield ""
    yield "Memory taken by reading, least and most of three processes, as the set grows:"
    yield ""
    yield "| set | files | neurotwin | bare `DataLoader` |"
    yield "|---|---|---|---|"
    for kind, rows in data.items():
        for row in rows:
            ours, bare = (f"{row[f'{who}_mb'][0]} to {row[f'{who}_mb'][1]} MB" for who in ("ours", "bare"))
            yield f"| {kind.upper()} | {row['files']} | {ours} | {bare} |"


if __name__ == "__main__":
    update_readme(ROOT / "docs" / "scaling.md", "\n".join(lines()) + "\n", MARKERS)
