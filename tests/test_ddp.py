"""Two processes on the CPU: one run folder, one record, every test item once."""

import subprocess
import sys

import neurotwin as nt
import numpy as np
import torch
from conftest import neurotwin
from neurotwin import runs

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def torchrun(*command):
    """Two processes, as torchrun starts them."""
    return subprocess.run([*TORCHRUN, *map(str, command)], capture_output=True, text=True, timeout=300)


def test_two_processes_share_one_run_folder(example, run_root):
    settings = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=2"]
    done = neurotwin("train", "example/tones", *settings)
    assert done.returncode == 0, done.stderr
    (run,) = runs(run_root)
    assert run.status == "finished"
    with np.load(run.path / "predictions" / "test.npz") as rows:
        assert len(rows["window"]) == len(set(rows["window"])) == 24
    assert len((run.path / "metrics.csv").read_text().splitlines()) == 3


def test_two_processes_learn_what_one_does_with_twice_the_batch(example, run_root):
    # All 48 training items in a batch, so that the order in which two samplers deal them does not matter.
    settings = ["trainer.accelerator=cpu", "trainer.max_epochs=3", "model.dropout=0", "optimizer.lr=0.01"]
    done = neurotwin("train", "example/tones", "trainer=ddp", *settings, "datamodule.batch_size=24")
    assert done.returncode == 0, done.stderr
    (two,) = runs(run_root)
    one = nt.train("example/tones", [*settings, "datamodule.batch_size=48"])
    weights, again = (torch.load(r.checkpoint("last"), weights_only=True)["state_dict"] for r in (one, two))
    for name, value in weights.items():
        torch.testing.assert_close(again[name], value, rtol=1e-4, atol=1e-6)


def test_torchrun_trains_what_the_own_launcher_trains(example, run_root):
    settings = ["example/tones", "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=2"]
    done = torchrun("-m", "neurotwin.cli", "train", *settings)
    assert done.returncode == 0, done.stderr
    assert neurotwin("train", *settings).returncode == 0
    ours, own = runs(run_root)
    assert ours.status == own.status == "finished"
    assert ours.record["config_hash"] == own.record["config_hash"]
    one, other = (torch.load(run.checkpoint("last"), weights_only=True)["state_dict"] for run in (ours, own))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert (ours.path / "metrics.json").read_bytes() == (own.path / "metrics.json").read_bytes()
    assert done.stdout.count("test/mae") == 1, "one process speaks"


def test_an_interrupted_run_goes_on_under_torchrun(example, run_root):
    run = nt.train("example/tones", ["trainer.accelerator=cpu", "trainer.max_epochs=2"])
    config = run.path / "config.yaml"
    text = config.read_text().replace("max_epochs: 2", "max_epochs: 3")
    config.write_text(text.replace("devices: 1", "devices: 2\n  strategy: ddp"))
    run.update(status="interrupted")
    done = torchrun("-m", "neurotwin.cli", "resume", run.path)
    assert done.returncode == 0, done.stderr
    (run,) = runs(run_root)
    assert (run.status, len(run.history), run.record["resumed"]) == ("finished", 3, 1)


def test_a_launcher_that_disagrees_with_the_configuration(example, run_root):
    done = torchrun("-m", "neurotwin.cli", "train", "example/tones", "trainer.accelerator=cpu")
    assert done.returncode != 0
    assert "torchrun started 2 processes, but trainer.devices=1 on 1 node(s) are 1" in done.stderr
    assert not runs(run_root)


ONCE = """
import sys
from pathlib import Path
from neurotwin import ranks
from neurotwin.errors import DataError
ranks.join({"devices": 2})
once, seen = (Path(sys.argv[1]) / name for name in ("once", "seen"))
def prepare():
    with once.open("a") as file:
        file.write("x")
ranks.once_a_node(prepare)
assert once.read_text() == "x"
assert ranks.told(lambda: ranks.follower()) is False
try:
    ranks.once_a_node(lambda: (_ for _ in ()).throw(DataError("no data there")))
except Exception as error:
    (Path(sys.argv[1]) / f"error{int(ranks.follower())}").write_text(str(error))
"""


def test_data_are_prepared_once_a_node_and_a_failure_is_everybodys(tmp_path):
    (tmp_path / "once.py").write_text(ONCE)
    done = torchrun(tmp_path / "once.py", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "error0").read_text() == "no data there"
    assert (tmp_path / "error1").read_text() == "process 0 of this run failed (DataError: no data there)"
