"""Folds: disjoint, exhaustive, balanced, repeatable, and honest about what cannot be split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from neurotwin.datamodules.splits import fold_rows
from neurotwin.errors import ConfigError


def grouped(groups=30, per_group=4, classes=3):
    unit = np.repeat(np.arange(groups), per_group)
    return unit % classes, unit


@given(seed=st.integers(0, 50), folds=st.integers(2, 5), val_fraction=st.sampled_from([0.0, 0.25, 0.5]))
@settings(max_examples=25, deadline=None)
def test_parts_are_disjoint_whole_and_keep_units_together(seed, folds, val_fraction):
    target, unit = grouped()
    tested = []
    for fold in range(folds):
        parts = fold_rows(target, unit, folds, fold, seed, val_fraction)
        assert sorted(np.concatenate(list(parts.values()))) == list(range(len(target)))
        units = [set(unit[rows]) for rows in parts.values()]
        assert not units[0] & units[1]
        assert not units[0] & units[2]
        assert not units[1] & units[2]
        tested.append(parts["test"])
    assert sorted(np.concatenate(tested)) == list(range(len(target)))


def test_same_seed_same_folds_other_seed_other_folds():
    target, unit = grouped()
    one, again, other = (fold_rows(target, unit, 5, 0, seed, 0.0)["test"] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_folds_are_balanced_by_class():
    target, unit = grouped(groups=50, classes=5)
    for fold in range(5):
        assert np.bincount(target[fold_rows(target, unit, 5, fold, val_fraction=0.0)["test"]]).tolist() == [8] * 5


def test_rows_that_are_their_own_unit_are_split_by_rows():
    target = np.tile([0, 1], 50)
    parts = fold_rows(target, None, 5, 2, val_fraction=0.25)
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 60, "val": 20, "test": 20}


def test_one_row_a_unit_or_eight_the_units_of_a_part_are_the_same():
    """Baselines on whole recordings and networks on windows are compared on the same folds."""
    target, unit = grouped(per_group=1)
    for fold in range(5):
        whole = fold_rows(target, unit, 5, fold, val_fraction=0.25)
        windows = fold_rows(np.repeat(target, 8), np.repeat(unit, 8), 5, fold, val_fraction=0.25)
        assert all(set(unit[whole[part]]) == set(np.repeat(unit, 8)[windows[part]]) for part in whole)


def test_no_validation_part_on_request():
    parts = fold_rows(*grouped(), 5, 0, val_fraction=0.0)
    assert len(parts["val"]) == 0
    assert len(parts["train"]) + len(parts["test"]) == 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fold": 5}, r"datamodule.fold=5 is out of range: folds=5, choose 0 to 4"),
        ({"fold": -1}, r"datamodule.fold=-1 is out of range"),
        ({"val_fraction": 0.7}, r"datamodule.val_fraction=0.7: must lie between 0"),
        ({"folds": 11}, r"datamodule.folds=11: class '0' occurs in 10 patients only"),
        ({"val_fraction": 0.05}, r"datamodule.val_fraction=0.05 \(1 in 20\): class '0' occurs in 8 patients only"),
        ({"class_names": ("a", "b", "c", "d")}, r"class 'd' occurs in 0 patients only"),
    ],
)
def test_what_cannot_be_split_is_an_error_with_a_remedy(arguments, message):
    target, unit = grouped()
    with pytest.raises(ConfigError, match=message):
        fold_rows(target, unit, **{"folds": 5, "fold": 0, "unit_name": "patient", **arguments})


def test_a_part_without_a_class_is_an_error():
    # Class 1 occurs in two groups; both may land in one fold, never in three.
    target = np.array([0, 1, 0, 1, 0, 0])
    with pytest.raises(ConfigError, match=r"class '1' occurs in 2 groups only"):
        fold_rows(target, np.array([0, 0, 1, 1, 2, 3]), 3, 0, val_fraction=0.0)
