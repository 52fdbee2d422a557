r"""nnU-Net v2 itself on the exams of a simulated row: write its raw layout, and score what it predicted.

nnU-Net is trained by its own commands (`pip install 'neurotwin[nnunet]'`; it brings torchvision, so pin torch to the
one that is installed). Its trainer takes a number of epochs by the name of its class; choose one whose training costs
the CPU seconds that are to be compared.

    python benchmarks/nnunet_peer.py write $nnUNet_raw kujawa2024/simulated datamodule.fold=0
    nnUNetv2_plan_and_preprocess -d 920 -c 3d_fullres -np 1
    cp $nnUNet_raw/Dataset920_VS/splits_final.json $nnUNet_preprocessed/Dataset920_VS/
    nnUNet_compile=f nnUNet_n_proc_DA=0 nnUNetv2_train 920 3d_fullres 0 -device cpu -tr nnUNetTrainer_1epoch
    nnUNetv2_predict -d 920 -c 3d_fullres -f 0 -tr nnUNetTrainer_1epoch -device cpu \
        -i $nnUNet_raw/Dataset920_VS/imagesTs -o OUT
    python benchmarks/nnunet_peer.py score OUT kujawa2024/simulated datamodule.fold=0
"""

import argparse
import json
from pathlib import Path

import numpy as np
from neurotwin.config import compose
from neurotwin.datamodules.formats.nnunet_writer import write_nnunet
from neurotwin.datamodules.formats.volume_files import read_volume
from neurotwin.gates import build_part
from neurotwin.metrics.segmentation_scores import SCORES, score_exams, score_pair


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("write", "score"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("experiment")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    data = build_part(compose(options.experiment, options.overrides), "datamodule")
    data.prepare_data()
    if options.what == "write":
        print(write(options.folder, data))
    else:
        print(json.dumps(score(options.folder, data), indent=2))


if __name__ == "__main__":
    main()
