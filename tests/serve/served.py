"""A real server in a process of its own, and a client that can misbehave: what the tests of ``visum.serve`` share."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visum.models import predict as running
from visum.ship import bundle as bundles
from visum.types import Bundle, Floats, Predictions, column, probabilities

START = 60.0
BYTES = {"Content-Type": "application/octet-stream"}


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.data)


@dataclass
class Server:
    """A running ``visum serve``; ``log``: its lines as JSON."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Reply:
        """One request on a connection of its own."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read())
        finally:
            connection.close()

    def predict(self, data: bytes, query: str = "", **headers: str) -> Reply:
        """One picture."""
        return self.ask("POST", f"/v1/predict{query}", data, {**BYTES, **headers})

    def raw(self, data: bytes, timeout: float = 20) -> bytes:
        """Bytes as they are; everything that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as place:
            place.sendall(data)
            return until_closed(place)

    def lines(self, event: str = "") -> list[dict[str, Any]]:
        """The log."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if event in ("", line["event"])]

    def gauge(self, name: str) -> float:
        """One number of ``/metrics``; labels, if any, are part of the name."""
        for line in self.ask("GET", "/metrics").data.decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rsplit(" ", 1)[1])
        raise KeyError(name)

    @property
    def template(self) -> int:
        """The process that forks decoders."""
        (found,) = children(self.process.pid)
        return found

    @property
    def decoders(self) -> list[int]:
        """Processes that decode."""
        return children(self.template)

    def end(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def start(log: Path, *arguments: object, **environment: str) -> Server:
    """``visum serve … --port 0 --json``, once it is ready."""
    code = "import sys; from visum.cli import main; sys.argv[0] = 'visum'; main()"
    command = [sys.executable, "-c", code, "serve", *map(str, arguments), "--port", "0", "--json"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **environment})
    server = Server(process, 0, log)
    until = time.monotonic() + START
    while time.monotonic() < until:
        if ready := server.lines("ready"):
            server.port = int(ready[0]["url"].rpartition(":")[2])
            return server
        if process.poll() is not None:
            break
        time.sleep(0.02)
    server.end()
    raise AssertionError(f"the server is not ready: {log.read_text()}")


def until_closed(place: socket.socket) -> bytes:
    """What comes until the other side closes, or resets."""
    got = b""
    while True:
        try:
            part = place.recv(1 << 16)
        except ConnectionError:
            return got
        if not part:
            return got
        got += part


def children(pid: int) -> list[int]:
    """Processes whose parent this is."""
    return [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def together(count: int, work: Callable[[int], Any]) -> list[Any]:
    """``work(0)`` … on as many threads at once; their results."""
    results: list[Any] = [None] * count

    def one(number: int) -> None:
        try:
            results[number] = work(number)
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def jpeg(pixels: NDArray[Any], quality: int = 90) -> bytes:
    """A picture as JPEG."""
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def form(files: Sequence[tuple[str, bytes]], boundary: str = "visum-boundary") -> tuple[bytes, dict[str, str]]:
    """A form of files and its content type."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        + data
        + b"\r\n"
        for name, data in files
    ]
    body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def expected(bundle: Bundle, images: Sequence[bytes]) -> Floats:
    """What the library says of images under a bundle of ``network``: probabilities float32 ``[N, K]``."""
    logits = _logits(tuple(images), bundle.preprocess.size)
    none = np.zeros(len(logits), np.int64)
    names = column([""] * len(logits))
    return probabilities(Predictions(names, logits, none, bundle.classes, bundle.task, temperature=bundle.temperature))


@cache
def _logits(images: tuple[bytes, ...], size: int) -> Floats:
    found = running.stream(images, running.Model(network(size=size)))
    return np.stack([row for row in found if isinstance(row, np.ndarray)])


def network(temperature: float = 1.0, size: int = 64) -> Bundle:
    """The packaged network, for cats and what stands on kitchen tables."""
    whole = _whole()
    kept = [*range(277, 300), *range(960, 970)]
    head = {
        "head.weight": np.ascontiguousarray(whole.weights["head.weight"][:, kept]),
        "head.bias": whole.weights["head.bias"][kept],
    }
    return replace(
        whole,
        classes=tuple(whole.classes[k] for k in kept),
        weights={**whole.weights, **head},
        preprocess=replace(whole.preprocess, size=size),
        temperature=temperature,
    )


@cache
def _whole() -> Bundle:
    return running.imagenet()


def written(bundle: Bundle, folder: Path, photos: Mapping[str, NDArray[np.uint8]], shift: int = 0) -> Path:
    """A bundle with golden images; ``shift``: their answers turned by so many classes, so that they are wrong."""
    images = [jpeg(photo) for photo in photos.values()]
    answers = np.roll(expected(bundle, images), shift, axis=1)
    bundles.write(bundle, folder, list(zip(map("{}.jpg".format, photos), images, answers, strict=True)))
    return folder
