"""The short tier of the fuzzer: valid files are read, damaged ones end in a result or a named error."""

from pathlib import Path

import pytest
from neurotwin.datamodules.formats.matlab import read_mat
from neurotwin.datamodules.formats.volume_files import read_volume
from neurotwin.errors import DataError
from scipy.io import savemat

from reliability.fuzz import fuzz, judge, sample
from reliability.readers import TARGETS

REGRESSIONS = sorted(path for path in (Path(__file__).parent / "regressions").rglob("*") if path.is_file())


@pytest.mark.parametrize("name", TARGETS)
def test_the_undamaged_file_is_read(name, tmp_path):
    path, _ = sample(name, tmp_path / "x")
    assert judge(name, path) == "result"


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_end_in_a_result_or_a_named_error(name, tmp_path):
    counts, failures = fuzz(name, max(2, TARGETS[name].weight // 2), tmp_path, seed=3)
    assert sorted(counts) == ["error", "result"], {outcome: number for outcome, (number, _) in failures.items()}


@pytest.mark.parametrize("path", REGRESSIONS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_once_broke_a_reader(path, tmp_path):
    name = path.parent.name.replace("_", " ")
    target, _ = sample(name, tmp_path / "x")
    target.write_bytes(path.read_bytes())
    assert judge(name, target) in ("result", "error")


@pytest.mark.parametrize(("place", "value"), [(176, 0), (145, 0x99), (176, 14)])
def test_type_codes_that_crash_scipy_are_refused(place, value, tmp_path):
    savemat(tmp_path / "a.mat", {"t": [[1.0, 2.0]], "V": [[1.0, 2.0]]})
    assert sorted(read_mat(tmp_path / "a.mat"))[:2] == ["V", "__globals__"]
    data = bytearray((tmp_path / "a.mat").read_bytes())
    data[place] = value
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        read_mat(tmp_path / "a.mat")


def test_a_header_line_that_crashes_itk_is_refused(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\ntype: short\nkinds: " + b"x" * 5000 + b"\n\n" + bytes(100))
    with pytest.raises(DataError, match="a line of its header"):
        read_volume(tmp_path / "a.nrrd")
