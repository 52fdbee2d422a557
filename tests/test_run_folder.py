"""Run folders never collide, records survive a torn write, the index lists what is there."""

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import neurotwin
import pytest
from neurotwin import provenance
from neurotwin.cli import main
from neurotwin.errors import NeurotwinError
from neurotwin.files import write_json
from neurotwin.provenance import new_record
from neurotwin.run_folder import Run, claim


def record(root, experiment="a/b", **values):
    run = Run(claim(root, experiment, values.get("seed", 0)))
    run.update(**{**new_record(experiment, 0, "hash", []), **values})
    return run


def test_simultaneous_launches_never_share_a_folder(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        folders = list(pool.map(lambda _: claim(tmp_path, "a/b", 0), range(200)))
    assert len(set(folders)) == 200


def test_record_says_what_is_needed_to_repeat_the_run(tmp_path):
    content = json.loads((record(tmp_path).path / "run.json").read_text())
    assert {"experiment", "status", "seed", "argv", "git", "versions", "process", "config_hash", "started"} <= set(
        content
    )
    assert content["versions"]["torch"]


def test_listing(run_root, capsys):
    record(run_root, "p/one", status="finished", seed=3, objective={"metric": "val/loss", "value": 0.25})
    record(run_root, "p/two", status="failed", seed=1)
    (run_root / "p" / "two" / "torn").mkdir()
    (run_root / "p" / "two" / "torn" / "run.json").write_text('{"experiment": "p/t')
    assert main(["runs", "--sort", "seed"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["p/two", "p/one"]
    assert "val/loss=0.25" in lines[2]
    assert main(["runs", "p/one", "--json"]) == 0
    assert [row["status"] for row in json.loads(capsys.readouterr().out)] == ["finished"]


def test_runs_are_found_by_the_end_of_their_name(run_root):
    run = record(run_root)
    assert neurotwin.load_run(run.path.name[-4:]).path == run.path
    with pytest.raises(NeurotwinError, match="no run 'zzzz'"):
        neurotwin.load_run("zzzz")


def test_an_experiment_means_its_newest_finished_run(run_root):
    record(run_root, "p/one", status="finished", started="2026-01-01T00:00:00+00:00")
    wanted = record(run_root, "p/one", status="finished", started="2026-01-02T00:00:00+00:00")
    record(run_root, "p/one", status="failed", started="2026-01-03T00:00:00+00:00")
    assert neurotwin.load_run("p/one").path == wanted.path


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "x.json"
    write_json(file, {"old": 1})
    with pytest.raises(TypeError):
        write_json(file, {"new": object()})
    assert json.loads(file.read_text()) == {"old": 1}


def test_unwritable_runs_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NeurotwinError, match="no run folder can be made"):
        claim(tmp_path / "file", "a/b", 0)


def test_public_functions_are_functions():
    import importlib

    for module in ("engine", "gates", "config", "run_folder", "registry"):
        importlib.import_module(f"neurotwin.{module}")
    assert all(callable(getattr(neurotwin, name)) for name in ("train", "resume", "evaluate", "check", "show", "runs"))


def many(root, count, old=True):
    """Finished runs, written long ago or just now."""
    found = []
    for number in range(count):
        run = record(root, status="finished", seed=number)
        if old:
            os.utime(run.path / "run.json", (1e9, 1e9 + number))
        found.append(run)
    return found


def listed(root):
    return sorted((run.record["seed"], run.status) for run in neurotwin.runs(root))


def test_the_index_is_a_cache_and_never_the_truth(tmp_path):
    written = many(tmp_path, 30)
    known = [(number, "finished") for number in range(30)]
    assert listed(tmp_path) == known
    index = tmp_path / ".index.json"
    assert len(json.loads(index.read_text())["runs"]) == 30
    assert listed(tmp_path) == known, "read from the index"
    written[3].update(status="failed")
    shutil.rmtree(written[4].path)
    record(tmp_path, status="interrupted", seed=99)
    now = [*known[:3], (3, "failed"), *known[5:], (99, "interrupted")]
    assert listed(tmp_path) == now, "changed, removed and new runs are seen at once"
    for damage in ("", '{"version": 1, "runs": {"a/b', '{"version": 1, "runs": {"a": 1}}', "[]", '{"version": 2}'):
        index.write_text(damage)
        assert listed(tmp_path) == now, damage
    assert len(json.loads(index.read_text())["runs"]) == 28, "and is written anew, without those that may still change"


def test_the_index_is_written_by_several_at_once(tmp_path):
    many(tmp_path, 30)
    with ThreadPoolExecutor(8) as pool:
        assert all(found == listed(tmp_path) for found in pool.map(listed, [tmp_path] * 16))


def test_a_runs_folder_that_cannot_be_written_is_listed(tmp_path, monkeypatch):
    many(tmp_path, 30)
    monkeypatch.setattr("neurotwin.run_index.replaced", lambda path: (_ for _ in ()).throw(PermissionError(13, "no")))
    assert len(listed(tmp_path)) == 30


def test_recorded_results_do_not_make_the_code_dirty(tmp_path, monkeypatch):
    for name in ("src/provenance.py", "experiments/paper/README.md", "experiments/paper/expected.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "src" / "provenance.py"))
    (tmp_path / "experiments/paper/README.md").write_text("b")
    (tmp_path / "experiments/paper/expected.json").write_text("b")
    assert provenance.git_state()["dirty"] is None
    (tmp_path / "src/provenance.py").write_text("b")
    assert provenance.git_state()["dirty"] is not None
