"""The configuration: its schema, its composition from files, and where each value came from.

This is the only module that calls Hydra. Gate 1 (the schema) is passed by composing; gates 2 and 3 are in ``gates.py``.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from .config_errors import COMMAND_LINE, config_file, explain
from .errors import ConfigError, did_you_mean
from .privacy import own_environment, restore
from .registry import KINDS, experiment_entry, sources
from .targets import named_targets, refused_object, refused_path

#: What Hydra's grammar reads as something else than a string.
_WORDS = frozenset({"null", "true", "false", "nan", "inf"})
#: Groups whose keys are constructor arguments: open to any key here, checked against the signature in gate 2.
OPEN_GROUPS = frozenset({"datamodule", "model", "task", "optimizer", "scheduler", "trainer", "callbacks", "logger"})


@dataclass
class Objective:
    """The metric that checkpointing, early stopping, schedulers and sweeps look at."""

    metric: str | None = "val/loss"
    mode: str = "min"


@dataclass
class Schema:
    """Root of the configuration. A key that is not here is an error wherever it stands."""

    seed: int = 0
    threads: int | None = 1
    compile: bool = False
    objective: Objective = field(default_factory=Objective)
    checkpoint: str = "best"
    figures: bool = True
    data_root: str = "./data"
    runs_dir: str = "./runs"
    datamodule: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    task: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scheduler: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    callbacks: dict[str, Any] = field(default_factory=dict)
    logger: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(name="neurotwin_schema", node=Schema)


@dataclass(frozen=True)
class Composed:
    """A configuration ready to be checked and built.

    Attributes:
        experiment: ``paper/row``.
        config: Resolved plain containers, keys as in :class:`Schema`.
        origin: Dotted key to the file (or ``command line``) that set it last.
        overrides: What was typed after the experiment's name.
    """

    experiment: str
    config: dict[str, Any]
    origin: dict[str, str]
    overrides: tuple[str, ...]

    def where(self, key: str) -> str:
        """File that set ``key``, or the nearest parent of it."""
        while key not in self.origin and "." in key:
            key = key.rpartition(".")[0]
        return self.origin.get(key, "neurotwin's defaults")

    @property
    def hash(self) -> str:
        """Identifies what is computed, wherever it runs: all but folders and loggers."""
        return config_hash(self.config)

    def to_yaml(self) -> str:
        """The resolved configuration as YAML."""
        return OmegaConf.to_yaml(OmegaConf.create(self.config))


def compose(experiment: str, overrides: Mapping[str, Any] | Iterable[str] = ()) -> Composed:
    """Compose the configuration of an experiment: gate 1.

    Args:
        experiment: ``paper/row`` as ``neurotwin list`` prints it.
        overrides: ``key=value`` strings in Hydra's grammar, or a mapping of dotted keys to values.

    Raises:
        ConfigError: With file, key, value and the nearest valid choice.
    """
    experiment_entry(experiment)
    typed = override_list(overrides)
    for text in typed:
        if (key := text.lstrip("+~").partition("=")[0]).split(".")[0].split("/")[0] in ("experiments", "hydra"):
            raise ConfigError(f"{COMMAND_LINE}: {key!r} cannot be overridden: name the experiment before the overrides")
    config, origin = _compose("train", [f"experiments={experiment}", *map(_open_key, typed)])
    origin.update({o.lstrip("+~").partition("=")[0]: COMMAND_LINE for o in typed})
    _check_root(config, origin)
    return Composed(experiment, config, origin, tuple(typed))


def compose_many(
    experiment: str, jobs: Iterable[Sequence[str]], read: dict[Any, Any] | None = None
) -> Iterator[Composed]:
    """:func:`compose` for many jobs; what is read from files for a choice of group members is kept in ``read``."""
    read = {} if read is None else read
    for job in jobs:
        values = [text for text in job if _sets_value(text)]
        chosen = tuple(text for text in job if text not in values)
        if chosen not in read:
            compose(experiment, chosen)  # with all its checks
            read[chosen] = _read("train", [f"experiments={experiment}", *map(_open_key, chosen)])
        node, origin = copy.deepcopy(read[chosen][0]), dict(read[chosen][1])
        try:
            parsed = OverridesParser.create().parse_overrides([_open_key(text) for text in values])
            with flag_override(node, "struct", True):
                ConfigLoaderImpl._apply_overrides_to_config(parsed, node)
            config = _resolve(node)
        except (HydraException, OmegaConfBaseException, ValueError):
            yield compose(experiment, job)  # says what is wrong
            continue
        origin.update({o.lstrip("+~").partition("=")[0]: COMMAND_LINE for o in job})
        _check_root(config, origin)
        yield Composed(experiment, config, origin, tuple(job))


def _sets_value(text: str) -> bool:
    """Whether an override sets a value, instead of choosing a member of a group or deleting something."""
    key, equals, _ = text.partition("=")
    return bool(equals) and not key.startswith("~") and key.lstrip("+") not in KINDS and not set("/@") & set(key)


def compose_part(group: str, name: str, overrides: Iterable[str] = ()) -> Composed:
    """Compose one member of a group alone (``datamodule``, ``bonn``); overrides may leave out the group's name."""
    typed = [o if o.startswith(f"{group}.") else f"{group}.{o}" for o in override_list(overrides)]
    config, origin = _compose("part", [f"{group}={name}", *map(_open_key, typed)])
    origin.update({o.partition("=")[0]: COMMAND_LINE for o in typed})
    return Composed(name, config, origin, tuple(typed))


def _compose(root: str, arguments: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Compose ``configs/<root>.yaml`` and what hangs on it; returns the resolved values and their origins."""
    try:
        node, origin = _read(root, arguments)
        config = _resolve(node)
    except YAMLError as error:
        raise ConfigError(f"a YAML file cannot be read: {' '.join(str(error).split())}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"a YAML file is not UTF-8 text: {error}") from error
    except (HydraException, OmegaConfBaseException, OSError, ValueError) as error:
        raise ConfigError(explain(error, _known_keys())) from error
    known = [f.name for f in fields(Schema)]
    for key in config:
        if key not in known:
            raise ConfigError(f"{origin.get(key, COMMAND_LINE)}: unknown key {key!r}; {did_you_mean(key, known)}")
    return config, origin


def _read(root: str, arguments: list[str]) -> tuple[Any, dict[str, str]]:
    """The node that Hydra composes, interpolations unresolved, and the origins of its values."""
    primary, *others = sources()
    folders = [primary.experiments.parent, *(f for s in others for f in (s.configs, s.experiments.parent))]
    quoted = ",".join("'file://" + str(f).replace("'", r"\'") + "'" for f in folders if f.is_dir())
    arguments = [*arguments, f"hydra.searchpath=[{quoted}]"]
    GlobalHydra.instance().clear()
    with own_environment(), initialize_config_dir(str(primary.configs.resolve()), version_base="1.3"):
        return hydra_compose(root, arguments), _origins(root, arguments, [primary.configs, *folders])


def _resolve(node: Any) -> dict[str, Any]:
    for key in ("data_root", "runs_dir"):  # a run may be resumed from another working directory
        node[key] = str(Path(node[key]).expanduser().resolve())
    with own_environment():
        config: Any = OmegaConf.to_container(node, resolve=True)
    return config


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of a multirun: every combination of the swept values, in Hydra's grammar (``a=1,2`` ``b=range(3)``)."""
    choices = []
    for text in overrides:
        found = swept(text)
        choices.append([f"{found[0]}={value}" for value in found[1]] if found else [text])
    return [list(job) for job in itertools.product(*choices)]


def swept(text: str) -> tuple[str, tuple[str, ...]] | None:
    """Key and values, in Hydra's grammar, of an override that sweeps over several; None if it sets one."""
    parsed = _parse(text)
    if not parsed.is_sweep_override():
        return None
    return parsed.get_key_element(), tuple(map(str, parsed.sweep_string_iterator()))


def override_list(overrides: Mapping[str, Any] | Iterable[str]) -> list[str]:
    """Overrides as ``key=value`` strings; a mapping's values are written in Hydra's grammar."""
    if isinstance(overrides, Mapping):
        return [f"{key}={_literal(value)}" for key, value in overrides.items()]
    if isinstance(overrides, str):
        raise ConfigError(f"overrides must be a list of 'key=value' strings or a mapping, got the string {overrides!r}")
    return list(overrides)


def recorded(experiment: str, path: Path, overrides: Iterable[str] = ()) -> Composed:
    """A configuration that was saved as ``config.yaml``."""
    config = with_defaults(load_config(path), path)
    return Composed(experiment, config, dict.fromkeys(config, str(path)), tuple(overrides))


def with_defaults(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A recorded configuration, completed by keys that the schema has gained since.

    Raises:
        ConfigError: If a value of it is of another type than the schema's.
    """
    try:
        known = {key: value for key, value in config.items() if key in Schema.__dataclass_fields__}
        merged: Any = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(Schema), known))
        list(named_targets(merged))  # nothing in it is left to resolve
    except (OmegaConfBaseException, ConfigError, ValueError) as error:
        raise ConfigError(f"{path}: {str(error).splitlines()[0]}") from error
    return merged


def config_hash(config: Mapping[str, Any], without: Sequence[str] = ()) -> str:
    """Twelve hex digits over what decides the result; ``without`` names further dotted keys to leave out."""
    kept = json.loads(json.dumps(config))
    for key in ("data_root", "runs_dir", "figures", "logger", "datamodule.root", "datamodule.num_workers", *without):
        *parents, last = key.split(".")
        node = kept
        for parent in parents:
            node = node.get(parent) or {}
        node.pop(last, None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def load_config(path: Path) -> dict[str, Any]:
    """Read a run's ``config.yaml``."""
    try:
        config = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({' '.join(str(error).split())})") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: is no run configuration")
    return {str(k): restore(v) for k, v in config.items()}


def instantiate(node: Mapping[str, Any], **extra: Any) -> Any:
    """Build the object that ``_target_`` names. Nested mappings with a ``_target_`` are built first.

    Raises:
        ConfigError: If a ``_target_`` in it, however deep, is one that a configuration may not name.
    """
    from hydra.utils import instantiate as hydra_instantiate

    for path in named_targets(node):
        get_target(path)
    return hydra_instantiate(dict(node), _convert_="all", **extra)


def get_target(path: str) -> Any:
    """Import the class or function behind a ``_target_``.

    Raises:
        ConfigError: If a configuration may not name it, see ``targets.py``.
    """
    from hydra.utils import get_object

    path = str(path)
    if reason := refused_path(path):
        raise ConfigError(f"_target_={path!r} {reason}")
    logger = logging.getLogger("hydra.utils")  # it prints what the exception says anyway
    logger.disabled = True
    try:
        target = get_object(path)
    finally:
        logger.disabled = False
    if reason := refused_object(path, target):
        raise ConfigError(f"_target_={path!r} {reason}")
    return target


def show(experiment: str, overrides: Mapping[str, Any] | Iterable[str] = ()) -> str:
    """The composed configuration, each value followed by the file that it came from."""
    composed = compose(experiment, overrides)
    rows = [(key, _literal(value), composed.where(key)) for key, value in flatten(composed.config)]
    width_key = max(len(key) for key, _, _ in rows)
    width_value = min(44, max(len(value) for _, value, _ in rows))
    return "\n".join(f"{key:<{width_key}}  {value:<{width_value}}  # {origin}" for key, value, origin in rows)


def flatten(node: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and leaf values, in order; empty mappings are leaves."""
    if isinstance(node, Mapping) and node:
        return [
            leaf for key, value in node.items() for leaf in flatten(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    return [(prefix, node)]


def _origins(root: str, arguments: list[str], folders: Sequence[Path]) -> dict[str, str]:
    """Which file set each key, from Hydra's own defaults list in the order of composition."""
    loader = GlobalHydra.instance().config_loader()
    origin: dict[str, str] = {}
    for default in loader.compute_defaults_list(root, arguments, RunMode.RUN).defaults:
        path = default.config_path
        if ".." in str(path).split("/"):
            raise ConfigError(f"{path}: a configuration may not leave its folder")
        found = [file for folder in folders if path and (file := folder / f"{path}.yaml").is_file()]
        if path is None or not found:
            continue
        name = f"configs/{path}.yaml" if found[0].is_relative_to(folders[0]) else config_file(path)
        if not found[0].is_relative_to(folders[0].parent):
            name = str(found[0])
        prefix = default.package if default.package not in (None, "_global_", "<root>") else ""
        for key, _ in flatten(OmegaConf.to_container(OmegaConf.load(found[0])), prefix or ""):
            origin.setdefault(key.rpartition(".")[0], name)
            origin[key] = name
    return origin


def _open_key(text: str) -> str:
    """Set constructor arguments that a YAML file leaves out without Hydra's ``+``; gate 2 knows the signature."""
    key, equals, _ = text.partition("=")
    if not equals and not text.startswith("~"):
        raise ConfigError(f"{text!r} is no override: write key=value (a flag goes before or after, with two dashes)")
    group, dot, _ = key.partition(".")
    return f"++{text}" if dot and group in OPEN_GROUPS else text


def _parse(text: str) -> Any:
    try:
        return OverridesParser.create().parse_override(text)
    except (HydraException, ValueError) as error:
        raise ConfigError(explain(error, _known_keys(), text)) from error


def _literal(value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if hasattr(value, "item"):  # a NumPy or torch scalar
        value = value.item()
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_][\w./:+@-]*|\$\{.*\}", value, re.ASCII) and value.lower() not in _WORDS
        return value if plain else QuotedString(text=value, quote=Quote.single).with_quotes()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{k}:{_literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_literal, value)) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _check_root(config: Mapping[str, Any], origin: Mapping[str, str]) -> None:
    for key, value, choices in (
        ("objective.mode", config["objective"]["mode"], ("min", "max")),
        ("checkpoint", config["checkpoint"], ("best", "last")),
    ):
        if value not in choices:
            raise ConfigError(f"{origin.get(key, COMMAND_LINE)}: {key}={value!r}: {did_you_mean(str(value), choices)}")
    for key, low, high in (("seed", 0, 2**32 - 1), ("threads", 1, 4096)):
        if config[key] is not None and not low <= config[key] <= high:
            raise ConfigError(
                f"{origin.get(key, COMMAND_LINE)}: {key}={config[key]}: must lie between {low} and {high}"
            )


def _known_keys() -> list[str]:
    return [key for key, _ in flatten(OmegaConf.to_container(OmegaConf.structured(Schema)))] + ["debug"]
