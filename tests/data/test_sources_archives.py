"""Archives: the same rows as the folder that was packed, and nothing but refusals for those that mean harm."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import shutil
import stat
import struct
import subprocess
import tarfile
import threading
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from sourced import only, pictures, refused, rows, table, tops

from visum import storage
from visum.data.sources import archives, read
from visum.data.sources.archives import unpack
from visum.errors import DataError, StorageError
from visum.types import Manifest

FORMATS = ["zip", "tar", "gztar", "bztar", "xztar"]
Member = tuple[str, bytes]


@pytest.fixture(autouse=True)
def shelf(fresh_cache: Path) -> Path:
    """Where archives are unpacked: empty for every test."""
    return fresh_cache / "archives"


@pytest.fixture
def data(digits: Path, tmp_path: Path) -> Path:
    """Real pictures in class folders, some names odd."""
    root = tops(digits, tmp_path / "given" / "d", ["cat", "dog/deep", "12", "smile \N{GRINNING FACE}\n"])
    shutil.copy(sorted((digits / "1").iterdir())[0], root / "cat" / "-rf <b>")
    (root / "cat" / ".DS_Store").write_bytes(b"x")
    (root / "empty").mkdir()
    return root


def zipped(path: Path, members: Iterable[Member], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tarred(
    path: Path, members: Iterable[Member | tarfile.TarInfo], mode: str = "w", kind: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, mode, format=kind) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return path


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder with its kind and size."""
    return {
        os.path.relpath(path, folder): (stat.S_IFMT(s.st_mode), s.st_size)
        for path in folder.rglob("*")
        if (s := path.lstat())
    }


def attempt(path: Path) -> Manifest | None:
    """The manifest, or None if the archive is refused; no other error."""
    with contextlib.suppress(DataError):
        return read(path).manifest
    return None


def nothing_written(tmp_path: Path, path: Path, *words: str) -> None:
    """The archive is refused with these words, and the disk is as it was but for an empty folder and a lock."""
    before = tree(tmp_path)
    refused(path, DataError, *words)
    new = {name for name in tree(tmp_path) if name not in before}
    assert {name for name in new if "locks" not in name} <= {"cache", "cache/archives"}
    assert all(not size for name, (kind, size) in tree(tmp_path).items() if name in new and stat.S_ISREG(kind))
    assert {name: tree(tmp_path)[name] for name in before if name not in (".", "cache")} == {
        name: before[name] for name in before if name != "cache"
    }


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("inside", [True, False])
def test_an_archive_says_what_its_folder_says(data: Path, tmp_path: Path, kind: str, inside: bool, shelf: Path) -> None:
    start = {"root_dir": data.parent, "base_dir": "d"} if inside else {"root_dir": data}
    path = shutil.make_archive(str(tmp_path / "packed"), kind, **start)
    ours, theirs = read(path), read(data)
    assert rows(ours.manifest) == rows(theirs.manifest)
    assert ours.manifest.paths.tolist() == theirs.manifest.paths.tolist()
    assert ours.manifest.classes == theirs.manifest.classes == ("12", "cat", "dog", "smile \N{GRINNING FACE}\n")
    assert [(f.kind, f.ids) for f in ours.findings] == [(f.kind, f.ids) for f in theirs.findings]
    for name in ours.manifest.paths:
        assert Path(ours.manifest.root, name).read_bytes() == (data / name).read_bytes()
    assert Path(ours.manifest.root).is_relative_to(shelf / storage.digest_file(path))


def test_names_of_any_bytes_come_through_a_tar(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "cat" / "-rf <b>", data / "cat" / os.fsdecode(b"caf\xe9.png"))
    subprocess.run(["tar", "-cf", tmp_path / "a.tar", "-C", data.parent, "./d"], check=True)
    assert read(tmp_path / "a.tar").manifest.paths.tolist() == read(data).manifest.paths.tolist()
    assert "cat/caf\\xe9.png" in read(tmp_path / "a.tar").manifest.ids


def test_an_archive_of_splits_a_table_or_metadata(digits: Path, tmp_path: Path) -> None:
    split = tops(digits, tmp_path / "s", ["train/cat", "train/dog", "test/cat", "test/dog"])
    assert set(read(shutil.make_archive(str(tmp_path / "s"), "zip", split)).manifest.splits) == {"train", "test"}
    only_train = tops(digits, tmp_path / "o", ["d/train/cat", "d/train/dog"])
    assert set(read(shutil.make_archive(str(tmp_path / "o"), "zip", only_train)).manifest.splits) == {"train"}
    plain = tops(digits, tmp_path / "p" / "images", [""])
    lines = [[f"images/{name}", "cat" if n else "dog"] for n, name in enumerate(pictures(plain))]
    table(tmp_path / "p" / "labels.csv", [["path", "label"], *lines])
    packed = shutil.make_archive(str(tmp_path / "p"), "tar", tmp_path / "p")
    assert rows(read(packed).manifest) == rows(read(tmp_path / "p" / "labels.csv").manifest)
    table(tmp_path / "p" / "labels.csv", [["file", "label"], *lines])
    packed = shutil.make_archive(str(tmp_path / "p"), "tar", tmp_path / "p")
    refused(packed, DataError, f"“{packed}/labels.csv” has no column “path”", "“file”, “label”")
    assert len(read(packed, path_column="file").manifest) == 3
    (tmp_path / "p" / "labels.csv").unlink()
    table(tmp_path / "p" / "images" / "metadata.csv", [["file_name", "label"], *([x[7:], y] for x, y in lines)])
    packed = shutil.make_archive(str(tmp_path / "p"), "tar", tmp_path / "p")
    assert read(packed).manifest.classes == ("cat", "dog")


def test_class_folders_with_a_table_that_names_no_paths(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat", "dog"])
    table(data / "sizes.csv", [["camera", "count"], ["x", 3]])
    (data / "LICENSE").write_text("free")
    packed = shutil.make_archive(str(tmp_path / "d"), "zip", data)
    assert rows(read(packed).manifest) == rows(read(data).manifest)


def test_one_class_is_no_folder_too_many(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["pets/cat"])
    (data / "README.md").write_text("x")
    found = read(shutil.make_archive(str(tmp_path / "d"), "zip", data)).manifest
    assert found.classes == ("cat",)


def test_unpacked_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shutil.make_archive(str(tmp_path / "a"), "zip", data)
    first = read(path).manifest
    monkeypatch.setattr(archives, "_fill_from_zip", lambda place: pytest.fail("unpacked again"))
    moved = shutil.move(path, tmp_path / "another name")
    assert read(moved).manifest.root == first.root


def test_several_readers_unpack_it_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shutil.make_archive(str(tmp_path / "a"), "tar", data)
    fills: list[object] = []
    fill = archives._fill_from_tar
    monkeypatch.setattr(archives, "_fill_from_tar", lambda place: (fills.append(place), time.sleep(0.3), fill(place)))
    found: list[int] = []
    readers = [threading.Thread(target=lambda: found.append(len(read(path).manifest))) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert found == [13] * 4
    assert len(fills) == 1


def test_files_are_made_plain(data: Path, tmp_path: Path) -> None:
    (data / "cat" / "-rf <b>").chmod(0o6777)
    root = Path(read(shutil.make_archive(str(tmp_path / "a"), "tar", data)).manifest.root)
    assert stat.S_IMODE((root / "cat" / "-rf <b>").stat().st_mode) & 0o7133 == 0


BAD_NAMES = [
    "../evil.png",
    "cat/../../evil.png",
    "/tmp/evil.png",
    "C:/evil.png",
    "C:evil.png",
    "..\\evil.png",
    "\\\\host\\evil",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_slips_and_absolute_paths(tmp_path: Path, name: str) -> None:
    good = ("cat/1.png", b"good")
    words = ["leads out of it", "without ..", "unpack them yourself if you trust the archive"]
    nothing_written(tmp_path, zipped(tmp_path / "a.zip", [good, (name, b"evil")]), *words)
    nothing_written(tmp_path, tarred(tmp_path / "a.tar", [good, (name, b"evil")]), *words)
    nothing_written(tmp_path, tarred(tmp_path / "a.tgz", [good, (name, b"evil")], "w:gz"), *words)
    folder = tarfile.TarInfo(name)
    folder.type = tarfile.DIRTYPE
    nothing_written(tmp_path, tarred(tmp_path / "b.tar", [good, folder]), *words)
    assert not Path("/tmp/evil.png").exists()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_links_devices_and_sparse_files_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("cat")
    info.type, info.linkname = kind, str(tmp_path)
    path = tarred(tmp_path / "a.tar", [("dog/1.png", b"x"), info, ("cat/evil.png", b"evil")], kind=tarfile.GNU_FORMAT)
    nothing_written(tmp_path, path, "“cat” is a link, device or sparse file", "regular files and folders")
    assert not (tmp_path / "evil.png").exists()


def test_links_in_a_zip(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("cat")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, str(tmp_path))
        archive.writestr("cat/evil.png", b"evil")
    nothing_written(tmp_path, tmp_path / "a.zip", "“cat” is a link or a device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path: Path) -> None:
    for members in ([("a/1.png", b"x"), ("a/1.png", b"y")], [("a/1.png", b"x"), ("./a//1.png", b"y")]):
        nothing_written(tmp_path, zipped(tmp_path / "a.zip", members), "it holds", "1.png” twice", "each name once")
        nothing_written(tmp_path, tarred(tmp_path / "a.tar", members), "it holds", "1.png” twice")
    for members in ([("a", b"x"), ("a/1.png", b"y")], [("a/1.png", b"x"), ("a", b"y")]):
        nothing_written(tmp_path, zipped(tmp_path / "a.zip", members), "is both a file and a folder")
        nothing_written(tmp_path, tarred(tmp_path / "a.tar", members), "is both a file and a folder")


def test_names_that_no_disk_takes(tmp_path: Path) -> None:
    for name in ("a" * 300 + ".png", "a/" * 3000 + "1.png"):
        nothing_written(tmp_path, tarred(tmp_path / "a.tar", [(name, b"x")]), "is too long", "at most 255 bytes")


def test_bombs(tmp_path: Path) -> None:
    nil = bytes(12_000_000)
    words = ["is refused: it would grow", "at most 200-fold"]
    nothing_written(tmp_path, zipped(tmp_path / "a.zip", [("a/1.bmp", nil)]), *words)
    noise = random.Random(0).randbytes(200_000)  # without which all of it grows too much, with which one file does
    nothing_written(tmp_path, zipped(tmp_path / "c.zip", [("a/1.png", noise), ("a/2.bmp", nil)]), *words)
    many = [(f"a/{n}.bmp", nil[:3_000_000]) for n in range(4)]
    nothing_written(tmp_path, zipped(tmp_path / "b.zip", many), *words)
    for mode in ("w:gz", "w:bz2", "w:xz"):
        nothing_written(tmp_path, tarred(tmp_path / f"a.{mode[2:]}", many, mode), *words)


def test_small_and_uniform_pictures_are_no_bomb(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("a/1.bmp", bytes(9_000_000)), ("b/2.bmp", random.Random(0).randbytes(100_000))])
    assert len(read(path).manifest) == 2


def test_members_of_a_zip_that_share_their_bytes(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(100_000)
    path = zipped(tmp_path / "a.zip", [("a/1.png", noise)], zipfile.ZIP_STORED)
    raw = path.read_bytes()
    at = raw.index(b"PK\1\2")
    entry, end = raw[at : raw.index(b"PK\5\6")], raw[raw.index(b"PK\5\6") :]
    entries = b"".join(entry.replace(b"a/1.png", b"a/%03d" % n + b".png"[:2]) for n in range(900))
    head = struct.pack("<HHHHIIH", 0, 0, 900, 900, len(entries), at, 0)
    path.write_bytes(raw[:at] + entries + end[:4] + head)
    nothing_written(tmp_path, path, "a.zip” is")


def test_caps_on_entries_bytes_and_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [(f"{'ab'[n % 2]}/{n}.png", b"x" * 100) for n in range(6)]
    both = [zipped(tmp_path / "a.zip", members), tarred(tmp_path / "a.tar", members)]
    for path in both:
        with monkeypatch.context() as patch:
            patch.setattr(archives, "MAX_ENTRIES", 5)
            nothing_written(tmp_path, path, "it holds more than 5 entries")
        with monkeypatch.context() as patch:
            patch.setattr(archives, "MAX_BYTES", 599)
            nothing_written(tmp_path, path, "it would unpack to more than")
        with monkeypatch.context() as patch:
            usage = shutil.disk_usage(tmp_path)
            patch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=10**9 + 599))  # noqa: B023
            nothing_written(tmp_path, path, "it would unpack to more than", "what the disk has free")
    monkeypatch.setattr(archives, "MAX_ENTRIES", 6)
    monkeypatch.setattr(archives, "MAX_BYTES", 600)
    for path in both:
        assert len(read(path).manifest) == 6


def test_headers_that_never_end(tmp_path: Path) -> None:
    huge = tarfile.TarInfo("a/1.png")
    huge.pax_headers = {"comment": "x" * 30_000_000}
    name = tarfile.TarInfo("a/" + "n" * 30_000_000)
    for info, kind in ((huge, tarfile.PAX_FORMAT), (name, tarfile.GNU_FORMAT)):
        first = tarred(tmp_path / "first.tar", [info], kind=kind)
        later = tarred(tmp_path / "later.tar", [("b/1.png", b"x"), info], kind=kind)
        for path in (first, later):
            tracemalloc.start()
            nothing_written(tmp_path, path, "a header is far too long", "4 MB of headers per file")
            assert tracemalloc.get_traced_memory()[1] < 25e6
            tracemalloc.stop()


def test_a_compressed_stream_that_asks_for_gigabytes_of_memory(tmp_path: Path) -> None:
    raw = bytearray(lzma.compress(tarred(tmp_path / "a.tar", [("a/1.png", b"x")]).read_bytes(), check=lzma.CHECK_CRC32))
    size = (raw[12] + 1) * 4
    assert raw[14:16] == b"\x21\x01"  # LZMA2 and one byte: the size of its dictionary
    raw[16] = 40  # 4 GB
    raw[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(raw[12 : 12 + size - 4]))
    (tmp_path / "a.tar.xz").write_bytes(raw)
    refused(tmp_path / "a.tar.xz", DataError, "is a compressed archive")
    with pytest.raises(DataError, match="Memory usage limit"):
        unpack(str(tmp_path / "a.tar.xz"))


def packings(raw: bytes) -> dict[str, bytes]:
    half = len(raw) // 2
    return {
        "gz": gzip.compress(raw[:half]) + gzip.compress(raw[half:]),
        "bz2": bz2.compress(raw[:half]) + bz2.compress(raw[half:]),
        "xz": lzma.compress(raw[:half]) + bytes(8) + lzma.compress(raw[half:]) + bytes(4),
    }


def test_streams_end_to_end_are_one(data: Path, tmp_path: Path) -> None:
    raw = Path(shutil.make_archive(str(tmp_path / "a"), "tar", data)).read_bytes()
    for ending, packed in packings(raw).items():
        path = tmp_path / f"a.tar.{ending}"
        path.write_bytes(packed)
        assert rows(read(path).manifest) == rows(read(data).manifest)


@pytest.mark.parametrize("kind", FORMATS)
def test_cut_short(data: Path, tmp_path: Path, kind: str) -> None:
    path = Path(shutil.make_archive(str(tmp_path / "a"), kind, data))
    whole = path.read_bytes()
    names = set(read(data).manifest.ids)
    for cut in range(1, 10):
        path.write_bytes(whole[: len(whole) * cut // 10])
        before = tree(tmp_path)
        found = attempt(path)
        if found is None:
            assert {n for n in tree(tmp_path) if n not in before and "locks" not in n} <= {"cache", "cache/archives"}
        else:  # a tar may end anywhere between two members
            assert kind == "tar"
            assert set(found.ids) <= names
            for name in found.paths:
                assert Path(found.root, name).read_bytes() == (data / name).read_bytes()


@pytest.mark.parametrize("kind", FORMATS)
def test_flipped_bytes_never_lose_a_picture_in_silence(data: Path, tmp_path: Path, kind: str) -> None:
    path = Path(shutil.make_archive(str(tmp_path / "a"), kind, data))
    whole = path.read_bytes()
    number = len(read(data).manifest)
    rng = random.Random(1)
    for _ in range(60):
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        found = attempt(path)
        assert found is None or len(found) == number


def test_a_stream_that_turns_to_zeros_is_read_to_its_checksum(tmp_path: Path) -> None:
    """Damage may look like the end of the archive; the checksum at the end of the stream says that it is not."""
    raw = tarred(tmp_path / "a.tar", [(f"{n % 2}/{n}.png", b"x" * 700) for n in range(40)]).read_bytes()
    shorter = raw[: 9 * 1536].ljust(len(raw), b"\0")
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(shorter))
    assert len(read(path).manifest) == 9
    path.write_bytes(gzip.compress(shorter)[:-8] + gzip.compress(raw)[-8:])
    nothing_written(tmp_path, path, "damaged")


def test_one_tar_after_another(tmp_path: Path) -> None:
    one = tarred(tmp_path / "one.tar", [("a/1.png", b"x"), ("b/2.png", b"y")]).read_bytes()
    path = tmp_path / "two.tar"
    path.write_bytes(one + one)
    nothing_written(tmp_path, path, "damaged", "follows its end")


def test_a_broken_header_in_the_middle_of_a_tar(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tar", [(f"{n % 2}/{n}.png", b"x" * 700) for n in range(9)])
    raw = bytearray(path.read_bytes())
    raw[5 * 1536 + 150] ^= 1  # in the sixth checksum
    path.write_bytes(raw)
    nothing_written(tmp_path, path, "is damaged or cut short: no header at byte 7,680", "download or pack it again")


def test_a_wrong_crc_and_a_password(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", [("a/1.png", b"some picture"), ("b/1.png", b"other")], zipfile.ZIP_STORED)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"some picture", b"same picture"))
    nothing_written(tmp_path, path, "damaged or cut short", "Bad CRC-32")
    at = whole.index(b"PK\1\2") + 8
    path.write_bytes(whole[:at] + b"\1" + whole[at + 1 :])
    nothing_written(tmp_path, path, "it is encrypted", "archives without a password")
    nothing_written(tmp_path, zipped(tmp_path / "b.zip", [("a/1", b"x")], zipfile.ZIP_LZMA), "packed by method 14")


def test_zips_from_other_systems(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        old = zipfile.ZipInfo("cat\\1.png")
        old.create_system = 0
        old.filename = "cat\\1.png"
        archive.writestr(old, b"x")
        archive.writestr("dog/Ã©.png", b"y")
    raw = (tmp_path / "a.zip").read_bytes()
    raw = raw.replace("Ã©".encode(), "é¨".encode())  # the same length
    at = [n for n in range(len(raw)) if raw[n : n + 4] in (b"PK\1\2", b"PK\3\4")]
    cleared = bytearray(raw)
    for place in at:
        cleared[place + (9 if raw[place + 2] == 1 else 7)] &= ~0x08 & 0xFF
    (tmp_path / "a.zip").write_bytes(cleared)
    assert read(tmp_path / "a.zip").manifest.ids.tolist() == ["cat/1.png", "dog/é¨.png"]


def test_files_that_only_look_like_archives(tmp_path: Path) -> None:
    for name, content, what in (
        ("a.zip", b"PK\3\4 and no more", "is damaged or cut short"),
        ("b.zip", b"PK\5\6" + bytes(18), "holds no files"),
        ("c.tar", b"text", "is text"),
        ("d.tar.gz", gzip.compress(b"no tar"), "is a compressed archive"),
        ("e.tar.gz", b"\x1f\x8b\x08", "is a compressed archive"),
    ):
        (tmp_path / name).write_bytes(content)
        error = refused(tmp_path / name, DataError, what)
        assert str(tmp_path / "cache") not in str(error)


def test_a_cache_that_cannot_be_written(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = shutil.make_archive(str(tmp_path / "a"), "zip", data)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("VISUM_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="VISUM_CACHE"):
        unpack(path)


def test_a_full_disk_leaves_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shelf: Path) -> None:
    path = shutil.make_archive(str(tmp_path / "a"), "tar", data)
    writes: list[int] = []
    real: Callable[..., int] = os.open

    def full(name: str, *rest: int, **more: int) -> int:
        if str(name).endswith(".png"):
            writes.append(1)
            if len(writes) == 5:
                raise OSError(28, "No space left on device")
        return real(name, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        with pytest.raises(StorageError, match="no space left"):
            unpack(path)
    assert [each.name for each in shelf.iterdir()] == ["locks"]
    assert len(read(path).manifest) == 13


def test_real_photos(clothing: Path, tmp_path: Path) -> None:
    small = tmp_path / "photos"
    for name in ("hat", "skirt"):
        (small / "train" / name).mkdir(parents=True)
        for file in sorted((clothing / "train" / name).iterdir())[:5]:
            shutil.copy(file, small / "train" / name)
    found = read(shutil.make_archive(str(tmp_path / "a"), "zip", small))
    assert rows(found.manifest) == rows(read(small).manifest)
    assert not found.findings
    (small / "train" / "empty").mkdir()
    found = read(shutil.make_archive(str(tmp_path / "b"), "zip", small))
    assert only(found, "empty_class_folder").ids == ("train/empty",)
