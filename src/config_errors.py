"""What Hydra and OmegaConf complain about, said as file, key, value and the nearest valid choice."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import did_you_mean
from .registry import KINDS, list_configs

COMMAND_LINE = "command line"


def explain(error: Exception, known_keys: Iterable[str], typed: str | None = None) -> str:
    """Hydra's and OmegaConf's messages in ours: file, key, value, nearest valid choice.

    Args:
        error: What Hydra or OmegaConf raised.
        known_keys: Keys that a configuration may have.
        typed: The override that it is about, where the message does not hold it.
    """
    text, cause = str(error), str(error.__cause__ or "")
    file = re.search(r"In '([^']+)'", text)
    where = f"{config_file(file.group(1))}: " if file and file.group(1) != "train" else f"{COMMAND_LINE}: "
    if missing := re.search(r"Could not find '([^'/]+)/(.+)'", text):
        group, name = missing.groups()
        choices = [e.name for e in list_configs(group if group in KINDS else "experiment")] if group in KINDS else []
        choices = choices or re.findall(r"\t([^\s:=]+)$", text.split("Config search path")[0], re.M)
        return f"{where}{group}={name}: there is no such {group}; {did_you_mean(name, choices)}"
    if group := re.search(r"You must specify '(\w+)'", text):
        choices = [e.name for e in list_configs(group.group(1))]
        return f"{where}no {group.group(1)} is chosen; {did_you_mean('', choices)}"
    if override := re.search(r"Could not override '([^']+)'", text):
        return f"{COMMAND_LINE}: unknown key {override.group(1)!r}; {did_you_mean(override.group(1), known_keys)}"
    if key := re.search(r"Key '(\w+)' (?:is )?not in .*?full_key: (\S+)", f"{text} {cause}", re.S):
        return f"{where}unknown key {key.group(2)!r}; {did_you_mean(key.group(2), known_keys)}"
    if value := re.search(r"(Value '.*?' .*?could not be converted to \w+).*?full_key: (\S+)", f"{text} {cause}", re.S):
        return f"{where}{value.group(2)}: {value.group(1)[0].lower()}{value.group(1)[1:]}"
    if "Interpolation" in type(error).__name__:
        return f"interpolation fails: {' '.join(text.split())}"
    if "Ambiguous value" in text or "Sweep parameters" in text:
        return f"{COMMAND_LINE}: {text.splitlines()[0]}: for a sweep add -m, for a list write key=[a,b]"
    first = " ".join(
        filter(None, [text.splitlines()[0] if text else type(error).__name__, cause.splitlines()[0] if cause else ""])
    )
    return f"{where}{first}" + (f" (in {typed!r})" if typed else "")


def config_file(path: str) -> str:
    """How messages name a file of the defaults list."""
    return f"{path}.yaml" if path.startswith("experiments/") else f"configs/{path}.yaml"
