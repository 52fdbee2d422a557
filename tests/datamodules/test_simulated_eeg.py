"""The simulated data module, its writers, and what simulated seizures teach about real ones."""

from datetime import datetime

import numpy as np
import pytest
import torch
from neurotwin.contracts import EEGBatch, Event, Recording
from neurotwin.datamodules.chbmit_clips import CHBMITClipsDataModule
from neurotwin.datamodules.formats.edf_writer import write_edf, write_szcore
from neurotwin.datamodules.simulated_eeg import SimulatedEEGDataModule
from neurotwin.datamodules.szcore import SzCOREDataModule
from neurotwin.errors import ConfigError, DataError
from neurotwin.models.spectral_features import SpectralFeatures
from neurotwin.simulators.eeg import EEGSimulator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@pytest.fixture(scope="module")
def default():
    datamodule = SimulatedEEGDataModule(window_s=4.0, folds=4)
    datamodule.setup()
    return datamodule


@pytest.fixture(scope="module")
def recording():
    return EEGSimulator(minutes=1, seizures=1).record(3, "sub-07")


def features(datamodule):
    extract = SpectralFeatures(datamodule.spec.n_channels, datamodule.spec.sampling_rate_hz)
    rows = np.arange(len(datamodule.windows))
    table = np.concatenate(
        [extract(torch.from_numpy(datamodule.store.gather(part))).numpy() for part in np.array_split(rows, 8)]
    )
    return table, datamodule.windows["target"].to_numpy(), extract.names


def logistic_regression():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))


def test_spec_and_batch(default):
    spec = default.spec
    assert (spec.n_channels, spec.n_outputs, spec.n_times, spec.sampling_rate_hz) == (19, 2, 512, 128.0)
    assert spec.class_names == ("background", "ictal")
    batch = next(iter(default.train_dataloader()))
    assert isinstance(batch, EEGBatch)
    assert batch.signal.shape == (64, 19, 512)
    assert torch.isfinite(batch.signal).all()
    assert 0.1 < batch.signal.std() < 3.0  # fixed scaling brings EEG to the order of one
    assert 0.08 < default.windows["target"].mean() < 0.35


def test_people_are_held_out(default):
    subjects = default.windows["subject"].to_numpy()
    seen = []
    for fold in range(4):
        parts = {name: set(subjects[rows]) for name, rows in default.split(fold).items()}
        assert not parts["train"] & parts["test"]
        assert not parts["train"] & parts["val"]
        seen += parts["test"]
    assert sorted(seen) == list(range(16))


def test_neither_trivial_nor_hopeless(default):
    """Spectral features and logistic regression stay below certainty, the line length alone far below it."""
    table, target, names = features(default)
    probability = np.empty(len(target))
    for fold in range(4):
        parts = default.split(fold)
        train = np.concatenate([parts["train"], parts["val"]])
        fitted = logistic_regression().fit(table[train], target[train])
        probability[parts["test"]] = fitted.predict_proba(table[parts["test"]])[:, 1]
    assert 0.85 < roc_auc_score(target, probability) < 0.97
    for name in ("median_log_line_length", "max_log_line_length"):
        assert 0.55 < roc_auc_score(target, table[:, names.index(name)]) < 0.92


def test_montage_and_seed_change_the_data():
    arguments = {"n_subjects": 4, "minutes": 1.0, "window_s": 2.0, "folds": 2, "val_fraction": 0.0}
    average = SimulatedEEGDataModule(**arguments)
    banana = SimulatedEEGDataModule(**arguments, montage="double_banana")
    names = average.spec.channel_names
    one, two = average.recordings[1].signal, banana.recordings[1].signal
    assert banana.spec.channel_names[:2] == ("FP1-F7", "F7-T7")
    np.testing.assert_allclose(two[1], one[names.index("F7")] - one[names.index("T3")], atol=1e-2)
    other = SimulatedEEGDataModule(**arguments, data_seed=1)
    again = SimulatedEEGDataModule(**arguments)
    assert again.fingerprint() == average.fingerprint()
    assert len({average.fingerprint(), banana.fingerprint(), other.fingerprint()}) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"montage": "double_bananas"},
            r"datamodule.montage='double_bananas' is unknown: did you mean 'double_banana'",
        ),
        ({"n_subjects": 0}, r"datamodule.n_subjects=0: at least one person"),
        ({"difficulty": 2.0}, r"difficulty=2.0: must lie between"),
    ],
)
def test_settings_are_checked(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SimulatedEEGDataModule(window_s=4.0, **arguments)


def test_written_recordings_are_read_again(tmp_path, recording):
    start = datetime(2024, 5, 6, 7, 8, 9)
    edf, table = write_szcore(tmp_path, recording, start)
    assert edf.relative_to(tmp_path).as_posix() == "sub-07/eeg/sub-07_task-szMonitoring_run-00_eeg.edf"
    assert table.name == "sub-07_task-szMonitoring_run-00_events.tsv"
    reader = SzCOREDataModule(tmp_path, sampling_rate_hz=128.0, window_s=4.0, cache_dir=tmp_path / "cache")
    again = reader.recordings[0]
    seizure = next(event for event in recording.events if event.kind.startswith("sz"))
    assert (again.subject, again.channel_names) == ("sub-07", recording.channel_names)
    assert again.events[0].kind == seizure.kind
    assert again.events[0].onset_s == pytest.approx(seizure.onset_s, abs=1e-3)
    bound = np.ceil(np.abs(recording.signal).max())
    np.testing.assert_allclose(again.signal, recording.signal, atol=2 * bound / 65535)


def test_annotations_travel_in_the_edf_file(tmp_path, recording):
    path = write_edf(tmp_path / "deep" / "one.edf", recording, datetime(2024, 5, 6))
    own = SimulatedEEGDataModule(window_s=4.0).read(path)[0]
    written = sorted((round(e.onset_s, 2), e.kind) for e in recording.events)
    assert sorted((round(e.onset_s, 2), e.kind) for e in own.events) == written
    assert own.metadata["start"] == datetime(2024, 5, 6)


def test_an_unfinished_second_is_filled(tmp_path):
    ramp = Recording(np.arange(150, dtype=np.float32)[None], 100.0, ("Cz",), "ramp", events=[Event(0.5, 0.25, "blink")])
    path = write_edf(tmp_path / "ramp.edf", ramp)
    header = path.read_bytes()[:256]
    assert int(header[236:244]) * float(header[244:252]) == 2.0


@pytest.mark.parametrize(
    ("signal", "rate", "message"),
    [
        (np.zeros((1, 200)), 173.61, r"cannot hold 173.61 samples; resample"),
        (np.full((1, 200), np.nan), 100.0, r"odd holds samples that are NaN"),
    ],
)
def test_what_edf_cannot_store(tmp_path, signal, rate, message):
    with pytest.raises(DataError, match=message):
        write_edf(tmp_path / "odd.edf", Recording(signal, rate, ("Cz",), "odd"))


@pytest.mark.data
def test_simulated_seizures_resemble_real_ones(data_root):
    """Trained on simulated people only, tested on every patient of the CHB-MIT clips (ictal v. the minute after)."""
    simulated = SimulatedEEGDataModule(n_subjects=24, montage="double_banana", window_s=4.0)
    table, target, _ = features(simulated)
    real = CHBMITClipsDataModule(data_root / "eeg" / "chbmit_clips", window_s=4.0, stride_s=12.0)
    real_table, real_target, _ = features(real)
    probability = logistic_regression().fit(table, target).predict_proba(real_table)[:, 1]
    assert roc_auc_score(real_target, probability) > 0.68
