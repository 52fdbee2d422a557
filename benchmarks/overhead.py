"""What a training step costs through the shared loop, as a ratio to a bare PyTorch loop, in one process.

Both train the same network on the same batches with the same optimiser; runs alternate, so that a machine whose speed
drifts slows both; CPU time is compared, so that other processes do not count.
Run: ``python benchmarks/overhead.py``; writes ``benchmarks/results/overhead.json``.
"""

import json
import os
import tempfile
import time
from pathlib import Path

import lightning
import neurotwin.callbacks as own
import numpy as np
import torch
from neurotwin import engine
from neurotwin.config import compose, instantiate
from neurotwin.gates import build
from neurotwin.provenance import cpu_name
from neurotwin.run_log import quiet

STEPS, PAIRS = 60, 7
OVERRIDES = ["trainer.accelerator=cpu", "trainer.max_epochs=1", "datamodule.n_subjects=8", "scheduler=none"]
RESULT = Path(__file__).parent / "results" / "overhead.json"


class Stopwatch(lightning.Callback):
    """CPU seconds between the first and the last batch of an epoch."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        """Start at the first."""
        if batch_idx == 0:
            self.start = time.process_time()

    def on_train_epoch_end(self, trainer, module):
        """Stop."""
        self.seconds = time.process_time() - self.start


def repeat(loader, steps):
    """Exactly ``steps`` batches."""
    batches = list(loader)
    return [batches[i % len(batches)] for i in range(steps)]


def bare(pieces, batches):
    """Forward, loss, backward, step; nothing else."""
    optimizer = pieces.task._optimizer(pieces.model.parameters())
    pieces.model.train()
    start = time.process_time()
    for batch in batches:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(pieces.model(batch.signal), batch.target)
        loss.backward()
        optimizer.step()
    return time.process_time() - start


def shared(composed, pieces, batches, folder):
    """The engine's trainer with the callbacks that every run has."""
    state, watch = own.RunState(folder / "metrics.csv"), Stopwatch()
    used = [state, own.StopOnNonFinite(), own.Heartbeat(lambda: None), watch, own.LastCheckpoint(folder, state)]
    trainer = engine.make_trainer(composed, folder, used, logger=False)
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    trainer.fit(pieces.task, train_dataloaders=loader)
    return watch.seconds


def main():
    torch.set_num_threads(1)
    composed = compose("mallick2024/demo", OVERRIDES)
    datamodule = instantiate(composed.config["datamodule"])
    datamodule.setup("fit")
    batches = repeat(datamodule.train_dataloader(), STEPS)
    times = {"bare": [], "shared": []}
    for _ in range(PAIRS):
        for name in times:
            with quiet(), tempfile.TemporaryDirectory() as folder:
                pieces = build(composed, seed=lambda: torch.manual_seed(0), spec=datamodule.spec)
                arguments = (composed, pieces, batches, Path(folder)) if name == "shared" else (pieces, batches)
                times[name].append({"bare": bare, "shared": shared}[name](*arguments) / STEPS * 1000)
    ratios = np.array(times["shared"]) / np.array(times["bare"])
    result = {
        "what": "training step of the demo's seizure_net (batch 64, 19 channels, 512 samples), CPU ms",
        "device": cpu_name(),
        "threads": 1,
        "torch": torch.__version__,
        "bare_ms": {"median": float(np.median(times["bare"])), "min": min(times["bare"])},
        "shared_ms": {"median": float(np.median(times["shared"])), "min": min(times["shared"])},
        "ratio": {"median": float(np.median(ratios)), "min": float(ratios.min()), "max": float(ratios.max())},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
