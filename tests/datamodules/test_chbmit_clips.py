"""CHB-MIT clips: the packing, the patients, and an index that its archives do not keep."""

import json

import numpy as np
import pytest
from fixtures import encode_clip, make_chbmit_clips, noise, write_edf
from neurotwin.datamodules.chbmit_clips import CHBMITClipsDataModule, decode_clip
from neurotwin.datamodules.formats.edf import EDFReader
from neurotwin.datamodules.formats.montage import DOUBLE_BANANA
from neurotwin.errors import ConfigError, DataError, MissingDataError


@pytest.fixture
def arguments(tmp_path):
    return make_chbmit_clips(tmp_path / "clips")


def edit_index(arguments, change):
    path = f"{arguments['root']}/index.json"
    with open(path, encoding="utf-8") as file:
        index = json.load(file)
    change(index)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(index, file)


def test_decoding_undoes_the_packing(tmp_path):
    signal = np.array([[0, 1, -1, 32767, -32768, 5], [9, 9, 9, 9, 9, 8]], dtype=np.int16)
    assert np.array_equal(decode_clip({"k": encode_clip(signal)}, "k", tmp_path, 2, 6), signal)


def test_labels_and_microvolts(arguments):
    datamodule = CHBMITClipsDataModule(**arguments)
    first, second, third = datamodule.recordings[:3]
    # 48 s of which 24 are ictal; 20 s ictal; 20 s after it.
    by_recording = datamodule.windows.groupby("recording")["target"].apply(list)
    assert by_recording[0] == [1] * 6 + [0] * 6
    assert by_recording[1] == [1] * 5
    assert by_recording[2] == [0] * 5
    assert (first.metadata["piece"], second.metadata["piece"], third.metadata["piece"]) == ("a", "i", "p")
    assert third.metadata["start_rel_onset_s"] == 60
    assert first.signal.std() == pytest.approx(40, rel=0.02)


def test_cases_of_one_patient_share_a_group(arguments):
    def rename(index):
        for piece in index["pieces"]:
            piece["case"] = {"chb02": "chb21", "chb03": "chb17a", "chb04": "chb17b"}.get(piece["case"], piece["case"])

    edit_index(arguments, rename)
    for old, new in (("chb02", "chb21"), ("chb03", "chb17a"), ("chb04", "chb17b")):
        (CHBMITClipsDataModule(**arguments).root / f"{old}.npz").rename(f"{arguments['root']}/{new}.npz")
    datamodule = CHBMITClipsDataModule(**arguments)
    assert sorted({r.subject for r in datamodule.recordings}) == ["chb01", "chb05", "chb06", "chb07", "chb08", "chb17"]
    assert datamodule.windows["group"].nunique() == 6


def test_a_choice_of_cases(arguments):
    datamodule = CHBMITClipsDataModule(cases=["chb03", "chb05"], **arguments)
    assert {r.subject for r in datamodule.recordings} == {"chb03", "chb05"}
    with pytest.raises(ConfigError, match=r"datamodule.cases: 'chb99' is not in .*index.json"):
        CHBMITClipsDataModule(cases=["chb99"], **arguments).windows  # noqa: B018


def test_a_missing_folder(tmp_path):
    with pytest.raises(MissingDataError, match=r"(?s)no data at .*index.json.*physionet.org"):
        CHBMITClipsDataModule(root=tmp_path, window_s=4.0).windows  # noqa: B018


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: index.pop("pieces"), r"index.json: not an index of clips \(KeyError\('pieces'\)\)"),
        (lambda index: index.update(fs=256), r"18 channels at 256 Hz, expected the 18 of the double banana at 128 Hz"),
        (lambda index: index["pieces"][0].update(key="nope"), r"chb01.npz: holds no piece 'nope'"),
        (lambda index: index["pieces"][0].update(n_samples=7), r"index.json says uint8 \(2, 18, 7\)"),
        (lambda index: index["pieces"][0].update(case="chb99"), r"chb99.npz: missing"),
    ],
)
def test_an_index_that_is_wrong(arguments, change, message):
    edit_index(arguments, change)
    with pytest.raises(DataError, match=message):
        CHBMITClipsDataModule(**arguments).windows  # noqa: B018


def test_a_corrupt_archive_is_left_out_on_request(arguments):
    path = CHBMITClipsDataModule(**arguments).root / "chb02.npz"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"chb02.npz: not a readable npz file"):
        CHBMITClipsDataModule(**arguments).windows  # noqa: B018
    with pytest.warns(UserWarning, match=r"left out 3 unreadable"):
        assert "chb02" not in {r.subject for r in CHBMITClipsDataModule(on_error="skip", **arguments).recordings}


def test_a_file_of_ones_own(arguments, tmp_path):
    datamodule = CHBMITClipsDataModule(**arguments)
    path = write_edf(tmp_path / "own.edf", DOUBLE_BANANA.channel_names, noise(18, 2560), 256)
    (recording,) = datamodule.read(path)
    assert datamodule.windows_of(recording, stride_s=1.0)[0].shape == (7, 18, 512)


@pytest.mark.data
def test_real_clips_and_the_untouched_files_they_were_cut_from(data_root):
    root = data_root / "eeg" / "chbmit_clips"
    datamodule = CHBMITClipsDataModule(root=root, window_s=4.0, cases=["chb16"])
    recordings = {r.name: r for r in datamodule.recordings}
    reader = EDFReader(DOUBLE_BANANA, 128.0)
    for stem in ("chb16_16_hI", "chb16_17_Ld"):
        for suffix, piece in (("-seizure", "i"), ("", "p")):
            edf = reader.prepare(root / "edf_fixtures" / f"{stem}{suffix}.edf")
            # The packing rounds to 0.5 µV.
            assert np.abs(edf - recordings[f"{stem}_{piece}"].signal).max() <= 0.251


@pytest.mark.data
def test_real_counts(data_root):
    datamodule = CHBMITClipsDataModule(root=data_root / "eeg" / "chbmit_clips", window_s=4.0)
    assert sum(r.duration_s for r in datamodule.recordings) == pytest.approx(14525, abs=1)
    assert (len(datamodule.windows), int(datamodule.windows["target"].sum())) == (3538, 2005)
    assert datamodule.windows["group"].nunique() == 17
