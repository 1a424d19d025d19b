"""From names to numbers: the fixed order of classes, the task, groups, and what is odd about the names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from visum.data.sources.words import counted, finding, listed, meant, nearest, quoted
from visum.errors import DataError, UsageError
from visum.types import Finding, Manifest, Task, manifest, printable


@dataclass(frozen=True, eq=False)
class Found:
    """What a layout yields before its classes have numbers; columns of one length N.

    Attributes:
        root: absolute folder.
        paths: below ``root``, as the operating system spells them, each once.
        labels: names of each picture's classes; ``()`` where it has none.
        splits: train, validation, test or "".
        groups: "" where a row stands alone.
        several: whether the source itself allows several classes a picture.
        findings: what was noticed and passed over.
    """

    root: str
    paths: Sequence[str]
    labels: Sequence[tuple[str, ...]]
    splits: Sequence[str]
    groups: Sequence[str]
    several: bool
    findings: tuple[Finding, ...]


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once: numbers by value, then words by letters whatever their case.

    The place of two names does not depend on which others there are, so that a class that comes or goes in one split
    never changes the order of the rest.
    """
    return tuple(sorted(set(names), key=_place))


def _place(name: str) -> tuple[int, int, str, str]:
    if name.isascii() and name.isdigit():
        digits = name.lstrip("0")
        return 0, len(digits), digits, name
    return 1, 0, name.casefold(), name


def finish(
    found: Found, *, task: Task | None, classes: Sequence[str] | None, group_regex: str | None
) -> tuple[Manifest, tuple[Finding, ...]]:
    """The manifest of what a layout found.

    Args:
        task: None: multilabel if the source allows several classes a picture, binary if there are two classes, else multiclass.
        classes: the order to use; None: that of ``ordered``.
        group_regex: searched in each id; its first bracket (or all that it matched) names the row's group.

    Raises:
        DataError: nothing is labelled, a class is not among ``classes``, or the labels do not fit ``task``.
    """
    found = _told_apart(found)
    grouped = _groups(found, group_regex)
    present = ordered(name for label in set(found.labels) for name in label)
    if not present:
        raise DataError(
            f"none of {counted(len(found.paths), 'image')} in {quoted(found.root)} has a label",
            allowed="at least one labelled image",
            next="fill the label column, or sort the images into one folder per class",
        )
    names = _known(classes, present) if classes is not None else present
    chosen = _task(found, names, task)
    index = {name: k for k, name in enumerate(names)}
    numbers = {label: tuple(sorted({index[name] for name in label})) for label in set(found.labels)}
    table = manifest(
        found.root,
        chosen,
        names,
        found.paths,
        [numbers[label] for label in found.labels],
        splits=found.splits,
        groups=grouped,
    )
    notes = (*found.findings, *_alike(present), *_orphans(found), *_matched(group_regex, grouped))
    return table, notes


def check(
    task: str | None,
    classes: Sequence[str] | None,
    group_column: str | None,
    group_regex: str | None,
    delimiter: str | None,
) -> None:
    """Refuse impossible arguments before any file is looked at.

    Raises:
        UsageError: an unknown task, repeated classes, two sources of groups, no delimiter, or no regular expression.
    """
    if task is not None and task not in get_args(Task):
        raise UsageError(
            f"task {task!r}{meant(task, get_args(Task))}",
            allowed=", ".join(get_args(Task)),
            next="--task multiclass, or leave it out",
        )
    if classes is not None and (isinstance(classes, str) or not classes or len(set(classes)) != len(classes)):
        raise UsageError(
            f"classes {classes!r}", allowed="at least one name, each once", next="the bundle's own classes"
        )
    if delimiter == "":
        raise UsageError("an empty delimiter", allowed="the text between two labels", next="--delimiter '|'")
    if group_column is not None and group_regex is not None:
        raise UsageError(
            "a group column and a group regex were both given", allowed="one of the two", next="leave out --group-regex"
        )
    try:
        re.compile(group_regex or "")
    except re.error as error:
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        raise UsageError(
            f"the group regex {quoted(group_regex or '')} is not a regular expression: {error.msg}{where}",
            allowed="a Python regular expression, its first bracket being the group",
            next=r"--group-regex '([^/_]+)_[^/]*$' for patient7_003.png",
        ) from error


def _known(classes: Sequence[str], present: Sequence[str]) -> tuple[str, ...]:
    """``classes``, if every class of the data is among them."""
    names = tuple(classes)
    strange = [name for name in present if name not in set(names)]
    if strange:
        first = next((f"{quoted(s)} to {quoted(n)}" for s in strange if (n := nearest(s, names))), "")
        raise DataError(
            f"{counted(len(strange), 'class', 'classes')} in the data that the model does not know: {listed(strange)}",
            allowed=f"some or all of {listed(names, 20)}",
            next=f"rename {first}" if first else "a model trained on these classes, or data without them",
        )
    return names


def _task(found: Found, names: Sequence[str], task: Task | None) -> Task:
    if task is None:
        return "multilabel" if found.several else "binary" if len(names) == 2 else "multiclass"
    if task == "binary" and len(names) != 2:
        raise DataError(
            f"task binary, but there {'is' if len(names) == 1 else 'are'} {counted(len(names), 'class', 'classes')}: "
            f"{listed(names)}",
            allowed="exactly 2 classes",
            next="--task multiclass, or leave --task out",
        )
    if (
        task != "multilabel"
        and (row := next((r for r, n in enumerate(found.labels) if len(set(n)) > 1), None)) is not None
    ):
        raise DataError(
            f"task {task}, but {quoted(found.paths[row])} has {len(set(found.labels[row]))} classes: "
            f"{listed(found.labels[row])}",
            allowed=f"one class per image when the task is {task}",
            next="--task multilabel, or one label in each row",
        )
    return task


def _told_apart(found: Found) -> Found:
    """Without those files whose id another has: a name may hold ``\\xff`` as text where another holds the byte."""
    if not any("\\" in path for path in found.paths):
        return found
    ids: dict[str, int] = {}
    for row, path in enumerate(found.paths):
        ids.setdefault(printable(path), row)
    if len(ids) == len(found.paths):
        return found
    kept = sorted(ids.values())
    lost = sorted(printable(found.paths[row]) for row in set(range(len(found.paths))) - set(kept))
    message = f"{counted(len(lost), 'file')} whose printed name another file has: left out. Rename them."
    return replace(
        found,
        paths=[found.paths[row] for row in kept],
        labels=[found.labels[row] for row in kept],
        splits=[found.splits[row] for row in kept],
        groups=[found.groups[row] for row in kept],
        findings=(*found.findings, finding("same_id", "warning", message, lost, files=len(lost))),
    )


def _groups(found: Found, regex: str | None) -> Sequence[str]:
    if regex is None:
        return found.groups
    search = re.compile(regex)
    matches = (search.search(printable(path)) for path in found.paths)
    return [((m[1] if search.groups else m[0]) or "") if m else "" for m in matches]


def _matched(regex: str | None, groups: Sequence[str]) -> list[Finding]:
    missed = len(groups) - sum(map(bool, groups))
    if regex is None or not missed:
        return []
    message = (
        f"The group regex {quoted(regex)} matches nothing in {missed:,} of {counted(len(groups), 'name')}; "
        "these images stand alone. Correct it if they belong together."
    )
    return [finding("group_unmatched", "warning" if missed == len(groups) else "info", message, (), images=missed)]


def _alike(names: Sequence[str]) -> list[Finding]:
    """Names that differ only in case, in spaces at the ends or in how an accent is encoded."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(unicodedata.normalize("NFC", name).casefold().strip(), []).append(name)
    pairs = [group for group in alike.values() if len(group) > 1]
    if not pairs:
        return []
    message = (
        f"Classes that differ only in case, spaces or accents: {'; '.join(listed(pair) for pair in pairs[:8])}. "
        "They are kept apart; give them one name if they are one class."
    )
    return [finding("similar_class_names", "warning", message, (), classes=sum(map(len, pairs)))]


def _orphans(found: Found) -> list[Finding]:
    """Classes whose every picture was put into validation or test."""
    if not {"train", ""}.intersection(found.splits):
        return []  # data to judge by, not to learn from
    learnable = {
        name
        for label, split in set(zip(found.labels, found.splits, strict=True))
        for name in label
        if split in ("train", "")
    }
    orphans = ordered(name for label in set(found.labels) for name in label if name not in learnable)
    if not orphans:
        return []
    ids = [p for p, label in zip(found.paths, found.labels, strict=True) if not learnable.issuperset(label)]
    message = (
        f"{listed(orphans)}: images in validation or test but none to train on, so that the class cannot be learnt. "
        "Move some of its images to train, or drop the class."
    )
    return [finding("class_without_training_images", "serious", message, ids, classes=len(orphans))]
