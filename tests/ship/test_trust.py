"""The trust page: what numbers mean in words, and a page that strangers' text cannot break."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from visum.judge import background, calibrate, corruption, risk, slices
from visum.ship import trust
from visum.ship.trust import figures, verdicts
from visum.types import Predictions, column

HOSTILE = "<script>alert(1)</script>\u202e"


def share(value: float, low: float, high: float) -> dict[str, float]:
    return {"value": value, "low": low, "high": high}


def _slices() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    kind = np.array([HOSTILE, "b", "c"])[np.arange(300) % 3]
    right = rng.random(300) < np.where(np.arange(300) % 3 == 0, 0.4, 0.95)
    return slices.slices(right, slices.groups({"class": column(kind.tolist())}))


def _calibration(gap: float) -> dict[str, Any]:
    p = np.full((300, 2), 0.5, np.float32)
    bins = calibrate.reliability(p, np.zeros(300, np.int64), "multiclass")
    return {"n": 300, "ece": share(gap, gap - 0.03, gap + 0.03), "reliability": bins}


def _abstention(knows: bool) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    right = rng.random(300) < 0.8
    sure = np.where(right, 0.9, 0.6) if knows else rng.permutation(np.where(right, 0.9, 0.6))
    p = np.stack([sure, 1 - sure], 1).astype(np.float32)
    labels = np.where(right, 0, 1)
    return risk.risk_block(Predictions(column([str(k) for k in range(300)]), np.log(p), labels, ("a", "b"), "binary"))


def _drift(**status: str) -> dict[str, Any]:
    kinds = [
        {
            "kind": kind,
            "question": kind,
            "status": status.get(kind, "quiet"),
            "p": 0.5,
            "n": 300,
            "says": f"{kind} {HOSTILE} 1",
        }
        for kind in ("covariate", "label", "concept", "unknown")
    ]
    power = {"label": {"n": 300, "size": 0.2}, "concept": {"n": 50, "size": None}}
    alarms = [kind for kind, each in status.items() if each == "alarm"]
    return {"n": 300, "reference": 340, "kinds": kinds, "alarms": alarms, "accuracy": None, "power": power}


def _conformal(value: float, p: float) -> dict[str, Any]:
    level = {
        "promised": 0.9,
        "low_law": 0.87,
        "high_law": 0.93,
        **share(value, value - 0.04, value + 0.03),
        "p": p,
        "size": 1.4,
    }
    worst = {"class": HOSTILE, "n": 20, **share(0.7, 0.4, 0.9)}
    return {
        "n": 300,
        "calibrated_on": 340,
        "classes": 10,
        "levels": [{**level, "single": 0.7, "empty": 0.0, "worst": worst}],
    }


def _unknown(near: float, far: float, p: float) -> dict[str, Any]:
    strangers = [
        {
            "name": name,
            "words": f"{name} {HOSTILE}",
            "n": 96,
            "caught": auroc,
            "low": auroc - 0.1,
            "high": auroc,
            "auroc": auroc,
        }
        for name, auroc in (("near", near), ("far", far))
    ]
    kept = {**share(0.94, 0.92, 0.96), "p": p}
    return {"n": 300, "detector": "neighbours", "promised": 0.95, "kept": kept, "strangers": strangers}


def _corruptions(kept: float) -> dict[str, Any]:
    """Of the judge, of 100 images of which 90 are answered right plain, and that share of these after any corruption."""
    held = 90 * kept
    errors = {kind: np.tile(np.arange(100) >= held, (3, 1)).astype(np.float64) for kind in ("fog", "jpeg")}
    clean = (np.arange(100) >= 90).astype(np.float64)
    block = corruption.block(errors, clean, (1, 3, 5), {"weather": ("fog",), "digital": ("jpeg",)})
    return {**block, "of": 300, "mean": [share(0.9 * kept, 0.8 * kept, kept)] * 3}


def _attacks(small: float, large: float) -> dict[str, Any]:
    rows = [
        {
            "attack": attack,
            "epsilon": radius,
            **share(value, value - 0.01, value),
            "worst": share(value, value - 0.01, value),
        }
        for radius, value in ((2.0, small), (8.0, large))
        for attack in ("fgsm", "pgd10")
    ]
    return {"n": 40, "of": 300, "clean": share(0.9, 0.86, 0.93), "rows": rows}


def _shortcut(severity: str) -> dict[str, Any]:
    scores = {"border": 0.8, "colour": 0.3, "real": 0.9, "majority": 0.2}
    alarms = [{"kind": "border_shortcut", "severity": severity, "message": ""}] if severity else []
    return {"n": 300, "trained_on": 0, **{k: share(v, v - 0.1, v + 0.05) for k, v in scores.items()}, "alarms": alarms}


def _background(outer: int, inner: int) -> dict[str, Any]:
    rights = (np.arange(300) < k for k in (270, outer, inner))
    return background.background_block(*rights, 0.2)


BLOCKS: dict[str, list[tuple[dict[str, Any], str]]] = {
    "calibration": [(_calibration(0.02), "good"), (_calibration(0.07), "watch"), (_calibration(0.2), "bad")],
    "abstention": [(_abstention(True), "good"), (_abstention(False), "watch")],
    "slices": [(_slices(), "bad")],
    "shortcut": [(_shortcut(""), "good"), (_shortcut("warning"), "watch"), (_shortcut("serious"), "bad")],
    "background": [
        (_background(80, 200), "good"),
        (_background(220, 230), "watch"),
        (_background(120, 122), "watch"),
        (_background(250, 150), "bad"),
    ],
    "drift": [
        (_drift(), "good"),
        (_drift(label="alarm"), "watch"),
        (_drift(concept="alarm", covariate="unclear"), "bad"),
    ],
    "conformal": [(_conformal(0.89, 0.3), "good"), (_conformal(0.86, 0.02), "watch"), (_conformal(0.8, 0.0001), "bad")],
    "unknown": [
        (_unknown(0.9, 0.95, 0.3), "good"),
        (_unknown(0.6, 0.95, 0.3), "watch"),
        (_unknown(0.9, 0.95, 0.01), "watch"),
        (_unknown(0.6, 0.7, 0.3), "bad"),
    ],
    "corruptions": [(_corruptions(0.85), "good"), (_corruptions(0.7), "watch"), (_corruptions(0.4), "bad")],
    "attacks": [(_attacks(0.85, 0.8), "good"), (_attacks(0.7, 0.1), "watch"), (_attacks(0.1, 0.0), "bad")],
}


@pytest.mark.parametrize(
    ("name", "block", "verdict"), [(name, *case) for name, cases in BLOCKS.items() for case in cases]
)
def test_verdicts(name: str, block: dict[str, Any], verdict: str) -> None:
    found = trust.said(name, block)
    assert found["verdict"] == verdict
    assert re.search(r"\d", found["sentence"])  # a number with its support
    assert bool(found["todo"]) == (verdict != "good")


def test_every_step_has_words_and_a_figure() -> None:
    from visum.workflow.trust import STEPS

    assert set(STEPS) == set(verdicts.SENTENCES) == set(verdicts.QUESTIONS) == set(figures.FIGURES)


@pytest.mark.parametrize(("lacks", "verdict"), [("data", "not enough data"), ("time", "skipped"), ("means", "skipped")])
def test_what_is_left_out_says_why(lacks: str, verdict: str) -> None:
    found = trust.said("slices", {"skipped": "4 images", "lacks": lacks, "next": "26 more"})
    assert (found["verdict"], found["sentence"], found["todo"]) == (verdict, "4 images.", "To have it: 26 more.")


def _made(**steps: dict[str, Any]) -> dict[str, Any]:
    for name, block in steps.items():
        block |= {"seconds": 1.0, **trust.said(name, block)}
    return {
        "visum": "0",
        "bundle": {"name": HOSTILE, "digest": "0" * 64, "classes": [HOSTILE]},
        "task": "multiclass",
        "n": 300,
        "accuracy": share(0.9, 0.86, 0.93),
        "trained_on": 0,
        "seed": 0,
        "machine": {"cores": 2, "cpu": "x"},
        "steps": steps,
        "seconds": 5.0,
    }


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        told = dict(attributes)
        self.ids += [told["id"] or ""] if "id" in told else []
        self.links += [told["href"] or ""] if "href" in told else []
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _parsed(text: str) -> _Page:
    page = _Page()
    page.feed(text)
    assert not page.open
    return page


def test_the_page_is_whole_and_escapes_what_strangers_wrote() -> None:
    blocks = {name: cases[-1][0] for name, cases in BLOCKS.items()}
    blocks["slices"]["pictures"] = [
        {"image": "data:image/jpeg;base64,AAAA", "caption": HOSTILE},
        {"image": "https://example.org/x.jpg", "caption": "not ours"},
    ]
    left = {"skipped": HOSTILE, "lacks": "time", "next": ""}
    text = trust.text(_made(**blocks, another=left), report=True)
    page = _parsed(text)
    assert "script" not in page.tags
    assert "\u202e" not in text
    assert "example.org" not in text
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= set(page.ids)
    assert "report.html" in page.links
    assert len(page.ids) == len(set(page.ids))
    assert "went badly" in text


def test_headlines() -> None:
    def told(**counts: int) -> str:
        return "".join(part for part, _ in trust.headline(counts, sum(counts.values())))

    assert told(good=3) == "All 3 checks are good"
    assert told(good=2, watch=1) == "Nothing is bad; 1 of 3 checks is to be watched"
    assert told(good=2, watch=1, bad=2) == "2 of 5 checks went badly"
    assert "".join(part for part, _ in trust.headline({"not enough data": 2}, 0)) == "Nothing could be said"


def test_a_report_beside_it_links_to_the_page(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text('<nav><a href="trust.html" hidden>Trust</a></nav>')
    trust.link(report)
    assert report.read_text() == '<nav><a href="trust.html">Trust</a></nav>'
    trust.link(report)
    assert report.read_text() == '<nav><a href="trust.html">Trust</a></nav>'


def test_the_link_is_what_the_report_writes() -> None:
    from importlib import resources

    template = resources.files("visum.ship.report").joinpath("page.html").read_text("utf-8")
    assert "<a href=\"trust.html\"{{ '' if trust else ' hidden' }}>" in template
