"""Seizure detection: windows of EEG into classes, windows into events, files into annotations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..contracts import DataSpec, EEGBatch, Predictions, Recording
from ..errors import ConfigError, did_you_mean
from ..metrics.alarm_curve import alarm_scores, best_event_threshold
from ..metrics.seizure_events import detect_events
from ..metrics.seizure_scores import best_threshold, require_finite, score_rows
from ..plotting import browsed
from .base import BaseTask, gather
from .recording_figure import recording_figure
from .seizure_figures import (
    alarm_figure,
    classification_figure,
    median_recording,
    ranked_recordings,
    subject_figure,
)
from .seizure_plots import alarm_plot, recording_plot
from .seizure_prediction import Prediction, slide, write_prediction
from .streaming import StreamingDetector

THRESHOLD_RULES = ("youden", "event_f1")
#: Scores of the validation windows that are logged every epoch, as :func:`score_rows` names them.
VALIDATION_SCORES = ("accuracy", "balanced_accuracy", "f1_macro", "auroc", "ece", "brier")


class SeizureDetection(BaseTask):
    """Cross-entropy over windows of EEG; the last class is the seizure.

    With two classes the decision threshold is chosen on the validation windows at the end of every epoch, by
    ``threshold_rule``, and stored in the checkpoint; test data never touch it. Validation and test are scored
    by one function, :func:`~neurotwin.metrics.seizure_scores.score_rows`, whose docstring lists every name.

    Args:
        model: Maps ``(batch, channel, time)`` to logits ``(batch, class)``.
        optimizer: See :class:`BaseTask`.
        scheduler: See :class:`BaseTask`.
        objective: See :class:`BaseTask`.
        label_smoothing: Share of the target that is spread over all classes in training. ``val/loss`` and
            ``test/loss`` are plain cross-entropy, so that they compare across settings.
        class_weights: Weights of the classes in the training loss: one number a class, ``balanced`` (inverse
            frequency in the training windows, mean 1 over the windows) or ``None``.
        threshold: Fixed decision threshold of two classes; ``None`` chooses it on the validation windows, or takes
            0.5 where there are none.
        threshold_rule: ``youden`` takes the largest sensitivity + specificity of windows; ``event_f1`` the best F1 of
            events in continuous recordings, where rare windows of background make most alarms.
        continuous: Whether recordings run through seizures, so that detections are scored as events. ``None``: when
            there are two classes and some recording holds both.
        step_s: Step of the windows when a file is predicted, s.
        merge_gap_s: Detections closer than this become one event, s.
        min_duration_s: Shorter events are dropped, s.
    """

    needs = ("store", "windows of EEG")
    logged_metrics: ClassVar[frozenset[str]] = frozenset(
        {"train/loss", "val/loss", "test/loss", *(f"val/{name}" for name in VALIDATION_SCORES)}
    )
    decision_threshold: Tensor
    window_s: Tensor
    scores_events: Tensor

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer] | None = None,
        scheduler: Callable[..., Any] | None = None,
        objective: str | None = "val/loss",
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | str | None = None,
        threshold: float | None = None,
        threshold_rule: str = "youden",
        continuous: bool | None = None,
        step_s: float = 1.0,
        merge_gap_s: float = 10.0,
        min_duration_s: float = 0.0,
    ):
        super().__init__(model, optimizer, scheduler, objective)
        if isinstance(class_weights, str) and class_weights != "balanced":
            raise ConfigError(f"task.class_weights={class_weights!r}: give 'balanced', one number a class, or null")
        for name, value, low, high in (
            ("label_smoothing", label_smoothing, 0.0, 1.0),
            ("threshold", threshold, 0.0, 1.0),
            ("merge_gap_s", merge_gap_s, 0.0, np.inf),
            ("min_duration_s", min_duration_s, 0.0, np.inf),
        ):
            if value is not None and not low <= value <= high:
                raise ConfigError(f"task.{name}={value}: must lie between {low:g} and {high:g}")
        if threshold_rule not in THRESHOLD_RULES:
            raise ConfigError(
                f"task.threshold_rule={threshold_rule!r}: {did_you_mean(threshold_rule, THRESHOLD_RULES)}"
            )
        if step_s <= 0:
            raise ConfigError(f"task.step_s={step_s}: must be positive")
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.threshold = threshold
        self.threshold_rule = threshold_rule
        self.continuous = continuous
        self.step_s = step_s
        self.merge_gap_s = merge_gap_s
        self.min_duration_s = min_duration_s
        # In the checkpoint, because a run is evaluated and applied to files without its training data.
        self.register_buffer("decision_threshold", torch.tensor(0.5 if threshold is None else float(threshold)))
        self.register_buffer("window_s", torch.tensor(float("nan"), dtype=torch.float64))
        self.register_buffer("scores_events", torch.tensor(bool(continuous)))
        # No buffer: a callback that averages weights has copied the task before the data tell how many there are.
        self.loss_weights: Tensor | None = None

    def setup(self, stage: str) -> None:
        """Lightning hook: learn from the datamodule what the loss and the scores need to know."""
        super().setup(stage)
        datamodule = getattr(self.trainer, "datamodule", None)
        if datamodule is None:
            return
        spec, table = datamodule.spec, datamodule.windows
        self.window_s.fill_(spec.n_times / spec.sampling_rate_hz)
        if self.continuous is None:
            mixed = (table.groupby("recording")["target"].nunique() > 1).any()
            self.scores_events.fill_(bool(mixed) and spec.n_outputs == 2)
        if self.threshold_rule == "event_f1" and not self.scores_events:
            raise ConfigError(
                "task.threshold_rule='event_f1' needs recordings that run through seizures and two classes, which "
                f"{type(datamodule).__name__} does not give here; choose youden"
            )
        if stage == "fit" and self.class_weights is not None:
            self.loss_weights = self._weights(spec.n_outputs, datamodule)

    def _weights(self, classes: int, datamodule: Any) -> Tensor:
        if self.class_weights == "balanced":
            target = datamodule.windows["target"].to_numpy()[datamodule.split()["train"]]
            count = np.bincount(target, minlength=classes)
            present = np.count_nonzero(count)
            return torch.tensor(len(target) / (present * np.maximum(count, 1)), dtype=torch.float32)
        weights = torch.tensor(self.class_weights, dtype=torch.float32)
        if len(weights) != classes:
            raise ConfigError(f"task.class_weights has {len(weights)} numbers, but the data have {classes} classes")
        return weights

    def step(self, batch: EEGBatch, stage: str) -> Tensor:
        """Cross-entropy of a batch."""
        return self._forward(batch, stage)[0]

    def _forward(self, batch: EEGBatch, stage: str) -> tuple[Tensor, Tensor]:
        logits = self.model(batch.signal)
        weight, smoothing = (self.loss_weights, self.label_smoothing) if stage == "train" else (None, 0.0)
        weight = None if weight is None else weight.to(logits.device)
        loss = functional.cross_entropy(logits, batch.target, weight, label_smoothing=smoothing)
        self.log(
            f"{stage}/loss",
            loss,
            batch_size=len(batch.target),
            on_step=False,
            on_epoch=True,
            sync_dist=stage != "train",
        )
        return loss, logits

    def fit_data(self, batch: EEGBatch) -> tuple[Tensor, Tensor]:
        """Windows and classes for a model that is fitted in closed form."""
        return batch.signal, batch.target

    def predict_rows(self, batch: EEGBatch) -> dict[str, Tensor]:
        """Probability, target, identity and decision rule of every window."""
        return self._rows_of(batch, self.model(batch.signal))

    def _rows_of(self, batch: EEGBatch, logits: Tensor) -> dict[str, Tensor]:
        def constant(value: Tensor | float) -> Tensor:
            return torch.as_tensor(value, device=batch.target.device).expand(len(batch.target))

        rows = {
            "probability": logits.float().softmax(dim=-1),
            "target": batch.target,
            "window": batch.window,
            "recording": batch.recording,
            "subject": batch.subject,
            "start_s": batch.start_s,
            "threshold": constant(self.decision_threshold),
        }
        if self.scores_events:
            rows["end_s"] = batch.start_s + self.window_s
            rows["merge_gap_s"] = constant(self.merge_gap_s)
            rows["min_duration_s"] = constant(self.min_duration_s)
        return rows

    @classmethod
    def score(cls, predictions: Predictions) -> dict[str, float]:
        """See ``score_rows`` in ``metrics/seizure_scores.py`` and ``alarm_scores`` in ``metrics/alarm_curve.py``."""
        return {**score_rows(predictions), **alarm_scores(predictions)}

    def _keep(self, batch: EEGBatch, stage: str) -> None:
        _, logits = self._forward(batch, stage)
        self._rows.append({name: value.detach().cpu() for name, value in self._rows_of(batch, logits).items()})

    def validation_step(self, batch: EEGBatch, batch_idx: int) -> None:
        """Lightning hook."""
        self._keep(batch, "val")

    def test_step(self, batch: EEGBatch, batch_idx: int) -> None:
        """Lightning hook."""
        self._keep(batch, "test")

    def on_validation_epoch_start(self) -> None:
        """Lightning hook."""
        self._rows = []

    def on_validation_epoch_end(self) -> None:
        """Choose the decision threshold, then score the validation windows with it."""
        rows = gather(self._rows)
        self._rows = []
        if self.trainer.sanity_checking:
            return
        require_finite(rows["probability"])
        if self.threshold is None and rows["probability"].shape[1] == 2:
            youden = self.threshold_rule == "youden"
            found = best_threshold(rows["probability"][:, 1], rows["target"]) if youden else best_event_threshold(rows)
            self.decision_threshold.fill_(found)
            rows["threshold"] = np.full(len(rows["target"]), self.decision_threshold.item(), dtype=np.float32)
        scores = score_rows(rows)
        for name in VALIDATION_SCORES:
            # A validation set of one class ranks nothing; NaN would end the fit through early stopping.
            value = scores[name] if np.isfinite(scores[name]) else 0.5
            self.log(f"val/{name}", value, sync_dist=True)

    def probabilities(self, signal: Tensor) -> Tensor:
        """Class probabilities of normalised windows, ``(batch, channel, time)`` to ``(batch, class)``."""
        return self.model(signal.to(self.device)).float().softmax(dim=-1)

    @torch.inference_mode()
    def predict_recording(self, datamodule: Any, recording: Recording) -> Prediction:
        """Judge a recording every ``step_s`` and turn the windows into events.

        Args:
            datamodule: Gives windows their length and scaling; needs no training data.
            recording: With the montage and the sampling rate of the training data.
        """
        self.eval()
        start_s, end_s, probability = slide(self.probabilities, datamodule, recording, self.step_s)
        threshold = float(self.decision_threshold)
        events = detect_events(start_s, end_s, probability[:, -1], threshold, self.merge_gap_s, self.min_duration_s)
        return Prediction(recording, start_s, end_s, probability, threshold, events)

    def streaming_detector(self, datamodule: Any, n_channels: int, sampling_rate_hz: float) -> StreamingDetector:
        """The causal form of :meth:`predict_recording`: takes µV as they come, emits every ``step_s``."""
        normalise = datamodule.normaliser()
        return StreamingDetector(
            self.model,
            n_channels,
            sampling_rate_hz,
            window_s=datamodule.window_length(sampling_rate_hz) / sampling_rate_hz,
            step_s=self.step_s,
            transform=lambda windows: torch.from_numpy(normalise(windows.numpy())),
        )

    def predict_file(self, datamodule: Any, source: Path, target: Path) -> list[Path]:
        """Detect seizures in a user's recording; see :func:`~.seizure_prediction.write_prediction` for the files.

        Args:
            datamodule: Reads ``source`` with the montage and filters of the training data and writes annotations.
            source: A recording.
            target: Folder for the results.
        """
        predictions = (self.predict_recording(datamodule, recording) for recording in datamodule.read(source))
        return [path for prediction in predictions for path in write_prediction(prediction, datamodule, target)]

    def figures(self, folder: Path, datamodule: Any) -> list[Path]:
        """Confusion and calibration; ROC of each subject; the detections in the median recording of the test set."""
        rows, recordings = self.predictions, datamodule.recordings
        if not rows:
            return []
        drawn = [classification_figure(rows, datamodule.class_names, folder / "classification.png")]
        if "subject_auroc_mean" in self.score(rows) and rows["probability"].shape[1] == 2:
            pairs = zip(rows["subject"].tolist(), rows["recording"].tolist(), strict=True)
            names = {subject: recordings[recording].subject for subject, recording in set(pairs)}
            drawn.append(subject_figure(rows, names, folder / "subjects.png"))
        if (example := self._example(datamodule)) is not None:
            drawn.append(recording_figure(example, folder / "detections.png"))
            drawn.append(alarm_figure(rows, folder / "alarms.png"))
        return drawn

    def export_example(self, spec: DataSpec) -> tuple[dict[str, Tensor], str]:
        """Normalised windows in, logits out."""
        return {"signal": torch.randn(2, spec.n_channels or 1, spec.n_times or 1)}, "logits"

    def plots(self, datamodule: Any) -> dict[str, Any]:
        """Recordings of the test set separated worst, as in the median (``detections``) and best; the alarm curve."""
        ranked = ranked_recordings(self.predictions) if self.predictions and self.scores_events else []
        if not ranked:
            return {}
        places = {"detections_worst": 0, "detections": (len(ranked) - 1) // 2, "detections_best": len(ranked) - 1}
        chosen = {ranked[place]: name for name, place in sorted(places.items(), reverse=True)}  # the median wins a tie
        drawn = {
            name: recording_plot(self.predict_recording(datamodule, datamodule.recordings[index]))
            for index, name in sorted(chosen.items(), key=lambda item: ranked.index(item[0]))
        }
        return {**browsed(drawn, "Recording"), "alarms": alarm_plot(self.predictions)}

    def _example(self, datamodule: Any) -> Prediction | None:
        if not self.scores_events or (index := median_recording(self.predictions)) is None:
            return None
        return self.predict_recording(datamodule, datamodule.recordings[index])
