"""CHB-MIT as published: summaries, and folders of EDF files."""

import pytest
from fixtures import make_chbmit, noise, summary_text, write_edf
from neurotwin.contracts import Event
from neurotwin.datamodules.chbmit import CHBMITDataModule
from neurotwin.datamodules.formats.chbmit_summary import read_summary
from neurotwin.datamodules.formats.montage import COMMON_AVERAGE
from neurotwin.errors import ConfigError, DataError, MissingDataError

SUMMARY = """Data Sampling Rate: 256 Hz
*************************

Channels in EDF Files:
**********************
Channel 1: FP1-F7
Channel 2: F7-T7

File Name: chb06_01.edf
File Start Time: 17:06:46
File End Time: 21:06:46
Number of Seizures in File: 3
Seizure 1 Start Time: 1724 seconds
Seizure 1 End Time: 1738 seconds
Seizure 2 Start Time: 7461 seconds
Seizure 2 End Time: 7476 seconds
Seizure 3 Start Time:  13525 seconds
Seizure 3 End Time: 13540 seconds

Channels changed:
Channel 1: FP1-CS2

File Name: chb06_02.edf
File Start Time: 21:06:54
File End Time: 25:06:54
Number of Seizures in File: 0

File Name: chb01_03.edf
Number of Seizures in File: 1
Seizure Start Time: 2996 seconds
Seizure End Time: 3036 seconds
"""


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    return make_chbmit(tmp_path_factory.mktemp("data") / "chbmit")


def test_summary_of_all_styles(tmp_path):
    path = tmp_path / "chb06-summary.txt"
    path.write_text(SUMMARY)
    assert read_summary(path) == {
        "chb06_01.edf": [Event(1724, 14), Event(7461, 15), Event(13525, 15)],
        "chb06_02.edf": [],
        "chb01_03.edf": [Event(2996, 40)],
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Seizure 2 End Time: 7476 seconds\n", "", r"announces 3 seizure\(s\) but lists 3 start and 2 end times"),
        (
            "Seizures in File: 3",
            "Seizures in File: 4",
            r"announces 4 seizure\(s\) but lists 3 start and 3 end",
        ),
        ("3036", "2990", r"chb01_03.edf has a seizure from 2996 s to 2990 s: it ends before it starts"),
        ("File Name: chb06_01.edf", "File Name:", r"a line 'File Name:' names no file"),
        ("File Name", "Datei", r"no line 'File Name: …' found; not a CHB-MIT summary"),
    ],
)
def test_summaries_that_contradict_themselves(tmp_path, old, new, message):
    path = tmp_path / "chb06-summary.txt"
    path.write_text(SUMMARY.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_summary(path)


def test_recordings_of_a_folder(arguments):
    datamodule = CHBMITDataModule(**arguments)
    assert [r.name for r in datamodule.recordings[:3]] == ["chb01_01", "chb01_02", "chb02_01"]
    assert {r.sampling_rate_hz for r in datamodule.recordings} == {128.0}
    labels = datamodule.windows.groupby("recording")["target"].apply(list)
    assert labels[0] == [0] * 12
    # 10 s to 30 s: half of the window from 8 s, all from 12 s to 28 s, half of the one from 28 s.
    assert labels[1] == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert CHBMITDataModule(**arguments).fingerprint() == datamodule.fingerprint()


def test_only_records_with_seizures_and_only_some_cases(arguments):
    datamodule = CHBMITDataModule(only_seizure_records=True, cases=["chb02", "chb03"], **arguments)
    assert [r.name for r in datamodule.recordings] == ["chb02_02", "chb03_02"]
    with pytest.raises(ConfigError, match=r"datamodule.cases: 'chb3' is not below .*: did you mean 'chb03'\?"):
        CHBMITDataModule(cases=["chb3"], **arguments).windows  # noqa: B018


def test_a_missing_folder(tmp_path):
    with pytest.raises(MissingDataError, match=r"(?s)no data at .*chb01/chb01-summary.txt"):
        CHBMITDataModule(root=tmp_path, window_s=4.0).windows  # noqa: B018


def test_mislabelled_files_are_named_or_left_out(tmp_path):
    arguments = make_chbmit(tmp_path / "data", cases=3)
    root = tmp_path / "data"
    summary = root / "chb02" / "chb02-summary.txt"
    summary.write_text(summary_text("chb02", {"01": [], "02": [(100, 120)]}))
    (root / "chb01" / "chb01_02.edf").rename(root / "chb01" / "chb01_77.edf")
    (root / "chb03" / "chb03_01.edf").write_bytes(b"")
    with pytest.raises(DataError, match=r"chb01_77.edf: chb01-summary.txt does not name this file"):
        CHBMITDataModule(**arguments).windows  # noqa: B018
    with pytest.warns(UserWarning, match=r"left out 3 unreadable") as caught:
        recordings = CHBMITDataModule(on_error="skip", **arguments).recordings
    assert [r.name for r in recordings] == ["chb01_01", "chb02_01", "chb03_02"]
    text = str(caught[0].message)
    assert "chb02_02.edf: an annotated seizure ends at 120 s, the recording at 48 s" in text
    assert "chb03_01.edf: empty file (0 bytes)" in text


def test_records_with_a_reference_electrode_are_rederived(tmp_path):
    arguments = make_chbmit(tmp_path / "data", cases=1)
    signal = noise(19, 48 * 256, seed=5, scale_uv=20.0)
    labels = [f"{name}-CS2" for name in COMMON_AVERAGE.channel_names]
    write_edf(tmp_path / "data" / "chb01" / "chb01_02.edf", labels, signal, 256)
    recording = CHBMITDataModule(sampling_rate_hz=256.0, **arguments).recordings[1]
    assert recording.channel_names[0] == "FP1-F7"
    expected = signal[labels.index("Fp1-CS2")] - signal[labels.index("F7-CS2")]
    assert abs(recording.signal[0] - expected).max() < 0.026


@pytest.mark.data
def test_untouched_files_of_the_database(data_root, tmp_path):
    fixtures = data_root / "eeg" / "chbmit_clips" / "edf_fixtures"
    case = tmp_path / "chb16"
    case.mkdir()
    for name in ("chb16_16_hI.edf", "chb16_17_Ld-seizure.edf"):
        (case / name).symlink_to(fixtures / name)
    summary = summary_text("chb16", {"16_hI": [], "17_Ld-seizure": [(0, 6)]})
    (case / "chb16-summary.txt").write_text(summary)
    datamodule = CHBMITDataModule(root=tmp_path, window_s=2.0, cache_dir=tmp_path / "cache")
    assert datamodule.windows["target"].tolist() == [0, 0, 0, 1, 1, 1]
    assert all(10 < r.signal[:].std() < 500 for r in datamodule.recordings)
