"""Which pairs of regions drive a prediction: integrated gradients on the baseline connectivity."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

_STEPS = 8


def attributions(model: Callable[[Tensor], Tensor], baseline: Tensor, reference: Tensor) -> NDArray[np.float64]:
    """How much each pair of the baseline contributes to the size of the predicted change.

    Integrated gradients (Sundararajan et al. 2017) of half the sum of squared predicted changes, along the line from
    ``reference``. No region is named to the method, so that a network found by it was found by the model. For every
    person they add up to the difference of that size between the person and the reference, up to the midpoint rule.

    Args:
        model: Baseline ``(batch, roi, roi)`` to change ``(batch, roi, roi)``, in evaluation mode.
        baseline: People, ``(person, roi, roi)``.
        reference: Where the path begins, such as the training people's mean, ``(roi, roi)``.

    Returns:
        ``(person, pair)``, pairs row by row above the diagonal.
    """
    first, second = torch.triu_indices(baseline.shape[-1], baseline.shape[-1], 1, device=baseline.device)
    rows = []
    for person in baseline:
        total = torch.zeros_like(person)
        for step in range(_STEPS):
            point = reference + (step + 0.5) / _STEPS * (person - reference)
            point = point.detach().unsqueeze(0).requires_grad_()
            with torch.enable_grad():
                size = model(point)[:, first, second].square().sum() / 2
            # A rule without slopes does not depend on its input at all.
            slope = torch.autograd.grad(size, point)[0][0] if size.requires_grad else torch.zeros_like(person)
            total += (slope + slope.T) / _STEPS
        rows.append((total * (person - reference))[first, second])
    return torch.stack(rows).double().cpu().numpy()


def recovery(values: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of a map of pairs ``(pair,)`` against the pairs that truly belong, ``(pair,)``."""
    return float(roc_auc_score(truth, values))
