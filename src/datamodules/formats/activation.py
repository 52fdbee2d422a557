"""Task activation of regions: the toolbox NPZ of Cole's group, or a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ...errors import DataError, MissingDataError

Array = NDArray[np.float64]
ACTIVATION_LAYOUT = (
    "NPZ with taskbeta (roi, condition, subject), conditions and subjects; or a table (.tsv, .csv) with "
    "participant_id, condition and one column a region"
)


def read_activations(path: Path) -> dict[str, dict[str, Array]]:
    """Activation ``(roi,)`` by condition and person.

    Raises:
        DataError: The file is missing or has another layout.
    """
    if not path.exists():
        raise MissingDataError(path, "task activation of your own, such as GLM betas", "your own", ACTIVATION_LAYOUT)
    return _read_npz(path) if path.suffix == ".npz" else _read_table(path)


def _read_npz(path: Path) -> dict[str, dict[str, Array]]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            beta, conditions, subjects = (arrays[name] for name in ("taskbeta", "conditions", "subjects"))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: not readable ({error}); expected {ACTIVATION_LAYOUT}") from error
    if beta.ndim != 3 or beta.shape[1:] != (len(conditions), len(subjects)):
        raise DataError(
            f"{path}: taskbeta {beta.shape} does not fit {len(conditions)} conditions of {len(subjects)} subjects; "
            f"expected {ACTIVATION_LAYOUT}"
        )
    return {
        str(condition): {str(subject): beta[:, i, k].astype(np.float64) for k, subject in enumerate(subjects)}
        for i, condition in enumerate(conditions)
    }


def _read_table(path: Path) -> dict[str, dict[str, Array]]:
    try:
        table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype={"participant_id": str})
        table = table.set_index(["condition", "participant_id"])
        if table.index.has_duplicates:
            raise DataError(f"{path}: {table.index[table.index.duplicated()][0]} stands in it twice")
        values = table.to_numpy(np.float64)
    except (OSError, ValueError, KeyError, pd.errors.ParserError) as error:
        raise DataError(f"{path}: not readable ({error}); expected {ACTIVATION_LAYOUT}") from error
    found: dict[str, dict[str, Array]] = {}
    for (condition, person), row in zip(table.index, values, strict=True):
        found.setdefault(str(condition), {})[str(person)] = row
    return found
