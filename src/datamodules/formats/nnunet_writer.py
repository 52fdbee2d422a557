"""A fold of examinations in nnU-Net's raw layout, so that nnU-Net can be trained and tested on the same cases."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ...contracts import Exam
from ...errors import DataError
from .volume_files import resample, write_volume


def write_nnunet(
    folder: Path, parts: Mapping[str, Sequence[Exam]], modalities: Sequence[str], dataset: str = "Dataset920_VS"
) -> Path:
    """Write ``imagesTr``, ``labelsTr``, ``imagesTs``, ``labelsTs`` and ``dataset.json``, and the split for its trainer.

    nnU-Net takes every channel of a case on one grid and no missing channel: other modalities are brought to the grid
    of the first by cubic splines, exams that lack one are refused. Training and validation exams go to ``imagesTr``;
    ``splits_final.json``, to be copied beside nnU-Net's preprocessed data, tells them apart.

    Args:
        folder: ``nnUNet_raw``.
        parts: ``train``, ``val`` and ``test`` exams.
        modalities: Channels, in order; labels are those of the first.
        dataset: nnU-Net's name, ``DatasetNNN_Name``.

    Returns:
        The data set's folder.

    Raises:
        DataError: Naming an exam without one of the modalities or without a label.
    """
    target = folder / dataset
    names: dict[str, list[str]] = {}
    for part, exams in parts.items():
        names[part] = [_case(exam) for exam in exams]
        for exam, name in zip(exams, names[part], strict=True):
            _write_case(target, exam, name, modalities, "Ts" if part == "test" else "Tr")
    table = {
        "channel_names": dict(enumerate(modalities)),
        "labels": {"background": 0, "tumour": 1},
        "numTraining": len(names["train"]) + len(names["val"]),
        "file_ending": ".nii.gz",
    }
    (target / "dataset.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    split = [{"train": names["train"], "val": names["val"]}]
    (target / "splits_final.json").write_text(json.dumps(split, indent=2) + "\n", encoding="utf-8")
    return target


def _case(exam: Exam) -> str:
    """Name of a case; nnU-Net splits off the channel at the last underscore only."""
    return exam.name.replace("/", "-")


def _write_case(target: Path, exam: Exam, name: str, modalities: Sequence[str], end: str) -> None:
    missing = [kind for kind in modalities if kind not in exam.images]
    first = modalities[0]
    if missing or first not in exam.masks:
        what = f"no {' and no '.join(missing)}" if missing else f"no label of {first}"
        raise DataError(f"{exam.name}: has {what}; nnU-Net needs every channel and its label")
    base = exam.images[first]
    for channel, kind in enumerate(modalities):
        data = base.data if kind == first else resample(exam.images[kind], base.affine, base.data.shape, order=3)
        write_volume(target / f"images{end}" / f"{name}_{channel:04d}.nii.gz", data.astype(np.float32), base.affine)
    label = (exam.masks[first].data > 0).astype(np.uint8)
    write_volume(target / f"labels{end}" / f"{name}.nii.gz", label, base.affine)
