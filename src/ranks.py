"""Several processes, one run: who leads, what the others are told, what is done once a node.

The processes come from Lightning (``trainer.devices=N`` starts N - 1 more), from ``torchrun``, or from SLURM's
``srun``. Those of the latter two start together and know nothing of each other but where to meet: they join a process
group before anything else, which Lightning then takes over.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment

from .errors import ConfigError, NeurotwinError

#: How the processes that Lightning starts learn which folder the first one claimed.
RUN_DIR = "NEUROTWIN_RUN_DIR"
Value = TypeVar("Value")


def join(trainer: Mapping[str, Any]) -> None:
    """Meet the other processes of ``torchrun`` or ``srun``; nothing for a process that was started alone.

    Args:
        trainer: The configured ``devices``, ``num_nodes`` and ``strategy``, which must agree with the launcher.

    Raises:
        ConfigError: If they do not.
    """
    launched = _launched()
    if launched is None or dist.is_initialized():
        return
    launcher, environment = launched
    world = environment.world_size()
    devices, nodes = trainer.get("devices", 1), int(trainer.get("num_nodes", 1))
    if devices != "auto" and int(devices) * nodes != world:
        raise ConfigError(
            f"{launcher} started {world} processes, but trainer.devices={devices} on {nodes} node(s) are "
            f"{int(devices) * nodes}: pass trainer=ddp, trainer.devices=PROCESSES_A_NODE and +trainer.num_nodes=NODES, "
            "or ask for one process (--nproc-per-node=1, --ntasks=1)"
        )
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = environment.main_address, str(environment.main_port)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, rank=environment.global_rank(), world_size=world)
    atexit.register(_leave)  # Lightning does so for a group that it has made; a left one can abort the process at exit


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def follower() -> bool:
    """Whether another process leads: claims the folder, writes the record, holds the lock."""
    launched = _launched()
    return RUN_DIR in os.environ if launched is None else launched[1].global_rank() > 0


def told(work: Callable[[], Value]) -> Value:
    """What ``work`` gives on the leader, on every process; its error is everybody's.

    Raises:
        NeurotwinError: On the followers, if it failed.
    """
    if not dist.is_initialized():
        return work()
    return _shared(work if dist.get_rank() == 0 else None)[0]


def once_a_node(work: Callable[[], None]) -> None:
    """Do what changes a node's disk on its first process; the others go on when all nodes are done."""
    if dist.is_initialized():
        launched = _launched()
        _shared(work if launched is None or launched[1].local_rank() == 0 else None)
    elif os.environ.get("LOCAL_RANK", "0") == "0":  # Lightning starts the others when the first has done it
        work()


def _shared(work: Callable[[], Any] | None) -> list[Any]:
    """Results of those processes that have work to do, by rank; all wait for all."""
    failure: Exception | None = None
    result = None
    try:
        result = work() if work else None
    except Exception as error:
        failure = error
    outcomes: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(outcomes, (result, None if failure is None else f"{type(failure).__name__}: {failure}"))
    if failure is not None:
        raise failure
    for rank, (_, message) in enumerate(outcomes):
        if message is not None:
            raise NeurotwinError(f"process {rank} of this run failed ({message})")
    return [result for result, _ in outcomes]


def _launched() -> tuple[str, ClusterEnvironment] | None:
    """The launcher and what it says, when it started more than one process."""
    if dist.is_available() and dist.is_torchelastic_launched():
        launched: tuple[str, ClusterEnvironment] = "torchrun", TorchElasticEnvironment()
    elif int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        launched = "srun", _slurm()
    else:
        return None
    return launched if launched[1].world_size() > 1 else None


def _slurm() -> SLURMEnvironment:
    try:
        return SLURMEnvironment()
    except RuntimeError as error:  # --ntasks without --ntasks-per-node
        raise ConfigError(str(error)) from None
