"""The seal of a bundle or an export: which files there are, and that each is the file that was written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visum import runtime, safefile, storage
from visum.errors import BundleError, CorruptFile, ModelError, UnsafeFile
from visum.ship.bundle.faults import short

FORMAT = 1
REQUIRED = ("MODEL_CARD.md", "bundle.json", "golden/expected.json", "weights.safetensors")
SUMS = "SHA256SUMS"
TEXT_BYTES = 64 << 20  # of each file but the weights
MEANT = "a folder with bundle.json and SHA256SUMS, as in RUN/bundle after visum train DATA --out RUN"
AGAIN = "copy it again from where it was made, or make it anew with visum train"
IMAGE = r"golden/\d{3,6}\.[a-z]{3,4}"
_SUM = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._/-]{0,200})")


@dataclass(frozen=True)
class Layout:
    """What kind of sealed folder it is.

    Attributes:
        head: name of the JSON file that says what the rest is; it holds ``format``.
        format: the newest that this visum reads.
        required: names that must be there.
        others: pattern of names that may be there besides.
        large: pattern of names that may take half of the memory.
        raw: pattern of names whose first bytes may be anything, since whoever opens them looks for code himself.
        folders: those that may hold files.
        meant, again: words for messages.
    """

    head: str
    format: int
    required: tuple[str, ...]
    others: str
    large: str
    raw: str = "-"
    folders: tuple[str, ...] = ("golden",)
    meant: str = MEANT
    again: str = AGAIN


BUNDLE = Layout("bundle.json", FORMAT, REQUIRED, IMAGE, r"weights\.safetensors")


def version() -> str:
    """Of this visum, as installed."""
    return runtime.versions("visum").get("visum", "unknown")


def contents(place: Path, layout: Layout = BUNDLE) -> dict[str, bytearray]:
    """The bytes of every file by name, each held to ``SHA256SUMS``; an unlisted one, a link or a sub-folder is refused."""
    sums = _sums(place, layout)
    head = _checked(place, layout.head, sums, layout)
    _check_format(as_json(head, place, layout.head, layout), place, layout)
    for name in (*layout.required, *sums):
        if name not in sums:
            raise BundleError(f"{place}: {name} is not in {SUMS}", next=layout.again)
        if name not in layout.required and not re.fullmatch(layout.others, name):
            raise BundleError(f"{place}: {name} does not belong here", next=layout.again)
    _check_listing(place, sums, layout)
    return {name: head if name == layout.head else _checked(place, name, sums, layout) for name in sums}


def _sums(place: Path, layout: Layout) -> dict[str, str]:
    text = read_file(place, SUMS, 16 << 20, layout).decode("utf-8", "replace")
    found: dict[str, str] = {}
    for line in text.removesuffix("\n").split("\n"):
        match = _SUM.fullmatch(line)
        if match is None or match[2] in found or ".." in match[2]:
            raise BundleError(f"{place}/{SUMS} has a line that is not a checksum: {short(line)}", next=layout.again)
        found[match[2]] = match[1]
    return found


def _check_format(head: Any, place: Path, layout: Layout) -> None:
    number = head.get("format") if isinstance(head, dict) else None
    if type(number) is not int or number < 1:
        raise BundleError(f"{place}/{layout.head} is of format {short(number)}", allowed=layout.meant)
    if number > layout.format:
        raise BundleError(
            f"{place} was written by visum {short(head.get('visum'))} with format {number}; this one "
            f"({version()}) reads up to {layout.format}",
            next="pip install -U visum",
        )


def _check_listing(place: Path, sums: Mapping[str, str], layout: Layout) -> None:
    for folder, prefix in ((place, ""), *((place / inner, f"{inner}/") for inner in _folders(place, layout))):
        try:
            entries = os.scandir(folder)
        except OSError as error:
            raise BundleError(f"{folder} cannot be listed: {error.strerror}", next=layout.again) from error
        with entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_symlink():
                    raise BundleError(f"{place}: {short(name)} is a link", allowed="plain files", next=layout.again)
                if entry.is_dir():
                    if name not in layout.folders:
                        raise BundleError(f"{place}: {short(name)} is a folder that does not belong", next=layout.again)
                elif name != SUMS and name not in sums:
                    if entry.is_file():
                        safefile.refuse_pickle(entry.path)
                    raise BundleError(f"{place}: {short(name)} is extra: it is not in {SUMS}", next=layout.again)


def _folders(place: Path, layout: Layout) -> list[str]:
    """The golden images', and those others of the layout that are there."""
    return [inner for inner in layout.folders if inner == "golden" or (place / inner).is_dir()]


def _checked(place: Path, name: str, sums: Mapping[str, str], layout: Layout) -> bytearray:
    data = read_file(place, name, _memory() // 2 if re.fullmatch(layout.large, name) else TEXT_BYTES, layout)
    words = safefile.carrier(bytes(data[:4096]))
    if words and not re.fullmatch(layout.raw, name):
        raise UnsafeFile(f"{place}/{name} is {words}, which can run code when it is opened", next=layout.again)
    if storage.digest_bytes(data) != sums.get(name):
        raise BundleError(f"{place}/{name} is not the file that was written: {SUMS} disagrees", next=layout.again)
    return data


def read_file(place: Path, name: str, limit: int, layout: Layout = BUNDLE) -> bytearray:
    try:
        return safefile.read_bytes(place / name, limit=limit)
    except UnsafeFile:
        raise
    except ModelError as error:
        raise BundleError(error.got, allowed=layout.meant, next=layout.again) from error


def as_json(data: bytearray, place: Path, name: str, layout: Layout = BUNDLE) -> Any:
    try:
        value = safefile.parse_json(data, f"{place}/{name}")
    except CorruptFile as error:
        raise BundleError(error.got, next=layout.again) from error
    if not isinstance(value, dict):
        raise BundleError(f"{place}/{name} is not a JSON object", next=layout.again)
    return value


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
