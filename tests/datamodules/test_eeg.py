"""The base of EEG datamodules, on a data set of a few lines."""

import inspect
import pickle

import numpy as np
import pytest
import torch
from fixtures import noise
from neurotwin.contracts import EEGBatch, Event, Recording
from neurotwin.datamodules.eeg import EEGDataModule
from neurotwin.errors import ConfigError, DataError

RATE = 32.0


class Toy(EEGDataModule):
    """Sixteen recordings of eight persons, 20 s each, the last 12 s ictal in every second one."""

    def __init__(self, gain: float = 1.0, **windowing):
        super().__init__(**{"window_s": 2.0, "folds": 4, "val_fraction": 0.25, **windowing})
        self.gain = gain

    def load(self):
        return [self.recording(index) for index in range(16)]

    def recording(self, index):
        person = f"p{index // 2}"
        events = [Event(8.0, 12.0)] if index % 2 else []
        signal = (self.gain * noise(2, 640, seed=index, scale_uv=10.0 * (1 + index))).astype(np.float32)
        return Recording(signal, RATE, ("a", "b"), f"r{index}", person, person, None, events)


def ready(**arguments):
    datamodule = Toy(**arguments)
    datamodule.setup("fit")
    return datamodule


def test_spec_matches_a_batch():
    datamodule = ready(batch_size=5)
    batch = next(iter(datamodule.train_dataloader()))
    spec = datamodule.spec
    assert isinstance(batch, EEGBatch)
    assert batch.signal.shape == (5, spec.n_channels, spec.n_times) == (5, 2, 64)
    assert (spec.n_outputs, spec.sampling_rate_hz, spec.channel_names) == (2, RATE, ("a", "b"))
    dtypes = [field.dtype for field in batch]
    assert dtypes == [torch.float32, torch.int64, torch.int64, torch.int64, torch.int64, torch.float64]


def test_batches_carry_the_rows_of_the_table():
    datamodule = ready()
    seen = []
    for batch in datamodule.test_dataloader():
        table = datamodule.windows.iloc[batch.window.numpy()]
        assert np.array_equal(batch.target, table["target"])
        assert np.array_equal(batch.recording, table["recording"])
        assert np.array_equal(batch.start_s, table["start_s"])
        assert np.array_equal(batch.signal, datamodule.signal(batch.window.numpy()))
        seen += batch.window.tolist()
    assert seen == datamodule.split()["test"].tolist()


@pytest.mark.parametrize(("split", "column"), [("recording", "recording"), ("group", "group")])
def test_units_stay_together(split, column):
    datamodule = Toy(split=split)
    for fold in range(4):
        units = [set(datamodule.windows[column].iloc[rows]) for rows in datamodule.split(fold).values()]
        assert not units[0] & units[1]
        assert not units[0] & units[2]
        assert not units[1] & units[2]


def test_split_is_pure_and_repeatable():
    one, two = Toy(split_seed=3), Toy(split_seed=3)
    for fold in (2, 0, 2):
        assert all(
            np.array_equal(a, b) for a, b in zip(one.split(fold).values(), two.split(fold).values(), strict=True)
        )
    assert one.fingerprint() == two.fingerprint() != Toy(split_seed=4).fingerprint()


def test_fingerprint_sees_data_windows_and_labels():
    marks = {Toy(**a).fingerprint() for a in ({}, {"gain": 2.0}, {"window_s": 1.0}, {"stride_s": 1.0}, {"fold": 1})}
    assert len(marks) == 5


def test_dense_training_windows_touch_no_other_part():
    datamodule = Toy(split="window", train_stride_s=0.5)
    parts, plain = datamodule.split(), Toy(split="window").split()
    assert np.array_equal(parts["test"], plain["test"])
    assert len(parts["train"]) > len(plain["train"])

    def samples(part):
        rows = datamodule.windows[["recording", "start_sample"]].iloc[parts[part]].to_numpy()
        return {(recording, sample) for recording, first in rows for sample in range(first, first + 64)}

    assert not samples("train") & (samples("val") | samples("test"))


def test_dense_windows_of_group_folds_belong_to_training_groups():
    datamodule = Toy(train_stride_s=0.5)
    parts = datamodule.split()
    groups = {name: set(datamodule.windows["group"].iloc[rows]) for name, rows in parts.items()}
    assert not groups["train"] & (groups["val"] | groups["test"])
    # 20 s at a step of 0.5 s: 37 windows of 2 s, of which 10 are the plain ones.
    assert len(parts["train"]) == 37 * 2 * len(groups["train"])


def test_training_statistics_come_from_training_windows_only():
    datamodule = ready(normalise="train")
    train = datamodule.signal(datamodule.split()["train"])
    assert train.mean(axis=(0, 2)) == pytest.approx([0, 0], abs=1e-4)
    assert train.std(axis=(0, 2)) == pytest.approx([1, 1], abs=1e-4)
    assert not np.allclose(datamodule.signal(datamodule.split()["test"]).std(axis=(0, 2)), 1, atol=0.01)
    assert not np.array_equal(datamodule.normaliser(0).scale, datamodule.normaliser(1).scale)


def test_training_statistics_travel_with_the_checkpoint():
    trained = ready(normalise="train")
    state = trained.state_dict()
    fresh = Toy(normalise="train", gain=5.0)
    fresh.load_state_dict(state)
    own = trained.recording(0)
    assert torch.equal(fresh.windows_of(own)[0], trained.windows_of(own)[0])
    assert "recordings" not in fresh.__dict__, "prediction must not need the training data"


def test_windows_of_a_recording_equal_those_of_training():
    for normalise in ("fixed", "train", "window"):
        datamodule = ready(normalise=normalise)
        windows, starts = datamodule.windows_of(datamodule.recordings[3])
        rows = np.flatnonzero(datamodule.windows["recording"] == 3)
        assert np.allclose(windows, datamodule.signal(rows), atol=1e-6)
        assert starts.tolist() == datamodule.windows["start_s"].iloc[rows].tolist()
        assert len(datamodule.windows_of(datamodule.recordings[3], stride_s=0.5)[1]) == 37


def test_windows_of_too_short_a_recording():
    short = Recording(np.zeros((2, 30), np.float32), RATE, ("a", "b"), "short")
    with pytest.raises(DataError, match=r"short: 0.9375 s are shorter than one window of 2 s"):
        Toy().windows_of(short)


def test_no_validation_part_gives_no_loader():
    assert ready(val_fraction=0.0).val_dataloader() == []


def test_dataset_survives_pickling_and_loader_processes():
    datamodule = ready(num_workers=2, batch_size=8)
    here = [b.window for b in ready(batch_size=8).test_dataloader()]
    there = [b.window for b in datamodule.test_dataloader()]
    assert torch.equal(torch.cat(here), torch.cat(there))
    assert len(pickle.loads(pickle.dumps(datamodule.datasets["test"]))) == len(datamodule.datasets["test"])


def test_signature_of_a_subclass_shows_inherited_arguments():
    names = list(inspect.signature(Toy).parameters)
    assert names[0] == "gain"
    assert {"root", "window_s", "split", "fold", "batch_size"} <= set(names)
    assert "windowing" not in names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "groups"}, r"datamodule.split='groups' is unknown: did you mean 'group'\?"),
        ({"normalise": "zscore"}, r"datamodule.normalise='zscore' is unknown: choose from fixed, train, window"),
        ({"on_error": "ignore"}, r"datamodule.on_error='ignore' is unknown"),
        ({"window_samples": 64}, r"datamodule.window_s=2.0, datamodule.window_samples=64: give exactly one"),
        ({"window_s": None}, r"give exactly one"),
        ({"stride_s": 0.0}, r"datamodule.stride_s=0.0: must be positive"),
        ({"fold": 4}, r"datamodule.fold=4 is out of range: folds=4, choose 0 to 3"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments, message):
    with pytest.raises(ConfigError, match=message):
        Toy(**arguments)


def test_a_window_longer_than_every_recording():
    with pytest.raises(ConfigError, match=r"window of 960 samples \(30 s\) is longer than every recording"):
        ready(window_s=30.0)


def test_recordings_must_be_alike():
    class Mixed(Toy):
        def load(self):
            odd = self.recording(1)
            odd.sampling_rate_hz = 64.0
            return [self.recording(0), odd]

    with pytest.raises(DataError, match=r"r1: 2 channels at 64.0 Hz, but r0 has 2 at 32.0 Hz"):
        ready_windows = Mixed().windows  # noqa: F841


def test_reading_a_file_that_the_data_set_does_not_support():
    with pytest.raises(ConfigError, match=r"x.edf: Toy reads no file of one's own"):
        Toy().read("x.edf")


def test_unreadable_files_raise_or_are_named_in_one_warning():
    def reader(number):
        if number % 2:
            raise DataError(f"file{number}: broken")
        return number

    with pytest.raises(DataError, match=r"file1: broken \(datamodule.on_error=skip leaves such files out\)"):
        Toy().each(range(4), reader)
    with pytest.warns(UserWarning, match=r"left out 2 unreadable file\(s\):\n  file1: broken\n  file3: broken"):
        assert Toy(on_error="skip").each(range(4), reader) == [0, 2]


def test_events_are_written_as_szcore(tmp_path):
    datamodule = Toy()
    path = datamodule.write_events(
        tmp_path / "a" / "r1_events.tsv", [Event(1.0, 2.0, "sz", 0.5)], datamodule.recording(1)
    )
    assert path.read_text().splitlines()[1] == "1.000\t2.000\tsz\t0.5000\tn/a\tn/a\t20.000"
