"""One connection, as uvicorn's httptools protocol makes it, with the bounds that uvicorn has not.

Added: a deadline for headers and bounds of their size, a bound of the number of connections, errors as JSON, and an end that
lets a client read the refusal although it is still sending (closing at once would reset the connection).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from visum.serve.guard import HEADERS, identity
from visum.serve.limits import UNREAD, Limits
from visum.serve.refusal import Refusal, busy

LINGER_SECONDS = 1.0
LINGER_BYTES = 32 << 20
"""How long, and for how much, a client that was refused may go on sending, unheard."""
PIPELINED = 8
"""Requests that a client may send ahead of their answers."""

Told = Callable[[Refusal, str], None]


@dataclass(frozen=True)
class Rules:
    """What all connections of a server keep to; ``told``: hears of refusals that no route sees."""

    limits: Limits
    told: Told


class Lingering:
    """A transport whose end waits for the client to stop sending."""

    def __init__(self, transport: Any, connection: Connection) -> None:
        self._transport, self._connection = transport, connection

    def close(self) -> None:
        """End once the client is heard out."""
        self._connection.linger()

    def is_closing(self) -> bool:
        """Whether it ends, or waits to."""
        return self._connection.lingering or bool(self._transport.is_closing())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """See the head of this file; ``rules`` are set on a subclass by ``connection``."""

    rules: Rules

    def connection_made(self, transport: Any) -> None:
        """A client is there."""
        self.lingering, self._heard, self._head, self._body, self._within = False, 0, 0, 0, True
        self._timer: asyncio.TimerHandle | None = None
        self._raw = transport
        super().connection_made(Lingering(transport, self))  # type: ignore[arg-type]
        if len(self.connections) > self.rules.limits.connections:
            self._refuse(busy("too many connections"))
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._unwatch()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came: bounded before they are parsed."""
        if self.lingering:
            self._heard += len(data)
            if self._heard > LINGER_BYTES:
                self._raw.abort()
            return
        if self._within:
            self._head += len(data)
        else:
            self._body += len(data)
            if self._body > 2 * self.rules.limits.body + self.rules.limits.head:  # tiny chunks, or endless trailers
                self._raw.abort()
                return
        try:
            super().data_received(data)
        except httptools.HttpParserUpgrade:
            self._refuse(Refusal(400, "Upgrades to other protocols are not offered", "HTTP/1.1"))
        if self._within and self._head > self.rules.limits.head and not self.lingering:
            self._refuse(Refusal(431, "The headers are too long", "shorter ones"))

    def on_message_begin(self) -> None:
        """A request begins."""
        self._within, self._head, self._body = True, 0, 0
        if len(self.pipeline) >= PIPELINED:
            raise ValueError("too many requests at once")
        self._watch()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or one trailer behind a chunked body, of which none is looked at."""
        if not self._within:
            return
        if len(self.headers) >= self.rules.limits.fields:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there in time."""
        self._within = False
        self._unwatch()
        if self.parser.should_upgrade():
            raise ValueError("no upgrades")
        super().on_headers_complete()
        cycle = self.cycle
        self.scope[UNREAD] = lambda: cycle.more_body  # type: ignore[literal-required]

    def on_response_complete(self) -> None:
        """An answer is out; if it came before its request was there, the rest is not worth reading."""
        early = not self.pipeline and self.cycle.more_body
        super().on_response_complete()
        if early:
            self.linger()

    def send_400_response(self, msg: str) -> None:
        """What cannot be parsed."""
        self._refuse(Refusal(400, "This is not a request that can be understood", "HTTP/1.1, at most 100 headers"))

    def linger(self) -> None:
        """Send what is to be sent, and close when the client stops sending, or soon."""
        if self.lingering or self._raw.is_closing():
            return
        self._unwatch()
        whole = self.cycle is not None and not self.cycle.more_body and not self._within
        if whole or not self._raw.can_write_eof():
            self._raw.close()
            return
        self.lingering = True
        self._raw.write_eof()
        self._raw.resume_reading()
        self._timer = self.loop.call_later(LINGER_SECONDS, self._raw.abort)

    def eof_received(self) -> None:
        """The client will not send any more; the transport closes itself."""

    def _watch(self) -> None:
        self._unwatch()
        self._timer = self.loop.call_later(self.rules.limits.head_seconds, self._late)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        """Headers take too long: a client that has sent some is told, the others are not worth an answer."""
        if self._head and (self.cycle is None or self.cycle.response_complete):
            self._refuse(Refusal(408, f"The headers did not arrive within {self.rules.limits.head_seconds:g} s"))
        else:
            self._raw.abort()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer without a route, and end the connection."""
        if self.lingering or self._raw.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._raw.abort()  # an answer is on its way, another cannot be put in between
            return
        number = identity({})
        data = json.dumps({"error": {"message": refusal.got, "next": refusal.next}, "id": number}).encode()
        lines = [STATUS_LINE[refusal.status], *(b"%s: %s\r\n" % pair for pair in HEADERS)]
        lines += [b"content-type: application/json\r\ncontent-length: %d\r\n" % len(data)]
        lines += [b"retry-after: %d\r\n" % refusal.wait] if refusal.wait else []
        self._raw.write(b"".join([*lines, b"connection: close\r\n\r\n", data]))
        self.rules.told(refusal, number)
        self._within = True
        self.linger()


def connection(rules: Rules) -> type[Connection]:
    """The protocol of one server."""
    return type("Connection", (Connection,), {"rules": rules})
