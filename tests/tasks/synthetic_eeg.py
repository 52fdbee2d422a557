"""A small continuous EEG set with known seizures, and a network for it."""

import numpy as np
from neurotwin.contracts import Event, Recording
from neurotwin.datamodules.eeg import EEGDataModule
from torch import nn

RATE, CHANNELS = 32.0, ("F3-C3", "C3-P3", "P3-O1")


def synthetic_recording(name, subject, seed, duration_s=80.0, onset_s=30.0, seizure_s=24.0):
    """Noise of 20 µV; a 5 Hz rhythm of 90 µV during the seizure."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(duration_s * RATE)) / RATE
    signal = 20 * rng.standard_normal((len(CHANNELS), len(time)))
    signal += np.where((time >= onset_s) & (time < onset_s + seizure_s), 90 * np.sin(2 * np.pi * 5 * time), 0)
    return Recording(signal.astype(np.float32), RATE, CHANNELS, name, subject, events=[Event(onset_s, seizure_s)])


class Synthetic(EEGDataModule):
    """Ten recordings of five subjects; any file name "reads" as a recording of its own."""

    def __init__(self, **windowing):
        super().__init__(**{"window_s": 2.0, "stride_s": 2.0, "batch_size": 16, "val_fraction": 0.25, **windowing})

    def load(self):
        return [synthetic_recording(f"r{i}", f"s{i // 2}", seed=i, onset_s=20.0 + 2 * i) for i in range(10)]

    def read(self, path):
        return [synthetic_recording(path.stem, "", seed=99, duration_s=200.0)]


class Net(nn.Module):
    """Log power of a convolution, then a linear map; enough for the synthetic rhythm."""

    def __init__(self, n_channels=3, n_outputs=2):
        super().__init__()
        self.convolution = nn.Conv1d(n_channels, 6, 9, stride=2)
        self.head = nn.Linear(6, n_outputs)

    def forward(self, signal):
        return self.head(self.convolution(signal).square().mean(dim=-1).add(1e-3).log())
