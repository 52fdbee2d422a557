"""Digital twins of neural systems: one trainer loop, five published experiments."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Public functions and where they live; resolved on first use so that ``import neurotwin`` stays light.
_LAZY = {
    "train": ".engine",
    "resume": ".engine",
    "evaluate": ".engine",
    "predict": ".predict",
    "audit": ".audit",
    "reproduce": ".reproduce",
    "check": ".gates",
    "show": ".config",
    "list_configs": ".registry",
    "load_run": ".runs",
    "runs": ".runs",
    "Run": ".runs",
}
__all__ = [*_LAZY, "__version__"]

if TYPE_CHECKING:
    from .engine import evaluate as evaluate
    from .engine import resume as resume
    from .engine import train as train
    from .runs import Run as Run
    from .runs import load_run as load_run


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module 'neurotwin' has no attribute {name!r}")
