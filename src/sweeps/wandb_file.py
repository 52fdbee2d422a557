"""A plan as a W&B sweep file, for those whose agents already run there."""

from __future__ import annotations

from typing import Any

import yaml

from ..errors import ConfigError
from .plan import Plan
from .space import Axis

_METHODS = {"grid": "grid", "random": "random", "tpe": "bayes"}


def wandb_file(plan: Plan) -> str:
    """The YAML that ``wandb sweep`` takes.

    Raises:
        ConfigError: If W&B has nothing like it.
    """
    if plan.sampler not in _METHODS:
        raise ConfigError(f"W&B has no sampler like {plan.sampler}: choose from {', '.join(_METHODS)}")
    if len(plan.objectives) > 1:
        raise ConfigError("W&B sweeps have one objective")
    if plan.members and plan.sampler != "grid":
        raise ConfigError("W&B cannot average seeds or folds inside a search: leave them out, or sweep a grid")
    (name, mode), *_ = plan.objectives
    content: dict[str, Any] = {
        "program": "neurotwin",
        "method": _METHODS[plan.sampler],
        "metric": {"name": name, "goal": "minimize" if mode == "min" else "maximize"},
        "parameters": {axis.key: _parameter(axis) for axis in plan.axes},
        "command": ["neurotwin", "train", plan.experiment, *plan.fixed, "logger=wandb", "${args_no_hyphens}"],
    }
    content["parameters"] |= {key: {"values": list(numbers)} for key, numbers in plan.members.items()}
    if plan.sampler != "grid":
        content["run_cap"] = plan.trials
    if plan.pruner != "none":
        content["early_terminate"] = {"type": "hyperband", "min_iter": 3}
    return yaml.safe_dump(content, sort_keys=False)


def _parameter(axis: Axis) -> dict[str, Any]:
    if axis.choices:
        return {"values": [yaml.safe_load(text) if text[:1] not in "'\"[{" else text for text in axis.choices]}
    low, high = (int(axis.low), int(axis.high)) if axis.integer else (axis.low, axis.high)
    kind = {
        (False, False): "uniform",
        (False, True): "log_uniform_values",
        (True, False): "int_uniform",
        (True, True): "q_log_uniform_values",
    }[axis.integer, axis.log]
    return {"distribution": kind, "min": low, "max": high}
