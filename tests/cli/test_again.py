"""The same command once more: what it says replaces what was said, whichever way it was typed."""

from __future__ import annotations

import shlex

import pytest

from visum.cli.again import again


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("train DATA --find-lr", "train DATA --learning-rate 0.002"),
        ("train DATA --find-lr --json --size 64", "train DATA --size 64 --learning-rate 0.002"),
        ("train DATA --learning-rate 3 --find-lr", "train DATA --learning-rate 0.002"),
        ("train DATA --learning-rate=3 --find-lr", "train DATA --learning-rate 0.002"),
        ("train --set learning_rate=3 DATA --find-lr", "train DATA --learning-rate 0.002"),
        ("train --set=learning_rate=3 DATA --set cut=none", "train DATA --set cut=none --learning-rate 0.002"),
        ("train DATA --out 'my run' --find-lr", "train DATA --out 'my run' --learning-rate 0.002"),
        ("train DATA --set", "train DATA --set '' --learning-rate 0.002"),
    ],
)
def test_what_was_said_of_a_setting_is_dropped(typed: str, wanted: str) -> None:
    found = again(shlex.split(typed), {"learning_rate": "0.002"}, without=("--find-lr", "--json"))
    assert found == f"visum {wanted}"


def test_several_settings_and_lists() -> None:
    found = again(["train", "D", "--ladder", "a"], {"learning_rate": 1.0, "ladder": ("a", "b")})
    assert found == "visum train D --learning-rate 1.0 --ladder a,b"
