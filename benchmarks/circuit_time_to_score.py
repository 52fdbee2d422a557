"""CPU seconds of training until a circuit model's free run reaches a validation score, by training method.

Trains each method as its experiment declares it, validates after every epoch, and leaves the seconds of validation out.
A score is that of free runs of 10 s on the validation parts; nothing is tested. One thread.

    python benchmarks/circuit_time_to_score.py [--seeds 0] [--output benchmarks/results/circuit_time_to_score.json]
"""

import argparse
import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

import torch
from lightning.pytorch import Callback
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from neurotwin.config import compose
from neurotwin.engine import launch
from neurotwin.provenance import cpu_name, git_state

RESULT = Path(__file__).parent / "results" / "circuit_time_to_score.json"
METRIC = "val/angular_separation"
SCORES = (0.5, 0.6, 0.7, 0.8, 0.85)
METHODS = {
    "TF, lumped": ("burghi2025/tf", []),
    "TF then MS 20 steps, lumped": ("burghi2025/ms", []),
    "TF then GTF 400 steps, lumped": ("burghi2025/gtf", []),
    "TF, Hammerstein": ("burghi2025/tf", ["model.synapse=hammerstein"]),
    "TF then GTF 400 steps, Hammerstein": ("burghi2025/gtf", ["model.synapse=hammerstein"]),
}


class TrainedError(Exception):
    """Ends a run before its test, which is not timed."""

    run_status = "trained"


class Clock(Callback):
    """CPU seconds of the process in training epochs, validation left out, and the score after each."""

    def __init__(self):
        self.spent, self.curve, self._since = 0.0, [], 0.0

    def on_train_epoch_start(self, trainer, task):
        """Start."""
        self._since = time.process_time()

    def on_validation_start(self, trainer, task):
        """Pause."""
        self.spent += time.process_time() - self._since

    def on_validation_end(self, trainer, task):
        """Note the score, go on."""
        self._since = time.process_time()
        if METRIC in trainer.callback_metrics and not trainer.sanity_checking:
            self.curve.append((round(self.spent, 1), round(float(trainer.callback_metrics[METRIC]), 4)))

    def on_train_epoch_end(self, trainer, task):
        """Stop."""
        self.spent += time.process_time() - self._since

    def on_fit_end(self, trainer, task):
        """End the run."""
        raise TrainedError


def train(experiment, overrides, seed):
    """Score and CPU seconds after every epoch of one training; simulating and filtering recordings is not in them."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(TrainedError):
        plain = [f"runs_dir={folder}", "trainer.check_val_every_n_epoch=1", "logger=none"]
        launch(compose(experiment, [*plain, *overrides, f"seed={seed}"]), callbacks=[clock])
    return {"training_cpu_s": round(clock.spent, 1), "curve": clock.curve}


def reached(curve):
    """Score to the CPU seconds after which it was first reached; ``None`` if never."""
    return {str(score): next((spent for spent, value in curve if value >= score), None) for score in SCORES}


def draw(path, methods):
    """Validation score against CPU seconds, a line a seed."""
    figure = Figure(figsize=(6.5, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for number, (name, seeds) in enumerate(methods.items()):
        for seed, one in enumerate(seeds.values()):
            x, y = zip(*one["curve"], strict=True)
            axis.plot(x, y, "o-", color=f"C{number}", ms=3, lw=1, label=name if seed == 0 else None)
    axis.set(xlabel="CPU seconds of training", ylabel="angular separation, validation, 10 s", ylim=(0, 1))
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    methods = {}
    for name, (experiment, overrides) in METHODS.items():
        methods[name] = {str(seed): train(experiment, overrides, seed) for seed in options.seeds}
        for one in methods[name].values():
            one["cpu_s_until"] = reached(one["curve"])
        print(name, json.dumps(methods[name]), flush=True)
        about = {"device": cpu_name(), "commit": (git_state() or {}).get("commit", "unknown")[:10]}
        about["load_average"] = round(os.getloadavg()[0], 1)
        options.output.write_text(json.dumps({"about": about, "methods": methods}, indent=2) + "\n")
    draw(options.output.with_suffix(".png"), methods)


if __name__ == "__main__":
    main()
