"""The command line: one command for each wish, over the same functions that ``import visum`` offers.

``commands`` says what there is, ``flags`` makes options of a function's signature, ``progress`` draws what is going on,
``show`` prints results for people. With ``--json`` results go to standard output as JSON and everything else to standard error.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

from visum.errors import StorageError, UsageError, VisumError

LOOKING = {"--show-batch", "--find-lr", "--help", "-h"}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def main() -> None:
    """``visum …``: exit codes are those of ``visum.errors``, 130 and 143 for SIGINT and SIGTERM, 1 for a bug."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError):  # closed, or replaced by something simpler
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _run(sys.argv[1:])
    except VisumError as error:
        if not (isinstance(error, UsageError) and _helping()):  # the first process says the same
            _explain(error)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:  # e.g. `visum predict … | head`
        _forget_output()
        code = 0
    except Exception as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": f"{type(error).__name__}: {error}", "kind": "bug", "exit": 1}))
        raise
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    """Read the line and do it; typer's own errors become ours."""
    import typer

    from visum.cli.commands import app, sign
    from visum.cli.typed import understood
    from visum.runtime import interruptible

    if _helping():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
        if arguments[:1] != ["train"] or LOOKING.intersection(arguments):  # one process is enough for that
            return 0
    sign(arguments)
    command: Any = typer.main.get_command(app)
    try:
        with (
            interruptible(next="the same command again"),
            command.make_context("visum", arguments or ["--help"]) as context,
        ):
            try:
                command.invoke(context)
            finally:
                _flush()
    except typer.Exit as error:
        return error.exit_code
    except typer.Abort:
        return 130
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _forget_output()
        said = (error.strerror or str(error)).lower()
        raise StorageError(f"cannot write: {said}", next="free some space, or --out on another disk") from error
    except Exception as error:
        if (known := understood(error, arguments, command.commands)) is not None:
            raise known from error
        raise
    return 0


def _helping() -> bool:
    """Whether this process was started to help another one that shows everything."""
    from visum.runtime import place

    with contextlib.suppress(UsageError):
        return place().rank > 0
    return False


def _flush() -> None:
    if sys.stdout is not None:  # closed by whoever started us
        sys.stdout.flush()


def _forget_output() -> None:
    """Nothing more can be written: what is still buffered must not raise when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: VisumError) -> None:
    """The message, as JSON where the machine asked for it; names from strangers' files without their control characters."""
    if "--json" in sys.argv:
        print(json.dumps({"error": str(error), "kind": type(error).__name__, "exit": error.exit_code}))
        return
    from visum.cli.show import plain

    colour = sys.stderr is not None and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    head, end = ("\033[1;31m", "\033[0m") if colour else ("", "")
    print(f"{head}visum:{end} {plain(str(error))}", file=sys.stderr)
