"""Samples a second from cached files, beside a bare DataLoader over the same files, and memory as the set grows.

EEG: recordings of 20 minutes, 18 channels, 128 Hz, as the cache of prepared signals holds them; shuffled windows of
4 s. MRI: exams of 2 x 128 x 128 x 128 voxels on the planned grid, as the cache holds them; random patches of 96^3
voxels. The bare loader maps the files and cuts the same windows, or random patches, and does nothing else with them.
Each set is read in three processes: one epoch of EEG, 256 patches of MRI, files in the page cache; the fastest counts.
Memory is what a process has gained by reading (anonymous pages: mapped files leave when others need the room), least
and most of the three: it depends on how the heap is cut up.
Run: ``python benchmarks/data_throughput.py``; writes ``benchmarks/results/data_throughput.json``.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from neurotwin.contracts import Recording
from neurotwin.datamodules.eeg import EEGDataModule
from neurotwin.datamodules.formats.cache import StoredSignal
from neurotwin.datamodules.mri_patches import PatchDataset, Prepared
from neurotwin.files import write_json
from neurotwin.provenance import cpu_name, git_state
from torch.utils.data import DataLoader, Dataset

RESULT = Path(__file__).parent / "results" / "data_throughput.json"
REPEATS = 3
SIZES = {"eeg": (8, 32, 128), "mri": (8, 24, 72)}
CHANNELS, RATE_HZ, MINUTES, WINDOW = 18, 128.0, 20, 512
VOLUME, PATCH, PATCHES, BATCH = (128, 128, 128), (96, 96, 96), 256, {"eeg": 64, "mri": 4}


class Corpus(EEGDataModule):
    """Recordings that lie prepared in a folder."""

    def load(self):
        """Map them; nothing is read."""
        names = tuple(f"channel {n}" for n in range(CHANNELS))
        return [
            Recording(StoredSignal(path), RATE_HZ, names, path.stem, label=n % 2, metadata={"fingerprint": path.stem})
            for n, path in enumerate(sorted(self.root.glob("*.npy")))
        ]


class BareWindows(Dataset):
    """The same windows, cut from maps."""

    def __init__(self, folder):
        self.files = [np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))]
        self.rows = [(f, s) for f in self.files for s in range(0, f.shape[1] - WINDOW + 1, WINDOW)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        file, start = self.rows[index]
        return torch.from_numpy(np.array(file[:, start : start + WINDOW]))


class BarePatches(Dataset):
    """Random patches, cut from maps."""

    def __init__(self, folder):
        self.files = [
            tuple(
                np.load(path.with_name(path.name.replace("image", kind)), mmap_mode="r", allow_pickle=False)
                for kind in ("image", "mask")
            )
            for path in sorted(folder.glob("*_image.npy"))
        ]

    def __len__(self):
        return PATCHES

    def __getitem__(self, index):
        image, mask = self.files[torch.randint(len(self.files), ()).item()]
        start = [torch.randint(n - k + 1, ()).item() for n, k in zip(VOLUME, PATCH, strict=True)]
        box = tuple(slice(f, f + k) for f, k in zip(start, PATCH, strict=True))
        cut = torch.from_numpy(image[(slice(None), *box)].astype(np.float32))
        return cut, torch.from_numpy(mask[box].astype(np.int64))


def write_set(kind, folder, count):
    """Prepared files with noise in them, those of a smaller set among them."""
    rng = np.random.default_rng(0)
    for number in range(count):
        if kind == "eeg":
            path = folder / f"{number:04d}.npy"
            signal = rng.standard_normal((CHANNELS, int(RATE_HZ * 60 * MINUTES)), dtype=np.float32)
            _ = path.exists() or np.save(path, signal, allow_pickle=False)
        elif not (folder / f"{number:04d}_image.npy").exists():
            image = rng.standard_normal((2, *VOLUME), dtype=np.float32).astype(np.float16)
            np.save(folder / f"{number:04d}_image.npy", image, allow_pickle=False)
            mask = np.zeros(VOLUME, dtype=np.uint8)
            mask[50:70, 50:70, 50:70] = 1
            np.save(folder / f"{number:04d}_mask.npy", mask, allow_pickle=False)


def ours(kind, folder, workers):
    """The project's loader."""
    if kind == "eeg":
        corpus = Corpus(
            root=folder, window_samples=WINDOW, split="recording", folds=4, val_fraction=0, num_workers=workers
        )
        corpus.setup()
        return corpus.train_dataloader()
    cases = [
        Prepared(StoredSignal(path), StoredSignal(path.with_name(path.name.replace("image", "mask"))), (True, True),
                 (1.0, 1.0, 1.0), 1, row, np.full((5000, 3), 60, dtype=np.int32))
        for row, path in enumerate(sorted(folder.glob("*_image.npy")))
    ]  # fmt: skip
    return DataLoader(PatchDataset(cases, PATCH, PATCHES, 0.33, 0.0), BATCH[kind], num_workers=workers)


def bare(kind, folder, workers):
    """PyTorch's loader over the same files."""
    data = BareWindows(folder) if kind == "eeg" else BarePatches(folder)
    return DataLoader(data, BATCH[kind], shuffle=kind == "eeg", num_workers=workers)


def measure(kind, which, folder, workers):
    """Samples a second of one pass, and the anonymous memory that it took."""
    torch.set_num_threads(1)
    before = anonymous_mb()
    loader = {"ours": ours, "bare": bare}[which](kind, Path(folder), int(workers))
    start, used, count = time.perf_counter(), time.process_time(), 0
    for batch in loader:
        count += len(batch[0])
    wall, cpu = time.perf_counter() - start, time.process_time() - used
    print(json.dumps({"per_s": count / wall, "cpu_ms": 1000 * cpu / count, "mb": anonymous_mb() - before}))


def anonymous_mb():
    """Memory of this process that no file stands for."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024


def main():
    """Every kind, size, loader."""
    rows = []
    with tempfile.TemporaryDirectory() as root:
        for kind, sizes in SIZES.items():
            folder = Path(root) / kind
            folder.mkdir()
            for count in sizes:
                write_set(kind, folder, count)
                row = {"kind": kind, "files": count, "gb": sum(p.stat().st_size for p in folder.iterdir()) / 1e9}
                for which in ("bare", "ours"):
                    command = [sys.executable, __file__, kind, which, str(folder), "0"]
                    found = [json.loads(subprocess.check_output(command, text=True)) for _ in range(REPEATS)]
                    row[f"{which}_per_s"] = round(max(one["per_s"] for one in found))
                    row[f"{which}_cpu_ms"] = round(min(one["cpu_ms"] for one in found), 3)
                    row[f"{which}_mb"] = [round(pick(one["mb"] for one in found)) for pick in (min, max)]
                row["cpu_ratio"] = round(row["ours_cpu_ms"] / row["bare_cpu_ms"], 2)
                rows.append(row)
                print(json.dumps(row))
    record = {
        "what": __doc__.splitlines()[0],
        "sets": rows,
        "loader_processes": 0,
        "load_at_the_end": round(os.getloadavg()[0], 1),
        "torch": torch.__version__,
        "device": cpu_name(),
        "git": git_state(),
    }
    write_json(RESULT, record)


if __name__ == "__main__":
    measure(*sys.argv[1:]) if len(sys.argv) > 1 else main()
