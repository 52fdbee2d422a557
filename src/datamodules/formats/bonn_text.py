"""The Bonn EEG time series (Andrzejak et al. 2001): five sets of text files, their zips, or one packed ``.npz``."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from ...errors import DataError

SAMPLING_RATE_HZ = 173.61
#: Of the amplifier.
BAND_HZ = (0.53, 40.0)
N_SAMPLES = 4097
#: The letters of the files as published, and of the paper. They have none in common, so both may be written.
SETS = {"Z": "A", "O": "B", "N": "C", "F": "D", "S": "E"}
PAPER_TO_FILE = {paper: file for file, paper in SETS.items()}

_FILE = re.compile(r"([A-EZONFS])(\d{3})\.txt", re.IGNORECASE)
_FOLDER = re.compile(r"(?:set[ _-]?)?([A-EZONFS])", re.IGNORECASE)
#: A published file has about 20 kB; more than this inside a zip is not one.
_LARGEST_BYTES = 1_000_000


@dataclass(frozen=True)
class BonnFile:
    """Where one recording lies.

    Attributes:
        letter: Set, one of ``Z O N F S``.
        number: From 1.
        origin: File, zip member or npz row, for messages.
        signal: Reads the samples, ``(time,)``, µV.
    """

    letter: str
    number: int
    origin: str
    signal: Callable[[], np.ndarray]


class Each(Protocol):
    """Applies a reader to every item; the caller decides what becomes of those that cannot be read."""

    def __call__(self, items: list[Path], reader: Callable[[Path], list[BonnFile]], /) -> list[list[BonnFile]]:
        """One result a readable item."""


def _strict(items: list[Path], reader: Callable[[Path], list[BonnFile]], /) -> list[list[BonnFile]]:
    return [reader(item) for item in items]


def find_bonn(root: Path, each: Each = _strict) -> list[BonnFile]:
    """All recordings below a folder, in the order Z, O, N, F, S and of their numbers; empty where there are none.

    Packed ``.npz`` files come first, then text files, then zips: the first kind that is found is taken.

    Raises:
        DataError: Two files claim to be the same recording, or a file's name contradicts its folder.
    """
    paths = sorted(Path(folder) / name for folder, _, names in os.walk(root) for name in names)
    for kind in (_packed, _text, _zipped):
        found: dict[tuple[str, int], BonnFile] = {}
        for file in chain.from_iterable(each(paths, partial(kind, root))):
            twin = found.setdefault((file.letter, file.number), file)
            if twin is not file:
                name = f"{file.letter}{file.number:03d}"
                raise DataError(f"{file.origin} and {twin.origin} are both recording {name}")
        if found:
            order = list(SETS)
            return [found[key] for key in sorted(found, key=lambda key: (order.index(key[0]), key[1]))]
    return []


def read_bonn_text(path: Path, n_samples: int | None = N_SAMPLES) -> np.ndarray:
    """Samples of one text file, ``(time,)``, float32, µV; ``n_samples=None`` for a file of any length."""
    try:
        return parse_bonn_text(path.read_bytes(), str(path), n_samples)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def parse_bonn_text(data: bytes, origin: str, n_samples: int | None = N_SAMPLES) -> np.ndarray:
    """Samples of a text file, one integer a line, ``(time,)``, float32, µV."""
    if not data.strip():
        raise DataError(f"{origin}: empty file ({len(data)} bytes)")
    tokens = data.split()
    try:
        samples = np.array([int(token) for token in tokens], dtype=np.float32)
    except ValueError:
        line, token = next((i, t) for i, t in enumerate(tokens, start=1) if not re.fullmatch(rb"[+-]?\d+", t))
        shown = token[:20].decode("ascii", "replace")
        raise DataError(f"{origin}: value {line} is {shown!r}, expected an integer (µV)") from None
    return check_signal(samples, origin, n_samples)


def check_signal(samples: np.ndarray, origin: str, n_samples: int | None = N_SAMPLES) -> np.ndarray:
    """The samples, when they can be a recording: ``n_samples`` finite values that are not all the same."""
    if n_samples is not None and samples.shape != (n_samples,):
        raise DataError(f"{origin}: holds {samples.size} samples, expected {n_samples} (truncated, or no Bonn file)")
    if not np.isfinite(samples).all():
        raise DataError(f"{origin}: holds {np.count_nonzero(~np.isfinite(samples))} values that are NaN or infinite")
    if np.ptp(samples) == 0:
        raise DataError(f"{origin}: constant signal ({samples[0]:g} throughout)")
    return samples


def _text(root: Path, path: Path) -> list[BonnFile]:
    matched = _FILE.fullmatch(path.name)
    if not matched:
        return []
    letter, number = _identify(matched, path.parent.name if path.parent != root else "", str(path))
    return [BonnFile(letter, number, str(path), partial(read_bonn_text, path))]


def _zipped(root: Path, path: Path) -> list[BonnFile]:
    if path.suffix.lower() != ".zip":
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path}: not a readable zip file ({error}); download it again") from error
    files = []
    for member in members:
        # Resource forks that macOS adds carry the same base names.
        folder, _, name = member.filename.rpartition("/")
        matched = _FILE.fullmatch(name)
        if matched and not folder.startswith("__MACOSX"):
            origin = f"{path}!{member.filename}"
            letter, number = _identify(matched, folder.rpartition("/")[2], origin)
            files.append(BonnFile(letter, number, origin, partial(_member, path, member, origin)))
    return files


def _member(path: Path, member: zipfile.ZipInfo, origin: str) -> np.ndarray:
    """Samples of a zip member, read in memory: nothing is ever extracted under a name that the archive chooses."""
    if member.file_size > _LARGEST_BYTES:
        raise DataError(f"{origin}: {member.file_size} bytes unpacked, no Bonn recording is that long")
    try:
        with zipfile.ZipFile(path) as archive:
            data = archive.read(member)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise DataError(f"{origin}: cannot be unpacked ({error}); download the zip again") from error
    return parse_bonn_text(data, origin)


def _packed(root: Path, path: Path) -> list[BonnFile]:
    if path.suffix.lower() != ".npz":
        return []
    try:
        with np.load(path, allow_pickle=False) as packed:
            if not set(SETS) <= set(packed.files):
                return []
            sets = {letter: packed[letter] for letter in SETS}
            rate = float(packed["fs"]) if "fs" in packed.files else SAMPLING_RATE_HZ
    except Exception as error:  # zipfile, zlib, numpy: each has its own errors for a damaged file
        raise DataError(f"{path}: not a readable npz file ({error})") from error
    if abs(rate - SAMPLING_RATE_HZ) > 0.01:
        raise DataError(f"{path}: sampling rate fs={rate:g} Hz, the Bonn recordings have {SAMPLING_RATE_HZ} Hz")
    files = []
    for letter, rows in sets.items():
        for row in range(len(rows)):
            origin = f"{path}[{letter}][{row}]"
            samples = np.asarray(rows[row], dtype=np.float32)
            files.append(BonnFile(letter, row + 1, origin, partial(check_signal, samples, origin)))
    return files


def _identify(matched: re.Match[str], folder: str, origin: str) -> tuple[str, int]:
    """Set and number from the file's name, checked against the folder where that names a set too."""
    letter = _file_letter(matched[1])
    named = _FOLDER.fullmatch(folder)
    if named and _file_letter(named[1]) != letter:
        raise DataError(
            f"{origin}: the file's name says set {letter} ({SETS[letter]}), its folder {folder!r} says set "
            f"{_file_letter(named[1])}; put it where it belongs"
        )
    return letter, int(matched[2])


def _file_letter(letter: str) -> str:
    upper = letter.upper()
    return PAPER_TO_FILE.get(upper, upper)
