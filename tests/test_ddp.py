"""Two processes on the CPU: one run folder, one record, every test item once."""

import neurotwin as nt
import numpy as np
import torch
from conftest import neurotwin
from neurotwin import runs


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
