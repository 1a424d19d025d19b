"""``visum monitor``: are new pictures still what the classifier was judged on?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from visum import storage
from visum.data import load, sources
from visum.errors import NotEnoughData
from visum.judge.drift import classes, concept, separate, stream
from visum.judge.drift import sample as drift
from visum.judge.drift.separate import Findings
from visum.models import predict as running
from visum.runtime import Stages
from visum.ship import bundle as bundles
from visum.types import Bundle, Column, Manifest, in_split, rows, targets
from visum.workflow import drifted, incoming, origin, ready
from visum.workflow import reference as references
from visum.workflow.checked import checked

VERSION = 12
"""Digits of a bundle's digest that a server calls its version."""


@dataclass(frozen=True, eq=False)
class Monitoring:
    """What ``monitor`` found.

    Attributes:
        overall: of all pictures together.
        windows: (window, what was found in it), in the order of time; one, which is everything, without ``--window``.
        sequential: test over labelled pictures one after the other; None without labels.
        reference: what was compared with.
        classes: each answer's pictures compared with the reference's.
        sample: the pictures as what was compared.
        ids: str ``[N]``, of the pictures; windows count positions in it.
        times: float64 ``[N]``, seconds since 1970; NaN where unknown.
        table: of the readable pictures; None of feedback.
        name: of the bundle's folder.
        labelled, timed: where labels and times come from, in words; "" for nowhere.
        unreadable: (id, reason).
        left_out: rows of feedback about other bundles.
        alpha: share of streams without drift that raise an alarm of a kind.
        seconds: all in all.
        page: drift.html, where it was written.
    """

    overall: Findings
    windows: tuple[tuple[stream.Window, Findings], ...]
    sequential: concept.Martingale | None
    classes: tuple[classes.ClassDrift, ...]
    reference: drift.Reference
    sample: drift.Sample
    ids: Column
    times: NDArray[np.float64]
    table: Manifest | None
    name: str
    labelled: str
    timed: str
    unreadable: tuple[tuple[str, str], ...]
    left_out: int
    alpha: float
    seconds: float
    page: Path | None = None

    @property
    def alarms(self) -> tuple[str, ...]:
        """Kinds with an alarm, overall, in a window, or in the sequence of labels."""
        found = [self.overall, *(each for _, each in self.windows)]
        late = {"concept"} if self.sequential is not None and self.sequential.crossed is not None else set()
        if any(each.verdicts["covariate"].status == "alarm" for each in found):
            late = set()  # errors that other pictures explain
        return tuple(k for k in separate.KINDS if k in late or any(e.verdicts[k].status == "alarm" for e in found))

    @property
    def facts(self) -> dict[str, Any]:
        """All of it as JSON; see ``docs/monitor.md``."""
        return drifted.facts(self)


@checked
def monitor(
    bundle: Path,
    data: Path,
    *,
    labels: str | None = None,
    window: str | None = None,
    time_column: str | None = None,
    reference: Path | None = None,
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05,
    out: Path | None = None,
    path_column: str = "path",
    label_column: str = "label",
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> Monitoring:
    """Compare new pictures with those that a bundle was judged on, and tell four kinds of drift apart.

    Args:
        bundle: folder of a bundle or of a run.
        data: folder or table of new pictures, or what clients fed back to a server (a folder of Parquet parts).
        labels: table of paths and labels of some pictures; none, to look at no label. If omitted, those that the data has.
        window: pictures (200) or time (30m, 6h, 1d, 1w) of one window. If omitted, everything is one.
        time_column: of a table. If omitted, time where there is such a column, else the files' own times.
        reference: labelled pictures to compare with instead of the bundle's own validation pictures.
        alpha: share of streams without drift that raise an alarm of a kind.
        out: folder for drift.json and drift.html; None writes nothing.
        path_column, label_column: names of a table's columns.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of everything that draws.

    Raises:
        BundleError: the bundle has no reference.
        NotEnoughData: fewer pictures than any test needs.
        DataError: labels that are no classes of the bundle, or times that cannot be read.
        UsageError: an impossible window.
    """
    ready.check_settings("monitor", engine=engine, extra_formats=extra_formats)
    ready.check_machine()
    size = stream.length(window) if window is not None else None
    if out is not None:
        ready.check_out(out, data)
    stages = Stages()
    with stages.stage("read"):
        shipped = bundles.read(bundle)
        digest = bundles.digest(shipped)
        fed = incoming.feedback(data, shipped, digest[:VERSION]) if labels is None else None
    model = running.Model(shipped, engine)
    if reference is not None:
        with stages.stage("reference"):
            shipped = _equipped(shipped, reference, model, extra_formats)
    against = references.of(shipped, scored=True)
    table: Manifest | None = None
    unreadable: list[tuple[str, str]] = []
    labelled, timed, left_out = "what clients said", "when they said it", 0
    if fed is not None:
        seen, ids, times, left_out = _of_feedback(against, fed), fed.ids, fed.times, fed.left_out
    else:
        with stages.stage("list"):
            came = incoming.read(data, shipped, labels, time_column, path_column, label_column)
            at = {name: row for row, name in enumerate(came.table.ids)}
        with stages.stage("decode", len(came.table)) as stage:
            table, bad = load.index(came.table, shipped.preprocess, extra_formats=extra_formats, step=stage.step)
        ready.check_readable(table, bad)
        unreadable = [(error.path, error.reason) for error in bad]
        with stages.stage("predict", len(table)) as stage:
            found, said = references.features(table, model, digest=digest, step=stage.step)
        truth = _truth(table, bool(came.labelled))
        seen, ids = references.sample(shipped, against, found, said, truth), table.ids
        labelled, timed = came.labelled, came.timed
        times = came.times[[at[name] for name in table.ids]]
    with stages.stage("judge"):
        _check_enough(len(seen), fed is not None)
        windows = (
            stream.cut(times, size)
            if size is not None
            else [stream.Window(*stream.span(times), np.argsort(times, kind="stable"))]
        )
        each = stream.judge(against, seen, windows, alpha=alpha, seed=seed)
        overall = each[0] if len(windows) == 1 else separate.judge(against, seen, alpha=alpha, seed=seed)
        told = np.flatnonzero(seen.labels >= 0)
        told = told[np.argsort(times[told], kind="stable")]
        running_test = (
            concept.martingale(
                seen.excess[told],
                seen.labels[told],
                against.sample.excess,
                against.sample.labels,
                alpha=alpha,
                seed=seed,
            )
            if len(told)
            else None
        )
        per_class = classes.by_class(against, seen, seed=seed)
    made = Monitoring(
        overall,
        tuple(zip(windows, each, strict=True)),
        running_test,
        per_class,
        against,
        seen,
        ids,
        times,
        table,
        origin.name(bundle),
        labelled,
        timed,
        tuple(unreadable),
        left_out,
        alpha,
        stages.seconds(),
    )
    if out is not None:
        with stages.stage("write"):
            made = replace(made, page=drifted.write(made, shipped, out))
    storage.evict()
    return replace(made, seconds=stages.seconds())


def _truth(table: Manifest, labelled: bool) -> NDArray[np.int64] | None:
    """Labels of a table; a multilabel row without a label is unlabelled, since no answer is rarely meant."""
    if not labelled:
        return None
    found = targets(table)
    if found.ndim == 2:
        found = np.where(found.sum(axis=1, keepdims=True) > 0, found, -1)
    return np.asarray(found, np.int64)


def _of_feedback(against: drift.Reference, fed: incoming.Feedback) -> drift.Sample:
    n = len(fed.ids)
    beyond = concept.excess((fed.answers != fed.labels).astype(np.float32), fed.sure)
    empty = np.zeros((n, 0), np.float32)
    return drift.Sample(
        empty,
        np.zeros((n, len(against.classes))),
        fed.answers,
        fed.sure,
        fed.labels,
        beyond,
        np.zeros(n, np.float32),
    )


def _equipped(bundle: Bundle, data: Path, model: running.Model, extra_formats: tuple[str, ...]) -> Bundle:
    """A bundle with a reference made of labelled pictures on the spot."""
    table = sources.read(data, task=bundle.task, classes=bundle.classes).manifest
    held = in_split(table, "validation")
    table = rows(table, held) if held.any() else rows(table, ~in_split(table, "train"))
    table, bad = load.index(table, bundle.preprocess, extra_formats=extra_formats)
    ready.check_readable(table, bad)
    found, said = references.features(table, model)
    made = references.equip(bundle, found, said)
    if made is bundle:
        raise NotEnoughData(
            f"{len(table)} labelled pictures in {data}, of which half are compared with",
            allowed=f"{2 * references.LEAST} or more that it was not trained on",
            next="another --reference",
        )
    return made


def _check_enough(n: int, fed: bool) -> None:
    least = separate.NEEDED["concept" if fed else "covariate"]
    if n < least:
        raise NotEnoughData(
            f"{n} {'labels' if fed else 'pictures'}, too few to compare",
            allowed=f"{least} or more, better 200: the more, the smaller the drift that is seen",
            next="more pictures",
        )
