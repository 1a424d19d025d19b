"""Signals in processes of their own, threads, versions and the clock of a run."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import textwrap
import threading
import time
from importlib import metadata

import numpy as np
import pytest

from visum import runtime
from visum.errors import Interrupted, UsageError

CHILD = """
    import os, signal, sys, time
    from pathlib import Path
    import numpy as np
    from visum import storage
    from visum.errors import VisumError
    from visum.runtime import interruptible
    try:
        with interruptible("the same command"), storage.space("rows", "uint8").writer() as out:
            out.add("ab" * 32, np.ones(9, np.uint8))
            print("ready", flush=True)
            time.sleep(60)
    except VisumError as error:
        print(error)
        print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
        sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_and_keeps_what_was_finished(
    fresh_cache: object, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-c", textwrap.dedent(CHILD)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(number)
        said, _ = child.communicate(timeout=20)
        assert child.returncode == code
    assert said.splitlines() == ["Interrupted; what was finished is kept. Try: the same command", "True"]
    from visum import storage

    assert (storage.space("rows", "uint8").read("ab" * 32) == 1).all()


def test_a_second_signal_does_not_tear_what_the_first_began() -> None:
    begun, closed, handler = [], [], signal.getsignal(signal.SIGTERM)

    def work() -> None:
        with runtime.interruptible("x"):
            try:
                begun.append(1)
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
                closed.append(1)

    with pytest.raises(Interrupted) as caught:
        work()
    assert begun == closed == [1]
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is handler


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    done: list[int] = []

    def work() -> None:
        with runtime.interruptible("x"):
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUM_THREADS", raising=False)
    assert runtime.threads() == len(os.sched_getaffinity(0))
    for text, count in [("3", 3), ("0", 1), ("", len(os.sched_getaffinity(0)))]:
        monkeypatch.setenv("VISUM_THREADS", text)
        assert runtime.threads() == count
    assert runtime.machine()["cores"] == runtime.threads()
    for bad in ("two", "-1", "1.5", "²", "99999"):
        monkeypatch.setenv("VISUM_THREADS", bad)
        with pytest.raises(UsageError, match=f"VISUM_THREADS is '{bad}'.*unset VISUM_THREADS"):
            runtime.threads()


def test_threads_follow_the_processors_that_a_process_may_use() -> None:
    code = "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); import visum.runtime as r; print(r.threads())"
    environment = {key: value for key, value in os.environ.items() if key != "VISUM_THREADS"}
    assert subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) == "1\n"


def test_machine_and_versions() -> None:
    found = runtime.machine()
    assert found["python"] == platform.python_version()
    assert found["memory_gb"] > 0
    assert json.loads(json.dumps(found)) == found
    assert runtime.versions("numpy", "no-such-package-at-all") == {"numpy": np.__version__}
    assert runtime.versions("visum") == {"visum": metadata.version("visum")}


def test_peak_memory_is_in_bytes() -> None:
    block = np.ones(150_000_000, np.uint8)
    assert block.nbytes < runtime.peak_memory() < 1e12
    child = "from visum import runtime; print(runtime.peak_memory())"
    assert int(subprocess.check_output([sys.executable, "-c", child], text=True)) < 100e6, "not what its parent used"


class Noted:
    """A watch that remembers."""

    def __init__(self) -> None:
        self.started = time.monotonic() - 100
        self.seen: list[object] = []

    def begin(self, name: str, total: int) -> None:
        self.seen.append(("begin", name, total))

    def step(self, count: int) -> None:
        self.seen.append(count)

    def end(self, name: str, seconds: float, detail: str) -> None:
        self.seen.append(("end", name, detail))


def test_stages_are_timed_and_watched() -> None:
    watch = Noted()
    with runtime.watched(watch):
        stages = runtime.Stages()
    with stages.stage("decode", 3) as stage:
        stage.step(2)
        stage.step(1)
        time.sleep(0.02)
        stage.detail = "3 images"
    with pytest.raises(ValueError, match="broken"), stages.stage("embed"):
        raise ValueError("broken")
    assert watch.seen == [
        ("begin", "decode", 3), 2, 1, ("end", "decode", "3 images"), ("begin", "embed", 0), ("end", "embed", ""),
    ]  # fmt: skip
    (row,) = stages.rows
    assert (row["name"], row["detail"]) == ("decode", "3 images")
    assert 0.02 <= row["seconds"] < 1
    assert 100 <= stages.seconds() < 110
    assert runtime.Stages().seconds() < 1, "outside the block nobody watches, and the clock begins anew"


def test_the_start_of_the_process_counts() -> None:
    code = "import time; time.sleep(0.3); from visum import runtime; print(time.monotonic() - runtime.process_start())"
    begin = time.monotonic()
    seconds = float(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert 0.3 <= seconds <= time.monotonic() - begin + 0.1


def test_blas_keeps_to_one_thread_while_any_pool_works() -> None:
    """Blocks overlap as pools do, which a plain save and restore would get wrong."""
    from threadpoolctl import threadpool_info

    def blas() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    before = blas()
    first, second = runtime.one_core_each(), runtime.one_core_each()
    with first:
        assert blas() == {1}
        second.__enter__()
    assert blas() == {1}
    second.__exit__(None, None, None)
    assert blas() == before
