"""Time the compiled loop of the recurrent mechanistic model beside its straight port, in one run.

The port (``backend=plain``) is what a reader of the paper would write: a module a neuron and current, dense filter
matrices, a Python loop over time, autograd. The peer is JAX, if it is installed: the same cell, all shots at once,
`lax.scan` under `jit` with the step checkpointed; its loss and gradient are held against ours before it is timed.
Single thread, CPU time of the process, the least of several repeats; shots x steps a second of both neurons together.

    python benchmarks/rmm_kernel.py [--output benchmarks/results/rmm_kernel.json]
"""

import argparse
import json
import os
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
import torch
from neurotwin.models.rmm import RMM
from neurotwin.provenance import cpu_name

RESULT = Path(__file__).parent / "results" / "rmm_kernel.json"
#: Shots, steps, forcing, whether the initial states are trained, repeats of the port.
CASES = {
    "64 shots x 1,000 steps": (64, 1000, 0.0, False, 2),
    "64 shots x 1,000 steps, forcing 0.05": (64, 1000, 0.05, False, 2),
    "8 shots x 1,000 steps": (8, 1000, 0.0, False, 2),
    "multiple shooting, 1,344 shots x 20 steps": (1344, 20, 0.0, True, 5),
    "teacher forcing, 3,200 shots x 20 steps": (3200, 20, 1.0, False, 3),
}


def inputs(model, shots, steps, trained):
    torch.manual_seed(0)
    voltage = (-50 + 5 * torch.randn(shots, 2)).requires_grad_(trained)
    hidden = torch.zeros(shots, sum(model.hidden_sizes)).requires_grad_(trained)
    return voltage, hidden, 0.05 * torch.randn(shots, steps, 2), -50 + 5 * torch.randn(shots, steps, 2)


def seconds(model, backend, shots, steps, forcing, trained, repeats):
    voltage, hidden, injected, teacher = inputs(model, shots, steps, trained)
    forward, both = [], []
    for _ in range(repeats + (backend == "compiled")):  # the first compiled call may compile
        started = time.process_time()
        run = model.rollout(voltage, hidden, injected, teacher, forcing, backend)
        forward.append(time.process_time() - started)
        (run.voltage - teacher).square().mean().backward()
        both.append(time.process_time() - started)
    return min(forward), min(both)


def jax_peer(model):
    """`(voltage, hidden, injected, teacher, forcing) -> gradient of all parameters` of a lumped circuit, jitted."""
    import jax
    import jax.numpy as jnp

    def array(tensor):
        return jnp.asarray(tensor.detach().numpy())

    wires = [(term.driver, term.target) for term in model.terms]
    dt, reference, sizes = model.dt_ms, array(model.reference_mv), model.hidden_sizes
    parameters = {
        "c": array(torch.nn.functional.softplus(model.inverse_capacitance)),
        "g": array(torch.nn.functional.softplus(model.leak)),
        "b": array(model.leak_bias),
        "nets": [[(array(w), None if b is None else array(b)) for w, b, _ in term.layers()] for term in model.terms],
    }
    dense = [[array(part) for part in term.bank.matrices()] for term in model.terms]

    def step(p, forcing, state, signals):
        v, xs = state
        injected, teacher = signals
        v = forcing * teacher + (1 - forcing) * v
        total = [0.0] * model.n_nodes
        for (_, target), x, net in zip(wires, xs, p["nets"], strict=True):
            y = jnp.concatenate([v[:, target, None], x], axis=1)
            for weight, bias in net[:-1]:
                y = jnp.tanh(y @ weight.T + bias)
            total[target] = total[target] + (y @ net[-1][0].T)[:, 0]
        out = v + dt * p["c"] * (injected - p["g"] * v - p["b"] - jnp.stack(total, axis=1))
        driven = [(v - reference)[:, driver, None] for driver, _ in wires]
        xs = [x + x @ a.T + u * b for x, u, (a, b) in zip(xs, driven, dense, strict=True)]
        return (out, xs), out

    def loss(p, voltage, hidden, injected, teacher, forcing):
        split = jnp.split(hidden, np.cumsum(sizes)[:-1].tolist(), axis=1)
        body = jax.checkpoint(lambda state, signals: step(p, forcing, state, signals))
        _, run = jax.lax.scan(body, (voltage, split), (injected.swapaxes(0, 1), teacher.swapaxes(0, 1)))
        return jnp.mean((run.swapaxes(0, 1) - teacher) ** 2)

    both = jax.jit(jax.value_and_grad(loss))
    with_states = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))

    def run(trained, *inputs):
        return jax.block_until_ready((with_states if trained else both)(parameters, *inputs))

    return run


def jax_seconds(run, model, shots, steps, forcing, trained, repeats=5):
    """CPU seconds forward and backward; the loss and the gradient of c are first held against ours."""
    tensors = inputs(model, shots, steps, trained)
    arrays = [tensor.detach().numpy() for tensor in tensors]
    model.zero_grad()
    ours = model.rollout(*tensors, forcing, "compiled")
    mean = (ours.voltage - tensors[3]).square().mean()
    mean.backward()
    value, gradient = run(trained, *arrays, forcing)
    theirs = np.asarray((gradient[0] if trained else gradient)["c"])
    slope = torch.sigmoid(model.inverse_capacitance.detach()).numpy()  # of the softplus in front of c
    np.testing.assert_allclose(float(value), mean.item(), rtol=1e-3)
    np.testing.assert_allclose(theirs * slope, model.inverse_capacitance.grad.numpy(), rtol=2e-2, atol=1e-6)
    times = []
    for _ in range(repeats):
        started = time.process_time()
        run(trained, *arrays, forcing)
        times.append(time.process_time() - started)
    return min(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = RMM(2, 10_000.0, start="small")
    peer = jax_peer(model) if find_spec("jax") else None
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
        if peer:
            theirs = jax_seconds(peer, model, *case)
            rows[name] |= {"jax_ms": round(1e3 * theirs, 1), "jax_ratio": round(theirs / fast[1], 2)}
        print(name, rows[name])
    about = {
        "torch": torch.__version__,
        "jax": version("jax") if peer else None,
        "device": cpu_name(),
        "threads": 1,
        "dtype": "float32",
    }
    about["load_average"] = round(os.getloadavg()[0], 1)  # other work on the machine
    about["what"] = "forward and backward, CPU time, least of repeats; 4,066 parameters, 114 states"
    options.output.write_text(json.dumps({"about": about, "cases": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
