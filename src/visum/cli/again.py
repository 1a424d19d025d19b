"""The same command once more, with other settings: what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any


def again(arguments: Sequence[str], settings: Mapping[str, Any], *, without: Sequence[str] = ()) -> str:
    """A command line with some settings set anew.

    Args:
        arguments: behind ``visum``, as they were typed.
        settings: name → value; flags and ``--set`` pairs that said something else of it are dropped.
        without: flags that take no value, to be dropped.
    """
    flags = {f"--{name.replace('_', '-')}" for name in settings}
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        flag, given, value = word.partition("=")
        if word in without or (flag in flags and given):
            continue
        if word in flags:
            next(words, None)
        elif flag == "--set":
            pair = value if given else next(words, "")
            if pair.partition("=")[0].strip().replace("-", "_") not in settings:
                kept += [word] if given else [word, pair]
        else:
            kept.append(word)
    for name, value in settings.items():
        kept += [f"--{name.replace('_', '-')}", ",".join(value) if isinstance(value, tuple) else str(value)]
    return shlex.join(["visum", *kept])
