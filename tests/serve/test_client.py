"""The client, against a server of the standard library that says what the real one does, and what it never should."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import visum
from visum.errors import DataError, ServerError, UnreadableImage, UsageError, VisumError
from visum.serve import client as clients
from visum.serve.client import Client


class Asked(NamedTuple):
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = tuple[int, dict[str, str], Any]


class Stub:
    """Answers with what ``says`` gives for each request, and keeps the requests."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.says: Callable[[Asked], Answer] = lambda asked: (200, {}, {})
        self.close_after = False  # each answer, without saying so: as a server does with connections that idle
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                asked = Asked(self.command, self.path, dict(self.headers), body)
                stub.asked.append(asked)
                status, headers, content = stub.says(asked)
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
                self.close_connection = self.close_connection or stub.close_after

            do_GET = do_POST = answer

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *args: None  # type: ignore[method-assign]  # clients that hang up are wanted
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def stub() -> Iterator[Stub]:
    made = Stub()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def client(stub: Stub) -> Iterator[Client]:
    with Client(stub.url, timeout=5) as made:
        yield made


def told(label: str = "cat", p: float = 0.75) -> dict[str, Any]:
    """A result as the server gives it."""
    ranked = [{"class": label, "probability": p}, {"class": "dog", "probability": 0.25}]
    return {
        "task": "multiclass",
        "model": "pets",
        "version": "2",
        "predictions": ranked,
        "labels": [label],
        "notes": [],
    }


def files_of(asked: Asked) -> list[tuple[str, bytes]]:
    """The files of a form, read by the standard library's reader of mail."""
    form = message_from_bytes(b"Content-Type: " + asked.headers["Content-Type"].encode() + b"\r\n\r\n" + asked.body)
    return [(str(part.get_filename()), bytes(part.get_payload(decode=True))) for part in form.get_payload()]  # type: ignore[union-attr, arg-type]


def test_it_is_public_and_loads_the_standard_library_only() -> None:
    assert visum.Client is Client
    code = (
        "import sys, visum; visum.Client\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'numpy', 'torch', 'PIL', 'pydantic', 'openvino'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_picture_is_the_body_of_one_request(stub: Stub, client: Client, tmp_path: Path) -> None:
    full = {"id": "r-7", **told(), "set": ["cat", "dog"], "unknown": False, "notes": ["dark"], "seconds": {"run": 0.5}}
    stub.says = lambda asked: (200, {}, full)
    photo = tmp_path / "a photo.jpg"
    photo.write_bytes(b"\xff\xd8 bytes \r\n--")
    reply = client.predict(photo, top=2, model="pets & co", version="2")
    [asked] = stub.asked
    assert (asked.method, asked.target) == ("POST", "/v1/predict?model=pets%20%26%20co&version=2&top=2")
    assert asked.body == photo.read_bytes()
    assert "Authorization" not in asked.headers
    assert (reply.id, reply.name, reply.label, reply.probability) == ("r-7", str(photo), "cat", 0.75)
    assert reply.top == (("cat", 0.75), ("dog", 0.25))
    assert (reply.set, reply.unknown, reply.notes, reply.seconds) == (("cat", "dog"), False, ("dark",), {"run": 0.5})
    assert (reply.model, reply.version, reply.task, reply.error) == ("pets", "2", "multiclass", "")
    stub.says = lambda asked: (200, {}, told())
    bare = client.predict(b"x")
    assert (bare.set, bare.unknown, bare.name) == (None, None, "0")


def test_several_labels_and_none(stub: Stub, client: Client) -> None:
    stub.says = lambda asked: (200, {}, {**told(), "task": "multilabel", "labels": ["cat", "dog"]})
    both = client.predict(b"x")
    assert (both.label, both.labels, both.probability) == ("cat|dog", ("cat", "dog"), 0.25)
    stub.says = lambda asked: (200, {}, {**told(), "task": "multilabel", "labels": []})
    none = client.predict(b"x")
    assert (none.label, none.probability) == ("", 0.75)


def test_several_pictures_travel_in_groups_and_come_back_in_order(stub: Stub, client: Client, tmp_path: Path) -> None:
    def says(asked: Asked) -> Answer:
        results = [
            {"name": name, "error": {"message": "no picture", "next": "a JPEG"}}
            if b"bad" in data
            else told(data.decode())
            for name, data in files_of(asked)
        ]
        return 200, {}, {"id": "g", "results": results}

    stub.says = says
    hostile = tmp_path / 'x"; filename="y\r\n\r\n.jpg'
    hostile.write_bytes(b"hostile")
    pictures: list[str | Path | bytes] = [hostile, b"bad", *(f"n{i}".encode() for i in range(clients.GROUP + 3))]
    replies = client.predict(pictures)
    assert len(stub.asked) == 2
    assert [name for name, _ in files_of(stub.asked[0])] == [str(n) for n in range(clients.GROUP)]
    assert [r.label for r in replies] == ["hostile", "", *(f"n{i}" for i in range(clients.GROUP + 3))]
    assert (replies[0].name, replies[2].name) == (str(hostile), "2")
    assert (replies[1].error, replies[1].next, replies[1].top) == ("no picture", "a JPEG", ())
    assert replies[0].id == "g"
    assert client.predict([]) == []


def test_groups_stay_small_in_bytes(stub: Stub, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "GROUP_BYTES", 100)
    stub.says = lambda asked: (200, {}, {"results": [told() for _ in files_of(asked)]})
    client.predict([b"a" * 60, b"b" * 60, b"c" * 30, b"d" * 500])
    assert [[len(data) for _, data in files_of(asked)] for asked in stub.asked] == [[60], [60, 30], [500]]


def test_a_group_that_is_refused_is_asked_one_by_one(stub: Stub, client: Client) -> None:
    def says(asked: Asked) -> Answer:
        files = files_of(asked)
        if sum(len(data) for _, data in files) > 10:
            return 413, {}, {"error": {"message": "more than 10 bytes", "next": "smaller pictures"}}
        return 200, {}, {"results": [told() for _ in files]}

    stub.says = says
    first, second, third = client.predict([b"12345", b"123456789 123456789", b"12345"])
    assert (first.label, third.label) == ("cat", "cat")
    assert (second.error, second.next, second.name) == ("more than 10 bytes", "smaller pictures", "1")


def test_a_busy_server_is_asked_again_when_it_says_and_not_for_ever(stub: Stub, client: Client) -> None:
    left = [2]

    def says(asked: Asked) -> Answer:
        if left[0]:
            left[0] -= 1
            return 503, {"Retry-After": "0.1"}, {"error": {"message": "busy", "next": ""}}
        return 200, {}, told()

    stub.says = says
    begin = time.perf_counter()
    assert client.predict(b"x").label == "cat"
    assert 0.2 <= time.perf_counter() - begin < 2
    assert len(stub.asked) == 3
    left[0], stub.asked[:] = 99, []
    with pytest.raises(ServerError, match="busy"):
        client.predict(b"x")
    assert len(stub.asked) == 4


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 1.0),
        ("2", 2.0),
        ("0", 0.05),
        ("-5", 0.05),
        ("1e9", 30.0),
        ("inf", 30.0),
        ("nan", 1.0),
        ("Wed, 21 Oct 2026", 1.0),
    ],
)
def test_how_long_to_wait(header: str | None, seconds: float) -> None:
    assert clients._wait(header) == seconds


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UnreadableImage), (413, UnreadableImage), (415, UnreadableImage), (401, UsageError), (403, UsageError),
        (404, UsageError), (500, ServerError), (504, ServerError), (302, ServerError), (429, ServerError),
    ],
)  # fmt: skip
def test_refusals_become_errors_of_ours(stub: Stub, client: Client, status: int, kind: type[VisumError]) -> None:
    stub.says = lambda asked: (status, {}, {"error": {"message": "so it is", "next": "do that"}})
    with pytest.raises(kind, match="so it is") as caught:
        client.predict(b"x")
    assert caught.value.next == "do that"
    assert len(stub.asked) == 1


def test_the_name_of_a_picture_that_is_none_is_said(stub: Stub, client: Client, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    stub.says = lambda asked: (400, {}, {"error": {"message": "not a picture", "next": "a JPEG"}})
    with pytest.raises(UnreadableImage, match=r"text\.jpg: not a picture"):
        client.predict(tmp_path / "text.jpg")


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>hello</html>", b"[1, 2]", b"null", b'{"predictions": 3}', b'{"predictions": [{"class": "a"}], "labels": []}',
     b'{"predictions": [{"class": "a", "probability": "much"}], "labels": []}', b'{"error": "x"}', b"\xff\xfe"],
)  # fmt: skip
def test_foreign_answers_are_refused(stub: Stub, client: Client, content: bytes) -> None:
    stub.says = lambda asked: (200, {}, content)
    with pytest.raises(ServerError, match="not as visum does"):
        client.predict(b"x")
    with pytest.raises(ServerError, match="not as visum does"):
        client.predict([b"x", b"y"])
    stub.says = lambda asked: (502, {}, content)
    with pytest.raises(ServerError, match="answered 502"):
        client.predict(b"x")


def test_an_answer_is_not_read_without_end(stub: Stub, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "LARGEST_ANSWER", 1000)
    stub.says = lambda asked: (200, {}, b" " * 5000)
    with pytest.raises(ServerError, match="longer than 1,000 bytes"):
        client.predict(b"x")


def test_an_endless_answer_is_left_unread(stub: Stub, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "LARGEST_ANSWER", 1000)
    stub.says = lambda asked: (200, {"Content-Length": "999999999"}, b" " * 5000)  # and nothing more comes
    begin = time.perf_counter()
    with pytest.raises(ServerError, match="longer than 1,000 bytes"):
        client.predict(b"x")
    assert time.perf_counter() - begin < 2


def test_models_explain_feedback_ready(stub: Stub, client: Client) -> None:
    model = {
        "name": "pets", "version": "2", "default": True, "task": "binary", "classes": ["cat", "dog"], "size": 224,
        "thresholds": [0.4], "created": "2026-11-25",
    }  # fmt: skip
    stub.says = lambda asked: (200, {}, {"models": [model, {**model, "thresholds": None, "default": False}]})
    one, two = client.models()
    assert (one.name, one.classes, one.thresholds, one.default) == ("pets", ("cat", "dog"), (0.4,), True)
    assert (two.thresholds, two.default) == ((), False)
    stub.says = lambda asked: (
        200,
        {},
        {"class": "dog", "probability": 0.5, "map": [[0, 1], [0.5, 0]], "method": "occlusion"},
    )
    seen = client.explain(b"x", "dog")
    assert stub.asked[-1].target == "/v1/explain?class=dog"
    assert (seen.label, seen.map, seen.method) == ("dog", ((0.0, 1.0), (0.5, 0.0)), "occlusion")
    stub.says = lambda asked: (202, {}, {"kept": True})
    client.feedback("r-7", "dog")
    assert json.loads(stub.asked[-1].body) == {"id": "r-7", "label": "dog"}
    stub.says = lambda asked: (200, {}, {})
    assert client.ready()
    stub.says = lambda asked: (503, {}, {})
    assert not client.ready()


def test_the_token_is_sent_and_never_told(stub: Stub) -> None:
    stub.says = lambda asked: (401, {}, {"error": {"message": "a token is needed", "next": ""}})
    with Client(stub.url, token="s3cret") as client, pytest.raises(UsageError) as caught:
        client.models()
    assert stub.asked[0].headers["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in str(caught.value) + repr(client)


def test_connections_are_kept_and_renewed(stub: Stub, client: Client) -> None:
    stub.says = lambda asked: (200, {}, told())
    client.predict(b"x")
    socket = client._local.connection.sock
    client.predict(b"x")
    assert client._local.connection.sock is socket
    stub.close_after = True
    client.predict(b"x")  # after which the server hangs up
    time.sleep(0.05)
    assert client.predict(b"x").label == "cat"


def test_a_question_is_not_asked_twice_unless_the_connection_was_old(stub: Stub) -> None:
    with Client(stub.url, timeout=0.3) as client:
        stub.says = lambda asked: (200, {}, told())
        client.predict(b"x")
        stub.says = lambda asked: (time.sleep(0.6), (200, {}, told()))[1]
        with pytest.raises(ServerError, match="nothing came in time"):
            client.predict(b"slow")
        assert [asked.body for asked in stub.asked] == [b"x", b"slow"]
        stub.says = lambda asked: 1 / 0  # type: ignore[return-value]  # hangs up without a word
        with pytest.raises(ServerError, match="does not answer"):
            client.predict(b"new connection")
        assert [asked.body for asked in stub.asked] == [b"x", b"slow", b"new connection"]


def test_threads_do_not_mix_up_answers(stub: Stub, client: Client) -> None:
    stub.says = lambda asked: (200, {}, told(asked.body.decode()))
    wrong: list[str] = []

    def work(me: str) -> None:
        wrong.extend(me for _ in range(20) if client.predict(me.encode()).label != me)

    threads = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
    assert len(stub.asked) == 120


def test_no_server_and_a_silent_one(stub: Stub, client: Client, tmp_path: Path) -> None:
    stub.says = lambda asked: (time.sleep(0.6), (200, {}, told()))[1]
    with Client(stub.url, timeout=0.2) as hasty, pytest.raises(ServerError, match="nothing came in time"):
        hasty.predict(b"x")
    assert len(stub.asked) == 1
    with Client("http://127.0.0.1:9", timeout=2) as nobody:
        assert not nobody.ready()
        with pytest.raises(ServerError, match=r"does not answer: Connection refused\. Try: visum serve"):
            nobody.predict(b"x")
    with pytest.raises(DataError, match="no file"):
        client.predict([b"x", tmp_path / "gone.jpg"])
    with pytest.raises(DataError, match="cannot be read"):
        client.predict(tmp_path / "gone.jpg")
    assert len(stub.asked) == 1  # nothing was sent for pictures that are not there


@pytest.mark.parametrize(
    "url", ["ftp://x", "file:///etc/passwd", "http://", "http://host:port", "http://user:word@host", "http://[::1"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="no address of a server"):
        Client(url)


def test_what_cannot_be_meant() -> None:
    for given in ({"timeout": 0}, {"tries": 0}, {"token": "a\r\nHost: b"}):
        with pytest.raises(UsageError):
            Client(**given)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="top is -1"):
        Client().predict(b"x", top=-1)
    assert Client("localhost:8000/").url == "http://localhost:8000"
