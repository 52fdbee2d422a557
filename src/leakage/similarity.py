"""How alike the recordings of a data set are: bit-identical stretches, and correlation above what chance allows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ..contracts import Recording
from ..datamodules.simultaneity import peak_correlation, rotated_peaks, standardise
from .checks import Check, Scope

#: Consecutive bit-identical samples that make two recordings share data.
_SNIPPET = 32
#: Hashes kept for that search; beyond, an evenly spread selection of them that depends on content only.
_KEPT_HASHES = 4_000_000
#: Longest stretch that is correlated, s, and the largest number of recordings.
_LONGEST_S, _MOST_RECORDINGS = 30.0, 3000
#: Chance meets the threshold now and then: up to this share of tested recordings is a warning, above it a leak.
_TOLERATED = 0.01


@dataclass(frozen=True)
class Similarity:
    """Pairwise likeness of the recordings.

    Attributes:
        members: Codes of the recordings that were correlated, ``(member,)``.
        correlation: Largest absolute cross-correlation of each pair, ``(member, member)``, zero diagonal.
        null: What each member reaches with recordings rotated in time, ``(draw, member)``.
        threshold: Correlation above which a pair counts as simultaneous.
        copies: Code of the set of recordings with bit-identical stretches, ``(recording,)``.
        families: Code of the set connected by copies or simultaneity, ``(recording,)``.
        scope_note: Which part of the data the correlation saw.
    """

    members: np.ndarray
    correlation: np.ndarray
    null: np.ndarray
    threshold: float
    copies: np.ndarray
    families: np.ndarray
    scope_note: str


def measure_similarity(
    recordings: Sequence[Recording],
    partner_threshold: float,
    max_lag_s: float,
    band_hz: tuple[float, float],
    budget: float,
    seed: int,
) -> Similarity:
    """Compare all recordings, as far as the budget allows.

    Recordings are cut to the length that 95 % of them reach (30 s at most), so that one null holds for all pairs, and
    compared from their first sample on. Channels share the lag and are averaged, which makes chance correlation of
    multi-channel data small; it presumes that recordings have the same montage. Copies that start elsewhere are found
    as bit-identical stretches only.

    Args:
        recordings: Of one sampling rate and montage.
        partner_threshold: Lower bound of the threshold; the maximum of the null raises it.
        max_lag_s: Largest lag, s.
        band_hz: Pass band.
        budget: Multiply-adds that each of measure and null may cost.
        seed: Of the selection and of the rotations.
    """
    rate = recordings[0].sampling_rate_hz
    lag = max(1, round(max_lag_s * rate))
    generator = np.random.default_rng(seed)
    lengths = np.array([recording.signal.shape[-1] for recording in recordings])
    length = int(min(np.quantile(lengths, 0.05, method="lower"), _LONGEST_S * rate))
    members = np.flatnonzero(lengths >= length)
    cost_of_pair = (2 * lag + 1) * length * recordings[0].signal.shape[0]
    most = min(_MOST_RECORDINGS, int(np.sqrt(budget / cost_of_pair)))
    if len(members) > max(most, 2):
        members = np.sort(generator.permutation(members)[: max(most, 2)])
    note = f"{len(members)} of {len(recordings)} recordings, first {length / rate:.1f} s"

    copies = _components(len(recordings), shared_stretches(recordings))
    if len(members) < 2 or length < 8 * lag + 4:
        empty = np.empty((0, 0), dtype=np.float32)
        return Similarity(np.empty(0, dtype=np.int64), empty, empty, np.inf, copies, copies, "too short to correlate")
    prepared = np.stack([standardise(recordings[code].signal[:, :length], rate, band_hz) for code in members])
    correlation = peak_correlation(prepared, prepared, lag)
    np.fill_diagonal(correlation, 0.0)
    draws = int(np.clip(budget / (cost_of_pair * len(members) ** 2), 4, 20))
    null = rotated_peaks(prepared, lag, draws, seed)
    threshold = max(partner_threshold, float(null.max()))
    pairs = members[np.argwhere(np.triu(correlation > threshold))]
    chained = np.stack([np.arange(len(recordings)), np.unique(copies, return_index=True)[1][copies]], axis=1)
    families = _components(len(recordings), np.concatenate([pairs, chained]))
    return Similarity(members, correlation, null, threshold, copies, families, note)


def shared_stretches(recordings: Sequence[Recording]) -> np.ndarray:
    """Pairs of recordings that hold the same stretch of samples, at whatever place: overlapping cuts, copies.

    Every stretch of 32 samples over all channels is hashed; flat stretches (a clipped or disconnected electrode) are
    left out. Costs linear time. In large sets only hashes divisible by a constant are kept, which selects the same
    stretches in every copy.

    Returns:
        ``(pair, 2)`` codes; of three or more recordings with one stretch, a chain of pairs.
    """
    total = sum(recording.signal.shape[-1] for recording in recordings)
    thinning = np.uint64(max(1, total // _KEPT_HASHES))
    found, owners = [], []
    for code, recording in enumerate(recordings):
        hashes = _stretch_hashes(recording.signal)
        hashes = hashes[hashes % thinning == 0]
        found.append(hashes)
        owners.append(np.full(len(hashes), code))
    values, owner = np.concatenate(found), np.concatenate(owners)
    order = np.lexsort((owner, values))
    values, owner = values[order], owner[order]
    same = (values[1:] == values[:-1]) & (owner[1:] != owner[:-1])
    return np.unique(np.stack([owner[:-1][same], owner[1:][same]], axis=1), axis=0)


def _stretch_hashes(signal: np.ndarray) -> np.ndarray:
    n_times = signal.shape[-1] - _SNIPPET + 1
    if n_times < 1:
        return np.empty(0, dtype=np.uint64)
    generator = np.random.default_rng(20240101)
    # Adding zero turns -0.0 into 0.0, which compare equal but differ in their bits.
    bits = (np.ascontiguousarray(signal, dtype=np.float64) + 0.0).view(np.uint64)
    columns = np.zeros(signal.shape[-1], dtype=np.uint64)
    for channel in bits:
        columns = _mix(columns ^ channel)
    hashes = np.zeros(n_times, dtype=np.uint64)
    for offset, factor in enumerate(generator.integers(0, 2**63, _SNIPPET, dtype=np.uint64)):
        hashes += (factor * np.uint64(2) + np.uint64(1)) * columns[offset : offset + n_times]
    moves = np.concatenate([[0], np.cumsum((np.diff(signal, axis=-1) != 0).any(axis=0))])
    return _mix(hashes[moves[_SNIPPET - 1 :] - moves[:n_times] >= _SNIPPET // 2])


def _mix(values: np.ndarray) -> np.ndarray:
    """Finaliser of splitmix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _components(n: int, pairs: np.ndarray) -> np.ndarray:
    graph = coo_array((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def best_partners(scope: Scope, similarity: Similarity) -> np.ndarray:
    """Largest correlation of each tested recording with another, fitted recording, over all folds, ``(tested,)``."""
    best = []
    for fit, test in _compared(scope, similarity):
        block = np.where(test[:, None] == fit, 0.0, similarity.correlation[np.ix_(test, fit)])
        best.append(block.max(axis=1, initial=0.0))
    return np.concatenate(best)


def _compared(scope: Scope, similarity: Similarity) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions among the members of the fitted and of the tested recordings of each fold."""
    for fit, test in scope.codes("recording"):
        yield tuple(np.flatnonzero(np.isin(similarity.members, codes)) for codes in (fit, test))  # type: ignore[misc]


def check_duplicates(scope: Scope, similarity: Similarity, near_duplicate: float, windows: np.ndarray) -> Check:
    """Tested recordings with a copy, bit for bit or nearly, among the fitted ones.

    Args:
        scope: The split.
        similarity: Of the recordings.
        near_duplicate: Correlation above which a pair counts as a copy.
        windows: Best correlation of each probed window; empty when recordings were probed.
    """
    exact = tested = 0
    for fit, test in scope.codes("recording"):
        others = np.bincount(similarity.copies[fit], minlength=len(similarity.copies))[similarity.copies[test]]
        exact += int((others - np.isin(test, fit) > 0).sum())
        tested += len(test)
    near = int((best_partners(scope, similarity) > near_duplicate).sum())
    near_windows = int((windows > near_duplicate).sum())
    finding = (
        f"of {tested} tested recordings {exact} share {_SNIPPET} or more bit-identical samples with another training "
        f"recording, {near} correlate above {near_duplicate:g} with one"
    )
    if len(windows):
        finding += f"; {near_windows} of {len(windows)} probed windows do with a training window"
    if exact or near or near_windows > _TOLERATED * len(windows):
        return Check("duplicates", "leak", exact + near, finding, "Drop the copies, or put them into one group.")
    return Check("duplicates", "pass", 0, finding)


def check_partners(scope: Scope, similarity: Similarity) -> Check:
    """Tested recordings that correlate with a fitted one more than any rotated recording does."""
    if not len(similarity.members):
        return Check("simultaneous partners", "skip", None, f"recordings are {similarity.scope_note}")
    best = best_partners(scope, similarity)
    hits = int((best > similarity.threshold).sum())
    share = hits / max(len(best), 1)
    draws = len(similarity.null)
    finding = (
        f"{hits} of {len(best)} tested recordings have a training partner with |correlation| > "
        f"{similarity.threshold:.2f} (maximum of {draws} null draws {similarity.null.max():.2f}; "
        f"{similarity.scope_note})"
    )
    if not hits:
        return Check("simultaneous partners", "pass", 0.0, finding)
    return Check(
        "simultaneous partners",
        "leak" if share > _TOLERATED else "warn",
        share,
        finding,
        "Hold out connected recordings together: simultaneity_groups() makes the groups, split=group uses them."
        if share > _TOLERATED
        else "A pair or two can be chance: look at them.",
    )
