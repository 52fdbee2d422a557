"""What setuptools is told is what lies on disk; layers hold; the example plugin stays short."""

import subprocess
import sys
import tomllib

from conftest import EXAMPLE, ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_package_list_matches_the_folders():
    listed = set(PYPROJECT["tool"]["setuptools"]["packages"])
    on_disk = {"neurotwin.configs", "neurotwin.experiments"}
    for init in (ROOT / "src").rglob("__init__.py"):
        on_disk.add(".".join(["neurotwin", *init.parent.relative_to(ROOT / "src").parts]))
    assert listed == on_disk
    for folder in (ROOT / "src").rglob("*"):
        if folder.is_dir() and list(folder.glob("*.py")):
            assert (folder / "__init__.py").exists(), f"{folder} has no __init__.py and would be missing from the wheel"


def test_layers():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_plugin_example_is_under_eighty_lines():
    files = [
        path for path in EXAMPLE.rglob("*") if path.suffix in {".py", ".yaml", ".toml"} and "build" not in path.parts
    ]
    assert len(files) == 6
    assert sum(bool(line.strip()) for path in files for line in path.read_text().splitlines()) < 80


def test_wheel_in_a_clean_environment(tmp_path):
    """The wheel alone, outside the checkout, lists, shows and checks an experiment."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel], check=True)
    code = (
        "import sys, neurotwin; assert 'site' in neurotwin.__file__, neurotwin.__file__\n"
        "from neurotwin.cli import main; sys.exit(main(['list']) or main(['show', 'mallick2024/demo']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "configs/datamodule/" in done.stdout
