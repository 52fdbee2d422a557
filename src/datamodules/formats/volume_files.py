"""3-D images from NIfTI, NRRD, MetaImage files and DICOM series folders, all with a RAS affine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contracts import Volume
from ...errors import DataError

NIFTI = (".nii", ".nii.gz")
ITK = (".nrrd", ".nhdr", ".mha", ".mhd")
#: Of a NRRD header; ITK's reader crashes at a damaged one of several thousand characters.
_LONGEST_LINE = 2000
#: Of a MetaImage header; ITK's reader crashes at a negative number.
_META_DIMENSIONS = re.compile(rb"(?m)^[ \t]*NDims[ \t]*=(.*)$")
#: ITK's millimetres point to left and posterior, nibabel's to right and anterior.
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_volume(path: Path) -> bool:
    """Whether a path looks like something that :func:`read_volume` reads: by ending, or a folder of DICOM slices."""
    if path.is_dir():
        return any(_is_dicom(child) for child in sorted(path.iterdir())[:3] if child.is_file())
    return path.name.lower().endswith(NIFTI + ITK)


def read_volume(path: Path, series: str | None = None) -> Volume:
    """Read one 3-D image.

    Args:
        path: A file, or a folder with the slices of a DICOM series.
        series: SeriesInstanceUID, where a folder holds several.

    Raises:
        DataError: If it is missing, unreadable, not 3-D, empty, holds NaN or has no usable geometry.
    """
    if not path.exists():
        raise DataError(f"{path}: there is no such file")
    if path.is_dir():
        data, affine = _read_dicom(path, series)
    elif path.name.lower().endswith(NIFTI):
        data, affine = _read_nifti(path)
    elif path.name.lower().endswith(ITK):
        data, affine = _read_itk(path)
    else:
        raise DataError(f"{path}: unknown ending; give {', '.join(NIFTI + ITK)} or a folder of DICOM slices")
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise DataError(f"{path}: has {data.ndim} dimensions {data.shape}; one 3-D volume is needed, split it first")
    if 0 in data.shape or data.size < 8:
        raise DataError(f"{path}: is empty (shape {data.shape})")
    if np.issubdtype(data.dtype, np.floating) and not np.isfinite(data).all():
        count = int((~np.isfinite(data)).sum())
        raise DataError(f"{path}: {count:,} voxels are NaN or infinite; replace them, or export the image again")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(f"{path}: its orientation matrix is singular; the header's sform or direction is damaged")
    return Volume(data, affine, str(path))


def read_mask(path: Path, image: Volume, labels: tuple[int, ...] | None = None) -> Volume:
    """Read a label and bring it to the grid of its image, by affine, nearest neighbour, where the grids differ.

    Args:
        path: The label file.
        image: The image that it belongs to.
        labels: Values that count as tumour; None: everything above 0.

    Raises:
        DataError: If the file cannot be read, or does not overlap with the image in space.
    """
    label = read_volume(path)
    inside = label.data > 0 if labels is None else np.isin(label.data, labels)
    same = label.data.shape == image.data.shape and np.allclose(label.affine, image.affine, atol=1e-2)
    data = inside.astype(np.uint8)
    if not same:
        data = resample(Volume(data, label.affine, label.name), image.affine, image.data.shape, order=0)
        moved, there = float(data.sum()) * image.voxel_ml, float(inside.sum()) * label.voxel_ml
        if there > 0 and moved == 0:
            raise DataError(
                f"{path}: its grid does not match {image.name}: shapes {label.data.shape} and {image.data.shape}, and "
                "no labelled voxel lies inside the image; one of the two headers has a wrong origin or orientation"
            )
    return Volume(data.astype(np.uint8), image.affine, str(path))


def resample(volume: Volume, affine: NDArray[Any], shape: tuple[int, ...], order: int = 1) -> NDArray[Any]:
    """Values of a volume at the voxels of another grid; zero outside.

    Args:
        volume: What to resample.
        affine: Of the wanted grid, RAS.
        shape: Of the wanted grid.
        order: Of the spline: 0 for labels, 1 for probabilities, 3 for images.
    """
    from scipy.ndimage import affine_transform

    matrix = np.linalg.inv(volume.affine) @ affine
    data = volume.data if order == 0 else volume.data.astype(np.float32)
    return np.asarray(affine_transform(data, matrix[:3, :3], matrix[:3, 3], tuple(shape), order=order, cval=0))


def write_volume(path: Path, data: NDArray[Any], affine: NDArray[Any]) -> Path:
    """Write a NIfTI file; integers stay integers."""
    import nibabel

    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def _read_nifti(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    import nibabel

    try:
        image: Any = nibabel.load(path)
        scaled = image.dataobj.slope != 1 or image.dataobj.inter != 0
        data = np.asarray(image.dataobj, dtype=np.float32) if scaled else np.asarray(image.dataobj)
    except Exception as error:
        raise DataError(f"{path}: no readable NIfTI file ({type(error).__name__}: {error})") from error
    affine = getattr(image, "affine", None)
    if affine is None:
        raise DataError(f"{path}: is a {type(image).__name__}, no volume with an orientation matrix")
    return data, np.asarray(affine, dtype=np.float64)


def _read_itk(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    import SimpleITK as sitk

    with path.open("rb") as file:
        header = file.read(1 << 16).partition(b"\n\n")[0]
    if header.startswith(b"NRRD") and max(map(len, header.split(b"\n"))) > _LONGEST_LINE:
        raise DataError(f"{path}: damaged: a line of its header has more than {_LONGEST_LINE} characters")
    if (found := _META_DIMENSIONS.search(header)) and found[1].strip() not in (b"2", b"3", b"4"):
        raise DataError(f"{path}: damaged: NDims = {found[1].decode(errors='replace').strip()} in its header")
    try:
        return _from_itk(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise DataError(f"{path}: SimpleITK cannot read it ({str(error).strip().splitlines()[-1]})") from error


def _read_dicom(path: Path, series: str | None) -> tuple[NDArray[Any], NDArray[Any]]:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    found = list(reader.GetGDCMSeriesIDs(str(path)))
    if not found:
        raise DataError(f"{path}: holds no DICOM series")
    if series is None and len(found) > 1:
        raise DataError(f"{path}: holds {len(found)} DICOM series; put each in a folder of its own")
    if series is not None and series not in found:
        raise DataError(f"{path}: holds no series {series}")
    names = reader.GetGDCMSeriesFileNames(str(path), series or found[0])
    reader.SetFileNames(names)
    try:
        return _from_itk(reader.Execute())
    except RuntimeError as error:
        raise DataError(f"{path}: the DICOM series cannot be read ({str(error).strip().splitlines()[-1]})") from error


def _from_itk(image: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Array with ITK's index order, and the affine in RAS."""
    import SimpleITK as sitk

    dimensions = image.GetDimension()
    data = np.transpose(sitk.GetArrayFromImage(image), tuple(reversed(range(dimensions))))
    affine = np.eye(4)
    direction = np.asarray(image.GetDirection()).reshape(dimensions, dimensions)[:3, :3]
    affine[:3, :3] = direction * np.asarray(image.GetSpacing())[:3]
    affine[:3, 3] = np.asarray(image.GetOrigin())[:3]
    return data, _LPS_TO_RAS @ affine


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
