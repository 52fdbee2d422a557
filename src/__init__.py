"""Digital twins of neural systems: one trainer loop, five published experiments."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Public functions and where they live; resolved on first use so that ``import neurotwin`` stays light. No module may
#: bear the name of a function here: importing it would put the module in the function's place.
_LAZY = {
    "train": ".engine",
    "resume": ".engine",
    "evaluate": ".engine",
    "replay": ".replaying",
    "predict": ".prediction",
    "audit": ".leakage.audit",
    "reproduce": ".reproduction",
    "report": ".reporting",
    "export": ".exporting",
    "simulate": ".simulation",
    "sweep": ".sweeps.launch",
    "check": ".gates",
    "show": ".config",
    "list_configs": ".registry",
    "load_run": ".run_folder",
    "runs": ".run_folder",
    "Run": ".run_folder",
}
__all__ = [*_LAZY, "__version__"]

if TYPE_CHECKING:
    from .engine import evaluate as evaluate
    from .engine import resume as resume
    from .engine import train as train
    from .run_folder import Run as Run
    from .run_folder import load_run as load_run


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module 'neurotwin' has no attribute {name!r}")
