"""What must work with every allowed version: everything imports, the demos compose and train, the readers read.

`make test-lowest` runs this file with the oldest versions.
"""

import importlib
import pkgutil

import neurotwin
import pytest
from neurotwin.cli import main
from neurotwin.registry import list_configs
from reliability.fuzz import judge, sample
from reliability.readers import TARGETS

pytestmark = pytest.mark.slow
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(neurotwin.__path__, "neurotwin.")
    if not module.name.startswith(("neurotwin.configs", "neurotwin.experiments"))
)
DEMOS = [entry.name for entry in list_configs("experiment") if entry.name.endswith("/demo")]


@pytest.mark.parametrize("name", MODULES)
def test_it_imports(name):
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:  # an optional extra
        if str(error.name).startswith("neurotwin"):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_trains(name, run_root):
    assert main(["train", name, "--debug", "trainer.accelerator=cpu"]) == 0


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_reads(name, tmp_path):
    path, _ = sample(name, tmp_path / "x")
    assert judge(name, path) == "result"
