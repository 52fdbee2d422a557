"""The test suite's example plugin, a network that trains in milliseconds, installed where a benchmark finds it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def install(folder):
    """Make ``example/tones`` known to this process and to its children."""
    source = shutil.copytree(ROOT / "tests" / "plugin_example", Path(folder) / "source")
    site = str(Path(folder) / "site")
    options = ["-q", "--no-deps", "--no-build-isolation", "--target", site]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, source], check=True)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [site, os.environ.get("PYTHONPATH")]))
    sys.path.insert(0, site)
