"""CPU seconds of one thread for a training step and for a whole volume, for every segmentation network.

A step is forward, loss with deep supervision, backward and SGD on one patch, with nnU-Net's augmentation timed apart.
The volume goes the way that the task sends it: a Gaussian sliding window with half overlap for the U-Nets, three
regions for ours. Cost does not depend on what a network has learned, so weights are initial.

    python benchmarks/segmentation_cost.py [MODEL ...] [--steps 2] [--output benchmarks/results/segmentation_cost.json]
"""

import argparse
import inspect
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from neurotwin.config import compose_part, get_target, instantiate
from neurotwin.contracts import DataSpec
from neurotwin.provenance import cpu_name, git_state
from neurotwin.tasks.mri_augmentation import Augmentation
from neurotwin.tasks.segmentation_inference import volume_logits
from neurotwin.tasks.segmentation_loss import deep_dice_ce

MODELS = ("fast_vs", "dynunet", "vs_unet")
RESULT = Path(__file__).parent / "results" / "segmentation_cost.json"
PATCH, VOLUME, SPACING = (96, 96, 64), (192, 192, 64), (0.9, 0.9, 1.5)


def build(name):
    """The model of a config file for ceT1w at clinical spacing."""
    spec = DataSpec(n_channels=1, n_outputs=2, spacing_mm=SPACING, patch_size=PATCH)
    node = compose_part("model", name).config["model"]
    accepted = inspect.signature(get_target(node["_target_"])).parameters
    torch.manual_seed(0)
    return instantiate(node, **{k: v for k, v in vars(spec).items() if k in accepted and v not in (None, ())})


def measure(model, steps):
    """CPU seconds a step and a volume."""
    image, mask = torch.randn(1, 1, *PATCH), (torch.rand(1, *PATCH) > 0.99).long()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    spent = []
    for _ in range(steps + 1):  # the first one warms up
        begin = time.process_time()
        loss = deep_dice_ce(model.train()(image), mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        spent.append(time.process_time() - begin)
    volume = torch.randn(1, 1, *VOLUME)
    begin = time.process_time()
    with torch.inference_mode():
        volume_logits(model.eval(), volume)
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "step_cpu_s": round(float(np.median(spent[1:])), 2),
        "volume_cpu_s": round(time.process_time() - begin, 2),
    }


def augmentation_cost(repeats=12):
    """Mean CPU seconds of augmenting one patch."""
    torch.manual_seed(0)
    image, mask = torch.randn(1, 1, *PATCH), (torch.rand(1, *PATCH) > 0.99).long()
    augment, present = Augmentation(PATCH), torch.ones(1, 1, dtype=torch.bool)
    begin = time.process_time()
    for _ in range(repeats):
        augment(image, mask, present)
    return round((time.process_time() - begin) / repeats, 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = {name: measure(build(name), options.steps) for name in options.models}
    setting = {
        "patch": PATCH,
        "volume": VOLUME,
        "spacing_mm": SPACING,
        "batch": 1,
        "threads": 1,
        "steps": options.steps,
    }
    setting |= {"augmentation_cpu_s": augmentation_cost(), "device": cpu_name(), "torch": torch.__version__}
    setting |= {"commit": (git_state() or {}).get("commit", "unknown")[:10]}
    setting |= {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"setting": setting, "models": rows}, indent=2) + "\n")
    print(f"augmentation {setting['augmentation_cpu_s']} CPU-s a patch")
    for name, row in rows.items():
        cost = f"step {row['step_cpu_s']} s, volume {row['volume_cpu_s']} s"
        print(f"{name:<10} {row['parameters']:>12,} parameters, {cost}")


if __name__ == "__main__":
    main()
