"""A client of ``visum serve``: pictures in, answers out. Loads nothing but the standard library.

    with visum.Client("http://127.0.0.1:8000") as client:
        client.predict("photo.jpg").label

One picture travels as the body of a request, several in groups as a form of files. A server that is busy (503) is asked again
after the time it names; everything else that goes wrong is one of ``visum.errors``.
"""

from __future__ import annotations

import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from urllib.parse import quote, urlencode, urlsplit

from visum.errors import DataError, ServerError, UnreadableImage, UsageError, VisumError
from visum.serve.replies import Explained, Reply, Served, explained, mapping, reply, served

Picture = str | Path | bytes
_T = TypeVar("_T")

GROUP = 16
"""Pictures in one request at most."""
GROUP_BYTES = 8_000_000
"""Bytes of the pictures in one request, unless a single one is larger."""
LARGEST_ANSWER = 1 << 28
"""Bytes after which an answer is not read on."""
_LONGEST_WAIT = 30.0  # seconds before a busy server is asked again, whatever it says


class Client:
    """A connection to one server; it may be used by several threads.

    Args:
        url: where the server is, e.g. ``http://127.0.0.1:8000``.
        token: what ``visum serve --token`` was given.
        timeout: seconds > 0 without a byte from the server after which it counts as silent.
        tries: how often a busy server is asked in all, >= 1.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", token: str | None = None, timeout: float = 30.0, tries: int = 4
    ) -> None:
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise UsageError(f"{url!r} is no address of a server", allowed="http://HOST:PORT or https://HOST:PORT")
        if timeout <= 0 or tries < 1:
            raise UsageError(f"timeout is {timeout}, tries is {tries}", allowed="timeout > 0 and tries >= 1")
        if token is not None and not (token.isascii() and token.isprintable()):
            raise UsageError("the token has characters that no header can carry", allowed="printable ASCII")
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host, self._port, self._base = parts.hostname, port, parts.path.rstrip("/")
        self._token, self._timeout, self._tries = token, timeout, tries
        self._local = threading.local()  # a connection for each thread

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close this thread's connection. The next question opens another."""
        if connection := getattr(self._local, "connection", None):
            connection.close()
            self._local.connection = None

    def ready(self) -> bool:
        """Whether a server is there and its models have answered their golden images right."""
        try:
            status, _, _ = self._send("GET", "/v2/health/ready", b"", {})
        except ServerError:
            return False
        return status == 200

    def models(self) -> list[Served]:
        """What the server has."""
        return self._ask("GET", "/v1/models", read=lambda told: [served(mapping(each)) for each in told["models"]])

    @overload
    def predict(  # type: ignore[overload-overlap]  # a text is a path here, not a row of letters
        self, pictures: Picture, *, top: int = 5, model: str | None = None, version: str | None = None
    ) -> Reply: ...
    @overload
    def predict(
        self, pictures: Iterable[Picture], *, top: int = 5, model: str | None = None, version: str | None = None
    ) -> list[Reply]: ...
    def predict(
        self,
        pictures: Picture | Iterable[Picture],
        *,
        top: int = 5,
        model: str | None = None,
        version: str | None = None,
    ) -> Reply | list[Reply]:
        """The answer about a picture, or the list of answers about several, in their order.

        Args:
            pictures: a path or the bytes of a file, or several of them. They are sent as they are.
            top: how many (class, probability) pairs each answer lists; 0: all classes.
            model, version: which of the server's models; its default if omitted.

        Returns:
            A ``Reply``; for several pictures a list of them, where one that is no picture has its reason in ``error``.

        Raises:
            UnreadableImage: the single picture is none.
            DataError: there is no such file; nothing has been sent then.
            UsageError: no such model, or no leave to ask.
            ServerError: no answer, or a server in trouble.
        """
        if top < 0:
            raise UsageError(f"top is {top}", allowed="1 or more; 0 for all classes")
        query = {"model": model, "version": version, "top": top}
        if isinstance(pictures, (str, Path, bytes)):
            return self._one(pictures, query)
        return [reply for part in _groups(_opened(list(pictures))) for reply in self._several(part, query)]

    def explain(
        self, picture: Picture, label: str | None = None, *, model: str | None = None, version: str | None = None
    ) -> Explained:
        """Where in the picture the answer came from; ``label``: for this class instead of the one that is answered."""
        query = {"model": model, "version": version, "class": label}
        return self._ask("POST", "/v1/explain", _bytes(picture), query, _RAW, read=explained)

    def feedback(self, id: str, label: str) -> None:
        """Tell the server what the picture of an answer really shows, where it collects that."""
        body = json.dumps({"id": id, "label": label}).encode()
        self._ask("POST", "/v1/feedback", body, {}, {"Content-Type": "application/json"}, read=lambda told: None)

    # ---- one question ----------------------------------------------------------------------------------------------------

    def _one(self, picture: Picture, query: Mapping[str, Any]) -> Reply:
        name = "0" if isinstance(picture, bytes) else str(picture)
        try:
            return self._ask("POST", "/v1/predict", _bytes(picture), query, _RAW, read=lambda told: reply(told, name))
        except UnreadableImage as error:
            path = "" if isinstance(picture, bytes) else name
            raise UnreadableImage(error.reason, path=path, next=error.next) from None

    def _several(self, part: Sequence[tuple[str, bytes]], query: Mapping[str, Any]) -> list[Reply]:
        def read(told: Mapping[str, Any]) -> list[Reply]:
            each = zip(part, told["results"], strict=True)
            return [reply({"id": told.get("id", ""), **mapping(result)}, name) for (name, _), result in each]

        body, headers = _form([data for _, data in part])
        try:
            return self._ask("POST", "/v1/predict", body, query, headers, read=read)
        except UnreadableImage as error:  # of the form as a whole: too large, perhaps
            if len(part) == 1:
                return [Reply(name=part[0][0], error=error.reason, next=error.next)]
            return [one for each in part for one in self._several([each], query)]

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        read: Callable[[Mapping[str, Any]], _T],
    ) -> _T:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given, quote_via=quote)}" if given else path
        status, wait, data = self._send(method, target, body, headers or {})
        for _ in range(self._tries - 1):
            if status != 503:
                break
            time.sleep(wait)
            status, wait, data = self._send(method, target, body, headers or {})
        try:
            content = json.loads(data)
        except ValueError:
            content = None
        if not 200 <= status < 300:
            raise _error(status, content)
        try:
            return read(mapping(content))
        except (KeyError, TypeError, ValueError):
            raise ServerError(f"{self.url} answers, but not as visum does", next=_FOREIGN) from None

    def _send(self, method: str, target: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, float, bytes]:
        """Status, seconds to wait where it is busy, and what came back."""
        for again in (True, False):
            kept = getattr(self._local, "connection", None)
            connection = kept or self._kind(self._host, self._port, timeout=self._timeout)
            self._local.connection = None
            try:
                sent = {"Accept": "application/json", **headers}
                if self._token:
                    sent["Authorization"] = f"Bearer {self._token}"
                with suppress(
                    BrokenPipeError, ConnectionResetError
                ):  # refused before all was sent: the reason can be read
                    connection.request(method, self._base + target, body or None, sent)
                response = connection.getresponse()
                data = response.read(LARGEST_ANSWER + 1)
            except (OSError, HTTPException) as fault:
                connection.close()
                if kept and again and not isinstance(fault, TimeoutError):
                    continue  # the server had closed the connection since the last question
                raise ServerError(
                    f"{self.url} does not answer: {_why(fault)}", next="visum serve BUNDLE, or another url"
                ) from None
            if len(data) > LARGEST_ANSWER:
                connection.close()
                raise ServerError(f"the answer of {self.url} is longer than {LARGEST_ANSWER:,} bytes", next=_FOREIGN)
            self._local.connection = connection
            return response.status, _wait(response.headers.get("Retry-After")), data
        raise AssertionError("unreachable")


_RAW = {"Content-Type": "application/octet-stream"}
_FOREIGN = "look whether the url is that of visum serve, and whether both are of the same version"


def _why(fault: Exception) -> str:
    if isinstance(fault, TimeoutError):
        return "nothing came in time"
    if isinstance(fault, socket.gaierror):
        return "its name is not known"
    return (str(fault) or type(fault).__name__).removeprefix(f"[Errno {getattr(fault, 'errno', '')}] ")


def _form(files: Sequence[bytes]) -> tuple[bytes, dict[str, str]]:
    """multipart/form-data (RFC 7578) and its header. Names of files stay here: the server sees numbers."""
    boundary = secrets.token_hex(16)
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="%d"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    pieces = [b"".join(((head % n).encode(), data, b"\r\n")) for n, data in enumerate(files)]
    body = b"".join((*pieces, f"--{boundary}--\r\n".encode()))
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def _wait(told: str | None) -> float:
    """Seconds of a Retry-After; a date or nonsense counts as one."""
    try:
        seconds = float(told or 1)
    except ValueError:
        return 1.0
    return min(max(seconds, 0.05), _LONGEST_WAIT) if seconds == seconds else 1.0


def _error(status: int, content: Any) -> VisumError:
    """The server's refusal in our own words: pictures and questions that are wrong, and servers that are in trouble."""
    said = content.get("error") if isinstance(content, dict) else None
    said = said if isinstance(said, dict) else {}
    message, next = str(said.get("message") or f"the server answered {status}"), str(said.get("next") or "")
    if status in (400, 413, 415, 422):
        return UnreadableImage(message, next=next)
    if status in (401, 403, 404, 405):
        return UsageError(message, next=next or ("Client(url, token=…)" if status == 401 else ""))
    return ServerError(message, next=next or "try again later")


def _bytes(picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    try:
        return Path(picture).read_bytes()
    except OSError as fault:
        raise DataError(
            f"{picture} cannot be read: {fault.strerror}", next="the path of a picture, or its bytes"
        ) from None


def _opened(pictures: Sequence[Picture]) -> Iterator[tuple[str, bytes]]:
    for picture in pictures:
        if not isinstance(picture, bytes) and not Path(picture).is_file():
            raise DataError(f"there is no file {picture}", next="the path of a picture, or its bytes")
    for number, picture in enumerate(pictures):
        yield str(number) if isinstance(picture, bytes) else str(picture), _bytes(picture)


def _groups(named: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Parts that are small enough for one request; files are read as they are needed."""
    part: list[tuple[str, bytes]] = []
    weight = 0
    for name, data in named:
        if part and (len(part) >= GROUP or weight + len(data) > GROUP_BYTES):
            yield part
            part, weight = [], 0
        part.append((name, data))
        weight += len(data)
    if part:
        yield part
