"""What clients ask for under ``/v1/``: answers, explanations, the models, feedback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from visum.explain import occlusion
from visum.serve import answers
from visum.serve.batcher import Told
from visum.serve.limits import chunks, declared, unless_gone
from visum.serve.models import Served, listed
from visum.serve.multipart import Part, parts
from visum.serve.refusal import Refusal, busy
from visum.serve.state import State
from visum.ship import gallery
from visum.types import Pixels, Preprocess

Call = Callable[[State, Request], Awaitable[Response]]
TOP = 5
NEAR = 6
"""Training pictures beside an answer, where they may be shown."""
GRID = 7
"""Rows and columns of an explanation."""
AHEAD = 4
"""Pictures of one form, or of one explanation, that wait at a time: others come in between."""
RAW = ("application/octet-stream", "")
JSON_BYTES = 1 << 20
"""Of a request that is nothing but a few words of JSON."""


async def predict(state: State, request: Request) -> Response:
    """``POST /v1/predict``: one picture as the body, or several as a form."""
    model, top = meant(state, request), _top(request)
    kind = _kind(request, forms=True)
    if kind == "multipart/form-data":
        return await _several(state, request, model, top)
    data = await body_of(state, request)
    id, begin = request.scope["visum"][0], perf_counter()
    with state.gate.entered():
        work = _answered(state, model, data, top, id, begin)
        return as_json(await unless_gone(request.receive, work, state.limits.answer_seconds))


async def _answered(
    state: State, model: Served, data: bytes | bytearray, top: int, id: str, begin: float
) -> dict[str, Any]:
    """The answer about one picture."""
    said, squares = await state.workers.seen(model.model, model.orders, data)
    if state.gallery is not None and model.space == state.gallery.space:
        # a queue of their own: whoever asks the same model for less must not run in one batch with these
        told = await state.workers.batcher.ask((model, "seen"), model.run_seen, squares)
    else:
        told = await state.workers.batcher.ask(model, model.run, squares)
    return _told(state, model, told, said, top, id, begin)


def _told(
    state: State, model: Served, told: Told, said: Mapping[str, Any], top: int, id: str, begin: float
) -> dict[str, Any]:
    found = answers.answer(model.bundle, told.logits, top, told.strange)
    decode = float(said["seconds"])
    seconds = {"queue": max(0.0, perf_counter() - begin - decode - told.ran), "decode": decode, "run": told.ran}
    count(state, model, told, decode, answers.answer(model.bundle, told.logits, 1, told.strange))
    if state.feedback is not None:
        state.feedback.remember(id, model, found["labels"], found["predictions"][0])
    return {
        "id": id,
        "model": model.name,
        "version": model.version,
        **found,
        **_beside(state, told),
        "notes": said["pictures"][0]["notes"],
        "seconds": {name: round(value, 5) for name, value in seconds.items()},
    }


def _beside(state: State, told: Told) -> dict[str, Any]:
    """The nearest training pictures, where the server may show them."""
    if state.gallery is None or told.features is None:
        return {}
    near = gallery.nearest(state.gallery, told.features, NEAR)
    return {
        "neighbours": [
            {"label": label, "distance": round(far, 4), "thumbnail": f"/v1/neighbours/{digest}.jpg"}
            for label, far, digest in near
        ]
    }


async def neighbour(state: State, request: Request) -> Response:
    """``GET /v1/neighbours/DIGEST.jpg``: one small training picture, out of memory; no path of a request meets the disk."""
    name = request.path_params["name"].removesuffix(".jpg")
    if state.gallery is None or name not in state.gallery.jpegs:
        raise Refusal(404, "There is no such picture", "the thumbnails that POST /v1/predict names")
    return Response(state.gallery.jpegs[name], 200, {"cache-control": "private, max-age=3600"}, "image/jpeg")


def count(state: State, model: Served, told: Told, decode: float, found: Mapping[str, Any]) -> None:
    """What is measured of one answer."""
    who = {"model": model.name, "version": model.version}
    for label in found["labels"] or [""]:
        state.metrics.count("visum_pictures_total", **who, answer=label)
    tenth = min(9, int(10 * found["predictions"][0]["probability"]))
    state.metrics.count("visum_sure_total", **who, tenth=str(tenth))
    if found.get("unknown"):
        state.metrics.count("visum_unknown_total", **who)
    if "set" in found:
        state.metrics.observe("visum_set_classes", len(found["set"]), **who)
    state.metrics.observe("visum_batch_pictures", told.batch)
    state.metrics.observe("visum_run_seconds", told.ran)
    state.metrics.observe("visum_decode_seconds", decode)


async def _several(state: State, request: Request, model: Served, top: int) -> Response:
    """Each file of a form on its own: one that is no picture fails alone."""
    id, held = request.scope["visum"]
    with state.bulk.entered():
        declared(request.headers, state.limits)
        body = chunks(request.receive, state.limits, held)
        files = await parts(request.headers["content-type"], body, state.limits)
        results: list[dict[str, Any]] = [{}] * len(files)

        async def one(at: int, file: Part) -> None:
            begin = perf_counter()
            try:
                found = await _answered(state, model, file.data, top, f"{id}.{at}", begin)
            except Refusal as error:
                state.metrics.count("visum_refusals_total", status=str(error.status))
                found = {"error": {"message": error.got, "next": error.next}}
            results[at] = {"name": file.name, **found}

        work = few_at_a_time([partial(one, at, file) for at, file in enumerate(files)])
        seconds = state.limits.answer_seconds * max(1, len(files) / AHEAD)
        await unless_gone(request.receive, work, seconds)
    return as_json({"id": id, "results": results})


async def few_at_a_time(work: Sequence[Callable[[], Awaitable[None]]]) -> None:
    """All of it, ``AHEAD`` at a time; the first error, or being cancelled, ends what is under way."""
    left = iter(work)

    async def some() -> None:
        for each in left:
            await each()

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AHEAD, len(work))):
            group.create_task(some())


async def explain(state: State, request: Request) -> Response:
    """``POST /v1/explain``: which parts of a picture speak for a class."""
    model = meant(state, request)
    wanted = request.query_params.get("class")
    classes = model.bundle.classes
    if wanted is not None and wanted not in classes:
        raise Refusal(404, "The model has no such class", "one of the classes of GET /v1/models", close=True)
    _kind(request, forms=False)
    data = await body_of(state, request)
    with state.bulk.entered():
        work = _explained(state, model, data, wanted)
        return as_json(await unless_gone(request.receive, work, 3 * state.limits.answer_seconds))


async def _explained(state: State, model: Served, data: bytes | bytearray, wanted: str | None) -> dict[str, Any]:
    _, squares = await state.workers.seen(model.model, model.orders, data)
    plain = (await state.workers.batcher.ask(model, model.run, squares)).logits
    whole = answers.answer(model.bundle, plain, 0)
    name = wanted if wanted is not None else whole["predictions"][0]["class"]
    logits = np.zeros((GRID * GRID, len(plain)), np.float32)

    async def one(cell: int) -> None:
        hidden = hide(squares, cell)
        logits[cell] = (await state.workers.batcher.ask(model, model.run, hidden)).logits

    await few_at_a_time([partial(one, cell) for cell in range(GRID * GRID)])
    target, b = model.bundle.classes.index(name), model.bundle
    heat = occlusion.heat(plain / b.temperature, logits / b.temperature, target, b.task)
    return {
        "class": name,
        "probability": next(p["probability"] for p in whole["predictions"] if p["class"] == name),
        "map": [[round(float(value), 4) for value in row] for row in heat],
        "method": "occlusion",
        "model": model.name,
        "version": model.version,
    }


def hide(squares: Mapping[Preprocess, Pixels], cell: int) -> dict[Preprocess, Pixels]:
    """The same cell hidden in every way of looking at a picture."""
    return {spec: occlusion.hidden(square, cell, GRID, spec.background) for spec, square in squares.items()}


async def models(state: State, request: Request) -> Response:
    """``GET /v1/models``, and whether labels are taken for their answers."""
    return as_json({"models": listed(state.models), "feedback": state.feedback is not None})


async def reload(state: State, request: Request) -> Response:
    """``POST /v1/models/NAME/reload``: read the folder again that was given at the start."""
    await body_of(state, request, most=JSON_BYTES)
    return as_json(await swap(state, request.path_params["name"]))


async def swap(state: State, name: str) -> dict[str, Any]:
    """Put what lies in a model's folder in its place, if it proves itself.

    Raises:
        Refusal: 404; or 409, what lies there is no good and the old one goes on.
    """
    async with state.swapping:
        try:
            new = await state.models.reload(name, state.workers, state.engine)
        except Refusal:
            raise
        except Exception as error:
            state.metrics.count("visum_swaps_total", outcome="refused")
            state.log.say("swap", model=name, outcome="refused", why=str(error))
            raise Refusal(
                409, "The new bundle is no good; the old one goes on", "the server's log, and visum verify"
            ) from error
        state.metrics.count("visum_swaps_total", outcome="new" if new else "same")
        state.log.say("swap", model=name, outcome="new" if new else "same", versions=[each.version for each in new])
        return {"model": name, "new": bool(new), "versions": [each.version for each in state.models.served[name]]}


async def feedback(state: State, request: Request) -> Response:
    """``POST /v1/feedback``: what a picture really showed."""
    if state.feedback is None:
        raise Refusal(404, "This server takes no feedback", "visum serve … --feedback FILE.parquet", close=True)
    if _type(request) != "application/json":
        raise Refusal(415, "Feedback is JSON", "Content-Type: application/json", close=True)
    body = await body_of(state, request, most=JSON_BYTES)
    said, _ = await state.workers.decoders.ask({"job": "json", "formats": []}, body)
    value = said["value"]
    if not isinstance(value, dict) or not all(isinstance(value.get(key), str) for key in ("id", "label")):
        raise Refusal(400, "id and label are no texts", '{"id": "…", "label": "…"}')
    state.feedback.add(value["id"], value["label"])
    state.metrics.count("visum_feedback_total")
    return as_json({"id": value["id"], "label": value["label"], "kept": True}, 202)


def meant(state: State, request: Request, name: str | None = None, version: str | None = None) -> Served:
    """The model that a request means, by its query unless ``name`` is given; refused early where nothing is taken now."""
    if not state.ready:
        raise Refusal(503, "The server is not ready", "again after a second", wait=1, close=True)
    asked = {"model": name, "version": version} if name is not None else request.query_params
    found = state.models.find(asked.get("model"), asked.get("version"))
    if state.gate.full:  # before the body is read
        raise busy()
    return found


def _top(request: Request) -> int:
    text = request.query_params.get("top", str(TOP))
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise Refusal(400, "top is no whole number", "top=5, or top=0 for all classes", close=True)
    return int(text)


def _type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _kind(request: Request, forms: bool) -> str:
    """The content type, if it may be a picture (or a form)."""
    kind = _type(request)
    if kind in RAW or (kind.startswith("image/") and len(kind) < 100) or (forms and kind == "multipart/form-data"):
        return kind
    raise Refusal(
        415,
        "This content type is not read",
        "the picture as the body, with Content-Type: application/octet-stream"
        + (", or a form of files" if forms else ""),
        close=True,
    )


async def body_of(state: State, request: Request, most: int | None = None) -> bytearray:
    """The whole body, within the limits."""
    declared(request.headers, state.limits)
    data = bytearray()
    async for part in chunks(request.receive, state.limits, request.scope["visum"][1]):
        data += part
        if most is not None and len(data) > most:
            raise Refusal(413, f"The request has more than {most:,} bytes", "a shorter one", close=True)
    return data


def as_json(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    data = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    return Response(data, status, {"cache-control": "no-store"}, "application/json")


def refused(error: Refusal, id: str, *, v2: bool) -> Response:
    """A refusal as JSON; the Open Inference Protocol has a text where ours has a message and what to do next."""
    what: Any = {"message": error.got, "next": error.next}
    if v2:
        what = error.got + (f". Try: {error.next}" if error.next else "")
    response = as_json({"error": what, "id": id}, error.status)
    if error.wait is not None:
        response.headers["retry-after"] = str(error.wait)
    if error.close:
        response.headers["connection"] = "close"
    if error.status == 401:
        response.headers["www-authenticate"] = "Bearer"
    return response


ROUTES: dict[tuple[str, str], Call] = {
    ("POST", "/v1/predict"): predict,
    ("POST", "/v1/explain"): explain,
    ("GET", "/v1/models"): models,
    ("GET", "/v1/neighbours/{name}"): neighbour,
    ("POST", "/v1/models/{name}/reload"): reload,
    ("POST", "/v1/feedback"): feedback,
}
"""(method, path) → what answers."""
