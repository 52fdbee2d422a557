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
PLATEAU = ["scheduler=plateau", "scheduler.patience=0", "objective.mode=max"]
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
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job inherits "ignore"
sys.exit(main(sys.argv[1:]))
"""


def finish(run_root, extra):
    assert main(["train", "example/tones", *SETTINGS, *extra]) == 0
    return runs(run_root)[-1]


def assert_identical(one, other):
    weights, again = (torch.load(r.checkpoint("last"), weights_only=True)["state_dict"] for r in (one, other))
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    for name in ("metrics.csv", "metrics.json"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes(), name


@pytest.mark.parametrize(
    ("sig", "epoch", "batch", "extra"),
    [
        ("SIGKILL", 0, 1, []),
        ("SIGKILL", 2, 3, ["datamodule.num_workers=2"]),
        ("SIGKILL", 3, 2, ["scheduler=one_cycle"]),
        ("SIGKILL", 3, 2, ["scheduler=one_cycle", "datamodule.num_workers=2"]),
        ("SIGKILL", 2, 0, PLATEAU),
        ("SIGKILL", 2, 0, ["scheduler=cosine", "trainer.accumulate_grad_batches=4"]),
        ("SIGTERM", 3, 0, []),
        ("SIGINT", 1, 2, ["trainer.check_val_every_n_epoch=2", "objective.metric=train/loss"]),
    ],
)
def test_killed_and_resumed_run_is_bit_identical(example, run_root, sig, epoch, batch, extra):
    code = KILLER.format(epoch=epoch, batch=batch, signal=int(getattr(signal, sig)))
    arguments = ["train", "example/tones", *SETTINGS, *extra]
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
    assert_identical(resumed, finish(run_root, extra))


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
    code += "from neurotwin.provenance import new_record\nfrom neurotwin.run_folder import Run, claim\n"
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
    from neurotwin.provenance import new_record
    from neurotwin.run_folder import STALE_S, Run, claim

    run = Run(claim(run_root, "example/tones", 0))
    run.update(**{**new_record("example/tones", 0, "x", []), "process": {"host": "elsewhere", "pid": 1, "started": 1}})
    assert run.status == "running"
    old = time.time() - STALE_S - 1
    os.utime(run.path / "run.json", (old, old))
    assert run.status == "interrupted"


def test_a_moved_run_keeps_its_best_checkpoint(example, run_root, tmp_path):
    # One epoch less than asked for, then moved: what was best must stay best though later epochs are worse.
    settings = ["trainer.max_epochs=4", "optimizer.lr=0.01"]
    assert main(["train", "example/tones", *settings]) == 0
    run = runs(run_root)[-1]
    moved = tmp_path / "elsewhere" / "a" / "b" / run.path.name
    moved.parent.mkdir(parents=True)
    run.path.rename(moved)
    config = (moved / "config.yaml").read_text()
    (moved / "config.yaml").write_text(config.replace("max_epochs: 4", "max_epochs: 5").replace("lr: 0.01", "lr: 10.0"))
    broken = load_run(moved)
    state = torch.load(moved / "checkpoints" / "last.ckpt", weights_only=True)
    state["optimizer_states"][0]["param_groups"][0]["lr"] = 10.0
    torch.save(state, moved / "checkpoints" / "last.ckpt")
    broken.update(status="interrupted")
    before = broken.record["objective"]["value"]
    assert main(["resume", str(moved)]) == 0
    assert load_run(moved).record["objective"]["value"] == pytest.approx(before)


def test_two_resumes_at_once_are_refused(example, run_root, capsys):
    from neurotwin.run_folder import locked

    assert main(["train", "example/tones", "trainer.max_epochs=1"]) == 0
    run = runs(run_root)[-1]
    run.update(status="interrupted")
    with locked(run.path):
        assert main(["resume", str(run.path)]) == 2
    assert "another process works on this run" in capsys.readouterr().err
    assert load_run(run.path).status == "interrupted"


def test_damaged_checkpoint_is_named(example, run_root, capsys):
    assert main(["train", "example/tones", "trainer.max_epochs=1"]) == 0
    run = runs(run_root)[-1]
    run.update(status="interrupted")
    (run.path / "checkpoints" / "last.ckpt").write_bytes(b"torn")
    assert main(["resume", str(run.path)]) == 2
    assert "last.ckpt: damaged, or no checkpoint" in capsys.readouterr().err
