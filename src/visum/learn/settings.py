"""Settings of a named part (a loss, an optimiser, a schedule): its signature is the schema, as it is for commands.

A setting is a keyword-only parameter with a default. What has none comes from the data or the model, not from a recipe.
"""

from __future__ import annotations

import difflib
import inspect
import reprlib
import types
import typing
from collections.abc import Callable, Collection, Mapping
from typing import Any

from visum.config import words_for
from visum.errors import RecipeError, UsageError

Parts = Mapping[str, Callable[..., Any]]


def checked(
    kind: str, parts: Parts, name: str, given: Mapping[str, Any], more: Mapping[str, Any] = types.MappingProxyType({})
) -> dict[str, Any]:
    """The settings of ``parts[name]``: what was given, and the defaults of the rest.

    Args:
        kind: what the parts are called in messages, e.g. ``loss``.
        parts: a registry, name → function.
        name: one of them.
        given: setting → value.
        more: settings that all parts share: name → annotation. They have no defaults here.

    Raises:
        UsageError: no part has that name.
        RecipeError: every setting that is unknown or out of range, at once.
    """
    known_name(kind, name, parts)
    schema = settings_of(parts[name])
    kinds = {**more, **{setting: kind for setting, (kind, _) in schema.items()}}
    faults = [fault for setting, value in given.items() if (fault := _fault(setting, value, kinds, f"{kind} {name}"))]
    if faults:
        raise RecipeError(faults)
    return {**{setting: default for setting, (_, default) in schema.items()}, **given}


def known_name(kind: str, name: str, parts: Collection[str]) -> None:
    """Raises ``UsageError`` with the nearest name when ``name`` is none of ``parts``."""
    if name not in parts:
        near = difflib.get_close_matches(name[:100].lower().replace("-", "_"), parts, 1)
        raise UsageError(f"no {kind} is called {name[:100]!r}", allowed=", ".join(parts), next=near[0] if near else "")


def settings_of(part: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    """Setting → (annotation, default), in the order of the signature."""
    hints = typing.get_type_hints(part, include_extras=True)
    return {
        name: (hints[name], parameter.default)
        for name, parameter in inspect.signature(part).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty
    }


def _fault(setting: str, value: Any, kinds: Mapping[str, Any], part: str) -> str:
    """What is wrong with one setting, or nothing."""
    from pydantic import TypeAdapter

    if setting not in kinds:
        return f"{setting} is no setting of {part}. Allowed: {', '.join(kinds) or 'none'}."
    try:
        TypeAdapter(kinds[setting]).validate_python(value, strict=True)
    except ValueError:  # pydantic's is one
        return f"{setting} is {reprlib.repr(value)}. Allowed: {words_for(kinds[setting])}."
    return ""
