"""Integrated gradients: exact on a rule that can be done by hand, complete on any, and what they recover."""

import numpy as np
import torch
from neurotwin.models.connectome import edges_of, from_edges
from neurotwin.tasks.connectivity_explain import attributions

N, E = 6, 15


def test_attributions_of_a_linear_rule_by_hand():
    """Change = w x pair by pair: the path integral of w^2 x (x - r) is w^2 (x - r) (x + r) / 2."""
    generator = torch.Generator().manual_seed(0)
    w, x, r = (torch.rand(E, generator=generator) for _ in range(3))
    weight = from_edges(w, N)
    found = attributions(lambda matrix: weight * matrix, from_edges(x, N)[None], from_edges(r, N))
    np.testing.assert_allclose(found[0], w.square() * (x - r) * (x + r) / 2, rtol=1e-5)


def test_attributions_add_up_to_what_the_prediction_gained():
    torch.manual_seed(0)
    layer = torch.nn.Linear(N, N)

    def model(matrix):
        out = torch.tanh(layer(matrix))
        return out + out.mT

    people, reference = (from_edges(torch.randn(k, E), N) for k in (3, 1))
    found = attributions(model, people, reference[0]).sum(1)
    size = [edges_of(model(x)).square().sum(1).detach() / 2 for x in (people, reference)]
    np.testing.assert_allclose(found, size[0] - size[1], rtol=0.05)
    assert attributions(torch.zeros_like, people, reference[0]).abs().max() == 0


def test_tensors_of_a_test_loop_can_be_explained():
    """Lightning tests in inference mode, whose tensors autograd refuses."""
    with torch.inference_mode():
        people = torch.ones(2, N, N)
        found = attributions(lambda matrix: 2 * matrix, people, torch.zeros(N, N))
    np.testing.assert_allclose(found, 2.0)
