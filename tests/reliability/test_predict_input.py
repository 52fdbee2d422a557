"""`neurotwin predict` of every twin takes what `neurotwin simulate` wrote for it and refuses the others' files."""

import neurotwin
import pytest
from neurotwin.cli import main

from reliability.crash import COMMON, FAMILIES

#: What is simulated for each family and the names it is written under.
SIMULATED = {
    "seizure detection": (["eeg", "minutes=0.5"], ["x.edf"]),
    "circuit": (["half_center", "seconds=1"], ["x.nwb", "x.npz", "x.mat", "x.csv"]),
    "connectivity": (["whole_brain", "connectome.n_nodes=20"], ["x.npz", "x.tsv", "x.csv", "x.ptseries.nii"]),
    "MRI": (["schwannoma", "paired=1", "fine_mm=2", "fov_mm=[64,48,24]"], ["x.nii.gz"]),
    "patch clamp": (["patch_clamp", "duration_ms=900"], ["x.nwb", "x.npz", "x.mat", "x.csv"]),
}
#: Files of the second kind that hold what the first kind is read from, or might: tables of numbers under known names.
ALIKE = {("connectivity", "circuit"), ("connectivity", "patch clamp"), ("patch clamp", "circuit")}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The input of predict among the files of each simulator, by family."""
    found = {}
    for family, (simulator, names) in SIMULATED.items():
        folder = tmp_path_factory.mktemp(family.replace(" ", "-"))
        for name in names:
            assert main(["simulate", *simulator, "--seed", "1", "--out", str(folder / name)]) == 0
        written = sorted(
            p for p in folder.iterdir() if not any(part in p.name for part in ("mask", "truth", "story", "T2w"))
        )
        found[family] = [p for p in written if not p.name.endswith("_events.tsv")]
    return found


@pytest.mark.parametrize("family", SIMULATED)
def test_predict_takes_its_own_files_and_names_what_is_wrong_with_others(files, family, tmp_path, capsys):
    experiment, overrides = FAMILIES[family]
    run = neurotwin.train(experiment, [*COMMON, *overrides, f"runs_dir={tmp_path}/runs"], debug=True)
    capsys.readouterr()
    for kind, paths in files.items():
        for path in paths:
            out = tmp_path / "out" / kind / path.name
            code = main(["predict", str(run.path), "--input", str(path), "--output", str(out)])
            told = capsys.readouterr().err
            assert "--traceback" not in told, f"{path}: {told}"
            assert code == (0 if kind == family else 2) or (family, kind) in ALIKE, f"{path}: {code} {told}"
            assert code == 0 or path.name in told
