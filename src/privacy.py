"""What must not stand in a run folder that is shared: keys, the home folder's path, the user's name.

Paths are written with ``~`` and ``$USER`` and read back for whoever opens the run; secrets are struck out for good.
"""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from .errors import ConfigError

#: Beginnings of the environment variables that a configuration may read.
_VARIABLES = ("NEUROTWIN_", "SLURM_")
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SECRET_SETTING = re.compile(
    r"""((?:api_?key|passw(?:or)?d|secret|(?:access|auth)_?token)["']?\s*[:=]\s*["']?)([^\s"',}]+)""", re.IGNORECASE
)


def redact(text: str) -> str:
    """The text without the values of secret settings and environment variables, home path and user name."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= 8 and re.search("[A-Za-z]", value) and "/" not in value:
            text = text.replace(value, "***")
    text = _SECRET_SETTING.sub(r"\1***", text)
    home, user = _identity()
    if home:
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    return re.sub(rf"(?<=/){re.escape(user)}(?![\w.-])", "$USER", text) if user else text


def restore(value: Any) -> Any:
    """Paths in a configuration that was written by :func:`redact`, as they are for this user."""
    if isinstance(value, dict):
        return {key: restore(item) for key, item in value.items()}
    if isinstance(value, list):
        return [restore(item) for item in value]
    if isinstance(value, str) and (value == "~" or value.startswith("~/") or "/$USER" in value):
        return os.path.expanduser(value).replace("/$USER", f"/{_identity()[1]}")
    return value


@contextmanager
def own_environment() -> Iterator[None]:
    """``${oc.env:NAME}`` reads what is meant for a configuration and no other variable: it would be written down."""
    from omegaconf import OmegaConf
    from omegaconf.resolvers.oc import env

    def read(name: str, *default: Any) -> Any:
        if not str(name).startswith(_VARIABLES):
            raise ConfigError(f"a configuration may read NEUROTWIN_… and SLURM_… only, not {name}; rename the variable")
        return env(name, *default)

    OmegaConf.register_new_resolver("oc.env", read, replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver("oc.env", env, replace=True)


def _identity() -> tuple[str, str]:
    return _identity_of(os.environ.get("HOME", ""), os.environ.get("LOGNAME") or os.environ.get("USER", ""))


@cache
def _identity_of(home: str, user: str) -> tuple[str, str]:
    """Home folder, unless it is the root of everything, and user name, where the system knows one."""
    try:
        user = user or getpass.getuser()
        home = home or str(Path.home())
    except (KeyError, OSError, RuntimeError):  # a container's user without an entry in the system's list
        pass
    home = home.rstrip("/")
    return home if home.count("/") >= 1 and len(home) > 1 else "", user
