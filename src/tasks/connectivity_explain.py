"""Which pairs of regions drive a prediction: integrated gradients on the baseline connectivity."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_STEPS = 8


def attributions(model: Callable[[Tensor], Tensor], baseline: Tensor, reference: Tensor) -> Tensor:
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
    rows = []
    with torch.inference_mode(False), torch.enable_grad():
        first, second = torch.triu_indices(baseline.shape[-1], baseline.shape[-1], 1, device=baseline.device)
        origin = reference.clone()  # tensors of Lightning's test loop take no part in gradients, their copies do
        for person in baseline:
            way = person.clone() - origin
            total = torch.zeros_like(way)
            for step in range(_STEPS):
                point = (origin + (step + 0.5) / _STEPS * way).unsqueeze(0).requires_grad_()
                size = model(point)[:, first, second].square().sum() / 2
                # A rule without slopes does not depend on its input at all.
                slope = torch.autograd.grad(size, point)[0][0] if size.requires_grad else torch.zeros_like(way)
                total += (slope + slope.T) / _STEPS
            rows.append((total * way)[first, second].detach())
    return torch.stack(rows)
