"""A study in PostgreSQL, with a server of the test's own: several drivers, one of them killed."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import neurotwin
import pytest
from neurotwin.sweeps.results import SweepResult

START = "import sys; from neurotwin.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """URL of a database; skipped where PostgreSQL or its driver is not installed."""
    pytest.importorskip("psycopg2", reason="no driver: pip install psycopg2-binary")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or os.geteuid() != 0 or not shutil.which("runuser"):
        pytest.skip("no PostgreSQL: as root, apt-get install postgresql")
    folder = Path("/tmp") / f"neurotwin-pg-{os.getpid()}"  # the server's own user must reach it
    folder.mkdir(mode=0o755)
    shutil.chown(folder, "postgres")

    def as_postgres(*command):
        subprocess.run(["runuser", "-u", "postgres", "--", *map(str, command)], check=True, stdout=subprocess.DEVNULL)

    as_postgres(folders[-1] / "initdb", "-D", folder / "data", "-A", "trust", "--no-sync")
    options = f"-p 54329 -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    as_postgres(folders[-1] / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log", "-o", options, "start")
    yield "postgresql+psycopg2://postgres@127.0.0.1:54329/postgres"
    as_postgres(folders[-1] / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.mark.cluster
def test_drivers_share_a_study_in_postgresql(example, run_root, server):
    typed = ["trainer.max_epochs=15", "trainer.accelerator=cpu", "optimizer.lr=log(1e-3,1e-1)", "seeds=0,1"]
    command = [sys.executable, "-c", START, "sweep"]
    search = ["--sampler", "tpe", "--trials", "4", "--pruner", "median", "--storage", server]
    first = subprocess.Popen([*command, "example/tones", *typed, *search])
    end = time.monotonic() + 120
    while not any(run.status == "finished" for run in neurotwin.runs(run_root)):
        assert time.monotonic() < end
        time.sleep(0.1)
    first.kill()
    first.wait()
    folder = next(run_root.glob("sweeps/*"))
    others = [subprocess.Popen([*command, "--resume", folder]) for _ in range(2)]
    assert [other.wait(240) for other in others] == [0, 0]
    result = SweepResult(folder)
    counts = result.counts()
    assert (counts["finished"] + counts["pruned"], counts["failed"], counts["open"]) == (4, 0, 0)
    assert not (folder / "journal.log").exists()
    hashes = [run.record["config_hash"] for run in neurotwin.runs(run_root)]
    assert len(hashes) == len(set(hashes)), "no run was begun twice"
