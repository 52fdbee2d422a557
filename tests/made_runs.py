"""Run folders as a finished training leaves them, made without training."""

import json

import numpy as np
import yaml
from neurotwin.plotting import blank, browsed, heatmaps, save, slices, trace
from neurotwin.run_folder import load_run


def make_run(root, name, experiment="paper/row", seed=0, fold=None, metrics=None, config=None, figures=False, **record):
    """A run folder; ``config`` is merged into its model section."""
    folder = root / experiment / f"2026-01-02_030405_s{seed}_{name}"
    (folder / "figures").mkdir(parents=True)
    data = {"_target_": "mine.Data", "split_seed": 0, **({} if fold is None else {"fold": fold})}
    settings = {"seed": seed, "datamodule": data, "model": {"_target_": "mine.Model", "width": 8, **(config or {})}}
    (folder / "config.yaml").write_text(yaml.safe_dump({**settings, "data_root": "./data", "runs_dir": str(root)}))
    (folder / "metrics.json").write_text(json.dumps(metrics or {"test/auroc": 0.9}))
    (folder / "metrics.csv").write_text("epoch,step,train/loss,val/loss\n0,10,1.0,1.1\n1,20,0.5,\n2,30,0.4,0.6\n")
    content = {
        **{"experiment": experiment, "status": "finished", "seed": seed, "started": f"2026-01-02T03:04:0{seed}+00:00"},
        **{"process": {}, "argv": ["neurotwin", "train", "<b>paper</b>"], "config_hash": "0123", "parameters": 4066},
        **{"git": {"commit": "abcdef0123456789", "dirty": None}, "device": "CPU", "versions": {"torch": "2.13"}},
        **{"cost": {"wall_s": 1.0, "cpu_s": 1.0, "peak_memory_mb": 100.0}, **record},
    }
    (folder / "run.json").write_text(json.dumps(content))
    if figures:
        save(example_figures(), folder / "figures")
    return load_run(folder)


def example_figures():
    """One figure of each kind that :mod:`neurotwin.plotting` makes."""
    rng = np.random.default_rng(0)
    voltage = blank("Voltage", "Two cells, </script><b>not bold</b>.", rows=2, shared_xaxes=True)
    for row in (1, 2):
        voltage.add_trace(trace(rng.standard_normal(2000), 0.001, f"cell {row}"), row=row, col=1)
    matrix = rng.standard_normal((12, 12))
    image = rng.random((20, 24, 16))
    truth, predicted = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    truth[8:12, 8:12, 6:10] = predicted[9:13, 8:12, 6:10] = True
    return {
        "voltage": voltage,
        "change": heatmaps("Change", "Two matrices.", {"true": matrix, "error": abs(matrix)}, sequential=["error"]),
        **browsed(
            {
                name: slices(title, "Three planes.", image, truth, predicted, (0.5, 0.5, 1.5))
                for name, title in {"case_0": "Case 0", "volume": "Volume", "case_2": "Case 2"}.items()
            },
            "Exam",
        ),
    }
