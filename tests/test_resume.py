"""A killed run that is resumed ends exactly as one that was never stopped: weights, metrics.csv, metrics.json."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from neurotwin import load_run, runs
from neurotwin.cli import main

EPOCHS = 5
SETTINGS = [f"trainer.max_epochs={EPOCHS}", "trainer.accelerator=cpu", "model.dropout=0.3"]
# Kills the process at a given optimiser step of a given epoch, once.
KILLER = """
import os, signal, sys
from lightning import Callback
import neurotwin.callbacks as own
from neurotwin.cli import main

class Killer(own.Heartbeat):
    def on_train_batch_end(self, trainer, *rest):
        if (trainer.current_epoch, rest[-1]) == ({epoch}, {batch}):
            os.kill(os.getpid(), {signal})

own.Heartbeat = Killer
sys.exit(main(sys.argv[1:]))
"""


def finish(run_root, workers):
    assert main(["train", "example/tones", *SETTINGS, f"datamodule.num_workers={workers}"]) == 0
    return runs(run_root)[-1]


def assert_identical(one, other):
    weights, again = (torch.load(r.checkpoint("last"), weights_only=True)["state_dict"] for r in (one, other))
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    for name in ("metrics.csv", "metrics.json"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("sig", "epoch", "batch"), [("SIGKILL", 0, 1), ("SIGKILL", 2, 3), ("SIGTERM", 3, 0), ("SIGINT", 1, 2)]
)
def test_killed_and_resumed_run_is_bit_identical(example, run_root, sig, epoch, batch, workers):
    if workers and sig != "SIGKILL":
        pytest.skip("loader processes change nothing for the other signals")
    code = KILLER.format(epoch=epoch, batch=batch, signal=int(getattr(signal, sig)))
    arguments = ["train", "example/tones", *SETTINGS, f"datamodule.num_workers={workers}"]
    child = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120)
    assert child.returncode == {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}[sig]
    assert "Traceback" not in child.stderr
    broken = runs(run_root)[-1]
    assert broken.status == "interrupted"
    assert not (broken.path / "metrics.json").exists()
    assert main(["resume", broken.path.name]) == 0
    resumed = load_run(broken.path)
    assert resumed.status == "finished"
    assert resumed.record["resumed"] == 1
    assert_identical(resumed, finish(run_root, workers))


def test_early_stopped_run_killed_in_the_test_phase_does_not_train_on(example, run_root):
    settings = [
        "callbacks=early_stopping",
        "callbacks.early_stopping.patience=1",
        "optimizer.lr=0.5",
        "trainer.max_epochs=30",
    ]
    assert main(["train", "example/tones", *settings]) == 0
    run = runs(run_root)[-1]
    rows = (run.path / "metrics.csv").read_text().splitlines()
    assert len(rows) < 31, "the fit was meant to stop early"
    before = torch.load(run.checkpoint("last"), weights_only=True)["state_dict"]
    (run.path / "metrics.json").unlink()
    run.update(status="interrupted")
    assert main(["resume", str(run.path)]) == 0
    assert (run.path / "metrics.csv").read_text().splitlines() == rows
    after = torch.load(run.checkpoint("last"), weights_only=True)["state_dict"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_changed_data_are_refused(example, run_root, capsys):
    assert main(["train", "example/tones", "trainer.max_epochs=1"]) == 0
    run = runs(run_root)[-1]
    run.update(status="interrupted", data="0" * 16)
    assert main(["resume", str(run.path)]) == 2
    assert "the data changed since the run began" in capsys.readouterr().err


def test_finished_run_is_left_alone(example, run_root):
    assert main(["train", "example/tones", "trainer.max_epochs=1"]) == 0
    run = runs(run_root)[-1]
    before = json.loads((run.path / "run.json").read_text())
    assert main(["resume", str(run.path)]) == 0
    assert json.loads((run.path / "run.json").read_text()) == before


def test_running_run_is_listed_as_running_and_not_resumed(example, run_root, capsys):
    code = "import time, neurotwin.engine as e\ne.seed_everything = lambda *a, **k: time.sleep(0)\n"
    code += "from neurotwin.run_folder import Run, claim, new_record\n"
    code += (
        f"r = Run(claim({str(run_root)!r}, 'example/tones', 0)); r.update(**new_record('example/tones', 0, 'x', []))\n"
    )
    code += "print('up', flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "up\n"
        run = runs(run_root)[-1]
        assert run.status == "running"
        assert main(["resume", str(run.path)]) == 2
        assert f"is still running (process {child.pid})" in capsys.readouterr().err
    finally:
        child.kill()
        child.wait()
    assert load_run(run.path).status == "interrupted"


def test_stale_heartbeat_from_another_host_counts_as_interrupted(example, run_root):
    from neurotwin.run_folder import STALE_S, Run, claim, new_record

    run = Run(claim(run_root, "example/tones", 0))
    run.update(**{**new_record("example/tones", 0, "x", []), "process": {"host": "elsewhere", "pid": 1, "started": 1}})
    assert run.status == "running"
    old = time.time() - STALE_S - 1
    os.utime(run.path / "run.json", (old, old))
    assert run.status == "interrupted"
