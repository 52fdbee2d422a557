"""What somebody else wrote (an experiment, a run folder, an archive) runs nothing and is refused with one clear line.

Every payload would write the file ``mark``.
"""

import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from neurotwin import load_run, predict, runs
from neurotwin.cli import main
from neurotwin.config import compose, get_target, instantiate
from neurotwin.datamodules.chbmit_clips import CHBMITClipsDataModule
from neurotwin.datamodules.formats.bonn_text import find_bonn
from neurotwin.datamodules.formats.circuit_files import read_circuit
from neurotwin.datamodules.formats.timeseries import read_timeseries
from neurotwin.errors import ConfigError, DataError, NeurotwinError
from neurotwin.tasks.base import BaseTask

from datamodules import fixtures


class Payload:
    """Unpickling it writes the mark."""

    def __init__(self, mark):
        self.command = f"touch {mark}"

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def mark(tmp_path):
    """The file that no payload may write."""
    path = tmp_path / "mark"
    yield path
    assert not path.exists(), "the payload ran"


@pytest.fixture(scope="module")
def finished(example, tmp_path_factory):
    """A small finished run."""
    root = tmp_path_factory.mktemp("finished")
    assert main(["train", "example/tones", "trainer.max_epochs=1", "trainer.accelerator=cpu", f"runs_dir={root}"]) == 0
    return runs(root)[-1]


@pytest.fixture
def downloaded(finished, tmp_path):
    """A copy of the run, as somebody would send it, with the status that ``resume`` takes up."""
    import shutil

    folder = shutil.copytree(finished.path, tmp_path / "runs" / "a" / "b" / finished.path.name)
    run = load_run(folder)
    run.update(status="interrupted")
    return run


def test_the_payload_itself_works(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()


@pytest.mark.parametrize("verb", ["resume", "evaluate"])
@pytest.mark.parametrize("zipped", [True, False])
def test_checkpoint(verb, zipped, downloaded, mark, capsys):
    for name in ("best", "last"):
        state = {"state_dict": {}, "callbacks": Payload(mark)}
        torch.save(state, downloaded.path / "checkpoints" / f"{name}.ckpt", _use_new_zipfile_serialization=zipped)
    assert main([verb, str(downloaded.path)]) == 2
    assert "damaged, or no checkpoint" in capsys.readouterr().err


def test_model_of_an_opened_run(downloaded, mark):
    torch.save(Payload(mark), downloaded.checkpoint())
    with pytest.raises(NeurotwinError, match="damaged, or no checkpoint"):
        _ = downloaded.model


def test_pickles_that_lie_about_in_a_run_folder_are_not_opened(downloaded, mark, capsys):
    for name in ("run.pkl", "predictions/test.npz", "metrics.json", "checkpoints/hparams.pkl", "config.pickle"):
        (downloaded.path / name).write_bytes(pickle.dumps(Payload(mark)))
    assert main(["resume", str(downloaded.path)]) == 0
    assert main(["runs"]) == 0


@pytest.mark.parametrize(
    "line",
    [
        "model: !!python/object/apply:os.system ['touch MARK']",
        "model: {_target_: os.system, command: 'touch MARK'}",
        "model: {_target_: neurotwin_example.TinyNet, hidden: {_target_: os.system, command: 'touch MARK'}}",
        'optimizer: {_target_: builtins.eval, _args_: [\'open("MARK", "w")\']}',
        "callbacks: {x: {_target_: torch.os.system, _args_: ['touch MARK']}}",
        "task: \"${oc.decode:'{_target_: os.system, command: touch MARK}'}\"",
        'task: {_target_: neurotwin_example.Regression, x: "${oc.env:HOME}"}',
    ],
)
def test_configuration_of_a_run_folder(line, downloaded, mark, capsys):
    path = downloaded.path / "config.yaml"
    kept = [part for part in path.read_text().split("\n") if part]
    group = line.partition(":")[0]
    start = kept.index(f"{group}:") if f"{group}:" in kept else kept.index(f"{group}: {{}}")
    end = next((i for i in range(start + 1, len(kept)) if not kept[i].startswith(" ")), len(kept))
    kept[start:end] = [line.replace("MARK", str(mark))]
    path.write_text("\n".join(kept))
    for verb in (["resume"], ["evaluate"], ["predict", "--input", str(path), "--output", str(mark.parent / "out")]):
        assert main([verb[0], str(downloaded.path), *verb[1:]]) == 2
        assert "Traceback" not in capsys.readouterr().err


HUB = 'import pathlib\ndef entry(*a, **k):\n    pathlib.Path("{mark}").touch()\n'
TARGETS = {
    "os.system": {"_args_": ["touch {mark}"]},
    "builtins.eval": {"_args_": ["open('{mark}', 'w')"]},
    "builtins.exec": {"_args_": ["open('{mark}', 'w')"]},
    "subprocess.run": {"_args_": [["touch", "{mark}"]]},
    "functools.partial": {"_args_": ["touch {mark}"]},
    "pathlib.Path.touch": {"_args_": ["{mark}"]},
    "importlib.import_module": {"_args_": ["this"]},
    "torch.os.system": {"_args_": ["touch {mark}"]},
    "torch.serialization.os.system": {"_args_": ["touch {mark}"]},
    "neurotwin.provenance.subprocess.run": {"_args_": [["touch", "{mark}"]]},
    "neurotwin.run_folder.Path.touch": {"_args_": ["{mark}"]},
    "neurotwin.files.write_text": {"path": "{mark}", "text": "x"},
    "neurotwin.run_folder.claim": {"runs_dir": "{mark}", "experiment": "a/b", "seed": 0},
    "neurotwin.tables.update_readme": {"_args_": ["{mark}"]},
    "neurotwin.cli.main": {"_args_": [["train", "example/tones"]]},
    "torch.hub.load": {"repo_or_dir": "{folder}", "model": "entry", "source": "local"},
    "torch.hub._load_local": {"_args_": ["{folder}", "entry"]},
    "torch.load": {"f": "{pickle}", "weights_only": False},
    "torch.save": {"obj": 1, "f": "{mark}"},
    "torch.jit.load": {"f": "{pickle}"},
    "torch.package.PackageImporter": {"_args_": ["{pickle}"]},
    "torch.utils.cpp_extension.load": {"name": "x", "sources": ["{folder}/hubconf.py"]},
    "torch.nn.modules.module.torch.hub.load": {"repo_or_dir": "{folder}", "model": "entry", "source": "local"},
    "torch.nn.Module.__init__": {},
    "torch.nn.Module.__class__": {"_args_": ["X", [], {}]},
    "torch.utils.data.DataLoader": {"_args_": [[1]]},
    "torch_geometric.nn.Sequential": {"input_args": "x", "modules": []},
    "torch_geometric.template.module_from_template": {},
    "monai.bundle.ConfigParser": {"config": {"x": "$open('{mark}', 'w')"}},
    "monai.bundle.load": {"name": "x"},
    "monai.bundle.scripts.run_workflow": {},
    "monai.apps.download_and_extract": {"url": "file://{pickle}"},
    "monai.losses.PerceptualLoss": {"spatial_dims": 2},
    "lightning.pytorch.cli.LightningCLI": {},
    "lightning.LightningModule.load_from_checkpoint": {"checkpoint_path": "{pickle}"},
    "lightning.pytorch.utilities.migration.utils._pl_migrate_checkpoint": {},
}


def _filled(value, names):
    if isinstance(value, str):
        return value.format(**names)
    if isinstance(value, dict):
        return {key: _filled(item, names) for key, item in value.items()}
    return [_filled(item, names) for item in value] if isinstance(value, list) else value


@pytest.fixture
def experiment(tmp_path, monkeypatch, example):
    """Writes ``mine/row`` with one more line and makes it known."""
    folder = tmp_path / "mine" / "experiments" / "mine"
    folder.mkdir(parents=True)
    monkeypatch.setenv("NEUROTWIN_CONFIG_DIR", str(tmp_path / "mine"))
    groups = "".join(
        f"  - override /{g}: {n}\n" for g, n in (("datamodule", "tones"), ("model", "tiny"), ("task", "regression"))
    )

    def write(text):
        (folder / "row.yaml").write_text(f"# @package _global_\n# Mine\ndefaults:\n{groups}\n{text}\n")
        return "mine/row"

    return write


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("place", ["model", "callbacks", "nested"])
def test_target_of_an_experiment(target, place, experiment, mark, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hubconf.py").write_text(HUB.format(mark=mark))
    (tmp_path / "evil.pickle").write_bytes(pickle.dumps(Payload(mark)))
    names = {"mark": mark, "folder": tmp_path, "pickle": tmp_path / "evil.pickle"}
    node = {"_target_": target, **_filled(TARGETS[target], names)}
    text = {
        "model": {"model": node},
        "callbacks": {"callbacks": {"x": node}},
        "nested": {"model": {"hidden": [{"deep": node}]}},
    }[place]
    assert main(["check", experiment(json.dumps(text)[1:-1])]) == 2
    message = capsys.readouterr().err
    assert "row.yaml" in message
    assert f"_target_='{target}'" in message
    assert "Traceback" not in message
    with pytest.raises(ConfigError):
        instantiate(node)


@pytest.mark.parametrize(
    "target",
    [
        "lightning.pytorch.callbacks.EarlyStopping",
        "lightning.pytorch.strategies.DDPStrategy",
        "monai.networks.nets.UNet",
        "monai.transforms.RandFlip",
        "monai.losses.DiceLoss",
        "torch.optim.AdamW",
        "torch.optim.lr_scheduler.ReduceLROnPlateau",
        "torch.nn.ReLU",
        "torch_geometric.nn.SAGEConv",
        "torchmetrics.Accuracy",
        "neurotwin.loggers.tensorboard",
        "neurotwin.tasks.forcing.MultipleShooting",
    ],
)
def test_what_experiments_are_built_of_is_allowed(target):
    assert callable(get_target(target))


def test_the_list_is_extended_in_one_place(monkeypatch):
    with pytest.raises(ConfigError, match=r"NEUROTWIN_TRUST=collections\.Counter"):
        get_target("collections.Counter")
    monkeypatch.setenv("NEUROTWIN_TRUST", "collections.Counter, statistics")
    assert get_target("collections.Counter").__name__ == "Counter"
    assert get_target("statistics.mean")([1, 3]) == 2
    with pytest.raises(ConfigError):
        get_target("collections.OrderedDict")


def test_a_folder_of_experiments_is_no_package_to_trust(tmp_path, monkeypatch):
    (tmp_path / "os" / "configs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROTWIN_CONFIG_DIR", "os")
    with pytest.raises(ConfigError, match="outside the allowed packages"):
        get_target("os.system")


def test_a_part_of_the_wrong_kind(example, run_root, capsys):
    assert main(["check", "example/tones", "model._target_=torch.optim.SGD"]) == 2
    assert "model._target_='torch.optim.SGD' is no torch.nn.Module" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["seed: ${oc.env:HOME}", "model: {x: '${oc.env:AWS_SECRET,none}'}"])
def test_environment_variables_are_not_read(line, experiment, capsys):
    assert main(["show", experiment(line)]) == 2
    assert "a configuration may read NEUROTWIN_… and SLURM_… only" in capsys.readouterr().err


def test_variables_meant_for_a_configuration_are_read(example, monkeypatch):
    monkeypatch.setenv("NEUROTWIN_SEED", "7")
    assert compose("example/tones", ["seed=${oc.env:NEUROTWIN_SEED}"]).config["seed"] == 7


def test_a_configuration_may_not_leave_its_folder(example, tmp_path, capsys):
    (tmp_path / "evil.yaml").write_text("password: hunter2\n")
    inside = "../" * 30 + str(tmp_path / "evil")[1:]
    assert main(["show", "example/tones", f"model={inside}"]) == 2
    assert "may not leave its folder" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../../../etc", "a/../../b", "/etc/passwd", "paper", ""])
def test_names_that_would_leave_the_folder(name, run_root, capsys):
    assert main(["train", name]) == 2
    assert main(["resume", name]) == 2
    assert "Traceback" not in capsys.readouterr().err


def pickled_npz(path, mark, names):
    """An NPZ whose arrays are pickles."""
    array = np.empty(1, dtype=object)
    array[0] = Payload(mark)
    np.savez(path, **dict.fromkeys(names, array))
    return path


def test_npz_of_every_reader(tmp_path, mark):
    with pytest.raises(DataError):
        read_timeseries(pickled_npz(tmp_path / "a.npz", mark, ["timeseries"]))
    with pytest.raises(DataError):
        read_timeseries(pickled_npz(tmp_path / "names.npz", mark, ["names"]))
    with pytest.raises(DataError):
        read_circuit(pickled_npz(tmp_path / "b.npz", mark, ["V1", "I1"]), 1e4)
    with pytest.raises(DataError):
        find_bonn(pickled_npz(tmp_path / "bonn" / "c.npz", mark, "ZONFS").parent)
    (tmp_path / "d.npy").write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(DataError):
        read_timeseries(tmp_path / "d.npy")


@pytest.fixture(autouse=True)
def _bonn_folder(tmp_path):
    (tmp_path / "bonn").mkdir()


def test_npz_of_clips(tmp_path, mark):
    arguments = fixtures.make_chbmit_clips(tmp_path / "clips")
    for path in (tmp_path / "clips").glob("*.npz"):
        with np.load(path) as archive:
            names = archive.files
        pickled_npz(path, mark, names)
    datamodule = CHBMITClipsDataModule(**arguments)
    with pytest.raises(DataError):
        datamodule.setup("fit")


def test_members_of_an_archive_stay_inside(tmp_path):
    outside = tmp_path / "Z001.txt"
    with zipfile.ZipFile(tmp_path / "bonn" / "z.zip", "w") as archive:
        archive.writestr("../Z001.txt", "\n".join("1234567"))
        archive.writestr("../../../../../../tmp/neurotwin-traversal.txt", "1")
    for file in find_bonn(tmp_path / "bonn"):
        with pytest.raises(DataError):
            file.signal()
    assert not outside.exists()
    assert not Path("/tmp/neurotwin-traversal.txt").exists()


def test_a_markup_in_a_name_is_printed_as_it_is(capsys):
    from neurotwin.terminal import print_metrics

    print_metrics({"test/[red]x[/red]\x1b[2J": 1.0})
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert "\x1b" not in out


def test_predictions_of_a_run_folder_are_arrays_only(downloaded, mark):
    pickled_npz(downloaded.path / "predictions" / "test.npz", mark, ["window"])
    with pytest.raises(NeurotwinError, match=r"test\.npz: cannot be read"):
        _ = downloaded.predictions


def test_predict_names_a_task_that_cannot(downloaded, tmp_path, mark):
    (tmp_path / "x.edf").write_bytes(pickle.dumps(Payload(mark)))
    with pytest.raises(NeurotwinError):
        predict(downloaded, tmp_path / "x.edf", tmp_path / "out")
    assert issubclass(type(downloaded.task), BaseTask)
