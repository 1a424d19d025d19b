"""The model card through a CommonMark parser: strangers' text stays text, and the numbers are those of the bundle."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundled import golden, model
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from numpy.typing import NDArray

from visum.ship import bundle as bundles
from visum.ship import card
from visum.types import Bundle

Photos = dict[str, NDArray[np.uint8]]
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</td></table><script>alert(2)</script>",
    "a | b || c",
    "`code` ```fence",
    "line\n\n# heading\r\n- item",
    "![picture](http://example.org/x.png) [link](javascript:alert(3)) <http://example.org>",
    "http://example.org www.example.org someone@example.org",
    "&lt;b&gt; &amp; &#60;",
    "**bold** _it_ ~~gone~~ $x^2$ \\",
    "\u202egnp.exe \x1b[31mred\x00",
    "- 1. + = # > :",
    "🧥 coat",
)
NOTES: dict[str, Any] = {
    "visum": "0.1.0", "created": "2025-03-01T10:00:00", "command": "visum train photos --out run",
    "data": {"name": "photos", "n": 3087, "digest": "ab" * 32, "splits": {"train": 2160, "validation": 462, "test": 465},
             "counts": {"train": [700, 800, 660], "test": [155, 155, 155]}},
    "scores": {"test": {"accuracy": {"value": 0.8983, "low": 0.8671, "high": 0.9231, "n": 465},
                        "log_loss": {"value": 0.3141, "low": None, "high": None, "n": 465},
                        "new_metric": {"value": 0.25, "low": 0.2, "high": 0.3, "n": 9}}},
    "versions": {"numpy": "2.4.6"}, "training": {"seed": 7, "l2": 0.01}, "findings": ["12 images are in two splits"],
    "backbone": {"name": "efficientnet_lite0", "licence": "Apache-2.0", "source": "ImageNet-1k"},
}  # fmt: skip


class Page(HTMLParser):
    """Tags, attributes and the cells of every table."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.headings: list[str] = []
        self.rows: list[list[str]] = []
        self.text, self._in = "", ""
        parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
        self.html = parser.render(markdown)
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._in = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag in ("h1", "h2"):
            self.headings.append("")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in in ("td", "th") and data.strip():
            self.rows[-1][-1] += data
        elif self._in in ("h1", "h2") and data.strip():
            self.headings[-1] += data


SAFE = {"h1", "h2", "p", "ul", "li", "strong", "code", "pre", "table", "thead", "tbody", "tr", "th", "td"}


def test_the_card_says_what_the_bundle_holds(photos: Photos) -> None:
    page = Page(card.text(model(photos, notes=NOTES)))
    assert page.headings[0] == "Model card: a classifier of 3 classes"
    for words in (
        "How to use it",
        "Classes",
        "Data",
        "Scores",
        "Preprocessing",
        "Calibration",
        "Intended use",
        "How it was",
    ):
        assert any(words in heading for heading in page.headings)
    assert page.rows[0] == ["#", "Class", "Images (train)", "Images (test)"]
    assert page.rows[1] == ["0", "astronaut", "700", "155"]
    scores = page.rows[page.rows.index(["Split", "Score", "Value", "95 % interval", "n"]) + 1 :]
    plain = [[cell.replace("\u202f", " ") for cell in row] for row in scores]
    assert plain[0] == ["test", "Accuracy", "89.8 %", "86.7 to 92.3 %", "465"]
    assert plain[1] == ["test", "Log loss (lower is better)", "0.314", "–", "465"]
    assert plain[2] == ["test", "New metric", "0.250", "0.200 to 0.300", "9"]
    for words in (
        "visum predict BUNDLE photo.jpg", 'visum.load("BUNDLE")', "sha256sum -c", "Apache-2.0", "efficientnet_lite0",
        "ImageNet-1k", "T = 0.75", "64 pixels", "3,087", "ab" * 32, "Validation: 462 images", "seed: 7", "numpy 2.4.6",
        "12 images are in two splits", "visum train photos --out run", "one class for each picture", "2025-03-01T10:00:00",
    ):  # fmt: skip
        assert words in page.text, words


def test_every_tag_is_ours_whatever_the_names_are(photos: Photos) -> None:
    k = len(HOSTILE)
    notes = {
        **NOTES,
        "command": HOSTILE[1],
        "findings": list(HOSTILE),
        "training": dict.fromkeys(HOSTILE, HOSTILE[0]),
        "versions": {name: name for name in HOSTILE},
        "scores": {name: {name: {"value": 0.5, "low": name, "high": 0.6, "n": name}} for name in HOSTILE},
        "data": {"name": HOSTILE[0], "n": HOSTILE[0], "digest": "`<b>", "splits": {HOSTILE[0]: 1},
                 "counts": {HOSTILE[2]: list(range(k))}},
        "backbone": {"name": HOSTILE[5], "licence": HOSTILE[0], "source": HOSTILE[6]},
        "visum": HOSTILE[4], "created": HOSTILE[3],
    }  # fmt: skip
    architecture = {"kind": HOSTILE[0], "descriptor": HOSTILE[5]}
    for task, thresholds in (("multiclass", ()), ("multilabel", tuple([0.5] * k))):
        changes: dict[str, Any] = {"task": task, "thresholds": thresholds, "architecture": architecture}
        markdown = card.text(model(photos, classes=HOSTILE, notes=notes, **changes))
        page = Page(markdown)
        assert page.tags <= SAFE
        assert page.attributes <= {"class"}
        assert "http://" not in markdown
        assert not set(markdown) & set("\x00\x1b\u202e\r")
        table = page.rows[1 : k + 1]
        assert [row[0] for row in table] == [str(i) for i in range(k)]
        assert all(len(row) == 3 for row in table)
        for row, name in zip(table, HOSTILE, strict=True):
            if name.isprintable():
                assert row[1] == " ".join(name.split())
        widths = {len(row) for row in page.rows}
        assert widths <= {2, 3, 5}


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_rendered_as_itself(text: str) -> None:
    for markdown in (card.plain(text), f"- {card.plain(text)}", f"| a |\n| --- |\n| {card.plain(text)} |"):
        page = Page(markdown)
        assert page.tags <= {"p", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"}
    if text.isprintable():
        shown = re.sub(r"\s+", " ", Page("x" + card.plain(text) + "x").text.strip())
        assert shown == "x" + " ".join(text.split()) + "x"


@pytest.mark.parametrize(
    "start", ["# a", "- a", "+ a", "1. a", "1) a", "> a", "=== a", "    code", "| a |", "***", "~~~", "```"]
)
def test_no_text_starts_a_block(start: str) -> None:
    assert Page(card.plain(start)).tags == {"p"}
    assert Page(card.plain(start)).text.strip() == start.strip()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(NOTES)), JSON))
def test_notes_of_any_shape_make_a_card(notes: dict[str, Any]) -> None:
    bundle = model({name: np.full((4, 4, 3), 40 * i, np.uint8) for i, name in enumerate("abc")}, notes=notes)
    assert Page(card.text(bundle)).tags <= SAFE


@pytest.mark.parametrize(("task", "thresholds", "words"), [
    ("binary", (0.25,), "The answer is chelsea from a probability of 0.25 on"),
    ("binary", (), "The most probable class is the answer"),
    ("multiclass", (), "softmax of logits / T"),
    ("multilabel", (), "Each class from 0.5 on is the answer"),
    ("multilabel", (0.25, 0.75), "sigmoid of logits / T"),
])  # fmt: skip
def test_decisions_are_explained(photos: Photos, task: Any, thresholds: Any, words: str) -> None:
    page = Page(card.text(model(photos, task=task, thresholds=thresholds, classes=("astronaut", "chelsea"))))
    assert words in page.text
    if len(thresholds) == 2:
        assert page.rows[-2:] == [["astronaut", "0.25"], ["chelsea", "0.75"]]


def test_a_thousand_classes_are_not_all_listed(photos: Photos) -> None:
    names = tuple(f"class {i}" for i in range(1000))
    text = card.text(model(photos, classes=names))
    assert "class 99 " in text
    assert "class 100 " not in text
    assert "and 900 more" in text


def test_the_card_in_a_bundle_is_this_text(tmp_path: Path, photos: Photos) -> None:
    bundle: Bundle = model(photos, notes=NOTES)
    bundles.write(bundle, tmp_path / "b", golden(bundle, photos))
    read = bundles.read(tmp_path / "b")
    assert (tmp_path / "b" / "MODEL_CARD.md").read_text() == card.text(bundle) == card.text(read)
