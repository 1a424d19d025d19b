"""A server's life: who may start it, when it is ready, what is put in its place, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from served import BYTES, START, Server, network, start, written

from visum import types
from visum.errors import UsageError
from visum.models import ensemble
from visum.models import predict as running
from visum.serve import launch
from visum.ship import bundle as bundles
from visum.types import probabilities

Images = dict[str, bytes]
Photos = dict[str, NDArray[np.uint8]]
TOKEN, OTHER = "a-token-of-sixteen", "another-token-of-sixteen"


@pytest.fixture(scope="module")
def own(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with tokens, feedback, and a bundle that tests put others in the place of."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(bundle, folder / "swapped")
    feedback = ("--feedback", folder / "labels.parquet")
    made = start(
        folder / "log",
        f"cats={folder / 'swapped'}",
        "--token",
        TOKEN,
        *feedback,
        VISUM_TOKEN=f"{OTHER}, x" * 2 + "y" * 16,
    )
    made.headers["Authorization"] = f"Bearer {TOKEN}"
    yield made
    assert made.end() == 0


@pytest.fixture
def folder(own: Server) -> Path:
    """Where the bundle of ``own`` lies."""
    return own.log.parent / "swapped"


def visum(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """``visum serve …`` that is expected to end by itself."""
    code = "import sys; from visum.cli import main; sys.argv[0] = 'visum'; main()"
    command = [sys.executable, "-c", code, "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=START, env={**os.environ, **environment})


# ---- tokens


def test_tokens_open_everything_but_health_and_the_page(own: Server, images: Images) -> None:
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v2", "/v2/models/cats"):
        for header in ("", "Bearer", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xff"):
            reply = own.ask("GET", path, None, {"Authorization": header})
            assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer"), (path, header)
        for token in (TOKEN, OTHER):
            assert own.ask("GET", path, None, {"Authorization": f"Bearer {token}"}).status == 200
    for path in ("/", "/page/app.js", "/v2/health/live", "/v2/health/ready"):
        assert own.ask("GET", path, None, {"Authorization": ""}).status == 200
    assert own.predict(images["coffee"], "", Authorization="").status == 401
    assert own.ask("POST", "/v1/models/cats/reload", b"", {"Authorization": ""}).status == 401


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, "without a token"),
        ({"host": "::"}, "without a token"),
        ({"host": "192.0.2.7"}, "without a token"),
        ({"token": ["short"]}, "shorter than 16"),
        ({"port": 99999}, "--port 99999"),
        ({"engine": "torch"}, "--engine torch"),
        ({"extra_formats": ["PDF"]}, "PDF"),
        ({"workers": -1}, "--workers -1"),
        ({"queue": -1}, "--queue -1"),
        ({"max_megabytes": 0}, "--max-megabytes 0"),
    ],
)
def test_what_cannot_be_is_said_with_what_to_type(
    settings: dict[str, Any], said: str, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUM_TOKEN", "")
    with pytest.raises(UsageError, match=said) as told:
        launch.serve([str(bundle)], **settings)
    assert told.value.next


def test_a_port_that_is_taken_is_told(bundle: Path, own: Server) -> None:
    with pytest.raises(UsageError, match=rf"127\.0\.0\.1:{own.port}: address already in use"):
        launch.serve([str(bundle)], port=own.port)


def test_the_command_line_says_it_too(bundle: Path) -> None:
    done = visum(bundle, "--host", "0.0.0.0", VISUM_TOKEN="")
    assert done.returncode == 2
    assert "VISUM_TOKEN=" in done.stderr


def test_a_missing_extra_is_named(bundle: Path) -> None:
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'uvicorn' else find(name, *rest)\n"
        f"from visum.cli import main; sys.argv = ['visum', 'serve', {str(bundle)!r}]; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "the server needs uvicorn. Try: pip install 'visum[serve]'" in done.stderr


# ---- S17: ready only after the golden images


def test_s17_nobody_is_let_in_before_the_golden_images(bundle: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    code = "import sys; from visum.cli import main; sys.argv[0] = 'visum'; main()"
    command = [sys.executable, "-c", code, "serve", str(bundle), "--json", "--port", str(port)]
    with (tmp_path / "log").open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    server = Server(process, port, tmp_path / "log")
    try:
        refused = 0
        while True:
            try:
                reply = server.ask("GET", "/v2/health/ready")
                break
            except ConnectionRefusedError:
                refused += 1
                assert process.poll() is None
                time.sleep(0.01)
        assert (reply.status, reply.json) == (200, {"ready": True})
        assert refused
    finally:
        assert server.end() == 0


def test_s17_wrong_answers_never_get_ready(photos: Photos, tmp_path: Path) -> None:
    wrong = written(network(), tmp_path / "wrong", photos, shift=1)
    done = visum(wrong, "--port", 0, "--json")
    assert done.returncode == 4
    assert "does not prove itself: 3 of 3 golden images" in done.stdout
    assert "ready" not in done.stderr


@pytest.mark.slow
def test_an_edited_bundle_is_not_served(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "edited")
    data = bytearray((tmp_path / "edited" / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "edited" / "weights.safetensors").write_bytes(data)
    done = visum(tmp_path / "edited", "--port", 0)
    assert done.returncode == 4
    assert "weights.safetensors" in done.stderr


# ---- M8: hot swap


def probability(server: Server, data: bytes) -> float:
    return float(server.predict(data).json["predictions"][0]["probability"])


def swapped(server: Server) -> tuple[int, dict[str, object]]:
    reply = server.ask("POST", "/v1/models/cats/reload", b"")
    return reply.status, reply.json


def test_m8_a_good_bundle_takes_the_place(own: Server, folder: Path, images: Images, photos: Photos) -> None:
    before, old = probability(own, images["coffee"]), own.predict(images["coffee"]).json["version"]
    assert swapped(own) == (200, {"model": "cats", "new": False, "versions": [old]})
    written(network(temperature=4.0), folder, photos)
    status, said = swapped(own)
    assert (status, said["new"], said["versions"]) == (200, True, [bundles.digest(folder)[:12]])
    assert probability(own, images["coffee"]) < before - 0.05
    assert own.predict(images["coffee"], f"?version={old}").status == 404


def broken_answers(folder: Path, photos: Photos) -> None:
    written(network(temperature=3.0), folder, photos, shift=1)


def broken_bytes(folder: Path, photos: Photos) -> None:
    written(network(temperature=3.0), folder, photos)
    (folder / "bundle.json").write_text((folder / "bundle.json").read_text().replace('"espresso"', '"mocha"'))


def gone(folder: Path, photos: Photos) -> None:
    shutil.rmtree(folder)


def pickled(folder: Path, photos: Photos) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"\x80\x04.")


@pytest.mark.parametrize("how", [broken_answers, broken_bytes, gone, pickled])
def test_m8_a_bad_bundle_leaves_the_old_one_serving(
    how: Callable[[Path, Photos], None], own: Server, folder: Path, images: Images, photos: Photos, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "kept")
    before = own.predict(images["coffee"]).json
    how(folder, photos)
    status, said = swapped(own)
    assert status == 409
    assert str(folder) not in json.dumps(said)
    after = own.predict(images["coffee"]).json
    assert (after["version"], after["predictions"]) == (before["version"], before["predictions"])
    assert own.lines("swap")[-1]["outcome"] == "refused"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(tmp_path / "kept", folder)


def test_sighup_reads_the_folders_again_while_requests_are_answered(
    own: Server, folder: Path, images: Images, photos: Photos
) -> None:
    written(network(temperature=2.0), folder, photos)
    new, seen = bundles.digest(folder)[:12], set()
    own.process.send_signal(signal.SIGHUP)
    until = time.monotonic() + 20
    while new not in seen and time.monotonic() < until:
        reply = own.predict(images["coffee"])
        assert reply.status == 200
        seen.add(reply.json["version"])
    assert new in seen


def test_a_path_is_never_taken_from_a_request(own: Server, bundle: Path) -> None:
    body = json.dumps({"bundle": str(bundle), "path": str(bundle)}).encode()
    for path in ("/v1/models/cats", f"/v1/models/cats/reload?bundle={bundle}", "/v1/models/new"):
        reply = own.ask("POST", path, body, {"Content-Type": "application/json"})
        assert reply.status in (404, 405) or reply.json["new"] is False
    assert [one["name"] for one in own.ask("GET", "/v1/models").json["models"]] == ["cats"]


# ---- feedback


def test_labels_come_back_as_parquet(own: Server, images: Images) -> None:
    import pyarrow.parquet as pq

    def tell(**said: object) -> int:
        return own.ask("POST", "/v1/feedback", json.dumps(said).encode(), {"Content-Type": "application/json"}).status

    answer = own.predict(images["coffee"]).json
    assert tell(id=answer["id"], label="cup") == 202
    assert tell(id=answer["id"], label="no such class") == 400
    assert tell(id="never given", label="cup") == 404
    assert tell(id=7, label="cup") == 400
    assert tell() == 400
    assert own.ask("POST", "/v1/feedback", b"\x80\x04.", {"Content-Type": "application/x-pickle"}).status == 415
    place, until = own.log.parent / "labels.parquet", time.monotonic() + 15
    while not list(place.glob("*.parquet")) and time.monotonic() < until:
        time.sleep(0.1)
    (row,) = pq.read_table(place).to_pylist()
    assert (row["id"], row["label"], row["answer"], row["model"]) == (answer["id"], "cup", answer["labels"][0], "cats")
    assert row["probability"] == pytest.approx(answer["predictions"][0]["probability"])


def test_without_feedback_there_is_no_such_route(server: Server) -> None:
    assert server.ask("POST", "/v1/feedback", b"{}", {"Content-Type": "application/json"}).status == 404


# ---- S9: the end


def test_s9_what_is_under_way_is_finished(bundle: Path, images: Images, tmp_path: Path) -> None:
    server = start(tmp_path / "log", bundle, f"again={bundle}")
    assert [one["name"] for one in server.ask("GET", "/v1/models").json["models"]] == ["things", "again"]
    wanted = server.predict(images["coffee"]).json["labels"]
    ready: list[int] = []
    decoders = [server.template, *server.decoders]

    def ask(number: int) -> list[tuple[int, object]]:
        seen: list[tuple[int, object]] = []
        while True:
            try:
                if number == 0:
                    ready.append(server.ask("GET", "/v2/health/ready").status)
                    continue
                reply = server.predict(images["coffee"])
                seen.append((reply.status, reply.json.get("labels")))
            except ConnectionError:  # the door is closed
                return seen

    with ThreadPoolExecutor(6) as pool:
        long = pool.submit(server.ask, "POST", "/v1/explain", images["astronaut"], BYTES)
        loops = [pool.submit(ask, number) for number in range(4)]
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        found = [pair for loop in loops for pair in loop.result()]
        assert long.result().status == 200
    assert server.process.wait(20) == 0
    assert {status for status, _ in found} <= {200, 503}
    assert all(labels == wanted for status, labels in found if status == 200)
    assert ready[0] == 200
    assert 503 in ready or ready[-1] == 200  # unless nothing was under way any more
    assert ready == sorted(ready)  # once not ready, never again
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in decoders)
    assert server.lines("ended")


@pytest.mark.slow
def test_s9_decoders_end_with_a_server_that_was_killed(bundle: Path, tmp_path: Path) -> None:
    server = start(tmp_path / "log", bundle)
    processes = [server.template, *server.decoders]
    server.process.kill()
    server.process.wait()
    until = time.monotonic() + 5
    while any(Path(f"/proc/{pid}/exe").exists() for pid in processes) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(Path(f"/proc/{pid}/exe").exists() for pid in processes)


@pytest.mark.slow
def test_people_are_told_where_it_is_and_what_to_type(bundle: Path) -> None:
    code = "import sys; from visum.cli import main; sys.argv[0] = 'visum'; main()"
    command = [sys.executable, "-c", code, "serve", f"cats={bundle}", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first, second = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    url = first.split(" at ")[1].split()[0]
    assert first.startswith("visum serve: cats (")
    assert second == f"Next: curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg {url}/v1/predict\n"


@pytest.mark.slow
def test_ensembles_look_at_a_picture_in_all_their_ways(photos: Photos, images: Images, tmp_path: Path) -> None:
    one = network()
    other = replace(one, preprocess=replace(one.preprocess, fit="crop"), temperature=2.0)
    made = ensemble.join([one, other], "probabilities")
    logits = [row for row in running.stream(images.values(), running.Model(made)) if isinstance(row, np.ndarray)]
    wanted = probabilities(types.said(made, np.stack(logits)))
    bundles.write(
        made, tmp_path / "both", [(f"{n}.jpg", data, p) for (n, data), p in zip(images.items(), wanted, strict=True)]
    )
    server = start(tmp_path / "log", tmp_path / "both")
    try:
        for data, p in zip(images.values(), wanted, strict=True):
            said = server.predict(data, "?top=1").json["predictions"][0]
            assert said["class"] == made.classes[int(p.argmax())]
            assert said["probability"] == pytest.approx(float(p.max()), abs=1e-3)
        explained = server.ask("POST", "/v1/explain", images["coffee"], BYTES).json
        assert np.array(explained["map"]).max() == 1
    finally:
        assert server.end() == 0


async def _sends_at_once() -> bool:
    """Whether a connection to a server at such a socket does not wait for company (Nagle 1984)."""
    accepted: asyncio.Queue[int] = asyncio.Queue()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await accepted.put(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    place = launch._bound("127.0.0.1", 0)
    async with await asyncio.start_server(answer, sock=place):
        _, writer = await asyncio.open_connection(*place.getsockname())
        told = await accepted.get()
        writer.close()
    return bool(told)


def test_an_answer_does_not_wait_until_its_head_is_confirmed() -> None:
    assert asyncio.run(_sends_at_once())


def test_an_answer_before_its_request_is_there_says_that_it_is_the_last(server: Server) -> None:
    """Or the next request on the connection would go into the void."""
    told = server.raw(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nxyz").lower()
    assert told.startswith(b"http/1.1 404 ")
    assert b"\r\nconnection: close\r\n" in told
    whole = server.raw(
        b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nxyzGET / HTTP/1.0\r\n\r\n"
    )
    assert whole.lower().partition(b"\r\n\r\n")[0].count(b"connection: close") == 0
    assert whole.count(b"HTTP/1.1 ") == 2
