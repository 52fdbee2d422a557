"""Every fault gives one message with file, key, value and the nearest valid choice, and no traceback."""

import pytest
from neurotwin.cli import main

FAULTS = {
    "sede=1": "command line: unknown key 'sede'; did you mean 'seed'?",
    "+foo=1": "unknown key 'foo'; choose from",
    "seed=abc": "seed: value 'abc' of type 'str' could not be converted to Integer",
    "threads=two": "threads: value 'two' of type 'str' could not be converted to Integer",
    "checkpoint=bst": "checkpoint='bst': did you mean 'best'?",
    "objective.mode=up": "objective.mode='up': choose from max, min",
    "objective.metrc=val/loss": "unknown key 'objective.metrc'; did you mean 'objective.metric'?",
    "objective.metric=val/los": "objective.metric='val/los' is not produced by Regression; did you mean 'val/loss'?",
    "datamodule=bon": "datamodule=bon: there is no such datamodule; did you mean 'bonn'?",
    "model=tny": "model=tny: there is no such model; did you mean 'tiny'?",
    "scheduler=cosin": "scheduler=cosin: there is no such scheduler; did you mean 'cosine'?",
    "trainer=gpus": "trainer=gpus: there is no such trainer; did you mean 'gpu'?",
    "logger=wandbb": "logger=wandbb: there is no such logger; did you mean 'wandb'?",
    "debug=fst": "debug=fst: there is no such debug; did you mean 'fast'?",
    "optimizer=none": "TinyNet is trained by gradient steps, but no optimizer is chosen",
    "optimizer.lr=abc": "optimizer.lr='abc': input should be a valid number",
    "optimizer.learning_rate=1": "optimizer.learning_rate is no argument of AdamW",
    "model.hiden=3": "model.hiden is no argument of TinyNet; did you mean 'hidden'?",
    "model.hidden=abc": "model.hidden='abc': input should be a valid integer",
    "model.hidden=1.5": "model.hidden=1.5: input should be a valid integer",
    "model.n_times=12": "model.n_times=12 contradicts the data, where it is 64 (",
    "model.hidden=${nope}": "Interpolation key 'nope' not found full_key: model.hidden",
    "model._target_=os.system": "model._target_='os.system' is outside the allowed packages",
    "model._target_=neurotwin_example.TinyNett": "cannot be imported; did you mean 'neurotwin_example.TinyNet'?",
    "model._target_=monai.networks.nets.UNett": "monai",
    "datamodule.fold=9": "command line: datamodule.fold=9 is out of range: folds=4, choose 0 to 3",
    "datamodule.folds=1": "datamodule.folds=1: a split needs at least 2 folds",
    "datamodule.batch_size=0": "datamodule.batch_size=0: must be at least 1",
    "trainer.max_epoch=3": "trainer.max_epoch is no argument of Trainer; did you mean 'max_epochs'?",
    "trainer.accelerator=gpux": "trainer.accelerator='gpux': did you mean 'gpu'?",
    "trainer.strategy=ddpp": "strategy='ddpp'",
    "trainer.profiler=simpel": "it can only be one of ['simple'",
    "trainer.callbacks=3": "trainer.callbacks is set by neurotwin; remove it",
    "trainer.limit_val_batches=0": "objective.metric='val/loss', but nothing is validated",
    "optimizer.lr=-1": "'optimizer.lr=-1' on the command line: optimizer cannot be built: Invalid learning rate: -1",
    "model=rmm": "RMM needs n_nodes, sampling_rate_hz of the data, which Tones does not give (it gives n_channels, ",
    "task=circuit": "needs voltages of a circuit, which Tones has not",
    "callbacks.x=3": "callbacks.x=3 names no _target_",
    "callbacks.x._target_=lightning.pytorch.callbacks.StochasticWeightAveraging": "use EMAWeightAveraging",
    "objective.metric=test/loss": "objective.metric='test/loss' is not produced by Regression",
    "experiments=mallick2024/demo": "'experiments' cannot be overridden",
    "hydra.searchpath=[x]": "'hydra.searchpath' cannot be overridden",
    "seed=-1": "seed=-1: must lie between 0 and 4294967295",
    "threads=0": "threads=0: must lie between 1 and 4096",
    "model.hidden=true": "should be an integer, got True",
    "model.hidden=1e1": "should be an integer, got 10.0",
    "model=null": "Config group override must be a string or a list",
    "=3": "command line",
    "model._target_=neurotwin.models": "is no class or function",
    "trainer.accelerator=tpu": "this machine has none; choose trainer=cpu",
    "seed=[1": "no viable alternative at input '[1'",
    "seed=1,2": "for a sweep add -m, for a list write key=[a,b]",
    "hello": "'hello' is no override: write key=value",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_on_the_command_line(fault, example, run_root, capsys):
    assert main(["train", "example/tones", fault]) == 2
    message = capsys.readouterr().err
    assert FAULTS[fault] in message
    assert "Traceback" not in message
    assert len(message.strip().splitlines()) <= 4
    assert not list(run_root.glob("*/*/*")), "a fault before the first epoch must leave no run folder"


def test_code_of_ones_own_that_python_does_not_find(example, run_root, monkeypatch, capsys):
    monkeypatch.setenv("NEUROTWIN_TRUST", "my_lab")
    assert main(["check", "example/tones", "model._target_=my_lab.models.Net"]) == 2
    assert "needs 'my_lab', which is not installed: install it, or set PYTHONPATH to the" in capsys.readouterr().err


YAML_FAULTS = {
    "sede: 1": "experiments/mine/row.yaml: unknown key 'sede'; did you mean 'seed'?",
    "seed: abc": "experiments/mine/row.yaml: seed: value 'abc' of type 'str' could not be converted to Integer",
    "model: {hiden: 3}": "row.yaml: model.hiden is no argument of TinyNet; did you mean 'hidden'?",
    "trainer: {max_epoch: 3}": "row.yaml: trainer.max_epoch is no argument of Trainer; did you mean 'max_epochs'?",
    "seed:\t1": "a YAML file cannot be read",
    "objective: {metric: val/acc}": "row.yaml: objective.metric='val/acc' is not produced by Regression",
}


@pytest.mark.parametrize("fault", YAML_FAULTS)
def test_fault_in_a_file(fault, example, run_root, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "mine" / "experiments" / "mine"
    folder.mkdir(parents=True)
    groups = "\n".join(
        f"  - override /{g}: {n}" for g, n in (("datamodule", "tones"), ("model", "tiny"), ("task", "regression"))
    )
    (folder / "row.yaml").write_text(f"# @package _global_\n# Mine\ndefaults:\n{groups}\n{fault}\n")
    monkeypatch.setenv("NEUROTWIN_CONFIG_DIR", str(tmp_path / "mine"))
    assert main(["check", "mine/row"]) == 2
    message = capsys.readouterr().err
    assert YAML_FAULTS[fault] in message
    assert "Traceback" not in message


def test_experiment_without_package_line(example, run_root, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "mine" / "experiments" / "mine"
    folder.mkdir(parents=True)
    (folder / "row.yaml").write_text("defaults:\n  - override /model: tiny\n")
    monkeypatch.setenv("NEUROTWIN_CONFIG_DIR", str(tmp_path / "mine"))
    assert main(["check", "mine/row"]) == 2
    assert "row.yaml: an experiment's first line must be '# @package _global_'" in capsys.readouterr().err


def test_all_faults_in_one_message(example, run_root, capsys):
    assert main(["check", "example/tones", "model.hiden=3", "trainer.max_epoch=3", "optimizer.lrr=1"]) == 2
    message = capsys.readouterr().err
    assert all(key in message for key in ("model.hiden", "trainer.max_epoch", "optimizer.lrr"))


def test_unknown_experiment_run_and_kind(example, run_root, capsys):
    assert main(["train", "exmple/tones"]) == 2
    assert "unknown experiment 'exmple/tones': did you mean 'example/tones'?" in capsys.readouterr().err
    assert main(["resume", "nope"]) == 2
    assert "no run 'nope': there is none to choose from" in capsys.readouterr().err
    assert main(["list", "modle"]) == 2
    assert "unknown kind 'modle': did you mean 'model'?" in capsys.readouterr().err


def test_multirun_checks_every_job_before_any_starts(example, run_root, capsys):
    assert main(["train", "example/tones", "-m", "model.hidden=4,x"]) == 2
    assert "model.hidden='x'" in capsys.readouterr().err
    assert not run_root.exists()


def test_traceback_on_request(example, run_root, capsys):
    assert main(["check", "example/tones", "sede=1", "--traceback"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_check_passes(example, run_root, capsys):
    assert main(["check", "example/tones"]) == 0
    assert "all gates passed" in capsys.readouterr().out


def test_show_names_the_file_of_each_value(example, run_root, capsys):
    assert main(["show", "example/tones", "model.hidden=8"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert lines["model.hidden"].endswith("# command line")
    assert lines["trainer.max_epochs"].endswith("/experiments/example/tones.yaml")
    assert lines["trainer.precision"].endswith("# configs/trainer/default.yaml")
    assert lines["datamodule.n"].endswith("/configs/datamodule/tones.yaml")
    assert lines["seed"].endswith("# configs/train.yaml")


def test_a_plugin_that_is_gone_is_left_out(example, run_root, tmp_path, monkeypatch, capsys):
    gone = tmp_path / "site" / "gone-0.1.dist-info"
    gone.mkdir(parents=True)
    (gone / "METADATA").write_text("Metadata-Version: 2.1\nName: gone\nVersion: 0.1\n")
    (gone / "entry_points.txt").write_text("[neurotwin.plugins]\ngone = gone_package\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert main(["check", "example/tones"]) == 0


@pytest.mark.parametrize("value", ["a b", "null", "1e3", "C:\\x", "it's", "ü", "a,b", ""])
def test_strings_of_the_python_api_arrive_unchanged(value, example, run_root):
    from neurotwin.config import compose

    assert compose("example/tones", {"model.note": value}).config["model"]["note"] == value


def test_missing_data_say_where_they_are_published_and_how_they_must_lie(run_root, tmp_path, capsys):
    assert main(["check", "mallick2024/bonn_baseline", f"data_root={tmp_path}/nowhere"]) == 2
    message = capsys.readouterr().err
    assert f"no data at {tmp_path}/nowhere/eeg/bonn" in message
    for part in (
        "Andrzejak et al. 2001",
        "https://",
        "Z/Z001.txt",
        "set NEUROTWIN_DATA or pass datamodule.root=FOLDER",
    ):
        assert part in message
    assert "Traceback" not in message
