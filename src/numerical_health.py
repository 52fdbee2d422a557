"""Watches the numbers of a fit: non-finite losses and gradients, and fits that go wrong without any."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor

from .callbacks import random_state
from .contracts import FittedModel
from .errors import NeurotwinError
from .files import replaced

log = logging.getLogger("neurotwin")
#: What ``neurotwin replay`` reads: the batch of the first non-finite number and the state of that step.
FILE = "checkpoints/nonfinite.ckpt"


class NumericalHealth(Callback):
    """Stop at the first NaN or infinity before it reaches the weights, or skip the batch; warn of silent divergence.

    The loss and the norm of the gradient are looked at before every optimiser step. What is needed to run that step
    again goes into ``checkpoints/nonfinite.ckpt``: batch, weights, random-number state, optimiser. The file holds
    training data: leave it out of a run folder that is shared.

    A warning, once a run and kept in ``run.json``, is given where a fit of gradient steps looks fine and is not: the
    epoch's training loss is above the best epoch's by twice what the fit had gained, by three standard deviations of
    that epoch's batches and by the best loss itself; or the model gives the same output for every item of a validation
    pass; or no gradient reaches the parameters in a whole epoch. The first is not looked for where a task says that its
    loss changes its meaning in training (``comparable_losses``: a curriculum).

    Args:
        nonfinite: ``stop`` the run with an error, or ``skip``: no step is taken with that gradient. A skipped batch
            makes the epoch's average of the loss NaN all the same, so that it is seen in ``metrics.csv``.
        max_skipped: Batches in a row that are skipped at most; then the run stops.
    """

    def __init__(self, nonfinite: Literal["stop", "skip"] = "stop", max_skipped: int = 10):
        self.nonfinite, self.max_skipped = nonfinite, max_skipped
        #: Takes a warning for the run's record.
        self.tell: Callable[[str], None] = lambda text: None
        self._batch: tuple[Any, int] = (None, 0)
        self._random: dict[str, Any] = {}
        self._bad = ""
        self._loss = math.nan
        self._losses: list[float] = []
        self._largest_gradient: float | None = None
        self._first: float | None = None
        self._best: tuple[float, float] = (math.inf, 0.0)  # mean and standard deviation over the batches
        self._outputs: list[bool] = []
        self._hook: Any = None
        self._warned: set[str] = set()
        self._skipped = self._in_a_row = 0

    def state_dict(self) -> dict[str, Any]:
        """What has to outlive an interruption."""
        return {
            "first": self._first,
            "best": list(self._best),
            "warned": sorted(self._warned),
            "skipped": self._skipped,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the state of the checkpoint."""
        self._first, self._skipped = state_dict["first"], state_dict["skipped"]
        self._best, self._warned = tuple(state_dict["best"]), set(state_dict["warned"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the step that an earlier start of this run kept."""
        if trainer.is_global_zero and not self._skipped:
            (Path(trainer.default_root_dir) / FILE).unlink(missing_ok=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning hook."""
        self._losses, self._largest_gradient = [], None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Remember the batch and the random numbers that its step will draw."""
        self._batch, self._random, self._loss = (batch, batch_idx), random_state(), math.nan

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Look at the loss."""
        self._loss = float(loss.detach())
        if not math.isfinite(self._loss):
            # A rank alone must not leave the others waiting: there, the reduced gradient tells all.
            self._found(trainer, pl_module, f"the loss is {self._loss}", stop=trainer.world_size == 1)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """Look at the gradient, and drop it where the batch is skipped."""
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            return  # half precision: an infinite gradient is what its scaler looks for, and skips by itself
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not gradients:
            return
        norm = float(torch.nn.utils.get_total_norm(gradients))
        self._largest_gradient = max(self._largest_gradient or 0.0, norm)
        if not math.isfinite(norm):
            bad = [n for n, p in pl_module.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
            what = f"the gradient of {', '.join(bad[:3])}{' …' if len(bad) > 3 else ''} is not finite"
            self._found(trainer, pl_module, self._bad or (what if bad else "the norm of the gradient is infinite"))
        if self._bad:
            optimizer.zero_grad(set_to_none=True)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the loss of a task that takes its steps by itself; count."""
        loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
        if not pl_module.automatic_optimization and isinstance(loss, Tensor):
            self._loss = float(loss)
            if not math.isfinite(self._loss):
                self._found(trainer, pl_module, f"the loss is {self._loss}", skip=False)
        if self._bad:
            self._skipped, self._in_a_row = self._skipped + 1, self._in_a_row + 1
            log.warning("skipped epoch %d, batch %d: %s", trainer.current_epoch, batch_idx, self._bad)
            self._warn("skipped", f"epoch {trainer.current_epoch}: a batch was skipped, because {self._bad}")
            if self._in_a_row > self.max_skipped:
                raise NeurotwinError(f"{self._in_a_row} batches in a row were skipped; the last because {self._bad}")
        else:
            self._in_a_row = 0
            self._losses += [self._loss] if math.isfinite(self._loss) else []
        self._bad, self._batch = "", (None, 0)

    def _found(self, trainer: Trainer, task: LightningModule, what: str, stop: bool = True, skip: bool = True) -> None:
        """Keep the step for a replay, then end the run or have the batch skipped."""
        path = Path(trainer.default_root_dir) / FILE
        batch, number = self._batch
        items = _items(batch)
        where = f"epoch {trainer.current_epoch}, batch {number}{f' ({items})' if items else ''}"
        if (
            not path.exists()
        ):  # the first; of several ranks the one whose own loss is not finite, as it comes here first
            step = {"what": what, "where": where, "epoch": trainer.current_epoch, "loss": self._loss}
            state = {
                "state_dict": task.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
                "random": self._random,
                "batch": pack(batch),
            }
            path.parent.mkdir(exist_ok=True)
            with replaced(path) as file:
                torch.save({**step, **state}, file)
        self._bad = what
        if stop and not (skip and self.nonfinite == "skip"):
            raise NeurotwinError(
                f"{what} in {where}; `neurotwin replay {path.parents[1].name}` shows where it comes from. Lower "
                "optimizer.lr, set trainer.gradient_clip_val=1, check the data for NaN, or skip such batches with "
                "callbacks=skip_nonfinite"
            )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to look at the model's outputs."""
        model = getattr(pl_module, "model", None)
        self._outputs = []
        if isinstance(model, torch.nn.Module) and trainer.optimizers and not isinstance(model, FittedModel):
            self._hook = model.register_forward_hook(self._see)

    def _see(self, model: Any, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and output.ndim and len(output) > 1:
            tensors = [x for x in inputs if isinstance(x, Tensor) and x.ndim and len(x) == len(output)]
            if any(_varies(x) for x in tensors):  # equal items may have equal outputs
                self._outputs.append(_varies(output))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the outputs of this pass."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None
        if self._outputs and not any(self._outputs) and not trainer.sanity_checking:
            self._warn("constant", f"epoch {trainer.current_epoch}: the model gives every item the same output")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the losses and gradients of this epoch."""
        if self._largest_gradient == 0.0:
            self._warn("no gradient", f"epoch {trainer.current_epoch}: no gradient reaches the parameters")
        if not self._losses or isinstance(getattr(pl_module, "model", None), FittedModel):
            return
        values = torch.tensor(self._losses, dtype=torch.float64)
        mean, deviation = float(values.mean()), float(values.std(correction=0))
        self._first = mean if self._first is None else self._first
        best, spread = self._best
        comparable = getattr(pl_module, "comparable_losses", True)
        if comparable and math.isfinite(best) and mean - best > max(2 * (self._first - best), 3 * spread, abs(best)):
            text = f"the training loss is {mean:.4g}; its best epoch had {best:.4g}: the fit diverges"
            self._warn("diverges", f"epoch {trainer.current_epoch}: {text}")
        if mean < best:
            self._best = mean, deviation

    def _warn(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning("%s", text)
            self.tell(text)


def _varies(values: Tensor) -> bool:
    """Whether the items along the first dimension differ by more than rounding."""
    if not values.is_floating_point() or not values.isfinite().all():
        return True
    spread = (values - values[:1]).abs().max()
    return bool(spread > 16 * torch.finfo(values.dtype).eps * values.abs().max())


def _items(batch: Any, limit: int = 8) -> str:
    """Which items of the data set a batch holds, where it says so."""
    fields = batch._asdict() if hasattr(batch, "_asdict") else batch if isinstance(batch, dict) else {}
    window = fields.get("window")
    if not isinstance(window, Tensor):
        return ""
    ids = window.flatten().tolist()
    return f"items {', '.join(map(str, ids[:limit]))}{' …' if len(ids) > limit else ''}"


def pack(batch: Any) -> Any:
    """A batch in what a checkpoint may hold: tensors, plain values, containers; a named tuple by its class's name."""
    if hasattr(batch, "_asdict"):
        fields = {name: pack(value) for name, value in batch._asdict().items()}
        return {"_type": f"{type(batch).__module__}.{type(batch).__qualname__}", "fields": fields}
    if isinstance(batch, dict):
        return {str(name): pack(value) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(pack(value) for value in batch)
    if isinstance(batch, Tensor):
        return batch.detach().cpu()
    return batch if isinstance(batch, int | float | str | bool | None) else {"_unknown": type(batch).__qualname__}


def unpack(batch: Any, like: Any) -> Any:
    """What :func:`pack` packed.

    Args:
        batch: The packed batch.
        like: Another batch of the same loader: a named tuple is made of its class, never of one that a file names.

    Raises:
        NeurotwinError: If it holds anything else.
    """
    if isinstance(batch, dict) and "_unknown" in batch:
        raise NeurotwinError(f"the batch holds a {batch['_unknown']}, which is not kept; only its items are known")
    if isinstance(batch, dict) and "_type" in batch:
        if batch["_type"] != f"{type(like).__module__}.{type(like).__qualname__}":
            raise NeurotwinError(f"the batch is a {batch['_type']}, but the run's data now give {type(like).__name__}")
        return type(like)(**{name: unpack(value, getattr(like, name)) for name, value in batch["fields"].items()})
    if isinstance(batch, dict):
        return {name: unpack(value, like[name]) for name, value in batch.items()}
    if isinstance(batch, list | tuple):
        return type(batch)(unpack(*pair) for pair in zip(batch, like, strict=True))
    return batch
