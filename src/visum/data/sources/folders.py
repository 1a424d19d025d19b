"""Folders as labels: ``root/<class>/…`` and ``root/<split>/<class>/…``; what lies deeper belongs to the class above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from types import MappingProxyType

from visum.data.sources.classes import Found
from visum.data.sources.tables import TABLE_ENDINGS
from visum.data.sources.walk import Listing, no_picture, walk
from visum.data.sources.words import clean, counted, finding, listed, quoted
from visum.errors import DataError
from visum.types import Finding, Split

SPLIT_NAMES: Mapping[str, Split] = MappingProxyType(
    {
        "train": "train",
        "training": "train",
        "val": "validation",
        "valid": "validation",
        "validation": "validation",
        "dev": "validation",
        "test": "test",
        "testing": "test",
    }
)
"""What folders and split columns may call the splits, in any case."""

PICTURE_ENDINGS = frozenset(
    ("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "heif")
)
"""Endings by which a lone file is taken for a picture that was forgotten beside the folders."""


def split_of(name: str) -> Split:
    """The split that a folder or a cell names; "" if it names none."""
    return SPLIT_NAMES.get(name.strip().casefold(), "")


def split_folders(names: Sequence[str]) -> dict[str, Split]:
    """Those of the folders that name a split.

    Raises:
        DataError: two of them name the same split.
    """
    splits: dict[str, Split] = {name: split for name in names if (split := split_of(name))}
    for split in set(splits.values()):
        same = [name for name in splits if splits[name] == split]
        if len(same) > 1:
            raise DataError(
                f"the folders {listed(same)} both mean the split {split}",
                allowed="one folder per split: train, validation, test",
                next=f"merge them, or move {quoted(same[1])} out of the folder",
            )
    return splits


def read_folder(root: str) -> Found:
    """Pictures labelled by the folder that they are in.

    Args:
        root: absolute path of an existing folder.

    Raises:
        DataError: no pictures, no class folders, or two folders for one split.
    """
    listing = walk(root)
    pictures = [path for path in listing.files if not no_picture(path)]
    if not pictures:
        raise _empty(root, listing)
    splits = _splits(pictures)
    depth = 1 if splits else 0
    paths: list[str] = []
    labels: list[tuple[str, ...]] = []
    given: list[str] = []
    loose: list[str] = []
    names: dict[str, tuple[str, ...]] = {}
    for path in pictures:
        parts = path.split("/", depth + 1)
        if (splits and parts[0] not in splits) or len(parts) < depth + 2:
            loose.append(path)
            continue
        name = parts[depth]
        paths.append(path)
        labels.append(names[name] if name in names else names.setdefault(name, (clean(name),)))
        given.append(splits[parts[0]] if splits else "")
    if not paths:
        raise _loose(root, listing, loose)
    findings = (
        *listing.findings,
        *_beside(loose, splits),
        *_empty_folders(listing, paths, splits),
        *_not_pictures(listing, len(pictures)),
        *_one_class(root, names, paths),
    )
    return Found(root, paths, labels, given, [""] * len(paths), False, findings)


def _splits(pictures: Sequence[str]) -> dict[str, Split]:
    """Top folders that are splits; none if the top folders are classes (one of which may well be called “train”)."""
    tops: dict[str, bool] = {}  # top folder → whether it holds folders
    for path in pictures:
        top, slash, rest = path.partition("/")
        if slash:
            tops[top] = tops.get(top, False) or "/" in rest
    named = [top for top in tops if split_of(top)]
    all_of_them = len(named) == len(tops)
    several = len({split_of(top) for top in named if tops[top]}) > 1
    if not named or not (all_of_them or several):
        return {}
    return split_folders(named)


def _empty(root: str, listing: Listing) -> DataError:
    what = (
        "holds no files" if not listing.files else f"holds only files that are no pictures: {listed(listing.files, 3)}"
    )
    passed = " ".join(found.message for found in listing.findings)
    return DataError(
        f"the folder {quoted(root)} {what}" + (f". {passed.rstrip('.')}" if passed else ""),
        allowed="one folder per class with pictures in it, in train, validation and test folders or without",
        next="another folder, or the table (CSV, Parquet) that lists the pictures",
    )


def _loose(root: str, listing: Listing, loose: Sequence[str]) -> DataError:
    tables = [f for f in listing.files if f.rpartition(".")[2].lower() in TABLE_ENDINGS]
    where = "directly in it" if "/" not in loose[0] else f"directly in its folder {quoted(loose[0].partition('/')[0])}"
    return DataError(
        f"{quoted(root)} has {counted(len(loose), 'file')} {where}, e.g. {quoted(loose[0])}, and no class folders",
        allowed="one folder per class (cat/1.jpg, dog/2.jpg), or a table of paths and labels",
        next=f"give the table: {quoted(str(PurePosixPath(root) / tables[0]))}" if tables else "a folder for each class",
    )


def _beside(loose: Sequence[str], splits: Mapping[str, Split]) -> list[Finding]:
    """Pictures that lie beside class folders or beside split folders."""
    seen = [path for path in loose if "/" in path or path.rpartition(".")[2].lower() in PICTURE_ENDINGS]
    if not seen:
        return []
    where = "outside the class folders of " + ", ".join(splits) if splits else "beside the class folders"
    it, lies, has = ("it", "lies", "has") if len(seen) == 1 else ("them", "lie", "have")
    message = (
        f"{counted(len(seen), 'image')} {lies} {where}, e.g. {quoted(seen[0])}, and {has} no label: left out. "
        f"Move {it} into class folders, or predict {it}."
    )
    return [finding("image_without_class", "warning", message, seen, images=len(seen))]


def _empty_folders(listing: Listing, paths: Sequence[str], splits: Mapping[str, Split]) -> list[Finding]:
    depth = 1 if splits else 0
    full = {tuple(path.split("/", depth + 1)[: depth + 1]) for path in paths}
    empty = []
    for folder in listing.folders:
        parts = tuple(folder.split("/"))
        classlike = len(parts) == depth + 1 and (not splits or parts[0] in splits) and parts not in full
        if classlike or (splits and len(parts) == 1 and parts[0] not in splits and split_of(parts[0])):
            empty.append(folder)
    if not empty:
        return []
    message = (
        f"{counted(len(empty), 'folder')} without pictures: {listed(empty)}. "
        "Such a folder adds no class; fill it, or delete it if it is a leftover."
    )
    return [finding("empty_class_folder", "warning", message, empty, folders=len(empty))]


def _not_pictures(listing: Listing, pictures: int) -> list[Finding]:
    """Texts, tables and the like inside class folders; those at the top (README, LICENSE, labels) belong there."""
    number = len(listing.files) - pictures
    other = [path for path in listing.files if "/" in path and no_picture(path)] if number else []
    if not other:
        return []
    message = (
        f"{counted(len(other), 'file')} with the name of something else than a picture: {listed(other, 3)}. Passed over; "
        f"rename {'it' if len(other) == 1 else 'them'} if that is wrong."
    )
    return [finding("not_pictures", "info", message, other, files=len(other))]


def _one_class(root: str, names: Mapping[str, tuple[str, ...]], paths: Sequence[str]) -> list[Finding]:
    """One folder holding everything is more often a folder too many than a class."""
    if len(names) != 1:
        return []
    (name,) = names
    deeper = sorted({parts[1] for path in paths if len(parts := path.split("/")) > 2 and parts[0] == name})
    if not deeper:
        return []
    message = (
        f"All images are in the one folder {quoted(name)}. If its folders {listed(deeper, 3)} are the classes, "
        f"give {quoted(str(PurePosixPath(root) / name))} instead."
    )
    return [finding("one_class_folder", "warning", message, (), folders=len(deeper))]
