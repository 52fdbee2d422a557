"""The simulator of vestibular schwannomas: volumes, grades, files, repeatability."""

import nibabel
import numpy as np
import pytest
from neurotwin.errors import ConfigError, DataError, MissingDataError
from neurotwin.simulators.contour_bank import load_shapes
from neurotwin.simulators.course import draw_course
from neurotwin.simulators.mri_sites import SITES
from neurotwin.simulators.schwannoma import SchwannomaSimulator
from neurotwin.simulators.schwannoma_shape import (
    SHARE,
    VOLUME_ML,
    draw_grade_and_volume,
    fit_size,
    koos_grade,
    volume_ml,
)
from neurotwin.simulators.schwannoma_sheet import contact_sheet
from neurotwin.simulators.skull_base import PORUS, Tissue, brainstem_mm, tissue

SMALL = {"pixel_factor": 1.8, "fov_mm": (110, 84, 36), "fine_mm": 1.0}


def grid(step, half, centre=(0, 0, 0)):
    axis = np.arange(-half, half, step, dtype=np.float32)
    return np.meshgrid(*(axis + c for c in centre), indexing="ij")


@pytest.fixture(scope="module")
def exams():
    return SchwannomaSimulator(paired=1.0, operated=1.0, **SMALL).cohort(5, data_seed=3)


def test_volume_of_a_ball():
    x, y, z = grid(0.5, 12)
    assert volume_ml(np.sqrt(x**2 + y**2 + z**2) - 8, 0.5) == pytest.approx(4 / 3 * np.pi * 0.512, rel=0.005)


def test_bisection_finds_the_radius_of_a_ball():
    x, y, z = grid(0.5, 12)
    radius = fit_size(lambda size: np.sqrt(x**2 + y**2 + z**2) - size, 4 / 3 * np.pi * 0.512, 0.5, tolerance=0.001)
    assert radius == pytest.approx(8.0, abs=0.02)


@pytest.mark.parametrize(("medial_mm", "radius", "grade"), [(-4, 2, 1), (3, 4, 2), (6, 4, 3), (10, 8, 4)])
def test_koos_grade_of_balls_along_the_way_to_the_brainstem(medial_mm, radius, grade):
    x, y, z = grid(0.5, 24, PORUS)
    ball = np.sqrt((x - PORUS[0] + medial_mm) ** 2 + (y - PORUS[1]) ** 2 + (z - PORUS[2]) ** 2) - radius
    depth = -brainstem_mm(x[ball < 0], y[ball < 0], z[ball < 0]).min()
    assert koos_grade(ball, x, y, z) == grade, f"{depth:.1f} mm into the brainstem"


def test_volumes_and_shares_are_those_of_the_treated_cohort():
    rng = np.random.default_rng(0)
    grades, volumes = map(np.array, zip(*(draw_grade_and_volume(rng) for _ in range(4000)), strict=True))
    for grade, (mean, _) in VOLUME_ML.items():
        assert volumes[grades == grade].mean() == pytest.approx(mean, rel=0.25)
        assert np.mean(grades == grade) == pytest.approx(SHARE[grade], abs=0.03)
    assert 0.6 < np.median(volumes) < 1.41  # the median of 237 contoured tumours of another cohort is 1.41 ml


def test_four_in_ten_tumours_grow():
    rng = np.random.default_rng(0)
    ratios = [
        c.volumes_ml[-1] / c.volumes_ml[0] for c in (draw_course(rng, 1.0, 3, 0.0) for _ in range(600)) if c.months[-1]
    ]
    assert 0.3 < np.mean(np.array(ratios) > 1.2) < 0.5


def test_canal_and_labyrinth_lie_in_bone():
    x, y, z = grid(0.5, 14, (34, -27, -41))
    found = tissue(x, y, z, np.zeros_like(x))
    middle = tuple(np.argmin(np.abs(a - v)) for a, v in ((x[:, 0, 0], 32), (y[0, :, 0], -26.6), (z[0, 0, :], -40.9)))
    assert found[middle] in (Tissue.CSF, Tissue.NERVE)
    assert 150 < (found == Tissue.LABYRINTH).sum() < 4000
    assert (found == Tissue.BONE).mean() > 0.2


def test_masks_hold_the_volume_that_the_metadata_says(exams):
    for exam in exams:
        for name, mask in exam.masks.items():
            measured = mask.data.sum() * mask.voxel_ml
            assert measured == pytest.approx(exam.metadata["volume_ml"], rel=0.25, abs=0.05), (exam.name, name)
            assert mask.data.shape == exam.images[name].data.shape


def test_tumour_enhances_and_grows_dark_on_t2(exams):
    brighter = []
    for exam in (e for e in exams if e.metadata["volume_ml"] > 0.3 and not e.metadata["operated"]):
        for name, sign in (("ceT1w", 1), ("T2w", -1)):
            image, inside = exam.images[name].data.astype(float), exam.masks[name].data > 0
            head = image[image > 0.3 * image.mean()]
            brighter.append(sign * (np.median(image[inside]) - np.percentile(head, 80 if sign > 0 else 97)) > 0)
    assert np.mean(brighter) > 0.8


def test_files_keep_left_and_right(exams):
    for exam in (e for e in exams if e.metadata["side"]):
        mask = next(iter(exam.masks.values()))
        x = (nibabel.affines.apply_affine(mask.affine, np.argwhere(mask.data)) - mask.affine[:3, 3])[:, 0].mean()
        middle = nibabel.affines.apply_affine(mask.affine, (np.array(mask.data.shape) - 1) / 2) - mask.affine[:3, 3]
        if mask.data.any():
            assert (x > middle[0]) == (exam.metadata["side"] == "R")


def test_orientations_and_sites_differ(exams):
    assert len({exam.site for exam in exams}) == 5
    assert len({nibabel.aff2axcodes(exam.images["T2w"].affine) for exam in exams}) > 2
    assert len(SITES) == 10


def test_surgery_leaves_little_or_nothing(exams):
    after = [exam for exam in exams if exam.metadata["operated"]]
    assert after
    largest = {e.patient: max(x.metadata["volume_ml"] for x in exams if x.patient == e.patient) for e in exams}
    assert np.mean([exam.metadata["volume_ml"] < 0.6 * largest[exam.patient] for exam in after]) > 0.6
    assert min(exam.metadata["volume_ml"] for exam in after) == 0


def test_people_without_tumour_leave_the_others_as_they_are():
    settings = {"max_exams": 1, "sites": ("lake",), **SMALL}
    healthy, mixed = (SchwannomaSimulator(healthy=share, **settings) for share in (1.0, 0.5))
    (exam,) = healthy.patient(0, 0)
    assert (exam.metadata["volume_ml"], exam.metadata["koos"], exam.metadata["side"]) == (0, 0, "")
    assert not any(store[kind].data.any() for store in (exam.masks, exam.second) for kind in exam.images)
    patients = [mixed.patient(0, number)[0] for number in range(3)]
    ill = [number for number, one in enumerate(patients) if one.metadata["volume_ml"] > 0]
    assert 0 < len(ill) < 3
    (same,) = SchwannomaSimulator(**settings).patient(0, ill[0])
    for kind, image in same.images.items():
        np.testing.assert_array_equal(image.data, patients[ill[0]].images[kind].data)


def test_second_observer_is_near_the_first(exams):
    for exam in (e for e in exams if e.metadata["volume_ml"] > 0.5):
        for name, mask in exam.masks.items():
            other = exam.second[name].data
            dice = 2 * (mask.data & other).sum() / (mask.data.sum() + other.sum())
            assert 0.8 < dice <= 1.0


def test_the_same_seed_gives_the_same_bits(exams):
    again = SchwannomaSimulator(paired=1.0, operated=1.0, **SMALL).patient(3, 1)
    before = [exam for exam in exams if exam.patient == again[0].patient]
    for one, two in zip(before, again, strict=True):
        for name in one.images:
            assert np.array_equal(one.images[name].data, two.images[name].data)


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match="did you mean 'harbour'"):
        SchwannomaSimulator(sites=("harbor",))
    with pytest.raises(ConfigError, match="max_exams=4"):
        SchwannomaSimulator(max_exams=4)


def test_contact_sheet_is_written(exams, tmp_path):
    assert contact_sheet(exams[:2], tmp_path / "sheet.png").stat().st_size > 10_000


def test_contour_bank_says_what_is_wrong(tmp_path):
    with pytest.raises(MissingDataError, match="Shapey"):
        load_shapes(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(1))
    with pytest.raises(DataError, match="no contour bank"):
        load_shapes(tmp_path / "other.npz")


def test_real_contours_become_shapes_of_the_wanted_volume(data_root):
    path = data_root / "mri" / "vs_contours" / "vs_seg_contours.npz"
    if not path.exists():
        pytest.skip("no contour bank")
    shapes = load_shapes(path, limit=6)
    simulator = SchwannomaSimulator(shapes=shapes, max_exams=1, **SMALL)
    exams = simulator.cohort(4)
    assert all(exam.metadata["volume_ml"] > 0 for exam in exams)
