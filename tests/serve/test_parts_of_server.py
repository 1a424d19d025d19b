"""The server's pure functions: who is let in, what is measured, how answers and forms read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
from served import form, network

from visum.errors import UsageError
from visum.serve import answers, guard, openapi
from visum.serve.limits import Budget, Gate, Held, Limits, chunks, unless_gone
from visum.serve.metrics import Metrics
from visum.serve.models import places
from visum.serve.multipart import parts
from visum.serve.refusal import Refusal
from visum.types import Bundle, Predictions, column, decisions, probabilities

TOKEN = "a-token-of-sixteen"


# ---- guard


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine_needs_no_token(host: str) -> None:
    assert guard.doors(host, 8000, (), (), False).tokens == ()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_other_machines_need_one(host: str) -> None:
    with pytest.raises(UsageError, match="without a token"):
        guard.doors(host, 8000, (), (), False)
    assert guard.doors(host, 8000, (), (TOKEN,), False).tokens
    assert guard.doors(host, 8000, (), (), True).tokens == ()


def test_hosts_are_our_own_and_those_that_were_named() -> None:
    made = guard.doors("10.0.0.1", 8000, ("Shop.example",), (TOKEN,), False)
    headers = {"authorization": f"Bearer {TOKEN}"}
    for host in ("10.0.0.1:8000", "shop.example", "SHOP.EXAMPLE:443", "localhost"):
        guard.check(made, "/v1/models", {**headers, "host": host})
        guard.check(made, "/v1/models", {**headers, "host": host, "origin": f"https://{host}"})
    for host in ("10.0.0.2", "shop.example.evil", "evil", "", "shop.example:x", "a@shop.example"):
        with pytest.raises(Refusal, match="name"):
            guard.check(made, "/v1/models", {**headers, "host": host})


def test_wildcards_are_no_names() -> None:
    made = guard.doors("0.0.0.0", 8000, (), (TOKEN,), False)
    assert made.hosts == guard.HERE


def test_tokens_are_compared_whole_and_in_constant_time() -> None:
    made = guard.doors("localhost", 8000, (), (TOKEN, TOKEN[::-1]), False)
    for token in (TOKEN, TOKEN[::-1]):
        guard.check(made, "/metrics", {"host": "localhost", "authorization": f"bearer {token}"})
    for shown in ("", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}{TOKEN}", "Bearer \udcff"):
        with pytest.raises(Refusal, match="token"):
            guard.check(made, "/metrics", {"host": "localhost", "authorization": shown})
    assert TOKEN.encode() not in b"".join(made.tokens)


@pytest.mark.parametrize("path", ["/v2/health", "/pages", "/v1/models", "/page", "//", "/v2/health/../models"])
def test_only_health_and_the_page_are_open(path: str) -> None:
    made = guard.doors("localhost", 8000, (), (TOKEN,), False)
    if path == "/v2/health/../models":  # open, and nothing is there: paths are matched as they are
        guard.check(made, path, {"host": "localhost"})
        return
    with pytest.raises(Refusal):
        guard.check(made, path, {"host": "localhost"})


# ---- limits


def test_gates_and_budgets_give_back_what_they_gave() -> None:
    gate, budget = Gate(2), Budget(100)
    with gate.entered(), gate.entered():
        assert gate.full
        with pytest.raises(Refusal) as refused, gate.entered():
            pass
        assert (refused.value.status, refused.value.wait) == (503, 1)
    assert gate.inside == 0
    one, two = Held(budget), Held(budget)
    one.more(60)
    with pytest.raises(Refusal):
        two.more(60)
    two.back()
    one.back()
    assert budget.held == 0


def test_a_body_is_counted_and_timed() -> None:
    async def read(messages: list[bytes], **limits: float) -> bytes:
        left = iter(messages)

        async def receive() -> dict[str, object]:
            part = next(left, None)
            if part is None:
                await asyncio.sleep(10)
            return {"type": "http.request", "body": part, "more_body": True}

        bounds = replace(Limits(), **limits)  # type: ignore[arg-type]
        return b"".join([part async for part in chunks(receive, bounds, Held(Budget(1 << 20)))])

    with pytest.raises(Refusal) as slow:
        asyncio.run(read([b"a"], read_seconds=0.05))
    assert slow.value.status == 408
    with pytest.raises(Refusal) as large:
        asyncio.run(read([b"a" * 60] * 2, body=100))
    assert large.value.status == 413


def test_work_is_given_up_when_it_takes_too_long() -> None:
    async def never() -> dict[str, object]:
        await asyncio.sleep(10)
        return {}

    async def run() -> None:
        task = asyncio.create_task(asyncio.sleep(10))
        with pytest.raises(Refusal, match="no answer within"):
            await unless_gone(never, task, 0.05)
        assert task.cancelled()

    asyncio.run(run())


# ---- answers


def shipped(task: str, thresholds: tuple[float, ...] = ()) -> Bundle:
    bundle = network()
    return replace(
        bundle,
        task=task,
        classes=("a", "b", "c")[: 2 if task == "binary" else 3],
        thresholds=thresholds,
        temperature=2.0,
    )


@pytest.mark.parametrize(
    ("task", "thresholds"),
    [("multiclass", ()), ("binary", ()), ("binary", (0.9,)), ("multilabel", ()), ("multilabel", (0.9, 0.1, 0.5))],
)
def test_answers_are_those_of_the_library(task: str, thresholds: tuple[float, ...]) -> None:
    bundle = shipped(task, thresholds)
    k = len(bundle.classes)
    for row in np.random.default_rng(0).normal(0, 2, (20, k)).astype(np.float32):
        wanted = Predictions(
            column(["x"]), row[None], np.zeros(1, np.int64), bundle.classes, bundle.task, "", 2.0, bundle.thresholds
        )
        found = answers.answer(bundle, row, 0)
        p, chosen = probabilities(wanted)[0], decisions(wanted)[0]
        labels = np.flatnonzero(chosen) if task == "multilabel" else [chosen]
        assert found["labels"] == [bundle.classes[int(n)] for n in labels]
        for each in found["predictions"]:
            assert each["probability"] == pytest.approx(p[bundle.classes.index(each["class"])], abs=1e-6)
        assert len(answers.answer(bundle, row, 1)["predictions"]) == 1


def test_there_is_a_place_for_what_only_some_bundles_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(answers.ADDITIONS, "conformal", lambda settings, bundle, p: {"set": [bundle.classes[settings]]})
    plain = shipped("multiclass")
    assert "set" not in answers.answer(plain, np.zeros(3, np.float32), 0)
    knows = replace(plain, notes={"conformal": 1})
    assert answers.answer(knows, np.zeros(3, np.float32), 0)["set"] == ["b"]


# ---- metrics


def test_histograms_add_up_and_labels_are_escaped() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.01, 0.3, 100):
        metrics.observe("visum_run_seconds", seconds)
    metrics.count("visum_pictures_total", model="m", version="v", answer='"\\\n')
    text = metrics.text({"visum_ready": [((), 1.0)]})
    assert 'visum_run_seconds_bucket{le="0.005"} 1\n' in text
    assert 'visum_run_seconds_bucket{le="0.01"} 2\n' in text  # ends are inclusive
    assert 'visum_run_seconds_bucket{le="10"} 3\n' in text
    assert 'visum_run_seconds_bucket{le="+Inf"} 4\n' in text
    assert "visum_run_seconds_count 4\n" in text
    assert 'answer="\\"\\\\\\n"} 1\n' in text
    assert "visum_ready 1\n" in text


# ---- names, forms, the description


def test_names_come_from_folders_or_are_given(tmp_path: pytest.TempPathFactory) -> None:
    from pathlib import Path

    root = Path(str(tmp_path))
    for name in ("my run/bundle", "plain", "été"):
        (root / name).mkdir(parents=True)
        (root / name / "bundle.json").write_text("{}")
    found = places(
        [
            str(root / "my run"),
            str(root / "my run" / "bundle"),
            str(root / "plain"),
            f"cats={root / 'plain'}",
            str(root / "été"),
        ]
    )
    assert [name for name, _ in found] == ["my-run", "my-run", "plain", "cats", "t"]
    with pytest.raises(UsageError, match="the name"):
        places([f"a/b={root / 'plain'}"])


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_forms_are_the_same_however_they_are_cut(size: int) -> None:
    files = [("a.jpg", bytes(range(256)) * 3), ("b", b""), ("c", b"\r\n--visum-boundar\r\n"), ("", b"x")]
    body, kind = form(files)

    async def cut() -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    found = asyncio.run(parts(kind["Content-Type"], cut(), Limits()))
    assert [(part.name, bytes(part.data)) for part in found] == [*files[:3], ("file", b"x")]


def test_the_description_points_only_at_what_it_describes() -> None:
    import json
    import re

    document = openapi.document("1", True)
    for name in re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)):
        assert name in document["components"]["schemas"]
    assert "/v1/feedback" in document["paths"]
    assert "/v1/feedback" not in openapi.document("1", False)["paths"]
