"""A trained detector on a recording of any length: probabilities, events, files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from ..contracts import Event, Recording
from .recording_figure import recording_figure

#: Windows in one forward pass.
_BATCH = 256
#: Length of the parts that a long recording is cut into, s.
_PART_S = 600.0


@dataclass(frozen=True)
class Prediction:
    """What the twin says about one recording.

    Attributes:
        recording: What was judged.
        start_s: First sample of each window, from the recording's first sample, ``(window,)``, s.
        end_s: End of each window: the time at which a causal system makes the statement, ``(window,)``, s.
        probability: ``(window, class)``, rows sum to 1; the last class is the seizure.
        threshold: Lowest probability of a seizure that raises an alarm.
        events: Detections, onsets from the recording's first sample, s.
    """

    recording: Recording
    start_s: np.ndarray
    end_s: np.ndarray
    probability: np.ndarray
    threshold: float
    events: list[Event]


def slide(
    probabilities: Callable[[Tensor], Tensor], datamodule: Any, recording: Recording, step_s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Class probabilities of all windows of a recording.

    The recording is taken in parts of some minutes, so that the windows of a long one, which overlap, never lie in
    memory together.

    Args:
        probabilities: Maps normalised windows ``(window, channel, time)`` to ``(window, class)``.
        datamodule: Gives windows their length and scaling.
        recording: With the montage and the sampling rate of the training data.
        step_s: Step of the windows, s.

    Returns:
        Starts and ends of the windows from the first sample, ``(window,)``, s, and ``(window, class)``.

    Raises:
        DataError: If the recording is shorter than a window.
    """
    rate = recording.sampling_rate_hz
    window, step = datamodule.window_length(rate), max(1, round(step_s * rate))
    starts, rows = [], []
    for first, part in _parts(recording, window, step):
        windows, start_s = datamodule.windows_of(part, step_s)
        starts.append(first / rate + start_s)
        rows += [probabilities(batch).cpu().numpy() for batch in windows.split(_BATCH)]
    start_s = np.concatenate(starts)
    return start_s, start_s + window / rate, np.concatenate(rows)


def write_prediction(prediction: Prediction, datamodule: Any, folder: Path) -> list[Path]:
    """Write what was found in a recording.

    Args:
        prediction: Of one recording.
        datamodule: Names the classes and writes annotations.
        folder: Made if it is not there.

    Returns:
        ``<recording>_events.tsv`` (SzCORE annotations), ``<recording>_probability.csv`` (``time_s``, the time at which
        the statement is made, and one column a class) and ``<recording>.png``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = prediction.recording.name.replace("/", "_")
    events, table, figure = (folder / f"{stem}{end}" for end in ("_events.tsv", "_probability.csv", ".png"))
    datamodule.write_events(events, prediction.events, prediction.recording)
    frame = pd.DataFrame(prediction.probability, columns=list(datamodule.class_names))
    frame.insert(0, "time_s", prediction.end_s)
    frame.to_csv(table, index=False, float_format="%.6g")
    return [events, table, recording_figure(prediction, figure)]


def _parts(recording: Recording, window: int, step: int) -> Iterator[tuple[int, Recording]]:
    """Stretches whose windows, taken together, are the windows of the whole, each with its first sample."""
    count = max(1, (recording.signal.shape[-1] - window) // step + 1)
    block = max(1, round(_PART_S * recording.sampling_rate_hz / step))
    for first in range(0, count, block):
        last = min(first + block, count) - 1
        samples = slice(first * step, last * step + window)
        yield first * step, replace(recording, signal=recording.signal[:, samples])
