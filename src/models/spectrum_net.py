"""A few thousand parameters on what an EEG spectrum says: its fine shape, its bursts, its slow-fast coupling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ConfigError
from .windows import require_window

#: Wide bands in which bursts are measured, Hz: the clinical ones, and two above the pass band of most amplifiers.
BURST_BANDS_HZ = (0.4, 2.0, 4.0, 8.0, 13.0, 20.0, 30.0, 42.0, 60.0, 87.0)
#: Bands below are slow, bands from here to ``_FAST_HZ[1]`` fast, for the coupling, Hz.
_FAST_HZ = (13.0, 60.0)
_TINY = 1e-8


class BandPower(nn.Module):
    """Power in bands over time, from a short-time Fourier transform (Hann window, 75 % overlap).

    A frequency bin counts in a band by the share of it that lies within, so that narrow bands are never empty.

    Args:
        edges_hz: Edges of adjoining bands, rising, Hz.
        segment: Length of the transform, samples.
        sampling_rate_hz: Samples per second.
    """

    weights: Tensor
    window: Tensor

    def __init__(self, edges_hz: Sequence[float], segment: int, sampling_rate_hz: float):
        super().__init__()
        self.segment = segment
        edges = torch.as_tensor(edges_hz, dtype=torch.float64)
        width = sampling_rate_hz / segment
        centre = torch.arange(segment // 2 + 1, dtype=torch.float64) * width
        low = torch.maximum(edges[:-1, None], centre - width / 2)
        high = torch.minimum(edges[1:, None], centre + width / 2)
        inside = (high - low).clamp(min=0.0)
        window = torch.hann_window(segment, dtype=torch.float64)
        # One-sided density: twice the two-sided |X|^2 / (rate * sum of squared window).
        density = 2.0 / (sampling_rate_hz * window.square().sum())
        weights = inside / inside.sum(1, keepdim=True).clamp(min=_TINY) * density
        self.register_buffer("weights", weights.float(), persistent=False)
        self.register_buffer("window", window.float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mean power density in each band of each segment.

        Args:
            x: EEG, ``(batch, time)``.

        Returns:
            ``(batch, band, segment)``, unit²/Hz.
        """
        hop = max(1, self.segment // 4)
        spectrum = torch.stft(x, self.segment, hop, window=self.window, center=False, return_complex=True)
        return self.weights @ spectrum.abs().square()


class SpectrumNet(nn.Module):
    r"""A small perceptron on spectral statistics that are computed afresh from a random crop at each training step.

    With :math:`P_b(t)` the power in band :math:`b` and :math:`\langle\cdot\rangle` the mean over time, a channel gives

    * the fine spectrum :math:`\log\langle P_b\rangle` in ``n_bands`` narrow bands, equal steps of
      :math:`\log(1 + f/\mathrm{Hz})`, amplitude included;
    * the burstiness :math:`\log(\langle P_b^2\rangle / \langle P_b\rangle^2)` in nine wide bands (spectral kurtosis,
      Antoni 2006): the background of a healthy brain is nearly stationary, the epileptogenic zone is not;
    * the coupling: mean correlation over time of :math:`\log P` between slow (< 13 Hz) and fast (13-60 Hz) bands; a
      sharp transient raises all of them together;
    * the log kurtosis of the samples.

    These are standardised by batch normalisation and classified by one hidden layer. Crops are the regularisation:
    from a few hundred recordings they give as many noisy versions of each feature as there are steps.

    The spectrum is used up to ``highest_hz``, by default the Nyquist frequency, even where the amplifier's filter
    ends below: what is left there tells recording conditions apart. ``highest_hz=45`` keeps the physiological part.

    Args:
        n_channels: EEG channels.
        n_outputs: Classes.
        n_times: Samples in a window.
        sampling_rate_hz: Samples per second.
        n_bands: Narrow bands of the fine spectrum.
        lowest_hz: Lower edge of the fine spectrum, Hz.
        highest_hz: Upper edge of all bands, Hz; ``None`` for the Nyquist frequency.
        long_segment_s: Segment of the fine spectrum, s; at most the shortest crop.
        short_segment_s: Segment of burstiness and coupling, s; at most a quarter of the shortest crop.
        hidden: Hidden units.
        dropout: Dropout before the output; half of it before the hidden layer.
        crop: Shortest random crop of a training window, as a share of it; 1 trains on whole windows.

    Raises:
        ConfigError: An argument is out of its range, or the windows are too short for the lowest band.

    Example:
        >>> SpectrumNet(n_channels=1, n_outputs=5, n_times=4097, sampling_rate_hz=173.61)(torch.randn(8, 1, 4097)).shape
        torch.Size([8, 5])
    """

    slow: Tensor
    fast: Tensor

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        n_times: int,
        sampling_rate_hz: float,
        n_bands: int = 32,
        lowest_hz: float = 0.3,
        highest_hz: float | None = None,
        long_segment_s: float = 5.9,
        short_segment_s: float = 1.475,
        hidden: int = 64,
        dropout: float = 0.2,
        crop: float = 0.45,
    ):
        super().__init__()
        top_hz = sampling_rate_hz / 2 if highest_hz is None else min(highest_hz, sampling_rate_hz / 2)
        if top_hz <= _FAST_HZ[0]:
            raise ConfigError(
                f"SpectrumNet: {highest_hz=} at {sampling_rate_hz=} leaves no band above {_FAST_HZ[0]:g} Hz for the "
                f"coupling; raise model.highest_hz or the sampling rate"
            )
        if not 0 < lowest_hz < top_hz:
            raise ConfigError(f"SpectrumNet: {lowest_hz=} must lie between 0 and the upper edge of {top_hz:g} Hz")
        if not 0 < crop <= 1:
            raise ConfigError(f"SpectrumNet: {crop=} must lie above 0 and at most at 1 (no cropping)")
        self.n_channels, self.n_times = n_channels, n_times
        self.shortest = int(crop * n_times)
        long = min(round(long_segment_s * sampling_rate_hz), self.shortest)
        short = min(round(short_segment_s * sampling_rate_hz), self.shortest // 4)
        if short < 16:
            raise ConfigError(
                f"SpectrumNet: {n_times=} with {crop=} leaves crops of {self.shortest} samples and short segments of "
                f"{short}, of which 16 are the least; lengthen the window, or raise model.crop or short_segment_s"
            )
        fine = torch.linspace(math.log1p(lowest_hz), math.log1p(top_hz), n_bands + 1).expm1()
        self.fine = BandPower(fine.tolist(), long, sampling_rate_hz)
        wide = [edge for edge in BURST_BANDS_HZ if edge < top_hz] + [top_hz]
        self.wide = BandPower(wide, short, sampling_rate_hz)
        upper = torch.tensor(wide[1:])
        self.register_buffer("slow", upper <= _FAST_HZ[0], persistent=False)
        self.register_buffer("fast", (upper > _FAST_HZ[0]) & (upper <= _FAST_HZ[1]), persistent=False)
        self.n_features = n_bands + len(upper) + 2
        width = n_channels * self.n_features
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.head = nn.Sequential(
            nn.Dropout(dropout / 2),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, n_outputs),
        )

    def features(self, x: Tensor) -> Tensor:
        """Spectral statistics of signals of one channel.

        Args:
            x: EEG, ``(n, time)``, in any fixed unit.

        Returns:
            Features, ``(n, n_features)``, in the order of the class's docstring.
        """
        x = x - x.mean(-1, keepdim=True)
        spectrum = (self.fine(x).mean(-1) + _TINY).log()
        power = self.wide(x) + _TINY
        bursts = (power.square().mean(-1) / power.mean(-1).square()).log()
        change = power.log()
        change = change - change.mean(-1, keepdim=True)
        change = change / (change.square().sum(-1, keepdim=True) + _TINY).sqrt()
        coupling = (change[:, self.slow] @ change[:, self.fast].mT).mean((1, 2))
        kurtosis = ((x.pow(4).mean(-1) + _TINY**2) / (x.square().mean(-1) + _TINY).square()).log()
        return torch.cat([spectrum, bursts, coupling[:, None], kurtosis[:, None]], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of windows.

        Args:
            x: EEG, ``(batch, channel, time)``, in the unit of the datamodule's scaling.

        Returns:
            Logits, ``(batch, n_outputs)``.
        """
        require_window("SpectrumNet", x, self.n_channels, self.n_times)
        if self.training and self.shortest < self.n_times:
            x = random_crop(x, self.shortest)
        features = self.features(x.flatten(0, 1)).view(len(x), -1)
        # The last batch of an epoch may hold a single window, which has no statistics of its own.
        if self.training and len(x) > 1:
            features = self.norm(features)
        else:
            features = functional.batch_norm(features, self.norm.running_mean, self.norm.running_var)
        logits: Tensor = self.head(features)
        return logits


def random_crop(x: Tensor, shortest: int) -> Tensor:
    """One random length for the batch, from ``shortest`` to all, and one random place for each window.

    Args:
        x: Windows, ``(batch, channel, time)``.
        shortest: Least length, samples.

    Returns:
        Crops, ``(batch, channel, length)``; the channels of a window are cut alike.
    """
    batch, channels, n_times = x.shape
    length = int(torch.randint(shortest, n_times + 1, ()))
    start = torch.randint(0, n_times - length + 1, (batch, 1, 1)).to(x.device)
    index = start + torch.arange(length, device=x.device)
    return x.gather(2, index.expand(batch, channels, length))
