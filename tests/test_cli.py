"""Light verbs stay light; every verb is a function; runs train, evaluate and multirun from the command line."""

import json
import subprocess
import sys

import neurotwin
from neurotwin.cli import main

HEAVY = {"torch", "lightning", "pandas", "sklearn", "mne", "matplotlib", "hydra", "numba", "scipy"}


def test_light_verbs_import_nothing_heavy(tmp_path):
    code = (
        "import sys; from neurotwin.cli import main\n"
        "for verb in (['--version'], ['list'], ['list', 'model'], ['runs']): assert main(verb) == 0\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        f"heavy = {HEAVY!r} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, stdout=subprocess.DEVNULL)


def test_list_prints_name_and_description(example, capsys):
    assert main(["list"]) == 0
    assert "example/tones" in capsys.readouterr().out
    assert main(["list", "model", "--json"]) == 0
    entries = {entry["name"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert entries["tiny"]["description"] == "Two dense layers"
    assert entries["tiny"]["source"] == "neurotwin_example"


def test_train_evaluate_and_load(example, run_root, capsys):
    run = neurotwin.train("example/tones", {"trainer.max_epochs": 2, "model.hidden": 4})
    assert run.status == "finished"
    assert set(run.metrics) == {"test/loss", "test/mae"}
    assert run.config["model"]["hidden"] == 4
    assert (run.path / "predictions" / "test.npz").exists()
    assert run.model.training is False
    assert neurotwin.evaluate(run.path) == run.metrics
    assert main(["evaluate", run.path.name, "--split", "val"]) == 0
    assert "test/mae" in capsys.readouterr().out
    assert main(["evaluate", run.path.name, "--split", "tset"]) == 2
    assert "choose from train, val, test" in capsys.readouterr().err


def test_debug_runs_two_batches(example, run_root):
    run = neurotwin.train("example/tones", debug=True)
    assert (run.path / "metrics.csv").read_text().splitlines()[1].startswith("0,2,")


def test_multirun_trains_every_combination_and_survives_a_failing_job(example, run_root, capsys):
    arguments = ["train", "example/tones", "trainer.max_epochs=1", "-m", "seed=0,1", "optimizer.lr=0.01,1e30"]
    assert main(arguments) == 1
    assert sorted(run.status for run in neurotwin.runs(run_root)) == ["failed", "failed", "finished", "finished"]
    failed = next(run for run in neurotwin.runs(run_root) if run.status == "failed")
    assert "the loss is" in failed.record["error"]


def test_same_seed_same_numbers_other_seed_other_numbers(example, run_root):
    settings = {"trainer.max_epochs": 2}
    one, two, other = (neurotwin.train("example/tones", {**settings, "seed": seed}) for seed in (0, 0, 1))
    assert one.metrics == two.metrics
    assert one.metrics != other.metrics


def test_overfit_and_profile(example, run_root):
    run = neurotwin.train("example/tones", ["debug=overfit", "model.dropout=0"])
    losses = [float(line.split(",")[3]) for line in (run.path / "metrics.csv").read_text().splitlines()[1:]]
    assert losses[-1] < 0.05 * losses[0]
    assert neurotwin.train("example/tones", ["debug=profile"]).status == "finished"


def test_tensorboard_and_offline_wandb(example, run_root, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = neurotwin.train("example/tones", ["logger=tensorboard", "trainer.max_epochs=1"])
    assert list((run.path / "tensorboard").glob("events.*"))
    runs = [neurotwin.train("example/tones", ["logger=wandb", "trainer.max_epochs=1"]) for _ in range(2)]
    written = [folder.name for folder in (run_root / "example/tones/wandb").glob("offline-run-*")]
    assert sorted(name[len("offline-run-yyyymmdd_hhmmss-") :] for name in written) == sorted(
        run.path.name for run in runs
    )


def test_a_wandb_run_of_the_caller_stays_open(example, run_root, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", dir=run_root.parent) as own:
        neurotwin.train("example/tones", ["logger=wandb", "trainer.max_epochs=1"])
        assert wandb.run is own


def test_compiled_model_is_saved_under_its_own_names(example, run_root):
    run = neurotwin.train("example/tones", ["compile=true", "trainer.max_epochs=1"])
    assert run.status == "finished"
    assert list(run.model.state_dict()) == ["1.weight", "1.bias", "4.weight", "4.bias"]
