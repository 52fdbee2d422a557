"""What real story-listening data can answer: activation from resting connectivity, and what listeners share.

Neither set has rest and story series of the same people, so neither tests a change of connectivity.

1. 24 people of the HCP, 360 regions: betas of LANGUAGE:story and LANGUAGE:math (and their difference) from resting
   connectivity, one person left out at a time. Everything is fitted to the other 23. `activity flow, own activity` is
   the bar of Cole et al. (2016): it sees the same person's betas in all other regions, which no other row does; its
   two numbers (intercept, slope) are fitted to the training people.
2. 27 people who heard chapter 1 of Alice (Brennan et al. 2016), six language regions: leave-one-out inter-subject
   correlation and connectivity. A person with a constant series is left out and named.

    python benchmarks/story_data.py [--data DIR] [--output benchmarks/results/story_data.json]
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
from neurotwin.datamodules.connectivity_estimate import bad_regions, estimate
from neurotwin.datamodules.formats.timeseries import read_timeseries
from neurotwin.metrics.inter_subject import inter_subject_correlation
from neurotwin.models.activity_flow import FlowRule, ProfileRidge, activity_flow
from scipy.stats import bootstrap, false_discovery_control, wilcoxon

REGIONS = ("LATL", "RATL", "LPTL", "LIPL", "LPreM", "LIFG")


def own_flow(connectivity, activation, rest):
    """Activity flow from a person's own other regions, scaled by two numbers from the training people ``rest``."""
    flow = activity_flow(connectivity, activation)
    x, y = flow[rest].flatten(), activation[rest].flatten()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    return y.mean() + slope * (flow - x.mean())


def leave_one_out(connectivity, activation):
    """Predictions of every left-out person by every row, ``(person, roi)``."""
    n, regions = activation.shape
    names = ("group mean", "group flow", "profile ridge", "activity flow, own activity")
    predicted = {name: torch.zeros_like(activation) for name in names}
    for k in range(n):
        rest = [i for i in range(n) if i != k]
        predicted["group mean"][k] = activation[rest].mean(0)
        for name, model in (("group flow", FlowRule(regions).double()), ("profile ridge", ProfileRidge(regions))):
            model.fit(connectivity[rest], activation[rest])
            predicted[name][k] = model(connectivity[k : k + 1])[0]
        predicted["activity flow, own activity"][k] = own_flow(connectivity, activation, rest)[k]
    return {name: values.numpy() for name, values in predicted.items()}


def correlation(a, b):
    """Pearson correlation of each row; 0 where one side does not vary."""
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    scale = np.sqrt(np.square(a).sum(1) * np.square(b).sum(1))
    return np.where(scale > 1e-9, (a * b).sum(1) / np.maximum(scale, 1e-9), 0.0)


def activation_table(folder):
    """Errors and correlations of every row and contrast, with paired tests against the group mean."""
    with np.load(folder / "actflow_hcp24_rest_f16.npz", allow_pickle=False) as scans:
        series = [scan.T.astype(np.float64) for scan in scans["rest"]]
    with np.load(folder / "actflow_hcp24_taskbeta_f32.npz", allow_pickle=False) as betas:
        conditions = betas["conditions"].tolist()
        beta = {c: betas["taskbeta"][:, conditions.index(c)].T.astype(np.float64) for c in conditions}
    connectivity = torch.from_numpy(estimate(series, "pearson"))
    story, math = beta["LANGUAGE:story"], beta["LANGUAGE:math"]
    results = {}
    for contrast, measured in {"story": story, "math": math, "story - math": story - math}.items():
        predicted = leave_one_out(connectivity, torch.from_numpy(measured))
        error = {name: np.square(values - measured).mean(1) for name, values in predicted.items()}
        base = predicted["group mean"]
        rows = {}
        for name, values in predicted.items():
            rows[name] = {
                "mse": float(error[name].mean()),
                "pattern_r": float(correlation(values, measured).mean()),
                "lower_in": int((error[name] < error["group mean"]).sum()),
            }
            if name != "group mean":
                rows[name]["deviation_r"] = float(correlation(values - base, measured - base).mean())
                rows[name]["p"] = float(wilcoxon(error[name], error["group mean"]).pvalue)
        tested = [name for name in rows if "p" in rows[name]]
        for name, p in zip(tested, false_discovery_control([rows[name]["p"] for name in tested]), strict=True):
            rows[name]["p_corrected"] = float(p)
        results[contrast] = rows
    return {"people": len(series), "regions": len(story[0]), "contrasts": results}


def story_table(folder, radius="10mm"):
    """Inter-subject correlation of every region with a bootstrap interval over people, and mean connectivity."""
    scans = {path.name.split("-")[0]: read_timeseries(path) for path in sorted((folder / radius).glob("*.txt"))}
    left_out = sorted(name for name, scan in scans.items() if bad_regions(scan))
    series = np.stack([scan.values for name, scan in scans.items() if name not in left_out])
    shared = inter_subject_correlation(series)
    interval = bootstrap((shared,), np.mean, axis=0, rng=np.random.default_rng(0)).confidence_interval
    matrices = estimate(list(series), "pearson")
    first, second = np.triu_indices(len(REGIONS), 1)
    pairs = zip(first, second, strict=True)
    return {
        "people": len(series),
        "volumes": series.shape[1],
        "left_out": left_out,
        "inter_subject_correlation": {
            region: {"mean": float(shared[:, k].mean()), "low": float(interval.low[k]), "high": float(interval.high[k])}
            for k, region in enumerate(REGIONS)
        },
        "connectivity": {f"{REGIONS[i]}-{REGIONS[j]}": float(matrices[:, i, j].mean()) for i, j in pairs},
    }


def main():
    """Print both tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("NEUROTWIN_DATA", "data")))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "story_data.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    activation = activation_table(given.data / "fmri" / "actflow_hcp_glasser")
    story = story_table(given.data / "fmri" / "alice_story_rois")
    cost = round(time.process_time() - start, 1)
    record = {"activation": activation, "story": story, "cpu_seconds": cost, "machine": platform.machine()}
    given.output.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print("| contrast | row | MSE | pattern r | r of the deviation | lower than group mean in | p, corrected |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for contrast, rows in activation["contrasts"].items():
        for name, row in rows.items():
            deviation = f"{row['deviation_r']:.3f}" if "deviation_r" in row else "-"
            p = f"{row['p_corrected']:.2g}" if "p_corrected" in row else "-"
            share = f"{row['lower_in']} of {activation['people']}"
            print(f"| {contrast} | {name} | {row['mse']:.1f} | {row['pattern_r']:.3f} | {deviation} | {share} | {p} |")
    print(
        f"\n{story['people']} listeners, {story['volumes']} volumes; left out: {', '.join(story['left_out']) or '-'}\n"
    )
    print("| region | inter-subject correlation | 95 % |\n| --- | --- | --- |")
    for region, row in story["inter_subject_correlation"].items():
        print(f"| {region} | {row['mean']:.2f} | {row['low']:.2f} to {row['high']:.2f} |")
    low, high = min(story["connectivity"].values()), max(story["connectivity"].values())
    print(f"\nConnectivity of the 15 pairs: {low:.2f} to {high:.2f}; {cost} CPU-s")


if __name__ == "__main__":
    main()
