"""Two runs on the CPU in deterministic mode are equal to the bit, for every family of experiments."""

import neurotwin
import pytest
from reliability.crash import COMMON, FAMILIES, digest


@pytest.mark.parametrize("family", FAMILIES)
def test_two_runs_are_equal_to_the_bit(family, run_root):
    experiment, overrides = FAMILIES[family]
    settings = [*COMMON, *overrides, "trainer.deterministic=true", "trainer.max_epochs=2"]
    one, two = (digest(neurotwin.train(experiment, settings).path) for _ in range(2))
    assert one == two
    assert {"last", "predictions", "metrics.csv", "metrics.json"} <= one.keys()


def test_a_family_of_every_paper_is_there():
    papers = {experiment.split("/")[0] for experiment, _ in FAMILIES.values()}
    every = neurotwin.list_configs("experiment")
    assert papers == {entry.name.split("/")[0] for entry in every if entry.source == "neurotwin"}


def test_another_seed_gives_other_weights(run_root):
    experiment, overrides = FAMILIES["connectivity"]
    settings = [*COMMON, *overrides, "trainer.max_epochs=1"]
    one, two = (digest(neurotwin.train(experiment, [*settings, f"seed={seed}"]).path) for seed in (0, 1))
    assert one["last"] != two["last"]
