"""Words, columns and small helpers that the nouns share."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from visum.errors import CorruptFile, StorageError

Task = Literal["binary", "multiclass", "multilabel"]
Split = Literal["train", "validation", "test", ""]
Fit = Literal["pad", "crop", "squash"]
Filter = Literal["bicubic", "bilinear"]
Severity = Literal["info", "warning", "serious"]
Column = NDArray[np.object_]
Floats = NDArray[np.float32]
Integers = NDArray[np.int64]
Pixels = NDArray[np.uint8]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def column(values: Sequence[Any]) -> Column:
    """One object column of a table; tuples stay tuples instead of becoming a second axis."""
    out = np.empty(len(values), dtype=object)
    out[:] = list(values) if not values or not isinstance(values[0], tuple) else [None] * len(values)
    if len(values) and isinstance(values[0], tuple):
        for index, value in enumerate(values):
            out[index] = value
    return out


@contextlib.contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """What libraries say of damaged files, as one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{error.filename or path} does not exist", next="another path") from error
    except MemoryError:
        raise
    except Exception as error:  # each library has errors of its own, and none means anything but this
        words = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise CorruptFile(f"{path} is not what visum wrote: {words}", next="the command that makes it") from error


def printable(path: str) -> str:
    """A path as text that can be stored as UTF-8: ``/`` between parts, undecodable bytes as ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace").replace(os.sep, "/")


def digest_of(value: Any) -> str:
    """Hex SHA-256 of a dataclass or a JSON-like value, independent of the order of keys."""
    plain = asdict(value) if hasattr(value, "__dataclass_fields__") else value
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
