"""What a classifier learns from simulated seizures holds, in part, for real ones."""

import numpy as np
import pytest
import torch
from neurotwin.config import compose_part, instantiate
from neurotwin.metrics.seizure_scores import auroc
from neurotwin.models.classic import SpectralForest

SCALING = {"normalise": "window"}  # the simulation does not claim the amplitude of any one hospital


def windows(name, *overrides):
    """All windows of a datamodule and their classes."""
    node = compose_part("datamodule", name, overrides).config["datamodule"]
    datamodule = instantiate({**node, **SCALING})
    datamodule.setup("fit")
    loaders = (datamodule.train_dataloader(), datamodule.val_dataloader(), datamodule.test_dataloader())
    batches = [batch for loader in loaders for batch in loader]
    return torch.cat([b.signal for b in batches]), torch.cat([b.target for b in batches])


@pytest.mark.slow
@pytest.mark.data
def test_a_forest_trained_on_the_simulator_beats_chance_on_the_seizures_of_children(data_root):
    signal, target = windows("simulated_eeg", "n_subjects=16", "minutes=6", "montage=double_banana", "folds=4")
    forest = SpectralForest(n_channels=18, n_outputs=2, sampling_rate_hz=128.0)
    forest.fit(signal, target)
    cases = "[chb01,chb03,chb04,chb07,chb09,chb10]"
    root = f"root={data_root}/eeg/chbmit_clips"
    real, truth = windows("chbmit_clips", root, f"cases={cases}", "folds=3", "split=window")
    area = auroc(forest(real).softmax(1).double().numpy(), truth.numpy())
    # Chance is 0.5 with a standard error of about sqrt(1 / (12 * min(n))) (Hanley & McNeil 1982).
    error = np.sqrt(1 / (12 * np.bincount(truth.numpy()).min()))
    assert area > 0.5 + 4 * error
