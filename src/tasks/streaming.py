"""Causal detection: samples go in as they come, a probability comes out every step.

The same code serves a bedside stream and a long file: a chunk of any length is cut at the steps that complete in it,
and their windows go through the model as one batch. What comes out does not depend on how the signal was cut.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError, DataError


class Emission(NamedTuple):
    """What the detector says at one step.

    Attributes:
        start_s: First sample of the window that was judged, s since the stream began.
        end_s: End of that window, which is the time at which the statement is made, s.
        probability: ``(class,)``, sums to 1.
    """

    start_s: float
    end_s: float
    probability: np.ndarray


class StreamingDetector:
    """Slides a window classifier over a signal that is still arriving.

    The state is a ring buffer of one window, held twice so that the newest window is always one contiguous slice: a
    step costs the copy of its new samples and one forward pass. The first emission comes when the first window is
    full, the next ones every ``step_s``.

    Args:
        model: Maps ``(batch, channel, time)`` to logits ``(batch, class)``; put into evaluation mode.
        n_channels: Channels of the signal.
        sampling_rate_hz: Samples per second of the signal, which the model was trained at.
        window_s: Length of the model's window, s.
        step_s: Time between two emissions, s.
        transform: What the datamodule does to a window (scaling, normalisation), ``(batch, channel, time)`` to the
            same shape; ``None`` for a signal that is in the model's unit already.
        batch_size: Most windows in one forward pass when a chunk completes many.

    Raises:
        ConfigError: If window or step are shorter than a sample.

    Example:
        >>> detector = StreamingDetector(model, n_channels=18, sampling_rate_hz=128, window_s=4)
        >>> for chunk in amplifier:  # (18, any length)
        ...     for emission in detector.push(chunk):
        ...         print(emission.end_s, emission.probability[-1])
    """

    def __init__(
        self,
        model: nn.Module,
        n_channels: int,
        sampling_rate_hz: float,
        window_s: float,
        step_s: float = 1.0,
        transform: Callable[[Tensor], Tensor] | None = None,
        batch_size: int = 64,
    ):
        self.window = round(window_s * sampling_rate_hz)
        self.step = round(step_s * sampling_rate_hz)
        if self.window < 1 or self.step < 1:
            raise ConfigError(
                f"streaming: window_s={window_s} and step_s={step_s} must each hold a sample at {sampling_rate_hz} Hz"
            )
        self.model = model.eval()
        self.n_channels = n_channels
        self.sampling_rate_hz = sampling_rate_hz
        self._transform = transform
        self._batch_size = batch_size
        parameter = next(model.parameters(), None)
        self._device = torch.device("cpu") if parameter is None else parameter.device
        #: Milliseconds from a chunk's arrival to its last emission, divided by the chunk's emissions.
        self.latencies_ms: deque[float] = deque(maxlen=100_000)
        self.reset()

    def reset(self) -> None:
        """Forget the signal; the next sample is at time 0."""
        self._ring = torch.zeros(self.n_channels, 2 * self.window)
        self._seen = 0
        self._due = self.window

    def push(self, samples: np.ndarray | Tensor) -> list[Emission]:
        """Take the next samples and return what became due in them.

        Args:
            samples: ``(channel, time)``, any number of samples.

        Raises:
            DataError: If the number of channels differs from the detector's.
        """
        arrival = time.perf_counter()
        chunk = torch.as_tensor(samples, dtype=torch.float32)
        if chunk.ndim != 2 or chunk.shape[0] != self.n_channels:
            raise DataError(
                f"streaming: a chunk has shape {tuple(chunk.shape)}, expected ({self.n_channels}, time): "
                f"one row a channel that the model was trained on"
            )
        emissions: list[Emission] = []
        windows: list[Tensor] = []
        ends: list[int] = []
        position = 0
        while position < chunk.shape[1]:
            take = min(chunk.shape[1] - position, self._due - self._seen)
            self._write(chunk[:, position : position + take])
            position += take
            if self._seen == self._due:
                head = self._seen % self.window
                windows.append(self._ring[:, head : head + self.window].clone())
                ends.append(self._seen)
                self._due += self.step
            if windows and (len(windows) == self._batch_size or position == chunk.shape[1]):
                emissions += self._judge(torch.stack(windows), ends)
                windows, ends = [], []
        if emissions:
            self.latencies_ms.append((time.perf_counter() - arrival) * 1e3 / len(emissions))
        return emissions

    def latency(self) -> dict[str, float]:
        """Milliseconds a step: ``{"median_ms", "p99_ms", "steps"}`` over the pushes so far that emitted."""
        values = np.asarray(self.latencies_ms)
        if not len(values):
            return {"median_ms": float("nan"), "p99_ms": float("nan"), "steps": 0}
        return {
            "median_ms": float(np.median(values)),
            "p99_ms": float(np.percentile(values, 99)),
            "steps": len(values),
        }

    def _write(self, samples: Tensor) -> None:
        self._seen += samples.shape[1]
        samples = samples[:, -self.window :]
        place = torch.arange(self._seen - samples.shape[1], self._seen) % self.window
        self._ring[:, place] = samples
        self._ring[:, place + self.window] = samples

    @torch.inference_mode()
    def _judge(self, windows: Tensor, ends: list[int]) -> list[Emission]:
        if self._transform is not None:
            windows = self._transform(windows)
        probability = self.model(windows.to(self._device)).softmax(dim=-1).cpu().numpy()
        rate = self.sampling_rate_hz
        return [
            Emission((end - self.window) / rate, end / rate, row) for end, row in zip(ends, probability, strict=True)
        ]


def chunks(signal: np.ndarray, samples: int) -> Iterator[np.ndarray]:
    """Cut ``(channel, time)`` into pieces of ``samples``; the last may be shorter."""
    for start in range(0, signal.shape[1], samples):
        yield signal[:, start : start + samples]


def milliseconds_per_window(
    model: nn.Module, n_channels: int, n_times: int, repeats: int = 50, warm_up: int = 5
) -> float:
    """Median time of one window through ``model`` on one core, ms.

    Args:
        model: Maps ``(1, channel, time)`` to logits.
        n_channels: Channels of a window.
        n_times: Samples of a window.
        repeats: Timed passes.
        warm_up: Passes before them.
    """
    window = torch.randn(1, n_channels, n_times, generator=torch.Generator().manual_seed(0))
    spent = []
    with one_thread(), evaluating(model), torch.inference_mode():
        for turn in range(warm_up + repeats):
            begin = time.perf_counter()
            model(window)
            if turn >= warm_up:
                spent.append(time.perf_counter() - begin)
    return float(np.median(spent) * 1e3)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one CPU thread inside the block."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block, the former mode after it."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
