"""People in two states: pairing of scans, estimators against formulas, repair, folds, and messages."""

import numpy as np
import pytest
import torch
from fixtures import bold, make_fmri, write_1d
from neurotwin.datamodules.connectivity_estimate import ESTIMATORS, estimate
from neurotwin.datamodules.fmri import FMRIDataModule
from neurotwin.datamodules.group_folds import group_fold
from neurotwin.datamodules.simulated_fc import SimulatedFCDataModule
from neurotwin.errors import ConfigError, DataError, MissingDataError
from sklearn.covariance import LedoitWolf


@pytest.fixture
def arguments(tmp_path):
    return make_fmri(tmp_path / "scans")


def scan(folder, name):
    return np.loadtxt(folder / name, comments="#")


def test_change_is_the_difference_of_the_pearson_correlations(arguments, tmp_path):
    datamodule = FMRIDataModule(**arguments, estimator="ledoit-wolf")
    datamodule.setup()
    batch = next(iter(datamodule.test_dataloader()))
    row = int(batch.window[0])
    rest, story = (scan(tmp_path / "scans", f"sub-{row + 1:02d}_{state}.1D") for state in ("rest", "story"))
    start = np.corrcoef(rest.T) - np.eye(12)
    np.testing.assert_allclose(batch.start[0], start, atol=1e-5)
    np.testing.assert_allclose(batch.change[0], np.corrcoef(story.T) - np.eye(12) - start, atol=1e-5)
    assert torch.isnan(batch.true_change).all()
    assert not torch.allclose(batch.baseline, batch.start)
    train = datamodule.datasets["train"]
    torch.testing.assert_close(batch.mean_change[0], torch.stack([item.change for item in train]).mean(0))


def test_estimators_against_their_formulas():
    series = [bold(50, 5, seed) for seed in range(4)]
    pearson = np.stack([np.corrcoef(x.T) - np.eye(5) for x in series])
    np.testing.assert_allclose(estimate(series, "pearson"), pearson, atol=1e-10)
    np.testing.assert_allclose(estimate(series, "fisher"), np.arctanh(pearson), atol=1e-10)
    scaled = (series[0] - series[0].mean(0)) / series[0].std(0)
    covariance = LedoitWolf().fit(scaled).covariance_
    shrunk = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance))) - np.eye(5)
    np.testing.assert_allclose(estimate(series, "ledoit-wolf")[0], shrunk, atol=1e-10)
    precision = np.linalg.inv(covariance)
    partial = -precision / np.sqrt(np.outer(np.diag(precision), np.diag(precision))) + 2 * np.eye(5)
    np.testing.assert_allclose(estimate(series, "partial")[0], partial - np.eye(5), atol=1e-8)
    assert set(ESTIMATORS) == {"pearson", "fisher", "ledoit-wolf", "partial", "tangent"}


def test_tangent_space_is_that_of_the_training_people(arguments):
    series = [bold(50, 5, seed) for seed in range(4)]
    few, all_of_them = estimate(series, "tangent", [0, 1]), estimate(series, "tangent")
    assert not np.allclose(few, all_of_them)
    np.testing.assert_allclose(few[:2], estimate(series[:2], "tangent"), atol=1e-8)


def test_runs_are_joined_and_scans_of_other_tasks_ignored(tmp_path):
    for number in range(3):
        for run in (1, 2):
            series = bold(40, 4, 10 * number + run) * run  # another scale in every run
            write_1d(tmp_path / f"sub-{number}_task-rest_run-{run}_bold.1D", series)
        write_1d(tmp_path / f"sub-{number}_task-story_bold.1D", bold(40, 4, number))
        write_1d(tmp_path / f"sub-{number}_task-motor_bold.1D", bold(40, 4, number))
    write_1d(tmp_path / "sub-9_task-rest_bold.1D", bold(40, 4))
    datamodule = FMRIDataModule(tmp_path, folds=3, val_fraction=0.0)
    assert [person.name for person in datamodule.people] == ["sub-0", "sub-1", "sub-2"]
    joined = datamodule.people[0].baseline.values
    assert joined.shape == (80, 4)
    np.testing.assert_allclose([joined[:40].std(), joined[40:].std()], 1, rtol=1e-6)


def test_rest_to_later_rest_from_one_packed_file(tmp_path):
    packed = np.stack([bold(100, 6, seed).T for seed in range(5)])
    np.savez(tmp_path / "packed.npz", rest=packed.astype(np.float16), subjects=[f"p{k}" for k in range(5)])
    datamodule = FMRIDataModule(tmp_path / "packed.npz", contrast="rest-rest", volumes=40, folds=5, val_fraction=0.0)
    person = datamodule.people[3]
    np.testing.assert_array_equal(person.baseline.values, packed[3].T[:40].astype(np.float16))
    np.testing.assert_array_equal(person.target.values, packed[3].T[50:90].astype(np.float16))
    tested = [datamodule.split(fold)["test"].tolist() for fold in range(5)]
    assert sorted(np.concatenate(tested)) == list(range(5))
    halves = FMRIDataModule(tmp_path / "packed.npz", contrast="rest-rest", folds=5, val_fraction=0.0).people[0]
    assert len(halves.baseline.values) == len(halves.target.values) == 50
    with pytest.raises(DataError, match=r"50 volumes, but datamodule.volumes asks for 60"):
        FMRIDataModule(tmp_path / "packed.npz", contrast="rest-rest", volumes=60).people  # noqa: B018


def test_families_share_a_fold(arguments, tmp_path):
    table = tmp_path / "participants.tsv"
    lines = [f"sub-{k:02d}\tfamily-{k // 2}" for k in range(1, 9)]
    table.write_text("\n".join(["participant_id\tfamily_id", *lines]) + "\n")
    datamodule = FMRIDataModule(**arguments, participants=table, group_by="family_id")
    for fold in range(3):
        parts = datamodule.split(fold)
        families = [{datamodule.people[row].group for row in rows} for rows in parts.values()]
        assert not families[0] & families[1]
        assert not families[0] & families[2]
        assert not families[1] & families[2]
    with pytest.raises(DataError, match="has no column 'site', but participant_id, family_id"):
        FMRIDataModule(**arguments, participants=table, group_by="site").people  # noqa: B018
    table.write_text("\n".join(["participant_id\tfamily_id", *lines[:3]]) + "\n")
    with pytest.raises(DataError, match="has no line for sub-04"):
        FMRIDataModule(**arguments, participants=table, group_by="family_id").people  # noqa: B018


def test_group_folds_balance_and_refuse():
    groups = ["a"] * 5 + ["b"] * 2 + ["c"] * 2 + list("defgh")
    sizes = [len(group_fold(groups, 3, fold, val_fraction=0.0)["test"]) for fold in range(3)]
    assert sum(sizes) == len(groups)
    assert sorted(sizes) == [4, 5, 5]
    with pytest.raises(ConfigError, match=r"datamodule.folds=9: there are only 8 groups"):
        group_fold(groups, 9, 0)
    with pytest.raises(ConfigError, match=r"datamodule.val_fraction=0.7: must lie between"):
        group_fold(groups, 3, 0, val_fraction=0.7)
    with pytest.raises(ConfigError, match="leaves no group to train on"):
        group_fold(["a", "b"], 2, 0, val_fraction=0.5)


def spoil(tmp_path, column, value):
    path = tmp_path / "scans" / "sub-02_story.1D"
    series = scan(tmp_path / "scans", "sub-02_story.1D")
    series[:, column] = value
    write_1d(path, series)


@pytest.mark.parametrize(("value", "why"), [(np.nan, "has NaN or infinite values"), (7.0, "is constant")])
def test_unusable_regions_are_named_or_dropped_for_everybody(arguments, tmp_path, value, why):
    spoil(tmp_path, 4, value)
    with pytest.raises(DataError, match=rf"sub-02_story.1D: region 5 {why}; datamodule.bad_regions=drop"):
        FMRIDataModule(**arguments).people  # noqa: B018
    datamodule = FMRIDataModule(**arguments, bad_regions="drop")
    assert datamodule.spec.n_nodes == 11
    assert "5" not in datamodule.region_names
    datamodule.setup()
    assert torch.isfinite(next(iter(datamodule.train_dataloader())).change).all()


def test_messages(arguments, tmp_path):
    root = arguments.pop("root")
    with pytest.raises(MissingDataError, match=r"SUBJECT_CONDITION.EXT"):
        FMRIDataModule(tmp_path / "none").people  # noqa: B018
    with pytest.raises(DataError, match=r"nobody has scans of both 'story' and 'math'; found 8 people with story"):
        FMRIDataModule(root, contrast="story-math").people  # noqa: B018
    with pytest.raises(ConfigError, match=r"contrast='story': write TARGET-BASELINE"):
        FMRIDataModule(root, contrast="story")
    with pytest.raises(ConfigError, match=r"group_by='site' needs datamodule.participants"):
        FMRIDataModule(root, group_by="site")
    with pytest.raises(ConfigError, match="estimator='pearsn' is unknown: did you mean 'pearson'"):
        FMRIDataModule(root, estimator="pearsn")
    with pytest.raises(ConfigError, match="bad_regions='skip' is unknown"):
        FMRIDataModule(root, bad_regions="skip")
    with pytest.raises(DataError, match="60 volumes, but 100 are needed"):
        FMRIDataModule(root, min_volumes=100).people  # noqa: B018
    for number in range(12):
        spoil(tmp_path, number, 1.0)
    with pytest.raises(DataError, match="only 0 of 12 regions are usable"):
        FMRIDataModule(root, bad_regions="drop").people  # noqa: B018
    write_1d(tmp_path / "scans" / "sub-03_rest.1D", bold(60, 5))
    with pytest.raises(DataError, match=r"sub-03_rest.1D: 5 regions .* use one atlas"):
        FMRIDataModule(root).people  # noqa: B018
    np.savez(tmp_path / "packed.npz", rest=np.zeros((2, 3, 50)))
    with pytest.raises(DataError, match="needs `subjects`"):
        FMRIDataModule(tmp_path / "packed.npz").people  # noqa: B018


def test_simulated_people_know_the_truth():
    datamodule = SimulatedFCDataModule(n_subjects=6, n_nodes=40, rest_volumes=60, story_volumes=4000, folds=3)
    datamodule.setup()
    batch = next(iter(datamodule.test_dataloader()))
    assert float((batch.change - batch.true_change).abs().mean()) < 0.03
    assert datamodule.language_mask.sum() == sum(n in ("language", "auditory") for n in datamodule.region_networks)
    assert datamodule.changed_pairs.shape == (40, 40)
    with pytest.raises(ConfigError, match="n_subjects=2"):
        SimulatedFCDataModule(n_subjects=2)


@pytest.mark.data
def test_real_rest_has_the_measured_statistics(data_root):
    """24 people of the HCP, 360 regions: what predicting rest by earlier rest costs at 150 volumes."""
    packed = data_root / "fmri" / "actflow_hcp_glasser" / "actflow_hcp24_rest_f16.npz"
    datamodule = FMRIDataModule(packed, contrast="rest-rest", volumes=150, folds=24, val_fraction=0.0)
    start, later = (matrices[:, *np.triu_indices(360, 1)] for matrices in datamodule.correlations)
    assert start.shape == (24, 64620)
    assert np.square(start - later).mean() == pytest.approx(0.0289, abs=5e-5)
