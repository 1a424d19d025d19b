"""``visum serve`` against ``visum predict`` on the same files, LitServe, and a plain FastAPI handler with the same network.

``serving.py RUN PEERS [SECONDS]``: RUN is a run or bundle at 224 px with the packaged network; PEERS a folder of a virtual
environment with litserve, fastapi and torch, or ``-`` to leave the peers out; SECONDS for each measurement.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from measure import SHARED, VISUM, timed

HERE = Path(__file__).parent
FILES, CLIENTS = 256, 4
"""Photos that are sent; connections that ask, as many as ``visum serve`` lets in on two cores."""
Wrap = Callable[[bytes], tuple[str, bytes]]


@dataclass(frozen=True)
class Peer:
    """How a server is started (``{port}`` is put in), where it answers, and in which shape it wants a picture."""

    name: str
    command: Sequence[str]
    path: str
    wrap: Wrap


def raw(data: bytes) -> tuple[str, bytes]:
    return "application/octet-stream", data


def json64(data: bytes) -> tuple[str, bytes]:
    return "application/json", json.dumps({"image_bytes": base64.b64encode(data).decode()}).encode()


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> int:
    """One request on an open connection; its status."""
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    size = head.partition(b"content-length: ")[2].split(b"\r\n")[0]
    await reader.readexactly(int(size))
    return int(head.split(b" ")[1])


async def closed_loop(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> float:
    """Answers a second, of clients that each ask again as soon as they are answered."""
    until, done, next_one = time.perf_counter() + seconds, 0, iter(range(10**9))

    async def client() -> None:
        nonlocal done
        reader = writer = None
        while time.perf_counter() < until:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert reader is not None
            status = await asked(reader, writer, requests[next(next_one) % len(requests)])
            if status == 200:
                done += 1
            else:  # turned away
                writer.close()
                writer = None
                await asyncio.sleep(0.01)

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return done / (time.perf_counter() - begin)


async def one_by_one(port: int, requests: Sequence[bytes], count: int) -> list[float]:
    """Seconds of requests to an idle server."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found = []
    for number in range(count):
        begin = time.perf_counter()
        await asked(reader, writer, requests[number % len(requests)])
        found.append(time.perf_counter() - begin)
        await asyncio.sleep(0.01)
    writer.close()
    return found


async def open_loop(port: int, requests: Sequence[bytes], rate: float, seconds: float) -> tuple[list[float], int]:
    """Seconds of those that were answered at a fixed rate, counted from when each was due; and how many were turned away."""
    spare: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    answered, away = [], 0
    begin = time.perf_counter()

    async def one(due: float, request: bytes) -> None:
        nonlocal away
        place = spare.pop() if spare else await asyncio.open_connection("127.0.0.1", port)
        try:
            status = await asked(*place, request)
        except (asyncio.IncompleteReadError, ConnectionError):  # it had been idle for long, and the server closed it
            place = await asyncio.open_connection("127.0.0.1", port)
            status = await asked(*place, request)
        if status == 200:
            answered.append(time.perf_counter() - due)
            spare.append(place)
        else:
            away += 1
            place[1].close()

    tasks = []
    for number in range(int(rate * seconds)):
        due = begin + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(due, requests[number % len(requests)])))
    await asyncio.gather(*tasks)
    return answered, away


@contextmanager
def running(peer: Peer, port: int) -> Iterator[tuple[int, float]]:
    """A server that answers: its process, and seconds until then."""
    command = [part.format(port=port) for part in peer.command]
    with tempfile.TemporaryFile("w+") as said:
        begin = time.perf_counter()
        child = subprocess.Popen(command, stdout=said, stderr=said, cwd=HERE / "peers", start_new_session=True)
        try:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.005)
                if child.poll() is not None:
                    said.seek(0)
                    raise SystemExit(f"{' '.join(command)} failed:\n{said.read()[-3000:]}")
            yield child.pid, time.perf_counter() - begin
        finally:
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(10)
            with contextlib.suppress(ProcessLookupError):  # LitServe leaves its workers behind
                os.killpg(child.pid, signal.SIGKILL)


def memory(pid: int) -> float:
    """Proportional megabytes of a process and all below it: what is shared counts once."""
    total = 0.0
    for each in (pid, *below(pid)):
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1000
    return total


def below(pid: int) -> list[int]:
    found = [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*found, *(each for child in found for each in below(child))]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as place:
        return int(place.getsockname()[1])


def predicting(run: str, paths: Sequence[str]) -> float:
    """Images a second of ``visum predict``, without the start of its process: a long run against a short one."""
    few, many = paths[:16], paths
    short, long = (timed([VISUM, "predict", run, "--format", "csv", *part]) for part in (few, many))
    return (len(many) - len(few)) / (long.wall - short.wall)


def main() -> None:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    bundle, peers = str(Path(sys.argv[1]).resolve()), sys.argv[2]
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 20.0
    paths = sorted(str(path) for path in (SHARED / "data" / "clothing" / "train").rglob("*.jpg"))[::3]
    photos = [Path(path).read_bytes() for path in paths[:FILES]]
    python = str(Path(peers).resolve() / "bin" / "python")
    servers = [Peer("`visum serve`", [VISUM, "serve", bundle, "--port", "{port}"], "/v1/predict", raw)]
    if peers != "-":
        servers += [
            Peer("LitServe, batches of 8", [python, "litserve_server.py", "{port}"], "/predict", json64),
            Peer("FastAPI + PyTorch", [python, "fastapi_server.py", "{port}"], "/predict", raw),
        ]
    rate = predicting(bundle, paths)
    print(
        "| server | pictures/s | idle median ms | p99 ms at 70 % | start to ready s | idle MB |\n|---|---|---|---|---|---|"
    )
    print(f"| `visum predict`, for comparison | {rate:.1f} | | | | |", flush=True)
    found = {}
    for peer in servers:
        port = free_port()
        if peer.name == "`visum serve`":
            with running(peer, port):  # the first start compiles
                pass
        with running(peer, port) as (pid, start):
            idle = memory(pid)
            head = "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n"
            shaped = [(kind, body) for kind, body in map(peer.wrap, photos)]
            requests = [head.format(peer.path, kind, len(body)).encode() + body for kind, body in shaped]
            until = time.perf_counter() + 60
            while time.perf_counter() < until:  # LitServe listens before its workers answer
                try:
                    asyncio.run(one_by_one(port, requests, 8))
                    break
                except (OSError, ValueError, asyncio.IncompleteReadError):
                    time.sleep(0.5)
            alone = statistics.median(asyncio.run(one_by_one(port, requests, 60)))
            found[peer.name] = asyncio.run(closed_loop(port, requests, CLIENTS, seconds))
            busy, away = asyncio.run(open_loop(port, requests, 0.7 * found[peer.name], seconds))
            late = statistics.quantiles(busy, n=100)[98]
            turned = f" ({away} turned away)" if away else ""
            times = f"{1000 * alone:.0f} | {1000 * late:.0f}{turned}"
            print(f"| {peer.name} | {found[peer.name]:.1f} | {times} | {start:.1f} | {idle:.0f} |", flush=True)
    own = found.pop("`visum serve`")
    ratios = [
        f"serve / predict {own / rate:.2f}",
        *(f"serve / {name} {own / other:.1f}" for name, other in found.items()),
    ]
    print(f"\n{', '.join(ratios)}")


if __name__ == "__main__":
    main()
