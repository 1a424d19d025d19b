"""The seal of a bundle: which files there are, and that each is the file that was written."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
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
_IMAGE = re.compile(r"golden/\d{3,6}\.[a-z]{3,4}")
_SUM = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._/-]{0,200})")


def version() -> str:
    """Of this visum, as installed."""
    return runtime.versions("visum").get("visum", "unknown")


def contents(place: Path) -> dict[str, bytearray]:
    """The bytes of every file by name, each held to ``SHA256SUMS``; an unlisted one, a link or a sub-folder is refused."""
    sums = _sums(place)
    head = _checked(place, "bundle.json", sums)
    _check_format(as_json(head, place, "bundle.json"), place)
    for name in (*REQUIRED, *sums):
        if name not in sums:
            raise BundleError(f"{place}: {name} is not in {SUMS}", next=AGAIN)
        if name not in REQUIRED and not _IMAGE.fullmatch(name):
            raise BundleError(f"{place}: {name} does not belong in a bundle", next=AGAIN)
    _check_listing(place, sums)
    return {name: head if name == "bundle.json" else _checked(place, name, sums) for name in sums}


def _sums(place: Path) -> dict[str, str]:
    text = read_file(place, SUMS, 16 << 20).decode("utf-8", "replace")
    found: dict[str, str] = {}
    for line in text.removesuffix("\n").split("\n"):
        match = _SUM.fullmatch(line)
        if match is None or match[2] in found or ".." in match[2]:
            raise BundleError(f"{place}/{SUMS} has a line that is not a checksum: {short(line)}", next=AGAIN)
        found[match[2]] = match[1]
    return found


def _check_format(head: Any, place: Path) -> None:
    number = head.get("format") if isinstance(head, dict) else None
    if type(number) is not int or number < 1:
        raise BundleError(f"{place}/bundle.json is of format {short(number)}", allowed=MEANT)
    if number > FORMAT:
        raise BundleError(
            f"{place} was written by visum {short(head.get('visum'))} with format {number}; this one "
            f"({version()}) reads up to {FORMAT}",
            next="pip install -U visum",
        )


def _check_listing(place: Path, sums: Mapping[str, str]) -> None:
    for folder, prefix in ((place, ""), (place / "golden", "golden/")):
        try:
            entries = os.scandir(folder)
        except OSError as error:
            raise BundleError(f"{folder} cannot be listed: {error.strerror}", next=AGAIN) from error
        with entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_symlink():
                    raise BundleError(f"{place}: {short(name)} is a link", allowed="plain files", next=AGAIN)
                if entry.is_dir():
                    if name != "golden":
                        raise BundleError(f"{place}: {short(name)} is a folder that does not belong", next=AGAIN)
                elif name != SUMS and name not in sums:
                    if entry.is_file():
                        safefile.refuse_pickle(entry.path)
                    raise BundleError(f"{place}: {short(name)} is extra: it is not in {SUMS}", next=AGAIN)


def _checked(place: Path, name: str, sums: Mapping[str, str]) -> bytearray:
    data = read_file(place, name, _memory() // 2 if name == "weights.safetensors" else TEXT_BYTES)
    if words := safefile.carrier(bytes(data[:4096])):
        raise UnsafeFile(f"{place}/{name} is {words}, which can run code when it is opened", next=AGAIN)
    if storage.digest_bytes(data) != sums.get(name):
        raise BundleError(f"{place}/{name} is not the file that was written: {SUMS} disagrees", next=AGAIN)
    return data


def read_file(place: Path, name: str, limit: int) -> bytearray:
    try:
        return safefile.read_bytes(place / name, limit=limit)
    except UnsafeFile:
        raise
    except ModelError as error:
        raise BundleError(error.got, allowed=MEANT, next=AGAIN) from error


def as_json(data: bytearray, place: Path, name: str) -> Any:
    try:
        value = safefile.parse_json(data, f"{place}/{name}")
    except CorruptFile as error:
        raise BundleError(error.got, next=AGAIN) from error
    if not isinstance(value, dict):
        raise BundleError(f"{place}/{name} is not a JSON object", next=AGAIN)
    return value


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
