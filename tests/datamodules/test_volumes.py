"""Volumes through an atlas: the means by hand, and what does not fit."""

import nibabel
import numpy as np
import pytest
from neurotwin.datamodules.fmri import FMRIDataModule
from neurotwin.datamodules.formats.volumes import read_volumes, region_positions
from neurotwin.errors import ConfigError, DataError, MissingDataError

AFFINE = np.diag([3.0, 3.0, 3.0, 1.0])


@pytest.fixture
def scan(tmp_path):
    """Four regions of eight voxels in a 4 x 4 x 2 grid, 40 volumes of noise."""
    labels = np.zeros((4, 4, 2), dtype=np.int16)
    for k in range(4):
        labels[k] = k + 1
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "atlas.nii.gz")

    def write(name, seed=0):
        data = 100 + np.random.default_rng(seed).standard_normal((4, 4, 2, 40)).astype(np.float32)
        image = nibabel.Nifti1Image(data, AFFINE)
        image.header.set_zooms((3, 3, 3, 2.5))
        image.header.set_xyzt_units("mm", "sec")
        nibabel.save(image, tmp_path / name)
        return data

    return tmp_path, write


def test_region_means_by_hand(scan):
    folder, write = scan
    data = write("sub-01_task-rest_bold.nii.gz")
    series = read_volumes(folder / "sub-01_task-rest_bold.nii.gz", folder / "atlas.nii.gz")
    np.testing.assert_allclose(series.values, data.mean((1, 2)).T, rtol=1e-5)
    assert series.names == ("label-1", "label-2", "label-3", "label-4")
    assert series.tr_s == 2.5


def test_people_are_read_from_volumes(scan):
    folder, write = scan
    (folder / "scans").mkdir()
    for number in range(4):
        for condition in ("rest", "story"):
            write(f"scans/sub-{number}_task-{condition}_bold.nii.gz", number)
    arguments = {"root": folder / "scans", "folds": 2, "val_fraction": 0.0}
    datamodule = FMRIDataModule(**arguments, atlas=folder / "atlas.nii.gz")
    assert datamodule.spec.n_nodes == len(datamodule.people) == 4
    table = folder / "positions.csv"
    table.write_text("name,x,y,z\n" + "".join(f"label-{k},{k},0,-{k}\n" for k in (4, 3, 2, 1)))
    told = FMRIDataModule(**arguments, atlas=folder / "atlas.nii.gz", positions=table)
    np.testing.assert_array_equal(told.region_positions_mm, [[k, 0, -k] for k in (1, 2, 3, 4)])
    table.write_text("name,x,y,z\nlabel-1,0,0,0\n")
    told = FMRIDataModule(**arguments, atlas=folder / "atlas.nii.gz", positions=table)
    with pytest.raises(DataError, match=r"positions\.csv: has no position of region 'label-2'"):
        told.region_positions_mm  # noqa: B018
    with pytest.raises(ConfigError, match=r"volumes need datamodule\.atlas"):
        FMRIDataModule(**arguments).read_scan(folder / "scans" / "sub-0_task-rest_bold.nii.gz")


def test_messages(scan):
    folder, write = scan
    write("bold.nii.gz")
    with pytest.raises(DataError, match="has 3 dimensions; time series need 4-D volumes"):
        read_volumes(folder / "atlas.nii.gz", folder / "atlas.nii.gz")
    with pytest.raises(MissingDataError):
        read_volumes(folder / "bold.nii.gz", folder / "absent.nii.gz")
    (folder / "broken.nii.gz").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.nii\.gz: no time series through atlas"):
        read_volumes(folder / "broken.nii.gz", folder / "atlas.nii.gz")


def test_positions_of_an_atlas(tmp_path):
    """Two slabs on a grid of 3 mm that begins 12 mm left of the middle; beside them background, as atlases have."""
    labels = np.zeros((8, 4, 2), dtype=np.int16)
    labels[1], labels[6] = 7, 3
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[0, 3] = -12
    nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "atlas.nii.gz")
    found = region_positions(tmp_path / "atlas.nii.gz")
    assert found == {"label-3": (6, 4.5, 1.5), "label-7": (-9, 4.5, 1.5)}
    (tmp_path / "broken.nii.gz").write_bytes(b"no atlas")
    with pytest.raises(DataError, match=r"broken\.nii\.gz: no positions of regions"):
        region_positions(tmp_path / "broken.nii.gz")
