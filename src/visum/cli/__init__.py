"""The command line: one command for each wish, over the same functions that ``import visum`` offers.

``commands`` says what there is, ``flags`` makes options of a function's signature, ``progress`` draws what is going on,
``show`` prints results for people. With ``--json`` results go to standard output as JSON and everything else to standard error.
"""

from __future__ import annotations

import json
import os
import sys

from visum.errors import VisumError


def main() -> None:
    """``visum …``: exit codes are those of ``visum.errors``, 130 and 143 for SIGINT and SIGTERM, 1 for a bug."""
    from visum.cli.commands import app

    try:
        app(standalone_mode=False)
    except VisumError as error:
        _explain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # e.g. `visum predict … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        from click import ClickException
        from click.exceptions import Abort, Exit

        if isinstance(error, Exit):
            sys.exit(error.exit_code)
        if isinstance(error, Abort):
            sys.exit(130)
        if isinstance(error, ClickException):
            error.show()
            sys.exit(error.exit_code)
        raise


def _explain(error: VisumError) -> None:
    """The message, as JSON where the machine asked for it. Names from strangers' files are printed without their control characters."""
    if "--json" in sys.argv:
        print(json.dumps({"error": str(error), "kind": type(error).__name__, "exit": error.exit_code}))
        return
    from visum.cli.show import plain

    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    head, end = ("\033[1;31m", "\033[0m") if colour else ("", "")
    print(f"{head}visum:{end} {plain(str(error))}", file=sys.stderr)
