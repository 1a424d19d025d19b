"""Settings: precedence, every fault at once, and the law that a written recipe reads back to the same settings."""

from __future__ import annotations

import datetime
import math
import os
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import Field

from visum.config import Duration, dump, parse_duration, resolve, settings_of, words_for
from visum.errors import RecipeError, UsageError


class Watcher(Protocol):
    def look(self) -> None: ...


def train(
    data: str,
    *rest: int,
    out: Path,
    budget: str | None = None,
    seed: int = 0,
    size: Annotated[int, Field(ge=32, le=512)] | None = None,
    rate: Annotated[float, Field(gt=0)] = 0.1,
    task: Literal["binary", "multiclass", "multilabel"] | None = None,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    strict: bool = False,
    extra_formats: tuple[str, ...] = (),
    wait: Duration = 60.0,
    watch: Watcher | None = None,
    step: Callable[[int], None] = print,
    **more: int,
) -> None:
    """Signature of a verb."""


GIVEN = {"data": "photos", "out": Path("runs/one")}


def faults(**arguments: Any) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        resolve(train, **arguments)
    return caught.value.faults


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_defaults_then_recipe_then_sets_then_flags(tmp_path: Path) -> None:
    recipe = write(tmp_path, 'seed = 1\nrate = 1\nsize = 64\nout = "a"\nextra_formats = ["TIFF"]\nwait = "2m"\n')
    found = resolve(
        train, recipe=recipe, sets=["seed=2", "size=128", "strict = true"], flags={**GIVEN, "seed": 3, "task": None}
    )
    assert found == {
        "data": "photos", "out": Path("runs/one"), "budget": None, "seed": 3, "size": 128, "rate": 1.0, "task": None,
        "fractions": (0.7, 0.15, 0.15), "strict": True, "extra_formats": ("TIFF",), "wait": 120.0,
    }  # fmt: skip
    assert list(found) == list(settings_of(train)), "in the order of the signature"
    assert isinstance(found["rate"], float)
    assert isinstance(found["out"], Path)


def test_callables_and_objects_are_no_settings() -> None:
    assert not {"watch", "step", "rest", "more"} & set(settings_of(train))


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("budget=10m", "budget", "10m"),
        ("budget=90", "budget", "90"),
        ("budget='10m'", "budget", "10m"),
        ("budget=a=b", "budget", "a=b"),
        ("budget=1\nseed=2", "budget", "1\nseed=2"),
        ("data=true", "data", "true"),
        ("out=../x y", "out", Path("../x y")),
        ("fractions=[0.5, 0.25, 0.25]", "fractions", (0.5, 0.25, 0.25)),
        ("extra_formats=['TIFF']", "extra_formats", ("TIFF",)),
        ("size=0x40", "size", 64),
        ("wait=1.5h", "wait", 5400.0),
    ],
)
def test_values_of_set(text: str, key: str, value: object) -> None:
    flags = {name: v for name, v in GIVEN.items() if name != key}
    assert resolve(train, sets=[text], flags=flags)[key] == value


def test_every_fault_at_once_each_with_its_place(tmp_path: Path) -> None:
    recipe = write(tmp_path, 'seed = "abc"\nsede = 3\n\nsize = 4\n[fractions]\na = 1\n')
    sets = ["task=foo", "strict=1", "wait=5x", "wait=3m", "oops", "=1", "rate=0", "learning-rate=1"]
    found = faults(recipe=recipe, sets=sets, flags={"budget": 3, "extra_formats": "TIFF", "seed": 4})
    assert sorted(found) == sorted(
        [
            f"{recipe}, line 1: seed is 'abc'. Allowed: a whole number.",
            f"{recipe}, line 2: sede is no setting. Did you mean seed?",
            f"{recipe}, line 4: size is 4. Allowed: a whole number, at least 32, at most 512.",
            f"{recipe}, line 5: fractions is {{'a': 1}}. Allowed: a list of 3: each a number.",
            "--set: task is 'foo'. Allowed: one of binary, multiclass, multilabel.",
            "--set: strict is 1. Allowed: true or false.",
            "--set wait is given twice. Allowed: once.",
            "--set 'oops'. Allowed: key=value.",
            "--set '=1'. Allowed: key=value.",
            "--set: rate is 0. Allowed: a number, more than 0.",
            "--set: learning-rate is no setting. Allowed: " + ", ".join(settings_of(train)) + ".",
            "--budget: budget is 3. Allowed: text.",
            "--extra-formats: extra_formats is 'TIFF'. Allowed: a list, each text.",
            "data is missing. Allowed: text.",
            "out is missing. Allowed: a path.",
        ]
    )
    with pytest.raises(RecipeError, match=r"(?s)^2 faults in the settings:\n  - .*Try: visum train --help"):
        resolve(train, sets=["seed=x", "rate=y"], flags=GIVEN)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('a = 1\nb = "x\n', "line 2"),
        ("seed = 1\nseed = 2\n", "line 2"),
        ("x = " + "[" * 5000, "nested too deeply"),
        ("seed = " + "9" * 5000, "limit"),
        (b"seed = 1 # \xff\n", "byte 11 is not UTF-8"),
        ("#" * (1 << 20) + "#", "1,048,577 bytes are too many"),
        (".".join("a" * 400_000) + " = 1", "more than 20 parts"),
        ("x = {" + ". ".join(["'!'"] * 200_000) + " = 1}", "more than 20 parts"),
        ("seed = 2024-01-01\n", "line 1: seed is datetime.date(2024, 1, 1)"),
        ("seed = 9223372036854775808", "seed is 9223372036854775808"),
        ("seed = 0x" + "f" * 100_000, "a number of more than 60 digits"),
        ("seed = [0x" + "f" * 100_000 + "]", "seed is a list"),
        ("".join(f"k{at} = 1\n" for at in range(50_000)), "49,980 more keys are no settings"),
    ],
)
def test_hostile_recipes(tmp_path: Path, toml: str | bytes, said: str) -> None:
    begin = time.process_time()
    found = faults(recipe=write(tmp_path, toml), flags=GIVEN)
    assert said in "\n".join(found)
    assert len("\n".join(found)) < 20_000
    assert time.process_time() - begin < 3


def test_numbers_beyond_64_bits_are_refused_wherever_they_stand() -> None:
    def pick(sizes: tuple[int, ...] = (), table: dict[str, int] | None = None) -> None: ...

    assert resolve(pick, sets=["sizes=[9223372036854775807]"])["sizes"] == (2**63 - 1,)
    for text in ("sizes=[9223372036854775808]", "table={x = -9223372036854775809}"):
        with pytest.raises(RecipeError, match="1 fault"):
            resolve(pick, sets=[text])


def test_recipes_that_are_no_files(tmp_path: Path) -> None:
    assert "no such file" in faults(recipe=tmp_path / "none.toml", flags=GIVEN)[0]
    assert "not a regular file" in faults(recipe=tmp_path, flags=GIVEN)[0]
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "not a regular file" in faults(recipe=pipe, flags=GIVEN)[0]


def test_bom_and_windows_line_ends(tmp_path: Path) -> None:
    recipe = write(tmp_path, b"\xef\xbb\xbfseed = 7\r\nstrict = true\r\n")
    found = resolve(train, recipe=recipe, flags=GIVEN)
    assert (found["seed"], found["strict"]) == (7, True)


TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(TEXT_ALL := "\x00\x7f\"'\\\n\r\t\x1f\u2028\U0001f600", 0, 1e22, False, ())
@given(TEXT, st.integers(-(2**63), 2**63 - 1), st.floats(min_value=1e-300), st.booleans(), st.lists(TEXT).map(tuple))
def test_what_is_dumped_reads_back(
    tmp_path: Path, text: str, seed: int, rate: float, strict: bool, formats: tuple[str, ...]
) -> None:
    flags = {
        "data": text, "out": Path(text.replace("\0", "") or "x"), "budget": text, "seed": seed, "rate": rate,
        "strict": strict, "extra_formats": formats, "task": "binary", "wait": "2h",
    }  # fmt: skip
    wanted = resolve(train, flags=flags)
    written = dump(wanted)
    assert tomllib.loads(written)["data"] == text
    assert resolve(train, recipe=write(tmp_path, written)) == wanted


def test_dump_is_plain_toml() -> None:
    said = dump({"a": None, "b": True, "c": 1.0, "d": (1, [math.inf, -math.inf]), "two words": Path("x/y"), "e": 1e-7})
    assert said == '# a is not set\nb = true\nc = 1.0\nd = [1, [inf, -inf]]\n"two words" = "x/y"\ne = 1e-07\n'
    assert tomllib.loads(dump({"x": math.nan}))["x"] != 0
    assert tomllib.loads(dump({"x": Path(os.fsdecode(b"a\xff"))})) == {"x": "a\\udcff"}
    with pytest.raises(TypeError, match="date cannot be written"):
        dump({"x": datetime.date(2024, 1, 1)})


def test_paths_that_are_not_text_pass_as_flags() -> None:
    odd = Path(os.fsdecode(b"runs/\xff"))
    assert resolve(train, flags={**GIVEN, "out": odd})["out"] == odd


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("10m", 600), ("2h", 7200), ("90", 90), (" 1.5h ", 5400), ("20ms", 0.02), (90, 90), (0.5, 0.5)],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5s", "5d", "m", "1e3", "inf", "nan", "١٠s", "5 5s", True, "9" * 99])
def test_durations_refused(text: str | float) -> None:
    with pytest.raises(UsageError, match="60s, 10m or 2h"):
        parse_duration(text)


def test_words() -> None:
    assert words_for(int | None) == "a whole number"
    assert words_for(str | int) == "text or a whole number"
    assert words_for(tuple[int, str]) == "a list of 2: a whole number; text"
    assert words_for(Annotated[str, Field(min_length=1, max_length=9)]) == "text, 1 or more long, at most 9 long"
    assert words_for(Literal["only"]) == "only"
