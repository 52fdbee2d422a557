r"""nnU-Net v2 itself on the exams of a simulated row: write its raw layout, and score what it predicted.

nnU-Net plans, preprocesses, trains and predicts with its own code (`pip install 'neurotwin[nnunet]'`; it brings
torchvision, so pin torch to the one that is installed). `train` runs its trainer for as many iterations as CPU seconds
allow, in eight epochs so that its learning rate falls as it does in a full training, and says what a step costs beside
ours on patches of its plan. `score` adds the scores to the same file and writes the table of the README, ours from the
rows on the same exams. Mirrored copies are left out of prediction, ours has none either.

    export nnUNet_raw=… nnUNet_preprocessed=… nnUNet_results=… nnUNet_def_n_proc=1 nnUNet_compile=f
    python benchmarks/nnunet_peer.py write $nnUNet_raw kujawa2024/simulated datamodule.fold=0
    nnUNet_n_proc_DA=1 nnUNetv2_plan_and_preprocess -d 920 -c 3d_fullres -np 1 -npfp 1
    cp $nnUNet_raw/Dataset920_VS/splits_final.json $nnUNet_preprocessed/Dataset920_VS/
    nnUNet_n_proc_DA=0 python benchmarks/nnunet_peer.py train --iterations 32
    nnUNetv2_predict -d 920 -c 3d_fullres -f 0 -device cpu --disable_tta -npp 1 -nps 1 \
        -i $nnUNet_raw/Dataset920_VS/imagesTs -o OUT
    python benchmarks/nnunet_peer.py score OUT kujawa2024/simulated datamodule.fold=0
"""

import argparse
import inspect
import json
import os
import statistics
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from neurotwin.config import compose, compose_part, get_target, instantiate
from neurotwin.contracts import DataSpec
from neurotwin.datamodules.formats.nnunet_writer import write_nnunet
from neurotwin.datamodules.formats.volume_files import read_volume
from neurotwin.gates import build_part
from neurotwin.metrics.segmentation_scores import SCORES, score_exams, score_pair
from neurotwin.provenance import cpu_name, git_state
from neurotwin.tables import update_readme
from neurotwin.tasks.segmentation_loss import deep_dice_ce

RESULT = Path(__file__).parent / "results" / "nnunet_peer.json"
README = Path(__file__).parents[1] / "experiments" / "kujawa2024" / "README.md"
MARKERS = ("<!-- nnU-Net: written by `benchmarks/nnunet_peer.py` -->", "<!-- end of nnU-Net -->")
#: Columns of the README's table.
SHOWN = ("dsc_mean", "dsc_mean_small", "dsc_mean_medium", "dsc_mean_large", "miss_rate", "false_volume_rate")
#: Our rows on the same exams, for as many CPU seconds.
ROWS = ("sites, both canals/dynunet", "sites/fast_vs")
#: nnU-Net's learning rate falls from epoch to epoch.
EPOCHS = 8
OURS = {"dynunet": {}, "fast_vs": {"width": 16, "locator_width": 8}}


def write(folder, data):
    """The fold of a datamodule as nnU-Net's raw data set."""
    parts = {part: [data.exam(int(row)) for row in rows] for part, rows in data.split().items()}
    return write_nnunet(folder, parts, data.modalities)


def score(folder, data):
    """Scores of nnU-Net's masks of the test exams, as those of a row."""
    rows = {name: [] for name in (*SCORES, "koos")}
    for row in data.split()["test"]:
        exam = data.exam(int(row))
        first = data.modalities[0]
        found = read_volume(folder / f"{exam.name}.nii.gz")
        scores = score_pair(exam.masks[first].data > 0, found.data > 0, exam.images[first].spacing_mm)
        for name in SCORES:
            rows[name].append(scores[name])
        rows["koos"].append(float(exam.metadata.get("koos") or 0))
    return score_exams({name: np.array(values) for name, values in rows.items()})


def train(iterations):
    """Train nnU-Net's own trainer on fold 0; CPU seconds of a step, and of one of ours on the same patches."""
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.set_num_threads(1)
    trainer = get_trainer_from_args("920", "3d_fullres", 0, device=torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch = EPOCHS, iterations // EPOCHS
    trainer.num_val_iterations_per_epoch = 1
    own, spent = trainer.train_step, []

    def timed(batch):
        begin = time.process_time()
        result = own(batch)
        spent.append(time.process_time() - begin)
        return result

    trainer.train_step = timed
    begin = time.process_time()
    trainer.run_training()
    training = time.process_time() - begin
    plan = trainer.configuration_manager
    patch, spacing = plan.patch_size[::-1], plan.spacing[::-1]  # nnU-Net's axes run from slices to rows
    shape = (plan.batch_size, trainer.num_input_channels, *patch)
    costs = {name: step_cost(name, shape, spacing) for name in OURS}
    return {
        "patch": [int(n) for n in patch],
        "spacing_mm": [float(n) for n in spacing],
        "batch": plan.batch_size,
        "epochs": EPOCHS,
        "iterations": len(spent),
        "training_cpu_s": round(training),
        "parameters": sum(p.numel() for p in trainer.network.parameters()),
        "step_cpu_s": {"nnunet": statistics.median(spent), **costs},
        "versions": {name: version(name) for name in ("nnunetv2", "torch")},
        "device": cpu_name(),
        "commit": (git_state() or {}).get("commit", "unknown")[:10],
        "load_average": round(os.getloadavg()[0], 1),
    }


def step_cost(name, shape, spacing, steps=1):
    """Median CPU seconds of forward, loss, backward and SGD on random patches."""
    spec = DataSpec(n_channels=shape[1], n_outputs=2, spacing_mm=tuple(spacing), patch_size=tuple(shape[2:]))
    node = compose_part("model", name).config["model"]
    accepted = inspect.signature(get_target(node["_target_"])).parameters
    given = {k: v for k, v in vars(spec).items() if k in accepted and v not in (None, ())}
    model = instantiate(node, **given, **OURS[name]).train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    image, mask = torch.randn(shape), (torch.rand(shape[0], *shape[2:]) > 0.99).long()
    spent = []
    for _ in range(steps + 1):  # the first one warms up
        begin = time.process_time()
        optimizer.zero_grad()
        deep_dice_ce(model(image), mask).backward()
        optimizer.step()
        spent.append(time.process_time() - begin)
    return statistics.median(spent[1:])


def table(record):
    """The record's scores beside those of our rows on the same exams, as Markdown."""
    rows = json.loads((README.parent / "expected.json").read_text())["rows"]
    missing = [row for row in ROWS if row not in rows]
    if missing:
        raise SystemExit(f"{' and '.join(missing)}: run first (neurotwin reproduce kujawa2024 --row ... --update)")
    ours = {row: {key: rows[row]["metrics"][f"test/{key}"]["values"][0] for key in (*SHOWN, "exams")} for row in ROWS}
    lines = [f"| {record['test']['exams']:.0f} test exams | Dice | small | medium | large | missed | false volumes |"]
    lines.append("| --- " * 7 + "|")
    for name, scores in {"nnU-Net v2, its own code": record["test"], **ours}.items():
        if scores["exams"] != record["test"]["exams"]:
            raise SystemExit(f"{name}: {scores['exams']:.0f} exams, not those of nnU-Net; run the row anew")
        lines.append(f"| {name} | " + " | ".join(f"{scores[key]:.3f}" for key in SHOWN) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="what", required=True)
    for name, text in (("write", "the raw data set"), ("score", "scores of predicted masks")):
        verb = verbs.add_parser(name, help=text)
        verb.add_argument("folder", type=Path)
        verb.add_argument("experiment")
        verb.add_argument("overrides", nargs="*")
    verbs.add_parser("train", help="nnU-Net itself").add_argument("--iterations", type=int, default=32)
    options = parser.parse_args()
    if options.what == "train":
        RESULT.write_text(json.dumps(train(options.iterations // EPOCHS * EPOCHS), indent=2) + "\n")
        print(RESULT.read_text())
        return
    data = build_part(compose(options.experiment, options.overrides), "datamodule")
    data.prepare_data()
    if options.what == "write":
        print(write(options.folder, data))
    else:
        record = json.loads(RESULT.read_text()) | {"test": score(options.folder, data)}
        RESULT.write_text(json.dumps(record, indent=2) + "\n")
        update_readme(README, table(record), MARKERS)


if __name__ == "__main__":
    main()
