"""Apply a trained run to a user's own file."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .contracts import FilePredictor
from .errors import ConfigError, DataError
from .run_folder import Run, load_run


def predict(run: Run | str | Path, source: str | Path, target: str | Path, bids: bool = False) -> list[Path]:
    """Apply the checkpoint of a run to a file; the training data are not needed.

    Args:
        run: A run or its folder.
        source: A file in a format that the run's datamodule reads.
        target: Folder for the results; made if it is not there.
        bids: Write masks and events as a BIDS derivative, see :func:`~.bids.file_derivative`.

    Returns:
        The written files.

    Raises:
        DataError: If the file is missing, unreadable or does not fit the model.
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
    if not bids:
        return task.predict_file(datamodule, source, target)
    from .bids import file_derivative

    with tempfile.TemporaryDirectory() as folder:
        return file_derivative(task.predict_file(datamodule, source, Path(folder)), source, target, run)
