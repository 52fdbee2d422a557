"""How well a free run of a circuit model follows a recording: spikes, waveform statistics, synaptic currents.

All functions take one trace or several side by side, ``(time,)`` or ``(time, node)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.signal import butter, fftconvolve, sosfiltfilt

Array = NDArray[np.floating]

#: Of the paper's metric (ValidationUtilities.jl): pass band, threshold, window of a maximum, kernel, samples left out.
BAND_HZ, THRESHOLD_MV, PEAK_SAMPLES, KERNEL_SAMPLES, EDGE_SAMPLES = (2.0, 100.0), 5.0, 5, 500, 3000


def spike_train(voltage: Array, sampling_rate_hz: float = 10_000.0) -> Array:
    """Unit impulses at spikes: maxima of the rectified (at 5 mV) trace between 2 and 100 Hz (Burghi et al. 2025).

    Args:
        voltage: ``(time,)`` or ``(time, node)``, mV.
        sampling_rate_hz: The paper's constants in samples are meant at 10 kHz.
    """
    sections = butter(3, BAND_HZ, "bandpass", fs=sampling_rate_hz, output="sos")
    rectified = np.maximum(sosfiltfilt(sections, np.asarray(voltage, float), axis=0) - THRESHOLD_MV, 0)
    peak = (rectified == maximum_filter1d(rectified, PEAK_SAMPLES, axis=0, mode="constant")) & (rectified > 0)
    return peak.astype(float)


def angular_separation(predicted: Array, recorded: Array, sampling_rate_hz: float = 10_000.0) -> dict[str, float]:
    """Similarity of two voltages by their smoothed spike trains, averaged over neurons.

    Returns:
        ``angular_separation``: the paper's ``<a, b> / max(|a|², |b|²)``, which also punishes a wrong number of spikes;
        ``cosine``: ``<a, b> / (|a| |b|)``; ``spike_ratio``: spikes predicted over spikes recorded. A trace that is not
        finite scores 0.
    """
    predicted, recorded = (np.asarray(x, float).reshape(len(x), -1) for x in (predicted, recorded))
    finite = bool(np.isfinite(predicted).all() and np.abs(predicted).max() < 1e4)
    kernel = np.exp(-np.abs(np.arange(-6 * KERNEL_SAMPLES, 6 * KERNEL_SAMPLES + 1)) / KERNEL_SAMPLES)
    edge = EDGE_SAMPLES if len(recorded) > 4 * EDGE_SAMPLES else 0
    kept = slice(edge, len(recorded) - edge)
    trains = [spike_train(x, sampling_rate_hz) for x in (predicted if finite else np.zeros_like(recorded), recorded)]
    a, b = (fftconvolve(train, kernel[:, None], mode="same", axes=0)[kept] for train in trains)
    product, aa, bb = (a * b).sum(axis=0), (a * a).sum(axis=0), (b * b).sum(axis=0)
    counts = [train[kept].sum() for train in trains]
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = {
            "angular_separation": np.nan_to_num(product / np.maximum(aa, bb)).mean(),
            "cosine": np.nan_to_num(product / np.sqrt(aa * bb)).mean(),
            "spike_ratio": counts[0] / counts[1] if counts[1] else np.nan,
        }
    return {name: float(value) for name, value in scores.items()}


def spectral_distance(predicted: Array, recorded: Array, smoothing_bins: float = 20.0) -> float:
    """Hellinger distance of smoothed power spectra, averaged over neurons: 0 the same, 1 disjoint.

    As in GTF-shPLRNN (Hess et al. 2023): ``|rfft(z-scored)|²``, Gaussian smoothing, normalised to sum 1.
    """
    spectra = []
    for x in (predicted, recorded):
        x = np.asarray(x, float).reshape(len(x), -1)
        if not np.isfinite(x).all():
            return 1.0
        power = np.abs(np.fft.rfft((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12), axis=0)) ** 2
        smooth = gaussian_filter1d(power, smoothing_bins, axis=0, mode="reflect", truncate=4.0).clip(min=0)
        spectra.append(smooth / np.maximum(smooth.sum(axis=0), 1e-300))
    return float(np.mean(np.linalg.norm(np.sqrt(spectra[0]) - np.sqrt(spectra[1]), axis=0) / np.sqrt(2)))


def state_space_divergence(predicted: Array, recorded: Array, bins: int = 30, laplace: float = 1e-5) -> float:
    """Kullback-Leibler divergence of the recorded from the predicted occupancy of state space, in nats.

    As in GTF-shPLRNN: histograms over the range of the recording, widened by a tenth of its deviation, with ``laplace``
    added to every bin; for up to five neurons.
    """
    a, b = (np.asarray(x, float).reshape(len(x), -1) for x in (recorded, predicted))
    margin = 0.1 * a.std(axis=0)
    box = list(zip(a.min(axis=0) - margin, a.max(axis=0) + margin, strict=True))
    counts = [np.histogramdd(x[np.isfinite(x).all(axis=1)], bins, box)[0].ravel() + laplace for x in (a, b)]
    p, q = (c / c.sum() for c in counts)
    return float((p * np.log(p / q)).sum())


def current_scores(predicted: Array, true: Array) -> dict[str, float]:
    """Error of a synaptic current that nobody measured, averaged over neurons.

    Returns:
        ``correlation``; ``nrmse``: root mean square error over the deviation of the true current; ``nrmse_shifted``:
        the same after both means are made equal, as in the figures of Burghi et al. 2025.
    """
    a, b = (np.asarray(x, float).reshape(len(x), -1) for x in (predicted, true))
    if not np.isfinite(a).all():
        return dict.fromkeys(("correlation", "nrmse", "nrmse_shifted"), float("nan"))
    deviation = np.maximum(b.std(axis=0), 1e-12)
    error = a - b
    product = ((a - a.mean(axis=0)) * (b - b.mean(axis=0))).mean(axis=0)
    return {
        "correlation": float(np.mean(product / np.maximum(a.std(axis=0), 1e-12) / deviation)),
        "nrmse": float(np.mean(np.sqrt((error**2).mean(axis=0)) / deviation)),
        "nrmse_shifted": float(np.mean(error.std(axis=0) / deviation)),
    }
