"""Predictions as a BIDS derivative, judged by the BIDS validator itself where it is installed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from made_runs import make_run
from neurotwin.bids import file_derivative
from neurotwin.contracts import Event
from neurotwin.datamodules.formats.szcore_tsv import read_szcore_tsv, write_szcore_tsv
from neurotwin.errors import ConfigError, DataError


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "runs", "aaaa", experiment="paper/row")


def events(folder: Path, stem: str) -> list[Path]:
    """What a seizure detector writes."""
    table = write_szcore_tsv(folder / f"{stem}_events.tsv", [Event(3.0, 20.0, "sz", 0.9)], 600.0)
    others = [folder / f"{stem}_probability.csv", folder / f"{stem}.png"]
    for path in others:
        path.write_text("x")
    return [table, *others]


def mask(folder: Path, stem: str) -> list[Path]:
    """What a segmentation writes."""
    paths = [folder / f"{stem}{end}" for end in ("_mask.nii.gz", "_report.json", "_report.html")]
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.eye(4))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, paths[0])
    for path in paths[1:]:
        path.write_text("{}")
    return paths


def folder(tmp_path, name="made"):
    made = tmp_path / name
    made.mkdir()
    return made


def test_entities_come_from_the_name(run, tmp_path):
    stem = "sub-07_ses-02_task-rest_run-01_eeg"
    written = file_derivative(events(folder(tmp_path), stem), Path(f"{stem}.edf"), tmp_path / "out", run)
    table = tmp_path / "out/sub-07/ses-02/eeg/sub-07_ses-02_task-rest_run-01_desc-neurotwin_events.tsv"
    assert table in written
    assert read_szcore_tsv(table).events == [Event(3.0, 20.0, "sz", 0.9)]
    side = json.loads(table.with_suffix(".json").read_text())
    assert set(table.read_text().splitlines()[0].split("\t")) <= set(side), "every column is described"


def test_entities_come_from_the_folders_above_and_a_plain_name_becomes_a_subject(run, tmp_path):
    source = tmp_path / "raw/sub-09/ses-1/anat"
    written = file_derivative(mask(folder(tmp_path), "anat"), source, tmp_path / "out", run)
    assert tmp_path / "out/sub-09/ses-1/anat/sub-09_ses-1_label-lesion_desc-neurotwin_mask.nii.gz" in written
    night = events(folder(tmp_path, "more"), "my night.2")
    written = file_derivative(night, Path("my night.2.edf"), tmp_path / "out", run)
    name = "sub-mynight2_task-szMonitoring_desc-neurotwin_events.tsv"
    assert tmp_path / "out/sub-mynight2/eeg" / name in written, "a second prediction joins the data set"


def test_side_files_name_their_sources(run, tmp_path):
    raw, out = tmp_path / "raw", tmp_path / "raw/derivatives/neurotwin"
    image = raw / "sub-01/ses-1/anat/sub-01_ses-1_ce-gadolinium_T1w.nii.gz"
    origin = {"sub-01_ses-1": [image]}
    file_derivative(mask(folder(tmp_path), "sub-01_ses-1"), raw / "sub-01", out, run, origin)
    side = next(out.rglob("*_mask.json"))
    assert json.loads(side.read_text())["Sources"] == [f"bids:source1:{image.relative_to(raw)}"]
    file_derivative(events(folder(tmp_path, "more"), "my night"), tmp_path / "my night.edf", out, run)
    side = next(out.rglob("*_events.json"))
    assert json.loads(side.read_text())["Sources"] == ["bids:source2:my%20night.edf"]
    links = json.loads((out / "dataset_description.json").read_text())["DatasetLinks"]
    assert links == {"source1": "../..", "source2": "../../.."}


def test_the_validator_finds_no_error(run, tmp_path):
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists():
        pytest.skip("the BIDS validator is not installed")
    out = tmp_path / "out"
    file_derivative(mask(folder(tmp_path), "sub-01_ses-1_ce-gadolinium_T1w"), Path("a.nii.gz"), out, run)
    file_derivative(events(folder(tmp_path, "more"), "sub-01_ses-1"), Path("a.edf"), out, run)
    done = subprocess.run([validator, out, "--format", "json"], capture_output=True, text=True, timeout=120)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert {issue["code"] for issue in issues} <= {"TOO_FEW_AUTHORS", "SIDECAR_KEY_RECOMMENDED"}


def test_what_cannot_be_filed_is_named(run, tmp_path):
    with pytest.raises(ConfigError, match="neither masks nor events"):
        file_derivative([tmp_path / "change.csv"], Path("a"), tmp_path / "out", run)
    raw = folder(tmp_path, "raw")
    (raw / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    with pytest.raises(DataError, match="of type raw; name a folder below derivatives/"):
        file_derivative(events(folder(tmp_path), "a"), Path("a.edf"), raw, run)
    shutil.rmtree(raw)
