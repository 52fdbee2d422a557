import numpy as np
import pytest
import torch
from neurotwin.datamodules.chbmit_clips import CHBMITClipsDataModule
from neurotwin.errors import ConfigError, DataError
from neurotwin.models.seizure_net import SeizureNet
from neurotwin.tasks.seizure_detection import SeizureDetection
from neurotwin.tasks.seizure_prediction import slide
from neurotwin.tasks.streaming import StreamingDetector, chunks, milliseconds_per_window
from synthetic_eeg import RATE, Net, Synthetic, synthetic_recording
from torch import nn


@pytest.fixture
def datamodule():
    return Synthetic()


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def stream(detector, signal, sizes):
    """Feed the signal in chunks of the given sizes, over and over."""
    emissions, position, turn = [], 0, 0
    while position < signal.shape[1]:
        size = sizes[turn % len(sizes)]
        emissions += detector.push(signal[:, position : position + size])
        position, turn = position + size, turn + 1
    return emissions


@pytest.mark.parametrize(
    ("sizes", "step_s"),
    [
        ((32,), 1.0),  # one second at a time
        ((1,), 1.0),
        ((7, 50, 3), 1.0),  # no multiple of anything
        ((100_000,), 1.0),  # the whole file at once
        ((31,), 0.5),
        ((90, 11), 3.0),  # the step exceeds the window
    ],
)
def test_streaming_equals_offline(net, datamodule, sizes, step_s):
    recording = synthetic_recording("r", "", seed=5, duration_s=40.0)
    task = SeizureDetection(net, step_s=step_s)
    with torch.inference_mode():
        start_s, end_s, offline = slide(task.eval().probabilities, datamodule, recording, step_s)
    emissions = stream(task.streaming_detector(datamodule, 3, RATE), recording.signal, sizes)
    assert [e.start_s for e in emissions] == pytest.approx(start_s)
    assert [e.end_s for e in emissions] == pytest.approx(end_s)
    assert np.stack([e.probability for e in emissions]) == pytest.approx(offline, abs=1e-6)


@pytest.mark.parametrize("normalise", ["fixed", "window", "train"])
def test_streaming_scales_as_the_datamodule_does(net, datamodule, normalise):
    datamodule.normalise = normalise
    recording = synthetic_recording("r", "", seed=6, duration_s=30.0)
    task = SeizureDetection(net)
    with torch.inference_mode():
        _, _, offline = slide(task.eval().probabilities, datamodule, recording, 1.0)
    emissions = stream(task.streaming_detector(datamodule, 3, RATE), recording.signal, (32,))
    assert np.stack([e.probability for e in emissions]) == pytest.approx(offline, abs=1e-6)


@pytest.mark.data
def test_streaming_equals_offline_with_recurrent_layers_and_real_eeg(data_root):
    datamodule = CHBMITClipsDataModule(data_root / "eeg" / "chbmit_clips", cases=["chb01"], window_s=4.0)
    recording = max(datamodule.recordings, key=lambda recording: recording.duration_s)
    torch.manual_seed(0)
    task = SeizureDetection(SeizureNet(n_channels=18, n_outputs=2, n_times=512))
    windows, start_s = datamodule.windows_of(recording)
    ictal = torch.from_numpy(start_s < recording.events[0].duration_s).long()
    optimizer = torch.optim.Adam(task.parameters(), lr=0.01)
    for _ in range(15):  # an untrained network says the same of every window
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(task.model(windows), ictal).backward()
        optimizer.step()
    with torch.inference_mode():
        _, end_s, offline = slide(task.eval().probabilities, datamodule, recording, 1.0)
    emissions = stream(task.streaming_detector(datamodule, 18, 128.0), recording.signal, (128, 77, 300))
    assert [e.end_s for e in emissions] == pytest.approx(end_s)
    assert np.stack([e.probability for e in emissions]) == pytest.approx(offline, abs=1e-6)
    assert offline[:, 1].std() > 0.05


def test_nothing_is_said_before_the_first_window_is_full(net):
    detector = StreamingDetector(net, 3, RATE, window_s=2.0)
    signal = np.random.default_rng(0).standard_normal((3, 200)).astype(np.float32)
    assert detector.push(signal[:, :63]) == []
    (first,) = detector.push(signal[:, 63:64])
    assert (first.start_s, first.end_s) == (0.0, 2.0)
    assert first.probability.sum() == pytest.approx(1.0)


def test_reset_forgets_the_signal(net):
    detector = StreamingDetector(net, 3, RATE, window_s=2.0)
    signal = np.random.default_rng(0).standard_normal((3, 100)).astype(np.float32)
    before = detector.push(signal)
    detector.reset()
    after = detector.push(signal)
    assert [e.end_s for e in before] == [e.end_s for e in after] == [2.0, 3.0]
    assert after[1].probability == pytest.approx(before[1].probability, abs=0)


def test_a_statement_uses_no_later_sample(net):
    signal = np.random.default_rng(0).standard_normal((3, 160)).astype(np.float32)
    changed = signal.copy()
    changed[:, 96:] += 50.0  # from 3 s on
    first, second = (StreamingDetector(net, 3, RATE, window_s=2.0).push(s) for s in (signal, changed))
    assert [np.array_equal(a.probability, b.probability) for a, b in zip(first, second, strict=True)] == [
        True,
        True,
        False,
        False,
    ]


def test_latency_counts_the_pushes_that_emitted(net):
    detector = StreamingDetector(net, 3, RATE, window_s=2.0)
    assert np.isnan(detector.latency()["median_ms"])
    for chunk in chunks(np.zeros((3, 320), dtype=np.float32), 32):
        detector.push(chunk)
    latency = detector.latency()
    assert latency["steps"] == 9
    assert 0 < latency["median_ms"] <= latency["p99_ms"]


def test_chunks_cover_the_signal():
    parts = list(chunks(np.arange(10)[None], 4))
    assert [p.shape[1] for p in parts] == [4, 4, 2]
    assert np.concatenate(parts, axis=1).tolist() == [list(range(10))]


def test_time_of_a_window_leaves_model_and_threads_as_they_were():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(36, 2)).train()
    threads = torch.get_num_threads()
    assert milliseconds_per_window(model, 3, 12, repeats=3, warm_up=1) > 0
    assert model.training
    assert torch.get_num_threads() == threads


def test_wrong_channels_and_empty_windows_are_named(net):
    with pytest.raises(DataError, match=r"shape \(2, 10\), expected \(3, time\)"):
        StreamingDetector(net, 3, RATE, window_s=2.0).push(np.zeros((2, 10)))
    with pytest.raises(ConfigError, match=r"window_s=2\.0 and step_s=0\.001"):
        StreamingDetector(net, 3, RATE, window_s=2.0, step_s=0.001)
