"""Energy is the sum of the counters that are no part of another, across their overflow; without a counter, nothing."""

import sys
from types import SimpleNamespace

import neurotwin
import pytest
import torch
from neurotwin import energy
from neurotwin.run_log import Meter
from neurotwin.sweeps.results import SweepResult


def zone(powercap, name, kind, microjoules, overflow=10_000_000):
    folder = powercap / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, value in {"name": kind, "energy_uj": microjoules, "max_energy_range_uj": overflow}.items():
        (folder / file).write_text(f"{value}\n")


def test_packages_and_memory_count_once(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 500_000)
    zone(tmp_path, "intel-rapl:0:1", "dram", 200_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 9_000_000)
    meter = energy.EnergyMeter(tmp_path)
    assert meter.read() == 0
    zone(tmp_path, "intel-rapl:0", "package-0", 3_000_000)  # 2 J
    zone(tmp_path, "intel-rapl:0:0", "core", 2_400_000)  # in the package
    zone(tmp_path, "intel-rapl:0:1", "dram", 700_000)  # 0.5 J
    zone(tmp_path, "intel-rapl:1", "package-1", 500_000)  # over its end at 10 J: 1.5 J
    assert meter.read() == pytest.approx(4.0)
    assert meter.read() == pytest.approx(4.0), "nothing has moved since"


@pytest.mark.parametrize("damage", ["missing", "text", "folder"])
def test_a_counter_that_cannot_be_read_is_none(tmp_path, damage):
    zone(tmp_path, "intel-rapl:0", "package-0", "x" if damage == "text" else 1)
    if damage != "text":
        (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    if damage == "folder":
        (tmp_path / "intel-rapl:0" / "energy_uj").mkdir()
    assert energy.EnergyMeter(tmp_path).read() is None
    assert energy.EnergyMeter(tmp_path / "nowhere").read() is None


def test_gpus_of_this_process(tmp_path, monkeypatch):
    spent = iter([5_000, 5_000, 12_500])  # mJ: when it is found, at the start, at the reading
    monkeypatch.setitem(
        sys.modules,
        "pynvml",
        SimpleNamespace(
            nvmlInit=lambda: None,
            nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
            nvmlDeviceGetTotalEnergyConsumption=lambda card: next(spent) if card == "GPU-ab-cd" else 0,
        ),
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid="ab-cd"))
    assert energy.EnergyMeter(tmp_path).read() == pytest.approx(7.5)


def test_it_goes_on_with_a_resumed_run_and_is_a_column(example, run_root, tmp_path, monkeypatch):
    zone(tmp_path / "powercap", "intel-rapl:0", "package-0", 0, 262_143_328_850)
    monkeypatch.setattr(energy.EnergyMeter.__init__, "__defaults__", (tmp_path / "powercap",))
    meter = Meter({"energy_j": 100.0})
    zone(tmp_path / "powercap", "intel-rapl:0", "package-0", 2_500_000_000, 262_143_328_850)
    assert meter.read()["energy_j"] == 2600.0
    typed = ["trainer.max_epochs=1", "trainer.accelerator=cpu", "seeds=0"]
    result = neurotwin.sweep("example/tones", typed)
    (run,) = result.trials[0].runs
    run.update(cost=meter.read())
    head, _, row = SweepResult(result.folder).table().markdown().splitlines()
    assert "| energy kJ |" in head
    assert "| 2.6 |" in row
