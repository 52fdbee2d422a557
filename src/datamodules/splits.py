"""Which windows train, validate and test: stratified folds over windows, recordings or groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from ..errors import ConfigError


def fold_rows(
    target: np.ndarray,
    unit: np.ndarray | None,
    folds: int,
    fold: int,
    seed: int = 0,
    val_fraction: float = 0.1,
    class_names: Sequence[str] = (),
    unit_name: str = "group",
) -> dict[str, np.ndarray]:
    """Rows of the training, validation and test part of one fold; no unit lies in two parts.

    The test part is fold ``fold`` of scikit-learn's ``StratifiedGroupKFold`` (``StratifiedKFold`` without units). The
    validation part is that fold of the same splitter over what is left, ``round(1/val_fraction)`` folds, whose number
    of units is nearest to the average, so that early stopping sees units that training does not.

    Args:
        target: Class of each row, ``(row,)``.
        unit: What must stay together: one code a row, ``(row,)``; ``None``: nothing.
        folds: Number of folds.
        fold: The test fold, from 0.
        seed: Seed of the assignment; the same seed gives the same parts.
        val_fraction: Share of the training folds that validates; 0 for none.
        class_names: Names for messages.
        unit_name: What a unit is called in messages.

    Returns:
        ``train``, ``val`` and ``test``: sorted row indices, disjoint.

    Raises:
        ConfigError: The fold is out of range, there are too few units, or a part would lack a class.
    """
    if not 0 <= fold < folds:
        raise ConfigError(f"datamodule.fold={fold} is out of range: folds={folds}, choose 0 to {folds - 1}")
    if not 0 <= val_fraction <= 0.5:
        raise ConfigError(f"datamodule.val_fraction={val_fraction}: must lie between 0 (no validation part) and 0.5")
    classes = np.arange(len(class_names)) if class_names else np.unique(target)
    names = list(class_names) or [str(code) for code in classes]

    # Not a special case of one window a unit: whole recordings shall get the folds that their windows get.
    splitter = StratifiedKFold if unit is None else StratifiedGroupKFold
    unit = np.arange(len(target)) if unit is None else unit
    parts = _stratified(splitter, target, unit, folds, seed, classes, names, f"datamodule.folds={folds}", unit_name)
    train, test = parts[fold]
    val = np.empty(0, dtype=np.int64)
    if val_fraction > 0:
        inner = round(1 / val_fraction)
        setting = f"datamodule.val_fraction={val_fraction} (1 in {inner})"
        candidates = _stratified(splitter, target[train], unit[train], inner, seed, classes, names, setting, unit_name)
        # One large patient may fill a whole fold of windows: take the fold with the fairest share of units.
        share = len(np.unique(unit[train])) / inner
        kept, held = min(candidates, key=lambda part: abs(len(np.unique(unit[train][part[1]])) - share))
        train, val = train[kept], train[held]
    result = {"train": np.sort(train), "val": np.sort(val), "test": np.sort(test)}
    _require_classes(result, target, classes, names, fold, unit_name)
    return result


def _stratified(
    splitter: type[StratifiedKFold] | type[StratifiedGroupKFold],
    target: np.ndarray,
    unit: np.ndarray,
    folds: int,
    seed: int,
    classes: np.ndarray,
    names: Sequence[str],
    setting: str,
    unit_name: str,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and held-out rows of every fold, after the checks whose scikit-learn messages name no remedy."""
    for code, name in zip(classes, names, strict=True):
        units = len(np.unique(unit[target == code]))
        if units < folds:
            raise ConfigError(
                f"{setting}: class {name!r} occurs in {units} {unit_name}s only, so some part would have none; "
                f"lower folds, raise val_fraction (0 for no validation part), or split by a smaller unit"
            )
    groups = unit if splitter is StratifiedGroupKFold else None
    return list(splitter(folds, shuffle=True, random_state=seed).split(target, target, groups))


def _require_classes(
    parts: dict[str, np.ndarray],
    target: np.ndarray,
    classes: np.ndarray,
    names: Sequence[str],
    fold: int,
    unit_name: str,
) -> None:
    for part, rows in parts.items():
        if part == "val" and not len(rows):
            continue
        absent = [name for code, name in zip(classes, names, strict=True) if not np.any(target[rows] == code)]
        if absent:
            raise ConfigError(
                f"datamodule.fold={fold}: the {part} part has no window of class {', '.join(map(repr, absent))} when "
                f"folds keep whole {unit_name}s together; lower folds, change split_seed, or split by a smaller unit"
            )
