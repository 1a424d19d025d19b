"""``visum compare``: which of several runs is best, on the test images that they share, and is that more than chance?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from visum import storage
from visum.errors import DataError, NotEnoughData, UsageError
from visum.judge import compare as judge
from visum.judge.compare import Against
from visum.judge.sound import taken
from visum.models.ensemble import unlike
from visum.runtime import Stages
from visum.ship.report import comparison as pages
from visum.types import Integers, Manifest, Predictions, Score
from visum.workflow.checked import checked

Key = tuple[str, int]
ORDER = ("test", "all", "validation")
"""Splits that are looked for in this order, if none is asked for."""


@dataclass(frozen=True)
class Compared:
    """Which run is best, and how sure that is.

    Attributes:
        runs: folders, by name, in the order that they were given.
        split: that was compared; of the first run, where they differ.
        n: images that all of them share and that have a label.
        own: name → images of that split that the run has.
        metric: by which the best one is the best: accuracy; micro F1 when multilabel.
        best: name of the run that scores highest here.
        scores: name → metric → score with its 95 % interval.
        others: each other run against the best one.
        pairs: how many pairs the p-values allow for.
        settled: whether the best one is better than every other one by ``metric``, beyond chance.
        notes: what a reader has to know, e.g. that some images are not shared.
        page: the picture of it all.
        seconds: all in all.
    """

    runs: dict[str, Path]
    split: str
    n: int
    own: dict[str, int]
    metric: str
    best: str
    scores: dict[str, dict[str, Score]]
    others: tuple[Against, ...]
    pairs: int
    settled: bool
    notes: tuple[str, ...]
    page: Path
    seconds: float


@checked
def compare(
    runs: tuple[Path, ...],
    *,
    split: Literal["train", "validation", "test", "all"] | None = None,
    out: Path | None = None,
    seed: int = 0,
) -> Compared:
    """Say which of several runs is best on the same test images, and whether that is more than chance.

    Args:
        runs: folders of two or more runs, or what ``evaluate --out`` wrote, of the same classes.
        split: whose predictions to compare; omitted: test, else all images that were evaluated, else validation.
        out: the page; omitted: compare.html beside the first run.
        seed: of the bootstrap and of the swaps.

    Raises:
        UsageError: fewer than two, or a folder without predictions.
        DataError: other classes, another task, or other labels for the same images.
        NotEnoughData: the runs share too few images.
    """
    stages = Stages()
    page = out if out is not None else runs[0].parent / "compare.html"
    if page.is_dir():
        raise UsageError(f"--out {page} is a folder", allowed="a file", next=f"--out {page / 'compare.html'}")
    if len(runs) < 2:
        raise UsageError("one run alone", allowed="two or more", next=f"visum compare {runs[0]} ANOTHER_RUN")
    with stages.stage("read") as stage:
        named = dict(zip(called(runs), runs, strict=True))
        found = {name: read(folder, split) for name, folder in named.items()}
        said, notes = same_images({name: part for name, (_, part, _) in found.items()}, digests(found))
        used = {name: chosen for name, (chosen, _, _) in found.items()}
        notes += _flattering(used)
        n = len(next(iter(said.values())))
        stage.detail = f"{n:,} shared images"
    with stages.stage("compare"):
        made = judge.compare(said, seed=seed)
        settled = all(each.different for one in made.others for each in one.differences if each.metric == made.metric)
    compared = Compared(
        named,
        next(iter(used.values())),
        made.n,
        {name: len(part) for name, (_, part, _) in found.items()},
        made.metric,
        made.best,
        {name: dict(scores) for name, scores in made.scores.items()},
        made.others,
        made.pairs,
        settled,
        tuple(notes),
        page,
        stages.seconds(),
    )
    storage.write_atomic(page, pages.text(storage.finite(asdict(made)), notes))
    return compared


def called(folders: Sequence[Path]) -> list[str]:
    """What people call each: the last part of its path, or as much more as tells them apart.

    Raises:
        UsageError: one folder twice.
    """
    whole = [folder.resolve() for folder in folders]
    twice = [str(folder) for folder, place in zip(folders, whole, strict=True) if whole.count(place) > 1]
    if twice:
        raise UsageError(f"{twice[0]} is given more than once", allowed="different runs")
    for parts in range(1, max(len(place.parts) for place in whole) + 1):
        names = ["/".join(place.parts[-parts:]) for place in whole]
        if len(set(names)) == len(names):
            break
    return names


def read(folder: Path, split: str | None) -> tuple[str, Predictions, Manifest | None]:
    """(split, predictions, the table of the run where there is one) of a run folder, or of the run around a bundle.

    Raises:
        UsageError: no predictions there, or none of that split.
    """
    place = next((each for each in (folder, folder.parent) if (each / "predictions").is_dir()), None)
    there = sorted(path.stem for path in (place / "predictions").glob("*.safetensors")) if place else []
    chosen = split if split is not None else next((name for name in ORDER if name in there), None)
    if place is None or chosen is None or chosen not in there:
        raise UsageError(
            f"{folder} holds no predictions" + (f" of {split}" if split is not None and there else ""),
            allowed="folders of finished runs, or of evaluate --out" + (f"; here: {', '.join(there)}" if there else ""),
            next="visum evaluate BUNDLE DATA --out FOLDER",
        )
    table = None
    if (place / "manifest.parquet").is_file():
        table = Manifest.load(place / "manifest.parquet")
    return chosen, Predictions.load(place / "predictions", chosen), table


def digests(found: Mapping[str, tuple[str, Predictions, Manifest | None]]) -> dict[str, dict[str, str]] | None:
    """name → id → digest of the file; None where some run does not tell, so that ids have to do."""
    told = {}
    for name, (_, part, table) in found.items():
        known = dict(zip(table.ids.tolist(), table.sha256.tolist(), strict=True)) if table is not None else {}
        if not all(known.get(each) for each in part.ids.tolist()):
            return None
        told[name] = known
    return told


def same_images(
    given: Mapping[str, Predictions], told: Mapping[str, Mapping[str, str]] | None
) -> tuple[dict[str, Predictions], list[str]]:
    """The images that all share, in the order of the first one and with its order of classes; and what to say of it.

    Args:
        given: name → predictions.
        told: of ``digests``: images are the same if their files have the same bytes; None: if they have the same id.

    Raises:
        DataError: other classes or another task; labels that differ.
        NotEnoughData: too few shared images.
    """
    (first, reference), *others = given.items()
    for name, part in others:
        if part.task != reference.task:
            raise DataError(f"{name} is {part.task} and {first} is {reference.task}", allowed="runs of one task")
        if words := unlike(first, reference.classes, name, part.classes):
            raise DataError(
                f"{name} has other classes than {first}: {words}",
                allowed="the same class names, in any order",
                next="runs that were trained on the same classes",
            )
    at = {name: {key: row for row, key in enumerate(keys(part, name, told))} for name, part in given.items()}
    shared = [key for key in at[first] if all(key in rows for rows in at.values())]
    counts = ", ".join(f"{len(part):,} of {name}" for name, part in given.items())
    if len(shared) < judge.LEAST:
        how = "the same bytes" if told is not None else "the same ids"
        raise NotEnoughData(
            f"these runs share {len(shared)} images ({counts}; by {how})",
            allowed=f"{judge.LEAST} or more that all of them were judged on",
            next="visum evaluate BUNDLE DATA --out FOLDER with each bundle on the same images, then visum compare these folders",
        )
    notes = []
    if any(len(part) > len(shared) for part in given.values()):
        notes.append(f"Only the {len(shared):,} images that all runs share are compared ({counts}).")
    same = {}
    for name, part in given.items():
        rows: Integers = np.array([at[name][key] for key in shared], np.int64)
        same[name] = reordered(taken(part, rows), reference.classes)
        same[name] = replace(same[name], ids=reference.ids[[at[first][key] for key in shared]])
    check_labels(same)
    return same, notes


def keys(part: Predictions, name: str, told: Mapping[str, Mapping[str, str]] | None) -> list[Key]:
    """What an image is known by: its digest or id, and which of its copies it is."""
    seen: dict[str, int] = {}
    out = []
    for each in part.ids.tolist():
        what = told[name][each] if told is not None else each
        seen[what] = seen.get(what, -1) + 1
        out.append((what, seen[what]))
    return out


def reordered(part: Predictions, classes: tuple[str, ...]) -> Predictions:
    """The same answers with the classes in another order."""
    if part.classes == classes:
        return part
    order = np.array([part.classes.index(name) for name in classes])
    if part.task == "multilabel":
        labels = part.labels[:, order]
        thresholds = tuple(part.thresholds[k] for k in order) if part.thresholds else ()
    else:
        number = np.append(np.argsort(order), -1)  # -1 stays: unlabelled
        labels, thresholds = number[part.labels], part.thresholds
        if part.task == "binary" and part.thresholds:  # of class 1, which is the other one now
            thresholds = (float(np.nextafter(np.float32(1 - part.thresholds[0]), np.float32(1))),)
    return replace(part, logits=part.logits[:, order], labels=labels, classes=classes, thresholds=thresholds)


def check_labels(given: Mapping[str, Predictions]) -> None:
    """Refuse runs that call the same images by other names."""
    (first, reference), *others = given.items()
    for name, part in others:
        other = np.flatnonzero((part.labels != reference.labels).reshape(len(part), -1).any(1))
        if len(other):
            shown = ", ".join(str(reference.ids[row]) for row in other[:3]) + (" …" if len(other) > 3 else "")
            raise DataError(
                f"{name} and {first} have other labels for {len(other)} of {len(part)} images that they share: {shown}",
                allowed="one truth for all",
                next="visum evaluate BUNDLE DATA --out FOLDER with each bundle on the same labels",
            )


def _flattering(used: Mapping[str, str]) -> list[str]:
    """What to say of splits that runs have seen."""
    return [
        f"{name}: {split} images, which it {'was trained on' if split == 'train' else 'was chosen by'}; scores flatter."
        for name, split in used.items()
        if split in ("train", "validation")
    ]
