"""Rows are run once, pooled over folds, summed over seeds and printed beside the published numbers."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from neurotwin import reproduce, runs
from neurotwin.cli import main
from neurotwin.errors import ConfigError
from neurotwin.reproduction import read_rows
from neurotwin.tables import verdict

ROOT = Path(__file__).resolve().parents[1]
PAPER = """
rows:
  - name: "{width}/{rate}"
    config: example/tones
    overrides: [trainer.max_epochs=1]
    grid:
      width: {small: model.hidden=4, large: [model.hidden=32]}
      rate: {slow: optimizer.lr=0.001}
    folds: 4
    seeds: [0, 1]
    metric: test/mae
    published: {large: 0.5}
    source: Table 2
    tolerance: 10
tables:
  - {title: As a pivot, rows: ["*"], index: width, columns: rate}
  - {title: As a list, rows: ["large/*"], metrics: [test/mae]}
"""
README = "# Mine\n\n<!-- tables: written by `neurotwin reproduce --update` -->\nold\n<!-- end of tables -->\ntail\n"


@pytest.fixture
def paper(example, run_root, tmp_path, monkeypatch):
    folder = tmp_path / "mine" / "experiments" / "tones"
    folder.mkdir(parents=True)
    (folder / "paper.yaml").write_text(PAPER)
    (folder / "README.md").write_text(README)
    monkeypatch.setenv("NEUROTWIN_CONFIG_DIR", str(tmp_path / "mine"))
    return folder


def test_rows_are_pooled_over_folds_and_summed_over_seeds(paper, run_root):
    text = reproduce("tones", update=True)
    assert len(runs(run_root)) == 16
    expected = json.loads((paper / "expected.json").read_text())["rows"]
    row = expected["large/slow"]
    assert row["metrics"]["test/mae"]["n"] == 2
    assert row["parameters"] == 64 * 32 + 32 + 32 + 1
    errors = []
    for run in runs(run_root):
        if run.config["model"]["hidden"] == 32 and run.record["seed"] == 1:
            with np.load(run.path / "predictions" / "test.npz") as rows:
                errors.append(rows["error"])
    assert len(errors) == 4
    assert row["metrics"]["test/mae"]["values"][1] == pytest.approx(np.abs(np.concatenate(errors)).mean())
    assert "within tolerance" in text
    assert "0.5 (Table 2)" in text
    readme = (paper / "README.md").read_text()
    assert "old" not in readme
    assert readme.startswith("# Mine")
    assert readme.endswith("tail\n")
    before = {run.path for run in runs(run_root)}
    assert reproduce("tones") == text, "a second call must run nothing and print the same"
    assert {run.path for run in runs(run_root)} == before


def test_an_interrupted_run_is_resumed_and_a_failed_one_reported(paper, run_root, capsys):
    assert main(["reproduce", "tones", "--row", "small/*", "--seeds", "0"]) == 0
    victim = runs(run_root)[2]
    (victim.path / "metrics.json").unlink()
    victim.update(status="interrupted")
    assert main(["reproduce", "tones", "--row", "small/*", "--seeds", "0", "--jobs", "2"]) == 0
    assert len(runs(run_root)) == 4
    assert {run.status for run in runs(run_root)} == {"finished"}


def test_runs_of_other_code_are_not_reused_unless_allowed(paper, run_root, capsys):
    arguments = ["reproduce", "tones", "--row", "small/*", "--seeds", "0"]
    assert main(arguments) == 0
    before = {run.path for run in runs(run_root)}
    for run in runs(run_root):
        run.update(code="0123456789ab")
    assert main([*arguments, "--any-code"]) == 0
    assert {run.path for run in runs(run_root)} == before
    assert main(arguments) == 0
    assert "4 finished runs are of other code" in capsys.readouterr().err
    assert len(runs(run_root)) == 8


def test_outputs_and_costs(paper, run_root):
    reproduce("tones", rows=["small/*"], jobs=2)
    folder = run_root / "tones"
    row = json.loads((folder / "reproduction.json").read_text())["rows"]["small/slow"]
    assert row["peak_memory_mb"] > 50
    assert row["wall_seconds"] > 0
    head, line = (folder / "reproduction.csv").read_text().splitlines()
    assert head.split(",")[0:6] == ["row", "ours", "ours_sd", "ours_n", "ours_values", "95 % CI"]
    assert line.startswith("small/slow,")
    assert r"\begin{tabular}{lr}" in (folder / "reproduction.tex").read_text()


def test_a_paper_without_its_data_stops_no_other(paper, run_root, monkeypatch, capsys):
    broken = paper.parent / "broken"
    broken.mkdir()
    (broken / "paper.yaml").write_text("rows: [{name: a, config: example/tonnes, metric: test/mae}]\n")
    known = {"broken": broken, "tones": paper}
    monkeypatch.setattr("neurotwin.reproduction.papers", lambda: known)
    assert main(["reproduce", "--all", "--smoke"]) == 1
    out = capsys.readouterr().out
    assert "unknown experiment 'example/tonnes'" in out
    assert "large/slow" in out
    assert main(["reproduce"]) == 2
    assert main(["reproduce", "tones", "--all"]) == 2


def test_smoke_runs_two_batches_of_one_fold_and_writes_no_expectation(paper, run_root):
    (paper / "paper.yaml").write_text(PAPER.replace("trainer.max_epochs=1", "trainer.max_epochs=2"))
    reproduce("tones", smoke=True, update=True)
    assert len(runs(run_root)) == 2
    assert not (paper / "expected.json").exists()
    assert {run.config["trainer"]["max_epochs"] for run in runs(run_root)} == {1}, "whatever the row says"
    (paper / "paper.yaml").write_text(PAPER.replace("    folds: 4", "    smoke: [model.hidden=3]\n    folds: 4"))
    reproduce("tones", smoke=True)
    assert len(runs(run_root)) == 3, "rows that a smoke run makes alike run once"
    assert runs(run_root)[-1].config["model"]["hidden"] == 3


def test_a_smoke_run_tries_every_value_of_a_grid(tmp_path):
    axes = "{a: {1: [], 2: [], 3: []}, b: {x: [], y: []}}"
    (tmp_path / "paper.yaml").write_text(
        f"rows: [{{name: '{{a}}{{b}}', config: example/tones, metric: test/mae, grid: {axes}}}]\n"
    )
    rows = read_rows(tmp_path / "paper.yaml")
    assert len(rows) == 6
    assert [row.name for row in rows if row.tried] == ["1x", "2y", "3x"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("metric: test/mae", "row '{width}/{rate}' has no 'metric'"),
        ("    folds: 4", "unknown key 'fold'; did you mean 'folds'?"),
        ("source: Table 2", "data: rael: did you mean 'real'?"),
        ('name: "{width}/{rate}"', "several rows are named 'same'"),
    ],
)
def test_faults_of_a_paper_file(paper, change, message):
    new = {"metric: test/mae": "note: x", "    folds: 4": "    fold: 4", "source: Table 2": "data: rael"}.get(
        change, "name: same"
    )
    (paper / "paper.yaml").write_text(PAPER.replace(change, new))
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_rows(paper / "paper.yaml")


def test_a_row_without_its_optional_package_is_left_out_and_named(paper, run_root, capsys):
    one = "  - {name: other, config: example/tones, metric: test/mae, needs: no_such_package}\ntables:"
    (paper / "paper.yaml").write_text(PAPER.replace("tables:", one))
    assert main(["reproduce", "tones", "--smoke"]) == 0
    assert "left out: other needs: pip install 'neurotwin[no_such_package]'" in capsys.readouterr().err
    assert len(runs(run_root)) == 2
    assert main(["reproduce", "tones", "--row", "other"]) == 2


def test_unknown_paper_row_and_seeds(paper, capsys):
    assert main(["reproduce", "tonnes"]) == 2
    assert "unknown paper 'tonnes': did you mean 'tones'?" in capsys.readouterr().err
    assert main(["reproduce", "tones", "--row", "lrge/*"]) == 2
    assert "no row matches lrge/*" in capsys.readouterr().err
    assert main(["reproduce", "tones", "--seeds", "a"]) == 2
    assert "--seeds='a': write 0,1,2 or 0..4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("ours", "data", "note", "expected"),
    [
        (0.955, "real", "", "within tolerance"),
        (0.98, "real", "", "better"),
        (0.90, "real", "", "worse"),
        (0.96, "simulated", "", "simulated"),
        (0.96, "real", "other folds", "other folds"),
        (0.96, "other", "", "not comparable"),
    ],
)
def test_verdicts(ours, data, note, expected):
    row = {
        "data": data,
        "published": 0.95,
        "tolerance": 0.01,
        "note": note,
        "better": "higher",
        "metric": "m",
        "metrics": {"m": {"mean": ours}},
    }
    assert verdict(row) == expected


@pytest.mark.parametrize("paper", sorted(file.parent.name for file in (ROOT / "experiments").glob("*/expected.json")))
def test_recorded_rows_name_commits_of_this_history(paper):
    if _git("rev-parse", "--is-shallow-repository") != "false":
        pytest.skip("no full git history here")
    rows = json.loads((ROOT / "experiments" / paper / "expected.json").read_text())["rows"]
    commits = {commit.rstrip("+") for row in rows.values() for commit in row["commit"]}
    lost = [commit for commit in sorted(commits) if _git("merge-base", "--is-ancestor", commit, "HEAD") is None]
    assert not lost, "a rebase after the rows were run has lost what they were run with; merge those commits"


def _git(*arguments):
    """What git says, None where it refuses."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None
