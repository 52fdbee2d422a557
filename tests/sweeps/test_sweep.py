"""Sweeps end whole: members of a trial, reuse, failures, pruning, searches, several drivers, kills at any moment."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import neurotwin
import pytest
import yaml
from neurotwin.cli import main
from neurotwin.errors import ConfigError, NeurotwinError
from neurotwin.sweeps.driver import Driver
from neurotwin.sweeps.job import Job
from neurotwin.sweeps.plan import make_plan
from neurotwin.sweeps.results import SweepResult

SHORT = ["trainer.max_epochs=1", "trainer.accelerator=cpu"]


def run_states(run_root):
    return Counter(run.status for run in neurotwin.runs(run_root))


def test_seeds_and_folds_make_up_one_trial_and_are_never_mixed(example, run_root):
    typed = [*SHORT, "model.hidden=2,4", "seeds=0,1", "data_seeds=5", "folds=0,2"]
    result = neurotwin.sweep("example/tones", typed, jobs=2)
    assert result.counts() == {"finished": 2, "pruned": 0, "failed": 0, "open": 0}
    for trial in result.trials:
        assert len(trial.runs) == 4
        members = {
            (r.config["seed"], r.config["datamodule"]["fold"], r.config["datamodule"]["split_seed"]) for r in trial.runs
        }
        assert members == {(seed, fold, 5) for seed in (0, 1) for fold in (0, 2)}
        assert {str(r.config["model"]["hidden"]) for r in trial.runs} == {trial.parameters["model.hidden"]}
        values = [r.record["objective"]["value"] for r in trial.runs]
        assert trial.objectives == {"val/loss": tuple(values)}
    study = {trial.number: trial.value for trial in result.study.trials}
    for trial in result.trials:
        assert study[trial.number] == pytest.approx(sum(trial.objectives["val/loss"]) / 4)
    assert (result.best.number, result.best.state) == (min(study, key=study.get), "finished")
    assert "test/mae" in (result.folder / "results.csv").read_text()
    assert "test/mae" not in (result.folder / "results.md").read_text(), "nobody should choose by a test score"
    assert "Plotly" in (result.folder / "plots.html").read_text()

    before = {run.path for run in neurotwin.runs(run_root)}
    again = neurotwin.sweep("example/tones", [*typed, "threads=1"], jobs=2)
    assert {run.path for run in neurotwin.runs(run_root)} == before, "finished runs are reused"
    assert [t.objectives for t in again.trials] == [t.objectives for t in result.trials]


def test_a_failing_trial_stops_nothing_and_is_tried_again_when_asked(example, run_root, capsys):
    arguments = ["sweep", "example/tones", *SHORT, "optimizer.lr=1e30,0.01"]
    assert main(arguments) == 1
    (folder,) = (run_root / "sweeps").iterdir()
    result = SweepResult(folder)
    assert result.counts() == {"finished": 1, "pruned": 0, "failed": 1, "open": 0}
    assert "the loss is" in result.trials[0].error
    assert "the loss is" in (folder / "results.md").read_text()
    assert main(["sweep", "--resume", str(folder)]) == 1
    assert run_states(run_root) == {"finished": 1, "failed": 1}, "a failed trial is listed, not repeated"
    config = result.trials[0].runs[0].path / "config.yaml"
    config.write_text(config.read_text().replace("1.0e+30", "0.02"))
    (result.trials[0].runs[0].path / "checkpoints" / "last.ckpt").unlink(missing_ok=True)
    assert main(["sweep", "--resume", str(folder), "--retry-failed"]) == 0
    assert run_states(run_root) == {"finished": 2}
    assert len(SweepResult(folder).trials) == 2, "the second try stands for the point"


def test_fail_fast_and_budget_stop_and_say_so(example, run_root, caplog):
    typed = [*SHORT, "optimizer.lr=1e30,0.01,0.02"]
    result = neurotwin.sweep("example/tones", typed, fail_fast=True)
    assert result.counts() == {"finished": 0, "pruned": 0, "failed": 1, "open": 2}
    assert "failed" in caplog.text
    result = neurotwin.sweep(resume=result.folder, budget_h=0.0)
    assert "the budget of 0 CPU-hours is spent" in caplog.text
    assert result.counts()["open"] == 2


def test_random_search_does_not_depend_on_where_it_was_interrupted(example, run_root):
    typed = [*SHORT, "optimizer.lr=log(1e-4,1e-1)", "model.hidden=int(2,8)"]
    whole = neurotwin.sweep("example/tones", typed, trials=3, sampler="random", jobs=2)
    broken = neurotwin.sweep("example/tones", typed, trials=1, sampler="random")
    broken = neurotwin.sweep(resume=broken.folder, trials=3)
    assert [t.parameters for t in broken.trials] == [t.parameters for t in whole.trials]
    assert len({t.parameters["optimizer.lr"] for t in whole.trials}) == 3
    assert len(neurotwin.runs(run_root)) == 3, "the same points are the same runs"


def test_pruned_trials_end_early_and_may_be_finished_later(example, run_root):
    asked = {"space": {"optimizer.lr": [2e-2, 1e-9]}, "pruner": "median", "pruner_options": {"n_startup_trials": 1}}
    file = run_root.parent / "mine.yaml"
    file.write_text(json.dumps(asked))
    result = neurotwin.sweep("example/tones", ["trainer.max_epochs=6", "seeds=0,1"], plan=str(file))
    assert [trial.state for trial in result.trials] == ["finished", "pruned"]
    (pruned,) = result.trials[1].runs
    assert pruned.status == "pruned"
    assert len(pruned.history) < 6
    assert neurotwin.resume(pruned).status == "finished"
    assert len(pruned.history) == 6


def test_two_objectives_have_a_front(example, run_root):
    typed = [*SHORT, "model.hidden=int(2,64)"]
    result = neurotwin.sweep("example/tones", typed, trials=2, objectives="val/loss,parameters:min", jobs=2)
    assert all(
        trial.objectives["parameters"][0]
        == 67 * int(trial.parameters["model.hidden"]) + 1 - int(trial.parameters["model.hidden"])
        for trial in result.trials
    )
    assert list(result.plots()) == ["pareto_front"]


START = "import sys; from neurotwin.cli import main; sys.exit(main(sys.argv[1:]))"


def drive(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", START, "sweep", *map(str, arguments)], stderr=subprocess.PIPE, text=True
    )


def wait_for(condition, what, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def sweep_folder(run_root):
    wait_for(lambda: list(run_root.glob("sweeps/*/sweep.json")), "the sweep's folder")
    return next(run_root.glob("sweeps/*"))


def test_killed_driver_and_worker_lose_nothing_and_double_nothing(example, run_root):
    settings = ["trainer.max_epochs=30", "trainer.accelerator=cpu", "optimizer.lr=0.01,0.003,0.001", "seeds=0,1"]
    driver = drive("example/tones", *settings, "--jobs", 2)
    folder = sweep_folder(run_root)
    begun = lambda: [r for r in neurotwin.runs(run_root) if (r.path / "checkpoints" / "last.ckpt").exists()]  # noqa: E731
    wait_for(begun, "a checkpoint")
    os.kill(begun()[-1].record["process"]["pid"], signal.SIGKILL)  # a worker: its driver begins the job again
    wait_for(lambda: run_states(run_root)["finished"] >= 1, "a finished run")
    driver.kill()
    driver.wait()
    wait_for(lambda: not any(Job(path).busy for path in (folder / "jobs").iterdir()), "the orphans' end")
    finished = [r.path for r in neurotwin.runs(run_root) if r.status == "finished"]
    written = [(path / "metrics.json").stat().st_mtime_ns for path in finished]
    others = drive("--resume", folder), drive("--resume", folder)  # two drivers share what is left
    assert [other.wait(180) for other in others] == [0, 0], others[0].stderr.read() + others[1].stderr.read()
    result = SweepResult(folder)
    assert result.counts() == {"finished": 3, "pruned": 0, "failed": 0, "open": 0}
    runs = neurotwin.runs(run_root)
    assert Counter(run.record["config_hash"] for run in runs if run.status == "finished") == Counter(
        {run.record["config_hash"]: 1 for trial in result.trials for run in trial.runs}
    ), "every job has one finished run"
    assert [(path / "metrics.json").stat().st_mtime_ns for path in finished] == written
    assert any(run.record["resumed"] for run in runs), "the interrupted ones went on from their checkpoints"
    assert all(len(run.history) == 30 for run in runs if run.status == "finished")


def test_half_a_line_in_the_journal_is_cut_off(example, run_root):
    result = neurotwin.sweep("example/tones", [*SHORT, "model.hidden=2,4"])
    with (result.folder / "journal.log").open("ab") as file:
        file.write(b'{"op_code":6,"work')
    result = neurotwin.sweep("example/tones", [*SHORT, "model.hidden=2,4,8"])
    with (result.folder / "journal.log").open("ab") as file:
        file.write(b'{"op_code":6,"work')
    assert neurotwin.sweep(resume=result.folder).counts()["finished"] == 3


@pytest.mark.parametrize(
    ("typed", "given", "message"),
    [
        ([], {}, "nothing is swept"),
        (["model.hiden=1,2"], {}, "model.hiden is no argument of TinyNet; did you mean 'hidden'"),
        (["model.hidden=1,x"], {}, "model.hidden='x'"),
        (["model=tiny,tiny_"], {}, "model=tiny_: there is no such model; did you mean 'tiny'"),
        (["model.hidden=int(1,4)"], {}, "how many trials"),
        (["model.hidden=int(1,4)"], {"sampler": "grid"}, "a grid needs values, but model.hidden is a range"),
        (["model.hidden=1,2"], {"sampler": "tpee"}, "did you mean 'tpe'"),
        (["model.hidden=1,2"], {"objectives": "test/mae"}, "choosing by test scores"),
        (["model.hidden=1,2"], {"objectives": "val/loss:mni"}, "write NAME:min or NAME:max"),
        (["model.hidden=1,2", "seeds=4..0"], {}, "seeds='4..0': write 0,1,2 or 0..4"),
        (["seed=0,1", "seeds=0,1"], {}, "seed is swept and among the members"),
        (["model.hidden=1,2"], {"objectives": "val/loss,cpu_s", "pruner": "median"}, "prunes with one objective"),
        (["model.hidden=int(1,4)"], {"sampler": "cmaes", "trials": 3}, "cmaes searches at least two ranges"),
        (["model.hidden=1,2"], {"plan": "lrr"}, "there is no sweep 'lrr'"),
        (["model.hidden=1,2"], {"backend": "slrm"}, "did you mean 'slurm'"),
        (["model.hidden=1,2"], {"storage": "nosuch://x"}, "storage nosuch://x"),
    ],
)
def test_faults_are_named_before_anything_runs(example, run_root, typed, given, message):
    with pytest.raises(neurotwin.errors.NeurotwinError, match=message.replace("(", r"\(")):
        neurotwin.sweep("example/tones", typed, **given)
    assert not neurotwin.runs(run_root)


def test_a_file_says_the_same_as_the_command_line(example, run_root):
    file = run_root.parent / "mine.yaml"
    space = "space:\n  optimizer.lr: log(1e-4,1e-2)\n  model.hidden: [4, 8]\n"
    file.write_text(f"{space}seeds: 0..2\nfolds: all\ntrials: 9\n")
    read = make_plan("example/tones", [], str(file))
    arguments = ["optimizer.lr=log(1e-4,1e-2)", "model.hidden=4,8", "seeds=0..2", "folds=all"]
    typed = make_plan("example/tones", arguments, trials=9)
    assert read.axes == typed.axes
    assert read.members == {"seed": (0, 1, 2), "datamodule.fold": (0, 1, 2, 3)} == typed.members
    assert make_plan("example/tones", ["model.hidden=2,3"], str(file), trials=4).axes[1].choices == ("2", "3")
    file.write_text("spaces: {}\n")
    with pytest.raises(ConfigError, match="unknown key 'spaces'; did you mean 'space'"):
        make_plan("example/tones", [], str(file))


def test_wandb_file(example, run_root, capsys):
    typed = ["optimizer.lr=log(1e-4,1e-2)", "model.hidden=4,8", "datamodule.n=int(60,90)", "logger=none"]
    path = run_root.parent / "wandb.yaml"
    assert main(["sweep", "example/tones", *typed, "--trials", "5", "--wandb", str(path)]) == 0
    written = yaml.safe_load(path.read_text())
    assert written["method"] == "bayes"
    assert written["metric"] == {"name": "val/loss", "goal": "minimize"}
    assert written["parameters"] == {
        "optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2},
        "model.hidden": {"values": [4, 8]},
        "datamodule.n": {"distribution": "int_uniform", "min": 60, "max": 90},
    }
    assert written["command"][:3] == ["neurotwin", "train", "example/tones"]
    assert written["command"][-1] == "${args_no_hyphens}"
    assert main(["sweep", "example/tones", *typed, "seeds=0,1", "--trials", "5", "--wandb", str(path)]) == 2
    assert "W&B cannot average seeds" in capsys.readouterr().err


def test_a_database_that_goes_away_is_named(example, run_root, monkeypatch):
    database = run_root.parent / "sweep.db"
    typed = [*SHORT, "model.hidden=2,4"]
    result = neurotwin.sweep("example/tones", typed, trials=1, storage=f"sqlite:///{database}")
    whole, real = database.read_bytes(), Driver.run

    def lose(driver):
        database.write_bytes(bytes(8192))
        return real(driver)

    monkeypatch.setattr(Driver, "run", lose)
    with pytest.raises(NeurotwinError, match=r"is locked or gone|cannot be opened"):
        neurotwin.sweep(resume=result.folder, trials=2)
    monkeypatch.setattr(Driver, "run", real)
    database.write_bytes(whole)
    assert neurotwin.sweep(resume=result.folder, trials=2).counts()["finished"] == 2
