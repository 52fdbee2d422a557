"""Writes ``docs/reliability.md`` from the committed results of the crash matrix and the fuzzer."""

import json
from collections import Counter
from pathlib import Path

from reliability.faults import KINDS, SERVICES

HERE = Path(__file__).parent
TABLE = HERE.parents[1] / "docs" / "reliability.md"


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
        f"{fuzz['inputs']:,} mutated inputs, {fuzz['failures']} kinds of failure.",
    ]
    lines += ["Each must end in a result or in a named error, within ten seconds and 3 GiB.", ""]
    lines += ["| reader | inputs | read | named error | failed |", "| --- | ---: | ---: | ---: | ---: |"]
    for name, row in fuzz["readers"].items():
        failed = row["inputs"] - row["result"] - row["error"]
        lines.append(f"| {name} | {row['inputs']:,} | {row['result']:,} | {row['error']:,} | {failed:,} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
