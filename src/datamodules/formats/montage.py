"""Montages: from the channels that a file has to the channels that a model sees, as one small matrix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import DataError

#: The names of 1958 for electrodes that the 10-10 system renamed.
_MODERN = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}


@dataclass(frozen=True)
class Montage:
    """Output channels as differences of electrodes, or as electrodes against their common average.

    Attributes:
        name: For messages.
        channel_names: ``A-B`` for a bipolar channel, ``A`` for one against the common average.
    """

    name: str
    channel_names: tuple[str, ...]

    def weights(self, labels: Sequence[str], origin: str) -> tuple[list[int], np.ndarray]:
        """How to derive the montage from a file's channels.

        A bipolar channel is taken where the file has it (the first, where it has it twice, as CHB-MIT has T8-P8) or
        derived from two electrodes that share a reference. Labels may carry ``EEG ``, a reference (``-REF``, ``-LE``,
        ``-CS2``), MNE's running number (``T8-P8-0``), either spelling of T3/T7; dummies such as ``-`` are passed over.

        Args:
            labels: Channel labels of the file, in order.
            origin: File, for messages.

        Returns:
            Indices of the file's channels that are needed, and the matrix ``(channel, needed)`` that maps them.

        Raises:
            DataError: Channels or electrodes are missing (they are listed), or references differ.
        """
        pairs, electrodes = _inventory(labels)
        rows: list[dict[int, float]] = []
        missing: list[str] = []
        for channel in self.channel_names:
            names = tuple(_electrode(part) for part in channel.split("-"))
            row = _bipolar(names, pairs, electrodes) if len(names) == 2 else _single(names[0], electrodes)
            if row is None:
                missing.append(channel)
            else:
                rows.append(row)
        if missing:
            raise DataError(
                f"{origin}: cannot derive {len(missing)} of {len(self.channel_names)} channels of the {self.name} "
                f"montage: {', '.join(missing)}; the file has {', '.join(labels) or 'no channel'}"
            )
        needed = sorted({index for row in rows for index in row})
        matrix = np.zeros((len(rows), len(needed)))
        for position, row in enumerate(rows):
            for index, weight in row.items():
                matrix[position, needed.index(index)] = weight
        if not any("-" in channel for channel in self.channel_names):
            references = {electrodes[_electrode(channel)][1] for channel in self.channel_names}
            if len(references) > 1:
                raise DataError(
                    f"{origin}: electrodes have different references ({', '.join(sorted(references))}), so the "
                    f"{self.name} montage is not defined; re-reference the file first"
                )
            matrix -= matrix.mean(axis=0, keepdims=True)
        return needed, matrix.astype(np.float32)


class SingleChannel(Montage):
    """The only channel of a file, whatever its name."""

    def weights(self, labels: Sequence[str], origin: str) -> tuple[list[int], np.ndarray]:
        """Identity, where there is one channel."""
        if len(labels) != 1:
            raise DataError(f"{origin}: has {len(labels)} channels ({', '.join(labels)}), expected a single one")
        return [0], np.ones((1, 1), dtype=np.float32)


DOUBLE_BANANA = Montage(
    "double banana",
    (
        *("FP1-F7", "F7-T7", "T7-P7", "P7-O1"),
        *("FP1-F3", "F3-C3", "C3-P3", "P3-O1"),
        *("FP2-F4", "F4-C4", "C4-P4", "P4-O2"),
        *("FP2-F8", "F8-T8", "T8-P8", "P8-O2"),
        *("FZ-CZ", "CZ-PZ"),
    ),
)
#: Order of SzCORE (Dan et al. 2024).
COMMON_AVERAGE = Montage(
    "common average",
    (
        *("Fp1", "F3", "C3", "P3", "O1", "F7", "T3", "T5"),
        *("Fz", "Cz", "Pz"),
        *("Fp2", "F4", "C4", "P4", "O2", "F8", "T4", "T6"),
    ),
)
MONTAGES = {"double_banana": DOUBLE_BANANA, "common_average": COMMON_AVERAGE}
_SCALP = frozenset(re.findall(r"\w+", " ".join((*DOUBLE_BANANA.channel_names, "FT9 FT10 F9 F10 TP9 TP10 OZ FPZ"))))

_Pairs = dict[tuple[str, ...], int]
_Electrodes = dict[str, tuple[int, str]]


def _electrode(label: str) -> str:
    upper = label.strip().upper()
    return _MODERN.get(upper, upper)


def _inventory(labels: Sequence[str]) -> tuple[_Pairs, _Electrodes]:
    """Bipolar channels ``(plus, minus) -> index`` and electrodes ``name -> (index, reference)``; the first of twins."""
    pairs: _Pairs = {}
    electrodes: _Electrodes = {}
    for index, label in enumerate(labels):
        parts = [_electrode(part) for part in re.sub(r"^EEG\s+", "", label.strip(), flags=re.IGNORECASE).split("-")]
        if len(parts) > 1 and parts[-1].isdigit():
            parts = parts[:-1]
        if parts[0] not in _SCALP:
            continue
        if len(parts) == 2 and parts[1] in _SCALP:
            pairs.setdefault((parts[0], parts[1]), index)
        else:
            electrodes.setdefault(parts[0], (index, "-".join(parts[1:])))
    return pairs, electrodes


def _bipolar(names: tuple[str, ...], pairs: _Pairs, electrodes: _Electrodes) -> dict[int, float] | None:
    plus, minus = names
    if (plus, minus) in pairs:
        return {pairs[plus, minus]: 1.0}
    if (minus, plus) in pairs:
        return {pairs[minus, plus]: -1.0}
    if plus in electrodes and minus in electrodes and electrodes[plus][1] == electrodes[minus][1]:
        return {electrodes[plus][0]: 1.0, electrodes[minus][0]: -1.0}
    return None


def _single(name: str, electrodes: _Electrodes) -> dict[int, float] | None:
    return {electrodes[name][0]: 1.0} if name in electrodes else None
