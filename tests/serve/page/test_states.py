"""States of the page that a digits model does not come to: answers are put in the server's place, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Route

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")

pytestmark = pytest.mark.slow

HOSTILE = "=1+1<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>\u202egnp.png"


def answers(context: BrowserContext, path: str, content: Any) -> None:
    """Let this be the answer of a route."""
    context.route(re.compile(rf"{path}(\?|$)"), lambda route: route.fulfill(json=content))


def model(**changed: Any) -> dict[str, Any]:
    """As ``/v1/models`` lists one."""
    plain = {"name": "made-up", "version": "3", "default": True, "task": "multiclass", "classes": ["cat", "dog", "hen"]}
    return {**plain, "size": 64, "thresholds": None, "created": "2026-11-25", **changed}


def result(probabilities: dict[str, float], labels: list[str], **more: Any) -> dict[str, Any]:
    """As ``/v1/predict`` answers."""
    ranked = [{"class": name, "probability": p} for name, p in sorted(probabilities.items(), key=lambda each: -each[1])]
    plain = {
        "id": "r-1",
        "model": "made-up",
        "version": "3",
        "task": "multiclass",
        "predictions": ranked,
        "labels": labels,
    }
    return {**plain, "notes": [], "seconds": {"queue": 0.001, "decode": 0.002, "run": 0.03}, **more}


def test_hostile_names_of_classes_and_notes_are_text(opened: Any, pictures: list[Path]) -> None:
    names = [HOSTILE, "javascript:alert(1)", "</table><h1>big</h1>"]
    said = result(
        {names[0]: 0.5, names[1]: 0.3, names[2]: 0.2}, [HOSTILE], notes=[HOSTILE], set=names[:2], unknown=True
    )

    def prepare(context: BrowserContext) -> None:
        answers(
            context, "/v1/models", {"models": [model(name=HOSTILE, version=HOSTILE, classes=names)], "feedback": True}
        )
        answers(context, "/v1/predict", said)

    page = opened(prepare).page
    page.set_input_files("#files", pictures[0])
    playwright.expect(page.locator("#said em")).to_have_text(HOSTILE)
    for place in ("#which", "#lede", "#notes", "#feedback"):
        assert "<script>" in page.locator(place).text_content(), place
    assert page.locator("h1").count() == 1
    assert page.locator("img").count() == 1
    assert page.locator("script").count() == 1
    assert page.evaluate("document.title").startswith("=1+1<img")


def test_prediction_set_unknown_and_not_sure(opened: Any, pictures: list[Path]) -> None:
    said = result(
        {"cat": 0.625, "dog": 0.25, "hen": 0.125}, ["cat"], set=["cat", "dog"], unknown=True, notes=["very dark"]
    )

    def prepare(context: BrowserContext) -> None:
        answers(context, "/v1/models", {"models": [model()]})
        answers(context, "/v1/predict", said)

    watched = opened(prepare)
    page = watched.page
    expect = playwright.expect
    page.set_input_files("#files", pictures[0])
    expect(page.locator("#said")).to_have_text("cat 62.5\u202f%")
    expect(page.locator("#notes")).to_contain_text("does not look like what the model has learned")
    expect(page.locator("#notes")).to_contain_text("very dark")
    expect(page.locator("#notes")).to_contain_text("this is cat or dog")
    assert [row[0] for row in watched.rows("#bars")] == ["cat in the set", "dog in the set", "hen"]
    page.locator("#cut").fill("62")
    expect(page.locator("#said")).to_have_text("cat 62.5\u202f%")
    page.locator("#cut").fill("63")
    expect(page.locator("#said")).to_have_text("Not sure")
    expect(page.locator("#why")).to_have_text("cat comes first with 62.5\u202f%, which is below 63.0\u202f%.")
    expect(page.locator("#feedback")).to_be_empty()


def test_the_slider_of_several_labels_and_of_two_classes(opened: Any, pictures: list[Path]) -> None:
    several = model(task="multilabel", thresholds=[0.5, 0.4, 0.6])
    two = model(name="pair", default=False, task="binary", classes=["no", "yes"], thresholds=[0.3])

    def predict(route: Route) -> None:
        if "model=pair" in route.request.url:
            said = result({"no": 0.625, "yes": 0.375}, ["yes"], task="binary")
        else:
            said = result({"cat": 0.875, "dog": 0.5, "hen": 0.125}, ["cat", "dog"], task="multilabel")
        route.fulfill(json=said)

    def prepare(context: BrowserContext) -> None:
        answers(context, "/v1/models", {"models": [two, several]})
        context.route(re.compile("/v1/predict"), predict)

    page = opened(prepare).page
    expect = playwright.expect
    page.set_input_files("#files", pictures[0])
    expect(page.locator("#said")).to_have_text("cat and dog")
    expect(page.locator("#why")).to_have_text("Each of them with 50.0\u202f% or more.")
    page.locator("#cut").fill("10")
    expect(page.locator("#said")).to_have_text("cat, dog and hen")
    page.locator("#cut").fill("50")
    expect(page.locator("#said")).to_have_text("cat and dog")
    page.locator("#cut").fill("90")
    expect(page.locator("#said")).to_have_text("None of them")
    page.click("#slider button")
    expect(page.locator("#said em")).to_have_text("cat and dog")
    page.select_option("#model", label="pair · 3")
    expect(page.locator("#said")).to_have_text("yes 37.5\u202f%")
    assert page.locator("#cut").input_value() == "30"
    page.locator("#cut").fill("38")
    expect(page.locator("#said")).to_have_text("no 62.5\u202f%")


def test_a_token_is_asked_for_and_kept_in_memory_only(opened: Any, pictures: list[Path]) -> None:
    sent: list[str | None] = []

    def guarded(content: Any) -> Callable[[Route], None]:
        def handle(route: Route) -> None:
            sent.append(route.request.headers.get("authorization"))
            good = sent[-1] == "Bearer s3cret"
            refusal = {"error": {"message": "a token is needed", "next": "send one"}, "id": "x"}
            route.fulfill(status=200 if good else 401, json=content if good else refusal)

        return handle

    def prepare(context: BrowserContext) -> None:
        context.route(re.compile("/v1/models"), guarded({"models": [model()]}))
        context.route(re.compile("/v1/predict"), guarded(result({"cat": 0.75, "dog": 0.25}, ["cat"])))

    watched = opened(prepare)
    page, expect = watched.page, playwright.expect
    expect(page.locator("#token")).to_be_focused()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#trouble")).to_contain_text("does not take this token")
    page.locator("#token").fill("s3cret")
    page.keyboard.press("Enter")
    expect(page.locator("#ask")).to_be_hidden()
    expect(page.locator("#trouble")).to_be_hidden()
    page.set_input_files("#files", pictures[0])
    expect(page.locator("#said em")).to_have_text("cat")
    assert sent == [None, "Bearer wrong", "Bearer s3cret", "Bearer s3cret"]
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert page.locator("#token").input_value() == ""
    assert "s3cret" not in page.url
    watched.expected("status of 401")


def test_a_busy_server_is_asked_again_and_a_silent_one_on_request(opened: Any, pictures: list[Path]) -> None:
    turns = iter(["busy", "good", "gone", "good"])

    def predict(route: Route) -> None:
        turn = next(turns)
        if turn == "gone":
            return route.abort()
        if turn == "busy":
            return route.fulfill(
                status=503, headers={"Retry-After": "0.2"}, json={"error": {"message": "busy", "next": ""}}
            )
        route.fulfill(json=result({"cat": 0.75, "dog": 0.25}, ["cat"]))

    def prepare(context: BrowserContext) -> None:
        answers(context, "/v1/models", {"models": [model()]})
        context.route(re.compile("/v1/predict"), predict)

    watched = opened(prepare)
    page, expect = watched.page, playwright.expect
    page.set_input_files("#files", pictures[0])
    expect(page.locator("#said em")).to_have_text("cat")
    page.set_input_files("#files", pictures[1])
    expect(page.locator("#trouble")).to_contain_text("The server did not answer. See whether visum serve still runs")
    expect(page.locator("#answer")).to_be_hidden()
    page.click("#trouble button")
    expect(page.locator("#name")).to_have_text(pictures[1].name)
    expect(page.locator("#trouble")).to_be_hidden()
    watched.expected("status of 503")
    watched.expected("ERR_FAILED")


def test_feedback_goes_to_a_server_that_wants_it(opened: Any, pictures: list[Path]) -> None:
    told: list[Any] = []

    def feedback(route: Route) -> None:
        told.append(route.request.post_data_json)
        route.fulfill(json={})

    def prepare(context: BrowserContext) -> None:
        answers(context, "/v1/models", {"models": [model()], "feedback": True})
        answers(context, "/v1/predict", result({"cat": 0.75, "dog": 0.25, "hen": 0.0}, ["cat"]))
        context.route(re.compile("/v1/feedback"), feedback)

    page = opened(prepare).page
    expect = playwright.expect
    page.set_input_files("#files", pictures[0])
    page.select_option("#feedback select", label="hen")
    expect(page.locator("#feedback")).to_contain_text("Thank you")
    page.set_input_files("#files", pictures[1])
    expect(page.locator("#feedback")).not_to_contain_text("Thank you")
    page.click("#feedback button")
    expect(page.locator("#feedback")).to_contain_text("Thank you")
    assert told == [{"id": "r-1", "label": "hen"}, {"id": "r-1", "label": "cat"}]
