"""Networks of braindecode: what is said without the package, and with it what goes in and comes out."""

import sys
from types import ModuleType

import pytest
import torch
from neurotwin.errors import ConfigError
from neurotwin.models.braindecode_net import braindecode_net

SCALP = {"n_channels": 18, "n_outputs": 2, "n_times": 512, "sampling_rate_hz": 128.0}


@pytest.fixture
def library(monkeypatch):
    """A stand-in with one network that refuses short windows, for what does not depend on the real one."""

    class EEGNet(torch.nn.Module):
        def __init__(self, n_chans, n_outputs, n_times, sfreq, drop_prob=0.25):
            super().__init__()
            if n_times < 128:
                raise ValueError("During model prediction RuntimeError was thrown")
            self.seen = (n_chans, n_outputs, n_times, sfreq, drop_prob)

    package, models = ModuleType("braindecode"), ModuleType("braindecode.models")
    models.EEGNet, package.models = EEGNet, models
    monkeypatch.setitem(sys.modules, "braindecode", package)
    monkeypatch.setitem(sys.modules, "braindecode.models", models)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "braindecode", None)
    with pytest.raises(ConfigError, match=r"model\.architecture='EEGNet' needs braindecode.*neurotwin\[braindecode\]"):
        braindecode_net("EEGNet", **SCALP)


@pytest.mark.usefixtures("library")
def test_the_datas_names_are_translated_and_settings_handed_on():
    assert braindecode_net("EEGNet", **SCALP, settings={"drop_prob": 0.5}).seen == (18, 2, 512, 128.0, 0.5)


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "EEGnet"}, r"model\.architecture='EEGnet': did you mean 'EEGNet'\?"),
        ({"settings": {"drop_pob": 0.5}}, r"model\.settings\.drop_pob is no argument of EEGNet; did you mean 'drop_p"),
        ({"settings": {"n_chans": 3}}, r"model\.settings\.n_chans is no argument of EEGNet"),
        ({"n_times": 64}, r"cannot be built for 18 channels of 64 samples at 128 Hz: During model prediction"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(ConfigError, match=message):
        braindecode_net(**{"architecture": "EEGNet", **SCALP, **arguments})


def test_the_real_eegnet_has_the_size_that_its_paper_gives():
    pytest.importorskip("braindecode", exc_type=(ImportError, OSError))
    network = braindecode_net("EEGNet", **SCALP)
    # 8*64 temporal + 2*8 norm + 16*18 spatial + 2*16 norm + 16*16 + 16*16 separable + 2*16 norm + head 16*16*2 + 2.
    assert sum(p.numel() for p in network.parameters()) == 1906
    assert network(torch.randn(4, 18, 512)).shape == (4, 2)
