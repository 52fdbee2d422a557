"""The grammar of sweeps, and that composing many jobs at once is composing each."""

import itertools

import pytest
from neurotwin.config import compose, compose_many
from neurotwin.errors import ConfigError
from neurotwin.sweeps.space import Axis, as_overrides, axes_from_mapping, corners, grid, numbers, parse_axes


def test_command_line_grammar():
    typed = ["model=tiny,other", "optimizer.lr=log(1e-4, 1e-2)", "model.hidden=logint(2,8)", "seeds=0..4", "threads=2"]
    axes, fixed, members = parse_axes([*typed, "model.dropout=interval(0,0.5)", "+trainer.x=choice(1)", "z=[1,2],[3]"])
    assert axes == [
        Axis("model", ("tiny", "other")),
        Axis("optimizer.lr", low=1e-4, high=1e-2, log=True),
        Axis("model.hidden", low=2, high=8, integer=True, log=True),
        Axis("model.dropout", low=0, high=0.5),
        Axis("+trainer.x", ("1",)),
        Axis("z", ("[1,2]", "[3]")),
    ]
    assert fixed == ["threads=2"]
    assert members == {"seeds": "0..4"}


def test_yaml_says_the_same_as_the_command_line():
    space = {"optimizer.lr": "log(1e-4,1e-2)", "model.dropout": [0, 0.1, None, "a b"], "model.bias": [True]}
    assert parse_axes(axes_from_mapping(space))[0] == [
        Axis("optimizer.lr", low=1e-4, high=1e-2, log=True),
        Axis("model.dropout", ("0", "0.1", "null", "'a b'")),
        Axis("model.bias", ("True",)),
    ]


def test_grid_and_corners():
    axes = [Axis("a", ("1", "2", "3")), Axis("b", ("x", "y"))]
    assert [tuple(point.values()) for point in grid(axes)] == list(itertools.product("123", "xy"))
    points = list(corners([*axes, Axis("c", low=0.5, high=2)]))
    assert points == [{"a": "1", "b": "x", "c": 0.5}, {"a": "2", "b": "y", "c": 2}, {"a": "3", "b": "y", "c": 2}]
    assert as_overrides(points[0]) == ["a=1", "b=x", "c=0.5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=log(0,1)", r"a=log\(0,1\): a range needs 0 < low < high"),
        ("a=int(1,2.5)", "must be whole numbers"),
        ("a=uniform(2,1)", "needs low < high"),
        ("a=log(x,1)", "must be numbers"),
    ],
)
def test_faulty_ranges(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_axes([text])


def test_a_key_is_swept_once():
    with pytest.raises(ConfigError, match="a is swept twice"):
        parse_axes(["a=1,2", "a=log(1,2)"])


def test_numbers():
    assert numbers("seeds", "2..4") == (2, 3, 4)
    assert numbers("seeds", "3, 1") == (3, 1)
    assert numbers("seeds", [5]) == (5,)
    for wrong in ("", "4..2", "a", "1,1", "-1"):
        with pytest.raises(ConfigError, match="write 0,1,2 or"):
            numbers("seeds", wrong)


def test_composing_many_is_composing_each():
    jobs = [
        ["optimizer.lr=0.01", "seed=3", "model.dropout=0.4"],
        ["model=seizure_net", "objective.metric=val/loss", "callbacks=early_stopping", "trainer.limit_val_batches=3"],
        ["+trainer.limit_train_batches=2", "~model.dropout"],
        [],
    ]
    assert list(compose_many("mallick2024/demo", jobs)) == [compose("mallick2024/demo", job) for job in jobs]
    with pytest.raises(ConfigError, match="unknown key 'sede'; did you mean 'seed'"):
        list(compose_many("mallick2024/demo", [["sede=1"]]))
    with pytest.raises(ConfigError, match="did you mean 'seizure_net'"):
        list(compose_many("mallick2024/demo", [["model=sezure_net"]]))
