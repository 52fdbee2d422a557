"""A SLURM of one machine for tests: munged, slurmctld and two slurmd on loopback ports, state in a temporary folder."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")

CONF = """
ClusterName=neurotwin
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17010
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
JobRequeue=1
KillWait=20
SchedulerParameters=requeue_delay=0
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs=2 RealMemory=4000
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""


def available() -> bool:
    """Whether the daemons are installed and may be started."""
    return os.geteuid() == 0 and all(shutil.which(name) for name in DAEMONS)


class SlurmMachine:
    """Starts the daemons; ``close`` stops those that it started."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.processes: list[subprocess.Popen] = []
        for name in ("state", "spool.n1", "spool.n2"):
            (folder / name).mkdir(parents=True)
        folder.chmod(0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        (folder / "slurm.conf").write_text(CONF.format(host=socket.gethostname(), folder=folder))
        os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
        files = ("socket", "pid", "log", "seed")
        places = [f"--{'seed' if n == 'seed' else n}-file={folder}/munge.{n}" for n in files if n != "socket"]
        self._start("munged", "-F", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket", *places)
        self._wait(lambda: (folder / "munge.socket").exists(), "munged")
        self._start("slurmctld", "-D", "-c")
        self._start("slurmd", "-D", "-N", "n1")
        self._start("slurmd", "-D", "-N", "n2")
        self._wait(lambda: self("sinfo", "-h", "-o", "%T").split().count("idle") >= 1, "idle nodes")

    def __call__(self, *command: str) -> str:
        """Output of a SLURM command."""
        return subprocess.run(command, capture_output=True, text=True).stdout

    def _start(self, *command: str) -> None:
        with (self.folder / "daemons.log").open("a") as log:
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _wait(self, condition, what: str) -> None:
        for _ in range(600):
            if condition():
                return
            time.sleep(0.1)
        raise RuntimeError(f"no {what} after 60 s:\n{(self.folder / 'daemons.log').read_text()[-3000:]}")

    def close(self) -> None:
        """Cancel what is left and stop the daemons."""
        self("scancel", "--user=root")
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:  # a loaded machine
                process.kill()
                process.wait()
        os.environ.pop("SLURM_CONF", None)
