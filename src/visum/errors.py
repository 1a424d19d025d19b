"""One error tree. Every message says what was got, what is allowed, and what to type next.

VisumError                     everything visum raises on purpose
├── UsageError                 what was typed cannot be done                       exit 2
│   └── RecipeError            faults in a recipe or in keyword arguments, all at once
├── DataError                  the data set as a whole cannot be used              exit 3
│   ├── UnreadableImage        one file is not a picture that visum reads
│   └── NotEnoughData          too few images or classes for what was asked
├── ModelError                 architecture, weights or engine                     exit 4
│   ├── TrainingError          the loss is not a number any more
│   └── BundleError            a bundle or export is broken, edited or too new
│       └── UnsafeFile         a file that could run code or exhaust the machine
├── StorageError               disk full, unwritable, changed under our feet       exit 5
│   ├── Locked                 another run owns this folder
│   └── CorruptFile            bytes on disk are not the bytes that were written
├── ServerError                a server does not answer, or is in trouble         exit 6
└── Interrupted                SIGINT (exit 130) or SIGTERM (exit 143)
"""

from __future__ import annotations

from collections.abc import Sequence


class VisumError(Exception):
    """Base of all errors raised on purpose.

    Args:
        got: what was found, one sentence without the final full stop.
        allowed: what would have been accepted.
        next: what to type or do now.
    """

    exit_code = 1

    def __init__(self, got: str, *, allowed: str = "", next: str = "") -> None:
        self.got, self.allowed, self.next = got, allowed, next
        parts = [got if got.endswith((".", "!", "?")) else got + "."]
        if allowed:
            parts.append(f"Allowed: {allowed}.")
        if next:
            parts.append(f"Try: {next}")
        super().__init__(("\n" if "\n" in got else " ").join(parts))


class UsageError(VisumError):
    """What was typed cannot be done."""

    exit_code = 2


class RecipeError(UsageError):
    """Every fault of a recipe or of keyword arguments, reported together."""

    def __init__(self, faults: Sequence[str], *, next: str = "") -> None:
        self.faults = tuple(faults)
        head = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"{head} in the settings:\n  - " + "\n  - ".join(self.faults), next=next)


class DataError(VisumError):
    """The data set as a whole cannot be used."""

    exit_code = 3


class UnreadableImage(DataError):
    """One file is not a picture that visum reads.

    Args:
        reason: short words for tables, e.g. ``truncated JPEG: 31 of 400 rows``.
        path: the file, where known.
    """

    def __init__(self, reason: str, *, path: str = "", allowed: str = "", next: str = "") -> None:
        self.reason, self.path = reason, path
        super().__init__(f"{path}: {reason}" if path else reason, allowed=allowed, next=next)


class NotEnoughData(DataError):
    """Too few images or classes for what was asked; the message gives the number needed."""


class ModelError(VisumError):
    """Architecture, weights or engine cannot be used."""

    exit_code = 4


class TrainingError(ModelError):
    """Training cannot go on: the loss is not a number any more."""


class BundleError(ModelError):
    """A bundle or an exported file is broken, edited or newer than this visum."""


class UnsafeFile(BundleError):
    """A file that could run code (pickle) or exhaust the machine is refused unopened."""


class StorageError(VisumError):
    """The disk is full, the folder cannot be written, or a file changed under our feet."""

    exit_code = 5


class Locked(StorageError):
    """Another run owns this folder."""


class CorruptFile(StorageError):
    """Bytes on disk are not the bytes that were written."""


class ServerError(VisumError):
    """A server does not answer, answers that it cannot, or is not one of ours."""

    exit_code = 6


class Interrupted(VisumError):
    """Stopped by a signal after saving. ``exit_code`` is 128 + the signal's number."""

    def __init__(self, signal_number: int, *, next: str = "") -> None:
        self.exit_code = 128 + signal_number
        super().__init__("Interrupted; what was finished is kept", next=next)
