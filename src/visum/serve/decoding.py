"""The server's side of the decoders: child processes that may die, hang or swell, and are replaced when they do.

What an order costs is bounded in ``decoder``; here is who gets it, and what happens when no answer comes. A request that is
given up leaves its decoder at work until the order is done: only then the next one gets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visum.errors import VisumError
from visum.serve.decoder import HEAD
from visum.serve.refusal import Refusal

PATIENCE = 2.0
"""A decoder that is not ready after so many times the seconds that it may compute is killed: it hangs."""
START = 60.0
"""Seconds that the first decoders may take to come up."""


@dataclass(eq=False)
class Child:
    """One decoder: our end of its socket, and its process."""

    place: socket.socket
    pid: int = 0


class Decoders:
    """As many decoders as may work at once.

    Attributes:
        count: of them.
        memory: bytes that each may take beyond what it has at its start.
        seconds: of a processor that each order may take.
        replaced: how many died or were killed so far.
    """

    def __init__(self, count: int, *, memory: int = 1 << 30, seconds: float = 5.0) -> None:
        self.count, self.memory, self.seconds, self.replaced = count, memory, seconds, 0
        self._idle: asyncio.Queue[Child] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._all: set[Child] = set()
        self._template: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._ended = False

    async def start(self) -> None:
        """Bring all decoders up.

        Raises:
            VisumError: they do not come up.
        """
        for _ in range(self.count):
            self._born()
        try:
            async with asyncio.timeout(START):
                while self._idle.qsize() < self.count:
                    if self._template is None or self._template.poll() is not None:
                        raise VisumError("the decoders do not start", next="visum doctor")
                    await asyncio.sleep(0.005)
        except TimeoutError as error:
            raise VisumError(f"the decoders did not start within {START:g} s", next="visum doctor") from error

    async def stop(self) -> None:
        """End them; what is under way is lost."""
        self._ended = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for child in self._all:
            child.place.close()
        if self._control is not None:
            self._control.close()
        if self._template is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._template.wait(2)
            if self._template.poll() is None:
                self._template.kill()
                self._template.wait()

    async def ask(self, order: Mapping[str, Any], payload: bytes | bytearray) -> tuple[dict[str, Any], bytearray]:
        """Have an order done by the next decoder that is free.

        Returns:
            Its reply, and the bytes behind it.

        Raises:
            Refusal: what the decoder found wrong; or that it died or took too long over this.
        """
        child = await self._next()
        task = asyncio.create_task(self._exchange(child, order, payload))
        self._keep(task)
        said, squares = await asyncio.shield(task)
        if "error" in said:
            error = said["error"]
            raise Refusal(error["status"], error["message"], error["next"])
        return said, squares

    @property
    def pids(self) -> list[int]:
        """Of the decoders that are up."""
        return sorted(child.pid for child in self._all if child.pid)

    async def _next(self) -> Child:
        """A decoder that is free and alive."""
        while True:
            child = await self._idle.get()
            try:
                gone = child.place.recv(1, socket.MSG_PEEK) == b""
            except BlockingIOError:
                return child  # nothing to read: it waits for us
            except OSError:
                gone = True
            if not gone:
                return child
            self._replace(child)

    async def _exchange(
        self, child: Child, order: Mapping[str, Any], payload: bytes | bytearray
    ) -> tuple[dict[str, Any], bytearray]:
        loop, begin = asyncio.get_running_loop(), time.monotonic()
        data = json.dumps(order).encode()
        try:
            async with asyncio.timeout(PATIENCE * self.seconds):
                await loop.sock_sendall(child.place, HEAD.pack(len(data), len(payload)) + data)
                await loop.sock_sendall(child.place, payload)
                head, body = HEAD.unpack(await self._received(child, HEAD.size))
                said = json.loads(bytes(await self._received(child, head)))
                squares = await self._received(child, body)
        except (OSError, EOFError, TimeoutError) as error:
            self._replace(child)
            slow = time.monotonic() - begin >= self.seconds
            why = "takes too long to decode" if slow else "broke the process that decoded it"
            raise Refusal(400, f"This picture {why}", "the picture saved again as JPEG or PNG") from error
        except BaseException:
            self._replace(child)
            raise
        self._idle.put_nowait(child)
        return said, squares

    async def _received(self, child: Child, size: int) -> bytearray:
        loop, data = asyncio.get_running_loop(), bytearray(size)
        view, at = memoryview(data), 0
        while at < size:
            count = await loop.sock_recv_into(child.place, view[at:])
            if not count:
                raise EOFError
            at += count
        return data

    def _replace(self, child: Child) -> None:
        """End a decoder for good, if it has not ended itself, and have another one come up."""
        if child in self._all:
            self._all.discard(child)
            if child.pid and not _closed(child.place):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
            child.place.close()
            if not self._ended:
                self.replaced += 1
                self._born()

    def _born(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # a fitted square at once
            ours.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
            theirs.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
        child = Child(ours)
        self._all.add(child)
        with theirs:
            for _ in range(2):  # a second time if the template is gone
                if self._control is None or self._template is None or self._template.poll() is not None:
                    self._begin()
                try:
                    socket.send_fds(self._ready, [b"x"], [theirs.fileno()])
                    break
                except OSError:
                    self._control = None
        self._keep(asyncio.get_running_loop().create_task(self._greeted(child)))

    @property
    def _ready(self) -> socket.socket:
        assert self._control is not None
        return self._control

    def _begin(self) -> None:
        """A template; what is sent to it waits until it is up."""
        if self._control is not None:
            self._control.close()
        self._control, theirs = socket.socketpair()
        with theirs:
            path = os.pathsep.join([entry for entry in sys.path if entry])
            number = theirs.fileno()
            self._template = subprocess.Popen(
                [sys.executable, "-m", "visum.serve.decoder", str(number), str(self.memory), str(self.seconds)],
                stdin=subprocess.DEVNULL,
                pass_fds=[number],
                env={**os.environ, "PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )

    async def _greeted(self, child: Child) -> None:
        """A decoder is there once it says its number."""
        try:
            (child.pid,) = struct.unpack(">I", await self._received(child, 4))
        except (OSError, EOFError):
            await asyncio.sleep(0.2)  # its template is broken: not at once again
            self._replace(child)
            return
        self._idle.put_nowait(child)

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._dropped)

    def _dropped(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at, so that nothing is said of a request that nobody waits for


def _closed(place: socket.socket) -> bool:
    """Whether the other end is gone already: then the number of its process may be somebody else's."""
    with contextlib.suppress(OSError):
        return place.recv(1, socket.MSG_PEEK) == b""
    return False
