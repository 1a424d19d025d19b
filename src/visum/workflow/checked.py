"""The library's own door: arguments pass the same check as a recipe and flags do, all at once and before any work."""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar, get_args

import numpy as np

from visum import config
from visum.errors import RecipeError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def checked(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """``function`` with its arguments checked by its own signature: texts become paths, ``"60s"`` seconds, lists tuples.

    Raises:
        RecipeError: (of the function returned) every unknown, missing and impossible argument at once.
    """

    run: Callable[..., _R] = function

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        given = {**inspect.signature(function).bind_partial(*args).arguments, **kwargs}
        hints = typing.get_type_hints(function)
        for name, value in given.items():
            if isinstance(value, str) and Path in (hints.get(name), *get_args(hints.get(name))):
                given[name] = Path(value)  # whatever bytes it is made of
            elif isinstance(value, np.generic):
                given[name] = value.item()
        try:
            settings = config.resolve(function, flags=given)
        except RecipeError as error:
            faults = [re.sub(r"^--[\w-]+: ", "", fault) for fault in error.faults]
            raise RecipeError(faults, next=f"help(visum.{function.__name__})") from None
        return run(**settings)

    return call
