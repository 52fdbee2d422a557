"""Miniature copies of every data set on disk, with random signals, so that tests need no download.

Each ``make_<datamodule>(folder)`` writes the files and returns the arguments that point the datamodule to them.
"""

import json
import locale
from collections.abc import Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from edfio import Edf, EdfSignal, Recording
from neurotwin.contracts import CircuitRecording, Event
from neurotwin.datamodules.formats.bonn_text import N_SAMPLES, SETS
from neurotwin.datamodules.formats.montage import COMMON_AVERAGE, DOUBLE_BANANA
from neurotwin.datamodules.formats.szcore_tsv import write_szcore_tsv
from neurotwin.simulators.half_center import write_mat

#: Channels of a usual CHB-MIT file: T8-P8 stands twice.
CHBMIT_CHANNELS = (
    *("FP1-F7", "F7-T7", "T7-P7", "P7-O1", "FP1-F3", "F3-C3", "C3-P3", "P3-O1", "FP2-F4", "F4-C4", "C4-P4", "P4-O2"),
    *("FP2-F8", "F8-T8", "T8-P8", "P8-O2", "FZ-CZ", "CZ-PZ", "P7-T7", "T7-FT9", "FT9-FT10", "FT10-T8", "T8-P8"),
)


@contextmanager
def kept_locale():
    """GDCM's writer leaves the process in the locale C, in which only ASCII text can be read; its reader does not."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


def noise(channels: int, samples: int, seed: int = 0, scale_uv: float = 40.0) -> np.ndarray:
    """White noise, ``(channel, time)``, µV."""
    return scale_uv * np.random.default_rng(seed).standard_normal((channels, samples))


def write_edf(
    path: Path, labels: Sequence[str], signal: np.ndarray, rate: float, unit: str = "uV", limit: float = 800.0
) -> Path:
    """An EDF file of 16-bit samples; ``limit`` is the physical range in the unit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = [
        EdfSignal(
            np.clip(row, -limit, limit), rate, label=label, physical_dimension=unit, physical_range=(-limit, limit)
        )
        for label, row in zip(labels, signal, strict=True)
    ]
    start = datetime(2021, 3, 4, 5, 6, 7)
    Edf(signals, recording=Recording(startdate=start.date()), starttime=start.time()).write(path)
    return path


def write_bonn_text(path: Path, samples: np.ndarray) -> Path:
    """One integer a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(str(round(float(value))) for value in samples) + "\n", encoding="utf-8")
    return path


def make_bonn(folder: Path, per_set: int = 12) -> dict[str, Any]:
    """Five folders of text files; set N has the extension .TXT, as published."""
    for index, letter in enumerate(SETS):
        for number in range(1, per_set + 1):
            extension = "TXT" if letter == "N" else "txt"
            samples = noise(1, N_SAMPLES, seed=1000 * index + number, scale_uv=30.0 + 20 * index)[0]
            write_bonn_text(folder / letter / f"{letter}{number:03d}.{extension}", samples)
    return {"root": str(folder), "recordings_per_set": per_set, "folds": 3, "val_fraction": 0.25, "window_samples": 512}


def make_chbmit_clips(folder: Path, cases: int = 8) -> dict[str, Any]:
    """Packed clips: two seizures a case, the second too short to be continuous with what follows."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = []
    for case_number in range(1, cases + 1):
        case, arrays = f"chb{case_number:02d}", {}
        for tag, kind, seconds, ictal in (("aa", "a", 48, [[0, 24]]), ("bb", "i", 20, [[0, 20]]), ("bb", "p", 20, [])):
            key = f"{case}_01_{tag}_{kind}"
            signal = np.round(noise(18, seconds * 128, seed=hash_seed(key)) * 2).astype(np.int16)
            arrays[key] = encode_clip(signal)
            pieces.append(
                {
                    **{"key": key, "case": case, "record": f"{case}_01.edf", "tag": tag, "piece": kind},
                    **{"n_samples": seconds * 128, "seizure_s": ictal[0][1] if ictal else 20, "ictal": ictal},
                    **{"start_rel_onset_s": 60 if kind == "p" else 0, "montage": "bipolar", "overlap_err_uV": 0.0},
                }
            )
        np.savez(folder / f"{case}.npz", **arrays)
    index = {"fs": 128, "channels": list(DOUBLE_BANANA.channel_names), "unit": "microvolt", "scale": 0.5}
    (folder / "index.json").write_text(json.dumps({**index, "pieces": pieces}))
    return {"root": str(folder), "folds": 3, "val_fraction": 0.25, "window_s": 4.0}


def make_chbmit(folder: Path, cases: int = 7, seconds: int = 48) -> dict[str, Any]:
    """EDF files and summaries: one file with a seizure, one without, a case."""
    for number in range(1, cases + 1):
        case = f"chb{number:02d}"
        for record in ("01", "02"):
            signal = noise(len(CHBMIT_CHANNELS), seconds * 256, seed=10 * number + int(record))
            signal[-1] = signal[CHBMIT_CHANNELS.index("T8-P8")]
            write_edf(folder / case / f"{case}_{record}.edf", CHBMIT_CHANNELS, signal, 256)
        (folder / case / f"{case}-summary.txt").write_text(summary_text(case, {"01": [], "02": [(10, 30)]}))
    cache = str(folder.parent / f"{folder.name}-cache")
    return {"root": str(folder), "cache_dir": cache, "folds": 3, "val_fraction": 0.25, "window_s": 4.0}


def make_szcore(folder: Path, subjects: int = 7, seconds: int = 40) -> dict[str, Any]:
    """A BIDS folder of EDF files with electrodes against one reference, and annotation TSV files."""
    for number in range(1, subjects + 1):
        stem = f"sub-{number:02d}_task-szMonitoring_run-00"
        labels = [f"{name}-Ref" for name in COMMON_AVERAGE.channel_names]
        path = folder / f"sub-{number:02d}" / "eeg" / f"{stem}_eeg.edf"
        write_edf(path, labels, noise(len(labels), seconds * 256, seed=number), 256)
        write_szcore_tsv(path.with_name(f"{stem}_events.tsv"), [Event(8.0, 16.0, "sz_foc_ia")], seconds)
    cache = str(folder.parent / f"{folder.name}-cache")
    return {"root": str(folder), "cache_dir": cache, "folds": 3, "val_fraction": 0.25, "window_s": 4.0}


def make_fmri(folder: Path, subjects: int = 8, regions: int = 12, volumes: int = 60) -> dict[str, Any]:
    """ABIDE-style text at rest and during a story: regions share a signal, as real ones do."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, subjects + 1):
        for condition in ("rest", "story"):
            series = bold(volumes, regions, hash_seed(f"{number}{condition}"))
            write_1d(folder / f"sub-{number:02d}_{condition}.1D", series)
    return {"root": str(folder), "folds": 3, "val_fraction": 0.25}


def make_activation(folder: Path, subjects: int = 8, regions: int = 12) -> dict[str, Any]:
    """Resting text files and a table of activations."""
    given = make_fmri(folder / "scans", subjects, regions)
    lines = ["\t".join(["participant_id", "condition", *(f"roi-{k}" for k in range(regions))])]
    for number in range(1, subjects + 1):
        for condition in ("story", "math"):
            values = np.random.default_rng(hash_seed(f"{number}{condition}")).standard_normal(regions)
            lines.append("\t".join([f"sub-{number:02d}", condition, *(f"{value:.4f}" for value in values)]))
    table = folder / "activations.tsv"
    table.write_text("\n".join(lines) + "\n")
    return {**given, "activations": str(table), "contrast": "story"}


def make_listening(folder: Path, subjects: int = 8, volumes: int = 50) -> dict[str, Any]:
    """The published layout: series of six regions that share a signal, and two features of the stimulus."""
    (folder / "10mm").mkdir(parents=True, exist_ok=True)
    shared = np.random.default_rng(0).standard_normal((volumes, 1))
    for number in range(1, subjects + 1):
        np.savetxt(folder / "10mm" / f"s{number:02d}-timecourses.txt", shared + bold(volumes, 6, number))
        for feature in ("rate", "sndpwr"):
            np.savetxt(folder / f"s{number:02d}-{feature}.txt", bold(volumes, 1, hash_seed(f"{number}{feature}")))
    return {"root": str(folder), "folds": 3, "val_fraction": 0.25}


def bold(volumes: int, regions: int, seed: int = 0) -> np.ndarray:
    """Correlated noise, ``(volume, roi)``, arbitrary unit."""
    rng = np.random.default_rng(seed)
    return 1000 + rng.standard_normal((volumes, regions)) + rng.standard_normal((volumes, 1))


def write_1d(path: Path, series: np.ndarray) -> Path:
    """Text with a line of region numbers, as ABIDE has it."""
    header = "\t".join(f"#{k}" for k in range(1, series.shape[1] + 1))
    np.savetxt(path, series, fmt="%.6f", delimiter="\t", header=header, comments="")
    return path


def make_cpg(folder: Path, trials: int = 3, samples: int = 6000) -> dict[str, Any]:
    """Trials of two noisy neurons in the authors' MATLAB layout."""
    for number in range(trials):
        voltage, current, synaptic = (noise(2, samples, seed=10 * number + k, scale_uv=1.0) for k in range(3))
        trial = CircuitRecording("", 10_000.0, voltage.T - 50, current.T, synaptic.T)
        write_mat(folder / f"rtxi_data_Trial{number}.mat", trial)
    return {"root": str(folder), "folds": 3, "fold": 0, "drop_s": 0.05, "segment_s": 0.1}


def make_patch_clamp(folder: Path, samples: int = 4000) -> dict[str, Any]:
    """Two sweeps in each of two conditions, in NPZ files that state their units."""
    folder.mkdir(parents=True, exist_ok=True)
    time_ms = np.arange(samples) * 0.05
    for number, condition in enumerate(("control", "drug")):
        voltage = -65 + noise(2, samples, seed=number, scale_uv=3.0)
        np.savez(folder / f"cell_{condition}.npz", V_mV=voltage, I_pA=50 * np.sin(time_ms), t=time_ms)
    where = {"root": str(folder), "pattern": "'*.npz'", "begin_ms": 20.0, "lead_ms": 10.0, "window_ms": 20.0}
    return {**where, "conditions": "{control:control,drug:drug}", "folds": 4, "fold": 3}


def encode_clip(signal: np.ndarray) -> np.ndarray:
    """The packing of the clips: low and high bytes of differences, modulo 2^16."""
    difference = np.diff(signal, axis=1, prepend=np.int16(0)).astype(np.int16).view(np.uint16)
    return np.stack([difference & 0xFF, difference >> 8]).astype(np.uint8)


def summary_text(case: str, seizures: dict[str, list[tuple[int, int]]]) -> str:
    """A summary as CHB-MIT has it, seizures numbered where there are several."""
    lines = ["Data Sampling Rate: 256 Hz", "*" * 25, "", "Channels in EDF Files:", "Channel 1: FP1-F7", ""]
    for record, times in seizures.items():
        lines += [f"File Name: {case}_{record}.edf", "File Start Time: 23:42:54", "File End Time: 24:42:54"]
        lines.append(f"Number of Seizures in File: {len(times)}")
        for number, (onset, end) in enumerate(times, start=1):
            label = f"Seizure {number}" if len(times) > 1 else "Seizure"
            lines += [f"{label} Start Time: {onset} seconds", f"{label} End Time:  {end} seconds"]
        lines.append("")
    return "\n".join(lines)


def hash_seed(text: str) -> int:
    """A seed that is the same in every process."""
    return int.from_bytes(text.encode()[-6:], "big")


def mri_exam(seed, shape=(40, 36, 20), spacing=(1.0, 1.0, 1.6), codes="LPS", radius=5.0):
    """A head-like ball with a bright ball in it, and its label: data, label, affine."""
    from neurotwin.simulators.mri_sites import stored

    rng = np.random.default_rng(seed)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = rng.normal(0, 20, 3)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1) * spacing
    middle = (np.array(shape) - 1) * spacing / 2
    head = np.linalg.norm((index - middle) / (0.46 * np.array(shape) * spacing), axis=-1) < 1
    tumour = np.linalg.norm(index - middle - [7, 1, 0], axis=-1) < radius
    data = (100 * head + 120 * tumour + rng.normal(0, 6, shape)).clip(0).astype(np.int16)
    image, label = (stored(a, affine, codes, "") for a in (data, tumour.astype(np.uint8)))
    return image.data, label.data, image.affine


def make_mri(folder):
    """Six patients in BIDS form, two exams of the first, T2w or ceT1w missing in some, axes in different orders."""
    from neurotwin.datamodules.formats.volume_files import write_volume

    table = ["patient\tsession\tsite\tmonths\tkoos"]
    for number in range(7):
        patient, session = f"sub-{max(number, 1):02d}", "ses-1" if number else "ses-2"
        for kind in ("T1w", "T2w")[number % 3 == 1 :] if number % 3 < 2 else ("T1w",):
            data, label, affine = mri_exam(number, codes=("RAS", "LPS", "LPI")[number % 3])
            stem = f"{patient}/{session}/anat/{patient}_{session}"
            write_volume(folder / f"{stem}_{kind}.nii.gz", data, affine)
            mask = folder / "derivatives" / f"manual_segmentation_masks_of_{kind}" / f"{stem}_desc-tumor_mask.nii.gz"
            write_volume(mask, label, affine)
        table.append(f"{patient}\t{session}\tsite{number % 2}\t{12 * (number == 0)}\t2")
    (folder / "exams.tsv").write_text("\n".join(table) + "\n")
    return {"root": folder, "folds": 3, "spacing_mm": "[1,1,1.6]", "patch_size": "[32,32,16]", "patches_per_epoch": 8}
