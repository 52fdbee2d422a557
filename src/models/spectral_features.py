"""Hand-made features of EEG windows: what a classic baseline sees. Vectorised over windows, in torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..errors import ConfigError

#: Classical bands of a single channel, Hz.
BANDS_HZ = {"delta": (0.5, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 13.0), "beta": (13.0, 30.0), "gamma": (30.0, 45.0)}
#: Finer bands of a montage: slow and fast delta, low and high beta differ between ictal and post-ictal EEG.
MONTAGE_BANDS_HZ = {
    "slow_delta": (0.5, 2.0),
    "delta": (2.0, 4.0),
    "theta": (4.0, 8.0),
    "alpha": (8.0, 13.0),
    "low_beta": (13.0, 20.0),
    "high_beta": (20.0, 30.0),
    "gamma": (30.0, 45.0),
}
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_TINY = 1e-10
#: Windows transformed at a time: bounds memory, changes no value.
_CHUNK = 512


class SpectralFeatures(nn.Module):
    r"""Spectral, Hjorth, line-length and amplitude features, one row a window.

    One channel gives 29 features; see :attr:`names` for their order. Several channels give 61: over channels the
    median, maximum, minimum and standard deviation of seven log band powers, of log line length and of log standard
    deviation (36), the median, maximum and minimum of the seven relative powers (21), and the four largest
    eigenvalues of the channel correlation matrix, divided by the number of channels (4; zeros where a montage has
    fewer channels).

    Power spectra are Welch's (Hann window, 2-s segments or the whole window where it is shorter, 50 % overlap,
    segments centred). Mobility and complexity follow Hjorth (1970).

    Args:
        n_channels: Channels of a window.
        sampling_rate_hz: Samples per second.

    Raises:
        ConfigError: The sampling rate cannot resolve the highest band (45 Hz).

    Example:
        >>> SpectralFeatures(n_channels=18, sampling_rate_hz=128.0)(torch.randn(2, 18, 512)).shape
        torch.Size([2, 61])
    """

    def __init__(self, n_channels: int, sampling_rate_hz: float):
        super().__init__()
        highest_hz = BANDS_HZ["gamma"][1]
        if sampling_rate_hz < 2 * highest_hz:
            raise ConfigError(
                f"sampling_rate_hz={sampling_rate_hz:g} is too low for spectral features: the gamma band ends at "
                f"{highest_hz:g} Hz, so at least {2 * highest_hz:g} Hz are needed"
            )
        self.n_channels = n_channels
        self.sampling_rate_hz = float(sampling_rate_hz)

    @property
    def names(self) -> tuple[str, ...]:
        """One name a feature, in column order."""
        if self.n_channels == 1:
            return (
                *(f"log_{band}" for band in BANDS_HZ),
                *(f"relative_{band}" for band in BANDS_HZ),
                *("log_power", "spectral_entropy", "peak_hz", "median_hz", "edge95_hz"),
                *("log_activity", "mobility", "complexity", "log_line_length"),
                *(f"log_quantile_{q:g}" for q in _QUANTILES),
                *("skewness", "log_kurtosis", "zero_crossings_hz", "log_peak_to_peak", "log_teager_energy"),
            )
        absolute = [*(f"log_{band}" for band in MONTAGE_BANDS_HZ), "log_line_length", "log_std"]
        relative = [f"relative_{band}" for band in MONTAGE_BANDS_HZ]
        return (
            *(f"{how}_{name}" for how in ("median", "max", "min", "std") for name in absolute),
            *(f"{how}_{name}" for how in ("median", "max", "min") for name in relative),
            *(f"correlation_eigenvalue_{rank}" for rank in range(1, 5)),
        )

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return len(self.names)

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the features of windows.

        Args:
            inputs: Windows, ``(n, channel, time)``, µV or any fixed multiple of it.

        Returns:
            Features, ``(n, feature)``, float64, finite for finite input.

        Raises:
            ConfigError: The windows differ from ``n_channels`` or last less than a second.
        """
        if inputs.ndim != 3 or inputs.shape[1] != self.n_channels:
            raise ConfigError(
                f"spectral features expect windows (n, {self.n_channels}, time), got {tuple(inputs.shape)}: "
                f"model and datamodule differ in n_channels={self.n_channels}"
            )
        if inputs.shape[-1] < self.sampling_rate_hz:
            raise ConfigError(
                f"spectral features need windows of at least 1 s ({self.sampling_rate_hz:g} samples), got "
                f"{inputs.shape[-1]}: lengthen the datamodule's windows"
            )
        compute = self._single if self.n_channels == 1 else self._montage
        return torch.cat([compute(chunk.double()) for chunk in inputs.split(_CHUNK)])

    def _spectrum(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Welch periodogram ``(…, frequency)``, unit²/Hz, and its frequencies, Hz."""
        length = min(int(2 * self.sampling_rate_hz), x.shape[-1])
        segments = x.unfold(-1, length, max(1, length // 2))
        window = torch.hann_window(length, dtype=x.dtype, device=x.device)
        segments = (segments - segments.mean(-1, keepdim=True)) * window
        density = torch.fft.rfft(segments).abs().square().mean(-2) * 2 / (self.sampling_rate_hz * window.square().sum())
        return density, torch.fft.rfftfreq(length, 1 / self.sampling_rate_hz, dtype=x.dtype, device=x.device)

    def _band_powers(self, density: Tensor, hz: Tensor, bands: dict[str, tuple[float, float]]) -> Tensor:
        """Power in each band, ``(…, band)``, unit²."""
        return torch.stack([density[..., (hz >= low) & (hz < high)].sum(-1) for low, high in bands.values()], -1) * (
            hz[1] - hz[0]
        )

    def _single(self, x: Tensor) -> Tensor:
        x = x[:, 0]
        x = x - x.mean(-1, keepdim=True)
        density, hz = self._spectrum(x)
        powers = self._band_powers(density, hz, BANDS_HZ)
        total = powers.sum(-1, keepdim=True) + _TINY
        in_range = (hz >= BANDS_HZ["delta"][0]) & (hz < BANDS_HZ["gamma"][1])
        share = (density[:, in_range] + _TINY) / (density[:, in_range] + _TINY).sum(-1, keepdim=True)
        hz = hz[in_range]
        cumulative = share.cumsum(-1)
        entropy = -(share * share.log()).sum(-1) / math.log(len(hz))
        median_hz, edge_hz = (hz[(cumulative < q).sum(-1).clamp(max=len(hz) - 1)] for q in (0.5, 0.95))
        first = x.diff()
        variance = x.square().mean(-1) + _TINY
        mobility = (first.square().mean(-1) / variance).sqrt()
        complexity = (first.diff().square().mean(-1) / (first.square().mean(-1) + _TINY)).sqrt() / (mobility + _TINY)
        quantiles = torch.quantile(x, x.new_tensor(_QUANTILES), dim=-1)
        standard = x / variance.sqrt().unsqueeze(-1)
        crossings = (x[:, 1:] * x[:, :-1] < 0).double().mean(-1) * self.sampling_rate_hz
        teager = (x[:, 1:-1].square() - x[:, 2:] * x[:, :-2]).abs().mean(-1)
        columns = [
            entropy,
            hz[share.argmax(-1)],
            median_hz,
            edge_hz,
            variance.log(),
            mobility,
            complexity,
            _log(first.abs().mean(-1)),
            *_log(quantiles.abs()),
            standard.pow(3).mean(-1),
            _log(standard.pow(4).mean(-1)),
            crossings,
            _log(x.amax(-1) - x.amin(-1)),
            _log(teager),
        ]
        return torch.cat([_log(powers), powers / total, total.log(), torch.stack(columns, -1)], -1)

    def _montage(self, x: Tensor) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        powers = self._band_powers(*self._spectrum(x), MONTAGE_BANDS_HZ)
        relative = powers / (powers.sum(-1, keepdim=True) + _TINY)
        deviation = x.square().mean(-1).sqrt()
        absolute = torch.cat([_log(powers), _log(torch.stack([x.diff().abs().mean(-1), deviation], -1))], -1)
        standard = x / (deviation.unsqueeze(-1) + _TINY)
        eigenvalues = torch.linalg.eigvalsh(standard @ standard.mT / x.shape[-1]).flip(-1) / self.n_channels
        eigenvalues = nn.functional.pad(eigenvalues[:, :4], (0, max(0, 4 - self.n_channels)))
        return torch.cat(
            [
                absolute.median(1).values,
                absolute.amax(1),
                absolute.amin(1),
                absolute.std(1),
                relative.median(1).values,
                relative.amax(1),
                relative.amin(1),
                eigenvalues,
            ],
            -1,
        )


def _log(value: Tensor) -> Tensor:
    """Logarithm of a magnitude; a flat channel gives a finite floor."""
    return (value + _TINY).log()
