"""Lines about what happens, for people or, with ``--json``, for machines: one JSON object each."""

from __future__ import annotations

import json
import sys
import time
import traceback
from dataclasses import dataclass
from typing import Any, TextIO


@dataclass(frozen=True)
class Log:
    """Where lines go.

    Attributes:
        as_json: JSON lines instead of words.
        file: None: standard error.
    """

    as_json: bool = False
    file: TextIO | None = None

    def say(self, event: str, **facts: Any) -> None:
        """One line. What comes from requests is escaped: nothing in it can begin another line or move a cursor."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        if self.as_json:
            line = json.dumps({"time": f"{stamp}.{int(now % 1 * 1000):03d}Z", "event": event, **facts}, default=str)
        else:
            line = " ".join([stamp[11:], event, *(f"{key}={_plain(value)}" for key, value in facts.items())])
        try:
            print(line, file=self.file or sys.stderr, flush=True)
        except (OSError, ValueError):
            return  # whoever read this has gone; that is no reason not to serve

    def fault(self, id: str, error: BaseException) -> None:
        """A fault of ours, with all that is known of it; the client sees none of it."""
        self.say("fault", id=id, error=repr(error), trace="".join(traceback.format_exception(error)))


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = json.dumps(str(value))[1:-1].replace("\\n", "\n  ") if "\n" in str(value) else json.dumps(str(value))[1:-1]
    return text if text and " " not in text else f'"{text}"'
