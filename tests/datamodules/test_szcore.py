"""SzCORE: annotation files in and out, and folders of one's own recordings."""

from datetime import datetime

import numpy as np
import pytest
from fixtures import make_szcore
from neurotwin.contracts import Event
from neurotwin.datamodules.formats.szcore_tsv import COLUMNS, read_szcore_tsv, write_szcore_tsv
from neurotwin.datamodules.szcore import SzCOREDataModule
from neurotwin.errors import ConfigError, DataError, MissingDataError

#: As epilepsy2bids writes it.
FOREIGN = (
    "onset\tduration\teventType\tconfidence\tchannels\tdateTime\trecordingDuration\n"
    "296.00\t40.00\tsz_foc_ia\tn/a\tn/a\t2016-11-06 13:43:04\t3600.00\n"
    "12.50\t7.50\tsz\t0.75\tC3,C4\t2016-11-06 13:43:04\t3600.00\n"
    "400.00\t100.00\tbckg\tn/a\tn/a\t2016-11-06 13:43:04\t3600.00\n"
)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    return make_szcore(tmp_path_factory.mktemp("data") / "szcore")


def test_a_foreign_file(tmp_path):
    path = tmp_path / "events.tsv"
    path.write_text(FOREIGN)
    events, start, length = read_szcore_tsv(path)
    assert events == [Event(12.5, 7.5, "sz", 0.75), Event(296.0, 40.0, "sz_foc_ia", None)]
    assert start == datetime(2016, 11, 6, 13, 43, 4)
    assert length == 3600.0


def test_writing_and_reading_again(tmp_path):
    events = [Event(20.25, 5.125, "sz_foc_ia", 0.5), Event(1.0, 2.0)]
    start = datetime(2020, 1, 2, 3, 4, 5)
    path = write_szcore_tsv(tmp_path / "deep" / "events.tsv", events, 60.0, start)
    assert path.read_text().splitlines()[0] == "\t".join(COLUMNS)
    assert path.read_text().splitlines()[1] == "1.000\t2.000\tsz\tn/a\tn/a\t2020-01-02 03:04:05\t60.000"
    assert read_szcore_tsv(path) == (sorted(events), start, 60.0)


def test_no_seizure_is_written_as_background(tmp_path):
    path = write_szcore_tsv(tmp_path / "events.tsv", [], 60.0)
    assert path.read_text().splitlines()[1:] == ["0.000\t60.000\tbckg\tn/a\tn/a\tn/a\t60.000"]
    assert read_szcore_tsv(path) == ([], None, 60.0)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("onset\tduration", "start\tlength", r"events.tsv: column\(s\) onset, duration missing"),
        ("12.50", "soon", r"line 3: onset='soon' is not a number of seconds"),
        ("7.50", "-7.50", r"line 3: duration=-7.5 must be finite and not negative"),
        ("296.00", "3590.00", r"line 2: the event ends at 3630 s, the recording has 3600 s"),
        ("0.75", "high", r"line 3: confidence='high' is not a number"),
        ("2016-11-06 13:43:04", "yesterday", r"line 2: dateTime='yesterday' is not of the form YYYY-MM-DD"),
    ],
)
def test_wrong_files(tmp_path, old, new, message):
    path = tmp_path / "events.tsv"
    path.write_text(FOREIGN.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_szcore_tsv(path)


def test_a_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "events.tsv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match=r"cannot be read as a SzCORE annotation file"):
        read_szcore_tsv(path)


def test_recordings_of_a_folder(arguments):
    datamodule = SzCOREDataModule(**arguments)
    assert len(datamodule.recordings) == 7
    assert datamodule.spec.n_channels == 19
    assert datamodule.spec.sampling_rate_hz == 256.0
    assert datamodule.windows.groupby("recording")["target"].apply(list)[0] == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    assert datamodule.windows["subject"].nunique() == 7
    assert np.abs(datamodule.recordings[0].signal[:].mean(axis=0)).max() < 1e-3


def test_the_bipolar_montage(arguments):
    datamodule = SzCOREDataModule(montage="double_banana", sampling_rate_hz=128.0, **arguments)
    assert datamodule.spec.n_channels == 18
    with pytest.raises(
        ConfigError, match=r"datamodule.montage='double_bananas' is unknown: did you mean 'double_banana'"
    ):
        SzCOREDataModule(montage="double_bananas", **arguments)


def test_a_recording_without_annotations(tmp_path):
    arguments = make_szcore(tmp_path / "data", subjects=2)
    next((tmp_path / "data" / "sub-02").rglob("*.tsv")).unlink()
    with pytest.raises(DataError, match=r"its annotation file sub-02_task-szMonitoring_run-00_events.tsv is missing"):
        SzCOREDataModule(**arguments).windows  # noqa: B018


def test_a_missing_folder(tmp_path):
    with pytest.raises(MissingDataError, match=r"(?s)no data at .*_events.tsv"):
        SzCOREDataModule(root=tmp_path, window_s=4.0).windows  # noqa: B018
