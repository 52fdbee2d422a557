"""Bonn: three layouts, combinations of sets, simultaneity groups, and files that are not what they should be."""

import shutil
import zipfile

import numpy as np
import pytest
from fixtures import make_bonn, write_bonn_text, write_edf
from neurotwin.datamodules.bonn import BonnDataModule, parse_classes
from neurotwin.datamodules.formats.bonn_text import N_SAMPLES, PAPER_TO_FILE, SETS, find_bonn
from neurotwin.errors import ConfigError, DataError, MissingDataError


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("NEUROTWIN_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bonn")
    return folder, make_bonn(folder, per_set=4)


@pytest.fixture
def arguments(miniature, tmp_path):
    """A copy that a test may damage."""
    folder, values = miniature
    shutil.copytree(folder, tmp_path / "copy")
    return {**values, "root": tmp_path / "copy", "split": "recording", "folds": 2, "val_fraction": 0.5}


def signals(root):
    return {(f.letter, f.number): f.signal() for f in find_bonn(root)}


def test_text_zip_and_npz_hold_the_same_recordings(miniature, tmp_path):
    folder, _ = miniature
    text = signals(folder)
    (tmp_path / "zips").mkdir()
    for letter in SETS:
        with zipfile.ZipFile(tmp_path / "zips" / f"{letter.lower()}.zip", "w") as archive:
            for path in sorted((folder / letter).iterdir()):
                archive.write(path, f"{letter}/{path.name}")
            archive.writestr(f"__MACOSX/{letter}/._{letter}001.txt", "no samples")
    sets = {letter: np.stack([text[letter, n] for n in range(1, 5)]).astype(np.int16) for letter in SETS}
    (tmp_path / "packed").mkdir()
    np.savez(tmp_path / "packed" / "any_name.npz", fs=173.61, **sets)
    zipped, packed = signals(tmp_path / "zips"), signals(tmp_path / "packed")
    assert list(text) == list(zipped) == list(packed)
    for key, samples in text.items():
        assert np.array_equal(samples, zipped[key])
        assert np.array_equal(samples, packed[key])


def test_folders_named_after_the_paper(miniature, tmp_path):
    folder, _ = miniature
    for paper, letter in PAPER_TO_FILE.items():
        shutil.copytree(folder / letter, tmp_path / "Bonn" / paper)
    assert list(signals(tmp_path)) == list(signals(folder))


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        ("A-E", {"Z": 0, "S": 1}),
        ("ABCD-E", {"Z": 0, "O": 0, "N": 0, "F": 0, "S": 1}),
        ("AB-CD-E", {"Z": 0, "O": 0, "N": 1, "F": 1, "S": 2}),
        ("Z-O-N-F-S", {"Z": 0, "O": 1, "N": 2, "F": 3, "S": 4}),
    ],
)
def test_class_combinations(arguments, classes, labels):
    assert parse_classes(classes) == labels
    datamodule = BonnDataModule(classes=classes, **arguments)
    assert datamodule.class_names == tuple(classes.split("-"))
    assert {r.name[0]: r.label for r in datamodule.recordings} == labels
    assert datamodule.spec.n_outputs == len(set(labels.values()))


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ("A-X", r"datamodule.classes='A-X': 'X' is no set; choose from A B C D E \(or Z O N F S\)"),
        ("A-AE", r"'A' occurs twice"),
        ("AZ-E", r"'Z' occurs twice"),
        ("ABE", r"needs two or more classes"),
        ("A--E", r"needs two or more classes"),
    ],
)
def test_wrong_combinations(classes, message):
    with pytest.raises(ConfigError, match=message):
        parse_classes(classes)


def test_windows_of_the_whole_recording_and_of_512_samples(arguments):
    arguments.pop("window_samples")
    assert len(BonnDataModule(window_samples=4097, **arguments).windows) == 20
    assert len(BonnDataModule(window_samples=512, **arguments).windows) == 160


def test_simultaneous_recordings_share_a_group_across_sets(arguments):
    root = arguments["root"]
    samples = np.loadtxt(root / "N" / "N001.TXT")
    # The same moment in another set, 5 samples later and inverted.
    write_bonn_text(root / "F" / "F003.txt", -np.roll(samples, 5))
    datamodule = BonnDataModule(classes="C-E", **{**arguments, "split": "group"})
    group = {r.name: r.group for r in datamodule.recordings}
    assert len(set(group.values())) == 8
    both = BonnDataModule(**{**arguments, "split": "group"})
    group = {r.name: r.group for r in both.recordings}
    assert group["N001"] == group["F003"]
    assert len(set(group.values())) == 19


def test_correlation_is_computed_once(arguments, monkeypatch):
    arguments = {**arguments, "split": "group"}
    first = BonnDataModule(**arguments).windows
    monkeypatch.setattr("neurotwin.datamodules.bonn.max_abs_cross_correlation", None)
    assert BonnDataModule(**arguments).windows.equals(first)


def damage_empty(root):
    (root / "Z" / "Z002.txt").write_bytes(b"")


def damage_truncated(root):
    path = root / "O" / "O003.txt"
    path.write_text("\n".join(path.read_text().split("\n")[:100]))


def damage_text(root):
    path = root / "F" / "F001.txt"
    lines = path.read_text().split("\n")
    lines[16] = "1.5"
    path.write_text("\n".join(lines))


def damage_nan(root):
    path = root / "F" / "F001.txt"
    path.write_text("nan\n" + path.read_text().split("\n", 1)[1])


def damage_constant(root):
    write_bonn_text(root / "S" / "S004.txt", np.full(N_SAMPLES, 7))


DAMAGES = [
    (damage_empty, r"Z002.txt: empty file \(0 bytes\)"),
    (damage_truncated, r"O003.txt: holds 100 samples, expected 4097"),
    (damage_text, r"F001.txt: value 17 is '1.5', expected an integer"),
    (damage_nan, r"F001.txt: value 1 is 'nan', expected an integer"),
    (damage_constant, r"S004.txt: constant signal \(7 throughout\)"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_damaged_files_are_named_or_skipped(arguments, damage, message):
    damage(arguments["root"])
    with pytest.raises(DataError, match=message):
        BonnDataModule(**arguments).windows  # noqa: B018
    with pytest.warns(UserWarning, match=message):
        assert len(BonnDataModule(on_error="skip", **arguments).recordings) == 19


def test_a_file_in_the_wrong_folder(arguments):
    root = arguments["root"]
    (root / "Z" / "Z001.txt").rename(root / "S" / "Z001.txt")
    with pytest.raises(DataError, match=r"the file's name says set Z \(A\), its folder 'S' says set S"):
        BonnDataModule(**arguments).windows  # noqa: B018


def test_two_copies_of_one_recording(arguments):
    root = arguments["root"]
    shutil.copytree(root / "Z", root / "backup" / "A")
    with pytest.raises(DataError, match=r"are both recording Z001"):
        BonnDataModule(**arguments).windows  # noqa: B018


def test_an_incomplete_set(arguments):
    (arguments["root"] / "N" / "N002.TXT").unlink()
    with pytest.raises(DataError, match=r"set N \(C\) lacks 1 of 4 recordings: N002; complete it"):
        BonnDataModule(**arguments).windows  # noqa: B018
    with pytest.raises(DataError, match=r"set N \(C\), which group folds need, lacks 1 of 4"):
        BonnDataModule(classes="A-E", **{**arguments, "split": "group"}).windows  # noqa: B018
    assert len(BonnDataModule(classes="A-E", **arguments).recordings) == 8


def test_no_data_says_where_to_get_them(tmp_path):
    with pytest.raises(MissingDataError, match=r"(?s)no data at .*Andrzejak.*Z/Z001.txt.*NEUROTWIN_DATA"):
        BonnDataModule(root=tmp_path, window_samples=512).windows  # noqa: B018


def test_zips_are_checked_before_they_are_believed(arguments):
    root = arguments["root"]
    for letter in SETS:
        shutil.rmtree(root / letter)
    (root / "z.zip").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match=r"z.zip: not a readable zip file"):
        find_bonn(root)
    with zipfile.ZipFile(root / "z.zip", "w") as archive:
        archive.writestr("Z/Z001.txt", "0\n" * 600_000)
    with pytest.raises(DataError, match=r"Z001.txt: 1200000 bytes unpacked, no Bonn recording is that long"):
        find_bonn(root)[0].signal()


def test_npz_with_another_rate_or_with_pickles(tmp_path):
    sets = {letter: np.ones((1, N_SAMPLES), np.int16) for letter in SETS}
    np.savez(tmp_path / "bonn.npz", fs=256.0, **sets)
    with pytest.raises(DataError, match=r"bonn.npz: sampling rate fs=256 Hz, the Bonn recordings have 173.61 Hz"):
        find_bonn(tmp_path)
    np.savez(tmp_path / "bonn.npz", **{letter: np.array([{}]) for letter in SETS})
    with pytest.raises(DataError, match=r"bonn.npz: not a readable npz file"):
        find_bonn(tmp_path)


def test_a_file_of_ones_own(arguments, tmp_path):
    datamodule = BonnDataModule(**arguments)
    text = write_bonn_text(tmp_path / "own.txt", 50 * np.sin(np.arange(1024)))
    (recording,) = datamodule.read(text)
    assert datamodule.windows_of(recording)[0].shape == (2, 1, 512)
    tone = 100 * np.sin(2 * np.pi * 10 * np.arange(5120) / 256)
    (recording,) = datamodule.read(write_edf(tmp_path / "own.edf", ["Cz"], tone[None], 256))
    assert recording.sampling_rate_hz == 173.61
    assert recording.duration_s == pytest.approx(20.0, abs=0.01)
    middle = recording.signal[0, 800:-800]
    assert np.sqrt(2) * middle.std() == pytest.approx(100, rel=0.02)
    with pytest.raises(DataError, match=r"two.edf: has 2 channels \(Cz, Pz\), expected a single one"):
        datamodule.read(write_edf(tmp_path / "two.edf", ["Cz", "Pz"], np.stack([tone, tone]), 256))


@pytest.mark.data
def test_real_groups_equal_the_shipped_ones(data_root):
    datamodule = BonnDataModule(root=data_root / "eeg" / "bonn", window_samples=512)
    with np.load(data_root / "eeg" / "bonn" / "bonn.npz", allow_pickle=False) as packed:
        shipped = packed["groups_t030"].tolist()
    ours = [recording.group for recording in datamodule.recordings]
    pairs = set(zip(ours, shipped, strict=True))
    assert len(pairs) == len(set(ours)) == len(set(shipped)) == 104
    sets_of_group: dict[str, set[str]] = {}
    for recording in datamodule.recordings:
        sets_of_group.setdefault(recording.group, set()).add(recording.metadata["set"])
    assert sum(sets == {"C", "D"} for sets in sets_of_group.values()) == 14
    for fold in range(5):
        rows = datamodule.split(fold)
        groups = {part: {ours[r] for r in datamodule.windows["recording"].iloc[rows[part]]} for part in rows}
        assert not groups["train"] & groups["test"]
        assert not groups["val"] & groups["test"]
        assert not groups["train"] & groups["val"]
