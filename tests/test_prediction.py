"""A run applied to a file, and to every recording of a BIDS data set."""

import pytest
from made_runs import make_run
from neurotwin.contracts import Event
from neurotwin.datamodules.eeg import EEGDataModule
from neurotwin.datamodules.formats.szcore_tsv import write_szcore_tsv
from neurotwin.errors import DataError
from neurotwin.prediction import predict


class Detector:
    """Finds one event in every file that is not empty."""

    datamodule = EEGDataModule(window_s=2.0)

    def predict_file(self, datamodule, source, target):
        if not source.stat().st_size:
            raise DataError(f"{source}: is empty")
        target.mkdir(parents=True, exist_ok=True)
        return [write_szcore_tsv(target / f"{source.stem}_events.tsv", [Event(3.0, 20.0, "sz", 0.9)], 600.0)]


@pytest.fixture
def run(tmp_path):
    made = make_run(tmp_path / "runs", "aaaa")
    made.__dict__["task"] = Detector()
    return made


@pytest.fixture
def root(tmp_path):
    """Two people, one of them with two sessions, and an old derivative."""
    for name in ("sub-01/ses-1", "sub-01/ses-2", "sub-02", "derivatives/old/sub-01"):
        path = tmp_path / f"raw/{name}/eeg/{'_'.join(name.split('/')[-2:])}_task-szMonitoring_eeg.edf"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x")
    return tmp_path / "raw"


def test_every_recording_of_a_bids_data_set(run, root, tmp_path):
    written = predict(run, root, tmp_path / "out", bids=True)
    tables = [path for path in written if path.name.endswith("_events.tsv")]
    assert [path.name for path in tables] == [
        f"{name}_task-szMonitoring_desc-neurotwin_events.tsv" for name in ("sub-01_ses-1", "sub-01_ses-2", "sub-02")
    ]
    assert [path.name.partition("_task")[0] for path in predict(run, root / "sub-01", tmp_path / "one")] == [
        "sub-01_ses-1",
        "sub-01_ses-2",
    ]


def test_an_unreadable_recording_stops_no_other(run, root, tmp_path):
    next((root / "sub-01/ses-1").rglob("*.edf")).write_bytes(b"")
    with pytest.raises(DataError, match=r"raw: 1 of 3 could not be predicted: sub-01/ses-1/eeg/.*; the others were"):
        predict(run, root, tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_folder_without_recordings_is_named(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no sub-"):
        predict(run, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DataError, match="there is no such file"):
        predict(run, tmp_path / "none", tmp_path / "out")
