"""Forced shots of a trained circuit by Newton's method, all times at once, beside the compiled loop, in one run.

Shots begin at random samples of simulated trials that the model was not trained on. `converged` is the share of them
that Newton's method solves, each alone; iterations and times are of those, as one batch, forward and backward: single
thread, CPU time of the process, the least of the repeats.

    neurotwin train burghi2025/gtf
    python benchmarks/rmm_newton.py RUN [--output benchmarks/results/rmm_newton.json]
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from neurotwin import load_run
from neurotwin.datamodules.half_center import HalfCenterDataModule
from neurotwin.errors import NeurotwinError
from neurotwin.models.rmm_newton import solve
from neurotwin.provenance import cpu_name

RESULT = Path(__file__).parent / "results" / "rmm_newton.json"
SHOTS, REPEATS, SEED = 16, 3, 7
CASES = [(steps, forcing) for steps in (20, 100, 400) for forcing in (0.0, 0.02, 0.1, 0.2, 0.5)]


def shots(model, recordings, steps):
    """Inputs of `RMM.rollout` at random samples."""
    rng, parts = np.random.default_rng(SEED), []
    for recording in recordings:
        at = np.sort(rng.integers(70_000, len(recording.voltage) - steps - 1, SHOTS // len(recordings)))
        window = at[:, None] + np.arange(steps)
        voltage, current = (
            torch.from_numpy(x[window].astype(np.float32)) for x in (recording.voltage, recording.current)
        )
        parts.append((voltage[:, 0], model.warm_up(recording.voltage, at), current, voltage))
    return [torch.cat(found) for found in zip(*parts, strict=True)]


def milliseconds(run, inputs, forcing):
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        voltage, _ = run(*inputs, forcing)
        (voltage - inputs[3]).square().mean().backward()
        times.append(1e3 * (time.process_time() - started))
    return min(times), voltage.detach()


def measure(model, inputs, forcing):
    solved = []
    for shot in range(len(inputs[0])):
        try:
            solved.append((shot, solve(model, *(part[shot : shot + 1] for part in inputs), forcing).iterations))
        except NeurotwinError:
            continue
    row = {"converged": round(len(solved) / len(inputs[0]), 3)}
    if not solved:
        return row
    kept = [part[[shot for shot, _ in solved]] for part in inputs]
    newton, found = milliseconds(model.parallel_rollout, kept, forcing)
    loop, expected = milliseconds(model.rollout, kept, forcing)
    return row | {
        "iterations": [min(n for _, n in solved), max(n for _, n in solved)],
        "newton_ms": round(newton, 1),
        "loop_ms": round(loop, 2),
        "ratio": round(newton / loop, 1),
        "largest_difference_mv": float(f"{(found - expected).abs().max():.1e}"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="folder of a finished run of burghi2025/gtf")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = load_run(options.run).model
    data = HalfCenterDataModule(n_trials=2, folds=2, fold=1, seconds=30.0, data_seed=SEED)
    data.setup()
    rows = {}
    for steps, forcing in CASES:
        name = f"{steps} steps, forcing {forcing:g}"
        rows[name] = measure(model, shots(model, data.recordings, steps), forcing)
        print(name, rows[name], flush=True)
    about = {"what": __doc__.split("\n\n")[1].replace("\n", " "), "shots": SHOTS, "torch": torch.__version__}
    about |= {"device": cpu_name(), "threads": 1, "load_average": round(os.getloadavg()[0], 1)}
    options.output.write_text(json.dumps({"about": about, "cases": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
