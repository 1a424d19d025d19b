"""Options made of a signature: nothing is written twice, and what is typed arrives as the function wants it."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from visum.cli.flags import command, documented
from visum.config import Duration
from visum.errors import RecipeError, UsageError
from visum.workflow.audit import find_problems
from visum.workflow.distill import distill
from visum.workflow.ensemble import ensemble
from visum.workflow.evaluate import evaluate
from visum.workflow.train import train


def cook(
    dish: Path,
    *,
    budget: Duration | None = None,
    heat: Annotated[int, Field(ge=1, le=9)] = 5,
    way: Literal["boil", "fry"] = "boil",
    spices: tuple[str, ...] = ("salt",),
    parts: tuple[float, float] = (0.5, 0.5),
    note: str | None = None,
    out: Path | None = None,
    lid: bool = False,
) -> None:
    """Cook a dish.

    It takes a while.

    Args:
        dish: what to cook; a folder
            that goes on in the next line.
        budget: e.g. 60s.
        heat, way: of the ``stove``.
        spices: in order.
        parts: of two.
        note: to the cook.
        out: where it goes.
        lid: on or off.

    Raises:
        ValueError: it burnt.
    """


def called(*arguments: str) -> dict[str, Any]:
    """What reaches the function behind the command."""
    got: list[tuple[dict[str, Any], bool]] = []
    app = typer.Typer()
    app.command()(command("cook", cook, lambda settings, as_json: got.append((settings, as_json))))
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return {**got[0][0], "json": got[0][1]}


def test_every_typed_value_has_the_type_of_the_signature(tmp_path: Path) -> None:
    assert called("soup") == {
        "dish": Path("soup"),
        "budget": None,
        "heat": 5,
        "way": "boil",
        "spices": ("salt",),
        "parts": (0.5, 0.5),
        "note": None,
        "out": None,
        "lid": False,
        "json": False,
    }
    typed = "soup --budget 2m --heat 7 --way fry --spices salt,pepper --parts 1,0.25 --note 7 --out pot --lid --json"
    assert called(*typed.split()) == {
        "dish": Path("soup"),
        "budget": 120.0,
        "heat": 7,
        "way": "fry",
        "spices": ("salt", "pepper"),
        "parts": (1.0, 0.25),
        "note": "7",
        "out": Path("pot"),
        "lid": True,
        "json": True,
    }


def test_flags_win_over_pairs_and_pairs_over_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "soup.toml"
    recipe.write_text('heat = 2\nway = "fry"\nnote = "of the recipe"\n')
    made = called("soup", "--recipe", str(recipe), "--set", "heat=3", "--set", "note=of the pair", "--heat", "4")
    assert (made["heat"], made["way"], made["note"]) == (4, "fry", "of the pair")


def test_the_recipe_may_say_what_to_work_on(tmp_path: Path) -> None:
    (tmp_path / "soup.toml").write_text('dish = "of the recipe"\n')
    assert called("--recipe", str(tmp_path / "soup.toml"))["dish"] == Path("of the recipe")
    assert called("typed", "--recipe", str(tmp_path / "soup.toml"))["dish"] == Path("typed")
    (tmp_path / "empty.toml").write_text("")
    with pytest.raises(RecipeError, match=r"dish is missing\. Allowed: a path"):
        called("--recipe", str(tmp_path / "empty.toml"))
    with pytest.raises(UsageError, match=r"Missing argument 'DISH'.*visum cook DISH \[OPTIONS\], or --recipe FILE"):
        called()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--heat 10", "--heat: heat is 10. Allowed: a whole number, at least 1, at most 9."),
        ("--heat 2.5", "--heat: heat is 2.5. Allowed: a whole number"),
        ("--heat warm", "--heat: heat is 'warm'. Allowed: a whole number"),
        ("--way steam", "--way: way is 'steam'. Allowed: one of boil, fry."),
        ("--parts 1", "--parts: parts is [1]. Allowed: a list of 2: each a number."),
        ("--budget never", "--budget: budget is 'never'. Allowed: a time above zero"),
        ("--set spice=salt", "--set: spice is no setting. Did you mean spices?"),
        ("--set lid=maybe", "--set: lid is 'maybe'. Allowed: true or false."),
    ],
)
def test_faults_name_the_flag_as_it_was_typed(typed: str, said: str) -> None:
    with pytest.raises(RecipeError) as told:
        called("soup", *typed.split())
    assert said in str(told.value)
    assert "visum cook --help" in str(told.value)


def test_all_faults_come_at_once() -> None:
    with pytest.raises(RecipeError) as told:
        called("soup", "--heat", "0", "--way", "burn", "--set", "salt=1")
    assert len(told.value.faults) == 3


def test_the_documentation_is_the_help() -> None:
    words = documented(cook)
    assert words["dish"] == "what to cook; a folder that goes on in the next line."
    assert words["heat"] == words["way"] == "of the stove."
    assert "ValueError" not in words
    app = typer.Typer(rich_markup_mode=None)
    app.command()(command("cook", cook, lambda *_: None))
    text = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output.split())
    assert "Cook a dish." in text
    assert "It takes a while" not in text
    assert "of the stove. [default: 5]" in text
    assert "boil|fry" in text
    assert "--budget TIME" in text
    assert "--out PATH" in text
    assert "--spices A,B,…" in text
    assert "in order. [default: salt]" in text


def test_arguments_in_a_row_are_a_tuple() -> None:
    got: list[Any] = []
    app = typer.Typer()

    def mix(dishes: tuple[Path, ...], *, heat: int = 5) -> None:
        """Mix."""

    app.command()(command("mix", mix, lambda settings, as_json: got.append(settings)))
    for typed in (["soup", "--heat", "2", "pie,cake"], ["soup"]):
        assert CliRunner().invoke(app, typed).exit_code == 0
    assert got == [{"dishes": (Path("soup"), Path("pie,cake")), "heat": 2}, {"dishes": (Path("soup"),), "heat": 5}]
    assert isinstance(told := CliRunner().invoke(app, []).exception, UsageError)
    assert "Missing argument 'DISHES'" in str(told)


@pytest.mark.parametrize("function", [train, distill, find_problems, evaluate, ensemble])
def test_every_setting_of_the_story_is_documented(function: Any) -> None:
    words = documented(function)
    names = set(inspect.signature(function).parameters)
    assert names - set(words) == set()
    assert set(words) - names == set()
    assert all(words[name] for name in names)


def test_a_range_does_not_hide_what_is_asked_for() -> None:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(command("train", train, lambda *_: None))
    text = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output.split())
    for flag in ("--epochs N", "--patience N", "--learning-rate X", "--mixup X", "--dropout X", "--budget TIME"):
        assert flag in text
