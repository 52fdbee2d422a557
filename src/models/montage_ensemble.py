"""Ictal or not, for a patient never seen: a linear and a tree model on pooled features of the montage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from .classic import ClosedFormClassifier
from .montage_features import MontageFeatures


class MontageEnsemble(ClosedFormClassifier):
    r"""Mean probability of logistic regression and extremely randomised trees on :class:`MontageFeatures`.

    Features are standardised with the training set and squashed, :math:`z' = 3 \tanh(z / 3)`, so that an artefact
    in one of them cannot decide alone. The heavy penalty is what carries over to new patients: with a dozen of them,
    several hundred correlated features vote rather than one being picked. Trees (Geurts 2006) add interactions; the
    two err on different patients.

    The model sees one window at a time. Nothing of the recording, of the windows before or of the patient enters, so
    it runs causally as it is, and the label of a clip cannot leak through its context.

    Args:
        n_channels: Channels of a window, at least 4.
        n_outputs: Classes.
        sampling_rate_hz: Samples per second, at least 110.
        channel_names: One name a channel; tells which channels mirror each other, empty where that is unknown.
        inverse_penalty: Inverse strength of the L2 penalty of the regression (scikit-learn's ``C``).
        n_trees: Trees.
        features_per_split: Share of the features that a split chooses from.
        min_samples_leaf: Least windows in a leaf.
        seed: Seed of the trees.

    Example:
        >>> model = MontageEnsemble(n_channels=18, n_outputs=2, sampling_rate_hz=128.0, n_trees=10)
        >>> model.fit(torch.randn(40, 18, 512), torch.arange(40) % 2)
        >>> model(torch.randn(3, 18, 512)).shape
        torch.Size([3, 2])
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        sampling_rate_hz: float,
        channel_names: Sequence[str] = (),
        inverse_penalty: float = 0.003,
        n_trees: int = 150,
        features_per_split: float = 0.05,
        min_samples_leaf: int = 3,
        seed: int = 0,
    ):
        super().__init__(n_outputs, seed)
        self.inverse_penalty = inverse_penalty
        self.n_trees = n_trees
        self.features_per_split = features_per_split
        self.min_samples_leaf = min_samples_leaf
        self.describe = MontageFeatures(n_channels, sampling_rate_hz, channel_names)
        self.register_buffer("mean", torch.zeros(self.describe.n_features, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(self.describe.n_features, dtype=torch.float64))

    def features(self, inputs: Tensor) -> np.ndarray:
        """Standardised and squashed montage features, ``(n, feature)``."""
        return self._squash(self.describe(inputs)).cpu().numpy()

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit the standardisation, then both members; see :class:`ClosedFormClassifier`."""
        self.require_classes(targets)
        features = self.describe(inputs)
        self.mean.copy_(features.mean(0))
        self.scale.copy_(features.std(0) + 1e-9)
        self.estimator = self.build().fit(self._squash(features).cpu().numpy(), targets.cpu().numpy())

    def build(self) -> Any:
        """Both members, joined by the mean of their probabilities."""
        trees = ExtraTreesClassifier(
            self.n_trees,
            max_features=self.features_per_split,
            min_samples_leaf=self.min_samples_leaf,
            random_state=self.seed,
        )
        regression = LogisticRegression(C=self.inverse_penalty, max_iter=1000)
        return VotingClassifier([("regression", regression), ("trees", trees)], voting="soft")

    def _squash(self, features: Tensor) -> Tensor:
        return 3 * torch.tanh((features - self.mean) / self.scale / 3)
