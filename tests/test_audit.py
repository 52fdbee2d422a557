"""The leakage audit finds each planted leak, says which one, and lets an honest and an easy data set pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from neurotwin.contracts import DataSpec, Recording
from neurotwin.datamodules.bonn import BonnDataModule
from neurotwin.datamodules.windows import window_table
from neurotwin.errors import ConfigError
from neurotwin.leakage.audit import AuditReport, audit
from neurotwin.leakage.similarity import shared_stretches

RATE_HZ, WINDOW, FOLDS = 128.0, 256, 4


class Toy:
    """The smallest data set that can be audited: recordings, and folds over whatever ``unit`` names."""

    folds = FOLDS

    def __init__(self, recordings: list[Recording], unit: str = "recording", stride: int = WINDOW, fit: str = "train"):
        self.recordings, self.unit, self.stride, self.fit = recordings, unit, stride, fit
        self.windows = window_table(recordings, WINDOW, stride)
        self.spec = DataSpec(n_channels=1, n_times=WINDOW, sampling_rate_hz=RATE_HZ)

    def with_recordings(self, recordings: list[Recording]) -> Toy:
        return type(self)(recordings, self.unit, self.stride, self.fit)

    def split(self, fold: int) -> dict[str, np.ndarray]:
        shuffled = np.random.default_rng(3).permutation(len(self.windows))
        code = shuffled if self.unit == "window" else self.windows[self.unit].to_numpy()
        held = code % FOLDS == fold
        return {"train": np.flatnonzero(~held), "val": np.empty(0, dtype=int), "test": np.flatnonzero(held)}

    def raw(self, rows: np.ndarray) -> np.ndarray:
        table = self.windows.iloc[rows]
        return np.stack(
            [
                self.recordings[code].signal[:, start : start + WINDOW]
                for code, start in zip(table["recording"], table["start_sample"], strict=True)
            ]
        )

    def signal(self, rows: np.ndarray, fold: int) -> np.ndarray:
        fitted = self.split(fold)["train"] if self.fit == "train" else np.arange(len(self.windows))
        return (self.raw(rows) / self.raw(fitted).std()).astype(np.float32)


def make(n: int = 24, seconds: float = 16.0, edit: Callable[[np.ndarray], None] = lambda signals: None, **fields: list):
    """Independent noise in two classes of different colour; ``edit`` plants something."""
    generator = np.random.default_rng(0)
    signals = generator.standard_normal((n, 1, round(seconds * RATE_HZ)))
    label = np.arange(n) // 2 % 2
    signals[label == 1] = np.cumsum(signals[label == 1], axis=-1) * 0.1 + signals[label == 1]
    edit(signals)
    return [
        Recording(
            signals[i].astype(np.float32), RATE_HZ, ("x",), f"r{i}", label=int(label[i]),
            **{name: values[i] for name, values in fields.items()},
        )
        for i in range(n)
    ]  # fmt: skip


def run(datamodule: Toy, **options: object) -> AuditReport:
    return audit(datamodule, **{"budget": 1e9, **options})


def leaks(report: AuditReport) -> set[str]:
    return {check.name for check in report.checks if check.status == "leak"}


def test_an_honest_set_passes_and_says_what_was_not_checked():
    report = run(Toy(make()))
    assert report.verdict == "pass"
    assert {check.name for check in report.checks if check.status == "skip"} == {"shared groups", "shared subjects"}
    assert report["split"].finding == "disjoint and repeatable, 192 of 192 windows tested once in 4 fold(s)"


def test_easy_classes_are_no_leak():
    """Two rhythms of their own frequency: the nearest waveform is always right, without any partner."""

    def rhythms(signals: np.ndarray) -> None:
        generator = np.random.default_rng(1)
        seconds = np.arange(signals.shape[-1]) / RATE_HZ
        for i, signal in enumerate(signals):
            frequency = (6.0, 17.0)[i // 2 % 2] + generator.uniform(-0.3, 0.3)
            signal += 1.0 * np.sin(2 * np.pi * frequency * seconds + generator.uniform(0, 6))

    report = run(Toy(make(edit=rhythms)))
    assert report.probe.accuracy > 0.9
    assert report.verdict == "pass"


def simultaneous(signals: np.ndarray) -> None:
    """Recordings 0 and 1, 2 and 3, … share most of their signal, delayed by 5 samples and inverted."""
    signals[1::2] = 0.5 * signals[1::2] - np.roll(signals[::2], 5, axis=-1)


def test_simultaneous_partners_leak_by_recording_and_not_by_group():
    pairs = [f"p{i // 2}" for i in range(24)]
    report = run(Toy(make(edit=simultaneous)))
    assert leaks(report) == {"simultaneous partners", "untrained probe"}
    assert report["simultaneous partners"].value == 1.0
    assert report.probe.accuracy == 1.0
    assert report.probe.leave_one_out == 1.0
    assert report.probe.accuracy_without < 0.8
    assert sorted(np.bincount(report.similarity.families)) == [2] * 12

    grouped = run(Toy(make(edit=simultaneous, group=pairs), unit="group"))
    assert grouped.verdict == "pass"
    assert grouped["shared groups"].status == "pass"
    assert grouped.probe.leave_one_out == 1.0


def test_an_undeclared_partner_is_no_matter_of_the_declared_groups():
    """Groups that cross folds are named even where the signals show nothing."""
    report = run(Toy(make(group=[f"g{i // 2}" for i in range(24)])))
    assert leaks(report) == {"shared groups"}
    assert report["shared groups"].value == 1.0


@pytest.mark.parametrize("offset", [0, 700])
def test_copies_are_found_wherever_they_start(offset):
    def copy(signals: np.ndarray) -> None:
        signals[5, :, : signals.shape[-1] - offset] = signals[0, :, offset:]

    report = run(Toy(make(edit=copy)))
    assert "duplicates" in leaks(report)
    assert "of 24 tested recordings 2 share 32 or more bit-identical samples" in report["duplicates"].finding


def test_a_rescaled_noisy_copy_is_a_near_duplicate():
    def copy(signals: np.ndarray) -> None:
        signals[5] = 3 * signals[0] + 0.01 * signals[5]

    report = run(Toy(make(edit=copy)))
    assert "duplicates" in leaks(report)
    assert "0 share 32 or more bit-identical samples" in report["duplicates"].finding
    assert "2 correlate above 0.99" in report["duplicates"].finding


def test_shared_stretches_ignore_flat_ones_and_signed_zeros():
    recordings = make(4)
    for recording in recordings:
        recording.signal[:, 100:300] = 0.0
    assert shared_stretches(recordings).tolist() == []
    recordings[3].signal[:, 600:640] = recordings[1].signal[:, 1000:1040]
    assert shared_stretches(recordings).tolist() == [[1, 3]]
    alternating = np.tile([0.0, 1.0], 100).astype(np.float32)
    recordings[0].signal[:, :200], recordings[2].signal[:, :200] = alternating, np.where(alternating, 1.0, -0.0)
    assert [0, 2] in shared_stretches(recordings).tolist()


def test_window_folds_share_recordings_and_overlapping_ones_samples():
    apart = run(Toy(make(), unit="window"))
    assert leaks(apart) == {"shared recordings"}
    assert apart.probe.unit == "windows"
    dense = Toy(make(), unit="window", stride=WINDOW // 2)
    overlapping = run(dense)
    assert {"shared recordings", "overlapping windows"} <= leaks(overlapping)
    position = 10_000 * dense.windows["recording"].to_numpy() + dense.windows["start_sample"].to_numpy()
    touching = [
        np.abs(position[row] - position[dense.split(fold)["train"]]).min() < WINDOW
        for fold in range(FOLDS)
        for row in dense.split(fold)["test"]
    ]
    assert overlapping["overlapping windows"].value == pytest.approx(np.mean(touching))


def test_windows_of_simultaneous_recordings_feed_the_probe():
    report = run(Toy(make(edit=simultaneous), unit="window"), budget=1e11)
    assert {"simultaneous partners", "untrained probe", "shared recordings"} == leaks(report)
    assert report.probe.accuracy > report.probe.accuracy_without + 0.1


def test_a_dear_probe_is_sampled_and_the_report_says_so():
    report = run(Toy(make(), unit="window"), budget=1e8)
    assert "84 windows (of 192;" in report["untrained probe"].finding
    assert "of 24 recordings, first 16.0 s" in report["simultaneous partners"].finding


def test_shared_subjects_leak_unless_the_model_is_patient_specific():
    people = [f"s{i % 3}" for i in range(24)]
    assert leaks(run(Toy(make(subject=people)))) == {"shared subjects"}
    specific = run(Toy(make(subject=people)), subjects_must_differ=False)
    assert specific["shared subjects"].status == "warn"
    assert specific.verdict == "pass"
    apart = run(Toy(make(subject=[f"s{i % 12}" for i in range(24)]), unit="subject"))
    assert apart["shared subjects"].finding == "none of 12 tested subjects is trained on"


@pytest.mark.parametrize("unit", ["recording", "window"])
def test_a_normaliser_fitted_on_everything_leaks(unit):
    assert run(Toy(make(), unit=unit))["normaliser"].status == "pass"
    check = run(Toy(make(), unit=unit, fit="all"))["normaliser"]
    assert check.status == "leak"
    assert "(fold 0, 1, 2, 3)" in check.finding
    assert check.value > 0.5


def test_the_normaliser_check_needs_a_copy_over_other_recordings():
    class Plain(Toy):
        with_recordings = None

    check = run(Plain(make()))["normaliser"]
    assert check.status == "skip"
    assert "Plain has no with_recordings(recordings)" in check.finding


def test_a_split_must_be_disjoint_and_repeatable():
    class Drawn(Toy):
        def split(self, fold: int) -> dict[str, np.ndarray]:
            rows = np.random.permutation(len(self.windows))  # noqa: NPY002
            return {"train": rows[50:], "test": rows[:50]}

    class Crossing(Toy):
        def split(self, fold: int) -> dict[str, np.ndarray]:
            parts = super().split(fold)
            return {**parts, "val": parts["test"][:3]}

    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert run(Toy(make())).verdict == "pass"
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert "fold 1 differs when it is asked for again" in run(Drawn(make()))["split"].finding
    assert "fold 2 uses 3 windows in two parts" in run(Crossing(make()))["split"].finding


def test_recordings_too_short_to_correlate_are_skipped_not_passed():
    recordings = [replace(r, signal=r.signal[:, :64]) for r in make()]
    toy = Toy(make())
    toy.recordings, toy.windows = recordings, window_table(recordings, 64, 64)
    toy.spec = replace(toy.spec, n_times=64)
    toy.raw = lambda rows: np.stack([recordings[code].signal for code in toy.windows["recording"].iloc[rows]])
    toy.with_recordings = None
    assert run(toy)["simultaneous partners"].status == "skip"


def test_report_is_written_printed_and_plain(tmp_path):
    report = run(Toy(make(edit=simultaneous)), folds=[1], output=tmp_path / "new" / "folder")
    written = json.loads((tmp_path / "new" / "folder" / "audit.json").read_text())
    assert written == json.loads(json.dumps(report.to_dict()))
    assert (written["verdict"], written["folds"], written["probe"]["unit"]) == ("leak", [1], "recordings")
    assert (tmp_path / "new" / "folder" / "audit.png").stat().st_size > 20_000
    text = str(report)
    assert "verdict: leak (2 leaks, 0 warnings, 2 not checked" in text
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 110


def test_errors_name_what_is_missing():
    with pytest.raises(ConfigError, match=r"object cannot be audited: it has no recordings, .* spec; .*Auditable"):
        audit(object())
    with pytest.raises(ConfigError, match=r"fold=4 is out of range: folds=4, choose 0 to 3"):
        audit(Toy(make()), folds=[4])


@pytest.mark.data
def test_bonn_leaks_by_recording_and_not_by_group(data_root):
    arguments = {"root": data_root / "eeg" / "bonn", "window_samples": 512}
    by_recording = audit(BonnDataModule(split="recording", **arguments), budget=5e10)
    assert {"simultaneous partners", "untrained probe"} == leaks(by_recording)
    assert by_recording.probe.leave_one_out == pytest.approx(0.970, abs=0.002)
    assert by_recording.probe.accuracy > 0.93
    assert by_recording.probe.accuracy_without < 0.65
    by_group = audit(BonnDataModule(split="group", **arguments), budget=5e10)
    assert by_group.verdict == "pass"
    assert by_group.probe.accuracy < 0.55
