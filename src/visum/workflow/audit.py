"""``visum audit``: what is wrong with a folder of images, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum import storage
from visum.audit import bias, duplicates, labels, nearness, quality
from visum.data import load, sources
from visum.errors import UnreadableImage
from visum.judge.intervals import wilson
from visum.learn import probe
from visum.models import weights as pretrained
from visum.models.embed import Network, describe, embed
from visum.runtime import Stages, Step, no_step
from visum.types import (
    Finding,
    Fit,
    Floats,
    Integers,
    Manifest,
    Pixels,
    Preprocess,
    Score,
    Task,
    in_split,
    targets,
)
from visum.workflow import kept, plan, ready, record
from visum.workflow.checked import checked

FOLDS = 5
STRENGTH = 0.03
"""L2 penalty of the out-of-fold probe, the middle of ``probe.STRENGTHS``: on garment photos and digits the order of the
suspects changes little within a factor of three."""

_HASH = slice(len(quality.MEASURES), len(quality.MEASURES) + 8)
BORDER = slice(_HASH.stop, _HASH.stop + bias.BORDER_FEATURES)
COLOUR = slice(BORDER.stop, BORDER.stop + bias.COLOUR_FEATURES)
"""Columns of ``look`` that hold ``bias.border`` and ``bias.colour``."""


@dataclass(frozen=True, eq=False)
class Audited:
    """What the audit leaves for the rest of a run.

    Attributes:
        table: the readable rows.
        looks: float32 ``[N, …]``, one row of ``look`` per picture.
        clusters: int64 ``[N]``; equal numbers are copies of one picture.
        findings: so far, most basic first.
    """

    table: Manifest
    looks: Floats
    clusters: Integers
    findings: tuple[Finding, ...]


def look(picture: Pixels) -> Floats:
    """Everything the audit measures of one picture, in one pass: quality, hash (8 bytes as numbers), border, colour."""
    return np.concatenate(
        [
            quality.measure(picture),
            duplicates.perceptual_hash(picture).astype(np.float32),
            bias.border(picture),
            bias.colour(picture),
        ]
    )


def looks(table: Manifest, preprocess: Preprocess, step: Step = no_step) -> Floats:
    """``look`` over all rows, through the store."""
    return np.asarray(describe(table, "look2", look, preprocess, step=step), np.float32)


def pictures(
    table: Manifest, seen: Floats, vectors: NDArray[np.floating], unreadable: Sequence[UnreadableImage]
) -> Audited:
    """Files, sizes, classes, pixels and copies: all that needs no training. Where vectors have no columns, hashes tell copies."""
    found = quality.findings(table, seen[:, : len(quality.MEASURES)], unreadable)
    hashes = seen[:, _HASH].astype(np.uint8)
    if not vectors.shape[1]:
        if np.median(np.minimum(table.widths, table.heights)) < duplicates.LEAST_SIDE:
            hashes = np.zeros_like(hashes)  # those of tiny pictures agree by chance: only equal files are copies then
        clusters, copies = duplicates.find(table, hashes)
        return Audited(table, seen, clusters, (*found, *copies))
    clusters, copies = duplicates.find(table, hashes, vectors)
    return Audited(table, seen, clusters, (*found, *copies, *nearness.findings(table, vectors)))


def suspects(
    table: Manifest, vectors: NDArray[np.floating], clusters: Integers, network: str, seed: int
) -> list[Finding]:
    """Labels that a probe which never saw the image contradicts.

    Args:
        table: rows to doubt (training runs leave the test rows out).
        vectors: their embeddings ``[N, D]``.
        clusters: int64 ``[N]``; copies of one picture never lie on both sides of a fold.
        network: digest of what made the embeddings.
        seed: of the folds.
    """
    y = targets(table)
    known = np.flatnonzero(y >= 0) if y.ndim == 1 else np.arange(len(table))
    counts = np.bincount(y[known], minlength=len(table.classes)) if y.ndim == 1 else y.sum(axis=0)
    if len(known) < 2 * FOLDS or (counts > 0).sum() < 2:
        return []
    order = np.random.default_rng(seed).permutation(len(table))  # copies get one number, hence one fold
    folds = (order[clusters] % FOLDS)[known]

    def make() -> tuple[kept.Arrays, dict[str, Any]]:
        x = vectors if len(known) == len(vectors) else vectors[known]  # all of them need no second copy
        return {"z": probe.out_of_fold(x, y[known], len(table.classes), folds, strength=STRENGTH)}, {}

    arrays, _ = kept.through("doubts", kept.key(table, network, folds.tolist(), STRENGTH), make)
    z = arrays["z"]
    p = np.zeros((len(table), len(table.classes)), np.float32)
    p[known] = _soft(z, table.task)
    return labels.findings(table, p, where=np.isin(np.arange(len(table)), known))


def shortcuts(table: Manifest, seen: Floats, real: Score) -> list[Finding]:
    """Whether border or colour alone does nearly as well as ``real``, the accuracy on the validation rows."""
    y = targets(table)
    if y.ndim == 2:  # with several labels an image there is no accuracy to compare by
        return []
    train, held = in_split(table, "train") & (y >= 0), in_split(table, "validation") & (y >= 0)
    if not train.any() or not held.any():
        return []
    scores = []
    for columns in (BORDER, COLOUR):
        head = probe.fit(seen[train][:, columns], y[train], len(table.classes), strength=1e-3)
        scores.append(_accuracy(probe.logits(head, seen[held][:, columns]).argmax(1) == y[held]))
    most = np.bincount(y[train]).argmax()
    return bias.findings(table, scores[0], scores[1], real, _accuracy(y[held] == most))


def _accuracy(right: NDArray[np.bool_]) -> Score:
    low, high = wilson(int(right.sum()), len(right))
    return Score("accuracy", float(right.mean()), float(low), float(high), len(right), "wilson")


def _soft(z: Floats, task: Task) -> Floats:
    if task == "multilabel":
        return np.asarray(0.5 * (1 + np.tanh(0.5 * z)), np.float32)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), np.float32)


@checked
def find_problems(
    data: Path,
    *,
    out: Path | None = None,
    path_column: str = "path",
    label_column: str = "label",
    split_column: str = "split",
    group_column: str | None = None,
    group_regex: str | None = None,
    delimiter: str | None = None,
    task: Task | None = None,
    backbone: str = pretrained.DEFAULT,
    weights: str | None = None,
    size: int | None = None,
    fit: Fit = "pad",
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> list[Finding]:
    """Look for what is wrong with a data set; the files themselves are never altered.

    Args:
        data: folder, table or archive (docs/data.md).
        out: a folder for ``findings.json`` and ``manifest.parquet``; None writes nothing.
        path_column, label_column, split_column, group_column: names of a table's columns.
        group_regex: makes groups of paths; its first bracket, or the whole match, is the group.
        delimiter: between several labels of one cell.
        task: binary, multiclass or multilabel; told from the data if omitted.
        backbone: whose embeddings find copies and contradicted labels.
        weights: a safetensors file for ``backbone``, or ``hub``.
        size: working size in pixels; fitted to the data if omitted.
        fit: pad, crop or squash.
        engine: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of the folds.

    Returns:
        Findings, most serious first.
    """
    ready.check_settings("audit", size=size, engine=engine, extra_formats=extra_formats)
    ready.check_machine()
    stages = Stages()
    if out is not None:
        ready.check_out(out, Path(data))
    with stages.stage("read"):
        found = sources.read(
            data,
            path_column=path_column,
            label_column=label_column,
            split_column=split_column,
            group_column=group_column,
            group_regex=group_regex,
            delimiter=delimiter,
            task=task,
        )
    table = found.manifest
    base = pretrained.find(backbone, weights)
    if size is None:
        size = plan.sizes(backbone, weights, ready.glance(table, extra_formats).side, base.preprocess.size)[0]
    spec = replace(base.preprocess, size=size, fit=fit)
    with stages.stage("decode", len(table)) as stage:
        table, bad = load.index(table, spec, extra_formats=extra_formats, step=stage.step)
    ready.check_readable(table, bad)
    with stages.stage("look", len(table)) as stage:
        seen = looks(table, spec, stage.step)
    network = Network(base, spec, engine)
    with stages.stage("embed", len(table)) as stage:
        vectors = embed(table, network, step=stage.step)["plain"].vectors
    with stages.stage("compare"):
        audited = pictures(table, seen, vectors, bad)
        doubtful = suspects(table, vectors, audited.clusters, network.digest, seed)
        findings = by_severity(found.findings, [*audited.findings, *doubtful])
    if out is not None:
        storage.write_json(out / "findings.json", [finding.__dict__ for finding in findings])
        with record.saving(out / "manifest.parquet") as draft:
            table.save(draft)
    storage.evict()
    return findings


def by_severity(listed: Sequence[Finding], looked: Sequence[Finding]) -> list[Finding]:
    """Findings of the listing and of the look at the pictures, serious first; equals keep their order.

    A class without training images shows in both; the look at the pictures knows which files could be read, and is believed.
    """
    twice = {finding.kind for finding in looked}
    findings = [*(finding for finding in listed if finding.kind not in twice), *looked]
    return sorted(findings, key=lambda finding: ("serious", "warning", "info").index(finding.severity))
