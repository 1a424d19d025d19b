"""From the command line to a server that is ready, and from SIGTERM to an end that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visum.errors import UsageError
from visum.runtime import one_core_each, process_start, threads

if TYPE_CHECKING:
    from visum.serve.state import State

NEEDED = ("starlette", "uvicorn", "httptools", "python_multipart")
ENGINES = ("auto", "openvino", "onnxruntime")
FORMATS = ("TIFF", "AVIF", "HEIC")


def serve(
    bundles: Sequence[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 0,
    token: Sequence[str] = (),
    allow_host: Sequence[str] = (),
    unprotected: bool = False,
    feedback: str | None = None,
    neighbours: Path | None = None,
    engine: str = "auto",
    extra_formats: Sequence[str] = (),
    max_megabytes: int = 20,
    queue: int = 0,
    as_json: bool = False,
) -> None:
    """Serve bundles until SIGTERM or SIGINT.

    Args:
        bundles: folders of bundles or runs; ``NAME=FOLDER`` gives a name. The first one answers where none is named.
        host, port: to be bound to; port 0 takes a free one.
        workers: decoding processes; 0: one for each core.
        token: bearer tokens, 16 characters or more each; those in ``VISUM_TOKEN`` count, too.
        allow_host: other names that this server goes by.
        unprotected: take requests from other machines without a token.
        feedback: a folder of Parquet files for labels that clients send back.
        neighbours: a file of training pictures (``ship.gallery``) that may be shown beside answers; None shows none.
        engine: auto, openvino or onnxruntime.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        max_megabytes: of one request.
        queue: pictures that wait or are worked on before others are turned away; 0: two for each core.
        as_json: log lines as JSON.

    Raises:
        UsageError: settings that cannot be; or the extra ``serve`` is not installed.
        BundleError: a bundle is broken, or does not answer its golden images as it did.
    """
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise UsageError(f"the server needs {', '.join(missing)}", next="pip install 'visum[serve]'")
    _check(port, workers, engine, extra_formats, max_megabytes, queue)
    from visum.serve import guard

    tokens = [*token, *filter(None, re.split(r"[,\s]+", os.environ.get("VISUM_TOKEN", "")))]
    doors = guard.doors(host, port, allow_host, tokens, unprotected)
    place = _bound(host, port)
    with place, one_core_each():
        asyncio.run(
            _serve(
                bundles,
                doors,
                place,
                workers=workers or threads(),
                feedback=feedback,
                neighbours=neighbours,
                engine=engine,
                formats=tuple(extra_formats),
                body=max_megabytes << 20,
                queue=queue or 2 * threads(),
                as_json=as_json,
            )
        )


def _check(port: int, workers: int, engine: str, formats: Sequence[str], megabytes: int, queue: int) -> None:
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}", allowed="0 to 65535", next="--port 8000")
    if not 0 <= workers <= 256:
        raise UsageError(f"--workers {workers}", allowed="1 to 256, or 0 for one on each core", next="--workers 2")
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}", allowed=", ".join(ENGINES), next="--engine auto")
    if wrong := [name for name in formats if name not in FORMATS]:
        raise UsageError(f"--extra-formats {','.join(wrong)}", allowed=", ".join(FORMATS), next="--extra-formats TIFF")
    if not 1 <= megabytes <= 512:
        raise UsageError(f"--max-megabytes {megabytes}", allowed="1 to 512", next="--max-megabytes 20")
    if not 0 <= queue <= 10_000:
        raise UsageError(f"--queue {queue}", allowed="1 to 10,000, or 0 for two on each core", next="--queue 8")


def _bound(host: str, port: int) -> socket.socket:
    """A socket at that address, which nobody is listening to yet.

    It says that it is TCP: asyncio lets only such sockets send at once (TCP_NODELAY); others wait 40 ms in each answer on a
    connection that is kept, until the client has confirmed the head.
    """
    tcp = socket.IPPROTO_TCP
    try:
        kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=tcp, flags=socket.AI_PASSIVE)[
            0
        ]
        place = socket.socket(kind, socket.SOCK_STREAM, tcp)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.bind(address)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UsageError(
            f"cannot listen at {host}:{port}: {why}", next="--port 8001, or --port 0 for a free one"
        ) from error
    return place


async def _serve(
    given: Sequence[str],
    doors: Any,
    place: socket.socket,
    *,
    workers: int,
    feedback: str | None,
    neighbours: Path | None,
    engine: str,
    formats: tuple[str, ...],
    body: int,
    queue: int,
    as_json: bool,
) -> None:
    """Bring everything up, wait for the end, take everything down."""
    from visum.models.serving import SIZES
    from visum.serve import feedback as kept
    from visum.serve.batcher import Batcher
    from visum.serve.decoding import Decoders
    from visum.serve.limits import Budget, Gate, Limits
    from visum.serve.log import Log
    from visum.serve.models import Models, Workers, places
    from visum.serve.state import State
    from visum.ship import gallery

    limits = Limits(body=body, held=max(256 << 20, 4 * body), queue=queue)
    decoders = Decoders(workers, seconds=limits.answer_seconds / 2)
    state = State(
        Models(),
        Workers(decoders, Batcher(threads(), SIZES), formats),
        doors,
        limits,
        Gate(limits.queue),
        Budget(limits.held),
        log=Log(as_json),
        feedback=kept.opened(feedback) if feedback else None,
        engine=engine,
        gallery=gallery.read(neighbours) if neighbours is not None else None,
    )
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    with _signals(loop, ending.set, lambda: loop.create_task(_reload(state))):
        try:
            up = asyncio.create_task(decoders.start())  # while the models are read
            found = places(given)
            await up
            await _load(state, found)
            await _listen(state, place, ending)
        finally:
            await decoders.stop()
            state.workers.batcher.close()
            if state.feedback is not None:
                state.feedback.flush()


async def _load(state: State, found: Sequence[tuple[str, Path]]) -> None:
    from visum.serve.models import load

    for name, folder in found:
        one = await load(name, folder, state.workers, state.engine)
        others = state.models.served.get(name, ())
        if any(each.version == one.version for each in others):
            raise UsageError(f"{name} is given twice in version {one.version}", next="each bundle once")
        state.models.served[name] = (*others, one)
        if not one.golden:
            state.log.say("warning", model=name, message="no golden images: nothing proves that it answers right here")
        if state.gallery is not None and await asyncio.to_thread(getattr, one, "space") != state.gallery.space:
            state.log.say("warning", model=name, message="--neighbours are of another network: none beside its answers")


async def _reload(state: State) -> None:
    """SIGHUP: every model's folder again; what is no good is told in the log and left alone."""
    from visum.serve.refusal import Refusal
    from visum.serve.routes import swap

    for name in list(state.models.served):
        with contextlib.suppress(Refusal):
            await swap(state, name)


async def _listen(state: State, place: socket.socket, ending: asyncio.Event) -> None:
    """Take requests until the end is wanted; then let what is under way finish."""
    import uvicorn

    from visum.serve.app import build
    from visum.serve.connection import Rules, connection

    logging.getLogger("uvicorn.error").addFilter(lambda record: _told(state, record))
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # what it says of hostile forms is no news
    limits = state.limits
    rules = Rules(limits, lambda refusal, id: _refused(state, refusal, id))
    config = uvicorn.Config(
        build(state),
        http=connection(rules),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=int(limits.idle_seconds),
        timeout_graceful_shutdown=int(limits.drain_seconds),
        backlog=min(limits.connections, 1024),
    )
    server = uvicorn.Server(config)
    state.connections = lambda: len(server.server_state.connections)
    running = asyncio.create_task(server._serve([place]))
    writing = asyncio.create_task(_write(state))
    while not server.started and not running.done():
        await asyncio.sleep(0.002)
    _announce(state, place)
    await asyncio.wait((asyncio.create_task(ending.wait()), running), return_when=asyncio.FIRST_COMPLETED)
    state.draining = True
    state.log.say("ending", inside=state.gate.inside)
    until = time.monotonic() + limits.drain_seconds
    while (state.gate.inside or state.bulk.inside) and time.monotonic() < until:
        await asyncio.sleep(0.01)
    server.should_exit = True
    await running
    writing.cancel()
    state.log.say("ended")


def _announce(state: State, place: socket.socket) -> None:
    host, port = place.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    where = f"http://{'127.0.0.1' if shown in ('0.0.0.0', '[::]') else shown}:{port}"
    seconds = round(time.monotonic() - process_start(), 2)
    if state.log.as_json:
        served = [f"{each.name} {each.version}" for each in state.models]
        state.log.say("ready", url=where, models=served, seconds=seconds, pid=os.getpid())
        return
    names = ", ".join(f"{each.name} ({each.version}, {len(each.bundle.classes)} classes)" for each in state.models)
    token = " -H 'Authorization: Bearer TOKEN'" if state.doors.tokens else ""
    print(f"visum serve: {names} at {where} after {seconds:.1f} s")
    print(f"Next: curl{token} -H 'Content-Type: image/jpeg' --data-binary @photo.jpg {where}/v1/predict")
    print(f"      or open {where} in a browser; Ctrl-C ends it", flush=True)


async def _write(state: State) -> None:
    """Labels go to disk now and then."""
    from visum.serve.feedback import EVERY

    while True:
        await asyncio.sleep(EVERY)
        if state.feedback is not None:
            try:
                await asyncio.to_thread(state.feedback.flush)
            except Exception as error:
                state.log.say("warning", message=f"labels cannot be written yet: {error}")


def _refused(state: State, refusal: Any, id: str) -> None:
    """What a connection refused before it was a request."""
    state.metrics.count("visum_refusals_total", status=str(refusal.status))
    state.log.say("refused", id=id, status=refusal.status, message=refusal.got)


def _told(state: State, record: logging.LogRecord) -> bool:
    """uvicorn's own words, of which only faults are news."""
    if record.levelno >= logging.ERROR:
        state.log.say("uvicorn", message=record.getMessage(), error=repr(record.exc_info[1]) if record.exc_info else "")
    return False


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, end: Callable[[], Any], again: Callable[[], Any]) -> Iterator[None]:
    """SIGTERM and SIGINT end the server, SIGHUP reads the bundles again."""
    wanted = {signal.SIGTERM: end, signal.SIGINT: end, signal.SIGHUP: again}
    for number, call in wanted.items():
        loop.add_signal_handler(number, call)
    try:
        yield
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)
        sys.stdout.flush()
