"""Time the compiled loops of the nine-current neuron beside the same scheme in eager torch, in one run.

Single thread, CPU time of the process, the least of several repeats; neuron-milliseconds a CPU-second at 0.02 ms.
"gradient" is that of a scalar loss by all 70 parameters, the run itself included, in reverse mode; "Jacobian" is of the
voltage at every sample, by forward sensitivities.

    NUMBA_NUM_THREADS=1 python benchmarks/conductance.py [--output benchmarks/results/conductance.json]
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from neurotwin.biophysics.declaration import load_neuron
from neurotwin.biophysics.simulate import follow, simulate
from neurotwin.provenance import cpu_name

RESULT = Path(__file__).parent / "results" / "conductance.json"
DT_MS = 0.02


def inputs(neuron, batch, steps, dtype):
    rng = np.random.default_rng(0)
    theta = neuron.theta * rng.uniform(0.95, 1.05, (batch, len(neuron.theta)))
    current = 8 + 20 * np.sin(np.arange(steps + 1) * DT_MS / 3)
    return torch.tensor(theta, dtype=dtype), torch.tensor(current, dtype=dtype).expand(batch, -1)


def rate(run, batch, steps, repeats):
    run()  # compiles
    times = []
    for _ in range(repeats):
        started = time.process_time()
        run()
        times.append(time.process_time() - started)
    return round(batch * steps * DT_MS / min(times))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    neuron = load_neuron("hippocampal")
    rows = {}
    for name, batch, steps, dtype, backend, repeats in (
        ("compiled, float32, batch 4,096", 4096, 250, torch.float32, "compiled", 5),
        ("compiled, float32, batch 64", 64, 2500, torch.float32, "compiled", 5),
        ("compiled, float64, batch 4,096", 4096, 250, torch.float64, "compiled", 3),
        ("torch eager, float32, batch 4,096", 4096, 25, torch.float32, "plain", 2),
        ("torch eager, float32, batch 64", 64, 100, torch.float32, "plain", 2),
    ):
        theta, current = inputs(neuron, batch, steps, dtype)

        def forward(theta=theta, current=current, backend=backend):
            simulate(neuron, theta, current, DT_MS, -66.0, 1, backend)

        found = rate(forward, batch, steps, repeats)
        rows[name] = found
        print(f"{name}: {found:,}", flush=True)
    for name, batch, steps, dtype, backend, repeats in (
        ("gradient, compiled, float32, batch 4,096", 4096, 250, torch.float32, "compiled", 5),
        ("gradient, compiled, float32, batch 64", 64, 2500, torch.float32, "compiled", 3),
        ("gradient, compiled, float64, batch 4,096", 4096, 250, torch.float64, "compiled", 3),
        ("gradient, torch eager, float32, batch 64", 64, 50, torch.float32, "plain", 2),
    ):
        theta, current = inputs(neuron, batch, steps, dtype)

        def gradient(theta=theta, current=current, backend=backend):
            theta = theta.clone().requires_grad_()
            simulate(neuron, theta, current, DT_MS, -66.0, 1, backend).square().mean().backward()

        rows[name] = rate(gradient, batch, steps, repeats)
        print(f"{name}: {rows[name]:,}", flush=True)
    two = np.full(len(neuron.names), -1)
    two[[neuron.index["g_NaT"], neuron.index["g_K"]]] = (0, 1)
    current = 8 + 20 * np.sin(np.arange(10_001) * DT_MS / 3)
    for name, columns in (("2 parameters", two), ("all 70 parameters", np.arange(len(two)))):
        label = f"Jacobian by {name}, one neuron, float64"

        def jacobian(columns=columns):
            follow(neuron, neuron.theta, current, DT_MS, -66.0, columns=columns)

        rows[label] = rate(jacobian, 1, 10_000, 5)
        print(f"{label}: {rows[label]:,}", flush=True)
    about = {"torch": torch.__version__, "device": cpu_name(), "threads": 1, "unit": "neuron*ms per CPU-second"}
    about["load_average"] = round(os.getloadavg()[0], 1)
    options.output.write_text(json.dumps({"about": about, "rates": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
