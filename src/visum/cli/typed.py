"""What typer says of a command line that it cannot read, as one of visum's own errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visum.errors import UsageError


def understood(error: Exception, arguments: Sequence[str], commands: Mapping[str, Any]) -> UsageError | None:
    """The error as got, allowed and next; None if it is not one of typer's.

    Typer may bring its own copy of click or use the installed one, so that its errors are known by what they can do.

    Args:
        error: what was raised.
        arguments: the command line behind ``visum``.
        commands: by name.
    """
    said = getattr(error, "format_message", None)
    if not callable(said):
        return None
    got = str(said()).split(" (Possible options")[0]
    if close := getattr(error, "possibilities", None):
        got = f"{got.rstrip('.')}. Did you mean {' or '.join(close)}?"
    name = next((word for word in arguments if not word.startswith("-")), "")
    if name not in commands:
        return UsageError(got, allowed=", ".join(commands), next="visum --help")
    parameters = commands[name].params
    if hasattr(error, "possibilities"):
        allowed = ", ".join(flag for each in parameters for flag in each.opts if flag.startswith("--"))
    else:
        needed = (each.metavar or each.name for each in parameters if not each.opts[0].startswith("-"))
        allowed = f"visum {name} {' '.join(needed)} [OPTIONS]"
    return UsageError(got, allowed=allowed, next=f"visum {name} --help")
