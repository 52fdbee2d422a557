"""The montage ensemble: what its features must and must not depend on, checkpoints, and its bar on real patients."""

import io
import math

import numpy as np
import pytest
import skops.io
import torch
from neurotwin.datamodules.chbmit_clips import CHBMITClipsDataModule
from neurotwin.errors import ConfigError, DataError
from neurotwin.models.montage_ensemble import MontageEnsemble
from neurotwin.models.montage_features import MontageFeatures, homologous_pairs
from sklearn.metrics import roc_auc_score

RATE_HZ = 128.0


@pytest.fixture(scope="module")
def features():
    return MontageFeatures(6, RATE_HZ)


def noise(n=4, channels=6, seed=0):
    return torch.randn(n, channels, 512, generator=torch.Generator().manual_seed(seed))


def toy(n=60, seed=0):
    """Background against a 5 Hz rhythm shared by the channels."""
    targets = torch.arange(n) % 2
    rhythm = torch.sin(2 * math.pi * 5 * torch.arange(512) / RATE_HZ)
    return noise(n, seed=seed) + 1.5 * targets[:, None, None] * rhythm, targets


def build(**more):
    return MontageEnsemble(6, 2, RATE_HZ, n_trees=10, **more)


class TestFeatures:
    @pytest.mark.parametrize("channels", [4, 18])
    def test_count_does_not_depend_on_channels(self, channels):
        values = MontageFeatures(channels, RATE_HZ)(noise(channels=channels))
        assert values.shape == (4, 612)
        assert torch.isfinite(values).all()

    @pytest.mark.parametrize(
        ("names", "pairs"),
        [
            (["F3", "Cz", "F4", "T8", "T7"], ((0, 2), (4, 3))),
            (["FP1-F7", "FZ-CZ", "FP2-F8", "F7-T7"], ((0, 2),)),
            (["F3-C4", "F4-C5"], ()),
            (["E1x", "grid"], ()),
            ([], ()),
        ],
    )
    def test_homologous_pairs(self, names, pairs):
        assert homologous_pairs(names) == pairs

    def test_sides_are_compared_without_regard_to_side(self):
        sided = MontageFeatures(6, RATE_HZ, ("F3", "C3", "P3", "F4", "C4", "P4"))
        x = noise()
        x[:, :3] *= 4
        values = sided(x)
        assert values.shape == (4, sided.n_features) == (4, 742)
        torch.testing.assert_close(sided(x[:, [3, 4, 5, 0, 1, 2]]), values, atol=1e-6, rtol=1e-6)
        # The 25th power/waveform/rhythm descriptor is the log standard deviation: left is four times right.
        log_std = values[:, -2 * 59 + 24]
        assert log_std.tolist() == pytest.approx([math.log(4)] * 4, abs=0.15)

    def test_order_of_channels_does_not_matter(self, features):
        x = noise()
        shuffled = x[:, torch.tensor([3, 0, 5, 1, 4, 2])]
        torch.testing.assert_close(features(shuffled), features(x), atol=1e-6, rtol=1e-6)

    def test_a_window_is_described_by_itself(self, features):
        x = noise()
        torch.testing.assert_close(features(x)[2:3], features(x[2:3]))

    def test_flat_windows_and_flat_channels_stay_finite(self, features):
        x = noise()
        x[0], x[1, 2] = 0.0, 0.0
        assert torch.isfinite(features(x)).all()

    def test_a_rhythm_is_found_at_its_frequency(self, features):
        time = torch.arange(512, dtype=torch.float64) / RATE_HZ
        x = torch.sin(2 * math.pi * 6 * time).expand(1, 6, 512) + 0.01 * noise(1)
        height, lag, trough = features._autocorrelation(x)
        # Whole periods return equally: of 1 to 5 periods of 1/6 s, three fit the sampling grid exactly.
        assert ((lag.exp() - 1) / RATE_HZ).flatten().tolist() == pytest.approx([3 / 6] * 6, abs=1e-5)
        assert height.min() > 0.95
        assert trough.max() < -0.95
        assert features._envelope(x)[2].flatten().tolist() == pytest.approx([6.0] * 6, abs=0.05)

    def test_identical_channels_are_fully_locked_and_coherent(self, features):
        x = noise(1, channels=1).expand(1, 6, 512).double()
        locking, coherence = features._phase_locking(x)[0], features._coherence(x)[0]
        assert locking[0].item() == pytest.approx(1.0, abs=1e-3)  # mean of the pairs
        assert locking[5].item() == pytest.approx(1.0, abs=1e-3)  # largest eigenvalue over channels
        assert coherence[0].item() == pytest.approx(1.0, abs=1e-3)
        assert coherence[4].item() == pytest.approx(0.0, abs=1e-2)  # entropy of the eigenvalues

    def test_permutation_entropy_of_a_ramp_is_zero(self, features):
        ramp = torch.arange(512.0).double().expand(1, 6, 512)
        assert features._permutation_entropy(ramp, 1 / 64).abs().max() < 1e-6
        white = features._permutation_entropy(noise().double(), 1 / 64)
        assert white.mean().item() == pytest.approx(math.log(6), abs=0.02)  # six orders of three samples

    def test_a_line_in_log_log_gives_its_slope(self, features):
        generator = torch.Generator().manual_seed(0)
        spectrum = torch.fft.rfft(torch.randn(1, 6, 60_000, generator=generator, dtype=torch.float64))
        hz = torch.fft.rfftfreq(60_000, 1 / RATE_HZ).clamp(min=0.1)
        slope = features._aperiodic(torch.fft.irfft(spectrum / hz) * 100)[0]
        assert slope.mean().item() == pytest.approx(-2.0, abs=0.1)

    def test_errors_name_the_cause(self, features):
        with pytest.raises(ConfigError, match=r"n_channels=1: montage features .* model=spectral_forest"):
            MontageFeatures(1, RATE_HZ)
        with pytest.raises(ConfigError, match=r"sampling_rate_hz=100 is too low .* at least 110 Hz"):
            MontageFeatures(6, 100.0)
        with pytest.raises(ConfigError, match="channel_names holds 2 names for n_channels=6"):
            MontageFeatures(6, RATE_HZ, ("F3", "F4"))
        with pytest.raises(ConfigError, match=r"expect windows \(n, 6, time\), got \(4, 3, 512\)"):
            features(noise(channels=3))
        with pytest.raises(ConfigError, match=r"at least 2 s \(256 samples\), got 200"):
            features(noise()[..., :200])


class TestModel:
    def test_learns_a_shared_rhythm(self):
        model = build()
        model.fit(*toy())
        inputs, targets = toy(seed=1)
        logits = model(inputs)
        assert (logits.argmax(1) == targets).float().mean() > 0.95
        torch.testing.assert_close(logits.exp().sum(1), torch.ones(60), atol=1e-4, rtol=0)

    def test_checkpoint_round_trip_without_pickle(self):
        model, fresh = build(), build()
        model.fit(*toy())
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        file.seek(0)
        fresh.load_state_dict(torch.load(file, weights_only=True))
        inputs, _ = toy(seed=1)
        assert torch.equal(fresh(inputs), model(inputs))

    def test_trees_inside_the_ensemble_are_checked(self):
        model = build()
        model.fit(*toy())
        tree = model.estimator.estimators_[1].estimators_[0].tree_
        state = tree.__getstate__()
        state["nodes"]["feature"][0] = 10_000
        tree.__setstate__(state)
        archive = torch.frombuffer(bytearray(skops.io.dumps(model.estimator)), dtype=torch.uint8)
        with pytest.raises(DataError, match="asks for a feature beyond the 612"):
            build().set_extra_state(archive)

    def test_refuses_one_class_and_unfitted_use(self):
        with pytest.raises(DataError, match=r"cannot be fitted to classes \[1\]"):
            build().fit(noise(), torch.ones(4, dtype=torch.long))
        with pytest.raises(ConfigError, match="is not fitted"):
            build()(noise())


@pytest.mark.data
@pytest.mark.slow
def test_bar_on_patients_held_out(data_root):
    """CHB-MIT clips, 4-s windows, five folds of 17 patients: measured mean patient AUC 0.928, worst 0.671."""
    patient_auc = {}
    for fold in range(5):
        data = CHBMITClipsDataModule(
            data_root / "eeg" / "chbmit_clips", window_s=4.0, stride_s=4.0, fold=fold, val_fraction=0.0, batch_size=9999
        )
        data.setup()
        train, test = next(iter(data.train_dataloader())), next(iter(data.test_dataloader()))
        model = MontageEnsemble(18, 2, RATE_HZ, data.spec.channel_names)
        model.fit(train.signal, train.target)
        probability = model(test.signal).exp()[:, 1]
        for patient in test.subject.unique().tolist():
            rows = test.subject == patient
            patient_auc[patient] = roc_auc_score(test.target[rows], probability[rows])
    assert len(patient_auc) == 17
    assert np.mean(list(patient_auc.values())) > 0.91
    assert min(patient_auc.values()) > 0.62
