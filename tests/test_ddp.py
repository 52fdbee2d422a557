"""Two processes on the CPU: one run folder, one record, every test item once."""

import numpy as np
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
