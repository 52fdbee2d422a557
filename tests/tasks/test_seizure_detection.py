import csv

import numpy as np
import pytest
import torch
from lightning import LightningDataModule, Trainer
from neurotwin.contracts import EEGBatch
from neurotwin.datamodules.formats.szcore_tsv import read_szcore_tsv
from neurotwin.errors import ConfigError, DataError
from neurotwin.metrics.alarm_curve import alarm_scores
from neurotwin.metrics.seizure_scores import best_threshold, score_rows
from neurotwin.tasks import seizure_prediction
from neurotwin.tasks.seizure_detection import SeizureDetection
from neurotwin.tasks.seizure_prediction import slide
from synthetic_eeg import Net, Synthetic, synthetic_recording
from torch import nn


@pytest.fixture
def datamodule():
    return Synthetic()


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.02)


def trainer(epochs=3):
    return Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@pytest.fixture
def fitted(net, datamodule):
    task = SeizureDetection(net, adam)
    torch.manual_seed(0)
    task.loop = trainer()
    task.loop.fit(task, datamodule=datamodule)
    return task


def batch_of(signal, target):
    n = len(target)
    index = torch.arange(n)
    return EEGBatch(signal, torch.tensor(target), index, index, index, torch.zeros(n, dtype=torch.float64))


class Fixed(nn.Module):
    """Gives the same logits whatever comes."""

    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, signal):
        return self.logits[: len(signal)]


def test_fit_test_and_score(fitted, datamodule):
    logged = set(fitted.loop.callback_metrics)
    assert logged >= fitted.logged_metrics - {"test/loss"}
    assert fitted.loop.callback_metrics["val/auroc"] > 0.95
    fitted.loop.test(fitted, datamodule=datamodule, verbose=False)
    rows = fitted.predictions
    assert rows["window"].tolist() == sorted(datamodule.split()["test"].tolist())
    assert rows["target"].tolist() == datamodule.windows["target"].iloc[rows["window"]].tolist()
    scores = SeizureDetection.score(rows)
    assert scores["auroc"] > 0.95
    assert scores["event_sensitivity"] == 1.0
    assert scores["event_delay_median_s"] <= 4.0
    assert scores == {**score_rows(rows), **alarm_scores(rows)}


def test_training_loss_falls_on_one_batch(net, datamodule):
    datamodule.setup("fit")
    batch = next(iter(datamodule.train_dataloader()))
    task, before = SeizureDetection(net, adam), None
    optimizer = task.configure_optimizers()
    for _ in range(30):
        optimizer.zero_grad()
        loss = task.step(batch, "train")
        before = before or loss.item()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * before


def test_losses_by_hand():
    batch = batch_of(torch.zeros(2, 1, 4), [0, 1])
    logits = [[2.0, 0.0], [2.0, 0.0]]
    plain = torch.tensor([np.log1p(np.exp(-2.0)), 2 + np.log1p(np.exp(-2.0))])
    smooth = SeizureDetection(Fixed(logits), label_smoothing=0.2)
    # Smoothing mixes in a tenth of the other class's loss; validation stays plain.
    assert smooth.step(batch, "train").item() == pytest.approx(float((0.9 * plain + 0.1 * plain.flip(0)).mean()))
    assert smooth.step(batch, "val").item() == pytest.approx(float(plain.mean()))
    weighted = SeizureDetection(Fixed(logits), class_weights=[1.0, 3.0])
    weighted.loss_weights = torch.tensor([1.0, 3.0])
    assert weighted.step(batch, "train").item() == pytest.approx(float((plain[0] + 3 * plain[1]) / 4))
    assert weighted.step(batch, "test").item() == pytest.approx(float(plain.mean()))


def test_balanced_weights_come_from_the_training_windows(datamodule, net):
    task = SeizureDetection(net, adam, class_weights="balanced")
    trainer(1).fit(task, datamodule=datamodule)
    target = datamodule.windows["target"].to_numpy()[datamodule.split()["train"]]
    expected = len(target) / (2 * np.bincount(target))
    assert task.loss_weights.numpy() == pytest.approx(expected, rel=1e-6)
    assert "loss_weights" not in task.state_dict()


def test_threshold_is_midway_where_youden_is_largest():
    assert best_threshold(np.array([0.1, 0.2, 0.7, 0.9]), np.array([0, 0, 1, 1])) == pytest.approx(0.45)
    # .3 splits off all positives at the price of one false alarm, .6 misses one positive of three.
    values, target = np.array([0.1, 0.2, 0.35, 0.5, 0.4, 0.7, 0.8]), np.array([0, 0, 0, 0, 1, 1, 1])
    assert best_threshold(values, target) == pytest.approx((0.35 + 0.4) / 2)
    assert best_threshold(values, np.ones(7, dtype=int)) == 0.5
    assert best_threshold(np.array([0.9, 0.1]), np.array([0, 1])) == 0.5  # worse than chance


def test_threshold_comes_from_validation_and_travels_in_the_checkpoint(fitted, datamodule):
    rows = datamodule.split()["val"]
    with torch.no_grad():
        probability = fitted.probabilities(torch.from_numpy(datamodule.signal(rows))).numpy()
    expected = best_threshold(probability[:, 1], datamodule.windows["target"].to_numpy()[rows])
    assert float(fitted.decision_threshold) == pytest.approx(expected, abs=1e-6)
    assert expected != 0.5
    copy = SeizureDetection(Net())
    copy.load_state_dict(fitted.state_dict())
    assert float(copy.decision_threshold) == float(fitted.decision_threshold)
    assert float(copy.window_s) == 2.0
    assert bool(copy.scores_events)


def test_given_threshold_is_kept(net, datamodule):
    task = SeizureDetection(net, adam, threshold=0.3)
    loop = trainer(1)
    loop.fit(task, datamodule=datamodule)
    loop.test(task, datamodule=datamodule, verbose=False)
    assert task.predictions["threshold"] == pytest.approx(0.3)


def test_test_needs_no_datamodule_after_loading(fitted, datamodule):
    """A stored run is evaluated with bare loaders: all that scoring needs is in the checkpoint."""
    copy = SeizureDetection(Net())
    copy.load_state_dict(fitted.state_dict())
    trainer().test(copy, dataloaders=datamodule.test_dataloader(), verbose=False)
    assert "event_f1" in SeizureDetection.score(copy.predictions)


def test_recordings_of_one_class_are_not_scored_as_events(net, datamodule):
    for recording in datamodule.recordings:
        recording.label, recording.events = int(recording.name[1:]) % 2, []
    task, loop = SeizureDetection(net, adam), trainer(1)
    loop.fit(task, datamodule=datamodule)
    loop.test(task, datamodule=datamodule, verbose=False)
    scores = SeizureDetection.score(task.predictions)
    assert "recording_accuracy" in scores
    assert "event_f1" not in scores


def test_closed_form_models_get_windows_and_classes(net):
    batch = batch_of(torch.randn(3, 1, 4), [0, 1, 1])
    signal, target = SeizureDetection(net).fit_data(batch)
    assert signal is batch.signal
    assert target is batch.target


def test_long_recordings_are_judged_in_parts(net, datamodule, monkeypatch):
    recording = synthetic_recording("long", "", seed=3, duration_s=123.4)
    task = SeizureDetection(net)
    with torch.inference_mode():
        whole = slide(task.probabilities, datamodule, recording, 0.75)
        monkeypatch.setattr(seizure_prediction, "_PART_S", 10.0)
        sizes = []
        parts = slide(lambda w: sizes.append(len(w)) or task.probabilities(w), datamodule, recording, 0.75)
    assert len(sizes) == 13
    for one, other in zip(whole, parts, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert whole[0][-1] + 2.0 <= 123.4 < whole[0][-1] + 2.0 + 0.75


def test_predict_writes_annotations_probabilities_and_figure(fitted, datamodule, tmp_path):
    paths = fitted.predict_file(datamodule, tmp_path / "night.edf", tmp_path / "out")
    assert [p.name for p in paths] == ["night_events.tsv", "night_probability.csv", "night.png"]
    annotations = read_szcore_tsv(paths[0])
    assert annotations.recording_duration_s == 200.0
    longest = max(annotations.events, key=lambda event: event.duration_s)
    assert longest.onset_s == pytest.approx(30.0, abs=3.0)
    assert longest.onset_s + longest.duration_s == pytest.approx(54.0, abs=3.0)
    with paths[1].open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == ["time_s", "background", "ictal"]
    assert [float(row["time_s"]) for row in table] == pytest.approx(np.arange(2.0, 201.0))
    assert float(table[45]["ictal"]) > float(fitted.decision_threshold)
    assert paths[2].read_bytes()[:4] == b"\x89PNG"


def test_predict_refuses_what_is_shorter_than_a_window(fitted, datamodule, tmp_path, monkeypatch):
    monkeypatch.setattr(datamodule, "read", lambda path: [synthetic_recording("tiny", "", seed=0, duration_s=1.0)])
    with pytest.raises(DataError, match="tiny: 1 s are shorter than one window of 2 s"):
        fitted.predict_file(datamodule, tmp_path / "tiny.edf", tmp_path)


def test_figures_after_the_test(fitted, datamodule, tmp_path):
    fitted.loop.test(fitted, datamodule=datamodule, verbose=False)
    names = [path.name for path in fitted.figures(tmp_path, datamodule)]
    assert names == [
        "classification.png",
        "detections.png",
        "alarms.png",
    ]  # one subject in the test fold: no comparison of subjects
    fitted.predictions["subject"] = fitted.predictions["recording"].copy()
    names = [path.name for path in fitted.figures(tmp_path, datamodule)]
    assert names == ["classification.png", "subjects.png", "detections.png", "alarms.png"]
    assert all((tmp_path / name).stat().st_size > 10_000 for name in names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_weights": "ballanced"}, r"task\.class_weights='ballanced': give 'balanced', one number a class"),
        ({"label_smoothing": 1.5}, r"task\.label_smoothing=1\.5: must lie between 0 and 1"),
        ({"threshold": -0.1}, r"task\.threshold=-0\.1: must lie between 0 and 1"),
        ({"merge_gap_s": -1.0}, r"task\.merge_gap_s=-1\.0: must lie between 0 and inf"),
        ({"step_s": 0.0}, r"task\.step_s=0\.0: must be positive"),
    ],
)
def test_wrong_settings_are_named(net, arguments, message):
    with pytest.raises(ConfigError, match=message):
        SeizureDetection(net, **arguments)


def test_wrong_number_of_class_weights_is_named(net, datamodule):
    with pytest.raises(ConfigError, match=r"class_weights has 3 numbers, but the data have 2 classes"):
        trainer(1).fit(SeizureDetection(net, adam, class_weights=[1.0, 2.0, 3.0]), datamodule=datamodule)


def test_data_without_windows_are_named(net):
    class Other(LightningDataModule):
        def train_dataloader(self):
            return []

    with pytest.raises(ConfigError, match="SeizureDetection needs windows of EEG, which Other has not"):
        trainer(1).fit(SeizureDetection(net, adam), datamodule=Other())


def test_event_threshold_is_named_when_it_cannot_be():
    with pytest.raises(ConfigError, match=r"task.threshold_rule='event_f2': did you mean 'event_f1'"):
        SeizureDetection(torch.nn.Identity(), threshold_rule="event_f2")
