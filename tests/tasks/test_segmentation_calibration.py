"""What validation exams decide: cut and interval, also of each modality alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from neurotwin.contracts import Exam, MRIBatch, Volume
from neurotwin.errors import ConfigError
from neurotwin.tasks.segmentation import Segmentation
from neurotwin.tasks.segmentation_calibration import _TRIED, Calibration, Tried, calibrate, look
from neurotwin.tasks.segmentation_inference import CUTS, Cut, try_cuts
from neurotwin.tasks.segmentation_rows import alone, alone_row
from torch import nn

BLOB, WEAK = np.s_[2:6, 2:6, 2:6], np.s_[8:10, 8:10, 8:10]


def maps():
    """A sure tumour and a weak false region."""
    probability = np.full((12, 12, 12), 0.1)
    probability[BLOB], probability[WEAK] = 0.97, 0.55
    truth = np.zeros(probability.shape, bool)
    truth[BLOB] = True
    return probability, truth


def test_every_cut_is_tried_as_it_is_applied():
    rng = np.random.default_rng(0)
    probability = np.clip(maps()[0] + 0.2 * rng.standard_normal((12, 12, 12)), 0, 1)
    truth = maps()[1]
    dices, volumes = try_cuts(CUTS, probability, truth, 0.005)
    for cut, dice, volume in zip(CUTS, dices, volumes, strict=True):
        mask = cut(probability, 0.005)
        total = mask.sum() + truth.sum()
        assert volume == pytest.approx(mask.sum() * 0.005), cut
        assert dice == pytest.approx(2 * (mask & truth).sum() / total), cut


def test_a_peak_drops_what_is_nowhere_sure():
    probability, truth = maps()
    assert Cut()(probability, 0.001).sum() == 64 + 8
    assert np.array_equal(Cut(peak=0.8)(probability, 0.001), truth)
    assert not Cut(peak=0.99)(probability, 0.001).any()
    chosen, dice = calibrate([look(probability, truth, 0.001)], 0.9)
    assert dice == 1
    assert np.array_equal(chosen.cut(probability, 0.001), truth)
    assert Calibration.of(chosen.numbers()) == chosen
    plain, _ = calibrate([look(probability, truth, 0.001)], 0.9, choose_cut=False)
    assert plain.cut == Cut()


def test_false_regions_that_the_cut_drops_do_not_widen_the_interval():
    probability, truth = maps()
    chosen, _ = calibrate([look(probability, truth, 0.001)] * 9, 0.9)
    assert chosen.holds(0.9)
    low, high = chosen.interval(probability, 0.001)
    assert low == pytest.approx(0.064)
    assert high == pytest.approx(0.064)


def test_eight_exams_do_not_calibrate_nine_tenths():
    for count, enough in ((0, False), (8, False), (9, True)):
        assert Calibration(offset_mm=0.1, exams=count).holds(0.9) is enough, count
    assert not Calibration(exams=40).holds(0.9), "before the first validation"


def tried(volume_ml, truth_ml):
    return Tried(np.ones(len(_TRIED)), np.full(len(_TRIED), volume_ml), truth_ml)


def test_exams_without_tumour_do_not_widen_the_interval():
    chosen, _ = calibrate([*[tried(1.0, 1.0)] * 9, tried(4.0, 0.0)], 0.9)
    assert (chosen.offset_mm, chosen.exams) == (0.0, 9)
    chosen, _ = calibrate([tried(4.0, 0.0)], 0.9)
    assert not chosen.holds(0.9)


def test_one_small_tumour_with_a_large_false_volume_does_not_make_the_interval_worthless():
    rng = np.random.default_rng(0)
    volumes = np.exp(rng.normal(0, 1, 30))
    chosen, _ = calibrate([*(tried(v * np.exp(rng.normal(0, 0.1)), v) for v in volumes), tried(5.0, 0.05)], 0.9)
    assert chosen.offset_mm < 0.6


class Bright(nn.Module):
    """Voxels that are bright in the first modality are surely tumour, those bright in the second less so."""

    patch_size = (8, 8, 8)

    def forward(self, image):
        score = 6 * image[:, :1] + 1.5 * image[:, 1:] - 1
        return torch.cat([-score, score], dim=1)


def task_of_two():
    task = Segmentation(Bright(), test_inputs=["ceT1w", "T2w"])
    datamodule = SimpleNamespace(modalities=("ceT1w", "T2w"), reference_grid=None, graded=list)
    task._trainer = SimpleNamespace(sanity_checking=False, datamodule=datamodule)
    task.log = lambda *args, **settings: None
    return task


def batch(present=(True, True)):
    _, truth = maps()
    bright = torch.from_numpy(truth).float()
    image = torch.stack([bright * there for there in present])[None]
    mask = torch.from_numpy(truth).long()[None]
    return MRIBatch(image, torch.tensor([present]), mask, torch.ones(1, 3), torch.zeros(1), torch.tensor([0]))


def test_each_modality_alone_has_a_cut_of_its_own():
    task = task_of_two()
    task.on_validation_epoch_start()
    for present in ((True, True), (True, True), (False, True)):
        task.validation_step(batch(present), 0)
    assert [len(seen) for seen in task._seen] == [3, 2, 3]
    task.on_validation_epoch_end()
    assert task.calibration[:, -1].tolist() == [3, 2, 3]
    assert task.calibrated(["T2w"]) == Calibration.of(task.calibration[2].tolist())
    assert task.calibrated(["ceT1w", "T2w"]) == task.calibrated() == Calibration.of(task.calibration[0].tolist())


def test_inputs_that_are_not_there_are_refused():
    task = task_of_two()
    task.setup("fit")
    task.trainer.datamodule.modalities = ("ceT1w",)
    with pytest.raises(ConfigError, match=r"test_inputs=\['ceT1w', 'T2w'\]"):
        task.setup("fit")


def test_one_modality_alone_is_scored_on_its_own_grid():
    grids = {"ceT1w": np.diag([1.0, 1, 1, 1]), "T2w": np.diag([1.0, 1, 2, 1])}
    volumes = {kind: Volume(np.zeros((12, 12, 12)), affine) for kind, affine in grids.items()}
    labels = {kind: Volume(maps()[1], affine) for kind, affine in grids.items()}
    exam = Exam("p", "s", "", volumes, labels)
    single = alone(exam, "T2w")
    assert list(single.images) == list(single.masks) == ["T2w"]
    datamodule = SimpleNamespace(
        reference_grid=lambda e: ("T2w", e.images["T2w"], None),
        to_native=lambda probability, affine, image: probability,
    )
    row = alone_row(datamodule, single, "T2w", maps()[0], Calibration(Cut(peak=0.8), 0.0, 9))
    assert row["T2w_dsc"] == 1
    assert row["T2w_truth_ml"] == pytest.approx(0.128)
    assert row["T2w_low_ml"] == pytest.approx(0.128)
    missing = alone_row(datamodule, alone(Exam("p", "s", "", {}), "T2w"), "T2w", None, Calibration())
    assert np.isnan(missing["T2w_dsc"])
