"""EDF files, montages and the cache of prepared signals."""

import pickle
import time

import numpy as np
import pytest
from fixtures import CHBMIT_CHANNELS, noise, write_edf
from neurotwin.datamodules.formats.cache import StoredSignal, cache_folder, cached_array, cached_file
from neurotwin.datamodules.formats.edf import EDFReader, read_edf_header
from neurotwin.datamodules.formats.montage import COMMON_AVERAGE, DOUBLE_BANANA
from neurotwin.errors import ConfigError, DataError

ELECTRODES = tuple(name.upper() for name in COMMON_AVERAGE.channel_names)
MODERN = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
BANANA = EDFReader(DOUBLE_BANANA, 128.0)


def rereferenced(signal: np.ndarray, montage=DOUBLE_BANANA) -> np.ndarray:
    """What the double banana of referential electrodes is, written out."""
    at = {MODERN.get(name, name): row for name, row in zip(ELECTRODES, signal, strict=True)}
    return np.stack([at[plus] - at[minus] for plus, minus in (c.split("-") for c in montage.channel_names)])


def test_header_says_what_is_in_the_file(tmp_path):
    header = read_edf_header(write_edf(tmp_path / "a.edf", ["C3", "C4"], noise(2, 512), 256))
    assert header.labels == ("C3", "C4")
    assert header.sampling_rates_hz == (256.0, 256.0)
    assert header.units == ("uV", "uV")
    assert header.duration_s == 2.0


def test_duplicate_and_dummy_channels(tmp_path):
    labels = [*CHBMIT_CHANNELS[:4], "-", *CHBMIT_CHANNELS[4:], "-", "ECG"]
    signal = noise(len(labels), 2560)
    signal[4] = signal[-2] = 0.0
    path = write_edf(tmp_path / "a.edf", labels, signal, 256)
    prepared = EDFReader(DOUBLE_BANANA, 256.0).prepare(path)
    expected = np.stack([signal[labels.index(name)] for name in DOUBLE_BANANA.channel_names])
    # 16 bits over 1600 µV: half a step is 0.012 µV.
    assert np.abs(prepared - expected).max() < 0.013
    assert prepared.dtype == np.float32


def test_a_dummy_channel_whose_digital_range_is_empty(tmp_path):
    """chb12_06 has one, at which pyedflib gives up."""
    labels = (*DOUBLE_BANANA.channel_names, "-")
    path = write_edf(tmp_path / "a.edf", labels, noise(19, 512), 256)
    raw = bytearray(path.read_bytes())
    for field in (104, 112, 120, 128):  # physical and digital minimum and maximum, in columns of 8 bytes a signal
        first = 256 + field * 19 + 8 * 18
        raw[first : first + 8] = b"0       "
    path.write_bytes(raw)
    assert EDFReader(DOUBLE_BANANA, 256.0).prepare(path).shape == (18, 512)


@pytest.mark.parametrize("form", ["{}", "EEG {}-REF", "{}-CS2", "{}-LE"])
def test_electrodes_are_rereferenced(tmp_path, form):
    signal = noise(19, 2560)
    path = write_edf(tmp_path / "a.edf", [form.format(name) for name in ELECTRODES], signal, 256)
    prepared = EDFReader(DOUBLE_BANANA, 256.0).prepare(path)
    assert np.abs(prepared - rereferenced(signal)).max() < 0.026
    average = EDFReader(COMMON_AVERAGE, 256.0).prepare(path)
    assert np.abs(average - (signal - signal.mean(axis=0))).max() < 0.026
    assert np.abs(average.mean(axis=0)).max() < 1e-4


def test_new_names_of_temporal_electrodes_and_a_reversed_pair():
    labels = ["F7-FP1", *DOUBLE_BANANA.channel_names[1:]]
    needed, matrix = DOUBLE_BANANA.weights(labels, "file")
    assert needed == list(range(18))
    assert np.array_equal(matrix, np.diag([-1] + [1] * 17))
    modern = [MODERN.get(name, name) for name in ELECTRODES]
    assert COMMON_AVERAGE.weights(modern, "file")[0] == list(range(19))


def test_millivolt_is_read_as_microvolt(tmp_path):
    signal = noise(18, 512)
    path = write_edf(tmp_path / "a.edf", DOUBLE_BANANA.channel_names, signal / 1000, 256, unit="mV", limit=0.8)
    assert np.abs(EDFReader(DOUBLE_BANANA, 256.0).prepare(path) - signal).max() < 0.013


def test_resampling_keeps_what_lies_in_the_band(tmp_path):
    time_s = np.arange(5120) / 256
    signal = np.tile(100 * np.sin(2 * np.pi * 10 * time_s) + 50 * np.sin(2 * np.pi * 100 * time_s), (18, 1))
    path = write_edf(tmp_path / "a.edf", DOUBLE_BANANA.channel_names, signal, 256)
    prepared = BANANA.prepare(path)
    assert prepared.shape == (18, 2560)
    # 100 Hz lies above the new Nyquist frequency and goes, 10 Hz stays.
    assert np.abs(prepared[0, 128:-128] - 100 * np.sin(2 * np.pi * 10 * time_s[::2])[128:-128]).max() < 1.0


def test_band_pass(tmp_path):
    time_s = np.arange(5120) / 256
    signal = np.tile(100 + 100 * np.sin(2 * np.pi * 10 * time_s), (18, 1))
    path = write_edf(tmp_path / "a.edf", DOUBLE_BANANA.channel_names, signal, 256)
    filtered = EDFReader.of(DOUBLE_BANANA, 128, [1, 40], None).prepare(path)[0, 512:-512]
    assert abs(filtered.mean()) < 1.0
    assert np.sqrt(2) * filtered.std() == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize(
    ("rate", "band", "message"),
    [
        (0, None, r"datamodule.sampling_rate_hz=0: must be positive"),
        (128, [40, 1], r"datamodule.band_hz=\[40.0, 1.0\]: needs two edges, 0 < low < high < 64 Hz"),
        (128, [1, 80], r"0 < low < high < 64 Hz"),
    ],
)
def test_wrong_arguments(rate, band, message):
    with pytest.raises(ConfigError, match=message):
        EDFReader.of(DOUBLE_BANANA, rate, band, None)


@pytest.fixture
def good(tmp_path):
    return write_edf(tmp_path / "good.edf", DOUBLE_BANANA.channel_names, noise(18, 2560), 256)


def test_truncated_files_are_noticed(good):
    good.write_bytes(good.read_bytes()[:-20_000])
    with pytest.raises(DataError, match=r"truncated: the header announces 10 records of 1 s, the file holds 7"):
        BANANA.prepare(good)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"good.edf: empty file \(0 bytes\)"),
        (b"<html>not found</html>" * 50, r"good.edf: not an EDF file, or its header is damaged"),
        (b"0       ", r"good.edf: not an EDF file"),
    ],
)
def test_what_is_no_edf(good, content, message):
    good.write_bytes(content)
    with pytest.raises(DataError, match=message):
        BANANA.prepare(good)


def test_missing_channels_are_listed(tmp_path):
    path = write_edf(tmp_path / "a.edf", DOUBLE_BANANA.channel_names[2:], noise(16, 512), 256)
    with pytest.raises(DataError, match=r"cannot derive 2 of 18 channels of the double banana montage: FP1-F7, F7-T7;"):
        BANANA.prepare(path)
    with pytest.raises(DataError, match=r"cannot derive 19 of 19 channels of the common average montage: Fp1, F3"):
        EDFReader(COMMON_AVERAGE, 128.0).prepare(path)


def test_electrodes_with_different_references():
    labels = [f"{name}-{'A1' if index % 2 else 'A2'}" for index, name in enumerate(ELECTRODES)]
    with pytest.raises(DataError, match=r"electrodes have different references \(A1, A2\)"):
        COMMON_AVERAGE.weights(labels, "file")
    with pytest.raises(DataError, match=r"cannot derive"):
        DOUBLE_BANANA.weights(labels, "file")


def test_a_rate_below_the_one_asked_for(tmp_path):
    path = write_edf(tmp_path / "a.edf", DOUBLE_BANANA.channel_names, noise(18, 1000), 100)
    with pytest.raises(DataError, match=r"sampling rate 100 Hz is below the 128 Hz that is asked for"):
        BANANA.prepare(path)


def test_an_unknown_unit(tmp_path):
    path = write_edf(tmp_path / "a.edf", DOUBLE_BANANA.channel_names, noise(18, 512), 256, unit="arb")
    with pytest.raises(DataError, match=r"unit 'arb' of an EEG channel is unknown"):
        BANANA.prepare(path)


def test_constant_channels(tmp_path):
    signal = noise(18, 512)
    signal[3] = 12.0
    path = write_edf(tmp_path / "a.edf", DOUBLE_BANANA.channel_names, signal, 256)
    with pytest.raises(DataError, match=r"a.edf: constant signal in P7-O1$"):
        BANANA.prepare(path)
    with pytest.warns(UserWarning, match="constant signal in P7-O1"):
        assert BANANA.fresh(path, "a").signal.shape == (18, 256)


def test_a_file_of_ones_own_brings_its_clock(good):
    recording = BANANA.fresh(good, "own")
    assert str(recording.metadata["start"]) == "2021-03-04 05:06:07"
    assert recording.channel_names == DOUBLE_BANANA.channel_names


def test_prepared_signals_are_read_once_and_mapped(good, tmp_path, monkeypatch):
    reader = EDFReader(DOUBLE_BANANA, 128.0, cache_dir=tmp_path / "cache")
    first = reader.stored(good, "r")
    assert isinstance(first.signal, StoredSignal)
    assert np.array_equal(np.asarray(first.signal), reader.prepare(good))
    assert first.duration_s == 10.0
    assert len(pickle.dumps(first.signal)) < 500
    monkeypatch.setattr(EDFReader, "prepare", None)
    again = reader.stored(good, "r")
    assert np.array_equal(again.signal[:, 100:200], first.signal[:, 100:200])
    assert again.metadata["fingerprint"] == first.metadata["fingerprint"]


def test_a_cache_that_cannot_be_written(good, tmp_path):
    (tmp_path / "cache").touch()
    with pytest.raises(ConfigError, match=r"datamodule.cache_dir=.*cache: prepared signals cannot be written there"):
        EDFReader(DOUBLE_BANANA, 128.0, cache_dir=tmp_path / "cache").stored(good, "r")


def test_a_changed_file_is_prepared_again(good, tmp_path):
    reader = EDFReader(DOUBLE_BANANA, 128.0, cache_dir=tmp_path / "cache")
    first = np.asarray(reader.stored(good, "r").signal)
    time.sleep(0.01)
    write_edf(good, DOUBLE_BANANA.channel_names, noise(18, 2560, seed=1), 256)
    assert not np.array_equal(np.asarray(reader.stored(good, "r").signal), first)


def test_identity_does_not_depend_on_the_place(good, tmp_path):
    reader = EDFReader(DOUBLE_BANANA, 128.0, cache_dir=tmp_path / "cache")
    other = tmp_path / "elsewhere.edf"
    other.write_bytes(good.read_bytes())
    assert reader.stored(good, "r").metadata["fingerprint"] == reader.stored(other, "r").metadata["fingerprint"]


def test_cache_recomputes_damaged_files_and_goes_without_a_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROTWIN_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    calls = []

    def compute():
        calls.append(1)
        return np.arange(3)

    assert cached_array("a/b", compute).tolist() == cached_array("a/b", compute).tolist() == [0, 1, 2]
    assert len(calls) == 1
    cached_file("a/b", compute).write_bytes(b"damaged")
    assert cached_array("a/b", compute).tolist() == [0, 1, 2]
    assert len(calls) == 2
    (tmp_path / "file").touch()
    assert cached_array("c", compute, folder=tmp_path / "file").tolist() == [0, 1, 2]
