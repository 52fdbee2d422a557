"""Run the step again that had a NaN or an infinity, and find the first operation that made one."""

from __future__ import annotations

import tempfile
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader
from torch.utils.module_tracker import ModuleTracker

from . import engine
from .callbacks import set_random_state
from .errors import NeurotwinError
from .numerical_health import FILE, unpack
from .run_folder import Run, load_run
from .run_log import quiet

#: Operations that are asked to write the non-finite numbers that they write, such as the -inf of a mask.
_FILLS = ("fill", "full", "scalar_tensor", "empty", "new_", "_to_copy", "copy_", "clone", "detach", "where")


@dataclass
class Replay:
    """What a step did when it was run again.

    Attributes:
        was: What the run had recorded: the fault, epoch, batch and items.
        loss: Loss of the replayed step.
        reproduced: Whether it is not finite again: loss, gradient, or a step of the task's own.
        found: Where non-finite numbers first appear, in the order of the computation: in the batch, in the weights,
            then the first operation that makes a NaN and the first that makes an infinity.
        gradients: Parameters whose gradient is not finite.
    """

    was: str
    loss: float = float("nan")
    reproduced: bool = False
    found: list[str] = field(default_factory=list)
    gradients: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"recorded  {self.was}", f"replayed  loss {self.loss:.6g}"]
        lines += [f"first     {text}" for text in self.found]
        shown = ", ".join(self.gradients[:5]) + (
            f", … ({len(self.gradients)} in all)" if len(self.gradients) > 5 else ""
        )
        lines += [f"gradient  not finite for {shown}"] if self.gradients else []
        if not self.reproduced:
            lines.append("all numbers are finite this time: the device, the number of threads or the code differ")
        return "\n".join(lines)


def replay(run: Run | str | Path) -> Replay:
    """Run the step again that ended a run, or was skipped first, because its loss or gradient was not finite.

    The very batch goes through the task's training step and backward pass with the weights, random-number state and
    optimiser of that step. Needs the run's data, as a resume does; the run folder is not changed. Of a task that takes
    its steps by itself the weights are those at the end of its step.

    Args:
        run: A run or its folder.

    Raises:
        NeurotwinError: If the run kept no such step, or its data are gone.
    """
    run = run if isinstance(run, Run) else load_run(run)
    path = run.path / FILE
    if not path.exists():
        raise NeurotwinError(f"{run.path.name} has no step to replay: no loss or gradient was NaN or infinite")
    saved = engine.read_checkpoint(path)
    composed = engine.recorded_config(run)
    pieces = engine.prepare(composed)
    alone = {"limit_val_batches": 0, "num_sanity_val_steps": 0, "devices": 1, "strategy": "auto", "num_nodes": 1}
    composed = replace(composed, config={**composed.config, "trainer": {**composed.config["trainer"], **alone}})
    like = next(iter(pieces.datamodule.train_dataloader()))
    batch = unpack(saved["batch"], like)
    items: Any = [batch]
    pieces.datamodule.train_dataloader = lambda: DataLoader(items, batch_size=None)
    player = _Player(saved, Replay(f"{saved['what']} in {saved['where']}"))
    with tempfile.TemporaryDirectory() as folder, quiet():
        trainer = engine.make_trainer(composed, Path(folder), [player], logger=False)
        try:
            trainer.fit(pieces.task, datamodule=pieces.datamodule)
        except _Done:
            pass
        finally:
            player.close()
    return player.result


class _Done(Exception):
    """The step has been replayed."""


class _Player(Callback):
    """Puts the state of the step back, watches it, and ends the fit after it."""

    def __init__(self, saved: Mapping[str, Any], result: Replay):
        self.saved, self.result = saved, result
        self._watch: _Watch | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch, for what depends on it."""
        progress: Any = trainer.fit_loop.epoch_progress.current
        progress.processed = progress.completed = int(self.saved["epoch"])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Weights, optimiser, random numbers; look at what goes in; begin to watch."""
        pl_module.load_state_dict(self.saved["state_dict"])
        for optimizer, state in zip(trainer.optimizers, self.saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.result.found += [f"in the batch: {text}" for text in _bad_fields(batch)]
        weights = pl_module.named_parameters()
        self.result.found += [f"in the weights: {name}, {_count(p)}" for name, p in weights if not _finite(p)]
        set_random_state(self.saved["random"])
        self._watch = _Watch(pl_module)
        self._watch.__enter__()

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """The loss is known."""
        self.result.loss = float(loss.detach())

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """The gradient is known: that is all."""
        self.close()
        gradients = {n: p.grad for n, p in pl_module.named_parameters() if p.grad is not None}
        self.result.gradients = [name for name, gradient in gradients.items() if not _finite(gradient)]
        self._end()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A task that takes its steps by itself."""
        self.close()
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        self.result.loss = float(loss) if isinstance(loss, Tensor) else self.result.loss
        self._end()

    def close(self) -> None:
        """Stop watching."""
        if self._watch is not None:
            self._watch.__exit__(None, None, None)
            self.result.found += self._watch.found.values()
            self._watch = None

    def _end(self) -> None:
        finite = torch.isfinite(torch.tensor(self.result.loss))
        self.result.reproduced = not finite or bool(self.result.gradients)
        raise _Done


class _Watch(TorchDispatchMode):
    """Sees every operation of forward and backward pass; keeps the first that makes a NaN and that makes an infinity.

    An operation makes one if its result has one and its arguments have none. One that comes from code outside torch (a
    compiled kernel, NumPy) is seen where it goes through the next operation.

    Args:
        task: Whose modules are named.
    """

    def __init__(self, task: nn.Module):
        super().__init__()
        self.found: dict[str, str] = {}
        self._tracker = ModuleTracker()
        self._anomaly = torch.autograd.set_detect_anomaly(False)
        self._name = type(task).__name__

    def __enter__(self) -> _Watch:
        self._anomaly = torch.autograd.set_detect_anomaly(True, check_nan=False)  # keeps the forward line of each node
        self._tracker.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._tracker.__exit__(*error)
        self._anomaly.__exit__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, given = str(func).removeprefix("aten."), tree_leaves((args, kwargs or {}))
        before = {kind: _has(given, kind) for kind in ("NaN", "infinity") if kind not in self.found}
        result = func(*args, **(kwargs or {}))
        made = tree_leaves(result)
        for kind, known in before.items():
            # What is given may be memory that is yet to be filled, so it counts if it comes out again.
            if not name.startswith(_FILLS) and _has(made, kind):
                self.found[kind] = f"{kind} {'goes through' if known else 'comes out of'} {self._place(name, given)}"
        return result

    def _place(self, name: str, given: Any) -> str:
        modules = sorted(self._tracker.parents - {"Global"}, key=len)
        where = f" in {modules[-1]}" if modules else ""
        phase = "backward pass " if self._tracker.is_bw else ""
        ranges = "; ".join(_range(x) for x in given if isinstance(x, Tensor) and x.is_floating_point() and x.numel())
        return f"{name}{where}: {phase}{_line(self._tracker.is_bw)}; its inputs: {ranges or 'none'}"


def _has(values: Any, kind: str) -> bool:
    test = torch.isnan if kind == "NaN" else torch.isinf
    with torch._C._DisableTorchDispatch():
        return any(isinstance(x, Tensor) and x.is_floating_point() and bool(test(x.detach()).any()) for x in values)


def _finite(value: Tensor) -> bool:
    return bool(torch.isfinite(value).all())


def _bad_fields(batch: Any, name: str = "") -> Iterator[str]:
    if isinstance(batch, Tensor):
        if batch.is_floating_point() and not _finite(batch):
            rows = torch.nonzero(~batch.isfinite().flatten(1).all(1))[:, 0].tolist() if batch.ndim > 1 else []
            where = f", rows {', '.join(map(str, rows[:8]))}" if rows else ""
            yield f"{name or 'tensor'}, {_count(batch)}{where}"
        return
    fields = batch._asdict() if hasattr(batch, "_asdict") else batch
    if isinstance(fields, Mapping):
        for key, value in fields.items():
            yield from _bad_fields(value, f"{name}.{key}" if name else str(key))
    elif isinstance(fields, list | tuple):
        for key, value in enumerate(fields):
            yield from _bad_fields(value, f"{name}[{key}]")


def _count(value: Tensor) -> str:
    bad = int((~value.isfinite()).sum())
    return f"{bad} of {value.numel()} numbers of {tuple(value.shape)}"


def _range(value: Tensor) -> str:
    with torch._C._DisableTorchDispatch():
        value = value.detach()
        return f"{tuple(value.shape)} from {float(value.min()):.4g} to {float(value.max()):.4g}"


def _line(backward: bool) -> str:
    """The innermost line outside torch and Lightning; in the backward pass that of the operation's forward pass."""
    frames = [f for f in traceback.extract_stack() if _ours(f.filename)]
    if backward:
        node: Any = torch._C._current_autograd_node()
        text = node.metadata.get("traceback_", []) if node is not None else []
        lines = [t.strip() for t in text if (n := t.partition('File "')[2].partition('"')[0]) and _ours(n)]
        if lines:
            place, _, code = lines[-1].partition("\n")
            file = Path(place.partition('File "')[2].partition('"')[0])
            number = place.partition("line ")[2].partition(",")[0]
            return f"of {file.parent.name}/{file.name}:{number}: {code.strip()}"
    if not frames:
        return "no line of its own"
    last = frames[-1]
    file = Path(last.filename)
    return f"{file.parent.name}/{file.name}:{last.lineno}: {last.line}"


def _ours(path: str) -> bool:
    return not any(f"/{name}/" in path for name in ("torch", "lightning", "torch_geometric")) and path != __file__
