"""Several hundred features of a multi-channel EEG window, pooled so that the order of its channels does not matter.

Legend of the shapes: n window, c channel, t sample, f frequency, w frame, b band.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..errors import ConfigError

#: Edges of the bands of power, Hz: fine where ictal rhythms live (3-13 Hz), up to muscle activity.
BAND_EDGES_HZ = (0.5, 1.5, 3.0, 4.5, 6.0, 8.0, 10.0, 13.0, 17.0, 23.0, 30.0, 40.0, 55.0)
#: Coarser bands whose course within the window is followed in 1-s frames, Hz.
COURSE_EDGES_HZ = (1.0, 3.0, 6.0, 9.0, 13.0, 20.0, 30.0, 55.0)
#: Bands of the coherence between channels, Hz.
COHERENCE_BANDS_HZ = ((0.5, 45.0), (0.5, 4.0), (4.0, 8.0), (8.0, 13.0), (13.0, 30.0), (30.0, 55.0))
#: Bands of phase locking, Hz.
PHASE_BANDS_HZ = ((2.0, 6.0), (6.0, 12.0), (12.0, 25.0))
#: Where a rhythm is looked for, Hz.
RHYTHM_HZ = (1.5, 25.0)
_TINY = 1e-6
#: Windows transformed at a time: bounds memory, changes no value.
_CHUNK = 128


class MontageFeatures(nn.Module):
    """Spectrum, waveform, rhythm, course and synchrony of a window, pooled over channels.

    Each channel gives 24 band powers (absolute and relative), 13 descriptors of the waveform, 22 of its rhythm and 31
    of its course within the window; minimum, quartiles, maximum and standard deviation over channels make them
    independent of the order of channels and nearly of their number. The synchrony of channels adds eigenvalues of
    coherence and phase-locking matrices. Where channel names tell left from right, the 59 descriptors of power,
    waveform and rhythm are compared between homologous channels, without regard to side. Every window is described
    by itself: nothing of its recording, neighbours or patient enters.

    Args:
        n_channels: Channels of a window, at least 4.
        sampling_rate_hz: Samples per second, at least 110.
        channel_names: One name a channel, such as ``F3`` or ``F3-C3``; empty leaves the comparison of sides out.

    Raises:
        ConfigError: Too few channels, or a sampling rate that cannot resolve 55 Hz.

    Example:
        >>> MontageFeatures(18, 128.0)(torch.randn(2, 18, 512)).shape[0]
        2
    """

    def __init__(self, n_channels: int, sampling_rate_hz: float, channel_names: Sequence[str] = ()):
        super().__init__()
        if n_channels < 4:
            raise ConfigError(
                f"n_channels={n_channels}: montage features compare channels and need at least 4; "
                "for fewer, take model=spectral_forest"
            )
        if sampling_rate_hz < 2 * BAND_EDGES_HZ[-1]:
            raise ConfigError(
                f"sampling_rate_hz={sampling_rate_hz:g} is too low for montage features: the highest band ends at "
                f"{BAND_EDGES_HZ[-1]:g} Hz, so at least {2 * BAND_EDGES_HZ[-1]:g} Hz are needed"
            )
        self.n_channels = n_channels
        if channel_names and len(channel_names) != n_channels:
            raise ConfigError(f"channel_names holds {len(channel_names)} names for n_channels={n_channels}")
        self.sampling_rate_hz = float(sampling_rate_hz)
        self.pairs = homologous_pairs(channel_names)

    @property
    def n_features(self) -> int:
        """Number of columns; depends on channels only by whether there are homologous ones."""
        sided = 2 * (len(BAND_EDGES_HZ) - 1) + 13 + 22
        course = 4 * (len(COURSE_EDGES_HZ) - 1) + 3
        count = 6 * (sided + course) + 9 * len(COHERENCE_BANDS_HZ) + 6 * len(PHASE_BANDS_HZ)
        return count + (2 * sided + 2 * len(COHERENCE_BANDS_HZ) if self.pairs else 0)

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """Compute the features of windows.

        Args:
            inputs: Windows, ``(n, channel, time)``, µV or any fixed multiple near 0.01 to 1 of it.

        Returns:
            Features, ``(n, feature)``, float64, finite for finite input.

        Raises:
            ConfigError: The windows differ from ``n_channels`` or last less than 2 s.
        """
        if inputs.ndim != 3 or inputs.shape[1] != self.n_channels:
            raise ConfigError(
                f"montage features expect windows (n, {self.n_channels}, time), got {tuple(inputs.shape)}: "
                f"model and datamodule differ in n_channels={self.n_channels}"
            )
        if inputs.shape[-1] < 2 * self.sampling_rate_hz:
            raise ConfigError(
                f"montage features need windows of at least 2 s ({2 * self.sampling_rate_hz:g} samples), got "
                f"{inputs.shape[-1]}: lengthen the datamodule's windows"
            )
        return torch.cat([self._describe(chunk.double()) for chunk in inputs.split(_CHUNK)])

    def _describe(self, x_nct: Tensor) -> Tensor:
        x_nct = x_nct - x_nct.mean(-1, keepdim=True)
        sided = torch.cat([self._power(x_nct), self._waveform(x_nct), self._rhythm(x_nct)], dim=-1)
        channel = torch.cat([sided, self._course(x_nct)], dim=-1)
        quantiles = torch.quantile(channel, channel.new_tensor([0.0, 0.25, 0.5, 0.75, 1.0]), dim=1)
        columns = [*quantiles, channel.std(1), self._coherence(x_nct), self._phase_locking(x_nct)]
        if self.pairs:
            left, right = map(list, zip(*self.pairs, strict=True))
            difference = sided[:, left] - sided[:, right]
            columns += [difference.mean(1).abs(), difference.abs().mean(1)]
        return torch.cat(columns, dim=-1)

    def _frames(self, x_nct: Tensor, seconds: float, step: float) -> tuple[Tensor, Tensor]:
        """Hann periodograms ``(n, c, w, f)``, unit²/Hz, of frames of this length and step, and frequencies, Hz."""
        length, hop = round(seconds * self.sampling_rate_hz), round(step * self.sampling_rate_hz)
        frames = x_nct.unfold(-1, length, hop)
        hann = torch.hann_window(length, dtype=x_nct.dtype, device=x_nct.device)
        frames = (frames - frames.mean(-1, keepdim=True)) * hann
        density = torch.fft.rfft(frames).abs().square() * 2 / (self.sampling_rate_hz * hann.square().sum())
        return density, self._hz(length, x_nct)

    def _hz(self, n_samples: int, like: Tensor) -> Tensor:
        return torch.fft.rfftfreq(n_samples, 1 / self.sampling_rate_hz, dtype=like.dtype, device=like.device)

    def _power(self, x_nct: Tensor) -> Tensor:
        """Log band powers, absolute and relative to their sum, ``(n, c, 24)``."""
        density, hz = self._frames(x_nct, 2.0, 1.0)
        powers = _bands(density.mean(2), hz, BAND_EDGES_HZ)
        return torch.cat([_log(powers), _log(powers) - _log(powers.sum(-1, keepdim=True))], -1)

    def _waveform(self, x_nct: Tensor) -> Tensor:
        """Amplitude, Hjorth parameters, line length, higher moments and permutation entropy, ``(n, c, 13)``."""
        first, second = x_nct.diff(), x_nct.diff(n=2)
        variance, slope, bend = (v.square().mean(-1) + _TINY for v in (x_nct, first, second))
        standard, steps = x_nct / variance.sqrt().unsqueeze(-1), first / slope.sqrt().unsqueeze(-1)
        columns = [
            variance.log() / 2,
            _log(first.abs().mean(-1)),
            (slope / variance).log() / 2,
            (bend / slope).log() / 2 - (slope / variance).log() / 2,
            _log(standard.pow(4).mean(-1)),
            standard.pow(3).mean(-1).abs(),
            _log(steps.pow(4).mean(-1)),
            steps.pow(3).mean(-1),
            _log(x_nct.amax(-1) - x_nct.amin(-1)),
            # Sharp transients against the bulk, and the lower quartile of amplitude: how intermittent it is.
            _log(torch.quantile(second.abs(), 0.95, dim=-1)) - variance.log() / 2,
            *(self._permutation_entropy(x_nct, lag_s) for lag_s in (1 / 64, 5 / 128, 5 / 64)),
        ]
        return torch.stack(columns, -1)

    def _permutation_entropy(self, x_nct: Tensor, lag_s: float) -> Tensor:
        """Entropy of the order of three samples a lag apart (Bandt & Pompe 2002), nats, ``(n, c)``."""
        lag = max(1, round(lag_s * self.sampling_rate_hz))
        a, b, c = x_nct[..., : -2 * lag], x_nct[..., lag:-lag], x_nct[..., 2 * lag :]
        code = (a < b).long() * 4 + (b < c).long() * 2 + (a < c).long()
        share = torch.stack([(code == pattern).double().mean(-1) for pattern in range(8)], -1)
        return -(share * (share + 1e-12).log()).sum(-1)

    def _rhythm(self, x_nct: Tensor) -> Tensor:
        """How periodic a channel is, and at which frequency, ``(n, c, 22)``."""
        density, hz = self._frames(x_nct, 2.0, 1.0)
        inside = (hz >= RHYTHM_HZ[0]) & (hz < RHYTHM_HZ[1])
        hz_in = hz[inside]
        # Multiplying by the frequency takes out the 1/f background, so that the peak is a rhythm.
        whitened = density.mean(2)[..., inside] * hz_in + _TINY
        share = whitened / whitened.sum(-1, keepdim=True)
        peak = [
            -(share * share.log()).sum(-1),
            share.amax(-1).log(),
            hz_in[share.argmax(-1)].log(),
            (share * hz_in).sum(-1).log(),
        ]
        return torch.stack([*peak, *self._autocorrelation(x_nct), *self._aperiodic(x_nct), *self._envelope(x_nct)], -1)

    def _autocorrelation(self, x_nct: Tensor) -> list[Tensor]:
        """Height and log lag (samples + 1) of the highest return of the band-passed autocorrelation; its trough."""
        n_times = x_nct.shape[-1]
        hann = torch.hann_window(n_times, dtype=x_nct.dtype, device=x_nct.device)
        power = torch.fft.rfft(x_nct * hann, n=2 * n_times).abs().square()
        hz = self._hz(2 * n_times, x_nct)
        power = power * ((hz >= RHYTHM_HZ[0]) & (hz < RHYTHM_HZ[1]))
        lags = round(self.sampling_rate_hz)
        taper = torch.fft.irfft(torch.fft.rfft(hann, n=2 * n_times).abs().square())[:lags]
        correlation = torch.fft.irfft(power)[..., :lags]
        correlation = correlation / (correlation[..., :1] + _TINY) * (taper[0] / taper)
        # The main lobe is no return: look from the first negative value on.
        returned = torch.where((correlation < 0).cumsum(-1) > 0, correlation, correlation.new_tensor(-1.0))
        return [returned.amax(-1), (returned.argmax(-1) + 1.0).log(), correlation.amin(-1)]

    def _aperiodic(self, x_nct: Tensor) -> list[Tensor]:
        """Line through log power against log frequency, what rises above it, and spectral steadiness; ``(n, c)``."""
        density, hz = self._frames(x_nct, 1.0, 0.25)
        mean = _log(density.mean(2))
        columns = []
        for low, high in ((2.0, 40.0), (20.0, 55.0)):
            inside = (hz >= low) & (hz <= high)
            log_hz, power = hz[inside].log(), mean[..., inside]
            centred = log_hz - log_hz.mean()
            slope = (power * centred).sum(-1) / centred.square().sum()
            columns.append(slope)
            if low == 2.0:
                columns.append(power.mean(-1) - slope * log_hz.mean())
                residual = power - power.mean(-1, keepdim=True) - slope.unsqueeze(-1) * centred
                slow = hz[inside] < 14.0
                columns += [residual.std(-1), residual[..., slow].amax(-1), residual[..., ~slow].amax(-1)]
                columns.append(hz[inside][residual.argmax(-1)].log())
        shape = _log(density[..., (hz >= 2) & (hz < 26)])
        shape = nn.functional.normalize(shape - shape.mean(-1, keepdim=True), dim=-1)
        likeness = shape @ shape.mT
        step = min(4, likeness.shape[-1] - 1)
        columns += [torch.diagonal(likeness, step, -2, -1).mean(-1), likeness.mean((-1, -2))]
        return columns

    def _envelope(self, x_nct: Tensor) -> list[Tensor]:
        """Envelope and instantaneous frequency of the 2-20 Hz signal; each ``(n, c)``."""
        narrow = self._analytic(x_nct, 2.0, 20.0)
        envelope, edge = narrow.abs(), round(0.15 * self.sampling_rate_hz)
        turn = (narrow[..., 1:] * narrow[..., :-1].conj()).angle()[..., edge:-edge]
        instant_hz = turn * self.sampling_rate_hz / (2 * math.pi)
        lower, median, upper = torch.quantile(instant_hz, instant_hz.new_tensor([0.25, 0.5, 0.75]), dim=-1)
        real = narrow.real
        asymmetry = real.pow(3).mean(-1) / (real.square().mean(-1) + _TINY).pow(1.5)
        quartile = _log(torch.quantile(x_nct.abs(), 0.25, dim=-1)) - _log(x_nct.square().mean(-1)) / 2
        spread = _log(envelope.std(-1)) - _log(envelope.mean(-1))
        return [spread, _log(envelope.mean(-1)), median, _log(upper - lower), asymmetry, quartile]

    def _analytic(self, x_nct: Tensor, low_hz: float, high_hz: float) -> Tensor:
        """Analytic signal of a band, ``(n, c, t)``, complex."""
        hz = torch.fft.fftfreq(x_nct.shape[-1], 1 / self.sampling_rate_hz, dtype=x_nct.dtype, device=x_nct.device)
        return torch.fft.ifft(2 * torch.fft.fft(x_nct) * ((hz >= low_hz) & (hz < high_hz)))

    def _course(self, x_nct: Tensor) -> Tensor:
        """Spread, burst, pause and trend of band powers (1-s frames) and line length (0.5 s), ``(n, c, 31)``."""
        density, hz = self._frames(x_nct, 1.0, 0.25)
        powers = _log(_bands(density, hz, COURSE_EDGES_HZ)).mT
        half = round(0.5 * self.sampling_rate_hz)
        length = _log(x_nct.unfold(-1, half, half).diff().abs().mean(-1))
        median, line = powers.median(-1).values, length.median(-1).values
        columns = [powers.std(-1), powers.amax(-1) - median, median - powers.amin(-1), _trend(powers)]
        columns.append(torch.stack([length.std(-1), length.amax(-1) - line, _trend(length)], -1))
        return torch.cat(columns, -1)

    def _coherence(self, x_nct: Tensor) -> Tensor:
        """Eigenvalues and entropies of the zero-lag and complex coherence matrix of each band, ``(n, 54 or 66)``."""
        hann = torch.hann_window(x_nct.shape[-1], dtype=x_nct.dtype, device=x_nct.device)
        spectrum, hz = torch.fft.rfft(x_nct * hann), self._hz(x_nct.shape[-1], x_nct)
        columns: list[Tensor] = []
        for low, high in COHERENCE_BANDS_HZ:
            band = spectrum[..., (hz >= low) & (hz < high)]
            cross = band @ band.mH
            amplitude = torch.diagonal(cross, dim1=-2, dim2=-1).real.sqrt() + _TINY
            cross = cross / (amplitude.unsqueeze(-1) * amplitude.unsqueeze(-2))
            zero_lag, any_lag = (torch.linalg.eigvalsh(m).flip(-1) / self.n_channels for m in (cross.real, cross))
            power = amplitude.square() / amplitude.square().sum(-1, keepdim=True)
            columns += [*zero_lag[:, :4].unbind(-1), _entropy(zero_lag), any_lag[:, 0], _entropy(any_lag)]
            columns += [cross.imag.abs().mean((-1, -2)), _entropy(power)]
            if self.pairs:
                left, right = map(list, zip(*self.pairs, strict=True))
                columns += [cross.real[:, left, right].mean(-1), cross[:, left, right].abs().mean(-1)]
        return torch.stack(columns, -1)

    def _phase_locking(self, x_nct: Tensor) -> Tensor:
        """Distribution and largest eigenvalue of the phase-locking values of each band, ``(n, 18)``."""
        rows, others = torch.triu_indices(self.n_channels, self.n_channels, 1, device=x_nct.device)
        edge = round(0.25 * self.sampling_rate_hz)
        columns: list[Tensor] = []
        for low, high in PHASE_BANDS_HZ:
            phase = self._analytic(x_nct, low, high)[..., edge:-edge]
            phase = phase / (phase.abs() + _TINY)
            locking = (phase @ phase.mH).abs() / phase.shape[-1]
            pairs = locking[:, rows, others]
            quantiles = torch.quantile(pairs, pairs.new_tensor([0.1, 0.5, 0.9]), dim=-1)
            largest = torch.linalg.eigvalsh(locking)[:, -1] / self.n_channels
            columns += [pairs.mean(-1), pairs.std(-1), *quantiles, largest]
        return torch.stack(columns, -1)


def homologous_pairs(channel_names: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Index pairs (left, right) of channels that mirror each other: odd electrode numbers are left (10-20 system).

    Example:
        >>> homologous_pairs(["F3-C3", "FZ-CZ", "F4-C4"])
        ((0, 2),)
    """
    names = [name.upper() for name in channel_names]
    mirrored = [re.sub(r"\d+", lambda number: str(int(number[0]) + 1), name) for name in names]
    left = [all(int(number) % 2 for number in re.findall(r"\d+", name)) for name in names]
    return tuple(
        (i, names.index(mirror))
        for i, mirror in enumerate(mirrored)
        if left[i] and mirror != names[i] and mirror in names
    )


def _log(value: Tensor) -> Tensor:
    """Logarithm of a magnitude; a flat channel gives a finite floor."""
    return (value + _TINY).log()


def _bands(density: Tensor, hz: Tensor, edges_hz: tuple[float, ...]) -> Tensor:
    """Power between successive edges, ``(…, b)``, unit²."""
    bands = pairwise(edges_hz)
    return torch.stack([density[..., (hz >= low) & (hz < high)].sum(-1) for low, high in bands], -1) * hz[1]


def _trend(value: Tensor) -> Tensor:
    """Slope of a least-squares line over the last dimension, a step."""
    step = torch.arange(value.shape[-1], dtype=value.dtype, device=value.device)
    step = step - step.mean()
    return (value * step).sum(-1) / step.square().sum()


def _entropy(share: Tensor) -> Tensor:
    """Shannon entropy of non-negative shares over the last dimension, nats."""
    share = share.clamp(min=1e-12)
    return -(share * share.log()).sum(-1)
