"""Settings: a TOML recipe and flags become checked keyword arguments. The function's signature is the schema.

Names, types, ranges (``Annotated[int, Field(ge=1)]``) and defaults come from the function that will be called, so that the
recipe, the flags and the docs cannot differ from it. Every fault is reported at once, before any work.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import json
import math
import re
import stat
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from visum.errors import RecipeError, UsageError

MAX_RECIPE_BYTES = 1 << 20
MAX_STRANGE = 20  # unknown keys named one by one
_PART = r"""(?:"[^"\n]{0,64}"|'[^'\n]{0,64}'|[\w-]{1,64})"""
_LONG_KEY = re.compile(
    rf"(?:\.[ \t]*{_PART}[ \t]*){{20}}"
)  # no setting has dots, and tomllib takes quadratic time for them
_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SOME = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
_NAMES = {"ge": "at least {}", "gt": "more than {}", "le": "at most {}", "lt": "less than {}"}
_NAMES |= {"min_length": "{} or more long", "max_length": "at most {} long"}


def parse_duration(text: str | float) -> float:
    """Seconds: ``60s``, ``10m``, ``2h``, ``1.5h``, ``20ms``, or a bare number of seconds; > 0 and finite.

    Raises:
        UsageError: anything else.
    """
    found = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*(ms|[smh]?)\s*", str(text), re.ASCII)
    seconds = float(found[1]) * _SECONDS[found[2]] if found else 0.0
    if isinstance(text, bool) or not seconds:
        raise UsageError(f"a time of {_short(text)}", allowed=_Seconds.words, next="--budget 10m")
    return seconds


def parse_share(text: str | float) -> float:
    """A share above 0 and below 1: ``90%``, ``2 %``, ``0.9``.

    Raises:
        UsageError: anything else.
    """
    found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,9})?|\.\d{1,9})\s*(%?)\s*", str(text), re.ASCII)
    share = float(found[1]) / (100 if found[2] else 1) if found else 0.0
    if isinstance(text, bool) or not 0 < share < 1:
        raise UsageError(
            f"a share of {_short(text)}", allowed="above 0 % and below 100 %, such as 90% or 0.9", next="90%"
        )
    return share


class _Seconds:
    """Tells pydantic to read a float through ``parse_duration``; pydantic is imported only when something is checked."""

    words = "a time above zero such as 60s, 10m or 2h (a bare number is seconds)"

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from pydantic_core import core_schema

        def read(value: Any) -> float:
            try:
                return parse_duration(value)
            except UsageError as error:
                raise ValueError(error.got) from error

        return core_schema.no_info_before_validator_function(read, handler(source))


Duration = Annotated[float, _Seconds()]
"""For signatures: written ``10m`` in recipes and flags, seconds in the function."""


@dataclass(frozen=True)
class Setting:
    """One keyword of a function.

    Attributes:
        name: as in the signature.
        kind: its annotation.
        words: what is allowed, for people.
        default: its value when nothing is given; ``inspect.Parameter.empty`` where it must be given.
    """

    name: str
    kind: Any
    words: str
    default: Any


def settings_of(function: Callable[..., Any]) -> dict[str, Setting]:
    """The settings of a function by name, in the order of its signature.

    Parameters that no recipe could hold (callables, objects with behaviour, ``*args``) are no settings.
    """
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError

    hints = typing.get_type_hints(function, include_extras=True)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        kind = hints.get(name, Any)
        try:
            schema: Any = TypeAdapter(kind).core_schema
        except PydanticSchemaGenerationError:
            continue
        while schema["type"] in ("nullable", "default"):
            schema = schema["schema"]
        if schema["type"] != "callable":
            found[name] = Setting(name, kind, words_for(kind), parameter.default)
    return found


def resolve(
    function: Callable[..., Any],
    *,
    recipe: Path | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] = types.MappingProxyType({}),
) -> dict[str, Any]:
    """Keyword arguments for ``function``: defaults, then the recipe, then ``key=value`` pairs, then flags.

    Args:
        function: its signature says which keys, types, ranges and defaults there are.
        recipe: TOML file of at most 1 MB with one key per setting and no sections.
        sets: ``key=value`` each; the value as TOML writes it, or a bare word.
        flags: values by name; None means not given.

    Returns:
        All settings in the order of the signature, of the annotated types (lists become tuples, texts become paths).

    Raises:
        RecipeError: every fault at once: unknown keys, types, ranges, repeated and missing keys, a file that cannot be read.
    """
    schema = settings_of(function)
    faults: list[str] = []
    layers = [_from_recipe(recipe, faults), _from_sets(sets, schema, faults), _from_flags(flags)]
    values = {name: s.default for name, s in schema.items()}
    strange: list[str] = []
    for name, (where, value) in chain.from_iterable(layer.items() for layer in layers):
        if name not in schema:
            strange.append(f"{where}: {_short(name, quote=False)} is no setting.")
            faults += [f"{strange[-1]} {_meant(name, schema)}"] if len(strange) <= MAX_STRANGE else []
            continue
        try:
            values[name] = _checked(schema[name].kind, value)
        except ValueError:
            faults.append(f"{where}: {name} is {_short(value)}. Allowed: {schema[name].words}.")
    if len(strange) > MAX_STRANGE:
        faults.append(f"{len(strange) - MAX_STRANGE:,} more keys are no settings.")
    given = set().union(*layers)
    missing = [name for name, value in values.items() if value is inspect.Parameter.empty and name not in given]
    faults += [f"{name} is missing. Allowed: {schema[name].words}." for name in missing]
    if faults:
        verb = getattr(function, "__name__", "")
        raise RecipeError(faults, next=f"visum {verb} --help lists every setting" if verb.isidentifier() else "")
    return values


def dump(settings: Mapping[str, Any]) -> str:
    """Settings as TOML text that ``resolve`` reads back to equal values. None has no TOML: a comment says so.

    Args:
        settings: names → str, int, float, bool, Path, None, or lists and tuples of those.

    Raises:
        TypeError: another type of value.
    """
    lines = [
        f"# {key} is not set" if value is None else f"{_key(key)} = {_toml(value)}" for key, value in settings.items()
    ]
    return "\n".join(lines) + "\n"


def words_for(kind: Any) -> str:
    """What an annotation allows, in words: ``Annotated[int, Field(ge=1)]`` → ``a whole number, at least 1``."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        extra = [m for at in inner[1:] for m in (getattr(at, "metadata", None) or [at])]
        if own := [at.words for at in extra if hasattr(at, "words")]:
            return str(own[0])
        limits = [
            form.format(v) for at in extra for n, form in _NAMES.items() if (v := getattr(at, n, None)) is not None
        ]
        return ", ".join([words_for(inner[0]), *limits])
    if origin is Literal:
        return ("one of " if len(inner) > 1 else "") + ", ".join(map(str, inner))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(words_for(at) for at in inner if at is not type(None)))
    if origin is tuple and not (len(inner) == 2 and inner[1] is Ellipsis):
        same = len(set(map(words_for, inner))) == 1
        return f"a list of {len(inner)}: " + (
            f"each {words_for(inner[0])}" if same else "; ".join(map(words_for, inner))
        )
    if origin in (tuple, list, set, frozenset, Sequence):
        return f"a list, each {words_for(inner[0])}"
    return _SOME.get(kind, getattr(kind, "__name__", str(kind)))


def _from_recipe(path: Path | None, faults: list[str]) -> dict[str, tuple[str, Any]]:
    import tomllib

    if path is None:
        return {}
    try:
        text = _read(path)
        found = tomllib.loads(text)
    except OSError as error:
        faults.append(f"{path}: {(error.strerror or str(error)).lower()}. Allowed: a TOML file.")
    except UnicodeDecodeError as error:
        faults.append(f"{path}: byte {error.start} is not UTF-8. Allowed: a TOML file.")
    except (ValueError, RecursionError) as error:
        said = "values are nested too deeply" if isinstance(error, RecursionError) else str(error)
        faults.append(f"{path}: {said[:1].lower()}{said[1:]}. Allowed: lines such as: seed = 3")
    else:
        lines = _lines(text)
        return {key: (f"{path}{lines.get(key, '')}", value) for key, value in found.items()}
    return {}


def _read(path: Path) -> str:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    with path.open("rb") as file:
        data = file.read(MAX_RECIPE_BYTES + 1)
    if len(data) > MAX_RECIPE_BYTES:
        raise ValueError(f"{status.st_size:,} bytes are too many for a recipe (at most {MAX_RECIPE_BYTES:,})")
    text = data.decode("utf-8-sig").replace("\r\n", "\n")
    if _LONG_KEY.search(text):
        raise ValueError("a key of more than 20 parts")
    return text


def _lines(text: str) -> dict[str, str]:
    """Key → ``, line 3``, where keys stand at the beginning of lines."""
    out: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if found := re.match(r"[ \t]*\[{0,2}[ \t]*[\"']?([\w-]{1,100})", line):
            out.setdefault(found[1], f", line {number}")
    return out


def _from_sets(sets: Sequence[str], schema: Mapping[str, Setting], faults: list[str]) -> dict[str, tuple[str, Any]]:
    import tomllib

    out: dict[str, tuple[str, Any]] = {}
    for pair in sets:
        key, equals, text = pair.partition("=")
        key, text = key.strip(), text.strip()
        if not equals or not key:
            faults.append(f"--set {_short(pair)}. Allowed: key=value.")
            continue
        if key in out:
            faults.append(f"--set {_short(key, quote=False)} is given twice. Allowed: once.")
        value: Any = text
        with contextlib.suppress(ValueError, RecursionError):
            parsed = tomllib.loads(f"value = {text}")
            value = parsed["value"] if len(parsed) == 1 else text
        if value is not text and key in schema and not _fits(schema[key].kind, value) and _fits(schema[key].kind, text):
            value = text  # a text that happens to look like a number: --set label_column=2024
        out[key] = ("--set", value)
    return out


def _from_flags(flags: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    return {key: (f"--{key.replace('_', '-')}", value) for key, value in flags.items() if value is not None}


def _checked(kind: Any, value: Any) -> Any:
    """The value as ``kind``; ValueError (pydantic's is one) where it does not fit.

    Checked strictly, first as it is (flags hold paths and tuples), then by the rules for JSON, which has what TOML has:
    a list may become a tuple and a text a path, but "5" is no number and 5.0 no whole number.
    """
    from pydantic import TypeAdapter

    if _too_big(value):
        raise ValueError("TOML numbers have 64 bits")
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    with contextlib.suppress(ValueError):
        return adapter.validate_python(value, strict=True)
    try:
        return adapter.validate_json(json.dumps(value, default=_plain), strict=True)
    except TypeError as error:  # a date, a set
        raise ValueError(str(error)) from error


def _too_big(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(map(_too_big, value))
    if isinstance(value, dict):
        return any(map(_too_big, value.values()))
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def _plain(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a recipe")


def _fits(kind: Any, value: Any) -> bool:
    try:
        _checked(kind, value)
    except ValueError:
        return False
    return True


def _meant(name: str, schema: Mapping[str, Setting]) -> str:
    close = difflib.get_close_matches(name[:100].replace("-", "_").lower(), schema, 1)
    return f"Did you mean {close[0]}?" if close else f"Allowed: {', '.join(schema)}."


def _short(value: Any, *, quote: bool = True) -> str:
    """A value on one short line, whatever it is."""
    if isinstance(value, int) and value.bit_length() > 200:  # printing it could take longer than the run
        return "a number of more than 60 digits"
    try:
        text = repr(value) if quote or not str(value).isprintable() else str(value)
    except (ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _toml(name)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else str(float(value))
    if isinstance(value, (str, Path)):
        text = str(value).encode("utf-8", "backslashreplace").decode()  # undecodable bytes of a path are not TOML
        return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    raise TypeError(f"{type(value).__name__} cannot be written to a recipe")
