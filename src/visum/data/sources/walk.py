"""All regular files below a folder, without ever leaving it, opening a file or waiting for one.

Links are followed only to regular files inside the folder; links to folders are not, so that loops cannot arise. The kind of
an entry comes with its name from the operating system, so that 60,000 files cost no ``stat`` each.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass

from visum.data.sources.words import clean, counted, finding, meant, quoted
from visum.errors import DataError
from visum.types import Finding

IGNORED = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "lost+found"))
"""Names that systems leave behind; they and all hidden names (leading dot) are passed over without a word."""

# fmt: off
NOT_PICTURES = frozenset(
    (
        "txt", "md", "rst", "json", "jsonl", "csv", "tsv", "xml", "yaml", "yml", "toml", "ini", "cfg", "html",
        "htm", "css", "js", "py", "ipynb", "sh", "log", "pdf", "doc", "docx", "xls", "xlsx", "parquet", "npy",
        "npz", "pkl", "pt", "pth", "onnx", "zip", "tar", "gz", "bz2", "xz", "7z", "rar", "db", "sqlite",
        "lock", "md5", "sha256",
    )
)
# fmt: on
"""Endings of files that nobody means as a picture; every other file becomes a row, and its bytes decide."""

_OWN = (frozenset(("run.json", "recipe.toml")), frozenset(("bundle.json", "SHA256SUMS")))
"""Names by which a folder is a run or a bundle, whose pictures are copies, charts and golden images."""

_WHY = {
    "outside": (
        "link_out_of_folder",
        "link leads",
        "links lead",
        "out of the folder",
        "Copy the pictures there instead",
    ),
    "folder": ("link_to_folder", "link leads", "links lead", "to a folder", "Copy the folder there instead"),
    "broken": ("broken_link", "link leads", "links lead", "nowhere or in a circle", "Delete or mend {them}"),
    "special": ("special_file", "entry is", "entries are", "a pipe, socket or device", "Move {them} elsewhere"),
    "own": (
        "run_in_data",
        "folder is",
        "folders are",
        "a run or a bundle that visum wrote, with copies of pictures in it,",
        "Move {them} out of the data",
    ),
    "closed": (
        "unreadable_folder",
        "folder",
        "folders",
        "could not be opened",
        "Give yourself permission to read {them}",
    ),
}


@dataclass(frozen=True, eq=False)
class Listing:
    """What lies below a folder.

    Attributes:
        files: paths below it with ``/``, sorted, as the operating system spells them.
        folders: likewise, without a final ``/``.
        findings: links, special files, closed folders, and runs and bundles of ours that were passed over, one finding a kind.
    """

    files: list[str]
    folders: list[str]
    findings: tuple[Finding, ...]


def ignored(name: str) -> bool:
    """Whether a file or folder of this name is passed over without a word."""
    return name.startswith(".") or name in IGNORED


def no_picture(path: str) -> bool:
    """Whether the ending alone says that this is no picture."""
    stem, dot, ending = path.rpartition(".")
    return bool(dot) and bool(stem) and ending.lower() in NOT_PICTURES


def walk(root: str) -> Listing:
    """List everything below ``root``; a folder that cannot be opened is reported, not raised."""
    inside = os.path.join(os.path.realpath(root), "")  # noqa: PTH118 - hot path, and pathlib normalises names
    files: list[str] = []
    folders: list[str] = []
    passed: dict[str, list[str]] = {}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        try:
            with os.scandir(os.path.join(root, below)) as entries:  # noqa: PTH118
                within = list(entries)
                if below and _own({entry.name for entry in within}):
                    passed.setdefault("own", []).append(below.rstrip("/"))
                    continue
                for entry in within:
                    name = entry.name
                    if ignored(name):
                        continue
                    path = below + name
                    if entry.is_symlink():
                        why = link(entry.path, inside)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                        waiting.append(path + "/")
                        continue
                    else:
                        why = "" if entry.is_file(follow_symlinks=False) else "special"
                    if why:
                        passed.setdefault(why, []).append(path)
                    else:
                        files.append(path)
        except OSError:
            passed.setdefault("closed", []).append(below.rstrip("/") or ".")
    folders = sorted(set(folders).difference(passed.get("own", ())))
    return Listing(sorted(files), folders, tuple(_finding(why, sorted(passed[why])) for why in sorted(passed)))


def _own(names: set[str]) -> bool:
    return any(mark <= names for mark in _OWN)


def link(path: str, inside: str) -> str:
    """Why the link at ``path`` is not followed: outside, folder, broken or special; "" if it leads to a file inside.

    Args:
        inside: the real path of the root, with its final separator.
    """
    try:
        target = os.path.realpath(path, strict=True)
        mode = os.stat(target).st_mode  # noqa: PTH116
    except (OSError, ValueError):
        return "broken"
    if not (target + "/").startswith(inside):
        return "outside"
    return "" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "special"


def missing(path: str, allowed: str) -> DataError:
    """What to say of a path where nothing is, with the nearest name beside it."""
    parent, name = os.path.split(path)
    known: list[str] = []
    with contextlib.suppress(OSError, ValueError):
        known = sorted(clean(each) for each in os.listdir(parent) if not ignored(each))  # noqa: PTH208
    return DataError(
        f"nothing is at {quoted(path)}{meant(name, known)}", allowed=f"{allowed}, on this machine", next="another path"
    )


def _finding(why: str, paths: Sequence[str]) -> Finding:
    kind, one, many, where, advice = _WHY[why]
    number = len(paths)
    message = f"{counted(number, one, many)} {where} and {'was' if number == 1 else 'were'} passed over. "
    message += f"{advice.format(them='it' if number == 1 else 'them')}."
    return finding(kind, "warning", message, paths, files=number)
