"""How far ahead the simulated half-center oscillator can be foretold at all: the ceiling of any model's free run.

The circuit is run twice under the same input; after 20 s the second run gets a little noise added to its
injected current. The two are compared as a free run is with a recording.

    python benchmarks/half_center_predictability.py [--output benchmarks/results/half_center_predictability.json]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from neurotwin.biophysics.stg_circuit import integrate
from neurotwin.metrics.bursts import valid_time
from neurotwin.metrics.circuit_scores import angular_separation
from neurotwin.simulators.half_center import HalfCenterSimulator, ornstein_uhlenbeck

RESULT = Path(__file__).parent / "results" / "half_center_predictability.json"
RATE, SETTLE_S, RUN_S, HORIZONS_S = 10_000, 20, 20, (5, 10, 20)
#: Deviation of the added current, nA; the injected one has 0.05.
ADDED_NA = (0.0005, 0.002)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--inputs", type=int, default=8, help="different injected currents")
    options = parser.parse_args()
    simulator = HalfCenterSimulator(seconds=1.0)
    settle, n = SETTLE_S * RATE, (SETTLE_S + RUN_S) * RATE
    rows = {f"{added:g} nA": {f"{h} s": [] for h in HORIZONS_S} | {"valid time, s": []} for added in ADDED_NA}
    for seed in range(options.inputs):
        current = ornstein_uhlenbeck(np.random.default_rng(seed), n, 2, simulator.input_sd_na, 5.0, 0.1)
        recorded = integrate(simulator.circuit, current).voltage[settle:, :2]
        for added in ADDED_NA:
            more = ornstein_uhlenbeck(np.random.default_rng(1000 + seed), n, 2, added, 5.0, 0.1)
            more[:settle] = 0
            run = integrate(simulator.circuit, current + more).voltage[settle:, :2]
            row = rows[f"{added:g} nA"]
            for h in HORIZONS_S:
                part = slice(0, h * RATE)
                row[f"{h} s"].append(angular_separation(run[part], recorded[part], RATE)["angular_separation"])
            row["valid time, s"].append(valid_time(run, recorded, RATE))
    summary = {
        name: {
            k: {"mean": round(float(np.mean(v)), 3), "sd": round(float(np.std(v, ddof=1)), 3)} for k, v in row.items()
        }
        for name, row in rows.items()
    }
    print(json.dumps(summary, indent=2))
    about = "angular separation of two runs of the simulated circuit, the second with noise added to its input"
    options.output.write_text(json.dumps({"about": about, "inputs": options.inputs, "rows": summary}, indent=2) + "\n")


if __name__ == "__main__":
    main()
