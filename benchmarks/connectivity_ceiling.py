"""What keeps every model from the true story FC: noise in the resting scan, and change that rest does not show.

The simulated people of ``acker2024/simulated``, five folds of people, errors of FC averaged over people and pairs. The
rule is the line filter, fitted to true FC, once from the sampled and once from the true resting FC. The floor is the
error of the expected FC of a person of whom all is known but the part of the gain that nothing reveals, estimated by
redrawing that part.

    python benchmarks/connectivity_ceiling.py [--people 205] [--data-seed 0] [--output connectivity_ceiling.json]
"""

import argparse
import json
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from neurotwin.datamodules.connectivity_estimate import estimate
from neurotwin.models.line_filter import LineFilter
from neurotwin.provenance import cpu_name
from neurotwin.simulators.whole_brain import WholeBrainSimulator

FOLDS, REDRAWN = 5, 12


def main():
    """Simulate, fit, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=205)
    parser.add_argument("--data-seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "connectivity_ceiling.json")
    options = parser.parse_args()
    started = time.process_time()
    simulator = WholeBrainSimulator()
    cohort = simulator.cohort(options.people, options.data_seed)
    true_rest = np.stack([scans.rest_connectivity for scans in cohort])
    true_story = np.stack([scans.story_connectivity for scans in cohort])
    sampled_rest = estimate([scans.rest for scans in cohort], "pearson")
    errors = {
        "resting FC, sampled against true": error(sampled_rest, true_rest),
        "resting FC, filtered against true": filtered(sampled_rest, true_rest),
        "story FC, filter on the sampled resting FC": filtered(sampled_rest, true_story),
        "story FC, filter on the true resting FC": filtered(true_rest, true_story),
        "story FC, true resting FC and mean change": error(true_rest + (true_story - true_rest).mean(0), true_story),
        "story FC, all known but the gain that nothing reveals": floor(simulator, true_story, options.data_seed),
    }
    result = {
        "setting": {"people": options.people, "data_seed": options.data_seed, "folds": FOLDS, "device": cpu_name()},
        "cpu_s": round(time.process_time() - started),
        "mean_squared_error": {name: round(float(value), 6) for name, value in errors.items()},
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def error(estimated, true):
    """Mean squared error over people and pairs of ``(person, roi, roi)``."""
    i, j = np.triu_indices(true.shape[-1], 1)
    return np.square((estimated - true)[:, i, j]).mean()


def filtered(given, wanted):
    """Error of the line filter from ``given`` to ``wanted`` on people whom it was not fitted to."""
    parts = np.array_split(np.random.default_rng(0).permutation(len(given)), FOLDS)
    found = np.empty_like(wanted)
    for test in parts:
        train = np.setdiff1d(np.arange(len(given)), test)
        model = LineFilter(given.shape[-1])
        model.fit(torch.tensor(given[train]), torch.tensor((wanted - given)[train]))
        found[test] = given[test] + model(torch.tensor(given[test])).numpy()
    return error(found, wanted)


def floor(simulator, true_story, data_seed):
    """Error of the mean over redrawn unpredictable gains of the same person."""
    draws = np.random.default_rng(0).standard_normal(REDRAWN)
    errors = []
    for number, true in enumerate(true_story):
        rng = np.random.default_rng([data_seed, number])
        trait = rng.standard_normal(2)[0]
        expected = []
        for draw in draws:
            gain = simulator.task_gain + simulator.predictable * trait + simulator.unpredictable * draw
            story = simulator.states(deepcopy(rng), trait, gain)[1]
            expected.append(story.expected_connectivity(simulator.tr_s))
        errors.append(error(np.mean(expected, 0)[None], true[None]))
    return np.mean(errors)


if __name__ == "__main__":
    main()
