"""What the layers say to each other: one file for what all twins share, one for each kind of data."""

from .base import DataModule, DataSpec, FilePredictor, FittedModel, Predictions
from .circuit import (
    Bifurcation,
    CircuitBatch,
    CircuitRecording,
    CircuitTruth,
    DynamicsModel,
    Intervention,
    ReadableModel,
    SynapseConstants,
)
from .clamp import ClampBatch, ClampRecording, EstimatedNeuron, PosteriorModel, TraceBatch
from .connectivity import ActivationBatch, ConnectivityBatch, StartedModel
from .eeg import EEGBatch, Event, Recording
from .encoding import ResponseBatch
from .mri import KOOS, Exam, MRIBatch, Volume, VolumeModel

__all__ = [
    "KOOS",
    "ActivationBatch",
    "Bifurcation",
    "CircuitBatch",
    "CircuitRecording",
    "CircuitTruth",
    "ClampBatch",
    "ClampRecording",
    "ConnectivityBatch",
    "DataModule",
    "DataSpec",
    "DynamicsModel",
    "EEGBatch",
    "EstimatedNeuron",
    "Event",
    "Exam",
    "FilePredictor",
    "FittedModel",
    "Intervention",
    "MRIBatch",
    "PosteriorModel",
    "Predictions",
    "ReadableModel",
    "Recording",
    "ResponseBatch",
    "StartedModel",
    "SynapseConstants",
    "TraceBatch",
    "Volume",
    "VolumeModel",
]
