"""Trials: what strangers send to a server, and what must not come of it. Rows S1 to S19 of the trials, by number.

After each, the server is alive, answers the next good request, and has told nothing of its insides.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import re
import signal
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from served import Reply, Server, form, together, until_closed

from visum.serve import guard

Images = dict[str, bytes]
TENSOR = {"Content-Type": "application/json"}
INFER = "/v2/models/things/infer"


@pytest.fixture(autouse=True)
def unharmed(server: Server, images: Images) -> Iterator[None]:
    """The same process answers as before, and no decoder more or less is there."""
    yield
    reply = server.predict(images["coffee"])
    assert (reply.status, server.process.poll()) == (200, None)
    assert not server.lines("fault"), server.lines("fault")


def told(reply: Reply, status: int | tuple[int, ...]) -> str:
    """The message of a refusal, which gives nothing away."""
    assert reply.status in (status if isinstance(status, tuple) else (status,)), reply
    error = reply.json["error"]
    message = error if isinstance(error, str) else f"{error['message']} {error['next']}"
    assert set(reply.json) == {"error", "id"}
    for secret in ("Traceback", "/tmp", "/work", "/home", ".py", "site-packages", " at 0x"):
        assert secret not in message
    return str(message)


def head(method: str = "POST", path: str = "/v1/predict", **headers: object) -> bytes:
    """The first lines of a request."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def memory(server: Server) -> int:
    """Resident bytes of the server's own process."""
    return int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- S2: lengths


def test_s2_too_long_is_said_before_it_is_read(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as place:
        place.sendall(head(Content_Length=10**12, Content_Type="image/jpeg"))
        assert b" 413 " in until_closed(place).split(b"\r\n")[0]


def test_s2_endless_chunks_are_counted(server: Server) -> None:
    before = memory(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as place:
        place.sendall(head(Transfer_Encoding="chunked", Content_Type="image/jpeg"))
        part, sent = b"100000\r\n" + bytes(1 << 20) + b"\r\n", 0
        try:
            for _ in range(200):
                place.sendall(part)
                sent += 1
        except OSError:
            pass
        answer = until_closed(place)
    assert sent < 100
    assert b" 413 " in answer.split(b"\r\n")[0] or sent > 20  # the answer, unless the reset was faster
    assert memory(server) - before < (20 + 20) * 2**20


@pytest.mark.parametrize("length", ["-1", "1e3", "0x10", "99999999999999999999999", "5, 6", ""])
def test_s2_lengths_that_are_none(length: str, server: Server) -> None:
    answer = server.raw(head(Content_Length=length, Content_Type="image/jpeg") + b"12345")
    assert re.match(rb"HTTP/1.1 4\d\d ", answer), answer[:100]
    assert b'{"error"' in answer


def test_s2_a_length_that_lies(server: Server, images: Images) -> None:
    data = images["coffee"]
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as place:
        place.sendall(head(Content_Length=len(data) + 100, Content_Type="image/jpeg") + data)
        place.shutdown(socket.SHUT_WR)  # and no more
        until_closed(place)
    short = server.raw(head(Content_Length=100, Content_Type="image/jpeg", Connection="close") + data)
    assert b"HTTP/1.1 400" in short


def test_s2_missing_length_is_an_empty_body(server: Server) -> None:
    answer = server.raw(head(Content_Type="image/jpeg", Connection="close"))
    assert b"HTTP/1.1 400" in answer
    assert b"empty file" in answer


def test_s2_headers_have_an_end(server: Server) -> None:
    assert b" 431 " in server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 300_000).split(b"\r\n")[0]
    many = "".join(f"X-{n}: 1\r\n" for n in range(500)).encode()
    assert b" 400 " in server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + many + b"\r\n").split(b"\r\n")[0]
    assert re.match(rb"HTTP/1.1 4\d\d ", server.raw(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n"))


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        bytes(100),
        b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_is_told_so_as_json(data: bytes, server: Server) -> None:
    answer = server.raw(data)
    assert answer.startswith(b"HTTP/1.1 400 ")
    body = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert set(body["error"]) == {"message", "next"}
    assert b"content-security-policy" in answer


def test_upgrades_are_not_offered(server: Server, images: Images) -> None:
    reply = server.predict(images["coffee"], "", Connection="Upgrade", Upgrade="websocket")
    assert reply.status == 400


# ---- S3: forms


def bombs() -> dict[str, tuple[bytes, dict[str, str]]]:
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="x"\r\n\r\nx\r\n'
    return {
        "many parts": (part * 20_000 + b"--b--\r\n", kind),
        "long header": (b"--b\r\nContent-Disposition: " + b"a" * 10**6 + b"\r\n\r\nx\r\n--b--\r\n", kind),
        "many headers": (b"--b\r\n" + b"X: y\r\n" * 10**5 + b"\r\nx\r\n--b--\r\n", kind),
        "no boundary": (part, {"Content-Type": "multipart/form-data"}),
        "long boundary": (part, {"Content-Type": f"multipart/form-data; boundary={'b' * 5000}"}),
        "no end": (part, kind),
        "nothing": (b"", kind),
        "no form": (b"\x00" * 10**6, kind),
        "only line ends": (b"\r\n" * 10**6, kind),
        "half boundaries": (b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n' + b"\r\n--" * 10**6, kind),
        "encoded": (b"--b\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--b--\r\n", kind),
        "no parts": (b"--b--\r\n", kind),
    }


@pytest.mark.parametrize("name", bombs())
def test_s3_bombs_of_forms_are_refused_at_once(name: str, server: Server) -> None:
    body, kind = bombs()[name]
    begin = time.perf_counter()
    told(server.ask("POST", "/v1/predict", body, kind), (400, 413, 415))
    took = [time.perf_counter() - begin]
    for _ in range(4):  # the best of a few: other work shares these cores
        begin = time.perf_counter()
        server.ask("POST", "/v1/predict", body, kind)
        took.append(time.perf_counter() - begin)
    assert min(took) < 0.1


# ---- S4: JSON


def tensor(**changes: Any) -> dict[str, Any]:
    one = {"name": "image", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": list(range(12))}
    return {"inputs": [{**one, **changes}]}


BAD_JSON = {
    "deep": b"[" * 50_000 + b"]" * 50_000,
    "deep within": b'{"inputs":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "million keys": b"{" + b",".join(b'"%d":0' % n for n in range(10**6)) + b"}",
    "NaN": b'{"inputs": [NaN]}',
    "infinity": json.dumps(tensor()).replace("11]", "1e400]").encode(),
    "twice": b'{"inputs": [], "inputs": []}',
    "bad utf-8": b'{"inputs": "\xff\xfe"}',
    "half surrogate": b'{"inputs": "\\ud800"}',
    "huge number": json.dumps(tensor()).replace("11]", "1" * 10_000 + "]").encode(),
    "empty": b"",
    "no object": b"[]",
    "cut": json.dumps(tensor()).encode()[:-5],
    "no inputs": b"{}",
    "two inputs": json.dumps({"inputs": tensor()["inputs"] * 2}).encode(),
    **{
        name: json.dumps(tensor(**changes)).encode()
        for name, changes in {
            "wrong count": {"shape": [1, 2, 2, 4]},
            "wrong axes": {"shape": [2, 2, 3]},
            "too few": {"data": [1]},
            "ragged": {"data": [[1], [2, 3]]},
            "negative": {"data": [-1] * 12},
            "too great": {"data": [256] * 12},
            "fractions": {"data": [0.5] * 12},
            "texts": {"data": ["a"] * 12},
            "null": {"data": None},
            "huge shape": {"shape": [1, 2**31 - 1, 2**31 - 1, 3]},
            "negative shape": {"shape": [1, -2, -2, 3]},
            "zero shape": {"shape": [0, 2, 2, 3], "data": []},
            "true shape": {"shape": [True, 2, 2, 3]},
            "many": {"shape": [65, 1, 1, 3], "data": [0] * 195},
            "type": {"datatype": "FP32"},
            "no base64": {"datatype": "BYTES", "shape": [1], "data": ["%%%"]},
            "an address": {"datatype": "BYTES", "shape": [1], "data": ["http://127.0.0.1/x.jpg"]},
            "binary size": {"parameters": {"binary_data_size": 99}},
            "parameters": {"parameters": []},
        }.items()
    },
}


@pytest.mark.parametrize("name", BAD_JSON)
def test_s4_bad_json_is_400(name: str, server: Server) -> None:
    told(server.ask("POST", INFER, BAD_JSON[name], TENSOR), 400)


def test_s4_a_length_of_the_json_that_lies(server: Server) -> None:
    body = json.dumps(tensor()).encode()
    for length in ("-1", "x", "99999", "1", "9" * 30):
        told(server.ask("POST", INFER, body, {**TENSOR, "Inference-Header-Content-Length": length}), 400)


# ---- S5, S15: kinds of bodies


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x"])
def test_s5_compressed_bodies_are_415(coding: str, server: Server, images: Images) -> None:
    body = zlib.compress(images["coffee"])
    told(server.predict(body, **{"Content-Encoding": coding}), 415)
    told(server.ask("POST", INFER, body, {**TENSOR, "Content-Encoding": coding}), 415)


def test_s5_an_endless_zip_is_no_picture(server: Server) -> None:
    told(server.predict(zlib.compress(bytes(10**7))), 400)


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-pickle", "application/python-pickle", "application/x-python-serialize", "application/x-numpy",
        "application/json", "text/plain", "application/zip", "application/x-www-form-urlencoded", "x", "imagejpeg",
    ],
)  # fmt: skip
def test_s15_only_pictures_are_taken(kind: str, server: Server, tmp_path: Path) -> None:
    class Mark:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(tmp_path / "mark"), "w"))

    told(server.ask("POST", "/v1/predict", pickle.dumps(Mark()), {"Content-Type": kind}), 415)
    told(server.predict(pickle.dumps(Mark())), 400)
    assert not (tmp_path / "mark").exists()


# ---- S8: clients that leave


def test_s8_clients_that_leave_leave_nothing_behind(server: Server, images: Images) -> None:
    data = images["astronaut"]
    request = head(Content_Length=len(data), Content_Type="image/jpeg") + data

    def leave(number: int) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as place:
            place.sendall(request if number % 2 else request[:-1000])

    for _ in range(3):
        together(20, leave)
    until = time.monotonic() + 5
    while time.monotonic() < until and (server.gauge("visum_inside") or server.gauge("visum_connections") > 1):
        time.sleep(0.05)
    assert server.gauge("visum_inside") == 0
    assert server.gauge("visum_held_bytes") == 0
    assert server.gauge("visum_connections") == 1


# ---- S10: see test_app; S11: paths


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd", "/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page/..%5c..%5capp.py",
        "/page//etc/passwd", "/page/%00", "/page/app.py", "/page/.", "/page/", "//etc/passwd", "/etc/passwd", "/page/index.html/",
        "/v1/models/../../etc/passwd/reload", "/v2/models/..%2f..%2fetc/ready", "/v2/models/%2e%2e", "/v1/models",
    ],
)  # fmt: skip
def test_s11_no_path_leads_out(path: str, server: Server) -> None:
    for method in ("GET", "POST"):
        answer = server.raw(head(method, path, Content_Length=0, Connection="close"))
        status = answer.split(b" ", 2)[1]
        if (method, path) == ("GET", "/v1/models"):
            assert status == b"200"  # the one that is there: the others are not refused for nothing
            continue
        assert status in (b"404", b"405"), answer[:200]
        assert b"root:" not in answer


def test_m6_names_of_models_are_looked_up_and_nothing_else(server: Server, images: Images, bundle: Path) -> None:
    names = (
        str(bundle),
        "../things",
        "imagenet",
        "hf-hub:timm/resnet18",
        "https://127.0.0.1/x",
        "things\0",
        "things/",
        "",
    )
    from urllib.parse import quote

    for name in names:
        told(server.predict(images["coffee"], f"?model={quote(name, safe='')}"), 404)
        told(server.ask("POST", f"/v1/models/{quote(name, safe='')}/reload", b""), (404, 405))
        told(server.ask("GET", f"/v2/models/{quote(name, safe='')}/ready"), 404)
    source = Path(guard.__file__).with_name("models.py").read_text()
    assert source.count("bundles.locate(") == 2  # both in ``places``, which reads the command line


# ---- S12: names and origins


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "a b", "[::1", "@localhost"]
)
def test_s12_foreign_hosts_are_refused(host: str, server: Server) -> None:
    answer = server.raw(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 403", b"HTTP/1.1 400"))
    assert b"classes" not in answer


def test_s12_no_host_at_all(server: Server) -> None:
    assert server.raw(b"GET /v1/models HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"])
def test_s12_own_names_are_known(host: str, server: Server) -> None:
    answer = server.raw(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:1", "file://", "http://127.0.0.1.evil.example"]
)
def test_s12_foreign_origins_are_refused(origin: str, server: Server, images: Images) -> None:
    told(server.predict(images["coffee"], Origin=origin), 403)


def test_s12_nothing_is_said_to_other_sites(server: Server, images: Images) -> None:
    own = f"http://127.0.0.1:{server.port}"
    replies = [
        server.predict(images["coffee"], Origin=own),
        server.ask("GET", "/"),
        server.ask("OPTIONS", "/v1/predict", None, {"Origin": own, "Access-Control-Request-Method": "POST"}),
        server.predict(images["coffee"], Origin="https://evil.example"),
    ]
    assert [reply.status for reply in replies] == [200, 200, 405, 403]
    for reply in replies:
        assert not [name for name in reply.headers if name.startswith("access-control")]
        assert reply.headers["cross-origin-resource-policy"] == "same-origin"


def test_s12_only_this_machine_by_default(server: Server) -> None:
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    mine = [
        line.split()[1]
        for line in listening
        if line.split()[1].endswith(f":{server.port:04X}") and line.split()[3] == "0A"
    ]
    assert mine == [f"0100007F:{server.port:04X}"]


# ---- S13: hostile words


def test_s13_words_of_strangers_stay_words(server: Server, images: Images) -> None:
    name = "<img src=x onerror=alert(1)>\x1b[31m.jpg"
    reply = server.ask("POST", "/v1/predict", *form([(name, b"no picture"), (name, images["coffee"])]))
    assert reply.headers["content-type"] == "application/json"
    assert "\x1b" not in reply.json["results"][0]["name"]
    evil = "/v1/%0d%0aset-cookie:a=b%1b[2J<script>"
    reply = server.ask("GET", evil)
    assert reply.status == 404
    assert "set-cookie" not in reply.headers
    assert b"<script>" not in reply.data
    raw = server.log.read_text()
    assert "\x1b" not in raw
    assert all(line.startswith("{") for line in raw.splitlines())


# ---- S14: nothing is fetched


def test_s14_no_address_is_ever_fetched(server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.3)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}/x.jpg"
        svg = f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{url}"/></svg>'.encode()
        for body in (url.encode(), svg, json.dumps({"url": url}).encode()):
            server.predict(body, f"?model={url}&url={url}")
            server.predict(body, f"?url={url}", Referer=url)
            server.ask("POST", "/v1/predict", *form([(url, body)]))
        server.ask("POST", INFER, json.dumps(tensor(datatype="BYTES", shape=[1], data=[url])).encode(), TENSOR)
        server.ask("GET", url)
        with pytest.raises(TimeoutError):
            trap.accept()


# ---- S19: decoders that die


def killed(pids: list[int]) -> None:
    """End processes, and wait until they are gone."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.01)


def test_s19_a_decoder_that_dies_is_replaced(server: Server, images: Images) -> None:
    before = server.gauge("visum_decoders_replaced_total")
    killed(server.decoders)
    assert server.predict(images["coffee"]).status == 200  # the dead are noticed before they are asked
    assert server.gauge("visum_decoders_replaced_total") > before


def test_s19_a_template_that_dies_is_replaced(server: Server, images: Images) -> None:
    decoders = server.decoders
    os.kill(server.template, signal.SIGKILL)  # decoders live on, the next one that dies shows it
    killed(decoders)
    assert server.predict(images["coffee"]).status == 200


def test_s19_one_picture_fails_and_no_other(server: Server, images: Images) -> None:
    stopped = server.decoders
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        reply = pool.submit(server.predict, images["chelsea"])
        until = time.monotonic() + 10
        while not server.gauge("visum_inside") and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.5)  # from the door to the process that opens it
        killed(stopped)
        assert "broke the process" in told(reply.result(), 400)
    assert [server.predict(images["coffee"]).status for _ in range(3)] == [200, 200, 200]
    assert server.predict(images["chelsea"]).status == 200


@pytest.mark.slow
def test_s19_a_decoder_that_hangs_is_killed(server: Server, images: Images) -> None:
    stopped = server.decoders
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    told(server.predict(images["chelsea"]), (400, 503))
    assert time.monotonic() - begin < 12
    until = time.monotonic() + 5
    while Path(f"/proc/{stopped[0]}").exists() and Path(f"/proc/{stopped[-1]}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    assert server.gauge("visum_decoders_replaced_total") > 0
