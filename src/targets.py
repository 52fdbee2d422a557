"""What a configuration may name: an experiment or a run folder from somebody else must not run what it likes.

Three rules, held wherever a ``_target_`` is imported: its package is on the list and its module is none of those that
run code by design; the object itself is defined in such a package (``torch.os.system`` is not); and it is a class that
builds a part of an experiment, not any function that happens to lie in the package. Packages of installed plugins are
trusted as a whole, and so is what the user names in ``$NEUROTWIN_TRUST``, the one place to extend the list.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import import_module, metadata
from typing import Any

from .errors import ConfigError

#: Packages that a ``_target_`` may name.
ALLOWED_PACKAGES = (
    "braindecode",
    "lightning",
    "monai",
    "neurotwin",
    "pytorch_optimizer",
    "torch",
    "torch_geometric",
    "torchmetrics",
)
#: Modules within them that run, fetch or unpickle code that a configuration hands them.
REFUSED_MODULES = (
    *(
        "torch.hub",
        "torch.jit",
        "torch.fx",
        "torch.package",
        "torch.export",
        "torch.serialization",
        "torch.distributed",
    ),
    *("torch.utils.cpp_extension", "torch.utils.model_zoo", "torch._dynamo", "torch._inductor"),
    *("torch_geometric.nn.sequential", "torch_geometric.template", "torch_geometric.io", "torch_geometric.datasets"),
    *("monai.bundle", "monai.apps", "monai.losses.perceptual", "lightning.pytorch.cli", "lightning.fabric.cli"),
)
#: Modules of neurotwin whose functions may be named too; elsewhere only classes.
_FUNCTIONS = ("neurotwin.loggers", "neurotwin.metrics", "neurotwin.models", "neurotwin.simulators")
#: What a class of another package must be a kind of, by the package that must be imported to tell.
_KINDS = {
    "torch": (
        *("torch.nn.Module", "torch.optim.Optimizer", "torch.optim.lr_scheduler.LRScheduler"),
        *("torch.utils.data.Dataset", "torch.utils.data.Sampler"),
    ),
    "lightning": (
        *("lightning.Trainer", "lightning.LightningDataModule", "lightning.Callback"),
        *("lightning.pytorch.loggers.Logger", "lightning.pytorch.strategies.Strategy"),
        *("lightning.pytorch.profilers.Profiler", "lightning.pytorch.accelerators.Accelerator"),
        "lightning.pytorch.plugins.precision.Precision",
    ),
    "monai": ("monai.transforms.Transform",),
}
#: What the class of each group must be.
GROUP_KINDS = {
    "datamodule": "lightning.LightningDataModule",
    "model": "torch.nn.Module",
    "task": "lightning.LightningModule",
    "optimizer": "torch.optim.Optimizer",
    "scheduler": "torch.optim.lr_scheduler.LRScheduler",
    "trainer": "lightning.Trainer",
    "callbacks": "lightning.Callback",
    "logger": "lightning.pytorch.loggers.Logger",
}


def trusted() -> tuple[str, ...]:
    """Dotted names that the user vouches for: ``$NEUROTWIN_TRUST`` (``,``-separated) and the installed plugins."""
    named = (name.strip() for name in os.environ.get("NEUROTWIN_TRUST", "").split(","))
    return (*filter(None, named), *_plugins(tuple(sys.path)))


def refused_path(path: str) -> str | None:
    """Why a configuration may not name this dotted path, or None. Nothing is imported."""
    if _within(path, trusted()):
        return None
    if not _within(path, ALLOWED_PACKAGES):
        return f"is outside the allowed packages ({', '.join((*ALLOWED_PACKAGES, *trusted()))}){_remedy(path)}"
    if _within(path, REFUSED_MODULES):
        return f"can run code that a configuration brings along{_remedy(path)}"
    return None


def refused_object(path: str, target: Any) -> str | None:
    """Why a configuration may not call what the path turned out to be, or None."""
    home = f"{getattr(target, '__module__', None)}.{getattr(target, '__qualname__', '')}"
    if not callable(target) or _within(path, trusted()) or _within(home, trusted()):
        return None
    if not _within(home, ALLOWED_PACKAGES) or _within(home, REFUSED_MODULES):
        return f"is {home}, which a configuration may not call{_remedy(path)}"
    if inspect.isclass(target):
        if _within(home, ("neurotwin",)) or any(issubclass(target, kind) for kind in _kinds(home)):
            return None
        return f"is a class that builds no part of an experiment{_remedy(path)}"
    if inspect.isfunction(target) and target.__qualname__ == target.__name__ and _within(home, _FUNCTIONS):
        return None
    return f"is a function; name a class{_remedy(path)}"


def wrong_kind(group: str, target: Any) -> str | None:
    """Why a class cannot be what a group of the configuration holds (``model``, ``callbacks.early_stopping``), or None.

    Functions are not judged: what they return is known too late.
    """
    name = GROUP_KINDS.get(group.partition(".")[0] if group.startswith(("callbacks.", "logger.")) else group)
    if name is None or not inspect.isclass(target) or issubclass(target, _import(name)):
        return None
    return f"is no {name}"


def named_targets(node: Any) -> Iterator[str]:
    """Every ``_target_`` in a node, however deep.

    Raises:
        ConfigError: If a value is still an interpolation: what it would become could not be judged.
    """
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from named_targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from named_targets(value)
    elif isinstance(node, str) and "${" in node:
        raise ConfigError(f"{node!r} is an interpolation that was left unresolved; write its value")


@cache
def _plugins(search_path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple({point.value.partition(".")[0] for point in metadata.entry_points(group="neurotwin.plugins")})


def _within(path: str, names: Iterable[str]) -> bool:
    """Whether a dotted path is one of the names or lies below one."""
    return any(path == name or path.startswith(f"{name}.") for name in names)


def _kinds(home: str) -> Iterator[type]:
    for package, names in _KINDS.items():
        if package != "monai" or _within(home, ("monai",)):
            for name in names:
                yield _import(name)
    if _within(home, ("torchmetrics",)):
        yield _import("torchmetrics.Metric")


def _import(name: str) -> type:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def _remedy(path: str) -> str:
    return f"; if you trust it, set NEUROTWIN_TRUST={path}"
