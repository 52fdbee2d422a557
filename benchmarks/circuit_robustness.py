"""Draw how a circuit model's free run depends on measurement noise and on the length of the training data.

Reads the rows of `experiments/burghi2025/expected.json`; trains nothing. A dot is a seed, the line joins the means.

    neurotwin reproduce burghi2025 --row 'noise*' --row '* s a trial*' --update
    python benchmarks/circuit_robustness.py [--output benchmarks/results/circuit_robustness.png]
"""

import argparse
import json
import re
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

EXPECTED = Path(__file__).parent.parent / "experiments" / "burghi2025" / "expected.json"
RESULT = Path(__file__).parent / "results" / "circuit_robustness.png"
#: The row with the noise, mV, and the training data, s of each trial, that are not varied.
BASE, BASE_NOISE_MV, BASE_LENGTH_S = "TF then GTF 400 steps, 0.1 to 0.02/lumped", 0.1, 70
METRICS = {
    "test/angular_separation_5s": "angular separation over 5 s",
    "test/state_space_divergence": "divergence in state space",
}


def points(rows, pattern, base):
    """`(value of the axis, row)`, ascending; the unvaried row is among them."""
    matched = {name: re.fullmatch(pattern, name.removesuffix(f"/{BASE}")) for name in rows}
    found = [(float(match[1]), rows[name]) for name, match in matched.items() if match]
    return sorted([*found, (base, rows[BASE])], key=lambda point: point[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = json.loads(EXPECTED.read_text())["rows"]
    figure = Figure(figsize=(8, 3 * len(METRICS)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(METRICS), 2, sharey="row")
    sides = {
        r"noise ([\d.]+) mV": (BASE_NOISE_MV, "measurement noise (mV)"),
        r"([\d.]+) s a trial": (BASE_LENGTH_S, "training data of each of two trials (s)"),
    }
    for column, (pattern, (base, label)) in enumerate(sides.items()):
        varied = points(rows, pattern, base)
        for row, (metric, name) in enumerate(METRICS.items()):
            here = axes[row, column]
            for x, one in varied:
                values = one["metrics"][metric]["values"]
                here.plot([x] * len(values), values, "o", color="C0", mfc="w", ms=4)
            here.plot([x for x, _ in varied], [one["metrics"][metric]["mean"] for _, one in varied], "C0-")
            if column == 0:  # noise may be none at all
                here.set_xscale("symlog", linthresh=0.1)
            here.set_ylabel(name if column == 0 else "")
            here.set_xlabel(label if row == len(METRICS) - 1 else "")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.output, dpi=150)


if __name__ == "__main__":
    main()
