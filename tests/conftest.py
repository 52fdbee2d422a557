"""Fixtures that every test may use."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "tests" / "plugin_example"


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of the real recordings; the test is skipped where there are none."""
    for folder in (os.environ.get("NEUROTWIN_DATA"), ROOT.parent / "shared" / "data"):
        if folder and Path(folder).is_dir():
            return Path(folder)
    pytest.skip("no real recordings: set NEUROTWIN_DATA")


@pytest.fixture
def run_root(tmp_path, monkeypatch) -> Path:
    """A working directory of its own, with its own runs folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEUROTWIN_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="session")
def example(tmp_path_factory) -> Path:
    """The example plugin, installed where this process and its children find it."""
    site = tmp_path_factory.mktemp("site")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "plugin")  # setuptools builds in the tree
    options = ["-q", "--no-deps", "--no-build-isolation", "--target"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, site, source], check=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    sys.path.insert(0, str(site))
    return site


def neurotwin(*arguments: str, **settings) -> subprocess.CompletedProcess:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "neurotwin.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=300, **settings)
