"""Every format gives the same table back, and damaged files are named with their remedy."""

import nibabel
import numpy as np
import pytest
from fixtures import bold, write_1d
from neurotwin.datamodules.formats.timeseries import read_timeseries
from neurotwin.errors import DataError
from nibabel.cifti2 import Cifti2Header, Cifti2Image, ParcelsAxis, ScalarAxis, SeriesAxis
from scipy.io import savemat

SERIES = np.round(bold(30, 4), 6)


def parcels(n):
    voxels = [np.array([[k, 0, 0]]) for k in range(n)]
    return ParcelsAxis([f"P{k}" for k in range(n)], voxels, [{}] * n, affine=np.eye(4), volume_shape=(9, 9, 9))


def write_cifti(path, series, first=None):
    axis = first or SeriesAxis(0, 0.72, len(series), "SECOND")
    Cifti2Image(series, Cifti2Header.from_axes((axis, parcels(series.shape[1])))).to_filename(path)


def test_every_format_gives_the_same_series(tmp_path):
    write_1d(tmp_path / "a.1D", SERIES)
    np.savetxt(tmp_path / "plain.txt", SERIES)
    np.savez(tmp_path / "a.npz", timeseries=SERIES, names=list("wxyz"), tr_s=2.0)
    np.save(tmp_path / "a.npy", SERIES)
    savemat(tmp_path / "a.mat", {"tc": SERIES.T})
    np.savetxt(tmp_path / "a.csv", SERIES, delimiter=",", header="w,x,y,z", comments="")
    np.savetxt(tmp_path / "plain.tsv", SERIES, delimiter="\t")
    write_cifti(tmp_path / "a.ptseries.nii", SERIES)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 8
    scans = {path.name: read_timeseries(path) for path in files}
    for scan in scans.values():
        np.testing.assert_allclose(scan.values, SERIES, rtol=1e-6)
    assert scans["a.1D"].names == ("1", "2", "3", "4")
    assert scans["a.csv"].names == scans["a.npz"].names == ("w", "x", "y", "z")
    assert scans["plain.tsv"].names == ("roi-001", "roi-002", "roi-003", "roi-004")
    assert scans["a.ptseries.nii"].names == ("P0", "P1", "P2", "P3")
    assert scans["a.ptseries.nii"].tr_s == pytest.approx(0.72)
    assert scans["a.npz"].tr_s == 2.0


def test_missing_values_stay_visible(tmp_path):
    (tmp_path / "a.csv").write_text("w,x\n1,2\nn/a,3\n4,nan\n")
    values = read_timeseries(tmp_path / "a.csv").values
    assert np.isnan(values).tolist() == [[False, False], [True, False], [False, True]]


DAMAGED = {
    "a.1D": ("1 2 3\n4 5\n", "row 2 has 2 columns, the first has 3"),
    "b.1D": ("# nothing\n", "holds no numbers"),
    "c.1D": ("1 2\nx 4\n", "not readable as .1D time series"),
    "d.csv": ("1,2,3\n", r"holds an array of shape \(1, 3\); expected \(volume, roi\)"),
    "e.npz": ("no zip", "not readable as .npz"),
    "f.ptseries.nii": ("no nifti", "not readable as .nii"),
    "g.edf": ("", "unknown format; time series are read from .1d, .txt, .ptseries.nii"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_named(name, tmp_path):
    text, message = DAMAGED[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_timeseries(tmp_path / name)
    assert name in str(caught.value)


def test_other_contents_are_named(tmp_path):
    write_cifti(tmp_path / "a.ptseries.nii", SERIES, ScalarAxis([str(k) for k in range(len(SERIES))]))
    with pytest.raises(DataError, match="is ScalarAxis x ParcelsAxis, not a parcel series; parcellate it"):
        read_timeseries(tmp_path / "a.ptseries.nii")
    nibabel.Nifti1Image(np.zeros((2, 2, 2)), np.eye(4)).to_filename(tmp_path / "b.ptseries.nii")
    with pytest.raises(DataError, match="is no CIFTI-2 file"):
        read_timeseries(tmp_path / "b.ptseries.nii")
    np.savez(tmp_path / "c.npz", one=SERIES, two=SERIES)
    with pytest.raises(DataError, match="expected one two-dimensional array, or one called timeseries; found one, two"):
        read_timeseries(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", timeseries=SERIES, names=["w"])
    with pytest.raises(DataError, match="names 1 regions but holds 4 columns"):
        read_timeseries(tmp_path / "d.npz")
