"""What one client, and all of them together, may cost: bytes, seconds, places in the queue."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from visum.serve.refusal import Refusal, busy

_T = TypeVar("_T")
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


@dataclass(frozen=True)
class Limits:
    """Bounds of a server.

    Attributes:
        body: bytes of one request.
        held: bytes of all requests that are being read or worked on.
        files: in one multipart request.
        connections: open at once.
        head, fields: bytes of a request line with its headers, and how many headers.
        head_seconds: from the first byte (or the connection) to the end of the headers.
        read_seconds: from there to the end of the body.
        answer_seconds: from there to the answer.
        idle_seconds: a connection is kept without a request.
        drain_seconds: at the end, for what is under way.
        queue: pictures that wait or are worked on. With two for each core who is let in waits about twice as long as on
            an idle server (Little 1961: time = number / rate); three answer no more pictures a second, and later.
    """

    body: int = 20 << 20
    held: int = 256 << 20
    files: int = 64
    connections: int = 512
    head: int = 32 << 10
    fields: int = 100
    head_seconds: float = 5.0
    read_seconds: float = 10.0
    answer_seconds: float = 10.0
    idle_seconds: float = 15.0
    drain_seconds: float = 30.0
    queue: int = 4


UNREAD = "visum.unread"
"""Key of a request's scope: () → whether some of its body has not come yet."""


class Gone(Exception):
    """The client has left."""


@dataclass
class Gate:
    """So many at a time, the next one is turned away at once.

    Attributes:
        places: how many may be inside.
        inside: how many are.
    """

    places: int
    inside: int = 0

    @property
    def full(self) -> bool:
        """Whether the next one is turned away."""
        return self.inside >= self.places

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """A place inside, for the block.

        Raises:
            Refusal: 503, there is none.
        """
        if self.full:
            raise busy()
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


@dataclass
class Budget:
    """Bytes that all requests hold together."""

    most: int
    held: int = 0


@dataclass
class Held:
    """Bytes that one request holds of the budget."""

    budget: Budget
    size: int = field(default=0)

    def more(self, count: int) -> None:
        """So many bytes more.

        Raises:
            Refusal: 503, requests hold too many already.
        """
        self.size += count
        self.budget.held += count
        if self.budget.held > self.budget.most:
            raise Refusal(
                503, "The server is busy: too many bytes are on their way", "again after a second", wait=1, close=True
            )

    def back(self) -> None:
        """All given back."""
        self.budget.held -= self.size
        self.size = 0


def declared(headers: Mapping[str, str], limits: Limits) -> None:
    """Look at what a request says of its body before any of it is read.

    Raises:
        Refusal: 413 if it says that it is too long, 415 if it is compressed, 400 if it says nonsense.
    """
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("", "identity"):
        raise Refusal(
            415, "Compressed request bodies are not read", "the body as it is, without Content-Encoding", close=True
        )
    length = headers.get("content-length")
    if length is not None:
        if not (length.isascii() and length.isdigit()):
            raise Refusal(400, "Content-Length is no whole number", close=True)
        if len(length) > 18 or int(length) > limits.body:
            raise too_large(limits)


def too_large(limits: Limits) -> Refusal:
    """413."""
    return Refusal(
        413,
        f"The request has more than {limits.body / 2**20:,.0f} MB",
        "a smaller picture, or several requests",
        close=True,
    )


async def chunks(receive: Receive, limits: Limits, held: Held) -> AsyncIterator[bytes]:
    """The body as it comes, counted in bytes whatever the headers say.

    Raises:
        Refusal: 413 beyond ``limits.body``, 408 after ``limits.read_seconds``, 503 where all hold too much.
        Gone: the client left.
    """
    until = asyncio.get_running_loop().time() + limits.read_seconds
    size = 0
    while True:
        try:
            async with asyncio.timeout_at(until):
                message = await receive()
        except TimeoutError as error:
            slow = f"The body did not arrive within {limits.read_seconds:g} s"
            raise Refusal(408, slow, "a smaller picture, or a faster line", close=True) from error
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        size += len(part)
        if size > limits.body:
            raise too_large(limits)
        held.more(len(part))
        yield part
        if not message.get("more_body", False):
            return


async def unless_gone(receive: Receive, work: Awaitable[_T], seconds: float) -> _T:
    """The result of ``work``, which is given up when the client leaves or when it takes longer than ``seconds``.

    Raises:
        Gone: the client left.
        Refusal: 503, too slow.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((task, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise Gone
        raise busy(f"no answer within {seconds:g} s")
    finally:
        for each in (task, gone):
            if not each.done():
                each.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await each


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
