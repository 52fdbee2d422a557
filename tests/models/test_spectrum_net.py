"""SpectrumNet: its features on signals whose values are known, its crops, its size, its errors."""

import math

import pytest
import torch
from neurotwin.errors import ConfigError
from neurotwin.models.spectrum_net import BandPower, SpectrumNet, random_crop

RATE_HZ = 173.61
BONN = {"n_channels": 1, "n_outputs": 5, "n_times": 4097, "sampling_rate_hz": RATE_HZ}
N_WIDE = 9


def test_size_on_bonn():
    # 32 narrow bands, 9 wide ones, coupling, kurtosis: 43 features; 43 * 64 + 64 + 64 * 5 + 5 parameters.
    model = SpectrumNet(**BONN)
    assert model.n_features == 43
    assert sum(p.numel() for p in model.parameters()) == 3_141


def test_band_power_of_white_noise_is_its_variance_over_the_nyquist_frequency():
    noise = 3 * torch.randn(8, 60_000, generator=torch.Generator().manual_seed(0))
    density = BandPower((2.0, 7.0, 40.0), 256, sampling_rate_hz=200.0)(noise).mean((0, 2))
    torch.testing.assert_close(density, torch.full((2,), 9 / 100), rtol=0.02, atol=0)


def test_band_power_integrates_to_the_power_of_a_sine():
    time = torch.arange(4000) / 200
    sine = 5 * torch.sin(2 * math.pi * 10 * time)[None]
    inside, outside = BandPower((7.0, 13.0, 20.0), 400, sampling_rate_hz=200.0)(sine).mean(2)[0]
    assert float(inside) * 6 == pytest.approx(12.5, rel=1e-3)
    assert float(outside) < 1e-6


def test_a_band_narrower_than_a_bin_takes_the_bin_that_it_lies_in():
    power = BandPower((10.1, 10.2, 10.3), 200, sampling_rate_hz=200.0)(torch.randn(1, 2000))
    torch.testing.assert_close(power[:, 0], power[:, 1])


def test_gain_moves_only_the_fine_spectrum_and_by_its_logarithm():
    model = SpectrumNet(**BONN)
    x = torch.randn(2, 4097)
    change = model.features(10 * x) - model.features(x)
    torch.testing.assert_close(change[:, :32], torch.full((2, 32), math.log(100)), atol=1e-3, rtol=0)
    torch.testing.assert_close(change[:, 32:], torch.zeros(2, 11), atol=1e-3, rtol=0)


def test_noise_is_not_bursty_and_a_burst_raises_burstiness_coupling_and_kurtosis():
    model = SpectrumNet(**BONN)
    noise = torch.randn(1, 4097, generator=torch.Generator().manual_seed(0))
    burst = noise.clone()
    burst[:, 2000:2200] *= 10
    quiet, loud = model.features(noise)[0], model.features(burst)[0]
    assert float(quiet[-1]) == pytest.approx(math.log(3), abs=0.1)  # kurtosis of a normal distribution
    assert float(quiet[-2]) == pytest.approx(0, abs=0.2)
    assert float(loud[-2]) > 0.7
    assert (loud[32:] > quiet[32:] + 0.5).all()


def test_flat_signal_gives_finite_features():
    assert torch.isfinite(SpectrumNet(**BONN).features(torch.zeros(2, 4097))).all()


@pytest.mark.parametrize(
    ("n_channels", "n_times", "rate_hz"), [(1, 4097, RATE_HZ), (18, 512, 128.0), (19, 2560, 256.0)]
)
def test_logits_and_gradients(n_channels, n_times, rate_hz):
    model = SpectrumNet(n_channels, 2, n_times, rate_hz)
    logits = model(torch.randn(4, n_channels, n_times))
    assert logits.shape == (4, 2)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_crops_only_in_training():
    model = SpectrumNet(**BONN)
    x = torch.randn(4, 1, 4097)
    assert not torch.equal(model(x), model(x))
    model.eval()
    torch.testing.assert_close(model(x), model(x))


def test_random_crop_cuts_every_window_elsewhere_and_its_channels_alike():
    time = torch.arange(1000.0)
    x = torch.stack([time, time + 0.5])[None].repeat(64, 1, 1)
    torch.manual_seed(0)
    lengths = set()
    for _ in range(20):
        crop = random_crop(x, 400)
        lengths.add(crop.shape[2])
        torch.testing.assert_close(crop.diff(dim=2), torch.ones_like(crop[:, :, 1:]))
        torch.testing.assert_close(crop[:, 1], crop[:, 0] + 0.5)
        assert len(set(crop[:, 0, 0].tolist())) > 1
    assert min(lengths) >= 400
    assert max(lengths) <= 1000
    assert len(lengths) > 10
    assert torch.equal(random_crop(x, 1000), x)


def test_a_training_batch_of_one_window():
    model = SpectrumNet(**BONN)
    model(torch.randn(1, 1, 4097)).sum().backward()
    assert torch.equal(model.norm.running_mean, torch.zeros(43))


def test_upper_edge():
    assert SpectrumNet(**BONN, highest_hz=45.0).fine.weights.shape == (32, 513)
    model = SpectrumNet(**BONN, highest_hz=45.0).eval()
    time = torch.arange(4097) / RATE_HZ
    x = torch.randn(1, 1, 4097)
    torch.testing.assert_close(model(x + torch.sin(2 * math.pi * 60 * time)), model(x), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_times": 100}, r"n_times=100 with crop=0\.45 leaves crops of 45 samples .* lengthen the window"),
        ({"highest_hz": 10.0}, r"highest_hz=10\.0 .* leaves no band above 13 Hz"),
        ({"lowest_hz": 90.0}, r"lowest_hz=90\.0 must lie between 0 and the upper edge of 86\.805 Hz"),
        ({"crop": 0.0}, r"crop=0\.0 must lie above 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SpectrumNet(**(BONN | arguments))


def test_other_window_length_is_refused_at_the_call():
    with pytest.raises(ConfigError, match=r"got windows of \(1, 512\).*built for \(1, 4097\)"):
        SpectrumNet(**BONN)(torch.zeros(2, 1, 512))
