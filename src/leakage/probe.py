"""The untrained probe: label each tested item like the training item whose waveform is most alike.

A classifier has to learn something to be right; the probe cannot. Data that are honestly easy let it be right too, so
its accuracy alone proves nothing: it is compared with the same probe on the same items when all relatives of the item
(the recordings that :mod:`~neurotwin.leakage.similarity` finds simultaneous or copied, and its own) are taken out of
the training part. What it loses by that is what the split gives away, provided that its nearest waveforms are relatives
more often than chance makes them: taking relatives out also takes out items of the right class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from ..datamodules.simultaneity import peak_correlation, standardise
from .checks import Check, Scope
from .similarity import Similarity

#: The probe has to lose this much accuracy, and to meet relatives at this significance, to count as a leak.
_EXCESS, _SIGNIFICANCE = 0.02, 0.001


@dataclass(frozen=True)
class Probe:
    """What the probe reached over the tested items of all audited folds.

    Attributes:
        unit: ``recordings`` or ``windows``.
        best: Correlation with the most similar training item, ``(item,)``.
        right: Whether its label was the right one, ``(item,)``.
        right_without: The same with all relatives taken out, ``(item,)``.
        related: Whether a relative was among the training items, ``(item,)``.
        met: Whether the most similar training item was a relative, ``(item,)``.
        chance_met: Share of relatives among the training items, ``(item,)``.
        majority: Accuracy of always saying the most frequent training class.
        n_classes: Classes in the data.
        n_available: Tested items there were to choose from.
        leave_one_out: Accuracy when each recording may use all others, whatever the folds: what the data hold.
    """

    unit: str
    best: np.ndarray
    right: np.ndarray
    right_without: np.ndarray
    related: np.ndarray
    met: np.ndarray
    chance_met: np.ndarray
    majority: float
    n_classes: int
    n_available: int
    leave_one_out: float | None = None

    @property
    def accuracy(self) -> float:
        """Share of items labelled rightly."""
        return float(self.right.mean())

    @property
    def accuracy_without(self) -> float:
        """The same without relatives in training."""
        return float(self.right_without.mean())

    @property
    def significance(self) -> float:
        """One-sided binomial test that the most similar item is a relative more often than by chance."""
        # A binomial of the mean probability is wider than the sum of unequal draws: the test errs to the safe side.
        return float(binomtest(int(self.met.sum()), len(self.met), self.chance_met.mean(), "greater").pvalue)


def run_probe(
    scope: Scope, similarity: Similarity, max_lag_s: float, band_hz: tuple[float, float], budget: float, seed: int
) -> Probe:
    """Probe whole recordings where each has one label and lies in one part, windows otherwise.

    Windows cost more: as many tested ones as the budget allows are drawn, against all training windows.

    Args:
        scope: The split.
        similarity: Of the recordings.
        max_lag_s: Largest lag, s.
        band_hz: Pass band.
        budget: Multiply-adds it may cost.
        seed: Of the draw.
    """
    recording, target = scope.columns["recording"], scope.columns["target"]
    n_recordings = len(similarity.families)
    label = np.full(n_recordings, -1)
    label[recording] = target
    whole = np.array_equal(label[recording], target) and len(similarity.members) > 0
    if whole and not any(len(np.intersect1d(fit, test)) for fit, test in scope.codes("recording")):
        return _probe_recordings(scope, similarity, label)
    return _probe_windows(scope, similarity, max_lag_s, band_hz, budget, seed)


def _probe_recordings(scope: Scope, similarity: Similarity, label: np.ndarray) -> Probe:
    members = similarity.members
    outcomes = []
    for fit, test in scope.codes("recording"):
        fit_at, test_at = (np.flatnonzero(np.isin(members, codes)) for codes in (fit, test))
        search = _Search(label[members[test_at]], similarity.families[members[test_at]])
        search.add(
            similarity.correlation[np.ix_(test_at, fit_at)],
            label[members[fit_at]],
            similarity.families[members[fit_at]],
        )
        outcomes.append(search)
    own = label[members]
    everyone = float((own[similarity.correlation.argmax(axis=1)] == own).mean())
    tested = sum(len(test) for _, test in scope.codes("recording"))
    return _pool("recordings", outcomes, label, tested, everyone)


def _probe_windows(
    scope: Scope, similarity: Similarity, max_lag_s: float, band_hz: tuple[float, float], budget: float, seed: int
) -> Probe:
    first = scope.datamodule.recordings[0]
    rate, values = first.sampling_rate_hz, scope.window * first.signal.shape[0]
    lag = max(1, round(max_lag_s * rate))
    target, family = scope.columns["target"], similarity.families[scope.columns["recording"]]
    generator = np.random.default_rng(seed)

    def read(rows: np.ndarray) -> np.ndarray:
        # Standardising undoes whatever scale a fold gave its channels, so one fold's windows serve all.
        return standardise(scope.datamodule.signal(rows, scope.parts[0].fold), rate, band_hz)

    tested, searches = [], []
    for part in scope.parts:
        affordable = budget / len(scope.parts) / ((2 * lag + 1) * values * len(part.fit))
        test = generator.permutation(part.test)[: max(20, int(affordable))]
        tested.append(read(test))
        searches.append(_Search(target[test], family[test]))
    # Eight million values a piece: about 200 MB with the filter's double precision.
    step = max(1, 2**23 // values)
    for begin in range(0, len(target), step):
        rows = np.arange(begin, min(begin + step, len(target)))
        fitted = [np.isin(rows, part.fit) for part in scope.parts]
        if not np.any(fitted):
            continue
        prepared = read(rows)
        for windows, search, mask in zip(tested, searches, fitted, strict=True):
            if mask.any():
                block = peak_correlation(windows, prepared[mask], lag)
                search.add(block, target[rows[mask]], family[rows[mask]])
    return _pool("windows", searches, target, sum(len(part.test) for part in scope.parts))


class _Search:
    """The most similar training item of each tested item, with and without relatives, over pieces of training items."""

    def __init__(self, label: np.ndarray, family: np.ndarray):
        self.label, self.family = label, family
        self.best, self.said = (np.full((2, len(label)), -1.0), np.full((2, len(label)), -1))
        self.met = np.zeros(len(label), dtype=bool)
        self.n_related = np.zeros(len(label), dtype=np.int64)
        self.trained: list[np.ndarray] = []

    def add(self, correlation: np.ndarray, label: np.ndarray, family: np.ndarray) -> None:
        relatives = self.family[:, None] == family
        self.n_related += relatives.sum(axis=1)
        self.trained.append(label)
        for which, block in enumerate((correlation, np.where(relatives, -1.0, correlation))):
            nearest = block.argmax(axis=1)
            value = block[np.arange(len(block)), nearest]
            better = value > self.best[which]
            self.best[which][better] = value[better]
            self.said[which][better] = label[nearest[better]]
            if which == 0:
                self.met[better] = relatives[np.arange(len(block)), nearest][better]

    @property
    def chance_met(self) -> np.ndarray:
        """Share of relatives among all training items, ``(item,)``."""
        return self.n_related / sum(map(len, self.trained))


def _pool(
    unit: str, searches: list[_Search], labels: np.ndarray, n_available: int, leave_one_out: float | None = None
) -> Probe:
    label = np.concatenate([search.label for search in searches])
    said = np.concatenate([search.said for search in searches], axis=1)
    frequent = [np.bincount(np.concatenate(search.trained)).argmax() for search in searches]
    guess = np.concatenate([np.full(len(s.label), f) for s, f in zip(searches, frequent, strict=True)])
    return Probe(
        unit=unit,
        best=np.concatenate([search.best[0] for search in searches]),
        right=said[0] == label,
        right_without=said[1] == label,
        related=np.concatenate([search.n_related > 0 for search in searches]),
        met=np.concatenate([search.met for search in searches]),
        chance_met=np.concatenate([search.chance_met for search in searches]),
        majority=float((guess == label).mean()),
        n_classes=len(np.unique(labels[labels >= 0])),
        n_available=n_available,
        leave_one_out=leave_one_out,
    )


def check_probe(probe: Probe) -> Check:
    """Whether the probe gains from relatives in the training part."""
    everyone = "" if probe.leave_one_out is None else f", {probe.leave_one_out:.1%} leaving one recording out"
    reached = (
        f"nearest training waveform gives the right one of {probe.n_classes} labels for {probe.accuracy:.1%} of "
        f"{len(probe.right)} {probe.unit} (of {probe.n_available}; majority class {probe.majority:.1%}{everyone})"
    )
    if not probe.related.any():
        return Check("untrained probe", "pass", probe.accuracy, f"{reached}; none has a relative in training")
    excess = probe.accuracy - probe.accuracy_without
    finding = (
        f"{reached}, {probe.accuracy_without:.1%} once relatives are taken out; for {probe.met.mean():.1%} the nearest "
        f"is a relative ({probe.chance_met.mean():.1%} by chance, p = {probe.significance:.2g})"
    )
    if excess >= _EXCESS and probe.significance < _SIGNIFICANCE:
        remedy = "A model can score this without learning the task: hold out relatives together."
        return Check("untrained probe", "leak", probe.accuracy, finding, remedy)
    return Check("untrained probe", "pass", probe.accuracy, finding)
