"""The classic baselines: features against closed forms, fitting, checkpoints, and the bars on real recordings."""

import io
import math
import os

import numpy as np
import pytest
import skops.io
import torch
from neurotwin.errors import ConfigError, DataError
from neurotwin.models.classic import MiniRocketRidge, SpectralForest, SpectralLogisticRegression
from neurotwin.models.spectral_features import SpectralFeatures
from sklearn.model_selection import StratifiedGroupKFold
from torch.nn.functional import cross_entropy

RATE_HZ = 128.0


def sine(hz, amplitude=1.0, seconds=8):
    time = torch.arange(int(seconds * RATE_HZ), dtype=torch.float64) / RATE_HZ
    return amplitude * torch.sin(2 * math.pi * hz * time)


def toy(n=80, channels=1, seed=0):
    """Two classes, 5 Hz and 12 Hz rhythms in noise."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(n) % 2
    rhythm = torch.stack([sine(5.0 if target == 0 else 12.0, seconds=2) for target in targets])
    noise = torch.randn(n, channels, 256, generator=generator)
    return (rhythm.unsqueeze(1) + 0.7 * noise).float(), targets


def column(features, values, name):
    return values[:, features.names.index(name)]


class TestFeatures:
    @pytest.mark.parametrize(("channels", "count"), [(1, 29), (18, 61), (3, 61)])
    def test_count_and_names(self, channels, count):
        features = SpectralFeatures(channels, RATE_HZ)
        values = features(torch.randn(5, channels, 512))
        assert values.shape == (5, count)
        assert features.n_features == len(set(features.names)) == count

    def test_a_sine_has_the_power_frequency_and_mobility_of_theory(self):
        features = SpectralFeatures(1, RATE_HZ)
        values = features(torch.stack([sine(10.0, amplitude=3.0), sine(6.0)])[:, None])
        assert column(features, values, "log_alpha")[0].exp().item() == pytest.approx(9 / 2, rel=1e-6)
        assert column(features, values, "relative_alpha")[0].item() == pytest.approx(1.0, abs=1e-6)
        assert column(features, values, "relative_theta")[1].item() == pytest.approx(1.0, abs=1e-6)
        assert column(features, values, "peak_hz").tolist() == pytest.approx([10.0, 6.0])
        # Hjorth mobility of a sampled sine of f Hz is 2 sin(pi f / rate); its complexity is 1.
        assert column(features, values, "mobility")[0].item() == pytest.approx(
            2 * math.sin(math.pi * 10 / 128), rel=5e-3
        )
        assert column(features, values, "complexity")[0].item() == pytest.approx(1.0, rel=5e-3)
        assert column(features, values, "zero_crossings_hz")[1].item() == pytest.approx(12.0, rel=0.03)
        assert column(features, values, "log_kurtosis")[0].exp().item() == pytest.approx(1.5, rel=1e-3)

    def test_gain_shifts_log_features_and_leaves_shape_features(self):
        features = SpectralFeatures(1, RATE_HZ)
        x = torch.randn(4, 1, 512)
        one, ten = features(x), features(10 * x)
        for name in features.names:
            shift = {"log_line_length": math.log(10), "log_peak_to_peak": math.log(10)}.get(name, 0.0)
            if name.startswith("log_quantile"):
                shift = math.log(10)
            elif name in ("log_power", "log_activity", "log_teager_energy", *features.names[:5]):
                shift = math.log(100)
            difference = column(features, ten, name) - column(features, one, name)
            torch.testing.assert_close(difference, torch.full_like(difference, shift), atol=1e-4, rtol=0)

    def test_montage_features_ignore_the_order_of_channels(self):
        x = torch.randn(3, 6, 512)
        features = SpectralFeatures(6, RATE_HZ)
        torch.testing.assert_close(features(x), features(x[:, torch.randperm(6)]))

    def test_correlation_eigenvalues_of_identical_and_of_independent_channels(self):
        features = SpectralFeatures(4, RATE_HZ)
        same = features(torch.randn(1, 1, 512).expand(1, 4, 512))[0, -4:]
        torch.testing.assert_close(same, torch.tensor([1.0, 0, 0, 0], dtype=torch.float64), atol=1e-6, rtol=0)
        independent = features(torch.randn(1, 4, 20_000))[0, -4:]
        torch.testing.assert_close(independent, torch.full((4,), 0.25, dtype=torch.float64), atol=0.02, rtol=0)

    @pytest.mark.parametrize("channels", [1, 18])
    def test_flat_windows_give_finite_features(self, channels):
        assert torch.isfinite(SpectralFeatures(channels, RATE_HZ)(torch.zeros(2, channels, 512))).all()

    def test_errors_name_the_cause(self):
        with pytest.raises(ConfigError, match=r"sampling_rate_hz=64 is too low .* at least 90 Hz"):
            SpectralFeatures(1, 64.0)
        with pytest.raises(ConfigError, match=r"expect windows \(n, 18, time\), got \(2, 3, 512\)"):
            SpectralFeatures(18, RATE_HZ)(torch.zeros(2, 3, 512))
        with pytest.raises(ConfigError, match=r"at least 1 s .128 samples., got 100"):
            SpectralFeatures(1, RATE_HZ)(torch.zeros(2, 1, 100))


MODELS = {
    "logreg": lambda **more: SpectralLogisticRegression(1, 2, RATE_HZ, **more),
    "forest": lambda **more: SpectralForest(1, 2, RATE_HZ, n_trees=20, **more),
    "minirocket": lambda **more: MiniRocketRidge(2, n_kernels=168, decimate=2, **more),
}


@pytest.mark.parametrize("build", MODELS.values(), ids=MODELS.keys())
class TestModels:
    def test_learns_and_gives_log_probabilities(self, build):
        model = build()
        model.fit(*toy())
        inputs, targets = toy(seed=1)
        logits = model(inputs)
        assert logits.dtype == torch.float32
        torch.testing.assert_close(logits.exp().sum(1), torch.ones(len(inputs)), atol=1e-4, rtol=0)
        assert (logits.argmax(1) == targets).float().mean() > 0.95
        assert cross_entropy(logits, targets) < 0.3

    def test_checkpoint_round_trip_without_pickle(self, build):
        model, fresh = build(), build()
        model.fit(*toy())
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        fresh.load_state_dict(torch.load(file, weights_only=True))
        inputs, _ = toy(seed=1)
        assert torch.equal(fresh(inputs), model(inputs))

    def test_same_seed_same_model(self, build):
        first, second = build(seed=3), build(seed=3)
        inputs, targets = toy()
        first.fit(inputs, targets)
        second.fit(inputs, targets)
        assert torch.equal(first(inputs), second(inputs))

    def test_unfitted_model_round_trips_and_refuses_to_classify(self, build):
        model = build()
        model.load_state_dict(build().state_dict())
        with pytest.raises(ConfigError, match="is not fitted: train it first"):
            model(toy()[0])

    def test_one_class_cannot_be_fitted(self, build):
        with pytest.raises(DataError, match=r"cannot be fitted to classes \[0\] of n_outputs=2"):
            build().fit(torch.randn(4, 1, 256), torch.zeros(4, dtype=torch.long))


def test_a_class_missing_from_training_keeps_its_column():
    model = SpectralLogisticRegression(1, 4, RATE_HZ)
    inputs, targets = toy()
    model.fit(inputs, targets * 2 + 1)
    logits = model(inputs)
    assert logits.shape == (80, 4)
    assert (logits[:, [0, 2]].exp() < 2e-6).all()
    assert (logits.argmax(1) == targets * 2 + 1).float().mean() > 0.95


def test_minirocket_needs_kernels_and_samples():
    with pytest.raises(ConfigError, match="n_kernels=10, decimate=1"):
        MiniRocketRidge(2, n_kernels=10)
    with pytest.raises(ConfigError, match="at least 18 samples with decimate=2, got 16"):
        MiniRocketRidge(2, decimate=2).fit(torch.randn(4, 1, 16), torch.tensor([0, 1, 0, 1]))


class TestHostileCheckpoints:
    @staticmethod
    def load(archive):
        MODELS["forest"]().set_extra_state(torch.frombuffer(bytearray(archive), dtype=torch.uint8))

    def test_code_is_refused(self):
        with pytest.raises(DataError, match="holds types that it never writes, so it was not loaded"):
            self.load(skops.io.dumps({"run": os.system}))

    def test_damaged_bytes_are_named(self):
        with pytest.raises(DataError, match=r"the checkpoint of SpectralForest is damaged"):
            self.load(b"not an archive")

    @pytest.mark.parametrize("bad", ["left_child", "feature"])
    def test_tree_indices_are_checked(self, bad):
        model = MODELS["forest"]()
        model.fit(*toy())
        tree = model.estimator.estimators_[0].tree_
        state = tree.__getstate__()
        state["nodes"][bad][0] = 10_000
        tree.__setstate__(state)
        with pytest.raises(DataError, match="a decision tree"):
            self.load(skops.io.dumps(model.estimator))


@pytest.mark.data
def test_bars_on_bonn_by_simultaneity_group(data_root):
    """Five classes, whole recordings, groups of simultaneous channels kept together; published bars .845 and .82."""
    packed = np.load(data_root / "eeg" / "bonn" / "bonn.npz")
    signal = torch.from_numpy(np.concatenate([packed[name] for name in "ZONFS"]).astype(np.float32))[:, None]
    targets, groups = torch.arange(500) // 100, packed["groups_t030"]
    hits = {"logreg": [], "forest": []}
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(targets, targets, groups):
        for name, kind in (("logreg", SpectralLogisticRegression), ("forest", SpectralForest)):
            model = kind(1, 5, float(packed["fs"]))
            model.fit(signal[train], targets[train])
            hits[name].extend((model(signal[test]).argmax(1) == targets[test]).tolist())
    assert np.mean(hits["logreg"]) == pytest.approx(0.845, abs=0.02)
    assert np.mean(hits["forest"]) == pytest.approx(0.82, abs=0.03)
