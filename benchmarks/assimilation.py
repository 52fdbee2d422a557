"""Our recursion beside all-at-once collocation by casadi and IPOPT (MUMPS), on the same recording in the same boxes.

Collocation: compressed Hermite-Simpson on every interval, states, nudging u and parameters as unknowns, cost
``mean((V - V_obs)² + u²)`` and bounds as in Taylor et al. 2020 (pyDSI); start: V from the data, gates 0.5, u 0. Both
start from the same random parameters and are compared by CPU time and by what counts: the mean squared error of the
free run of the found parameters over the fitted window (the noise variance is 0.0625 mV²), and the error of parameters.
Needs the extra ``peers``.

    python benchmarks/assimilation.py [--nine-iterations 3] [--output benchmarks/results/assimilation.json]
"""

import argparse
import json
import os
import time
from pathlib import Path

import casadi as ca
import numpy as np
import torch
from neurotwin.biophysics.conductance import CALCIUM_FIXED_UM, CALCIUM_OUTSIDE_UM, CALCIUM_SHIFT_UM, GHK_MV
from neurotwin.biophysics.simulate import follow
from neurotwin.config import compose, instantiate
from neurotwin.tasks.assimilation import Assimilation
from neurotwin.tasks.levenberg import LevenbergMarquardt
from rmm_kernel import device

RESULT = Path(__file__).parent / "results" / "assimilation.json"


def rhs(neuron, state, theta, injected, u, observed):
    """:meth:`Neuron.rhs` with nudging, in casadi's symbols."""
    at = {name: theta[k] for k, name in enumerate(neuron.names)}
    v = state[0]
    gates = {name: state[1 + k] for k, name in enumerate(neuron.gates)}
    calcium = state[len(gates) + 1] if neuron.has_pool else CALCIUM_FIXED_UM
    total, inward = injected / at["area"], 0
    for current in neuron.currents:
        g = at[f"g_{current.name}"]
        for gate, power in current.gates.items():
            g = g * gates[gate] ** power
        if current.calcium:
            g = g * calcium**2 / (calcium**2 + at[f"{current.name}_calcium"] ** 2)
        if current.reversal == "ghk":
            y = v / (2 * GHK_MV) + 1e-9
            c = y / ca.tanh(y)
            g = g * 0.01 * (calcium * (c + y) - CALCIUM_OUTSIDE_UM * (c - y))
            inward += g
        else:
            g = g * (v - at[f"E_{current.reversal}"])
        total = total - g
    rows = [total / at["capacitance"] + u * (observed - v)]
    for gate, x in gates.items():
        half = at[f"{gate}_half"]
        if gate in neuron.shifted:
            half = half - at[f"{gate}_shift"] * ca.log(calcium / CALCIUM_SHIFT_UM)
        steady = 0.5 * (1 + ca.tanh((v - half) / at[f"{gate}_width"]))
        bell = 1 - ca.tanh((v - half) / at[f"{gate}_tau_width"]) ** 2
        rows.append(
            (steady - x) * neuron.speeds.get(gate, 1) / (at[f"{gate}_tau_min"] + at[f"{gate}_tau_range"] * bell)
        )
    if neuron.has_pool:
        rows.append(-at["calcium_gain"] * inward - (calcium - at["calcium_rest"]) / at["calcium_tau"])
    return ca.vertcat(*rows)


def collocation(neuron, free, observed, injected, dt, iterations):
    """The solver, its starting point and bounds for start parameters."""
    n, states = len(observed), len(neuron.state_names)
    x, i, u, o, p = ca.SX.sym("x", states), ca.SX.sym("i"), ca.SX.sym("u"), ca.SX.sym("o"), ca.SX.sym("p", len(free))
    theta = ca.SX(neuron.theta)
    theta[free] = p
    f = ca.Function("f", [x, i, u, o, p], [rhs(neuron, x, theta, i, u, o)])
    x2, i2, u2, o2 = ca.SX.sym("x2", states), ca.SX.sym("i2"), ca.SX.sym("u2"), ca.SX.sym("o2")
    first, last = f(x, i, u, o, p), f(x2, i2, u2, o2, p)
    middle = (x + x2) / 2 + dt / 8 * (first - last)
    between = f(middle, (i + i2) / 2, (u + u2) / 2, (o + o2) / 2, p)
    defect = ca.Function("d", [x, x2, i, i2, u, u2, o, o2, p], [x2 - x - dt / 6 * (first + 4 * between + last)])
    xs, us, ps = ca.MX.sym("xs", states, n), ca.MX.sym("us", 1, n), ca.MX.sym("ps", len(free))
    data = (injected[None, :], observed[None, :])
    g = defect.map(n - 1)(
        xs[:, :-1], xs[:, 1:], data[0][:, :-1], data[0][:, 1:], us[:, :-1], us[:, 1:], data[1][:, :-1], data[1][:, 1:],
        ca.repmat(ps, 1, n - 1),
    )  # fmt: skip
    cost = ca.sumsqr(xs[0, :] - data[1]) / n + ca.sumsqr(us) / n
    problem = {"x": ca.veccat(xs, us, ps), "f": cost, "g": ca.vec(g)}
    settings = {
        "ipopt.max_iter": iterations,
        "ipopt.tol": 1e-6,
        "ipopt.mu_strategy": "adaptive",
        "ipopt.print_level": 0,
    }
    solver = ca.nlpsol("s", "ipopt", problem, {**settings, "print_time": False})
    low = np.tile([-150.0, *[-0.01] * len(neuron.gates), *([1e-3] if neuron.has_pool else [])], n)
    high = np.tile([50.0, *[1.0] * len(neuron.gates), *([100.0] if neuron.has_pool else [])], n)
    low, high = np.r_[low, np.full(n, -0.01), neuron.lower[free]], np.r_[high, np.ones(n), neuron.upper[free]]
    state = np.full((n, states), 0.5)
    state[:, 0] = observed
    return solver, low, high, np.r_[state.ravel(), np.zeros(n)]


def free_error(neuron, theta, current, voltage, lead, dt):
    gain = np.zeros(len(voltage))
    gain[: lead + 1] = np.inf
    run = follow(neuron, theta, current, dt, float(voltage[:50].mean()), voltage, gain)
    return float(np.mean((run.voltage[lead:] - voltage[lead:]) ** 2))


def summary(neuron, theta, truth, free, seconds, error, **more):
    relative = np.abs(theta[free] / truth[free] - 1)
    return {
        "cpu_s": round(seconds, 2),
        "free_run_mse_mv2": round(error, 4),
        "parameter_error_median": round(float(np.median(relative)), 4),
        "parameter_error_worst": round(float(relative.max()), 4),
        **more,
    }


def compare(experiment, starts, iterations, fit_ms, peer_starts):
    composed = compose(experiment, [f"model.n_starts={starts}", f"datamodule.fit_ms={fit_ms}"])
    data = instantiate(composed.config["datamodule"])
    data.setup("fit")
    torch.manual_seed(0)
    model = instantiate(composed.config["model"], sampling_rate_hz=50_000.0, conditions=("control",))
    neuron, free = model.neuron, model.positions.tolist()
    batch = next(iter(data.train_dataloader()))
    truth = data.recordings[0].truth["theta"]
    voltage, current, lead = batch.voltage[0].numpy(), batch.current[0].numpy(), int(batch.lead[0])
    begin = [model.theta(k) for k in range(starts)]
    task = Assimilation(model, optimizer=LevenbergMarquardt, objective=None)
    optimiser = task.configure_optimizers()
    task._normal(batch, np.zeros(voltage.size - lead), optimiser.active)  # compiles
    started, evaluations = time.process_time(), 0
    for number in range(5):
        optimiser.restart()
        gain = task.recursion.gain(number, voltage.size - lead)
        for _ in range(100):
            if optimiser.active.any():
                evaluations += int(optimiser.active.sum())
                optimiser.step(lambda g=gain: task._normal(batch, g, optimiser.active))
    each = (time.process_time() - started) / starts
    found = {"nodes": voltage.size - lead, "unknown_parameters": len(free), "ours": [], "ipopt": []}
    for k in range(starts):
        theta = model.theta(k)
        error = free_error(neuron, theta, current, voltage, lead, model.dt_ms)
        found["ours"].append(summary(neuron, theta, truth, free, each, error, iterations=round(evaluations / starts)))
    if peer_starts:
        solver, low, high, point = collocation(neuron, free, voltage[lead:], current[lead:], model.dt_ms, iterations)
    for k in range(peer_starts):
        started = time.process_time()
        solution = solver(x0=np.r_[point, begin[k][free]], lbx=low, ubx=high, lbg=0, ubg=0)
        seconds = time.process_time() - started
        theta = neuron.theta.copy()
        theta[free] = np.ravel(solution["x"])[-len(free) :]
        error = free_error(neuron, theta, current, voltage, lead, model.dt_ms)
        stats = solver.stats()
        more = {"iterations": stats["iter_count"], "status": stats["return_status"]}
        more["collocation_objective"] = round(float(solution["f"]), 4)
        found["ipopt"].append(summary(neuron, theta, truth, free, seconds, error, **more))
        print(experiment, "ipopt", found["ipopt"][-1], flush=True)
    print(experiment, "ours", found["ours"][: max(2, peer_starts)], flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--starts", type=int, default=2)
    parser.add_argument("--nine-iterations", type=int, default=3, help="of IPOPT on the nine currents, to time one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = {"NaKL, 100 ms": compare("wells2025/nakl", options.starts, 1000, 100.0, options.starts)}
    rows["nine currents, 200 ms, IPOPT stopped early"] = compare(
        "wells2025/nine", options.starts, options.nine_iterations, 200.0, 1
    )
    about = {"casadi": ca.__version__, "torch": torch.__version__, "device": device(), "threads": 1}
    about["load_average"] = round(os.getloadavg()[0], 1)
    options.output.write_text(json.dumps({"about": about, "problems": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
