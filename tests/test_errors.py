"""The error tree: drawn as it is built, every message with what was got, what is allowed and what to do next."""

from __future__ import annotations

import inspect
import re

import pytest

from visum import errors
from visum.errors import (
    BundleError,
    CorruptFile,
    DataError,
    Interrupted,
    Locked,
    ModelError,
    NotEnoughData,
    RecipeError,
    ServerError,
    StorageError,
    UnreadableImage,
    UnsafeFile,
    UsageError,
    VisumError,
)


def test_the_tree_is_drawn_as_it_is_built() -> None:
    drawn: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"^([│├└─ ]*)(\w+)  ", line):
            depth = len(found[1]) // 4
            above[depth] = found[2]
            drawn[found[2]] = above[depth - 1] if depth else "Exception"
    built = {
        name: kind.__mro__[1].__name__
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, Exception)
    }
    assert drawn == built


def test_a_message_says_what_was_got_what_is_allowed_and_what_to_do() -> None:
    error = UsageError("size is 7", allowed="32 to 512", next="--set size=224")
    assert str(error) == "size is 7. Allowed: 32 to 512. Try: --set size=224"
    assert (error.got, error.allowed, error.next) == ("size is 7", "32 to 512", "--set size=224")
    assert str(DataError("nothing here.")) == "nothing here."
    assert str(DataError("nothing here", next="look there")) == "nothing here. Try: look there"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (VisumError, 1), (UsageError, 2), (DataError, 3), (NotEnoughData, 3), (ModelError, 4), (BundleError, 4),
        (UnsafeFile, 4), (StorageError, 5), (Locked, 5), (CorruptFile, 5), (ServerError, 6),
    ],
)  # fmt: skip
def test_exit_codes(kind: type[VisumError], code: int) -> None:
    assert kind("x").exit_code == code


def test_interrupted_ends_like_a_signal() -> None:
    assert [Interrupted(number).exit_code for number in (2, 15)] == [130, 143]
    assert str(Interrupted(2, next="the same command")) == (
        "Interrupted; what was finished is kept. Try: the same command"
    )


def test_every_fault_of_a_recipe_is_named() -> None:
    error = RecipeError(["seed is 'a'.", "sede is no setting."], next="visum train --help")
    assert str(error).startswith("2 faults in the settings:\n  - seed is 'a'.\n  - sede is no setting.\n")
    assert str(error).endswith("Try: visum train --help")
    assert error.faults == ("seed is 'a'.", "sede is no setting.")
    assert str(RecipeError(["one"])) == "1 fault in the settings:\n  - one."
    assert error.exit_code == 2


def test_an_unreadable_image_names_its_file_and_its_reason() -> None:
    error = UnreadableImage("truncated JPEG: 31 of 400 rows", path="dog/1.jpg", next="copy the file again")
    assert str(error) == "dog/1.jpg: truncated JPEG: 31 of 400 rows. Try: copy the file again"
    assert (error.reason, error.path) == ("truncated JPEG: 31 of 400 rows", "dog/1.jpg")
    assert str(UnreadableImage("no picture")) == "no picture."
