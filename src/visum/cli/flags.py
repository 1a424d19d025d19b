"""A function's signature becomes the options of a command: names, types, defaults and help come from the function alone."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import typer

from visum import config
from visum.errors import RecipeError, UsageError

PANEL = {
    "Data": (
        "path_column",
        "label_column",
        "split_column",
        "group_column",
        "group_regex",
        "delimiter",
        "task",
        "fractions",
        "split",
        "extra_formats",
        "strict",
    ),
    "Model": ("backbone", "weights", "size", "fit", "views", "ladder", "engine"),
    "Training a network": (
        *("cut", "epochs", "batch", "augment", "loss", "label_smoothing", "optimiser", "learning_rate", "weight_decay"),
        *(
            "layer_decay",
            "l1",
            "schedule",
            "warm_up",
            "mixup",
            "cutmix",
            "dropout",
            "drop_path",
            "start_size",
            "snapshots",
        ),
        *("ema", "clip", "unfreeze", "patience", "pool", "head", "margin", "scale", "device", "precision"),
        *("teacher", "teacher_share", "teacher_temperature"),
    ),
}


def documented(function: Callable[..., Any]) -> dict[str, str]:
    """Parameter → its sentence in the ``Args`` section."""
    text = inspect.getdoc(function) or ""
    found: dict[str, str] = {}
    section = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)*)", text, re.MULTILINE)
    for entry in re.finditer(
        r"^    (\w[\w, ]*): ((?:.|\n(?!    \w[\w, ]*:))*)", section[1] if section else "", re.MULTILINE
    ):
        words = " ".join(entry[2].split()).replace("``", "")
        found.update((name.strip(), words) for name in entry[1].split(","))
    return found


class Instead(NamedTuple):
    """What a flag makes a command do instead: look, with the same settings, at what it would do.

    Attributes:
        run: ``(settings, as_json) -> None``, all settings of the command.
        words: for ``--help``.
    """

    run: Callable[..., None]
    words: str


def command(
    name: str, function: Callable[..., Any], run: Callable[..., None], instead: Mapping[str, Instead] | None = None
) -> Callable[..., None]:
    """A typer command that gathers flags, recipe and pairs, checks them together, and calls ``run(settings, as_json)``.

    Args:
        name: what people type.
        function: whose keyword arguments are the settings.
        run: ``(settings, as_json) -> None``.
        instead: flag, without its dashes → what it does. All settings are checked as ever.
    """
    instead = instead or {}
    help_of = documented(function)
    hints = typing.get_type_hints(function, include_extras=True)
    parameters, needed = [], []
    for key, parameter in inspect.signature(function).parameters.items():
        kind, words = hints[key], help_of.get(key, "")
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            typed: Any = list[str] if get_origin(kind) is tuple else str  # several, in a row
            annotation: Any = Annotated[
                typed | None, typer.Argument(help=words, metavar=key.upper(), show_default=False)
            ]
            parameters.append(inspect.Parameter(key, parameter.kind, default=None, annotation=annotation))
            needed.append(key)
            continue
        shown = _default(parameter.default)
        panel = next((title for title, names in PANEL.items() if key in names), "Options")
        flag = f"--{key.replace('_', '-')}"
        option = typer.Option(
            flag, help=words + shown, show_default=False, rich_help_panel=panel, metavar=_metavar(kind) or None
        )
        plain: Any = bool if kind is bool else str
        parameters.append(
            inspect.Parameter(
                key, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[plain | None, option]
            )
        )
    extra = {
        "recipe": Annotated[
            str | None, typer.Option("--recipe", help="A TOML file of settings; flags win over it.", metavar="FILE")
        ],
        "sets": Annotated[
            list[str] | None, typer.Option("--set", help="One more setting; may be repeated.", metavar="KEY=VALUE")
        ],
        "as_json": Annotated[bool, typer.Option("--json", help="Print the result as JSON.")],
    }
    for key, other in instead.items():
        flag = f"--{key.replace('_', '-')}"
        annotation = Annotated[bool, typer.Option(flag, help=other.words, rich_help_panel="Look first")]
        parameters.append(inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation))
    for key, annotation in extra.items():
        default = False if key == "as_json" else None
        parameters.append(
            inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        )

    def called(**given: Any) -> None:
        recipe, sets, as_json = given.pop("recipe"), given.pop("sets") or (), given.pop("as_json")
        asked = [key for key in instead if given.pop(key)]
        if recipe is None and (missing := [key.upper() for key in needed if not given[key]]):
            usage = " ".join(key.upper() for key in needed)
            raise UsageError(
                f"Missing argument {', '.join(map(repr, missing))}",
                allowed=f"visum {name} {usage} [OPTIONS], or --recipe FILE that says it",
                next=f"visum {name} --help",
            )
        flags = {key: _parted(hints[key], value) for key, value in given.items()}
        try:
            settings = config.resolve(function, recipe=Path(recipe) if recipe else None, sets=sets, flags=flags)
        except RecipeError as error:  # people know the command, not the function behind it
            raise RecipeError(error.faults, next=f"visum {name} --help lists every setting") from error
        if len(asked) > 1:
            both = " and ".join(f"--{key.replace('_', '-')}" for key in asked)
            raise UsageError(both, allowed="one of them at a time", next=f"visum {name} --help")
        (instead[asked[0]].run if asked else run)(settings, as_json)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    called.__doc__ = (inspect.getdoc(function) or "").split("\n\n")[0]
    return called


def _parted(kind: Any, value: Any) -> Any:
    """``a,b`` for a tuple; numbers become numbers, so that the check sees what a recipe would give it."""
    if isinstance(value, list):  # arguments in a row
        return tuple(map(Path, value)) if Path in get_args(kind) else tuple(value)
    if not isinstance(value, str):
        return value
    if any(get_origin(part) is tuple for part in (kind, *get_args(kind))):
        return [_number(part.strip()) for part in value.split(",") if part.strip()]
    if Path in (kind, *get_args(kind)):
        return Path(value)  # whatever bytes it is made of
    if kind is config.Duration or config.Duration in get_args(kind) or str in (kind, *get_args(kind)):
        return value
    return _number(value)


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _default(value: Any) -> str:
    if value is None or value is inspect.Parameter.empty or value is False or value == ():
        return ""
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f" [default: {text}]"


def _metavar(kind: Any) -> str:
    if kind is bool:
        return ""
    parts = [part for part in (kind, *get_args(kind)) if part is not type(None)]
    for part in parts:
        if get_origin(part) is Literal:
            return "|".join(str(choice) for choice in get_args(part) if choice)
    if any(get_origin(part) is tuple for part in parts):
        return "A,B,…"
    if config.Duration in parts:
        return "TIME"
    bare = [get_args(part)[0] if get_origin(part) is Annotated else part for part in parts]  # ranges make no other type
    return {int: "N", Path: "PATH", float: "X"}.get(next((p for p in bare if p in (int, Path, float)), str), "TEXT")
