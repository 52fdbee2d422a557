"""A user's exam: mask, numbers and page."""

import json

import nibabel
import numpy as np
import pytest
import torch
from neurotwin.contracts import FilePredictor, Volume
from neurotwin.datamodules.formats.volume_files import write_volume
from neurotwin.datamodules.mri import MRIDataModule
from neurotwin.errors import DataError
from neurotwin.tasks.segmentation import Segmentation
from neurotwin.tasks.segmentation_report import measure, remarks
from torch import nn

#: First axis to the patient's left, second to the front, third up; 1 x 1 x 2 mm.
LEFTWARD = np.array([[-1.0, 0, 0, 20], [0, 1, 0, -16], [0, 0, 2, -12], [0, 0, 0, 1]])
BOX = (slice(5, 11), slice(10, 15), slice(4, 8))  # 6 x 5 x 4 voxels, first half of the first axis


class Bright(nn.Module):
    """Calls bright voxels tumour; segments whole volumes."""

    patch_size = (16, 16, 16)

    def segment(self, image):
        score = 20 * (image[:, :1] - 2)
        return torch.cat([-score, score], 1)


@pytest.fixture
def twin():
    datamodule = MRIDataModule(modalities=["ceT1w"], spacing_mm=(1, 1, 2), patch_size=(16, 16, 16))
    return Segmentation(Bright(), mirror=False), datamodule


def exam(path, affine=LEFTWARD, tumour=True):
    data = np.random.default_rng(0).normal(100, 5, (40, 32, 12)).astype(np.float32)
    if tumour:
        data[BOX] = 1000
    write_volume(path, data, affine)
    return path


def run(twin, source, target):
    task, datamodule = twin
    mask, table, page = task.predict_file(datamodule, source, target)
    return nibabel.load(mask), json.loads(table.read_text()), page.read_text()


def test_mask_lies_on_the_input(twin, tmp_path):
    assert isinstance(twin[0], FilePredictor)
    mask, facts, page = run(twin, exam(tmp_path / "anna_T1.nii.gz"), tmp_path / "out")
    data = np.asarray(mask.dataobj)
    assert mask.shape == (40, 32, 12)
    np.testing.assert_allclose(mask.affine, LEFTWARD)
    expected = np.zeros((40, 32, 12), bool)
    expected[BOX] = True
    overlap = 2 * (expected & (data > 0)).sum() / (expected.sum() + data.sum())
    assert overlap > 0.85, "the mask is where the bright box is, in the file's own axes"
    assert facts["volume_ml"] == pytest.approx(data.sum() * 2 / 1000)
    assert facts["side"] == "right", "the first half of an axis that runs to the left"
    assert facts["volume_interval_ml"] is None
    assert any("not calibrated" in flag for flag in facts["flags"])
    assert page.count("data:image/png;base64,") == 3
    assert "http://" not in page
    assert "https://" not in page


def test_the_side_follows_the_affine(twin, tmp_path):
    flipped = LEFTWARD * np.array([[-1.0], [1], [1], [1]])
    assert run(twin, exam(tmp_path / "T1.nii", flipped), tmp_path)[1]["side"] == "left"


def test_calibrated_interval_and_escaped_name(twin, tmp_path):
    twin[0].calibration[0, 4:] = torch.tensor([0.0, 9.0])
    _, facts, page = run(twin, exam(tmp_path / "<b>T1.nii.gz"), tmp_path / "out")
    low, high = facts["volume_interval_ml"]
    assert 0 < low <= facts["volume_ml"] * (1 + 1e-9)
    assert facts["volume_ml"] <= high * (1 + 1e-9)
    assert "&lt;b&gt;T1" in page
    assert "<b>T1" not in page


def test_numbers_of_a_box():
    mask = np.zeros((40, 32, 12), bool)
    mask[BOX] = True
    mask[39, 31, 11] = True
    image = Volume(mask.astype(np.float32), LEFTWARD)
    found = measure(mask, image)
    assert found["volume_ml"] == pytest.approx(121 * 2 / 1000)
    assert found["diameter_mm"] == pytest.approx(np.sqrt(5**2 + 4**2 + 6**2))
    assert found["components"] == 2
    assert found["box_voxels"] == [[5, 10, 4], [39, 31, 11]]
    judged = {"side": None, "koos_probability": None}
    flags = " ".join(remarks(mask, image, found | judged, True))
    assert "border" in flags
    assert "2 components" in flags
    assert "anisotropic" not in flags


def test_a_flat_tumour_has_a_diameter_and_thick_slices_are_named():
    mask = np.zeros((20, 20, 5), bool)
    mask[3:10, 4:9, 2] = True
    image = Volume(mask.astype(np.float32), np.diag([1.0, 1, 5, 1]))
    found = measure(mask, image)
    assert found["diameter_mm"] == pytest.approx(np.sqrt(6**2 + 4**2))
    found |= {"side": None, "koos_probability": None}
    assert any("anisotropic" in flag for flag in remarks(mask, image, found, True))


def grades(task):
    """Grades by the share outside the canal alone: more than half makes II, III and IV equally likely."""
    table = torch.zeros(4, 5, dtype=torch.float64)
    table[0, 0], table[1:, 4] = 10.0, 20.0
    task.grading.copy_(table)


def test_grade_and_parts_are_reported(twin, tmp_path):
    _, facts, page = run(twin, exam(tmp_path / "T1.nii.gz"), tmp_path / "out")
    assert facts["koos"] is None
    assert any("Koos grade not judged" in flag for flag in facts["flags"])
    grades(twin[0])
    _, facts, page = run(twin, exam(tmp_path / "T1.nii.gz"), tmp_path / "out")
    assert facts["koos"] in (2, 3, 4), "a section of 40 mm2 is wider than a canal"
    assert sum(facts["koos_probability"].values()) == pytest.approx(1)
    assert facts["intrameatal_ml"] + facts["extrameatal_ml"] == pytest.approx(facts["volume_ml"], rel=0.15)
    assert facts["axial_diameter_mm"] == pytest.approx(np.hypot(5, 4), abs=1.5)
    assert "probabilities 1: 0.00" in page


def course(folder, months=("0", "14"), sizes=(9, 11)):
    for number, size in enumerate(sizes):
        path = folder / f"scan{number}" / "T1.nii.gz"
        data = np.random.default_rng(number).normal(100, 5, (40, 32, 12)).astype(np.float32)
        data[5:size, 10:15, 4:8] = 1000
        write_volume(path, data, LEFTWARD)
    lines = [f"scan{number}\tanna\t{month}" for number, month in enumerate(months)]
    (folder / "exams.tsv").write_text("\n".join(["session\tpatient\tmonths", *lines]) + "\n")
    return folder


def test_growth_of_a_patient(twin, tmp_path):
    task, datamodule = twin
    task.calibration[0, 4:] = torch.tensor([0.05, 9.0])
    paths = task.predict_file(datamodule, course(tmp_path / "anna"), tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "anna_growth.json").read_text())
    assert [exam["months"] for exam in facts["exams"]] == [0, 14]
    (change,) = facts["changes"]
    assert change["change_percent"] == pytest.approx(50, abs=8)
    assert change["growth_probability"] > change["growth_by_a_fifth_probability"] > 0.9
    assert {path.name for path in paths} >= {"anna_growth.html", "scan0_report.json", "scan1_mask.nii.gz"}
    assert "data:image/png;base64," in (tmp_path / "out" / "anna_growth.html").read_text()


def test_growth_without_calibration_has_no_probability(twin, tmp_path):
    task, datamodule = twin
    task.predict_file(datamodule, course(tmp_path / "anna", sizes=(9, 9)), tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "anna_growth.json").read_text())
    assert facts["changes"][0]["growth_probability"] is None
    assert any("not calibrated" in flag for flag in facts["flags"])


def test_without_months_nothing_is_said_about_growth(twin, tmp_path):
    task, datamodule = twin
    folder = course(tmp_path / "anna")
    (folder / "exams.tsv").unlink()
    task.predict_file(datamodule, folder, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*growth*"))
    course(folder, months=("0", "soon"))
    with pytest.raises(DataError, match="months='soon' is no number"):
        task.predict_file(datamodule, folder, tmp_path / "out")


def test_no_tumour(twin, tmp_path):
    twin[0].calibration[0, 0] = 2.0  # no probability is as high
    mask, facts, page = run(twin, exam(tmp_path / "T1.nii.gz", tumour=False), tmp_path / "out")
    assert not np.asarray(mask.dataobj).any()
    assert facts["volume_ml"] == 0
    assert facts["side"] is None
    assert "no tumour found" in facts["flags"]
    assert "no tumour found" in page


def test_bad_input_is_named(twin, tmp_path):
    task, datamodule = twin
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no volume"):
        task.predict_file(datamodule, tmp_path / "empty", tmp_path / "out")
    for name in ("a.1", "a.2"):
        exam(tmp_path / "many" / name / "T1.nii.gz")
    with pytest.raises(DataError, match="share a name"):
        task.predict_file(datamodule, tmp_path / "many", tmp_path / "out")
    broken = tmp_path / "broken_T1.nii.gz"
    broken.write_bytes(b"no volume")
    with pytest.raises(DataError, match="broken_T1"):
        task.predict_file(datamodule, broken, tmp_path / "out")


@pytest.mark.parametrize(
    ("from_middle", "told"), [(2.0, "side unsure"), (-27.0, None), (-63.0, "63 mm from the plane")]
)
def test_a_place_that_no_canal_has_is_named(from_middle, told):
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4] = True
    found = {"koos_probability": {}, "components": 1, "side": "left", "from_middle_mm": from_middle}
    flags = remarks(mask, Volume(np.zeros((9, 9, 9)), np.eye(4), "a"), found, calibrated=True)
    assert len(flags) == (told is not None)
    assert all(told in flag for flag in flags)
