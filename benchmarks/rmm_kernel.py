"""Time the compiled loop of the recurrent mechanistic model beside its straight port, in one run.

The port (``backend=plain``) is what a reader of the paper would write: a module a neuron and current, dense filter
matrices, a Python loop over time, autograd. Single thread, CPU time of the process, the least of several repeats;
shots x steps a second of both neurons together.

    python benchmarks/rmm_kernel.py [--output benchmarks/results/rmm_kernel.json]
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import torch
from neurotwin.models.rmm import RMM

RESULT = Path(__file__).parent / "results" / "rmm_kernel.json"
#: Shots, steps, forcing, whether the initial states are trained, repeats of the port.
CASES = {
    "64 shots x 1,000 steps": (64, 1000, 0.0, False, 2),
    "64 shots x 1,000 steps, forcing 0.05": (64, 1000, 0.05, False, 2),
    "8 shots x 1,000 steps": (8, 1000, 0.0, False, 2),
    "multiple shooting, 1,344 shots x 20 steps": (1344, 20, 0.0, True, 5),
    "teacher forcing, 3,200 shots x 20 steps": (3200, 20, 1.0, False, 3),
}


def seconds(model, backend, shots, steps, forcing, trained, repeats):
    torch.manual_seed(0)
    voltage = (-50 + 5 * torch.randn(shots, 2)).requires_grad_(trained)
    hidden = torch.zeros(shots, sum(model.hidden_sizes)).requires_grad_(trained)
    injected, teacher = 0.05 * torch.randn(shots, steps, 2), -50 + 5 * torch.randn(shots, steps, 2)
    forward, both = [], []
    for _ in range(repeats + (backend == "compiled")):  # the first compiled call may compile
        started = time.process_time()
        run = model.rollout(voltage, hidden, injected, teacher, forcing, backend)
        forward.append(time.process_time() - started)
        (run.voltage - teacher).square().mean().backward()
        both.append(time.process_time() - started)
    return min(forward), min(both)


def device():
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = RMM(2, 10_000.0, start="small")
    rows = {}
    for name, (shots, steps, forcing, trained, repeats) in CASES.items():
        case = shots, steps, forcing, trained
        times = {b: seconds(model, b, *case, n) for b, n in (("plain", repeats), ("compiled", 20))}
        fast, slow = times["compiled"], times["plain"]
        rows[name] = {
            "port_forward_ms": round(1e3 * slow[0], 1),
            "port_ms": round(1e3 * slow[1], 1),
            "forward_ms": round(1e3 * fast[0], 2),
            "ms": round(1e3 * fast[1], 2),
            "ratio": round(slow[1] / fast[1], 1),
            "million_steps_per_s": round(shots * steps / fast[1] / 1e6, 3),
        }
        print(name, rows[name])
    about = {"torch": torch.__version__, "device": device(), "threads": 1, "dtype": "float32"}
    about["load_average"] = round(os.getloadavg()[0], 1)  # other work on the machine
    about["what"] = "forward and backward, CPU time, least of repeats; 4,066 parameters, 114 states"
    options.output.write_text(json.dumps({"about": about, "cases": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
