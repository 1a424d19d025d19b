"""The library's own door: what people type in Python becomes what the functions want, and all faults come at once."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

import visum
from visum import config
from visum.config import Duration
from visum.errors import RecipeError
from visum.workflow.checked import checked


@checked
def cook(
    dish: Path,
    *,
    budget: Duration | None = None,
    heat: int = 5,
    way: Literal["boil", "fry"] = "boil",
    spices: tuple[str, ...] = ("salt",),
    out: Path | None = None,
    lid: bool = False,
) -> dict[str, Any]:
    """Cook."""
    return dict(locals())


def test_texts_become_paths_times_seconds_and_lists_tuples() -> None:
    given: Any = {
        "budget": "2m",
        "heat": np.int64(7),
        "way": "fry",
        "spices": ["salt", "pepper"],
        "out": "pot",
        "lid": True,
    }
    made = cook("soup", **given)  # type: ignore[arg-type]
    wanted = {
        "dish": Path("soup"),
        "budget": 120.0,
        "heat": 7,
        "way": "fry",
        "spices": ("salt", "pepper"),
        "out": Path("pot"),
    }
    assert made == {**wanted, "lid": True}
    assert cook(Path("soup")) == {
        "dish": Path("soup"),
        "budget": None,
        "heat": 5,
        "way": "boil",
        "spices": ("salt",),
        "out": None,
        "lid": False,
    }
    odd = os.fsdecode(b"caf\xe9")
    assert cook(odd)["dish"] == Path(odd)  # type: ignore[arg-type]


def test_every_fault_at_once_in_words_of_python() -> None:
    given: Any = {"heat": "hot", "way": "steam", "spice": 1, "spices": "salt"}
    with pytest.raises(RecipeError) as told:
        cook(Path("soup"), **given)
    assert told.value.faults == (
        "heat is 'hot'. Allowed: a whole number.",
        "way is 'steam'. Allowed: one of boil, fry.",
        "spice is no setting. Did you mean spices?",
        "spices is 'salt'. Allowed: a list, each text.",
    )
    assert "Try: help(visum.cook)" in str(told.value)
    with pytest.raises(RecipeError, match=r"dish is missing\. Allowed: a path"):
        cook()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        cook(Path("a"), Path("b"))  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["train", "find_problems", "evaluate", "doctor"])
def test_signatures_and_documentation_stay(name: str) -> None:
    function = getattr(visum, name)
    assert function.__name__ == name
    assert inspect.signature(function) == inspect.signature(function.__wrapped__)
    assert set(config.settings_of(function)) == set(inspect.signature(function).parameters)
    assert "Args:" in function.__doc__


@pytest.mark.parametrize("call", [lambda: visum.train("x", sizee=64), lambda: visum.find_problems("x", sizee=64)])  # type: ignore[arg-type,call-arg]
def test_a_misspelt_argument_names_its_neighbour(call: Any) -> None:
    with pytest.raises(RecipeError, match=r"sizee is no setting\. Did you mean size\?"):
        call()
