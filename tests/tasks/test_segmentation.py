"""Segmentation: loss, augmentation, inference, what validation chooses."""

import numpy as np
import pytest
import torch
from neurotwin.errors import ConfigError
from neurotwin.models.dynunet import DynUNet, topology
from neurotwin.models.fast_vs import FastVS
from neurotwin.tasks.mri_augmentation import Augmentation
from neurotwin.tasks.segmentation import Segmentation
from neurotwin.tasks.segmentation_inference import Cut, volume_logits
from neurotwin.tasks.segmentation_loss import deep_dice_ce, dice_ce
from torch import nn


def ball(size=24, radius=6.0):
    axis = torch.arange(size) - size / 2
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    return ((x**2 + y**2 + z**2) < radius**2).long()[None]


def test_dice_ce_of_a_known_map():
    target = ball()
    share = target.float().mean().item()
    logits = torch.zeros(1, 2, *target.shape[1:])  # probability one half everywhere
    n = target.sum().item()
    dice = 1 - (n + 1e-5) / (0.5 * target.numel() + n + 1e-5)
    assert float(dice_ce(logits, target)) == pytest.approx(dice + np.log(2), rel=1e-5), share


def test_a_sure_and_right_answer_costs_nothing_at_any_resolution():
    target = ball()
    small = torch.nn.functional.adaptive_max_pool3d(target[:, None].float(), 12)[:, 0].long()
    outputs = tuple(20.0 * torch.stack([1 - 2 * t, 2 * t - 1], 1).float() for t in (target, small))
    assert float(deep_dice_ce(outputs, target)) < 1e-4


def test_deep_supervision_weights_halve():
    target, right = ball(), 20.0 * torch.stack([1 - 2 * ball(), 2 * ball() - 1], 1).float()
    wrong = -right
    assert float(deep_dice_ce((right, wrong), target)) == pytest.approx(float(dice_ce(wrong, target)) / 3, rel=1e-3)


def test_augmentation_keeps_missing_modalities_and_repeats_with_the_seed():
    image, mask = torch.randn(2, 2, 24, 24, 24), ball().expand(2, -1, -1, -1)
    present = torch.tensor([[True, True], [True, False]])
    image[1, 1] = 0
    augment = Augmentation((24, 24, 24))
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append([augment(image, mask, present) for _ in range(6)])
    for (one, label), (two, again) in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
        assert torch.equal(label, again)
        assert (one[1, 1] == 0).all()
        assert label.shape == mask.shape
    assert any(not torch.equal(one, image) for one, _ in results[0])


def test_flips_and_turns_move_image_and_label_together():
    mask = ball(24, 5.0).roll((4, 2, -3), (1, 2, 3))
    augment = Augmentation((24, 24, 24))
    augment.intensity = []
    torch.manual_seed(0)
    for _ in range(12):
        image, label = augment(mask[:, None].float(), mask, torch.ones(1, 1, dtype=torch.bool))
        assert torch.equal((image[0, 0] > 0.5).long(), label[0])


def test_mirroring_leaves_the_axes_that_are_not_named():
    mask = ball(24, 5.0).roll((4, 2, -3), (1, 2, 3))
    augment = Augmentation((24, 24, 24), mirror=(0,))
    augment.spatial, augment.intensity = [], []
    torch.manual_seed(0)
    labels = [augment(mask[:, None].float(), mask, torch.ones(1, 1, dtype=torch.bool))[1] for _ in range(8)]
    assert all(torch.equal(label, mask) or torch.equal(label, mask.flip(1)) for label in labels)
    assert not all(torch.equal(label, mask) for label in labels)


def test_cut_drops_small_components_and_keeps_the_largest():
    probability = np.zeros((10, 10, 10))
    probability[:3, :3, :3], probability[6:8, 6:8, 6:8], probability[9, 9, 9] = 0.9, 0.8, 0.7
    assert Cut()(probability, 0.001).sum() == 27 + 8 + 1
    assert Cut(least_ml=0.002)(probability, 0.001).sum() == 27 + 8
    assert Cut(largest=True)(probability, 0.001).sum() == 27
    assert Cut(threshold=0.85)(probability, 0.001).sum() == 27


class Threshold(nn.Module):
    """Bright voxels are tumour."""

    patch_size = (8, 8, 8)

    def forward(self, image):
        return torch.cat([-image[:, :1], image[:, :1]], dim=1)


@pytest.mark.parametrize("mirror", [(), (0, 1, 2)])
def test_sliding_a_pointwise_network_changes_nothing(mirror):
    image = torch.randn(1, 1, 20, 17, 9)
    logits = volume_logits(Threshold(), image, mirror)
    torch.testing.assert_close(logits, Threshold()(image), rtol=1e-4, atol=1e-4)


def test_fast_network_looks_where_the_locator_points():
    torch.manual_seed(0)
    model = FastVS(1, 2, (1.0, 1.0, 1.0), (24, 24, 24), width=4, locator_width=4).eval()
    image = torch.zeros(1, 1, 70, 60, 40)
    image[0, 0, 50:56, 14:20, 20:26] = 5.0
    model.locator.forward = lambda x: (torch.cat([2 - x, x - 2], 1), x)
    (first, *_) = model._find_regions(image)
    assert all(start <= middle < start + 24 for start, middle in zip(first, (53, 17, 23), strict=True))
    logits = model.segment(image)
    assert logits.shape == (1, 2, 70, 60, 40)
    outside = logits[0, :, 2, 55, 2]
    assert outside[0] > outside[1]
    assert model.segment(image[:, :, :20, :20, :10]).shape == (1, 2, 20, 20, 10)


def test_topology_is_that_of_nnunet():
    strides, kernels = topology((0.5, 0.5, 1.5), (192, 192, 48))
    assert strides[1] == (2, 2, 1)
    assert kernels[0] == (3, 3, 1)
    assert strides[2] == strides[3] == (2, 2, 2)
    total = np.prod(strides, axis=0)
    assert all(n // t >= 4 for n, t in zip((192, 192, 48), total, strict=True))


def test_lower_outputs_of_dynunet_have_lower_resolution():
    model = DynUNet(1, 2, (1, 1, 1), (32, 32, 32), base_filters=4).train()
    shapes = [tuple(out.shape[2:]) for out in model(torch.randn(1, 1, 32, 32, 32))]
    assert shapes == [(32, 32, 32), (16, 16, 16)]
    assert all(head.numel() == 1 for head in model.network.heads)


def test_bad_settings_are_named():
    with pytest.raises(ConfigError, match=r"coverage=1\.5"):
        Segmentation(Threshold(), coverage=1.5)
    with pytest.raises(ConfigError, match=r"mirror_axes=\[3\]"):
        Segmentation(Threshold(), mirror_axes=[3])
    with pytest.raises(ConfigError, match="patch_size"):
        Segmentation(nn.Conv3d(1, 2, 1))
