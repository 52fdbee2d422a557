"""The clusters that these tests bring up."""

import pytest

from .slurm_machine import SlurmMachine, available


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """SLURM on this machine: two nodes of two processors."""
    if not available():
        pytest.skip("no SLURM: as root, apt-get install slurm-wlm munge")
    machine = SlurmMachine(tmp_path_factory.mktemp("slurm"))
    yield machine
    machine.close()
