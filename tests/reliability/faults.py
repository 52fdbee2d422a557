"""Faults that strike a run at a named point, in the process that is struck. Used by ``crash.py``."""

import contextlib
import multiprocessing
import os
import resource
import signal
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

import torch
from lightning import Callback

#: When a fault strikes. The first kind are steps of the trainer, the second files being written (half of the file, or
#: whole but not yet renamed).
STEPS = ("before the first step", "mid-step", "mid-validation", "between epochs", "in the test")
FILES = {
    "writing last.ckpt": ("last.ckpt", "half"),
    "renaming best.ckpt": ("best.ckpt", "whole"),
    "writing run.json": ("run.json", "half"),
    "writing metrics.csv": ("metrics.csv", "half"),
    "writing the predictions": ("test.npz", "half"),
    "renaming metrics.json": ("metrics.json", "whole"),
}
POINTS = (*STEPS, *FILES)
KINDS = ("SIGKILL", "SIGTERM", "SIGINT", "disk full", "file size limit", "out of memory", "read-only", "worker killed")
KINDS += ("clock back a day", "clock on a day")
#: Those that need several processes; struck by ``services.py``.
SERVICES = ("rank killed", "sweep worker killed", "sweep driver killed", "database locked", "database gone")


class Fault(Callback):
    """Strikes once, at a point.

    Args:
        point: One of :data:`POINTS`.
        kind: One of :data:`KINDS`.
        epoch: Epoch of the steps, and which writing of a file (from 0) is struck.
        batch: Batch of the steps.
        disk: Folder of the run's own file system, for faults of the disk.
    """

    def __init__(self, point, kind, epoch, batch, disk):
        self.point, self.kind, self.epoch, self.batch, self.disk = point, kind, epoch, batch, Path(disk)
        self.struck = self.writings = 0

    def arm(self):
        """Watch the files that are written; the steps come through the trainer's hooks."""
        from neurotwin import callbacks, engine, files

        real = files.replaced

        @contextlib.contextmanager
        def watched(path):
            with real(path) as file:
                wanted = self.point in FILES and path.name == FILES[self.point][0]
                # The first run.json is where a run begins: struck there, there is none yet.
                mine = wanted and self.writings == {"run.json": self.epoch + 1, "last.ckpt": self.epoch}.get(
                    path.name, 0
                )
                self.writings += wanted
                half = mine and FILES[self.point][1] == "half"
                yield _Half(file, self.strike) if half else file
                if mine:
                    file.flush()
                    self.strike()

        for module in (callbacks, engine, files):
            module.replaced = watched

    def on_train_start(self, trainer, *_):
        """Step."""
        self._at("before the first step")

    def on_before_backward(self, trainer, *_):
        """Step."""
        at = min(self.batch, trainer.num_training_batches - 1)
        if (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx) == (self.epoch, at):
            self._at("mid-step")

    def on_before_optimizer_step(self, trainer, pl_module, *_):
        """Step of a task that has no backward pass."""
        if not pl_module.automatic_optimization and trainer.current_epoch == self.epoch:
            self._at("mid-step")

    def on_validation_batch_end(self, trainer, *_):
        """Step."""
        if trainer.current_epoch >= self.epoch:  # not every epoch is validated
            self._at("mid-validation")

    def on_train_epoch_start(self, trainer, *_):
        """Step."""
        if trainer.current_epoch == self.epoch + 1:
            self._at("between epochs")

    def on_test_batch_end(self, *_):
        """Step."""
        self._at("in the test")

    def _at(self, point):
        if self.point == point:
            self.strike()

    def strike(self):
        """Do it, once."""
        if self.struck:
            return
        self.struck = 1
        print(f"struck: {self.kind} {self.point}", flush=True)
        if self.kind.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, self.kind))
        elif self.kind == "disk full":
            with contextlib.suppress(OSError), (self.disk / "filler").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 12))
        elif self.kind == "file size limit":
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))
        elif self.kind == "read-only":
            # A busy mount refuses to be made read-only while a draft is open, so only steps are struck by it.
            subprocess.run(["mount", "-o", "remount,ro", str(self.disk)], check=True)
        elif self.kind == "out of memory":
            used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
            torch.empty(1 << 30)
        elif self.kind == "worker killed":
            for child in multiprocessing.active_children()[:1]:
                os.kill(child.pid, signal.SIGKILL)
        elif self.kind.startswith("clock"):
            _turn_clock(-86400 if "back" in self.kind else 86400)


class _Half:
    """A file whose first large writing is struck in the middle."""

    def __init__(self, file, strike):
        self._file, self._strike = file, strike

    def write(self, data):
        half = len(data) // 2
        self._file.write(data[:half])
        self._file.flush()
        self._strike()
        return half + self._file.write(data[half:])

    def __getattr__(self, name):
        return getattr(self._file, name)


def _turn_clock(seconds):
    """What the process believes the time to be."""
    from neurotwin import provenance, run_folder

    real = time.time

    class Turned(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(real(), tz) + timedelta(seconds=seconds)

    time.time = lambda: real() + seconds
    run_folder.datetime = provenance.datetime = Turned
