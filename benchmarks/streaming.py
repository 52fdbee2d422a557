"""Milliseconds on one core for every EEG model: a window, a recording, and a step of causal detection.

An 18-channel signal at 128 Hz arrives in chunks of a second; the detector judges the last four seconds after each. A
step is the whole way from the arrival of the chunk to the probability: scaling, buffer, forward pass. Speed does not
depend on what a network has learned, so networks have initial weights; closed-form models are fitted to noise. Wall
time is what a patient waits for; the processor time beside it tells how much of it was other work on the machine.

    python benchmarks/streaming.py [MODEL ...] [--steps 300] [--output benchmarks/results/streaming.json] [--update]

``--update`` writes the table into ``experiments/mallick2024/README.md``.
"""

import argparse
import inspect
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from hydra.errors import InstantiationException
from neurotwin.config import compose_part, get_target, instantiate
from neurotwin.contracts import DataSpec, FittedModel
from neurotwin.datamodules.formats.montage import DOUBLE_BANANA
from neurotwin.datamodules.windows import Normaliser
from neurotwin.errors import ConfigError
from neurotwin.provenance import cpu_name, git_state
from neurotwin.tables import Table, update_readme
from neurotwin.tasks.streaming import StreamingDetector, milliseconds_per_window, one_thread

ROOT = Path(__file__).resolve().parents[1]
MODELS = (
    *("spectral_logreg", "spectral_forest", "minirocket_ridge", "montage_ensemble"),
    *("seizure_net", "spectrum_net", "eegnet", "shallow_convnet"),
)
RESULT = ROOT / "benchmarks" / "results" / "streaming.json"
README = ROOT / "experiments" / "mallick2024" / "README.md"
MARKERS = ("<!-- cost: written by `python benchmarks/streaming.py --update` -->", "<!-- end of cost -->")
SPEC = DataSpec(  # some models want to tell left from right
    n_channels=18, n_outputs=2, n_times=512, sampling_rate_hz=128.0, channel_names=DOUBLE_BANANA.channel_names
)
#: Further shapes that a window is timed in.
WINDOWS = {
    "bonn_window_ms": DataSpec(n_channels=1, n_outputs=5, n_times=512, sampling_rate_hz=173.61),
    "bonn_recording_ms": DataSpec(n_channels=1, n_outputs=5, n_times=4097, sampling_rate_hz=173.61),
}
WINDOW_S, STEP_S, WARM_UP = SPEC.n_times / SPEC.sampling_rate_hz, 1.0, 20


def build(name, spec):
    """The model of a config file for a signal; None where it is made for another one."""
    node = compose_part("model", name).config["model"]
    accepted = inspect.signature(get_target(node["_target_"])).parameters
    known = {field: value for field, value in vars(spec).items() if field in accepted and value not in (None, ())}
    torch.manual_seed(0)
    try:
        model = instantiate(node, **known)
        if isinstance(model, FittedModel):
            noise = torch.randn(200, spec.n_channels, spec.n_times)
            model.fit(noise, torch.arange(200) % spec.n_outputs)
    except (InstantiationException, ConfigError) as error:
        print(f"{name} is left out at {spec.n_channels} x {spec.n_times}: {str(error).splitlines()[0]}")
        return None
    return model


def window_ms(name, spec):
    """Milliseconds of one window; None where the model is made for another signal."""
    model = build(name, spec)
    return model and round(milliseconds_per_window(model, spec.n_channels, spec.n_times), 3)


def measure(name, steps):
    """Latency of ``steps`` steps of a second, and of bare windows."""
    windows = {column: window_ms(name, spec) for column, spec in WINDOWS.items()}
    model = build(name, SPEC)
    if model is None:
        return windows
    detector = StreamingDetector(
        model,
        SPEC.n_channels,
        SPEC.sampling_rate_hz,
        WINDOW_S,
        STEP_S,
        transform=lambda windows: torch.from_numpy(Normaliser(np.float32(0), np.float32(50))(windows.numpy())),
    )
    rng = np.random.default_rng(0)
    second = round(STEP_S * SPEC.sampling_rate_hz)
    with one_thread():
        for _ in range(WARM_UP):
            detector.push(50 * rng.standard_normal((SPEC.n_channels, second), dtype=np.float32))
        detector.latencies_ms.clear()
        spent = []
        for _ in range(steps):
            chunk = 50 * rng.standard_normal((SPEC.n_channels, second), dtype=np.float32)
            begin = time.thread_time()
            detector.push(chunk)
            spent.append(time.thread_time() - begin)
    latency = detector.latency()
    return {
        "parameters": None if isinstance(model, FittedModel) else sum(p.numel() for p in model.parameters()),
        "median_ms": round(latency["median_ms"], 3),
        "p99_ms": round(latency["p99_ms"], 3),
        "median_cpu_ms": round(1e3 * float(np.median(spent)), 3),
        "window_ms": round(milliseconds_per_window(model, SPEC.n_channels, SPEC.n_times), 3),
        **windows,
    }


def table(rows, setting):
    """The table of the README."""
    columns = {
        "Bonn, 3 s": "bonn_window_ms",
        "Bonn, 23.6 s": "bonn_recording_ms",
        "18 channels, 4 s": "window_ms",
        "streaming step": "median_ms",
        "99 % of steps": "p99_ms",
    }
    lines = tuple((name, *(row.get(key) for key in columns.values())) for name, row in rows.items())
    note = f"One thread of {setting['device']}, commit {setting['commit']}, load average {setting['load_average']}."
    return Table(("model", *columns), lines, "Milliseconds on one core", note)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, help="names as `neurotwin list model` prints them")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--output", type=Path, default=RESULT)
    parser.add_argument("--update", action="store_true", help="write the table into the README of mallick2024")
    options = parser.parse_args()
    rows = {name: measure(name, options.steps) for name in options.models}
    setting = {"channels": SPEC.n_channels, "sampling_rate_hz": SPEC.sampling_rate_hz, "window_s": WINDOW_S}
    setting |= {"step_s": STEP_S, "steps": options.steps, "threads": 1}
    setting |= {"device": cpu_name(), "torch": torch.__version__}
    setting |= {"commit": (git_state() or {}).get("commit", "unknown")[:10]}
    setting |= {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}  # other work on the machine
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"setting": setting, "models": rows}, indent=2) + "\n")
    text = table(rows, setting).markdown()
    print(text)
    if options.update:
        update_readme(README, text, MARKERS)


if __name__ == "__main__":
    main()
