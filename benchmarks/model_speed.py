"""Milliseconds of one sample through every model of ``configs/model``, on one thread.

A sample is what the model's data give (a window, a person's matrix, a patch, a second of a circuit) at the size of the
papers' data: ``timed_spec`` in ``tests/model_cases.py``. Speed does not depend on what a network has learned, so that
networks have initial weights; closed-form models are fitted to noise.

    python benchmarks/model_speed.py [MODEL ...] [--seconds 3] [--output benchmarks/results/model_speed.json]

Models that are not measured keep the numbers that the file has. Next: ``python tests/model_cases.py`` (docs/models.md).
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from neurotwin.contracts import FittedModel
from neurotwin.provenance import cpu_name, git_state
from neurotwin.tasks.streaming import evaluating, one_thread

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from model_cases import SPECS, SPEEDS, build, installed, run, sample, shape, timed_spec  # noqa: E402


def measure(name: str, seconds: float) -> dict[str, object]:
    """Median time of one sample, from as many passes as fit into ``seconds``, at least three."""
    spec = timed_spec(SPECS[name])
    torch.manual_seed(0)
    model = build(name, spec)
    if isinstance(model, FittedModel):
        model.fit(*sample(spec, 20))
    signal = sample(spec, 1)[0][:1]
    wall, cpu = [], []
    with one_thread(), evaluating(model), torch.inference_mode():
        run(model, signal)  # compiled loops compile
        until = time.perf_counter() + seconds
        while len(wall) < 3 or time.perf_counter() < until:
            begin, begin_cpu = time.perf_counter(), time.process_time()
            run(model, signal)
            wall.append(time.perf_counter() - begin)
            cpu.append(time.process_time() - begin_cpu)
    ms, cpu_ms = (float(f"{1e3 * np.median(spent):.3g}") for spent in (wall, cpu))
    return {"input": shape(spec), "ms": ms, "cpu_ms": cpu_ms, "passes": len(wall)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="without any: all that are installed")
    parser.add_argument("--seconds", type=float, default=3.0, help="of measuring a model")
    parser.add_argument("--output", type=Path, default=SPEEDS)
    options = parser.parse_args()
    found = json.loads(options.output.read_text(encoding="utf-8"))["models"] if options.output.exists() else {}
    setting = {"device": cpu_name(), "torch": torch.__version__, "commit": str((git_state() or {}).get("commit"))[:10]}
    for name in options.models or [name for name in sorted(SPECS) if installed(name)]:
        found[name] = {**measure(name, options.seconds), **setting, "load_average": round(os.getloadavg()[0], 1)}
        print(name, found[name], flush=True)
        content = {"models": {known: found[known] for known in sorted(found) if known in SPECS}}
        options.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
