"""Milliseconds that one step of causal detection takes on one core, for every EEG model.

An 18-channel signal at 128 Hz arrives in chunks of a second; the detector judges the last four seconds after each. A
step is the whole way from the arrival of the chunk to the probability: scaling, buffer, forward pass. Speed does not
depend on what a network has learned, so networks have initial weights; closed-form models are fitted to noise.

    python benchmarks/streaming.py [MODEL ...] [--steps 300] [--output benchmarks/streaming.json]
"""

import argparse
import inspect
import json
import platform
from pathlib import Path

import numpy as np
import torch
from neurotwin.config import compose_part, get_target, instantiate
from neurotwin.contracts import DataSpec, FittedModel
from neurotwin.datamodules.windows import Normaliser
from neurotwin.registry import list_configs
from neurotwin.tasks.streaming import StreamingDetector, milliseconds_per_window, one_thread

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
        for _ in range(steps):
            detector.push(50 * rng.standard_normal((SPEC.n_channels, second), dtype=np.float32))
    latency = detector.latency()
    return {
        "parameters": None if isinstance(model, FittedModel) else sum(p.numel() for p in model.parameters()),
        "median_ms": round(latency["median_ms"], 3),
        "p99_ms": round(latency["p99_ms"], 3),
        "window_ms": round(milliseconds_per_window(model, SPEC.n_channels, SPEC.n_times), 3),
    }


def device():
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="names as `neurotwin list model` prints them; all by default")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    chosen = [e for e in list_configs("model") if e.source == "neurotwin" and e.name in (options.models or [e.name])]
    rows = {entry.name: measure(build(entry.name), options.steps) for entry in chosen}
    setting = {"channels": SPEC.n_channels, "sampling_rate_hz": SPEC.sampling_rate_hz, "window_s": WINDOW_S}
    setting |= {"step_s": STEP_S, "steps": options.steps, "threads": 1, "device": device(), "torch": torch.__version__}
    options.output.write_text(json.dumps({"setting": setting, "models": rows}, indent=2) + "\n")
    print(f"{'model':<22}{'parameters':>12}{'median ms':>11}{'p99 ms':>9}{'window ms':>11}")
    for name, row in rows.items():
        size, times = row["parameters"] or "fitted", (row[key] for key in ("median_ms", "p99_ms", "window_ms"))
        print("{:<22}{:>12}{:>11}{:>9}{:>11}".format(name, size, *times))


if __name__ == "__main__":
    main()
