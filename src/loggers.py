"""Loggers beside ``metrics.csv``: functions of the run folder, called by the engine through their ``_target_``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlparse
from urllib.request import urlopen

from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from .config import instantiate
from .errors import NeurotwinError

log = logging.getLogger("neurotwin")


@contextmanager
def opened(nodes: Iterable[Mapping[str, Any]], folder: Path) -> Iterator[list[Logger]]:
    """The configured loggers of a run. A W&B run that they begin ends with it: the next would be written into it.

    Args:
        nodes: Their configurations.
        folder: The run folder.
    """
    before = _current_wandb_run()
    failed = True
    try:
        yield [instantiate(node, folder=folder) for node in nodes]
        failed = False
    finally:
        begun = _current_wandb_run()
        if begun is not None and begun is not before:
            begun.finish(exit_code=int(failed))


def tensorboard(folder: Path) -> Logger:
    """TensorBoard event files below ``folder/tensorboard``."""
    return TensorBoardLogger(save_dir=folder, name="tensorboard", version="")


def wandb(folder: Path, project: str = "neurotwin", offline: bool | None = None, **arguments: Any) -> Logger:
    """Weights & Biases, resumable under the run folder's name.

    Its own files lie beside the run folders: they hold paths and the user's name, and a run folder may be shared.

    Args:
        folder: The run folder.
        project: W&B project.
        offline: Write locally only; ``None`` asks the server for two seconds and goes offline if it does not answer
            (wandb itself would hang for minutes and then fail the run), or does not take the run.
        **arguments: Anything else that ``wandb.init`` takes.

    Raises:
        NeurotwinError: If the server does not take a run that must be online (``offline=False``).
    """
    from wandb.errors import Error

    if offline or (offline is None and not _reachable()):
        return _written_locally(folder, project, **arguments)
    logger = _logger(folder, project, offline=False, **arguments)
    try:
        _ = logger.experiment  # begins the run at the server
    except Error as error:
        reason = f"the W&B server does not take the run ({str(error)[:200]})"
        if offline is False:
            raise NeurotwinError(f"{reason}; logger.wandb.offline=true writes it locally") from error
        log.warning("%s; it is written locally, `wandb sync` sends it later", reason)
        return _written_locally(folder, project, **arguments)
    return logger


def _current_wandb_run() -> Any:
    return getattr(sys.modules.get("wandb"), "run", None)


def _written_locally(folder: Path, project: str, **arguments: Any) -> WandbLogger:
    os.environ["WANDB_MODE"] = "offline"
    return _logger(folder, project, offline=True, **arguments)


def _logger(folder: Path, project: str, **arguments: Any) -> WandbLogger:
    name = folder.name
    return WandbLogger(save_dir=folder.parent, project=project, name=name, id=name, resume="allow", **arguments)


def _reachable(timeout_s: float = 2.0) -> bool:
    if os.environ.get("WANDB_MODE", "online") != "online":
        return False
    server = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    if not (os.environ.get("WANDB_API_KEY") or _netrc_has(server.hostname)):
        return False
    try:
        urlopen(server.geturl(), timeout=timeout_s).close()
    except HTTPError:
        return True  # it answers; what it answers is wandb's affair
    except (OSError, HTTPException, ValueError):  # refused, unknown, silent, no web server, no address
        return False
    return True


def _netrc_has(host: str | None) -> bool:
    import netrc

    try:
        return host is not None and netrc.netrc().authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
