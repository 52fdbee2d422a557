"""What a generalised integrate-and-fire neuron predicts of the real layer-5 neuron that `wells2025/real_l5` fits.

Same recording, same electrode compensation, same windows and the same score: spikes within 4 ms, as a share of what one
repeat predicts of another. The model and its fit are Pozzorini et al. 2015 (PLoS Comput Biol 11:e1004275): the membrane
and its spike-triggered current by linear regression of dV/dt, then threshold, noise and moving threshold by maximum
likelihood given that membrane, which is a Poisson regression. Fitted to the one second that the conductance model gets,
and to the whole training block of the same sweep.

    NEUROTWIN_DATA=… python benchmarks/gif_baseline.py [--output benchmarks/results/gif_baseline.json]
"""

import argparse
import json
import time
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from neurotwin.config import compose, instantiate
from neurotwin.metrics.clamp_scores import coincidence, spike_times
from neurotwin.provenance import cpu_name
from sklearn.linear_model import PoissonRegressor

RESULT = Path(__file__).parent / "results" / "gif_baseline.json"
REFRACTORY_MS, BEFORE_MS = 4.0, 5.0
#: Edges of the steps that make up what a spike leaves behind, ms after it.
EDGES_MS = np.array([4, 8, 14, 22, 34, 52, 78, 116, 172, 256, 380, 500.0])
RIDGE, DRAWS = 1e-4, 100


class GIF(NamedTuple):
    """`dV/dt = leak V + gain I + constant - η`, `λ = exp(rate + steep V - γ)`; η and γ in steps after each spike."""

    leak: float
    gain: float
    constant: float
    eta: np.ndarray
    reset: float
    rate: float
    steep: float
    gamma: np.ndarray


def history(spikes, n, dt):
    """How many spikes lie each step back, `(time, step)`."""
    train = np.zeros(n + 1)
    np.add.at(train, spikes, 1)
    total = np.cumsum(train)
    edges = (EDGES_MS / dt).astype(int)
    before = [np.concatenate([np.zeros(min(e, n)), total[: max(0, n - e)]]) for e in edges]
    return np.stack([a - b for a, b in pairwise(before)], axis=1)


def membrane(model, current, spikes, start, dt):
    """Voltage given the spikes; it is put back to the reset after each one's refractory time."""
    drive = model.gain * current + model.constant - history(spikes, len(current), dt) @ model.eta
    v, held = np.empty(len(current)), np.full(len(current), False)
    for k in spikes:
        held[k : k + round(REFRACTORY_MS / dt)] = True
    v[0] = start
    for k in range(len(current) - 1):
        v[k + 1] = model.reset if held[k + 1] else v[k] + dt * (model.leak * v[k] + drive[k])
    return v, held


def fit(voltage, current, dt):
    spikes = (spike_times(voltage, dt) / dt).astype(int)
    past = history(spikes, len(voltage), dt)
    free = np.full(len(voltage) - 1, True)
    for k in spikes:
        free[max(0, k - round(BEFORE_MS / dt)) : k + round(REFRACTORY_MS / dt)] = False
    x = np.column_stack([voltage[:-1], current[:-1], np.ones(len(voltage) - 1), -past[:-1]])[free]
    found = np.linalg.lstsq(x, (np.diff(voltage) / dt)[free], rcond=None)[0]
    after = spikes + round(REFRACTORY_MS / dt)
    reset = float(voltage[after[after < len(voltage)]].mean())
    model = GIF(*found[:3], found[3:], reset, 0.0, 0.0, np.zeros(past.shape[1]))
    v, held = membrane(model, current, spikes, voltage[0], dt)
    target = np.zeros(len(v))
    target[spikes] = 1
    kept = ~held
    kept[spikes] = True
    scale = v[kept].std()
    x = np.column_stack([(v - v[kept].mean()) / scale, -past])[kept]
    regression = PoissonRegressor(alpha=RIDGE, max_iter=2000, tol=1e-7).fit(x, target[kept])
    steep = regression.coef_[0] / scale
    rate = regression.intercept_ - steep * v[kept].mean() - np.log(dt)
    return model._replace(rate=rate, steep=steep, gamma=regression.coef_[1:])


def draw(model, current, start, spikes, begin, dt, rng):
    """Spike times (samples after `begin`) of one run; before `begin` the recorded `spikes` are the neuron's."""
    n, hold = len(current), round(REFRACTORY_MS / dt)
    edges = (EDGES_MS / dt).astype(int)
    eta, gamma = (np.repeat(part, np.diff(edges)) for part in (model.eta, model.gamma))
    left = np.zeros((2, n + edges[-1] + 1))

    def fire(k):
        left[0, k + edges[0] : k + edges[-1]] += eta
        left[1, k + edges[0] : k + edges[-1]] += gamma

    forced = set(spikes[spikes < begin].tolist())
    chance, v, until, found = rng.random(n), start, 0, []
    for k in range(n):
        if k < until:
            v = model.reset
            continue
        fires = (
            k in forced
            if k < begin
            else chance[k] < 1 - np.exp(-dt * np.exp(min(50.0, model.rate + model.steep * v - left[1, k])))
        )
        if fires:
            fire(k)
            until = k + hold
            if k >= begin:
                found.append(k - begin)
        v += dt * (model.leak * v + model.gain * current[k] + model.constant - left[0, k])
    return np.array(found) * dt


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    data = instantiate(compose("wells2025/real_l5").config["datamodule"])
    data.setup()
    dt = 1e3 / data.spec.sampling_rate_hz
    sweep, fit_start, fit_stop = data.windows[data.split(data.fold)["train"][0]]
    tests = data.windows[data.split(data.fold)["test"]]
    observed = [spike_times(data.recordings[k].voltage[a:b], dt) for k, a, b in tests]
    ceiling = coincidence(list(combinations(observed, 2)), 4.0)
    rows = {}
    for name, first in (("1 s", fit_start), ("3 s", round(data.begin_ms / dt))):
        began = time.process_time()
        recording = data.recordings[sweep]
        model = fit(recording.voltage[first:fit_stop], recording.current[first:fit_stop], dt)
        rng, pairs = np.random.default_rng(0), []
        for (k, start, stop), truth in zip(tests, observed, strict=True):
            lead = min(start, round(500 / dt))
            here = data.recordings[k]
            spikes = (spike_times(here.voltage[start - lead : start], dt) / dt).astype(int)
            for _ in range(max(1, DRAWS // len(tests))):
                current = here.current[start - lead : stop]
                pairs.append((truth, draw(model, current, here.voltage[start - lead], spikes, lead, dt, rng)))
        score = coincidence(pairs, 4.0)
        rows[name] = {
            "coincidence_4ms": round(score, 4),
            "share_of_reliability_4ms": round(score / ceiling, 4),
            "spikes_a_run": round(float(np.mean([len(b) for _, b in pairs])), 1),
            "membrane_time_constant_ms": round(-1 / model.leak, 2),
            "cpu_seconds": round(time.process_time() - began, 1),
        }
        print(name, rows[name], flush=True)
    about = {"reliability_4ms": round(ceiling, 4), "spikes_a_repeat": round(float(np.mean([*map(len, observed)])), 1)}
    about |= {"device": cpu_name(), "draws": DRAWS, "seed": 0}
    options.output.write_text(json.dumps({"about": about, "fitted to": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
