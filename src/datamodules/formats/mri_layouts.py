"""Where the files of an MRI data set lie: six published layouts, one list of examinations."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from ...errors import ConfigError, DataError, did_you_mean

_END = r"\.nii(\.gz)?$"


@dataclass
class ExamFiles:
    """The files of one examination.

    Attributes:
        patient: Unique name.
        session: Name within the patient.
        images: Modality to file or DICOM folder.
        masks: Modality to the label on (or near) the grid of that image.
        second: The same of a second reader, where there is one.
        site: Where it was acquired; ``""`` when unknown.
        metadata: From ``exams.tsv``.
    """

    patient: str
    session: str
    images: dict[str, Path] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)
    second: dict[str, Path] = field(default_factory=dict)
    site: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)


def find_exams(root: Path, layout: str = "auto") -> tuple[str, list[ExamFiles]]:
    """All examinations below a folder.

    A table ``exams.tsv`` in the folder (columns ``patient``, ``session`` and any of ``site``, ``months``, ``koos``,
    ``side``, ``operated``, ``volume_ml``) adds what file names do not say.

    Args:
        root: Folder of the data set.
        layout: One of :data:`LAYOUTS`, or ``auto`` for the first that finds something.

    Returns:
        The layout and the examinations, sorted by patient and session.

    Raises:
        ConfigError: If the layout is unknown.
        DataError: If nothing is found.
    """
    if layout != "auto" and layout not in LAYOUTS:
        raise ConfigError(f"datamodule.layout={layout!r}: {did_you_mean(layout, [*LAYOUTS, 'auto'])}")
    for name in LAYOUTS if layout == "auto" else (layout,):
        exams = sorted(LAYOUTS[name](root), key=lambda e: (e.patient, e.session))
        exams = [exam for exam in exams if exam.images]
        if exams:
            _add_table(root / "exams.tsv", exams)
            return name, exams
    raise DataError(f"{root}: no examination in the layout {layout!r}; layouts: {', '.join(LAYOUTS)}")


def modality_of(text: str) -> str | None:
    """``ceT1w`` or ``T2w`` from a file's or channel's name; None when it says neither or both."""
    t1 = re.search(r"t1", text, re.IGNORECASE) is not None
    t2 = re.search(r"t2|ciss", text, re.IGNORECASE) is not None
    return None if t1 == t2 else "ceT1w" if t1 else "T2w"


def _gather(files: Iterable[Path], pattern: str) -> dict[tuple[str, str], ExamFiles]:
    """Exams from file names: the pattern's groups ``patient`` and ``session`` (optional) and ``kind``."""
    exams: dict[tuple[str, str], ExamFiles] = {}
    for path in files:
        match = re.search(pattern, path.name, re.IGNORECASE)
        if match is None:
            continue
        groups = match.groupdict()
        key = groups["patient"], groups.get("session") or "ses-1"
        exam = exams.setdefault(key, ExamFiles(*key))
        kind = modality_of(groups["kind"])
        if kind is not None:
            exam.images.setdefault(kind, path)
    return exams


#: Subject, session and further entities of a BIDS name.
_ENTITY = r"^(?P<patient>sub-[A-Za-z0-9]+)(_(?P<session>ses-[A-Za-z0-9]+))?_(?:[a-z]+-[A-Za-z0-9]+_)*"


def _anatomical(folders: Iterable[Path]) -> dict[tuple[str, str], ExamFiles]:
    """Exams of subjects' folders; of two T1w images that with contrast is taken."""
    files = [path for folder in folders for place in ("anat", "ses-*/anat") for path in folder.glob(f"{place}/*.nii*")]
    files.sort(key=lambda path: (not re.search("_ce-|_ceT1w", path.name), path))
    return _gather(files, _ENTITY + rf"(?P<kind>(ce)?T1w|T2w){_END}")


def bids_subjects(root: Path) -> list[Path]:
    """Folders of the subjects of a BIDS data set that have anatomical images; empty if it is none."""
    return [path for path in sorted(root.glob("sub-*")) if any(exam.images for exam in _anatomical([path]).values())]


def bids_subject(folder: Path) -> list[ExamFiles]:
    """The exams of one subject of a BIDS data set, sessions named ``sub-01_ses-1``; ``exams.tsv`` as in its root."""
    exams = [exam for _, exam in sorted(_anatomical([folder]).items()) if exam.images]
    _add_table(folder.parent / "exams.tsv", exams)
    for exam in exams:
        exam.session = "_".join(re.findall("(?:sub|ses)-[A-Za-z0-9]+", next(iter(exam.images.values())).name))
    return exams


def _bids(root: Path) -> list[ExamFiles]:
    exams = _anatomical(sorted(root.glob("sub-*")))
    for reader in ("manual_segmentation", "second_observer"):
        for folder in sorted((root / "derivatives").glob(f"{reader}_masks_of_*")):
            kind = modality_of(folder.name)
            for path in sorted(folder.rglob("*_mask.nii*")):
                match = re.search(_ENTITY, path.name)
                exam = match and exams.get((match["patient"], match["session"] or "ses-1"))
                if exam and kind:
                    (exam.masks if reader == "manual_segmentation" else exam.second).setdefault(kind, path)
    return list(exams.values())


def _vs_seg(root: Path) -> list[ExamFiles]:
    """The tree of VS_Seg, ``vs_gk_<n>/vs_gk_{t1_refT1,t2_refT2,seg_refT1,seg_refT2}.nii.gz``."""
    exams = []
    for folder in sorted(root.rglob("vs_gk_*")):
        if not folder.is_dir():
            continue
        exam = ExamFiles(folder.name, "ses-1", site="gk")
        for kind, tag in (("ceT1w", "1"), ("T2w", "2")):
            for store, part in ((exam.images, f"t{tag}"), (exam.masks, "seg")):
                path = folder / f"vs_gk_{part}_refT{tag}.nii.gz"
                if path.exists():
                    store[kind] = path
        exams.append(exam)
    return exams


def _crossmoda(root: Path) -> list[ExamFiles]:
    """``crossmoda2021_ldn_<n>_{ceT1,hrT2,Label}.nii.gz``; the label lies on the ceT1 grid where there is one."""
    name = r"^(?P<patient>crossmoda\d+_(?P<site>[a-z]+)_\d+)_"
    files = sorted(root.rglob("crossmoda*.nii*"))
    exams = _gather(files, name + rf"(?P<kind>ceT1|hrT2|T2){_END}")
    for path in files:
        match = re.search(name + rf"label{_END}", path.name, re.IGNORECASE)
        exam = match and exams.get((match["patient"], "ses-1"))
        if match and exam:
            exam.masks["ceT1w" if "ceT1w" in exam.images else "T2w"] = path
    for exam in exams.values():
        exam.site = exam.patient.split("_")[1]
    return list(exams.values())


def _nnunet(root: Path) -> list[ExamFiles]:
    """``imagesTr/<case>_0000.nii.gz``, ``labelsTr/<case>.nii.gz``, channel names in ``dataset.json``."""
    table = root / "dataset.json"
    if not table.exists():
        return []
    try:
        content = json.loads(table.read_text(encoding="utf-8"))
        channels = {int(number): str(name) for number, name in content["channel_names"].items()}
        ending = content.get("file_ending", ".nii.gz")
    except (ValueError, KeyError, AttributeError) as error:
        raise DataError(f"{table}: no nnU-Net dataset.json ({type(error).__name__}: {error})") from error
    exams: dict[str, ExamFiles] = {}
    for path in sorted((root / "imagesTr").glob(f"*{ending}")):
        case, _, number = path.name.removesuffix(ending).rpartition("_")
        kind = modality_of(channels.get(int(number), "")) if number.isdigit() else None
        if kind is None:
            raise DataError(f"{table}: channel {number} of {path.name} is named neither T1 nor T2")
        exam = exams.setdefault(case, ExamFiles(case, "ses-1"))
        exam.images[kind] = path
        label = root / "labelsTr" / f"{case}{ending}"
        if label.exists():
            exam.masks[kind] = label
    return list(exams.values())


def _pyradise(root: Path) -> list[ExamFiles]:
    """``VS-SEG-<n>/{img_*_T1,img_*_T2,seg_*_TV}.nii.gz``; the segmentation lies on the T1 grid."""
    exams = []
    for folder in sorted({path.parent for path in root.rglob("img_*.nii.gz")}):
        exam = ExamFiles(folder.name, "ses-1", site="gk")
        for path in sorted(folder.glob("img_*.nii.gz")):
            kind = modality_of(path.name.rpartition("_")[2])
            if kind:
                exam.images[kind] = path
        for path in sorted(folder.glob("seg_*TV.nii.gz")):
            exam.masks["ceT1w" if "ceT1w" in exam.images else "T2w"] = path
        exams.append(exam)
    return exams


def _tcia(root: Path) -> list[ExamFiles]:
    """MC-RC as TCIA serves it: DICOM series by UID, masks as ``<patient>/<date>/<name>_<modality>.nii.gz``.

    A ``*segmentation-info*.csv`` joins them by ``SegmentationPath`` and ``series_instance_uid``. Masks that it names
    but that are not public are skipped.
    """
    exams: dict[tuple[str, str], ExamFiles] = {}
    for table in sorted(root.rglob("*segmentation-info*.csv")):
        series = {path.name: path for path in root.rglob("*") if path.is_dir()}
        rows = pd.read_csv(table, dtype=str).fillna("")
        for column in ("SegmentationPath", "series_instance_uid"):
            if column not in rows:
                raise DataError(f"{table}: has no column {column!r}; its columns: {', '.join(rows.columns)}")
        for path_text, uid in zip(rows["SegmentationPath"], rows["series_instance_uid"], strict=True):
            parts = Path(path_text.replace("\\", "/")).parts[-3:]
            kind = modality_of(parts[-1].rpartition("_")[2]) if len(parts) == 3 else None
            mask = next((p for p in table.parent.glob("*egmentations*") if p.joinpath(*parts).exists()), None)
            if kind is None or mask is None or uid not in series:
                continue
            exam = exams.setdefault((parts[0], parts[1]), ExamFiles(parts[0], parts[1]))
            exam.images[kind], exam.masks[kind] = series[uid], mask.joinpath(*parts)
    return list(exams.values())


#: Name to reader, in the order in which ``auto`` tries them.
LAYOUTS: dict[str, Callable[[Path], list[ExamFiles]]] = {
    "bids": _bids,
    "nnunet": _nnunet,
    "vs_seg": _vs_seg,
    "crossmoda": _crossmoda,
    "pyradise": _pyradise,
    "tcia": _tcia,
}


def _add_table(path: Path, exams: list[ExamFiles]) -> None:
    if not path.exists():
        return
    table = pd.read_csv(path, sep="\t", dtype={"patient": str, "session": str, "site": str, "side": str})
    if not {"patient", "session"} <= set(table.columns):
        raise DataError(f"{path}: needs the columns patient and session; it has {', '.join(table.columns)}")
    rows = {(row["patient"], row["session"]): row for row in table.to_dict("records")}
    for exam in exams:
        row = {k: v for k, v in rows.get((exam.patient, exam.session), {}).items() if pd.notna(v)}
        exam.site = str(row.get("site", exam.site))
        exam.metadata = {str(k): v for k, v in row.items() if k not in ("patient", "session", "site")}
