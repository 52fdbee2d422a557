"""Files that are written whole or not at all. Imports nothing heavy."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from .errors import NeurotwinError
from .privacy import redact


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        NeurotwinError: If the file is missing, torn or no object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NeurotwinError(f"{path}: cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise NeurotwinError(f"{path}: holds no JSON object")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write JSON, NaN as null, so that a reader, or a kill in between, sees the old file or the new one."""
    write_text(path, json.dumps(_without_nan(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically (temporary file beside it, flush to disk, rename), without secrets."""
    with replaced(path) as file:
        file.write(redact(text).encode())


@contextlib.contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` when it is whole and on the disk; otherwise nothing changes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def unwritable(error: BaseException | None) -> bool:
    """Whether an error, or its cause, says that the disk is full, over its quota or read-only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
            return True
        error = error.__cause__ or error.__context__
    return False


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
