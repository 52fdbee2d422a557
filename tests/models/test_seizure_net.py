"""SeizureNet: the inferred size, the ablations, shapes, errors."""

import pickle

import pytest
import torch
from neurotwin.errors import ConfigError
from neurotwin.models.seizure_net import SeizureNet, SeizureUnit


def parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_default_has_the_inferred_size():
    assert parameters(SeizureNet(n_channels=1, n_outputs=5, n_times=512)) == 48_437


@pytest.mark.parametrize(("n_channels", "n_times"), [(1, 512), (18, 512), (19, 2560), (3, 509)])
def test_logits_and_gradients(n_channels, n_times):
    model = SeizureNet(n_channels, 3, n_times)
    logits = model(torch.randn(4, n_channels, n_times))
    assert logits.shape == (4, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_unit_without_recurrence_is_pooled_relu_of_the_normalised_convolution():
    unit = SeizureUnit(1, 1, kernel_size=3, stride=1, lstm_hidden=None, gru_hidden=None, pool=2).eval()
    with torch.no_grad():
        unit.conv.weight.copy_(torch.tensor([[[0.0, 1.0, -1.0]]]))
        unit.conv.bias.zero_()
        out = unit(torch.tensor([[[5.0, 1.0, 2.0, 8.0]]]))
    # x[t] - x[t + 1] = 4, -1, -6, 8; ReLU 4, 0, 0, 8; means of pairs 2, 4; a fresh batch norm divides by sqrt(1 + eps).
    torch.testing.assert_close(out, torch.tensor([[[2.0, 4.0]]]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "ablation", [{"lstm": False}, {"gru": False}, {"lstm": False, "gru": False}, {"pool": 1}, {"n_units": 1}]
)
def test_ablations_run_and_change_the_size(ablation):
    model = SeizureNet(1, 2, 512, **ablation)
    assert model(torch.zeros(2, 1, 512)).shape == (2, 2)
    assert parameters(model) != parameters(SeizureNet(1, 2, 512))


def test_recurrences_go_when_switched_off():
    kinds = {type(module) for module in SeizureNet(1, 2, 512, lstm=False).modules()}
    assert torch.nn.LSTM not in kinds
    assert torch.nn.GRU in kinds
    kinds = {type(module) for module in SeizureNet(1, 2, 512, gru=False).modules()}
    assert torch.nn.LSTM in kinds
    assert torch.nn.GRU not in kinds


def test_shortest_window_works_and_one_sample_less_is_refused():
    with pytest.raises(ConfigError, match=r"n_times=100 is too short .* at least 505 samples .* model\.strides"):
        SeizureNet(1, 2, 100)
    assert SeizureNet(1, 2, 505)(torch.zeros(2, 1, 505)).shape == (2, 2)
    with pytest.raises(ConfigError, match="too short"):
        SeizureNet(1, 2, 504)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": [8, 8]}, r"filters=\[8, 8\] has 2 entries for n_units=3"),
        ({"strides": [8, 0, 1]}, r"strides=\[8, 0, 1\]: every entry must be at least 1"),
        ({"n_units": 0}, "n_units=0 must be at least 1"),
    ],
)
def test_wrong_sizes_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SeizureNet(1, 2, 512, **arguments)


def test_other_window_length_is_refused_at_the_call():
    with pytest.raises(ConfigError, match=r"got windows of \(1, 600\).*built for \(1, 512\)"):
        SeizureNet(1, 2, 512)(torch.zeros(2, 1, 600))


def test_state_dict_and_pickle_round_trip():
    model = SeizureNet(2, 3, 512).eval()
    x = torch.randn(3, 2, 512)
    other = SeizureNet(2, 3, 512).eval()
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(x), model(x))
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), model(x))
