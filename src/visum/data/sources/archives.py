"""Zip and tar archives, unpacked once into the cache and never anywhere else.

An archive is somebody's program for writing files. Only regular files and folders are made, each name is checked first, none is
written twice, and bytes are counted against caps while they are written. An archive that asks for anything else is refused
whole, and what it had written so far is deleted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from lzma import LZMAError
from pathlib import Path

from visum import storage
from visum.data.sources.folders import PICTURE_ENDINGS, split_of
from visum.data.sources.streams import Metered, Readable, TooMuch, decompressed
from visum.data.sources.tables import TABLE_ENDINGS
from visum.data.sources.walk import ignored
from visum.data.sources.words import clean, quoted
from visum.errors import DataError, Locked

MAX_ENTRIES = 2_000_000
MAX_BYTES = 100 * 10**9
MAX_RATIO = 200  # photographs hardly shrink; raw grey digits shrink 10-fold
RATIO_FROM = 10 * 10**6  # bytes below which any ratio is harmless
_SPARE_BYTES = 10**9  # left free on the disk
_MAX_HEADER = 4 << 20  # bytes of tar headers (long names, attributes) between two files
_PIECE = 1 << 20
_HEADER_WORDS = "4 MB of headers per file"
_LONG_HEADER = "a header is far too long, or a file longer than stated"
_WAIT_SECONDS = 600
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
_DRIVE = re.compile(r"^[A-Za-z]:")
_DAMAGE = (EOFError, zlib.error, LZMAError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError, ValueError)


def unpack(path: str) -> str:
    """Absolute path of the folder that holds what the archive holds.

    It lies in the cache under the digest of the archive's bytes, so that a second call costs one reading of the archive. If all
    of it is in one folder that holds folders (or files that a table may name), that folder is the answer.

    Raises:
        DataError: no archive, damaged, encrypted, or asking for what no data set needs (links, devices, paths that lead out,
            a file twice, more than ``MAX_ENTRIES``, ``MAX_BYTES``, ``MAX_RATIO`` or the free disk). Nothing is left behind.
        StorageError: the cache cannot be written.
        Locked: another process has been unpacking the same archive for ten minutes.
    """
    shelf = storage.cache_folder() / "archives"
    target = shelf / storage.digest_file(path)
    if not target.is_dir():
        with _turn(shelf / "locks" / target.name, path):
            if not target.is_dir():
                with storage.atomic_folder(target) as draft, _explained(path):
                    limit = min(MAX_BYTES, shutil.disk_usage(draft).free - _SPARE_BYTES)
                    (_fill_from_zip if _is_zip(path) else _fill_from_tar)(_Place(path, str(draft), limit))
    with contextlib.suppress(OSError):
        os.utime(target)  # used now: the cache evicts what was used longest ago
    return _single(str(target))


def is_archive(path: str) -> bool:
    """Whether the bytes are a zip, or a tar, plain or compressed by gzip, bzip2 or xz."""
    if _is_zip(path):
        return True
    with contextlib.suppress(*_DAMAGE, OSError), decompressed(path) as stream:
        tarfile.TarInfo.frombuf(stream.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        return True
    return False


def _is_zip(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.read(4) in (b"PK\3\4", b"PK\5\6")  # the second: without members


@contextlib.contextmanager
def _turn(folder: Path, path: str) -> Iterator[None]:
    """Wait until no other process unpacks the same archive."""
    begin = time.monotonic()
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(storage.lock(folder))
                break
            except Locked as error:
                if time.monotonic() - begin > _WAIT_SECONDS:
                    raise Locked(
                        f"another process is unpacking {quoted(path)}", next="the same command again when it has ended"
                    ) from error
                time.sleep(0.1)
        yield


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    """Foreign errors about the archive's bytes and names as one of ours."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            raise  # of the disk: ``atomic_folder`` explains these
        raise _damaged(path, str(error)) from error
    except _DAMAGE as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: str, why: str) -> DataError:
    return DataError(
        f"the archive {quoted(path)} is damaged or cut short{': ' + clean(why) if why else ''}",
        allowed="a whole zip, tar, tar.gz, tar.bz2 or tar.xz",
        next="download or pack it again",
    )


def _refusal(path: str, why: str, allowed: str) -> DataError:
    return DataError(
        f"the archive {quoted(path)} is refused: {why}",
        allowed=allowed,
        next="pack the pictures again, or unpack them yourself if you trust the archive, and give the folder",
    )


@dataclass
class _Place:
    """Where an archive is being unpacked, and how much of it so far."""

    path: str
    folder: str
    limit: int
    entries: int = 0
    bytes: int = 0
    names: set[str] = field(default_factory=set)

    def name(self, name: str, *, folder: bool) -> str:
        """A member's name as a relative path that cannot lead out ("" for the archive's own folder); counts it.

        Raises:
            DataError: it leads out, was there before, or is one too many.
        """
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise _refusal(self.path, f"it holds more than {MAX_ENTRIES:,} entries", f"at most {MAX_ENTRIES:,}")
        if name.startswith(("/", "\\")) or _DRIVE.match(name) or ".." in re.split(r"[/\\]", name) or "\0" in name:
            raise _refusal(
                self.path, f"{quoted(name)} leads out of it", "names below the archive's own folder, without .."
            )
        inner = "/".join(part for part in name.split("/") if part not in ("", "."))
        if not folder:
            if not inner or inner in self.names:
                raise _refusal(self.path, f"it holds {quoted(name)} twice", "each name once")
            self.names.add(inner)
        return inner

    def room(self, size: int) -> None:
        """Count bytes that will be written.

        Raises:
            DataError: they are too many.
        """
        self.bytes += size
        if self.bytes > self.limit:
            raise _refusal(
                self.path,
                f"it would unpack to more than {self.limit / 1e9:,.1f} GB",
                f"at most {MAX_BYTES / 1e9:,.0f} GB and what the disk has free",
            )

    def make(self, inner: str) -> None:
        """Make a folder."""
        with self._named(inner):
            os.makedirs(os.path.join(self.folder, inner), exist_ok=True)  # noqa: PTH103, PTH118

    def write(self, inner: str, size: int, source: Readable) -> None:
        """Write one file of exactly ``size`` bytes."""
        full = os.path.join(self.folder, inner)  # noqa: PTH118 - hot path
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._named(inner):
            try:
                handle = os.open(full, flags, 0o644)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(full), exist_ok=True)  # noqa: PTH103, PTH120
                handle = os.open(full, flags, 0o644)
        left = size
        with open(handle, "wb", buffering=0) as file:  # noqa: PTH123 - a descriptor, not a path
            while left and (piece := source.read(min(left, _PIECE))):
                file.write(piece)
                left -= len(piece)
        if left:
            raise _damaged(self.path, f"{clean(inner)} is not as long as stated")

    @contextlib.contextmanager
    def _named(self, inner: str) -> Iterator[None]:
        """What the disk says about a name that two members cannot share, or that is too long."""
        try:
            yield
        except (FileExistsError, NotADirectoryError) as error:
            raise _refusal(self.path, f"{quoted(inner)} is both a file and a folder", "each name once") from error
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise _refusal(self.path, f"the name {quoted(inner)} is too long", "names of at most 255 bytes") from error


def _fill_from_zip(place: _Place) -> None:
    with zipfile.ZipFile(place.path) as archive:
        members = archive.infolist()
        for member in members:
            _check_zipped(place.path, member)
        total = sum(member.file_size for member in members)
        _check_ratio(place.path, total, os.stat(place.path).st_size)  # noqa: PTH116 - members may share their bytes
        place.room(total)
        names = [place.name(_zip_name(member), folder=member.is_dir()) for member in members]
        for member, inner in zip(members, names, strict=True):  # all are judged before the first is written
            if member.is_dir():
                place.make(inner)
            else:
                with archive.open(member) as source:
                    place.write(inner, member.file_size, source)


def _check_zipped(path: str, member: zipfile.ZipInfo) -> None:
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refusal(path, f"{quoted(member.filename)} is a link or a device", "regular files and folders")
    if member.flag_bits & 1:
        raise _refusal(path, "it is encrypted", "archives without a password")
    if member.compress_type not in _METHODS:
        raise _refusal(path, f"it is packed by method {member.compress_type}", "stored, deflate or bzip2")
    _check_ratio(path, member.file_size, member.compress_size)


def _check_ratio(path: str, size: int, packed: int) -> None:
    if size > RATIO_FROM and size > MAX_RATIO * packed:
        raise _refusal(path, f"it would grow {size // max(packed, 1):,}-fold", f"at most {MAX_RATIO}-fold")


def _zip_name(member: zipfile.ZipInfo) -> str:
    """The name as it was meant: some archives hold UTF-8 without saying so, or ``\\`` between folders."""
    name = member.filename
    if not member.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/") if member.create_system == 0 else name


def _fill_from_tar(place: _Place) -> None:
    limit = max(RATIO_FROM, MAX_RATIO * os.stat(place.path).st_size)  # noqa: PTH116
    with decompressed(place.path) as stream:
        metered = Metered(stream, limit, f"it would grow more than {MAX_RATIO}-fold")
        try:
            _fill_from_stream(place, metered)
        except TooMuch as error:
            raise _refusal(place.path, str(error), f"at most {MAX_RATIO}-fold growth, {_HEADER_WORDS}") from error


def _fill_from_stream(place: _Place, metered: Metered) -> None:
    """Forward only, so that no archive can make a compressed stream be read again and again."""
    metered.allow(_MAX_HEADER, _LONG_HEADER)
    with tarfile.open(fileobj=metered, mode="r|", encoding="utf-8", errors="surrogateescape") as archive:  # type: ignore[call-overload]
        while member := archive.next():
            inner = place.name(member.name, folder=member.isdir())
            if member.isdir():
                place.make(inner)
            elif member.isreg() and not member.issparse():
                place.room(member.size)
                metered.allow(member.size + _MAX_HEADER, _LONG_HEADER)
                source = archive.extractfile(member)
                place.write(inner, member.size, source)
            else:
                raise _refusal(
                    place.path, f"{quoted(member.name)} is a link, device or sparse file", "regular files and folders"
                )
            archive.members.clear()  # it would keep them all
            metered.allow(_MAX_HEADER, _LONG_HEADER)
        if any(metered.recent(archive.offset, tarfile.BLOCKSIZE)):  # ``tarfile`` takes a broken header for the end
            raise _damaged(place.path, f"no header at byte {archive.offset:,}")
    metered.allow(_MAX_HEADER, "much follows its end")
    while piece := metered.read(1 << 16):  # a compressed stream tells only at its end whether all of it was right
        if piece.strip(b"\0"):
            raise _damaged(place.path, "something follows its end")


def _single(root: str) -> str:
    """The folder that everything is in, unless it is itself a split or a class."""
    while True:
        tops, tables, pictures = _holds(root)
        if len(tops) != 1 or tables or pictures or split_of(tops[0]):
            return root
        below = f"{root}/{tops[0]}"
        folders, tables, _ = _holds(below)
        if not folders and not tables:
            return root
        root = below


def _holds(folder: str) -> tuple[list[str], int, int]:
    """Folders directly in a folder, and how many files there are tables or pictures by their names."""
    folders, endings = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not ignored(entry.name):
                folders.append(entry.name)
            elif not ignored(entry.name):
                endings.append(entry.name.rpartition(".")[2].lower())
    return folders, sum(e in TABLE_ENDINGS for e in endings), sum(e in PICTURE_ENDINGS for e in endings)
