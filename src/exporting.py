"""A trained network as a file that runs without neurotwin: ONNX or torch.export, checked, with a model card."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2
import torch
import yaml
from torch import Tensor, nn

from . import __version__
from .contracts import DataSpec, FittedModel
from .errors import ConfigError, NeurotwinError, did_you_mean
from .files import write_text
from .provenance import now
from .run_folder import Run, load_run
from .tables import text

FORMATS = {"onnx": ".onnx", "pt2": ".pt2"}
#: Largest difference between the file's output and the network's, relative to the largest output.
TOLERANCE = 1e-4


def export(run: Run | str | Path, output: str | Path | None = None, format: str | None = None) -> list[Path]:
    """Write the network of a trained run, compare the file's output with the network's, and describe it.

    The batch may have any size; all other sizes are those of the data. What the file needs to be used (channels,
    sampling rate, classes, scaling, threshold) travels inside it as JSON, under ``neurotwin``.

    Args:
        run: A run or its folder.
        output: File to write, or a folder; ``<experiment>.onnx`` or ``.pt2`` in the current one where it is not given.
        format: ``onnx``, or ``pt2`` for ``torch.export``; by default what the file's name ends in, otherwise ``onnx``.
            A name without either ending gets one.

    Returns:
        The file and ``<file>.md``, its model card.

    Raises:
        ConfigError: If the format is unknown or not that of the file's name, or the network cannot be exported.
        NeurotwinError: If the file computes something else than the network.
    """
    run = run if isinstance(run, Run) else load_run(run)
    path, format = _place(run, output, format)
    task = run.task
    if isinstance(task.model, FittedModel):
        raise ConfigError(
            f"{run.path.name}: {type(task.model).__name__} is fitted in closed form; networks are exported"
        )
    spec: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in run.record["spec"].items()}
    inputs, result = task.export_example(DataSpec(**spec))
    path.parent.mkdir(parents=True, exist_ok=True)
    about = _about(run, task, inputs, result)
    model = task.model.eval()
    draft = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with _quiet():
            (_write_onnx if format == "onnx" else _write_pt2)(draft, model, inputs, result, json.dumps(about))
            difference = _largest_difference(draft, model, inputs)
        if not difference <= TOLERANCE:
            raise NeurotwinError(
                f"{path.name}: not kept: it differs from the network by {difference:.2g} of its output"
            )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    card = path.with_name(f"{path.name}.md")
    write_text(card, _card(run, about, path, format, difference))
    return [path, card]


def _place(run: Run, output: str | Path | None, format: str | None) -> tuple[Path, str]:
    """The file to write, whose name ends as the format asks, and the format."""
    path = Path(output or ".").expanduser()
    if path.is_dir():
        path = path / run.experiment.replace("/", "-")
    of_name = {suffix: name for name, suffix in FORMATS.items()}.get(path.suffix)
    format = format or of_name or "onnx"
    if format not in FORMATS:
        raise ConfigError(f"format={format!r} is unknown: {did_you_mean(format, FORMATS)}")
    if of_name not in (None, format):
        raise ConfigError(f"{path.name} and format={format} contradict each other: leave one of them out")
    return (path if of_name else path.with_name(path.name + FORMATS[format])), format


def _about(run: Run, task: Any, inputs: dict[str, Tensor], result: str) -> dict[str, Any]:
    """What a user of the file has to know."""
    own = {n: b.item() for n, b in task.named_buffers() if not n.startswith("model.") and b.numel() == 1}
    git = run.record.get("git") or {}
    return {
        "experiment": run.experiment,
        "inputs": {name: ["batch", *value.shape[1:]] for name, value in inputs.items()},
        "output": result,
        "spec": run.record["spec"],
        "task": {**{k: v for k, v in run.config["task"].items() if k != "_target_"}, **own},
        "datamodule": run.config["datamodule"],
        "run": run.path.name,
        "commit": git.get("commit"),
        "neurotwin": __version__,
    }


def _write_onnx(path: Path, model: nn.Module, inputs: dict[str, Tensor], result: str, about: str) -> None:
    try:
        import onnx
        import onnxruntime  # noqa: F401  (the comparison needs it)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"ONNX needs {error.name}: pip install 'neurotwin[export]', or --format pt2") from None
    values = tuple(inputs.values())
    if any(isinstance(module, nn.RNNBase) for module in model.modules()):
        # The graph-based exporter takes a minute for what ONNX has as one operator.
        axes = {name: {0: "batch"} for name in (*inputs, result)}
        torch.onnx.export(
            model, values, path, dynamo=False, input_names=list(inputs), output_names=[result], dynamic_axes=axes
        )
    else:
        program = _program(model, values)
        made = torch.onnx.export(
            program, values, dynamo=True, input_names=list(inputs), output_names=[result], verbose=False
        )
        made.save(str(path), external_data=False)  # type: ignore[union-attr]
    held = onnx.load(str(path))
    onnx.helper.set_model_props(held, {"neurotwin": about})
    onnx.checker.check_model(held)
    onnx.save(held, str(path))


def _write_pt2(path: Path, model: nn.Module, inputs: dict[str, Tensor], result: str, about: str) -> None:
    torch.export.save(_program(model, tuple(inputs.values())), path, extra_files={"neurotwin": about})


def _program(model: nn.Module, values: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    return torch.export.export(model, values, dynamic_shapes=tuple({0: batch} for _ in values))


@torch.no_grad()
def _largest_difference(path: Path, model: nn.Module, inputs: dict[str, Tensor]) -> float:
    """Between the file's output and the network's on random inputs, batches of one and of five."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

        def compute(values: list[Tensor]) -> Tensor:
            fed = {name: value.numpy() for name, value in zip(inputs, values, strict=True)}
            return torch.from_numpy(session.run(None, fed)[0])
    else:
        loaded = torch.export.load(path).module()

        def compute(values: list[Tensor]) -> Tensor:
            return loaded(*values)

    draw = torch.Generator().manual_seed(0)
    worst = 0.0
    for size in (1, 5):
        values = [torch.randn(size, *value.shape[1:], generator=draw) for value in inputs.values()]
        expected = model(*values)
        worst = max(worst, float((compute(values) - expected).abs().max() / expected.abs().max().clamp_min(1e-6)))
    return worst


def _card(run: Run, about: dict[str, Any], path: Path, format: str, difference: float) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("neurotwin.reporting"), trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    spec = {name: value for name, value in run.record["spec"].items() if value not in (None, (), [])}
    return environment.get_template("model_card.md.j2").render(
        run=run,
        about=about,
        spec=spec,
        path=path,
        format=format,
        difference=f"{difference:.1g}",
        datamodule=yaml.safe_dump(run.config["datamodule"], sort_keys=False).strip(),
        simulated=not run.config["datamodule"].get("root"),
        metrics={name: text(float(value)) for name, value in run.metrics.items()},
        parameters=text(run.record.get("parameters")),
        made=now(),
    )


@contextmanager
def _quiet() -> Iterator[None]:
    # The exporters warn of packages that are not needed, and about operators of their own.
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
