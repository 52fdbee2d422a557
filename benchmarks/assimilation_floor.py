"""What the true parameters cost a drug fit beyond the noise: the first state's and the integrator's share.

Mean squared difference (mV²) between the noise-free recording of 400 ms and a free run of the *true* neuron that
begins as the fit does, on the development cells (`datamodule.data_seed` 101 to 105, control). Nothing is fitted.

    python benchmarks/assimilation_floor.py [--output benchmarks/results/assimilation_floor.json]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from neurotwin.biophysics.declaration import load_neuron
from neurotwin.biophysics.simulate import follow, resting_voltage
from neurotwin.provenance import cpu_name
from neurotwin.simulators.patch_clamp import PatchClampSimulator

RESULT = Path(__file__).parent / "results" / "assimilation_floor.json"
SEEDS = range(101, 106)
LEAD_GAIN, FINEST = 0.2, 64


def measure(seed):
    """Cost of each way to begin and to integrate."""
    neuron = load_neuron("hippocampal")
    sim = PatchClampSimulator(neuron, duration_ms=420.0, half_sd_mv=2.0, kinetics_sd=0.05, conductance_spread=1.25)
    theta, current = sim.cell(seed), sim.current(seed)
    rest, _ = resting_voltage(neuron, theta, current[0], -66.0)
    lead = round(sim.rest_ms / sim.dt_ms)

    def run(start, steps, observed=None, extrapolate=False):
        gain = np.where(np.arange(len(current)) <= lead, 0.0 if observed is None else LEAD_GAIN, 0.0)
        how = {"substeps": steps, "extrapolate": extrapolate}
        return follow(neuron, theta, current, sim.dt_ms, start, observed, gain, **how).voltage

    truth = run(rest, FINEST, extrapolate=True)
    noise = np.random.default_rng([0, seed, 3]).standard_normal(len(truth))
    read = truth + sim.noise_sd_mv * noise
    runs = {
        "start at 1 ms of readings, lead drawn to them": run(read[:50].mean(), 16, read),
        "start at the rest of the parameters, drawn": run(rest, 16, read),
        **{f"start at rest, {n} steps a sample": run(rest, n) for n in (1, 2, 4, 16)},
        "start at rest, extrapolated from 2 and 4": run(rest, 2, extrapolate=True),
    }
    return {name: float(np.mean((v - truth)[lead:] ** 2)) for name, v in runs.items()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", type=Path, default=RESULT)
    cells = {str(seed): measure(seed) for seed in SEEDS}
    found = {"unit": "mV² beyond the noise's 0.0625", "cpu": cpu_name(), "cells": cells}
    parser.parse_args().output.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
