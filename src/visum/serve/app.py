"""The routes, and what stands around them: one id, one log line and one count for each request, and JSON whatever happens."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from visum.errors import VisumError
from visum.serve import guard, openapi, protocol, routes
from visum.serve.limits import UNREAD, Gone, Held
from visum.serve.refusal import Refusal
from visum.serve.state import State
from visum.ship.bundle.seal import version

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

PAGE = Path(__file__).parent / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
}
"""Of the page's files, by the end of their names; no others are served."""


def build(state: State) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The ASGI application of a server."""
    files = page_files(PAGE)
    router = Router(
        [
            *(Route(path, call, methods=[method]) for method, path, call in table(state, files)),
        ],
        redirect_slashes=False,
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await _one(state, router, scope, receive, send)

    return app


def table(state: State, files: Mapping[str, tuple[str, bytes]]) -> list[tuple[str, str, Any]]:
    """(method, path, function) of every route."""

    def with_state(call: Callable[[State, Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def route(request: Request) -> Response:
            return await call(state, request)

        return route

    async def page(request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in files:
            raise Refusal(404, "There is no such page", "GET /")
        kind, data = files[name]
        return Response(data, media_type=kind, headers={"cache-control": "no-cache"})

    async def described(_: Request) -> Response:
        return routes.as_json(openapi.document(version(), state.feedback is not None))

    async def metrics(_: Request) -> Response:
        return Response(state.metrics.text(gauges(state)), media_type="text/plain; version=0.0.4; charset=utf-8")

    found = [(method, path, with_state(call)) for (method, path), call in (routes.ROUTES | protocol.ROUTES).items()]
    return [
        *found,
        ("GET", "/", page),
        ("GET", "/page/{name}", page),
        ("GET", "/metrics", metrics),
        ("GET", "/openapi.json", described),
    ]


def page_files(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Name → (media type, bytes) of the page; read once, so that no name from a request ever meets the disk."""
    return {
        path.name: (KINDS[path.suffix], path.read_bytes())
        for path in sorted(folder.glob("*"))
        if path.suffix in KINDS and path.is_file()
    }


async def _one(state: State, router: Router, scope: Scope, receive: Receive, send: Send) -> None:
    """One request from its headers to its log line."""
    begin, headers = time.perf_counter(), Headers(scope=scope)
    id, status, sent = guard.identity(headers), 499, 0
    held = Held(state.budget)
    scope["app"], scope["visum"] = router, (id, held)  # with an app, starlette raises 405 instead of writing it

    async def answer(message: MutableMapping[str, Any]) -> None:
        nonlocal status, sent
        if message["type"] == "http.response.start":
            status = message["status"]
            own = [(b"x-request-id", id.encode()), *guard.HEADERS]
            if UNREAD in scope and scope[UNREAD]():  # the connection ends with this answer, and the client must know
                own.append((b"connection", b"close"))
            message["headers"] = [*message.get("headers", ()), *own]
        sent += len(message.get("body", b""))
        await send(message)

    refusal: Refusal | None = None
    try:
        guard.check(state.doors, scope["path"], headers)
        await router(scope, receive, answer)
    except Gone:
        status = 499
    except Refusal as error:
        refusal = error
    except HTTPException as error:
        refusal = _http(error)
    except VisumError as error:
        state.log.fault(id, error)
        refusal = Refusal(
            500, "This could not be answered", "the same again; the server's log knows more under this id"
        )
    except Exception as error:
        state.log.fault(id, error)
        refusal = Refusal(500, "This is a fault of the server", "tell its owner this id: the server's log knows more")
    finally:
        held.back()
    if refusal is not None:
        state.metrics.count("visum_refusals_total", status=str(refusal.status))
        await routes.refused(refusal, id, v2=scope["path"].startswith("/v2/"))(scope, receive, answer)
    route = getattr(scope.get("route"), "path", "none")
    seconds = time.perf_counter() - begin
    state.metrics.count("visum_requests_total", method=_method(scope), route=route, status=str(status))
    state.metrics.observe("visum_request_seconds", seconds, route=route)
    said = {
        "id": id,
        "method": _method(scope),
        "path": scope["path"][:200],
        "status": status,
        "seconds": round(seconds, 4),
    }
    state.log.say("request", **said, **({"message": refusal.got} if refusal else {}))


def _method(scope: Scope) -> str:
    return (
        scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH") else "other"
    )


def _http(error: HTTPException) -> Refusal:
    """What starlette's router says."""
    if error.status_code == 405:
        return Refusal(405, "This address takes another method", "GET /openapi.json")
    return Refusal(404, "There is nothing at this address", "GET /openapi.json")


def gauges(state: State) -> dict[str, list[tuple[tuple[tuple[str, str], ...], float]]]:
    """What is true right now."""
    found: dict[str, list[tuple[tuple[tuple[str, str], ...], float]]] = {
        "visum_ready": [((), float(state.ready))],
        "visum_inside": [((), state.gate.inside)],
        "visum_inside_limit": [((), state.gate.places)],
        "visum_held_bytes": [((), state.budget.held)],
        "visum_connections": [((), state.connections())],
        "visum_decoders_replaced_total": [((), state.workers.decoders.replaced)],
        "visum_model_info": [((("model", each.name), ("version", each.version)), 1) for each in state.models],
        "process_start_time_seconds": [((), state.started)],
    }
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        found["process_resident_memory_bytes"] = [((), pages * os.sysconf("SC_PAGE_SIZE"))]
        found["process_open_fds"] = [((), len(os.listdir("/proc/self/fd")))]  # noqa: PTH208 - only their number
    except OSError:
        pass  # not Linux
    return found
