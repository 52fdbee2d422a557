"""Classic baselines as models of the shared loop: scikit-learn and aeon estimators fitted in closed form.

A model here has ``fit(inputs, targets)``, called once with the whole training set instead of gradient steps, and the
same ``forward`` as a network. The fitted estimator travels in the checkpoint as bytes of a skops archive, so that
loading one runs no code: pickle is never used, and types outside an explicit list are refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import skops.io
import torch
from aeon.transformations.collection.convolution_based import MiniRocket
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skops.io.exceptions import UntrustedTypesFoundException
from torch import Tensor, nn

from ..errors import ConfigError, DataError
from .spectral_features import SpectralFeatures

#: Probabilities are floored before the logarithm: a forest gives exact zeros.
_LEAST_PROBABILITY = 1e-6
#: Types beyond skops' own list that a checkpoint of these models may hold.
_TRUSTED = [
    "sklearn.utils._bunch.Bunch",
    # Node storage of a forest: skops distrusts it because scikit-learn follows its indices unchecked; we check them.
    "sklearn.tree._tree.Tree",
    "aeon.transformations.collection.convolution_based._minirocket.MiniRocket",
    "sklearn.linear_model._ridge._IdentityClassifier",
    "sklearn.linear_model._ridge._RidgeGCV",
]


class ClosedFormClassifier(nn.Module):
    """Base of the classifiers that are fitted in one call.

    Subclasses write :meth:`features` and :meth:`build`, and :meth:`log_probabilities` where the estimator has no
    ``predict_proba``.

    Args:
        n_outputs: Classes.
        seed: Seed of the estimator.
    """

    def __init__(self, n_outputs: int, seed: int = 0):
        super().__init__()
        self.n_outputs = n_outputs
        self.seed = seed
        self.estimator: Any = None

    def features(self, inputs: Tensor) -> np.ndarray:
        """Turn windows ``(n, channel, time)`` into what the estimator takes, ``(n, …)``."""
        raise NotImplementedError

    def build(self) -> Any:
        """Return a fresh, unfitted estimator."""
        raise NotImplementedError

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """Log-probabilities ``(n, class seen in training)``."""
        return np.log(np.maximum(self.estimator.predict_proba(features), _LEAST_PROBABILITY))

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit the estimator to the whole training set.

        Args:
            inputs: Windows, ``(n, channel, time)``.
            targets: Classes, ``(n,)``, integers below ``n_outputs``.

        Raises:
            DataError: The training set holds fewer than two classes, or a class that ``n_outputs`` excludes.
        """
        self.require_classes(targets)
        self.estimator = self.build().fit(self.features(inputs), targets.cpu().numpy())

    def require_classes(self, targets: Tensor) -> None:
        """Raise a :class:`DataError` where :meth:`fit` cannot work with the classes that are there."""
        present = torch.unique(targets).tolist()
        if len(present) < 2 or present[0] < 0 or present[-1] >= self.n_outputs:
            raise DataError(
                f"{type(self).__name__} cannot be fitted to classes {present} of n_outputs={self.n_outputs}: the "
                "training set needs at least two classes, all below n_outputs; check the datamodule's classes and fold"
            )

    def forward(self, inputs: Tensor) -> Tensor:
        """Classify windows.

        Args:
            inputs: Windows, ``(n, channel, time)``.

        Returns:
            Log-probabilities, ``(n, n_outputs)``; their softmax is the probability. A class that the training set
            lacked gets the floor, 1e-6.

        Raises:
            ConfigError: The model was not fitted.
        """
        if self.estimator is None:
            raise ConfigError(
                f"{type(self).__name__} is not fitted: train it first, or load a checkpoint of a trained run"
            )
        logits = np.full((len(inputs), self.n_outputs), np.log(_LEAST_PROBABILITY))
        logits[:, self.estimator.classes_] = self.log_probabilities(self.features(inputs))
        return torch.as_tensor(logits, dtype=torch.float32, device=inputs.device)

    def get_extra_state(self) -> Tensor:
        """The fitted estimator as bytes, ``(byte,)``, uint8; empty before :meth:`fit`."""
        archive = b"" if self.estimator is None else skops.io.dumps(self.estimator)
        return torch.frombuffer(bytearray(archive), dtype=torch.uint8) if archive else torch.empty(0, dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what :meth:`get_extra_state` gave.

        Raises:
            DataError: The bytes are no skops archive, or hold types that these models never store.
        """
        if not state.numel():
            self.estimator = None
            return
        where = f"the checkpoint of {type(self).__name__}"
        try:
            estimator = skops.io.loads(state.cpu().numpy().tobytes(), trusted=_TRUSTED)
            _check_trees(estimator)
            self.estimator = estimator
        except UntrustedTypesFoundException as error:
            raise DataError(
                f"{where} holds types that it never writes, so it was not loaded: {error}. The file comes from "
                "elsewhere or was tampered with; train the model again"
            ) from error
        except Exception as error:  # skops raises whatever zipfile, json and numpy raise on damaged bytes
            raise DataError(f"{where} is damaged ({error}): copy the file again or train the model again") from error


class SpectralClassifier(ClosedFormClassifier):
    """An estimator on :class:`~neurotwin.models.spectral_features.SpectralFeatures`.

    Args:
        n_channels: Channels of a window.
        n_outputs: Classes.
        sampling_rate_hz: Samples per second.
        seed: Seed of the estimator.
    """

    def __init__(self, n_channels: int, n_outputs: int, sampling_rate_hz: float, seed: int = 0):
        super().__init__(n_outputs, seed)
        self.spectral = SpectralFeatures(n_channels, sampling_rate_hz)

    def features(self, inputs: Tensor) -> np.ndarray:
        """Spectral features, ``(n, feature)``."""
        return self.spectral(inputs).cpu().numpy()


class SpectralLogisticRegression(SpectralClassifier):
    """Multinomial logistic regression on standardised spectral features.

    Args:
        n_channels: Channels of a window.
        n_outputs: Classes.
        sampling_rate_hz: Samples per second.
        inverse_penalty: Inverse strength of the L2 penalty (scikit-learn's ``C``).
        seed: Unused by the convex solver; accepted so that every model of a sweep takes one.
    """

    def __init__(
        self, n_channels: int, n_outputs: int, sampling_rate_hz: float, inverse_penalty: float = 1.0, seed: int = 0
    ):
        super().__init__(n_channels, n_outputs, sampling_rate_hz, seed)
        self.inverse_penalty = inverse_penalty

    def build(self) -> Any:
        """Scaler and logistic regression."""
        return make_pipeline(StandardScaler(), LogisticRegression(C=self.inverse_penalty, max_iter=5000))


class SpectralForest(SpectralClassifier):
    """Random forest on spectral features.

    Args:
        n_channels: Channels of a window.
        n_outputs: Classes.
        sampling_rate_hz: Samples per second.
        n_trees: Trees.
        min_samples_leaf: Least windows in a leaf.
        seed: Seed of bootstrap and feature draws.
    """

    def __init__(
        self,
        n_channels: int,
        n_outputs: int,
        sampling_rate_hz: float,
        n_trees: int = 150,
        min_samples_leaf: int = 1,
        seed: int = 0,
    ):
        super().__init__(n_channels, n_outputs, sampling_rate_hz, seed)
        self.n_trees = n_trees
        self.min_samples_leaf = min_samples_leaf

    def build(self) -> Any:
        """Random forest."""
        return RandomForestClassifier(self.n_trees, min_samples_leaf=self.min_samples_leaf, random_state=self.seed)


class MiniRocketRidge(ClosedFormClassifier):
    """MiniRocket transform and a ridge classifier (Dempster, Schmidt & Webb 2021), aeon's implementation.

    The ridge gives decision values, not probabilities. They are divided by one temperature that minimises the
    log-loss of the leave-one-out decision values of the training windows, which the ridge has in closed form. Windows
    that resemble each other (overlapping, simultaneous) make leave-one-out too optimistic and the result too sure.

    Args:
        n_outputs: Classes.
        n_kernels: Kernels, rounded down to a multiple of 84 by the method.
        decimate: Keep every n-th sample after averaging n neighbours; 2 halves the cost.
        seed: Seed of the dilations' bias draws.
    """

    temperature: Tensor

    def __init__(self, n_outputs: int, n_kernels: int = 5000, decimate: int = 1, seed: int = 0):
        super().__init__(n_outputs, seed)
        if n_kernels < 84 or decimate < 1:
            raise ConfigError(f"{n_kernels=}, {decimate=}: MiniRocket needs n_kernels >= 84 and decimate >= 1")
        self.n_kernels = n_kernels
        self.decimate = decimate
        self.register_buffer("temperature", torch.ones((), dtype=torch.float64))

    def features(self, inputs: Tensor) -> np.ndarray:
        """Decimated windows, ``(n, channel, time / decimate)``, float32."""
        if inputs.shape[-1] // self.decimate < 9:
            raise ConfigError(
                f"MiniRocket needs windows of at least {9 * self.decimate} samples with decimate={self.decimate}, got "
                f"{inputs.shape[-1]}"
            )
        return nn.functional.avg_pool1d(inputs.float(), self.decimate).cpu().numpy()

    def build(self) -> Any:
        """MiniRocket, scaler and ridge with its penalty chosen by leave-one-out accuracy."""
        return make_pipeline(
            MiniRocket(n_kernels=self.n_kernels, random_state=self.seed, n_jobs=1),
            StandardScaler(),
            RidgeClassifierCV(alphas=np.logspace(-1, 5, 7), scoring="accuracy", store_cv_results=True),
        )

    def fit(self, inputs: Tensor, targets: Tensor) -> None:
        """Fit the estimator, then the temperature; see :class:`ClosedFormClassifier`."""
        super().fit(inputs, targets)
        ridge = self.estimator[-1]
        best = int(np.argmin(np.abs(np.log(ridge.alphas) - np.log(ridge.alpha_))))
        held_out = _as_logits(ridge.cv_results_[..., best])
        rows, columns = np.arange(len(targets)), np.searchsorted(ridge.classes_, targets.cpu().numpy())
        del ridge.cv_results_

        def log_loss(log_temperature: float) -> float:
            return float(-log_softmax(held_out / np.exp(log_temperature), axis=1)[rows, columns].mean())

        self.temperature.fill_(np.exp(minimize_scalar(log_loss, bounds=(-6.0, 3.0), method="bounded").x))

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        """Log-softmax of the decision values over the temperature."""
        decision = _as_logits(self.estimator.decision_function(features))
        return np.maximum(log_softmax(decision / self.temperature.item(), axis=1), np.log(_LEAST_PROBABILITY))


def _check_trees(estimator: Any) -> None:
    """Check every decision tree of a forest, or of an ensemble that holds one."""
    if hasattr(estimator, "tree_"):
        _check_nodes(estimator.tree_, estimator.n_features_in_)
    for _, step in getattr(estimator, "steps", []):
        _check_trees(step)
    for member in getattr(estimator, "estimators_", []):
        _check_trees(member)


def _check_nodes(tree: Any, n_features: int) -> None:
    """Refuse a decision tree whose node indices lead outside it, or in a circle: prediction would crash or hang."""
    parents = np.arange(tree.node_count)
    leaves = tree.children_left == -1
    for children in (tree.children_left, tree.children_right):
        inside = (children > parents) & (children < tree.node_count)
        if not np.where(leaves, children == -1, inside).all():
            raise ValueError("a decision tree points outside itself")
    if not np.where(leaves, True, (tree.feature >= 0) & (tree.feature < n_features)).all():
        raise ValueError(f"a decision tree asks for a feature beyond the {n_features} that exist")
    if len(tree.value) != tree.node_count:
        raise ValueError("a decision tree has nodes without a value")


def _as_logits(decision: np.ndarray) -> np.ndarray:
    """One column a class: two classes come as one signed margin."""
    decision = decision.reshape(len(decision), -1)
    return np.concatenate([-decision, decision], axis=1) if decision.shape[1] == 1 else decision
