"""Arrays that are slow to compute, kept on disk under a hash of what they were computed from."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np


def cache_folder() -> Path:
    """``$NEUROTWIN_CACHE``, else ``$XDG_CACHE_HOME/neurotwin``, else ``~/.cache/neurotwin``. Safe to delete."""
    given = os.environ.get("NEUROTWIN_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neurotwin"


def cached_file(key: str, compute: Callable[[], np.ndarray], folder: Path | None = None) -> Path:
    """Path of the ``.npy`` file that holds ``compute()``, computed when it is not there yet or unreadable.

    Args:
        key: Identifies the content, in letters that a file name may have; ``/`` makes folders.
        compute: Called at most once.
        folder: Instead of :func:`cache_folder`.
    """
    path = (folder or cache_folder()) / f"{key}.npy"
    try:
        np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two processes may compute the same array: each writes its own file, and the rename is atomic.
        handle, draft = tempfile.mkstemp(suffix=".npy", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.save(file, compute(), allow_pickle=False)
            os.replace(draft, path)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise
    return path


def cached_array(key: str, compute: Callable[[], np.ndarray], folder: Path | None = None) -> np.ndarray:
    """``compute()``, from disk where it was computed before; computed in memory where the disk cannot be written."""
    try:
        path = cached_file(key, compute, folder)
    except OSError:
        return compute()
    return np.load(path, allow_pickle=False)


class StoredSignal:
    """A signal on disk with the part of the array interface that windows need: shape, slices, ``np.asarray``.

    The file is mapped at the first access and again in every process that gets a copy: a pickled memory map would
    carry all its samples to each loader process.

    Args:
        path: ``.npy`` file, ``(channel, time)``.
    """

    def __init__(self, path: Path):
        self.path = path
        self.shape: tuple[int, ...] = self._map().shape
        self.dtype = self._map().dtype
        self.ndim = len(self.shape)

    def _map(self) -> np.ndarray:
        return _mapped(self.path)

    def __getitem__(self, key: Any) -> np.ndarray:
        return self._map()[key]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self._map(), dtype=dtype)


@lru_cache(maxsize=128)
def _mapped(path: Path) -> np.ndarray:
    """Memory map of a file; the cache bounds the number of open files."""
    return np.load(path, mmap_mode="r", allow_pickle=False)
