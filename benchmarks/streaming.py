"""Milliseconds that one step of causal detection takes on one core, for every EEG model.

An 18-channel signal at 128 Hz arrives in chunks of a second; the detector judges the last four seconds after each. A
step is the whole way from the arrival of the chunk to the probability: scaling, buffer, forward pass. Speed does not
depend on what a network has learned, so networks have initial weights; closed-form models are fitted to noise. Wall
time is what a patient waits for; the processor time beside it tells how much of it was other work on the machine.

    python benchmarks/streaming.py [MODEL ...] [--steps 300] [--output benchmarks/results/streaming.json]
"""

import argparse
import inspect
import json
import os
import time
from pathlib import Path

import numpy as np
import torch
from neurotwin.config import compose_part, get_target, instantiate
from neurotwin.contracts import DataSpec, FittedModel
from neurotwin.datamodules.windows import Normaliser
from neurotwin.run_folder import cpu_name
from neurotwin.tasks.streaming import StreamingDetector, milliseconds_per_window, one_thread

MODELS = ("seizure_net", "spectral_logreg", "spectral_forest", "minirocket_ridge", "montage_ensemble")
RESULT = Path(__file__).parent / "results" / "streaming.json"
SPEC = DataSpec(n_channels=18, n_outputs=2, n_times=512, sampling_rate_hz=128.0)
WINDOW_S, STEP_S, WARM_UP = SPEC.n_times / SPEC.sampling_rate_hz, 1.0, 20


def build(name):
    """The model of a config file for the signal above."""
    node = compose_part("model", name).config["model"]
    accepted = inspect.signature(get_target(node["_target_"])).parameters
    known = {field: value for field, value in vars(SPEC).items() if field in accepted and value not in (None, ())}
    torch.manual_seed(0)
    model = instantiate(node, **known)
    if isinstance(model, FittedModel):
        noise = torch.randn(200, SPEC.n_channels, SPEC.n_times)
        model.fit(noise, torch.arange(200) % SPEC.n_outputs)
    return model


def measure(model, steps):
    """Latency of ``steps`` steps of a second, and of a bare window."""
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
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, help="names as `neurotwin list model` prints them")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = {name: measure(build(name), options.steps) for name in options.models}
    setting = {"channels": SPEC.n_channels, "sampling_rate_hz": SPEC.sampling_rate_hz, "window_s": WINDOW_S}
    setting |= {"step_s": STEP_S, "steps": options.steps, "threads": 1}
    setting |= {"device": cpu_name(), "torch": torch.__version__}
    setting |= {"cores": os.cpu_count(), "load_average": round(os.getloadavg()[0], 1)}  # other work on the machine
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"setting": setting, "models": rows}, indent=2) + "\n")
    columns = ("median_ms", "p99_ms", "median_cpu_ms", "window_ms")
    print(f"{'model':<20}{'parameters':>12}" + "".join(f"{name:>15}" for name in columns))
    for name, row in rows.items():
        print(f"{name:<20}{row['parameters'] or 'fitted':>12}" + "".join(f"{row[column]:>15}" for column in columns))


if __name__ == "__main__":
    main()
