"""Assimilation: the optimiser on closed forms, the recursion, recovery of known neurons, exact resume, posterior."""

import numpy as np
import pytest
import torch
from neurotwin.biophysics.simulate import follow, simulate
from neurotwin.config import compose
from neurotwin.contracts import ClampBatch
from neurotwin.engine import launch, resume
from neurotwin.errors import ConfigError
from neurotwin.models.conductance import ConductanceModel
from neurotwin.tasks.assimilation import Assimilation, _pairs_of_repeats
from neurotwin.tasks.laplace import correlation_time, directions
from neurotwin.tasks.levenberg import LevenbergMarquardt, Normal
from neurotwin.tasks.recursion import Nudging, Pinning

LEAK = ({"L": {"reversal": "L"}}, {}, {"g_L": 0.1, "E_L": -65.0})
FAST = [
    *("datamodule.duration_ms=220", "datamodule.fit_ms=80", "datamodule.window_ms=40", "model.n_starts=2"),
    "task.iterations=30",
]


def quadratic(target, scale, floor=0.0):
    parameter = torch.nn.Parameter(torch.zeros_like(target))

    def closure():
        d = parameter.detach() - target
        return Normal((scale * d * d).sum(1) + floor, scale * d, torch.diag_embed(scale.expand_as(d)))

    return parameter, closure


def test_the_optimiser_solves_quadratics_inside_the_box_each_at_its_own_pace():
    target = torch.tensor([[0.5, -0.3], [2.0, 0.1]], dtype=torch.float64)
    parameter, closure = quadratic(target, torch.tensor([1.0, 1e-3], dtype=torch.float64))
    optimiser = LevenbergMarquardt([{"params": [parameter], "lower": -1.0, "upper": 1.0}])
    for _ in range(60):
        if not optimiser.active.any():
            break
        optimiser.step(closure)
    torch.testing.assert_close(parameter.detach(), target.clamp(max=1.0), rtol=0, atol=1e-4)
    assert not optimiser.active.any()


def test_a_step_that_diverges_is_taken_back():
    parameter = torch.nn.Parameter(torch.zeros(1, 1, dtype=torch.float64))

    def closure():
        x = parameter.item()
        cost = torch.tensor([np.inf if x > 0.1 else 1 - x])
        return Normal(cost, torch.tensor([[-0.5]]).double(), torch.tensor([[[1.0]]]).double())

    optimiser = LevenbergMarquardt([parameter])
    optimiser.step(closure)
    assert parameter.item() == 0
    for _ in range(10):
        optimiser.step(closure)
    assert 0 < parameter.item() <= 0.1


@pytest.mark.parametrize(("share", "factor"), [(0.9, 0.2), (0.5, 1.0), (0.1, 4.0)])
def test_damping_follows_how_much_of_the_promised_fall_was_kept(share, factor):
    parameter = torch.nn.Parameter(torch.zeros(1, 1, dtype=torch.float64))

    def closure():
        d = parameter.item()
        promised = 2 * 0.1 * d - d * d  # of cost 1 with this gradient and curvature at 0
        return Normal(*(torch.tensor(x).double() for x in ([1 - share * promised], [[-0.1]], [[[1.0]]])))

    optimiser = LevenbergMarquardt([parameter], damping=1.0, by_gain=True)
    optimiser.step(closure)
    assert float(optimiser._damping) == pytest.approx(factor)


def test_small_falls_under_heavy_damping_are_no_minimum_where_the_undamped_step_promises_more():
    active = {}
    for by_gain in (True, False):
        parameter, closure = quadratic(torch.full((1, 2), 0.4).double(), torch.tensor([1.0, 1.0]).double(), 1.0)
        optimiser = LevenbergMarquardt([parameter], damping=1e7, by_gain=by_gain)
        for _ in range(2):
            optimiser.step(closure)
        active[by_gain] = bool(optimiser.active)
        for _ in range(60):
            optimiser.step(closure)
        if by_gain:
            torch.testing.assert_close(parameter.detach(), torch.full((1, 2), 0.4).double(), rtol=0, atol=1e-3)
    assert active == {True: True, False: False}


def test_a_pass_may_have_its_own_tolerance():
    taken = []
    for tolerance in (None, 0.9):
        parameter, closure = quadratic(torch.full((1, 2), 0.4).double(), torch.tensor([1.0, 1e-3]).double(), 1.0)
        optimiser = LevenbergMarquardt([parameter])
        optimiser.restart(tolerance)
        taken.append(0)
        while optimiser.active.any():
            optimiser.step(closure)
            taken[-1] += 1
    assert taken[1] == 2
    assert taken[0] > 2


def test_recursions_let_go():
    assert [Nudging([np.inf, 1.0, 0.0]).gain(k, 3)[0] for k in range(4)] == [np.inf, 1.0, 0.0, 0.0]
    assert np.isinf(Pinning([1, 4, 0]).gain(1, 9)).tolist() == [
        True,
        False,
        False,
        False,
        True,
        False,
        False,
        False,
        True,
    ]
    assert not Pinning([1, 4, 0]).gain(2, 9).any()
    with pytest.raises(ConfigError, match=r"task\.recursion\.gains=\[-1\.0\]"):
        Nudging([-1.0])


def passive(conditions=("control",)):
    model = ConductanceModel(
        *LEAK, sampling_rate_hz=20_000.0, conditions=conditions, start="values", fixed=["capacitance", "area"]
    )
    n, rng = 2000, np.random.default_rng(0)
    current = np.repeat(rng.normal(0, 2, 20), 100)
    true = {"g_L": 0.13, "E_L": -60.0}
    voltages = []
    for ratio in (1.0, 0.4)[: len(conditions)]:
        v = np.full(n, true["E_L"])
        for k in range(n - 1):
            rest = true["E_L"] + 0.5 * (current[k] + current[k + 1]) / (ratio * true["g_L"])
            v[k + 1] = rest + (v[k] - rest) * np.exp(-0.05 * ratio * true["g_L"])
        voltages.append(v + 0.2 * rng.normal(size=n))
    many = len(conditions)
    whole = [np.zeros(many, int), np.arange(many), np.arange(many), np.arange(many)]
    arrays = [np.stack(voltages), np.stack([current] * many), np.zeros((many, n, 1)), *whole]
    return model, ClampBatch(*map(torch.from_numpy, arrays))


def fit(model, batch, gain=0.0):
    task = Assimilation(model, optimizer=LevenbergMarquardt, objective=None)
    optimiser = task.configure_optimizers()
    for _ in range(40):
        if optimiser.active.any():
            optimiser.step(lambda: task._normal(batch, np.full(batch.voltage.shape[1], gain), optimiser.active))
    task._update_posterior(batch, np.full(batch.voltage.shape[1], gain), optimiser)
    return task


def test_a_passive_membrane_is_recovered_with_its_standard_error():
    model, batch = passive()
    task = fit(model, batch)
    theta = dict(zip(model.neuron.names, model.theta(), strict=True))
    assert theta["g_L"] == pytest.approx(0.13, rel=0.02)
    assert theta["E_L"] == pytest.approx(-60.0, abs=0.1)
    # By hand: the curvature of the summed squares over the noise variance, from finite differences of the two unknowns
    run = []
    for j in range(2):
        for sign in (1, -1):
            shifted = model.box[0].detach().numpy().copy()
            shifted[j] += sign * 1e-4
            run.append(task._follow(batch, 0, model.theta_of(shifted), 0.0).voltage)
    slopes = np.stack([(run[0] - run[1]), (run[2] - run[3])]) / 2e-4
    expected = np.linalg.inv(slopes @ slopes.T / 0.2**2)
    np.testing.assert_allclose(task.covariance.numpy(), expected, rtol=0.25)


def test_a_joint_fit_finds_what_a_drug_left():
    model, batch = passive(("control", "drug"))
    task = fit(model, batch)
    sd = float(task.covariance.diagonal()[-1].sqrt())
    change = model.change[0, 0, 0].item()
    assert abs(change - np.log(0.4)) < 3 * sd
    assert 0 < sd < 0.05


def test_a_shared_current_has_the_same_conductance_of_either_sign_in_all_conditions():
    currents = {"L": {"reversal": "L"}, "R": {"reversal": "R"}}
    model = ConductanceModel(
        currents, {}, {"g_L": 0.1, "E_L": -65.0, "g_R": 0.0, "E_R": -90.0}, sampling_rate_hz=20_000.0,
        conditions=("control", "drug"), start="values", fixed=["capacitance", "area", "E_R", "E_L"],
        bounds={"g_R": [-0.2, 0.2]}, shared=["R"],
    )  # fmt: skip
    rng, theta = np.random.default_rng(0), model.theta()
    current = np.repeat(rng.normal(0, 2, 20), 100)
    voltages = []
    for left in (1.0, 0.4):
        theta[list(model.neuron.conductances)] = [0.13 * left, -0.02]
        whole = follow(model.neuron, theta, current, model.dt_ms, -65.0).voltage
        voltages.append(whole + 0.2 * rng.normal(size=len(whole)))
    arrays = [
        np.stack(voltages),
        np.stack([current] * 2),
        np.zeros((2, 2000, 2)),
        np.zeros(2, int),
        *[np.arange(2)] * 3,
    ]
    task = fit(model, ClampBatch(*map(torch.from_numpy, arrays)))
    found = dict(zip(model.neuron.names, model.theta(), strict=True))
    assert (found["g_L"], found["g_R"]) == pytest.approx((0.13, -0.02), abs=0.003)
    assert model.change[0, 0].tolist() == pytest.approx([np.log(0.4), 0.0], abs=0.1)
    assert model.change[0, 0, 1].item() == 0
    assert float(task.covariance[-1, -1]) == 0


def test_currents_that_only_the_cell_or_only_the_model_has_are_not_judged(run_root):
    hidden = "{currents: {M: {gates: {w: 1}, reversal: K}}, gates: {w: [-38, 18, 25, 10, 60]}, values: {g_M: 0.5}}"
    own = ["+model.currents.R={gates: {r: 1}, reversal: K}", "+model.gates.r=[-40, 15, 25, 1, 0]"]
    own += ["+model.values.g_R=0", "+model.bounds={g_R: [-1, 1]}", "model.fixed=[capacitance, area, r]"]
    drugged = ["datamodule.conditions=[control, K -50%]", "+model.shared=[R]", f"datamodule.extra={hidden}"]
    run = launch(compose("wells2025/nakl", [*FAST, "model.n_starts=1", "task.iterations=2", *own, *drugged]))
    shown = run.predictions
    assert shown["currents"].shape[2] == 4  # NaT, K, L and R, of which M is none
    assert np.isfinite(shown["true_charge"]).all(0).tolist() == [True, True, True, False]
    assert run.metrics["test/targets_judged"] == 1


def test_directions_of_a_posterior_are_those_of_its_covariance():
    turn = torch.tensor([[3.0, -4.0], [4.0, 3.0]]).double() / 5
    sd, loosest = directions(turn @ torch.diag(torch.tensor([0.01, 0.25]).double()) @ turn.T)
    torch.testing.assert_close(sd, torch.tensor([0.5, 0.1]).double())
    torch.testing.assert_close(loosest, torch.tensor([0.8, -0.6]).double())
    assert directions(torch.zeros(2, 2).double())[0].tolist() == [0.0, 0.0]


def test_repeats_have_the_same_current():
    rows = {
        "condition": np.zeros(5, int),
        "onset": np.full(5, 10),
        "injected": np.stack(
            [np.arange(9.0), np.arange(9.0) + 1e-3, np.arange(9.0)[::-1], *np.ones((2, 9)) * [[5], [9]]]
        ),
    }
    assert _pairs_of_repeats([np.full(1, k) for k in range(5)], rows) == [(np.zeros(1), np.ones(1))]


def test_correlation_time_of_known_series():
    rng = np.random.default_rng(0)
    white = rng.normal(size=200_000)
    assert correlation_time(white) == pytest.approx(1.0, abs=0.05)
    coloured = np.zeros_like(white)
    for k in range(1, len(white)):
        coloured[k] = 0.8 * coloured[k - 1] + white[k]
    assert correlation_time(coloured) == pytest.approx((1 + 0.8) / (1 - 0.8), rel=0.1)


def test_nakl_is_recovered_from_random_starts_and_resumes_exactly(run_root):
    whole = launch(compose("wells2025/demo", FAST))
    assert whole.metrics["test/fit_mse_mv2"] < 0.075
    assert whole.metrics["test/charge_error_worst"] < 0.1
    assert (whole.path / "figures" / "currents.png").exists()
    part = launch(compose("wells2025/demo", [*FAST, "trainer.max_epochs=2"]))
    part.update(status="interrupted")
    text = (part.path / "config.yaml").read_text().replace("max_epochs: 2", "max_epochs: 5")
    (part.path / "config.yaml").write_text(text)
    resumed = resume(part.path)
    first, second = (torch.load(r.path / "checkpoints" / "last.ckpt", weights_only=True) for r in (whole, resumed))
    for name, value in first["state_dict"].items():
        assert torch.equal(value, second["state_dict"][name]), name


def test_a_nudged_lead_starts_a_free_run_closer_to_the_neuron_than_a_noisy_reading_does():
    model, batch = passive()
    model.neuron.theta[model.positions] = 0.13, -60.0
    clean = simulate(
        model.neuron, torch.from_numpy(model.neuron.theta)[None], batch.current, model.dt_ms, -60.0, substeps=4
    )[0].numpy()
    lead, error = 400, {}
    late = batch._replace(lead=torch.tensor([lead]))
    for gain in (np.inf, 1.0):
        task = Assimilation(model, lead_gain=gain)
        run = task._follow(late, 0, model.neuron.theta, 0.0)
        error[gain] = abs(run.voltage[lead + 1] - clean[lead + 1])
    assert error[np.inf] == pytest.approx(abs(float(batch.voltage[0, lead]) - clean[lead]), rel=0.1)
    assert error[1.0] < 0.5 * error[np.inf]


def test_a_fitted_window_begins_at_rest_and_a_free_one_is_refined():
    model, batch = passive()
    task = Assimilation(model, at_rest=True, refine=2)
    theta, free, tied = model.neuron.theta, np.zeros(2000), np.full(2000, 0.2)
    rest = theta[model.neuron.index["E_L"]] + float(batch.current[0, 0]) / theta[model.neuron.index["g_L"]]
    assert task._follow(batch, 0, theta, tied, fitted=True).voltage[0] == pytest.approx(rest, abs=1e-6)
    assert task._follow(batch, 0, theta, tied).voltage[0] == float(batch.voltage[0, 0])
    along = (model.neuron, theta, batch.current[0].numpy(), model.dt_ms, rest)
    coarse, fine = (follow(*along, substeps=n).voltage for n in (2, 4))
    found = task._follow(batch, 0, theta, free, fitted=True).voltage
    np.testing.assert_allclose(found, fine + (fine - coarse) / 3, atol=1e-9)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="Linear is no conductance-based neuron"):
        Assimilation(torch.nn.Linear(1, 1))
    model = ConductanceModel(*LEAK, sampling_rate_hz=1e4)
    with pytest.raises(ConfigError, match="optimizer=levenberg_marquardt"):
        Assimilation(model).configure_optimizers()
    with pytest.raises(ConfigError, match=r"task\.lead_gain=0"):
        Assimilation(model, lead_gain=0.0)
    with pytest.raises(ConfigError, match="g_L is free between 0 and 0; give it bounds"):
        ConductanceModel(LEAK[0], {}, {"g_L": 0.0, "E_L": -65.0}, sampling_rate_hz=1e4)
    with pytest.raises(ConfigError, match=r"model\.shared: no current is called 'K'"):
        ConductanceModel(*LEAK, sampling_rate_hz=1e4, shared=["K"])
    with pytest.raises(ConfigError, match="choose random, values, or an NPZ"):
        ConductanceModel(*LEAK, sampling_rate_hz=1e4, start="zero")
