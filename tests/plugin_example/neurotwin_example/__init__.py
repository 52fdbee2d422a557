"""A data set, a model and an experiment of one's own, outside neurotwin."""

import torch
from neurotwin.contracts import DataSpec
from neurotwin.datamodules.base import BaseDataModule, digest
from neurotwin.tasks.base import BaseTask
from torch import nn


class Tones(BaseDataModule):
    """Noisy sine waves; the target is their frequency."""

    def __init__(self, n: int = 96, n_times: int = 64, noise: float = 0.1, **arguments):
        super().__init__(**arguments)
        self.n, self.n_times, self.noise = n, n_times, noise

    @property
    def spec(self):
        return DataSpec(n_channels=1, n_outputs=1, n_times=self.n_times)

    def setup(self, stage=None):
        draw = torch.Generator().manual_seed(self.split_seed)
        target = torch.rand(self.n, 1, generator=draw)
        time = torch.linspace(0, 6, self.n_times)
        signal = torch.sin(time * (1 + 3 * target)) + self.noise * torch.randn(self.n, self.n_times, generator=draw)
        items = [{"signal": signal[i : i + 1], "target": target[i], "window": i} for i in range(self.n)]
        parts = [[item for item in items if (item["window"] + self.fold) % self.folds == k] for k in range(self.folds)]
        self.datasets = {"test": parts[0], "val": parts[1], "train": [x for part in parts[2:] for x in part]}

    def fingerprint(self):
        return digest(self.n, self.n_times, self.noise, self.fold, self.split_seed)


class TinyNet(nn.Sequential):
    """A dense layer, dropout, a dense layer."""

    def __init__(self, n_times: int, n_outputs: int, hidden: int = 16, dropout: float = 0.1):
        layers = nn.Flatten(), nn.Linear(n_times, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, n_outputs)
        super().__init__(*layers)


class Regression(BaseTask):
    """Mean squared error."""

    def step(self, batch, stage):
        loss = nn.functional.mse_loss(self.model(batch["signal"]), batch["target"])
        self.log(f"{stage}/loss", loss, batch_size=len(batch["target"]), on_epoch=True, on_step=False, sync_dist=True)
        return loss

    def predict_rows(self, batch):
        return {"window": batch["window"], "error": (self.model(batch["signal"]) - batch["target"])[:, 0]}

    @classmethod
    def score(cls, predictions):
        return {"mae": abs(predictions["error"]).mean()}
