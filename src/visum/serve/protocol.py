"""The Open Inference Protocol, version 2, over HTTP: health, metadata, tensors in and out.

https://github.com/kserve/open-inference-protocol, with the binary tensor data extension. The request is read by a decoder
(``tensors``); here are the routes and the answer.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from visum.serve import answers
from visum.serve.limits import unless_gone
from visum.serve.models import Served, squares_of
from visum.serve.refusal import Refusal
from visum.serve.routes import Call, as_json, body_of, count, few_at_a_time, meant
from visum.serve.state import State
from visum.ship.bundle.seal import version
from visum.types import Floats, probabilities, said

LENGTH = "inference-header-content-length"


async def live(state: State, request: Request) -> Response:
    """``GET /v2/health/live``: the process answers."""
    return as_json({"live": True})


async def ready(state: State, request: Request) -> Response:
    """``GET /v2/health/ready``: golden images came out right, and the end is not near."""
    return as_json({"ready": state.ready}, 200 if state.ready else 503)


async def server(state: State, request: Request) -> Response:
    """``GET /v2``."""
    return as_json({"name": "visum", "version": version(), "extensions": ["binary_tensor_data"]})


async def metadata(state: State, request: Request) -> Response:
    """``GET /v2/models/NAME[/versions/VERSION]``."""
    model = _named(state, request)
    k = len(model.bundle.classes)
    return as_json(
        {
            "name": model.name,
            "versions": [each.version for each in state.models.served[model.name]],
            "platform": "visum",
            "inputs": [
                {"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
                {"name": "encoded", "datatype": "BYTES", "shape": [-1]},
            ],
            "outputs": [
                {"name": "probabilities", "datatype": "FP32", "shape": [-1, k]},
                {"name": "label", "datatype": "BYTES", "shape": [-1]},
            ],
            "parameters": {"classes": list(model.bundle.classes), "task": model.bundle.task},
        }
    )


async def model_ready(state: State, request: Request) -> Response:
    """``GET /v2/models/NAME[/versions/VERSION]/ready``."""
    model = _named(state, request)
    return as_json({"name": model.name, "ready": state.ready}, 200 if state.ready else 503)


async def infer(state: State, request: Request) -> Response:
    """``POST /v2/models/NAME[/versions/VERSION]/infer``: pictures as tensors or as encoded files."""
    params = request.path_params
    model = meant(state, request, params["name"], params.get("version"))
    head = request.headers.get(LENGTH, "0")
    if not (head.isascii() and head.isdigit() and len(head) <= 9):
        raise Refusal(400, "Inference-Header-Content-Length is no whole number", close=True)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", "application/octet-stream", ""):
        raise Refusal(415, "This content type is not read", "Content-Type: application/json", close=True)
    body = await body_of(state, request)
    with state.gate.entered():
        work = _inferred(state, model, body, int(head))
        return await unless_gone(request.receive, work, state.limits.answer_seconds)


async def _inferred(state: State, model: Served, body: bytearray, head: int) -> Response:
    order = {"job": "infer", "head": head, "specs": model.orders, "formats": state.workers.formats}
    found, pixels = await state.workers.decoders.ask(order, body)
    pictures = squares_of(model.model.specs, pixels)
    logits = np.zeros((len(pictures), len(model.bundle.classes)), np.float32)

    async def one(at: int) -> None:
        told = await state.workers.batcher.ask(model, model.run, pictures[at])
        logits[at] = told.logits
        count(
            state,
            model,
            told,
            found["seconds"] / len(pictures),
            answers.answer(model.bundle, told.logits, 1, told.strange),
        )

    begin = perf_counter()
    await few_at_a_time([partial(one, at) for at in range(len(pictures))])
    return response(model, found["request"], logits, {"decode": found["seconds"], "run": perf_counter() - begin})


def response(model: Served, asked: dict[str, Any], logits: Floats, seconds: dict[str, float]) -> Response:
    """The outputs that were asked for, in the JSON or behind it.

    Args:
        model: that answered.
        asked: ``{"id", "outputs": [[name, binary], …]}``.
        logits: float32 ``[N, K]``.
        seconds: for the parameters of the answer.
    """
    b = model.bundle
    p = probabilities(said(b, logits))
    labels = ["|".join(answers.answer(b, row, 1)["labels"]) for row in logits]
    outputs, behind = [], []
    for name, binary in asked["outputs"]:
        one = {"name": name, "datatype": "FP32", "shape": list(p.shape)}
        if name == "label":
            one = {"name": name, "datatype": "BYTES", "shape": [len(labels)]}
        if binary:
            data = p.astype("<f4").tobytes() if name == "probabilities" else _bytes(labels)
            one["parameters"] = {"binary_data_size": len(data)}
            behind.append(data)
        else:
            one["data"] = [round(float(v), 7) for v in p.ravel()] if name == "probabilities" else labels
        outputs.append(one)
    timed = {name: round(value, 5) for name, value in seconds.items()}
    told = {
        "model_name": model.name,
        "model_version": model.version,
        "parameters": {"seconds": timed},
        "outputs": outputs,
    }
    if asked["id"]:
        told["id"] = asked["id"]
    if not behind:
        return as_json(told)
    head = json.dumps(told, ensure_ascii=False).encode()
    headers = {LENGTH: str(len(head)), "cache-control": "no-store"}
    return Response(b"".join([head, *behind]), 200, headers, "application/octet-stream")


def _bytes(texts: Sequence[str]) -> bytes:
    """BYTES as the binary extension has them: each with its length before it, 4 bytes, little-endian."""
    return b"".join(struct.pack("<I", len(data)) + data for data in (text.encode() for text in texts))


def _named(state: State, request: Request) -> Served:
    return state.models.find(request.path_params["name"], request.path_params.get("version"))


def _both(path: str, call: Callable[[State, Request], Awaitable[Response]], method: str = "GET") -> dict[Any, Call]:
    """The same for the default version and for a named one."""
    return {(method, f"/v2/models/{{name}}{version}{path}"): call for version in ("", "/versions/{version}")}


ROUTES: dict[tuple[str, str], Call] = {
    ("GET", "/v2/health/live"): live,
    ("GET", "/v2/health/ready"): ready,
    ("GET", "/v2"): server,
    **_both("", metadata),
    **_both("/ready", model_ready),
    **_both("/infer", infer, "POST"),
}
"""(method, path) → what answers."""
