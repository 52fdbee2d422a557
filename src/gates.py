"""Gates 2 and 3 before the first epoch: every target and its arguments, then the pieces against each other."""

from __future__ import annotations

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from .config import Composed, compose, get_target, instantiate
from .contracts import DataSpec, FittedModel
from .errors import ConfigError, NeurotwinError, did_you_mean
from .ranks import once_a_node
from .targets import ALLOWED_PACKAGES, wrong_kind

#: Arguments that the engine gives, so that a configuration need not and, for the first two, must not.
_OWNED = {
    "trainer": {"callbacks", "logger", "default_root_dir", "enable_checkpointing", "plugins"},
    "task": {"model", "optimizer", "scheduler", "objective"},
    "logger": {"folder"},
}
_SPEC_FIELDS = frozenset(DataSpec.__dataclass_fields__)


@dataclass
class Pieces:
    """What gate 3 built on the way, ready for the engine."""

    datamodule: Any
    model: Any
    task: Any


def check(experiment: str, overrides: Mapping[str, Any] | Iterable[str] = ()) -> Composed:
    """Pass all gates without training.

    Raises:
        ConfigError: One message that collects every fault found.
        DataError: If a file is missing or unreadable.
    """
    composed = compose(experiment, overrides)
    check_targets(composed)
    build(composed)
    return composed


def check_targets(composed: Composed) -> None:
    """Gate 2: import every ``_target_`` and bind its keys to the live signature.

    Raises:
        ConfigError: With all faults, one a line.
    """
    faults: list[str] = []
    for group, node in composed.config.items():
        _walk(node, group, composed, faults)
    replaced = [text for text in composed.overrides if text.partition("=")[0] in ("datamodule", "model", "task")]
    for text in replaced:
        group = text.partition("=")[0]
        if any(f": {group}." in fault and "is no argument" in fault for fault in faults):
            faults.append(
                f"command line: {text!r} leaves the experiment's own settings of {group}: begin with an experiment of "
                f"that {group}, or leave each out with '~{group}.KEY'"
            )
    for group in ("datamodule", "model", "task", "trainer"):
        if "_target_" not in composed.config[group]:
            faults.append(f"{composed.where(group)}: {group} names no _target_")
        for key in sorted(_OWNED.get(group, set()) & composed.config[group].keys()):
            faults.append(f"{composed.where(f'{group}.{key}')}: {group}.{key} is set by neurotwin; remove it")
    for name, node in composed.config["callbacks"].items():
        if not isinstance(node, Mapping) or "_target_" not in node:
            faults.append(f"{composed.where(f'callbacks.{name}')}: callbacks.{name}={node!r} names no _target_")
        elif str(node["_target_"]).endswith("StochasticWeightAveraging"):
            faults.append(
                f"{composed.where(f'callbacks.{name}')}: callbacks.{name}: StochasticWeightAveraging swaps the weights "
                "after the last checkpoint, so it would change nothing; use EMAWeightAveraging"
            )
    if faults:
        raise ConfigError("\n".join(faults))


def build(composed: Composed, seed: Callable[[], Any] = lambda: None, spec: DataSpec | None = None) -> Pieces:
    """Gate 3: build the pieces and hold them against each other.

    Args:
        composed: A configuration that passed gate 2.
        seed: Called right before the model draws its initial weights.
        spec: What the data are, where that is known already; the data are then not touched.

    Raises:
        ConfigError: If model and data contradict each other, or the task does not produce the objective.
        DataError: If data are missing or unreadable.
    """
    config = composed.config
    datamodule = _make(composed, "datamodule")
    if spec is None:
        once_a_node(datamodule.prepare_data)
        datamodule.setup("fit")
        spec = datamodule.spec
    known = {name: value for name, value in asdict(spec).items() if value not in (None, ())}
    target = get_target(config["model"]["_target_"])
    accepted = inspect.signature(target).parameters
    faults = []
    for name, value in known.items():
        given = config["model"].get(name)
        if given is not None and _plain(given) != _plain(value):
            faults.append(
                f"{composed.where(f'model.{name}')}: model.{name}={given} contradicts the data, where it is {value} "
                f"({composed.where('datamodule._target_')}); leave it out to take the data's"
            )
    metric = config["objective"]["metric"]
    task_class = get_target(config["task"]["_target_"])
    produced: frozenset[str] = getattr(task_class, "logged_metrics", frozenset())
    validated = config["trainer"].get("limit_val_batches") != 0
    if metric is not None and not (metric in produced and metric.startswith(("train/", "val/"))):
        produced = frozenset(name for name in produced if not name.startswith("test/"))  # never select on test data
        faults.append(
            f"{composed.where('objective.metric')}: objective.metric={metric!r} is not produced by "
            f"{task_class.__name__}; {did_you_mean(metric, produced)}"
        )
    elif metric is not None and metric.startswith("val/") and datamodule.datasets:
        validated = validated and bool(datamodule.val_dataloader())
    if metric is not None and metric.startswith("val/") and not validated:
        faults.append(f"{composed.where('objective.metric')}: objective.metric={metric!r}, but nothing is validated")
    filled = {n: v for n, v in known.items() if n in accepted and config["model"].get(n) is None}
    required = [name for name, p in accepted.items() if p.default is p.empty and name in _SPEC_FIELDS]
    if lacking := [name for name in required if config["model"].get(name) is None and name not in filled]:
        faults.append(
            f"{composed.where('model._target_')}: {target.__name__} needs {', '.join(lacking)} of the data, which "
            f"{type(datamodule).__name__} does not give (it gives {', '.join(known)}); take both from one twin"
        )
    try:
        getattr(task_class, "check_data", lambda _: None)(datamodule)
    except ConfigError as error:
        faults.append(f"{composed.where('task._target_')}: task: {error}")
    if faults:
        raise ConfigError("\n".join(faults))
    check_device(composed)
    seed()
    model = _make(composed, "model", **filled)
    # `optimizer=none` on the command line leaves what the experiment had set for its own, such as `lr`.
    partials = {g: instantiate(config[g]) if "_target_" in config[g] else None for g in ("optimizer", "scheduler")}
    if partials["optimizer"] is None and not isinstance(model, FittedModel):
        raise ConfigError(
            f"{composed.where('optimizer')}: {type(model).__name__} is trained by gradient steps, "
            "but no optimizer is chosen; optimizer=adamw"
        )
    if partials["optimizer"] is not None:
        try:
            partials["optimizer"]([torch.nn.Parameter(torch.zeros(1))])
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{_whence(composed, 'optimizer')}: optimizer cannot be built: {error}") from error
    task = _make(composed, "task", model=model, objective=metric, **partials)
    _make(composed, "trainer", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    return Pieces(datamodule, model, task)


def build_part(composed: Composed, group: str) -> Any:
    """Gate 2 and the object for one group composed alone."""
    faults: list[str] = []
    _walk(composed.config[group], group, composed, faults)
    if faults:
        raise ConfigError("\n".join(faults))
    return _make(composed, group)


def check_device(composed: Composed) -> None:
    """Whether the accelerator that the trainer asks for is there.

    Raises:
        ConfigError: If it is unknown or absent.
    """
    from lightning.pytorch.accelerators import AcceleratorRegistry

    name = composed.config["trainer"].get("accelerator", "auto")
    where = composed.where("trainer.accelerator")
    known = {"auto", "gpu"} | set(AcceleratorRegistry.available_accelerators())
    if name not in known:
        raise ConfigError(f"{where}: trainer.accelerator={name!r}: {did_you_mean(str(name), known)}")
    candidates = ["cuda", "mps"] if name == "gpu" else [] if name == "auto" else [name]
    if candidates and not any(_available(candidate) for candidate in candidates):
        raise ConfigError(f"{where}: trainer.accelerator={name!r}: this machine has none; choose trainer=cpu")


def _available(accelerator: str) -> bool:
    from lightning.pytorch.accelerators import AcceleratorRegistry

    try:
        return bool(AcceleratorRegistry.get(accelerator).is_available())
    except ImportError:
        return False


def _make(composed: Composed, group: str, **extra: Any) -> Any:
    """Instantiate a group; whatever its constructor refuses becomes a message that names the file."""
    from hydra.errors import InstantiationException

    try:
        return instantiate(composed.config[group], **extra)
    except ConfigError as error:
        raise ConfigError(f"{composed.where(f'{group}._target_')}: {group}: {error}") from None
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ConfigError):
            key = re.match(r"[\w.]+", str(cause))
            raise ConfigError(f"{composed.where(key.group() if key else group)}: {cause}") from None
        if isinstance(cause, NeurotwinError):
            raise cause from None
        raise ConfigError(
            f"{_whence(composed, group)}: {composed.config[group]['_target_']} cannot be built: "
            f"{type(cause).__name__}: {cause}"
        ) from error


def _whence(composed: Composed, group: str) -> str:
    """Where the settings of a group come from: its file and, where any were typed, those."""
    typed = [text for text in composed.overrides if text.lstrip("+~").startswith((f"{group}.", f"{group}="))]
    return " and ".join([composed.where(f"{group}._target_"), *(f"{text!r} on the command line" for text in typed)])


def _walk(node: Any, key: str, composed: Composed, faults: list[str]) -> None:
    if isinstance(node, list):
        for position, item in enumerate(node):
            _walk(item, f"{key}.{position}", composed, faults)
    if not isinstance(node, Mapping):
        return
    for name, value in node.items():
        _walk(value, f"{key}.{name}", composed, faults)
    if "_target_" in node:
        faults.extend(_target_faults(dict(node), key, composed))


def _target_faults(node: dict[str, Any], key: str, composed: Composed) -> list[str]:
    path = node.pop("_target_")
    partial = bool(node.pop("_partial_", False))
    where = composed.where(f"{key}._target_")
    try:
        target = get_target(path)
    except ConfigError as error:
        return [f"{where}: {key}.{error}"]
    except Exception as error:
        cause = error.__cause__ or error
        missing = cause.name if isinstance(cause, ImportError) else None
        if missing and not str(missing).startswith("neurotwin"):
            here = f"install it, or set PYTHONPATH to the folder that holds {missing.partition('.')[0]}/"
            remedy = f"pip install {missing}" if missing in ALLOWED_PACKAGES else here
            return [f"{where}: {key}._target_={path!r} needs {missing!r}, which is not installed: {remedy}"]
        failed = "" if isinstance(cause, ImportError | AttributeError) else f" ({type(cause).__name__}: {cause})"
        return [f"{where}: {key}._target_={path!r} cannot be imported{failed}; {_nearest(path)}"]
    if not callable(target):
        return [f"{where}: {key}._target_={path!r} is no class or function; name a callable"]
    if reason := wrong_kind(key, target):
        return [f"{where}: {key}._target_={path!r} {reason}"]
    try:
        signature = inspect.signature(target)
    except ValueError:
        return []
    parameters = signature.parameters
    faults = []
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, value in node.items():
        if name.startswith("_") and name.endswith("_"):
            continue
        if name not in parameters and not open_ended:
            faults.append(
                f"{composed.where(f'{key}.{name}')}: {key}.{name} is no argument of {target.__name__}; "
                f"{did_you_mean(name, [n for n in parameters if n != 'self'])}"
            )
        elif name in parameters and (reason := _type_fault(target, name, value)):
            faults.append(f"{composed.where(f'{key}.{name}')}: {key}.{name}={value!r}: {reason}")
    given = set(node) | _OWNED.get(key.partition(".")[0], set()) | (set(_SPEC_FIELDS) if key == "model" else set())
    for name, parameter in parameters.items():
        required = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if required and name not in given and not partial:
            faults.append(f"{where}: {key}.{name} is missing: {target.__name__} cannot be built without it")
    return faults


def _type_fault(target: Any, name: str, value: Any) -> str | None:
    """Why ``value`` does not fit the annotation of the argument, or None. Unknown annotations are not judged."""
    if isinstance(value, Mapping) and "_target_" in value:
        return None
    adapter = _adapter(target, name)
    if adapter is None:
        return None
    try:
        adapted = adapter.validate_python(value)
    except ValidationError as error:
        reasons = dict.fromkeys(detail["msg"][0].lower() + detail["msg"][1:] for detail in error.errors())
        return "; ".join(list(reasons)[:2])
    if type(adapted) is int and type(value) in (bool, float):
        return f"should be an integer, got {value!r}"
    if isinstance(value, str) and isinstance(adapted, int | float):
        return f"should be a number, got the string {value!r}"
    return None


@cache
def _adapter(target: Any, name: str) -> TypeAdapter[Any] | None:
    """What validates an argument; None without a usable annotation. Kept, because a sweep checks thousands of jobs."""
    try:
        hints = _hints(target)
        return TypeAdapter(hints[name], config=ConfigDict(arbitrary_types_allowed=True)) if name in hints else None
    except (NameError, TypeError, AttributeError, PydanticUserError):  # forward references, arrays, own types
        return None


@cache
def _hints(target: Any) -> dict[str, Any]:
    """Annotations of a constructor's arguments, those included that it hands on to its bases."""
    if not inspect.isclass(target):
        return typing.get_type_hints(target)
    makers = [vars(base)["__init__"] for base in reversed(target.__mro__) if "__init__" in vars(base)]
    return {
        name: hint
        for maker in makers
        if inspect.isfunction(maker)
        for name, hint in typing.get_type_hints(maker).items()
    }


def _nearest(path: str) -> str:
    """The nearest name in the deepest part of a dotted path that does import."""
    parts = path.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        try:
            parent = get_target(".".join(parts[:depth]))
        except Exception:
            continue
        names = [n for n in dir(parent) if not n.startswith("_")]
        if hasattr(parent, "__path__"):
            import pkgutil

            names += [module.name for module in pkgutil.iter_modules(parent.__path__)]
        near = difflib.get_close_matches(parts[depth], names, n=1, cutoff=0.5)
        found = ".".join(parts[:depth])
        return f"did you mean '{found}.{near[0]}'?" if near else f"{found} has no {parts[depth]!r}"
    return f"package {parts[0]!r} cannot be imported"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value
