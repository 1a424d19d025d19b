"""How this room names things in its messages: lists that end, counts that agree, and the nearest name to a mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from visum.types import Finding, Severity, printable


def clean(text: str) -> str:
    """Text that can be stored as UTF-8: undecodable bytes as ``\\xNN``, lone surrogates as ``\\udNNN``."""
    try:
        return printable(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def quoted(name: str) -> str:
    """One name on one line, shortened, in quotation marks."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in clean(name))
    return f"“{line if len(line) <= 300 else line[:250] + '…' + line[-49:]}”"


def listed(names: Sequence[str], limit: int = 8) -> str:
    """The first names in quotation marks, and how many more there are."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(quoted(name) for name in names[:limit]) + more


def counted(number: int, noun: str, plural: str = "") -> str:
    """``1 file``, ``1,200 files``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that was probably meant, whatever its case; "" if none is near."""
    folded = {each.casefold(): each for each in reversed(known)}
    near = difflib.get_close_matches(name.casefold(), list(folded), 1, 0.6)
    return folded[near[0]] if near else ""


def meant(name: str, known: Sequence[str]) -> str:
    """``; did you mean “…”`` or nothing, to end a sentence with."""
    near = nearest(name, known)
    return f"; did you mean {quoted(near)}?" if near else ""


def finding(kind: str, severity: Severity, message: str, ids: Sequence[str] = (), **numbers: float) -> Finding:
    """A ``Finding`` whose ids can be printed."""
    return Finding(kind, severity, message, tuple(map(clean, ids)), {k: float(v) for k, v in numbers.items()})
