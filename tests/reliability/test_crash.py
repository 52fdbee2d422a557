"""The short tier of the crash matrix: a few faults of every kind of place; `make reliability` runs hundreds."""

import json
import os
import subprocess
import sys

from conftest import ROOT

from reliability.crash import FAMILIES, draw_cases
from reliability.faults import KINDS, POINTS, SERVICES
from reliability.services import CASES


def test_a_struck_run_keeps_its_promises(tmp_path):
    output = tmp_path / "crash.json"
    options = ["--faults", "6", "--seed", "2", "--one-process", "--output", str(output)]
    command = [sys.executable, "-m", "reliability.crash", *options]
    settings = {**os.environ, "NEUROTWIN_RUNS": str(tmp_path / "runs")}
    done = subprocess.run(command, cwd=ROOT / "tests", env=settings, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(output.read_text())["faults"] == 6


def test_a_full_pass_meets_every_family_point_and_kind():
    cases = draw_cases(240)
    assert {case.family for case in cases} == {*FAMILIES, *CASES}
    assert {case.point for case in cases} == {*POINTS, "in a run"}
    assert {case.kind for case in cases} == {*KINDS, *SERVICES}
