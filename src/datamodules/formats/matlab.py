"""MATLAB files of version 5 to 7 through SciPy, which a damaged type code makes crash: the codes are checked before."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Literal

from ...errors import DataError

_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = frozenset({1, 2, 3, 4, 5, 6, 7, 9, 12, 13})
_TEXT = frozenset({16, 17, 18})
_CELL, _STRUCT, _OBJECT, _CHARACTERS, _SPARSE, _LAST_CLASS = 1, 2, 3, 4, 5, 15
_DEEPEST = 20
#: A variable unpacks to no more than this.
_LARGEST_BYTES = 4 << 30


def read_mat(path: Path) -> dict[str, Any]:
    """Variables of a MATLAB file.

    Raises:
        DataError: If the file is damaged, of version 7.3, or holds objects or functions.
    """
    from scipy.io import loadmat

    try:
        data = path.read_bytes()
        if data[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
            order: Literal["little", "big"] = "little" if data[126:128] == b"IM" else "big"
            _check(memoryview(data)[128:], order, path)
        elif data[:10] == b"MATLAB 7.3":
            raise DataError(f"{path}: MATLAB 7.3 files are not read; save it with -v7")
        return dict(loadmat(path))
    except DataError:
        raise
    except Exception as error:  # zlib, struct, SciPy: each has its own errors for a damaged file
        raise DataError(f"{path}: cannot be read as a MATLAB file ({type(error).__name__}: {error})") from error


def _check(data: memoryview, order: Literal["little", "big"], path: Path, kinds: frozenset[int] | None = None) -> None:
    """Walk the elements; ``kinds`` are those allowed here, at the top whole variables."""
    for kind, body in _elements(data, order, path):
        if kind not in (kinds or {_MATRIX, _COMPRESSED}):
            raise DataError(f"{path}: damaged: an element has the type {kind}, which cannot stand there")
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            inner = unpacker.decompress(bytes(body), _LARGEST_BYTES)
            if unpacker.unconsumed_tail:
                raise DataError(f"{path}: a variable unpacks to more than {_LARGEST_BYTES >> 30} GiB")
            _check(memoryview(inner), order, path, frozenset({_MATRIX}))
        elif kind == _MATRIX:
            _check_matrix(body, order, path)


def _check_matrix(body: memoryview, order: Literal["little", "big"], path: Path, depth: int = 0) -> None:
    elements = list(_elements(body, order, path))
    if not elements:  # MATLAB writes an empty cell so
        return
    kind, flags = elements[0]
    matrix_class = int.from_bytes(flags[:4], order) & 0xFF
    if kind != 6 or not 1 <= matrix_class <= _LAST_CLASS or matrix_class == _OBJECT or depth > _DEEPEST:
        raise DataError(f"{path}: damaged, or holds an object or a function; keep arrays only")
    nested = matrix_class in (_CELL, _STRUCT)
    complex_values = flags[1 if order == "little" else 2] & 8
    if not nested and matrix_class != _SPARSE and len(elements) != 4 + bool(complex_values):
        raise DataError(f"{path}: damaged: an array of {len(elements)} parts, 4 (5 if complex) are expected")
    for kind, part in elements[1:]:
        if kind == _MATRIX and nested:
            _check_matrix(part, order, path, depth + 1)
        elif kind not in _NUMBERS and not (kind in _TEXT and matrix_class == _CHARACTERS):
            raise DataError(f"{path}: damaged: an array's element has the unknown type {kind}")


def _elements(data: memoryview, order: Literal["little", "big"], path: Path) -> list[tuple[int, memoryview]]:
    """Type and content of the elements that follow each other."""
    found, at = [], 0
    while at + 8 <= len(data):
        word = int.from_bytes(data[at : at + 4], order)
        if word >> 16:  # up to four bytes stand in the tag itself
            kind, size, start, end = word & 0xFFFF, word >> 16, at + 4, at + 8
            if size > 4:
                raise DataError(f"{path}: damaged: a short element of {size} bytes")
        else:
            kind, size, start = word, int.from_bytes(data[at + 4 : at + 8], order), at + 8
            end = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(data):
            raise DataError(f"{path}: truncated, or damaged: an element of {size} bytes, {len(data) - start} are left")
        found.append((kind, data[start : start + size]))
        at = end
    return found
