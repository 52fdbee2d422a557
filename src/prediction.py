"""Apply a trained run to a user's own file, or to every recording of a BIDS data set."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

from .contracts import FilePredictor
from .errors import ConfigError, DataError
from .run_folder import Run, load_run

log = logging.getLogger("neurotwin")


def predict(run: Run | str | Path, source: str | Path, target: str | Path, bids: bool = False) -> list[Path]:
    """Apply the checkpoint of a run to a file; the training data are not needed.

    Of a BIDS data set every recording (EEG) or subject (MRI) is taken by itself. One that cannot be read stops no
    other.

    Args:
        run: A run or its folder.
        source: A file in a format that the run's datamodule reads, or the root of a BIDS data set of EEG or MRI.
        target: Folder for the results; made if it is not there.
        bids: Write masks and events as a BIDS derivative, see :func:`~.bids.file_derivative`.

    Returns:
        The written files.

    Raises:
        DataError: If the file is missing, unreadable or does not fit the model; of a data set at the end, naming all.
        ConfigError: If the run's task cannot be applied to files.
    """
    run = run if isinstance(run, Run) else load_run(run)
    source, target = Path(source).expanduser(), Path(target).expanduser()
    if not source.exists():
        raise DataError(f"{source}: there is no such file")
    if target.exists() and not target.is_dir():
        raise DataError(f"{target}: is a file; --output names a folder")
    task = run.task
    datamodule = task.datamodule
    if not isinstance(task, FilePredictor):
        raise ConfigError(f"{run.path.name}: {type(task).__name__} cannot be applied to files")
    inputs: list[Path] = datamodule.inputs(source) if hasattr(datamodule, "inputs") else [source]
    written: list[Path] = []
    faults: list[Path] = []
    for one in inputs:
        try:
            written += _predict_one(run, task, one, target, bids)
        except DataError as error:
            if len(inputs) == 1:
                raise
            log.error("%s", error)
            faults.append(one.relative_to(source))
    if faults:
        names = ", ".join(map(str, faults[:5])) + (" …" if len(faults) > 5 else "")
        raise DataError(f"{source}: {len(faults)} of {len(inputs)} could not be predicted: {names}; the others were")
    return written


def _predict_one(run: Run, task: Any, source: Path, target: Path, bids: bool) -> list[Path]:
    files: list[Path]
    if not bids:
        files = task.predict_file(task.datamodule, source, target)
        return files
    from .bids import file_derivative

    origin = task.datamodule.sources(source) if hasattr(task.datamodule, "sources") else {}
    with tempfile.TemporaryDirectory() as folder:
        files = task.predict_file(task.datamodule, source, Path(folder))
        return file_derivative(files, source, target, run, origin)
