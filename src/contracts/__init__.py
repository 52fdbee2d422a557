"""What the layers say to each other: one file for what all twins share, one for each kind of data."""

from .base import DataModule, DataSpec, FilePredictor, FittedModel, Predictions
from .circuit import CircuitBatch, CircuitRecording, DynamicsModel
from .connectivity import ConnectivityBatch
from .eeg import EEGBatch, Event, Recording

__all__ = [
    "CircuitBatch",
    "CircuitRecording",
    "ConnectivityBatch",
    "DataModule",
    "DataSpec",
    "DynamicsModel",
    "EEGBatch",
    "Event",
    "FilePredictor",
    "FittedModel",
    "Predictions",
    "Recording",
]
