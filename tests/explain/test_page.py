"""The page says what was found, in words, and no name of a stranger becomes part of it."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from visum.explain import page
from visum.ship.report.frame import house
from visum.types import Explanation

HOSTILE = "<script>alert(1)</script>\u202e"


def made(verdict: Any = "weak", **changes: Any) -> Explanation:
    draw = np.random.default_rng(0)
    numbers = dict.fromkeys(
        ("sensitivity", "beats_random", "beats_middle", "infidelity", "insertion", "deletion"), 0.5
    ) | {"random_insertion": 0.25, "random_deletion": 0.75}
    settings: dict[str, Any] = {
        "id": HOSTILE,
        "heat": draw.random((28, 28)).astype(np.float32),
        "square": draw.integers(0, 256, (28, 28, 3), np.uint8),
        "method": "gradcam",
        "target": "shirt",
        "probability": 0.81,
        "layer": "blocks.4",
        "faithfulness": numbers if verdict else {},
        "verdict": verdict,
    }
    return Explanation(**{**settings, **changes})


class Read(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] != "style":
            self.said += f"{data} "


def test_it_says_what_was_found() -> None:
    signed = made("trustworthy", heat=np.linspace(-1, 1, 784, dtype=np.float32).reshape(28, 28), contrast=HOSTILE)
    read = Read(page.text([signed, made(), made("meaningless")], house(), HOSTILE, {"head": 0.9, "all": -0.04}))
    assert not [tag for tag, _ in read.tags if tag == "script"]
    sources = [attributes["src"] or "" for tag, attributes in read.tags if tag == "img"]
    assert len(sources) == 6
    assert all(each.startswith("data:image/jpeg;base64,") for each in sources)
    said = " ".join(read.said.split())
    for words in (
        "1 of 3 maps is trustworthy",
        "blue against it",
        "why shirt and not <script>alert(1)</script>",
        "81 %",
        "beats random maps 50 %",
        "insertion 0.50 random 0.25",
        "gradcam at blocks.4",
        "The likeness goes",
        "all -0.04",
    ):
        assert words in said, words
    assert "\u202e" not in said


def test_an_untested_map_has_no_verdict_and_a_blind_method_is_named() -> None:
    said = Read(page.text([made("")], house(), "one", {})).said
    assert "trustworthy" not in said
    assert "blue" not in said
    said = Read(page.text([made()], house(), "one", {"head": 1.0, "all": 0.97})).said
    assert "they show the picture more than the model" in said


def test_heads_have_maps_of_their_own() -> None:
    heads = np.random.default_rng(1).random((3, 4, 4)).astype(np.float32)
    read = Read(page.text([made(method="attention", layer="", heads=heads)], house(), "one", {}))
    assert [each["alt"] for tag, each in read.tags if tag == "img"][2:] == ["head 1", "head 2", "head 3"]


@pytest.mark.parametrize(
    ("verdicts", "total", "said"),
    [
        ({}, 3, "Why it says so"),
        ({"weak": 1}, 1, "This map is weak"),
        ({"weak": 4}, 4, "None of 4 maps are trustworthy"),
        ({"trustworthy": 4}, 4, "All 4 maps are trustworthy"),
        ({"trustworthy": 1, "weak": 1}, 2, "1 of 2 maps is trustworthy"),
    ],
)
def test_headlines(verdicts: dict[str, int], total: int, said: str) -> None:
    assert " ".join(page.headline(verdicts, total)).strip() == said
