"""What each model of ``configs/model`` is tested on, and the table of models made from it.

``python tests/model_cases.py`` writes ``docs/models.md``; its speeds are those of ``python benchmarks/model_speed.py``.
"""

import inspect
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import torch
from neurotwin.config import compose_part, get_target, instantiate
from neurotwin.contracts import DataSpec, DynamicsModel, FittedModel
from neurotwin.datamodules.formats.montage import DOUBLE_BANANA
from neurotwin.registry import list_configs

BONN = DataSpec(n_channels=1, n_outputs=5, n_times=512, sampling_rate_hz=173.61)
BONN_LONG = DataSpec(n_channels=1, n_outputs=5, n_times=4097, sampling_rate_hz=173.61)
ATLAS = DataSpec(n_nodes=20)
ACTIVATED = DataSpec(n_nodes=20, n_outputs=20)
LISTENED = DataSpec(n_channels=2, n_nodes=6, n_times=40)
CIRCUIT = DataSpec(n_nodes=2, n_times=20, sampling_rate_hz=10_000.0)
CLAMP = DataSpec(n_nodes=1, n_times=500, sampling_rate_hz=50_000.0, conditions=("control",))
CELLS = DataSpec(n_channels=1, n_outputs=9, n_times=400, sampling_rate_hz=10_000.0)
#: Some models want to tell left from right.
SCALP = DataSpec(
    n_channels=18, n_outputs=2, n_times=512, sampling_rate_hz=128.0, channel_names=DOUBLE_BANANA.channel_names
)

BRAIN = DataSpec(n_channels=2, n_outputs=2, spacing_mm=(0.8, 0.8, 1.5), patch_size=(32, 32, 16))

#: Model to the data that it is made for; a new file in configs/model needs a line here.
SPECS = {
    "seizure_net": BONN,
    "spectrum_net": BONN_LONG,
    "spectral_logreg": BONN_LONG,
    "spectral_forest": SCALP,
    "minirocket_ridge": BONN_LONG,
    "line_gnn": ATLAS,
    "node_gnn": ATLAS,
    "edge_mlp": ATLAS,
    "fc_identity": ATLAS,
    "fc_mean_change": ATLAS,
    "fc_group_mean": ATLAS,
    "fc_shared_slope": ATLAS,
    "fc_edge_ols": ATLAS,
    "fc_edge_ridge": ATLAS,
    "line_filter": ATLAS,
    "activation_mean": ACTIVATED,
    "activation_flow": ACTIVATED,
    "activation_ridge": ACTIVATED,
    "activation_own_flow": ACTIVATED,
    "mean_response": LISTENED,
    "linear_encoding": LISTENED,
    "line_residual": ATLAS,
    "montage_ensemble": SCALP,
    "rmm": CIRCUIT,
    "gru": CIRCUIT,
    "plrnn": CIRCUIT,
    "dynunet": BRAIN,
    "vs_unet": BRAIN,
    "fast_vs": BRAIN,
    "eegnet": SCALP,
    "shallow_convnet": SCALP,
    "nakl": CLAMP,
    "nakl_a_h": CLAMP,
    "pydsi": CLAMP,
    "hippocampal": CLAMP,
    "flow_posterior": CELLS,
    "ridge_posterior": CELLS,
    "prior_posterior": CELLS,
}
#: Models that need a package outside neurotwin's own dependencies.
EXTRAS = {"eegnet": "braindecode", "shallow_convnet": "braindecode"}
ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "docs" / "models.md"
SPEEDS = ROOT / "benchmarks" / "results" / "model_speed.json"


def build(name: str, spec: DataSpec):
    """The model with the arguments that its YAML leaves out filled from ``spec``."""
    node = compose_part("model", name).config["model"]
    accepted = inspect.signature(get_target(node["_target_"])).parameters
    filled = {k: v for k, v in vars(spec).items() if k in accepted and node.get(k) is None and v not in (None, ())}
    return instantiate(node, **filled)


def timed_spec(spec: DataSpec) -> DataSpec:
    """The size at which speed is measured: that of the papers' data, where tests use a smaller one."""
    if spec.patch_size is not None:
        return replace(spec, patch_size=(96, 96, 64))
    if spec is CIRCUIT:
        return replace(spec, n_times=10_000)
    if spec.n_nodes == 20:
        return replace(spec, n_nodes=94, n_outputs=94 if spec.n_outputs else None)
    return spec


def sample(spec, n=4):
    """Inputs and targets as the data of ``spec`` give them."""
    torch.manual_seed(0)
    if spec.patch_size is not None:
        return torch.randn(2, spec.n_channels, *spec.patch_size), torch.randint(spec.n_outputs, (2, *spec.patch_size))
    if spec is CELLS:
        return -60 + 20 * torch.randn(n, 1, spec.n_times), torch.randn(n, spec.n_outputs)
    if spec.sampling_rate_hz is not None and spec.n_channels is None:
        return torch.randn(n, spec.n_times, spec.n_nodes), -50 + torch.randn(n, spec.n_times, spec.n_nodes)
    if spec.n_channels is not None and spec.n_nodes is not None:
        stimulus = torch.randn(n, spec.n_times, spec.n_channels)
        return stimulus, torch.randn(n, spec.n_times, spec.n_nodes)
    if spec.n_channels is None:
        matrices = [torch.corrcoef(torch.randn(spec.n_nodes, 30)).fill_diagonal_(0) for _ in range(2 * n)]
        return torch.stack(matrices[:n]), torch.randn(n, spec.n_outputs) if spec.n_outputs else torch.stack(
            matrices[n:]
        )
    return torch.randn(n, spec.n_channels, spec.n_times), torch.arange(n) % spec.n_outputs


def run(model, signal):
    """Output of a model; of a circuit, its voltages under the injected currents ``signal``."""
    if not isinstance(model, DynamicsModel):
        return model(signal)
    hidden = torch.zeros(len(signal), sum(model.hidden_sizes))
    return model.rollout(torch.full_like(signal[:, 0], -50.0), hidden, signal)[0]


def table() -> str:
    """Markdown: name, description, what goes in and comes out, trainable parameters, speed."""
    measured = json.loads(SPEEDS.read_text(encoding="utf-8")) if SPEEDS.exists() else {"models": {}}
    lines = [
        "# Models",
        "",
        "Written by `python tests/model_cases.py`. Arguments that a model shares with the data (channels, classes, "
        "regions, sampling rate) are filled from the data, so that a model fits any data set of its kind; parameters "
        "are counted at the input that is shown.",
        "",
        "Speed: median processor time of one sample (a batch of one) through the model on one thread, which is what a "
        "clock shows on a quiet machine; measured by `python benchmarks/model_speed.py`, machine and versions in "
        "`benchmarks/results/model_speed.json`.",
        "",
        "| model | what | in → out | trained by | parameters | CPU ms per sample |",
        "| --- | --- | --- | --- | ---: | ---: |",
    ]
    for entry in (entry for entry in list_configs("model") if entry.source == "neurotwin"):
        spec = SPECS[entry.name]
        how, size = (
            ("gradient", f"extra `{EXTRAS[entry.name]}`") if entry.name in EXTRAS else _trained(entry.name, spec)
        )
        found = measured["models"].get(entry.name)
        at = timed_spec(spec)
        speed = "-" if found is None else _ms(found["cpu_ms"]) + (f" ({shape(at)})" if at != spec else "")
        lines.append(
            f"| `{entry.name}` | {entry.description} | {shape(spec)} → {result(spec)} | {how} | {size} | {speed} |"
        )
    return "\n".join(lines) + "\n"


def installed(name: str) -> bool:
    """Whether the package behind a model is there and can be imported."""
    try:
        import_module(EXTRAS[name]) if name in EXTRAS else None
    except (ImportError, OSError):
        return False
    return True


def _trained(name: str, spec: DataSpec) -> tuple[str, str]:
    model = build(name, spec)
    if isinstance(model, FittedModel):
        return "closed form", "-"
    return "gradient", f"{sum(p.numel() for p in model.parameters()):,}"


def shape(spec: DataSpec) -> str:
    """What goes in, in words."""
    if spec.patch_size is not None:
        return f"{spec.n_channels} x {' x '.join(map(str, spec.patch_size))} voxels"
    if spec.n_channels is not None and spec.n_nodes is not None:
        return f"{spec.n_channels} features of a stimulus x {spec.n_times} volumes"
    if spec.n_channels is not None:
        return f"{spec.n_channels} x {spec.n_times} samples"
    if spec.sampling_rate_hz is None:
        return f"{spec.n_nodes} regions"
    seconds = (spec.n_times or 0) / spec.sampling_rate_hz
    return f"{spec.n_nodes} neuron{'s' * (spec.n_nodes != 1)} x {1e3 * seconds:g} ms"


def _ms(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def result(spec: DataSpec) -> str:
    """What comes out, in words."""
    if spec is CELLS:
        return f"distribution of {spec.n_outputs} parameters"
    if spec.patch_size is not None:
        return f"{spec.n_outputs} classes a voxel"
    if spec.n_channels is not None and spec.n_nodes is not None:
        return f"{spec.n_nodes} regions x {spec.n_times} volumes"
    if spec.n_channels is not None:
        return f"{spec.n_outputs} classes"
    if spec.sampling_rate_hz is None:
        return "activation of each region" if spec.n_outputs else "change of each pair"
    return "voltage under injected current"


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
