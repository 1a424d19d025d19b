"""Charts and sentences of the page about layers, from numbers whose story is known."""

from __future__ import annotations

from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np

from visum.explain import curves, layers_page, panels
from visum.ship.report.frame import house

STAGES = ("one", "two", "three", "four")


def known(name: str, *values: float) -> SimpleNamespace:
    scores = {"pixels": (0.3, 0.25, 0.35)} | {
        stage: (v, v - 0.05, v + 0.05) for stage, v in zip(STAGES, values, strict=True)
    }
    return SimpleNamespace(name=name, words=name, metric="accuracy", chance=0.25, n=300, scores=scores)


def found(**changes: object) -> SimpleNamespace:
    about = (
        known("class", 0.3, 0.4, 0.8, 0.82),
        known("edges", 0.8, 0.7, 0.6, 0.5),
        known("colour", 0.5, 0.5, 0.5, 0.5),
    )
    plain = {"stages": STAGES, "known": about, "learnt": 600, "judged": 300, "how": "split", "seen": 0}
    plain |= {"alike": np.eye(4)}
    return SimpleNamespace(**(plain | {"against": (), "across": None} | changes))


def test_headline_names_the_layer_from_which_on_the_classes_can_be_read() -> None:
    page = layers_page.page(found(), "shop")
    assert "".join(piece for piece, _ in page.headline) == "The classes can be read from three on"
    assert "after four of 82" in page.lede
    assert "test stays sealed" in page.foot


def test_each_curve_says_whether_knowledge_grows_fades_or_stays() -> None:
    grows, fades, stays = (layers_page._sentence(each, STAGES) for each in found().known)
    assert "easier to read deeper inside" in grows
    assert "fades" in fades
    assert "after four" in fades
    assert "everywhere" in stays


def test_early_layers_are_told_by_what_they_know_best_beyond_guessing() -> None:
    assert layers_page._parts(STAGES) == {"early": ["one", "two"], "middle": ["three"], "late": ["four"]}
    assert layers_page._parts(("only",)) == {"late": ["only"]}
    assert "Edges is known best" in str(layers_page._part(found(), "early", ["one", "two"]))
    assert "Class is known best" in str(layers_page._part(found(), "late", ["four"]))


def test_notes_tell_of_pictures_that_the_network_was_trained_on() -> None:
    assert not layers_page.page(found(), "shop").notes
    assert "40 of the 300" in layers_page.page(found(seen=40), "shop").notes[0]


def test_page_is_one_file_with_well_formed_charts_and_strangers_names_escaped() -> None:
    page = layers_page.page(found(against=("<b>x", "y"), across=np.array([[0.5, np.nan]] * 4)), "<script>\x1b", "other")
    text = panels.text(page, house())
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "http-equiv" in text
    charts = [part.split("</svg>")[0] for part in text.split("<svg")[1:]]
    assert len(charts) == 3 + 2
    for chart in charts:
        ElementTree.fromstring(f"<svg{chart}</svg>")


def test_a_curve_lies_where_its_shares_say() -> None:
    points = [curves.Point("pixels", 0.2, 0.1, 0.3), curves.Point("a", 0.0, 0.0, 0.1), curves.Point("b", 1.0, 0.9, 1.0)]
    svg = ElementTree.fromstring(str(curves.curve("t", points, 0.5)))
    dots = list(svg.iter("circle"))
    heights = [float(dot.attrib["cy"]) for dot in dots]
    assert heights[2] < heights[0] < heights[1]
    assert heights[1] - heights[0] == np.float64(0.2) * (heights[1] - heights[2])
    assert dots[0].attrib["class"] == "pixels"
