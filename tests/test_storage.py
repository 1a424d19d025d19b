"""The store and atomic writes against kill -9, full disks, flipped bytes, refused folders and other processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import resource
import shutil
import stat
import subprocess
import sys
import textwrap
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from visum import storage
from visum.errors import CorruptFile, Locked, StorageError, UsageError
from visum.storage import store
from visum.storage.files import explained
from visum.storage.store import Space

Rows = dict[str, NDArray[Any]]


def run(code: str, *arguments: object) -> str:
    """Standard output of a Python process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def key_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def rows_of(count: int, seed: int = 0) -> Rows:
    """Pictures of different sizes under their keys."""
    random = np.random.default_rng(seed)
    return {
        key_of((seed, at)): random.integers(0, 256, (int(random.integers(1, 9)), 5, 3), np.uint8) for at in range(count)
    }


def put(space: Space, rows: Rows) -> None:
    with space.writer() as out:
        for key, row in rows.items():
            out.add(key, row)


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process may become longer than ``size`` bytes; the system then refuses as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SEGMENT_BYTES", 1000)


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "int64"])
@pytest.mark.parametrize("shape", [(7,), (2, 3), (4, 1, 3), (1, 1, 1)])
def test_rows_come_back_as_they_went_in(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(1)
    rows = {key_of(at): random.integers(0, 99, shape).astype(dtype) for at in range(20)}
    put(Space(tmp_path / "a", dtype), rows)
    again = Space(tmp_path / "a", dtype)
    assert len(again) == 20
    assert key_of("other") not in again
    for key, row in rows.items():
        got = again.read(key)
        assert got.dtype == row.dtype
        np.testing.assert_array_equal(got, row, strict=True)
        with pytest.raises(ValueError, match="read-only"):
            got[...] = 0
    np.testing.assert_array_equal(again.gather(list(rows)[::-1]), np.array(list(rows.values())[::-1]), strict=True)
    with pytest.raises(KeyError):
        again.read(key_of("other"))


def test_writing_makes_rows_visible_in_the_same_space_and_an_empty_writer_makes_nothing(tmp_path: Path) -> None:
    space, rows = Space(tmp_path / "a", "uint8"), rows_of(5)
    put(space, {})
    assert not (tmp_path / "a").exists()
    put(space, rows)
    assert all(key in space for key in rows)
    other = Space(tmp_path / "a", "uint8")
    put(other, more := rows_of(5, seed=1))
    assert not any(key in space for key in more)
    space.refresh()
    assert all((space.read(key) == row).all() for key, row in (rows | more).items())


def test_gathering_much_uses_a_file_that_is_gone_at_once(
    tmp_path: Path, small_segments: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Space(tmp_path / "a", "float32")
    rows = {key_of(at): np.full((50,), at, np.float32) for at in range(40)}
    put(space, rows)
    assert len(list(space.folder.glob("*.index"))) == 8
    got = space.gather(list(rows))
    assert isinstance(got, np.memmap)
    np.testing.assert_array_equal(got[:, 0], np.arange(40))
    assert {p.suffix for p in space.folder.iterdir()} == {".index", ".data"}
    with full_disk(2000), pytest.raises(StorageError, match="no space left"):
        space.gather(list(rows))

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    with (
        monkeypatch.context() as patch
    ):  # asked before the map is made: a disk that fills up under it kills the process
        patch.setattr(os, "posix_fallocate", full)
        with pytest.raises(StorageError, match="no space left"):
            space.gather(list(rows))


TWO_WRITERS = """
    import sys, numpy as np
    from pathlib import Path
    from visum.storage import store
    from visum.storage.store import Space
    from hashlib import sha256
    store.SEGMENT_BYTES = 2000
    space = Space(Path(sys.argv[1]), "uint8")
    for start in range(int(sys.argv[2]), 400, 20):
        with space.writer() as out:
            for at in range(start, start + 40):
                key = sha256(str(at).encode()).digest()
                out.add(key.hex(), np.frombuffer(key * (1 + at % 7), np.uint8))
"""


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(TWO_WRITERS), str(tmp_path / "a")]
    children = [subprocess.Popen([*command, str(start)]) for start in (0, 10)]
    assert [child.wait(60) for child in children] == [0, 0]
    space = Space(tmp_path / "a", "uint8")
    assert len(space) == 430
    for at in range(430):
        raw = hashlib.sha256(str(at).encode()).digest()
        assert space.read(raw.hex()).tobytes() == raw * (1 + at % 7)
    assert not list(space.folder.glob("*.tmp"))


KILLED = """
    import os, random, select, signal, sys, time
    from hashlib import sha256
    from pathlib import Path
    import numpy as np
    from visum.storage import store, write_atomic
    from visum.storage.store import Space
    store.SEGMENT_BYTES = 30_000
    folder, trials = Path(sys.argv[1]), int(sys.argv[2])
    random.seed(trials)
    note, known = folder / "note", set()
    for trial in range(trials):
        ready, told = os.pipe()
        child = os.fork()
        if not child:
            space, at = Space(folder / "rows", "uint8"), 0
            while True:
                keys = [sha256(f"{trial}-{at + k}".encode()).digest() for k in range(40)]
                with space.writer() as out:
                    for key in keys:
                        out.add(key.hex(), np.frombuffer(key * 50, np.uint8))
                write_atomic(note, keys[0] * 5000)
                os.write(told, b"".join(keys))
                at += 40
        os.close(told)
        time.sleep(random.random() * 0.08)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(ready, "rb") as pipe:
            said = pipe.read()
        known |= {said[k : k + 32] for k in range(0, len(said) - 31, 32)}
        space = Space(folder / "rows", "uint8")
        for key in known:
            assert space.read(key.hex()).tobytes() == key * 50, "a finished row is lost or damaged"
        for key in space._places:
            assert space.read(key.hex()).tobytes() == key * 50, "a half-written row is shown"
        if note.exists():
            text = note.read_bytes()
            assert text == text[:32] * 5000, "half a file is shown"
    print(len(known), len(list(folder.rglob("*.tmp"))))
"""


@pytest.mark.parametrize("trials", [12, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_minus_nine_at_random_moments(tmp_path: Path, trials: int) -> None:
    rows, drafts = map(int, run(KILLED, tmp_path, trials).split())
    assert rows >= 40
    assert drafts >= 3, "hits writers at work"


def flipped(blob: bytes, random: np.random.Generator) -> bytes:
    """One bit turned over, or the end cut off."""
    at = int(random.integers(len(blob)))
    if random.random() < 0.3:
        return blob[:at]
    return blob[:at] + bytes([blob[at] ^ 1 << int(random.integers(8))]) + blob[at + 1 :]


@pytest.mark.parametrize("suffix", [".data", ".index"])
def test_a_flipped_byte_is_never_read_as_a_row(tmp_path: Path, suffix: str) -> None:
    rows, random = rows_of(20), np.random.default_rng(5)
    put(Space(tmp_path / "whole", "uint8"), rows)
    (whole,) = (tmp_path / "whole").glob(f"*{suffix}")
    for trial in range(100):
        shutil.copytree(tmp_path / "whole", folder := tmp_path / str(trial))
        (folder / whole.name).write_bytes(flipped(whole.read_bytes(), random))
        space, noticed = Space(folder, "uint8"), len(Space(folder, "uint8")) == 0
        for key, row in rows.items():
            if key not in space:
                continue
            try:
                np.testing.assert_array_equal(space.read(key), row, strict=True)
            except CorruptFile as error:
                noticed = whole.stem in str(error) and key not in space
        assert noticed
        after = Space(folder, "uint8")
        assert len(after) == 0, "made anew from here on"
        put(after, rows)
        assert (Space(folder, "uint8").read(next(iter(rows))) == next(iter(rows.values()))).all()


def test_what_cannot_be_opened_now_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(Space(tmp_path / "a", "uint8"), rows_of(3))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(np, "memmap", refuse)
        assert len(Space(tmp_path / "a", "uint8")) == 0
    assert len(Space(tmp_path / "a", "uint8")) == 3


def test_full_disk_keeps_finished_segments_and_leaves_no_part(tmp_path: Path, small_segments: None) -> None:
    space, rows = Space(tmp_path / "a", "uint8"), rows_of(30)
    big = {key_of("big"): np.zeros((2000, 2000), np.uint8)}
    with full_disk(3_000_000), pytest.raises(StorageError, match="no space left") as caught:
        put(space, rows | big)
    assert str(tmp_path) in str(caught.value)
    assert caught.value.exit_code == 5
    again = Space(tmp_path / "a", "uint8")
    kept = [key for key in rows if key in again]
    assert 15 < len(kept) < 30
    assert kept == list(rows)[: len(kept)]
    assert all((again.read(key) == rows[key]).all() for key in kept)
    names = list((tmp_path / "a").iterdir())
    assert {p.suffix for p in names} == {".data", ".index"}
    assert len({p.stem for p in names}) * 2 == len(names)


def test_full_disk_keeps_the_old_file_and_the_old_folder(tmp_path: Path) -> None:
    target, folder = tmp_path / "file.json", tmp_path / "run"
    storage.write_atomic(target, "old")
    with storage.atomic_folder(folder) as draft:
        (draft / "x").write_text("old")
    with full_disk(1000):
        with pytest.raises(StorageError, match=r"no space left while writing .*file\.json.*free some space"):
            storage.write_atomic(target, b"n" * 2000)
        with pytest.raises(StorageError, match="no space left"), storage.atomic_folder(folder) as draft:  # noqa: PT012
            (draft / "x").write_text("new")
            (draft / "y").write_bytes(b"n" * 2000)
    assert target.read_text() == "old"
    assert [p.name for p in folder.iterdir()] == ["x"]
    assert (folder / "x").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.json", "run"]


def test_an_error_elsewhere_costs_no_finished_segment(tmp_path: Path, small_segments: None) -> None:
    space, rows = Space(tmp_path / "a", "uint8"), {key_of(at): np.full(1000, at, np.uint8) for at in range(3)}
    with pytest.raises(StorageError, match="elsewhere"), space.writer() as out:  # noqa: PT012
        for key, row in rows.items():
            out.add(key, row)
        raise StorageError("elsewhere")
    assert all((Space(tmp_path / "a", "uint8").read(key) == row).all() for key, row in rows.items())
    with pytest.raises(StorageError, match="before any row"), space.writer():
        raise StorageError("before any row")


def test_an_interruption_in_the_middle_of_a_row_keeps_the_rows_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, rows, real = Space(tmp_path / "a", "uint8"), rows_of(5), zlib.crc32
    with pytest.raises(KeyboardInterrupt), space.writer() as out:  # noqa: PT012
        for at, (key, row) in enumerate(rows.items()):
            if at == 3:

                def stop(_: object) -> int:
                    monkeypatch.setattr(zlib, "crc32", real)
                    raise KeyboardInterrupt

                monkeypatch.setattr(zlib, "crc32", stop)
            out.add(key, row)
    again = Space(tmp_path / "a", "uint8")
    assert [key in again for key in rows] == [True, True, True, False, False]
    assert all((again.read(key) == rows[key]).all() for key in list(rows)[:3])


def test_write_atomic(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "folder" / "a.txt"
    storage.write_atomic(target, "é")
    assert target.read_bytes() == b"\xc3\xa9"
    storage.write_atomic(target, b"\x00")
    assert target.read_bytes() == b"\x00"
    assert [p.name for p in target.parent.iterdir()] == ["a.txt"]
    assert target.stat().st_mode & 0o777 == 0o644
    longest = tmp_path / ("\U0001f600" * 62 + ".json")
    storage.write_atomic(longest, "1")
    assert longest.read_text() == "1"
    with pytest.raises(StorageError, match=r"cannot write .*: is a directory"):
        storage.write_atomic(tmp_path / "deep", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["deep", longest.name])


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for target in (pipe, link):
        reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE)
        storage.write_atomic(target, "é")
        assert reader.communicate(timeout=10)[0] == b"\xc3\xa9"
        assert stat.S_ISFIFO(target.stat().st_mode)
    assert link.is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "pipe"]


def test_devices_are_written_to(tmp_path: Path) -> None:
    code = "import sys; from visum import storage; storage.write_json(sys.argv[1], {'a': 1})"
    assert json.loads(run(code, "/dev/stdout")) == {"a": 1}
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code, "/dev/stdout"], stdout=out, check=True, timeout=60)
    assert json.loads((tmp_path / "out").read_text()) == {"a": 1}
    assert Path("/dev/stdout").is_symlink()
    assert run(code, "/dev/null") == ""
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
    if Path("/dev/full").exists():
        with pytest.raises(StorageError, match="no space left while writing /dev/full"):
            storage.write_atomic("/dev/full", "x")


def test_the_words_of_safetensors_are_told_like_those_of_the_system(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    target = tmp_path / "w.safetensors"
    full = r"no space left while writing .*w\.safetensors\. Try: free some space \(or set TMPDIR to a larger disk\)"
    with full_disk(1000), pytest.raises(StorageError, match=full), explained(target, "TMPDIR"):
        save_file({"x": np.zeros(1000)}, target)
    with pytest.raises(StorageError, match=r"cannot write .*w\.safetensors: .*VISUM_CACHE"), explained(target):
        save_file({"x": np.zeros(1)}, tmp_path / "nowhere" / "w.safetensors")


def test_write_json_is_json(tmp_path: Path) -> None:
    value = {
        "nan": math.nan, "inf": [math.inf, -math.inf], 3: np.float32(0.5), "n": np.int64(4), "array": np.arange(2),
        "deep": ({"x": np.array([math.nan])},), "path": Path("a/b"), "é": None, "yes": np.bool_(True),
    }  # fmt: skip
    storage.write_json(tmp_path / "x.json", value)

    def refuse(name: str) -> None:
        raise AssertionError(name)

    text = (tmp_path / "x.json").read_text()
    assert json.loads(text, parse_constant=refuse) == {
        "nan": None, "inf": [None, None], "3": 0.5, "n": 4, "array": [0, 1], "deep": [{"x": [None]}], "path": "a/b",
        "é": None, "yes": True,
    }  # fmt: skip
    assert "é" in text
    assert text.endswith("}\n")


def test_atomic_folder(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / ("ü" * 127)
    with storage.atomic_folder(folder) as draft:
        (draft / "a").write_text("1")
        assert not folder.exists()
    with pytest.raises(ValueError, match="broken"), storage.atomic_folder(folder) as draft:  # noqa: PT012
        (draft / "a").write_text("2")
        raise ValueError("broken")
    assert (folder / "a").read_text() == "1"
    with pytest.raises(FileNotFoundError), storage.atomic_folder(folder) as draft:
        Path(draft / "missing").read_text()  # not about writing: as it is
    with storage.atomic_folder(folder) as draft:
        (draft / "b").write_text("3")
        assert (folder / "a").read_text() == "1"
    assert [p.name for p in folder.iterdir()] == ["b"]
    assert [p.name for p in folder.parent.iterdir()] == [folder.name]
    assert folder.stat().st_mode & 0o777 == 0o755
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="is a file"), storage.atomic_folder(tmp_path / "file"):
        pass
    assert (tmp_path / "file").read_text() == "mine"


REFUSED = ["{tmp}/file", "{tmp}/file/below", "/proc/visum/run", "/sys/visum", "/dev/null/run", "{tmp}/" + "x" * 300]


@pytest.mark.parametrize("place", REFUSED)
def test_places_that_cannot_be_written_are_refused_at_once(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    target = Path(place.format(tmp=tmp_path))
    begin = time.monotonic()
    with pytest.raises(StorageError, match=r"Allowed: a folder.*Try: another --out"):
        storage.check_writable(target)
    with pytest.raises(StorageError), storage.lock(target):
        pass
    with pytest.raises(StorageError), storage.atomic_folder(target / "x"):
        pass
    with pytest.raises(StorageError):
        storage.write_atomic(target / "x", "")
    with pytest.raises(StorageError):
        put(Space(target / "x", "uint8"), rows_of(1))
    assert time.monotonic() - begin < 2
    assert (tmp_path / "file").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


READ_ONLY = """
    import os, sys
    import numpy as np
    from pathlib import Path
    from visum import storage
    from visum.errors import StorageError
    if os.getuid() == 0:
        os.setgid(65534), os.setuid(65534)
    folder = Path(sys.argv[1])
    def space():
        with storage.Space(folder / "a", "uint8").writer() as out:
            out.add("00" * 32, np.ones(3, np.uint8))
    for work in (lambda: storage.check_writable(folder), lambda: storage.check_writable(folder / "new"),
                 lambda: storage.write_atomic(folder / "x", "1"), lambda: storage.lock(folder).__enter__(), space):
        try:
            work()
        except StorageError as error:
            print(error)
"""


def test_read_only_folder(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    for above in (tmp_path, *tmp_path.parents[:1], tmp_path.parent.parent):
        if above.stat().st_uid == os.getuid() and above.name.startswith(("pytest-", "test_")):
            above.chmod(above.stat().st_mode | 0o111)
    said = run(READ_ONLY, folder).splitlines()
    assert len(said) == 5
    assert all("cannot write" in line and "permission denied" in line and "another --out" in line for line in said)
    assert not list(folder.iterdir())


def test_check_writable_leaves_an_empty_folder(tmp_path: Path) -> None:
    storage.check_writable(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())


def test_second_run_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    code = "import sys, time\nfrom visum import storage\nwith storage.lock(sys.argv[1]): print('mine', flush=True), time.sleep(9)"
    first = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    with first, first.stdout:
        assert first.stdout.readline() == "mine\n"
        with pytest.raises(Locked, match="another run is writing to") as caught, storage.lock(tmp_path):
            pass
        assert caught.value.exit_code == 5
        first.kill()
        first.wait()
    with storage.lock(tmp_path), pytest.raises(Locked), storage.lock(tmp_path):
        pass
    with storage.lock(tmp_path):
        pass


def test_digests(tmp_path: Path) -> None:
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    (tmp_path / "abc").write_bytes(b"abc")
    assert storage.digest_bytes(b"abc") == storage.digest_file(tmp_path / "abc") == known


def test_eviction_takes_the_oldest_and_stops_at_the_limit(fresh_cache: Path) -> None:
    for at, name in enumerate(["oldest", "middle", "newest"]):
        put(storage.space(name, "uint8"), {key_of(name): np.full(10_000, at, np.uint8)})
        (index,) = (fresh_cache / "store" / name).glob("*.index")
        os.utime(index, (1000 * (at + 1),) * 2)

    def alive() -> list[str]:
        return [n for n in ("oldest", "middle", "newest") if list((fresh_cache / "store" / n).glob("*.data"))]

    assert storage.evict(40_000) == 0
    assert len(alive()) == 3
    mapped = storage.space("oldest", "uint8")  # used now, so that it is the youngest
    assert storage.evict(25_000) > 10_000
    assert alive() == ["oldest", "newest"]
    assert storage.evict(0) > 20_000
    assert alive() == []
    assert (mapped.read(key_of("oldest")) == 0).all(), "maps that are open stay readable"
    assert key_of("oldest") not in storage.space("oldest", "uint8")
    assert not [p for p in fresh_cache.rglob("*") if p.is_file()]


def test_eviction_weighs_unpacked_archives_like_segments(fresh_cache: Path) -> None:
    put(storage.space("young", "uint8"), {key_of("young"): np.zeros(10_000, np.uint8)})
    for name, age in (("ab" * 32, 1000), ("cd" * 32, 2000)):
        folder = fresh_cache / "archives" / name / "class"
        folder.mkdir(parents=True)
        (folder / "picture.png").write_bytes(b"x" * 10_000)
        os.utime(folder.parent, (age, age))
    assert storage.evict(40_000) == 0
    assert storage.evict(25_000) == 10_000
    assert [path.name for path in (fresh_cache / "archives").iterdir()] == ["cd" * 32]
    assert storage.evict(0) > 20_000
    assert not [path for path in fresh_cache.rglob("*") if path.is_file()]


def test_eviction_clears_away_what_killed_writers_left(fresh_cache: Path) -> None:
    put(storage.space("a", "uint8"), rows_of(3))
    folder = fresh_cache / "store" / "a"
    for name in ("dead.tmp", "dead.data", ".dead.index.x.tmp", "young.tmp", "young.data"):
        (folder / name).write_bytes(b"x")
        if "dead" in name:
            os.utime(folder / name, (0, 0))
    (whole,) = {p.stem for p in folder.glob("*.index")}
    os.utime(folder / f"{whole}.data", (0, 0))
    storage.evict()
    assert {p.name for p in folder.iterdir()} == {"young.tmp", "young.data", f"{whole}.data", f"{whole}.index"}


def test_cache_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VISUM_CACHE", str(tmp_path))
    assert storage.cache_folder() == tmp_path
    monkeypatch.delenv("VISUM_CACHE")
    assert storage.cache_folder().name == "visum"
    monkeypatch.delenv("VISUM_CACHE_GB", raising=False)
    assert storage.cache_limit() == 20e9
    monkeypatch.setenv("VISUM_CACHE_GB", "0.5")
    assert storage.cache_limit() == 500_000_000
    for bad in ("much", "inf", "nan"):
        monkeypatch.setenv("VISUM_CACHE_GB", bad)
        with pytest.raises(UsageError, match=f"VISUM_CACHE_GB is '{bad}'"):
            storage.cache_limit()
