"""MRI files, layouts, the plan, preprocessing and back, and every error a user can cause."""

import json
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from datamodules.fixtures import kept_locale, make_mri, mri_exam
from neurotwin.contracts import Exam, Volume
from neurotwin.datamodules.formats.mri_layouts import find_exams, modality_of
from neurotwin.datamodules.formats.nnunet_writer import write_nnunet
from neurotwin.datamodules.formats.volume_files import read_mask, read_volume, write_volume
from neurotwin.datamodules.mri import MRIDataModule
from neurotwin.datamodules.mri_cases import preprocess, read_exam, target_grid, to_native
from neurotwin.datamodules.mri_plan import Plan, make_plan
from neurotwin.errors import ConfigError, DataError, MissingDataError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NEUROTWIN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def datamodule(root, **settings):
    small = {"folds": 3, "spacing_mm": [1, 1, 1.6], "patch_size": [32, 32, 16], "patches_per_epoch": 8}
    return MRIDataModule(root=root, **{**small, **settings})


def itk_image(data, affine):
    """The same voxels as ITK has them: LPS millimetres, index order reversed in memory."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.T))
    lps = np.diag([-1, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LPI"])
def test_nrrd_and_nifti_say_the_same(tmp_path, codes):
    data, _, affine = mri_exam(0, codes=codes)
    sitk.WriteImage(itk_image(data, affine), str(tmp_path / "t1.nrrd"))
    volume = read_volume(tmp_path / "t1.nrrd")
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-5)
    same = read_volume(write_volume(tmp_path / "t1.nii.gz", data, affine))
    np.testing.assert_allclose(same.affine, volume.affine, atol=1e-4)


def write_dicom(folder, data, affine, uid="1.2.826.0.1.3680043.2.1125.1"):
    """An axial series, one file a slice."""
    folder.mkdir(parents=True, exist_ok=True)
    image, writer = itk_image(data, affine), sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    direction = image.GetDirection()
    for k in range(image.GetDepth()):
        part = sitk.Cast(image[:, :, k], sitk.sitkInt16)
        orientation = "\\".join(f"{direction[i]:g}" for i in (0, 3, 6, 1, 4, 7))
        position = "\\".join(f"{v:.6f}" for v in image.TransformIndexToPhysicalPoint((0, 0, k)))
        tags = {"0008|0060": "MR", "0020|000e": uid, "0020|000d": "1.2.3", "0020|0037": orientation}
        tags |= {"0020|0032": position, "0020|0013": str(k), "0008|0018": f"{uid}.{k + 1}", "0018|0050": "1.6"}
        for tag, value in tags.items():
            part.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{k:03d}.dcm"))
        with kept_locale():
            writer.Execute(part)


def test_dicom_series_keeps_its_place_in_space(tmp_path):
    data, _, affine = mri_exam(1, codes="LPS")
    write_dicom(tmp_path / "t1", data, affine)
    volume = read_volume(tmp_path / "t1")
    np.testing.assert_array_equal(volume.data, data)
    np.testing.assert_allclose(volume.affine, affine, atol=1e-3)


def test_mask_on_another_grid_is_moved_by_affine(tmp_path):
    data, label, affine = mri_exam(2, codes="RAS")
    flipped = write_volume(tmp_path / "mask.nii.gz", label[::-1], affine @ flip(label.shape))
    moved = read_mask(flipped, Volume(data, affine))
    np.testing.assert_array_equal(moved.data, label)


def flip(shape):
    matrix = np.diag([-1.0, 1, 1, 1])
    matrix[0, 3] = shape[0] - 1
    return matrix


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((4, 4, 4, 3), np.float32), "4 dimensions"),
        (np.full((4, 4, 4), np.nan, np.float32), "64 voxels are NaN"),
        (np.zeros((1, 1, 1), np.float32), "is empty"),
    ],
)
def test_unusable_volumes_are_named(tmp_path, data, message):
    path = write_volume(tmp_path / "t1.nii.gz", data, np.eye(4))
    with pytest.raises(DataError, match=message) as error:
        read_volume(path)
    assert str(path) in str(error.value)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "t1.nii.gz").write_bytes(b"no image")
    with pytest.raises(DataError, match="no readable NIfTI"):
        read_volume(tmp_path / "t1.nii.gz")
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="unknown ending"):
        read_volume(tmp_path / "a.png")
    with pytest.raises(DataError, match="no such file"):
        read_volume(tmp_path / "none.nii")


def test_singular_orientation_is_named(tmp_path):
    nifti = nibabel.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4))
    nifti.header["sform_code"], nifti.header["srow_x"], nifti.header["qform_code"] = 1, 0, 0
    path = tmp_path / "t1.nii"
    path.write_bytes(nifti.header.binaryblock + bytes(4) + bytes(128))
    with pytest.raises(DataError, match="singular"):
        read_volume(path)


def test_mask_elsewhere_in_space_is_refused(tmp_path):
    data, label, affine = mri_exam(3)
    far = affine.copy()
    far[:3, 3] += 500
    path = write_volume(tmp_path / "mask.nii.gz", label, far)
    with pytest.raises(DataError, match="does not match"):
        read_mask(path, Volume(data, affine, "image"))


def test_constant_image_is_refused():
    exam = Exam("a", "1", "", {"T2w": Volume(np.ones((8, 8, 8)), np.eye(4), "flat.nii")})
    with pytest.raises(DataError, match=r"flat\.nii: every voxel"):
        preprocess(exam, Plan((1, 1, 1), (8, 8, 8)), ("T2w",))


def layouts(root):
    """The six layouts in miniature, one exam each."""
    data, label, affine = mri_exam(0)

    def put(path, array=data):
        write_volume(root / path, array, affine)

    put("vs_seg/vs_gk_1/vs_gk_t1_refT1.nii.gz")
    put("vs_seg/vs_gk_1/vs_gk_seg_refT1.nii.gz", label)
    put("vs_seg/vs_gk_1/vs_gk_t2_refT2.nii.gz")
    put("vs_seg/vs_gk_1/vs_gk_seg_refT2.nii.gz", label)
    put("bids/sub-001/anat/sub-001_T2w.nii.gz")
    masks = "bids/derivatives/manual_segmentation_masks_of_T2w/sub-001/anat"
    put(f"{masks}/sub-001_space-individual_desc-tumor_mask.nii.gz", label)
    second = "bids/derivatives/second_observer_masks_of_T2w/sub-001/anat"
    put(f"{second}/sub-001_space-individual_desc-tumor_mask.nii.gz", np.roll(label, 1, 0))
    put("crossmoda/crossmoda2021_ldn_7_ceT1.nii.gz")
    put("crossmoda/crossmoda2021_ldn_7_Label.nii.gz", label)
    put("crossmoda/crossmoda2022_etz_9_hrT2.nii.gz")
    put("pyradise/VS-SEG-001/img_VS-SEG-001_T1.nii.gz")
    put("pyradise/VS-SEG-001/img_VS-SEG-001_T2.nii.gz")
    put("pyradise/VS-SEG-001/seg_VS-SEG-001_NA_TV.nii.gz", label)
    put("nnunet/imagesTr/case1_0000.nii.gz")
    put("nnunet/labelsTr/case1.nii.gz", label)
    table = {"channel_names": {"0": "ceT1"}, "labels": {"background": 0, "VS": 1}, "file_ending": ".nii.gz"}
    (root / "nnunet/dataset.json").write_text(json.dumps(table))
    write_dicom(root / "tcia/images/1.2.3.4", data, affine, uid="1.2.3.4")
    put("tcia/seg/VS-MC-RC segmentations/VS-MC-RC-027/2001-02-03/scan_T1.nii.gz", label)
    (root / "tcia/seg/MC-RC-segmentation-info.csv").write_text(
        "SegmentationPath,series_instance_uid\n"
        "VS-MC-RC segmentations/VS-MC-RC-027/2001-02-03/scan_T1.nii.gz,1.2.3.4\n"
        "VS-MC-RC segmentations/VS-MC-RC-099/2001-02-03/scan_T2.nii.gz,9.9\n"
    )


@pytest.mark.parametrize(
    ("layout", "images", "masks"),
    [
        ("bids", {"T2w"}, {"T2w"}),
        ("vs_seg", {"ceT1w", "T2w"}, {"ceT1w", "T2w"}),
        ("crossmoda", {"ceT1w"}, {"ceT1w"}),
        ("pyradise", {"ceT1w", "T2w"}, {"ceT1w"}),
        ("nnunet", {"ceT1w"}, {"ceT1w"}),
        ("tcia", {"ceT1w"}, {"ceT1w"}),
    ],
)
def test_layouts(tmp_path, layout, images, masks):
    layouts(tmp_path)
    name, exams = find_exams(tmp_path / layout)
    assert name == layout
    assert (set(exams[0].images), set(exams[0].masks)) == (images, masks)
    assert len(exams) == (2 if layout == "crossmoda" else 1), "a mask that is not public is skipped"


def test_a_second_readers_labels_are_read(tmp_path, cache):
    layouts(tmp_path)
    data = datamodule(tmp_path / "bids", modalities=["T2w"])
    first, second = (store["T2w"].data for store in (data.exam(0).masks, data.exam(0).second))
    assert data.two_readers
    np.testing.assert_array_equal(second, np.roll(first, 1, 0))


def test_a_case_from_dicom_with_its_mask(tmp_path, cache):
    layouts(tmp_path)
    exam = datamodule(tmp_path / "tcia").exam(0)
    _, label, _ = mri_exam(0)
    assert exam.masks["ceT1w"].data.sum() == label.sum()


def test_a_fold_as_nnunet_wants_it(tmp_path, cache):
    make_mri(tmp_path / "data")
    data = datamodule(tmp_path / "data")
    exams = [data.exam(row) for row in range(len(data.exams))]
    both = [exam for exam in exams if set(exam.images) == {"ceT1w", "T2w"}]
    parts = {"train": both[:1], "val": both[1:2], "test": both[2:3]}
    folder = write_nnunet(tmp_path / "raw", parts, ["T2w", "ceT1w"])
    name, (case, *others) = find_exams(folder)
    assert name == "nnunet"
    assert [case.patient, *(other.patient for other in others)] == sorted(e.name for e in both[:2])
    first = read_exam(case)
    original = next(exam for exam in both if exam.name == case.patient)
    np.testing.assert_allclose(first.images["T2w"].data, original.images["T2w"].data)
    assert first.images["ceT1w"].data.shape == first.images["T2w"].data.shape
    np.testing.assert_array_equal(first.masks["T2w"].data, original.masks["T2w"].data)
    assert json.loads((folder / "splits_final.json").read_text()) == [{"train": [both[0].name], "val": [both[1].name]}]
    single = next(exam for exam in exams if len(exam.images) == 1)
    with pytest.raises(DataError, match="nnU-Net needs every channel"):
        write_nnunet(tmp_path / "raw", {**parts, "test": [single]}, ["T2w", "ceT1w"])


def test_modality_names():
    names = ("img_T1", "vs_gk_t2_refT2", "crossmoda_hrT2", "CISS", "t1_t2", "brain")
    assert [modality_of(name) for name in names] == ["ceT1w", "T2w", "T2w", "T2w", None, None]


def test_plan_takes_medians_and_overrides():
    plan = make_plan([(0.5, 0.5, 1.5)] * 3, [(400, 400, 80)] * 3)
    assert plan.spacing_mm == (0.5, 0.5, 1.5)
    assert all(n % 8 == 0 for n in plan.patch_size)
    assert 400_000 < np.prod(plan.patch_size) < 900_000
    assert make_plan([], [], (1, 1, 1), (8, 8, 8)) == Plan((1.0, 1.0, 1.0), (8, 8, 8))


def test_plan_of_thick_slices_takes_the_tenth_percentile():
    spacings = [(0.5, 0.5, z) for z in (2.0, *[5.0] * 9)]
    plan = make_plan(spacings, [(400, 400, 24)] * 10)
    assert plan.spacing_mm[2] == pytest.approx(np.percentile([s[2] for s in spacings], 10))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LPI"])
def test_to_the_plan_and_back_keeps_the_tumour_in_place(codes):
    data, label, affine = mri_exam(4, codes=codes)
    exam = Exam("a", "1", "", {"T2w": Volume(data, affine)}, {"T2w": Volume(label, affine)})
    plan = Plan((0.9, 1.1, 1.4), (32, 32, 16))
    case = preprocess(exam, plan, ("ceT1w", "T2w"))
    assert case.present == (False, True)
    assert (case.image[0] == 0).all()
    back = to_native(case.mask.astype(np.float32), case.affine, exam.images["T2w"]) > 0.5
    dice = 2 * (back & (label > 0)).sum() / (back.sum() + label.sum())
    assert dice > 0.9
    ml = case.mask.sum() * np.prod(plan.spacing_mm)
    assert ml == pytest.approx(label.sum() * abs(np.linalg.det(affine[:3, :3])), rel=0.06)


def test_target_grid_has_the_centre_of_the_volume():
    data, _, affine = mri_exam(5, codes="LPI")
    grid, shape = target_grid(Volume(data, affine), (2.0, 2.0, 2.0))
    for matrix, size in ((grid, shape), (affine, data.shape)):
        centre = nibabel.affines.apply_affine(matrix, (np.array(size) - 1) / 2)
        np.testing.assert_allclose(centre, nibabel.affines.apply_affine(affine, (np.array(data.shape) - 1) / 2))
    assert nibabel.aff2axcodes(grid) == ("R", "A", "S")


def test_patients_and_sites_stay_whole(tmp_path, cache):
    make_mri(tmp_path / "data")
    data = datamodule(tmp_path / "data")
    for fold in range(3):
        parts = [{data.exams[row].patient for row in rows} for rows in data.split(fold).values()]
        assert not set.intersection(*parts[:2]) | parts[0] & parts[2] | parts[1] & parts[2]
    sites = datamodule(tmp_path / "data", group_by="site", folds=2, val_fraction=0.0)
    tested = {sites.exams[row].site for row in sites.split(1)["test"]}
    assert len(tested) == 1


def test_training_patches_hold_tumour_and_drop_modalities(tmp_path, cache):
    make_mri(tmp_path / "data")
    data = datamodule(tmp_path / "data", foreground=1.0, modality_dropout=1.0)
    data.setup("fit")
    torch.manual_seed(0)
    items = [data.datasets["train"][i] for i in range(12)]
    assert all(item.mask.any() for item in items)
    assert all(item.present.sum() == 1 for item in items)
    assert items[0].image.shape == (2, 32, 32, 16)


def test_cache_is_used_again_and_follows_the_plan(tmp_path, cache):
    make_mri(tmp_path / "data")
    datamodule(tmp_path / "data").setup("fit")
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    datamodule(tmp_path / "data").setup("fit")
    assert before == {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    cases = sum(path.parent.name == "mri" for path in before)
    datamodule(tmp_path / "data", spacing_mm=[2, 2, 2]).setup("fit")
    assert len(list(cache.rglob("mri/*.npy"))) == 2 * cases


def test_cache_follows_what_is_in_the_files(tmp_path, cache):
    make_mri(tmp_path / "data")
    first = datamodule(tmp_path / "data")
    first.setup("fit")
    cases = set(cache.rglob("mri/*.npy"))
    shutil.copytree(tmp_path / "data", tmp_path / "moved", copy_function=shutil.copyfile)
    moved = datamodule(tmp_path / "moved")
    moved.setup("fit")
    assert set(cache.rglob("mri/*.npy")) == cases, "copies in another folder are prepared once"
    assert moved.fingerprint() == first.fingerprint()
    mask = next((tmp_path / "moved").rglob("*_mask.nii.gz"))
    image = nibabel.load(mask)
    nibabel.save(nibabel.Nifti1Image(np.roll(np.asarray(image.dataobj), 1, 0), image.affine), mask)
    changed = datamodule(tmp_path / "moved")
    changed.setup("fit")
    assert len(set(cache.rglob("mri/*.npy")) - cases) == 2
    assert changed.fingerprint() != first.fingerprint()


def test_checkpoint_carries_the_plan(tmp_path, cache):
    make_mri(tmp_path / "data")
    other = datamodule(tmp_path / "nowhere", spacing_mm=None, patch_size=None)
    other.load_state_dict(datamodule(tmp_path / "data").state_dict())
    assert other.plan == Plan((1.0, 1.0, 1.6), (32, 32, 16))


def test_missing_data_and_bad_settings_are_named(tmp_path):
    with pytest.raises(MissingDataError, match="TCIA"):
        datamodule(tmp_path / "none").setup("fit")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no examination"):
        datamodule(tmp_path / "empty").setup("fit")
    with pytest.raises(ConfigError, match="did you mean 'T2w'"):
        datamodule(tmp_path, modalities=["T2"])
    with pytest.raises(ConfigError, match="three positive"):
        datamodule(tmp_path, spacing_mm=[1, 1])
    with pytest.raises(ConfigError, match="layout"):
        find_exams(tmp_path, "bds")


def test_only_empty_labels_cannot_train(tmp_path, cache):
    data, label, affine = mri_exam(0)
    for number in range(4):
        write_volume(tmp_path / f"d/imagesTr/c{number}_0000.nii.gz", data, affine)
        write_volume(tmp_path / f"d/labelsTr/c{number}.nii.gz", 0 * label, affine)
    (tmp_path / "d/dataset.json").write_text('{"channel_names": {"0": "T1"}}')
    with pytest.raises(DataError, match="no label of the"):
        datamodule(tmp_path / "d").setup("fit")


def test_reads_a_users_exams(tmp_path):
    data, _, affine = mri_exam(0)
    for session in ("a", "b"):
        write_volume(tmp_path / f"p/{session}/scan_T1.nii.gz", data, affine)
    (tmp_path / "p/exams.tsv").write_text("session\tmonths\na\t0\nb\t13\n")
    exams = datamodule(None).read(tmp_path / "p")
    assert [(exam.session, exam.months, list(exam.images)) for exam in exams] == [
        ("a", 0, ["ceT1w"]),
        ("b", 13, ["ceT1w"]),
    ]
    write_volume(tmp_path / "x/scan.nii.gz", data, affine)
    with pytest.raises(DataError, match="ceT1w or T2w"):
        datamodule(None).read(tmp_path / "x")


def test_reads_a_subject_of_a_bids_data_set(tmp_path):
    data, _, affine = mri_exam(0)
    for name in (
        *("sub-01/ses-1/anat/sub-01_ses-1_T1w", "sub-01/ses-1/anat/sub-01_ses-1_ce-gadolinium_T1w"),
        *("sub-01/ses-2/anat/sub-01_ses-2_ceT1w", "sub-02/anat/sub-02_T2w", "sub-03/func/sub-03_task-rest_bold"),
    ):
        write_volume(tmp_path / f"{name}.nii.gz", data, affine)
    (tmp_path / "exams.tsv").write_text("patient\tsession\tmonths\nsub-01\tses-1\t0\nsub-01\tses-2\t7\n")
    module = datamodule(None, modalities=["ceT1w", "T2w"])
    one, two = module.inputs(tmp_path)
    assert (one.name, two.name) == ("sub-01", "sub-02")
    exams = module.read(one)
    assert [(e.patient, e.session, e.months) for e in exams] == [
        ("sub-01", f"sub-01_ses-{k}", 7 * (k - 1)) for k in (1, 2)
    ]
    sources = module.sources(one)
    assert [path.name for path in sources["sub-01_ses-1"]] == ["sub-01_ses-1_ce-gadolinium_T1w.nii.gz"]
    assert [e.session for e in module.read(two)] == ["sub-02"]
    assert module.inputs(one) == [one]


def test_real_anisotropic_nrrd(data_root):
    folder = data_root / "mri" / "postcontrast_tumours"
    if not folder.exists():
        pytest.skip("no post-contrast volumes")
    volumes = {}
    for name in ("brain1", "brain2"):
        image = read_volume(folder / f"{name}_image.nrrd")
        label = read_mask(folder / f"{name}_label.nrrd", image)
        volumes[name] = label.data.sum() * label.voxel_ml
        assert image.spacing_mm[2] > 6
    assert volumes["brain1"] == pytest.approx(16.4, abs=0.1)
    assert volumes["brain2"] == pytest.approx(1.80, abs=0.05)
