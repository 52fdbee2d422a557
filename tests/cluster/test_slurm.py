"""Sweeps through submitit: on this machine everywhere, on a real SLURM where its daemons are installed."""

import subprocess
import sys
import time

import neurotwin
import pytest
import torch
from neurotwin.cli import main
from neurotwin.sweeps.results import SweepResult

START = "import sys; from neurotwin.cli import main; sys.exit(main(sys.argv[1:]))"
SETTINGS = ["trainer.accelerator=cpu", "model.dropout=0.3"]


def test_submitit_without_a_cluster(example, run_root):
    typed = ["trainer.max_epochs=1", *SETTINGS, "optimizer.lr=0.01,1e30"]
    result = neurotwin.sweep("example/tones", typed, backend="local", jobs=2)
    assert result.counts() == {"finished": 1, "pruned": 0, "failed": 1, "open": 0}
    assert "the loss is" in result.trials[1].error


def test_options_of_the_executor_are_checked(example, run_root, capsys):
    arguments = ["sweep", "example/tones", "seeds=0,1", "--backend", "local"]
    assert main([*arguments, "--slurm", "timeout"]) == 2
    assert "write key=value" in capsys.readouterr().err
    assert main([*arguments, "--slurm", "tiemout_min=3"]) == 2
    assert "tiemout_min" in capsys.readouterr().err


def wait_for(condition, driver, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        assert driver.poll() is None, driver.stderr.read()
        time.sleep(0.1)


@pytest.mark.cluster
def test_a_requeued_job_ends_as_if_it_had_never_been_stopped(example, run_root, slurm):
    settings = ["trainer.max_epochs=150", *SETTINGS, "seeds=7"]
    command = [sys.executable, "-c", START, "sweep", "example/tones", *settings, "--backend", "slurm"]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: any(len(run.history) > 20 for run in neurotwin.runs(run_root)), driver)
        (job,) = slurm("squeue", "-h", "-o", "%A").split()
        slurm("scontrol", "requeue", job)
        wait_for(lambda: "PENDING" in slurm("squeue", "-h", "-o", "%T"), driver)
        slurm("scontrol", "update", f"JobId={job}", "StartTime=now")  # SLURM holds a requeued job for two minutes
        assert driver.wait(240) == 0, driver.stderr.read() + slurm("squeue")
    finally:
        driver.kill()
    result = SweepResult(next(run_root.glob("sweeps/*")))
    assert result.counts()["finished"] == 1
    runs = result.trials[0].runs
    assert [run.path for run in neurotwin.runs(run_root)] == [run.path for run in runs], "one run folder"
    assert runs[0].record["resumed"] == 1
    whole = neurotwin.train("example/tones", [*settings[:-1], "seed=7", "figures=false"])
    one, other = (torch.load(run.checkpoint("last"), weights_only=True)["state_dict"] for run in (runs[0], whole))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in other)
    for name in ("metrics.csv", "metrics.json"):
        assert (runs[0].path / name).read_bytes() == (whole.path / name).read_bytes(), name


#: The nodes are one machine, whose name their resolver does not know.
MEET = {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
TWO_NODES = ["trainer=ddp", "trainer.devices=1", "+trainer.num_nodes=2", "trainer.accelerator=cpu"]


@pytest.mark.cluster
def test_srun_and_a_sweep_train_one_run_on_two_nodes(example, run_root, slurm, monkeypatch):
    for name, value in MEET.items():
        monkeypatch.setenv(name, value)
    settings = ["trainer.max_epochs=2", "datamodule.batch_size=8", *TWO_NODES]
    command = [sys.executable, "-c", START, "train", "example/tones", *settings]
    out = slurm("srun", "--nodes=2", "--ntasks-per-node=1", *command)
    (run,) = neurotwin.runs(run_root)
    assert run.status == "finished"
    assert out.count("test/mae") == 1, "one process speaks"
    assert run.history[-1]["step"] == 2 * 3, "each process had half of the 48 items"

    options = {"nodes": 2, "tasks_per_node": 1, "slurm_setup": [f"export {k}={v}" for k, v in MEET.items()]}
    result = neurotwin.sweep("example/tones", [*settings, "seeds=8"], backend="slurm", slurm=options)
    assert result.counts()["finished"] == 1
    assert len(neurotwin.runs(run_root)) == 2, "two processes, one folder"
    (swept,) = result.trials[0].runs
    assert swept.history[-1]["step"] == 2 * 3
