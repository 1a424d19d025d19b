"""The drift reference: validation pictures as a few numbers each, stored in a bundle, so that ``visum monitor`` can compare.

Arrays in ``Bundle.weights`` (all beginning with ``drift.``): ``points`` float16 ``[M, C]``, ``logits`` float32 ``[M, K]``,
``labels`` int64 ``[M]`` (multilabel 0/1 ``[M, K]``); ``known`` float16 ``[B, C]``, points of train pictures; ``strange``
float32 ``[M]``, scores of the bundle's own detector of unknown pictures, where it has one; and what projects new features:
``mean``, ``scale`` float32 ``[D]``, ``basis`` float16 ``[D, C']``, ``spread`` float32 ``[C']``. Facts in ``notes["drift"]``:
``n``, ``of``, ``columns``, ``features``, ``counts``, ``accuracy``.

The projection is made of *train* pictures. Were it made of the reference's own, it would fit these better than new pictures and
every comparison would find a difference that is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import BundleError, NotEnoughData
from visum.judge import promise
from visum.judge.drift import sample as drift
from visum.models import predict as running
from visum.runtime import Step, no_step
from visum.types import Bundle, Floats, Integers, Manifest, Predictions, decisions, in_split, rows, targets

PREFIX = "drift."
NOTE = "drift"
MOST, COLUMNS, BASIS = 1000, 64, 600
"""Pictures and columns of a reference, and train pictures that its projection is made of."""
LEAST = 30
"""Pictures below which a reference is not worth its place."""


def features(
    table: Manifest, model: running.Model, *, digest: str = "", step: Step = no_step
) -> tuple[Floats, Predictions]:
    """What drift is seen by, float32 ``[N, D]``, and the predictions, of indexed rows through the store.

    Embeddings, or the description of a classical model; of an ensemble, whose members see in different ways, its logits: drift is
    then seen as far as it moves the answers.
    """
    if model.members:
        said = running.of_table(table, model, digest=digest, step=step)
        return np.asarray(said.logits, np.float32), said
    b = model.bundle
    found = running.features(table, model, step=step)
    logits = model.head(found)
    said = Predictions(table.ids, logits, targets(table), b.classes, b.task, digest, b.temperature, b.thresholds)
    return np.asarray(found, np.float32), said


def equip(
    bundle: Bundle, embeddings: NDArray[np.floating[Any]], predictions: Predictions, basis: NDArray[Any] | None = None
) -> Bundle:
    """The bundle with a reference of held-out pictures in it; as it is where there are fewer than ``LEAST`` labelled ones.

    Args:
        bundle: of the model that said it.
        embeddings: of the rows of ``predictions``, ``[N, D]``.
        predictions: of validation pictures.
        basis: features of other pictures (train) for the projection, ``[B, D]``; None: every other reference picture serves for
            it and is not part of the reference.
    """
    known = np.arange(len(predictions))
    if predictions.task != "multilabel":
        known = known[predictions.labels >= 0]
    picked = np.sort(np.random.default_rng(0).permutation(known)[: MOST if basis is not None else 2 * MOST])
    if basis is None:
        basis, picked = embeddings[picked[1::2]], picked[::2]
    if len(picked) < LEAST or len(basis) < LEAST or not embeddings.shape[1]:
        return bundle
    arrays = _projection(np.asarray(basis, np.float32))
    said = replace(
        predictions,
        ids=predictions.ids[picked],
        logits=np.asarray(predictions.logits[picked], np.float32),
        labels=predictions.labels[picked],
    )
    arrays["points"] = project(arrays, embeddings[picked]).astype(np.float16)
    arrays["known"] = project(arrays, basis).astype(np.float16)
    arrays["logits"], arrays["labels"] = said.logits, said.labels
    if (scores := strangeness(bundle, embeddings[picked], said.logits)) is not None:
        arrays["strange"] = scores
    right = decisions(said) == said.labels
    counts = said.labels.sum(0) if said.labels.ndim == 2 else np.bincount(said.labels, minlength=len(said.classes))
    facts = {
        "n": len(picked),
        "of": len(known),
        "columns": int(arrays["points"].shape[1]),
        "features": "logits" if bundle.architecture.get("kind") == "ensemble" else "embeddings",
        "counts": counts.tolist(),
        "accuracy": float(right.mean()),
    }
    kept = {name: value for name, value in bundle.weights.items() if not name.startswith(PREFIX)}
    weights = {**kept, **{PREFIX + name: value for name, value in arrays.items()}}
    return replace(bundle, weights=weights, notes={**bundle.notes, NOTE: facts})


def strangeness(bundle: Bundle, features: NDArray[np.floating[Any]], logits: Floats) -> Floats | None:
    """Scores of the bundle's own detector of unknown pictures, float32 ``[N]``; None where it has none."""
    if not promise.has(bundle, promise.UNKNOWN):
        return None
    score, _ = promise.detector(bundle)
    return np.asarray(score(np.asarray(features, np.float32), logits), np.float32)


def equipped(bundle: Bundle, table: Manifest, model: running.Model) -> Bundle:
    """``equip`` from the validation rows of an indexed table; the projection from some of its train rows."""
    rng = np.random.default_rng(0)
    train = np.flatnonzero(in_split(table, "train"))
    train = np.sort(rng.permutation(train)[:BASIS])
    held = np.flatnonzero(in_split(table, "validation"))
    held = np.sort(rng.permutation(held)[: 2 * MOST])
    if len(held) < LEAST:
        return bundle
    seen, said = features(rows(table, held), model)
    return equip(bundle, seen, said, features(rows(table, train), model)[0] if len(train) >= LEAST else None)


def _projection(basis: Floats) -> dict[str, NDArray[Any]]:
    """Standardisation and principal components of features ``[B, D]``."""
    mean, scale = basis.mean(0), basis.std(0)
    scale = np.maximum(scale, 1e-3 * max(float(scale.max()), 1e-6))
    z = (basis - mean) / scale
    _, _, axes = np.linalg.svd(z, full_matrices=False)
    axes = axes[: min(COLUMNS, basis.shape[1], len(basis) // 2)]
    # halfway to whitening: small directions count, and noise does not rule
    spread = np.sqrt(np.maximum((z @ axes.T).std(0), 1e-3))
    return {
        "mean": mean.astype(np.float32),
        "scale": scale.astype(np.float32),
        "basis": axes.T.astype(np.float16),
        "spread": spread.astype(np.float32),
    }


def project(arrays: Mapping[str, NDArray[Any]], features: NDArray[np.floating[Any]]) -> Floats:
    """Points float32 ``[N, C]``: principal components and, where some of the space is left, the distance from their plane."""
    parts = []
    basis = arrays["basis"].astype(np.float32)
    for at in range(0, len(features), 4096):
        z = (np.asarray(features[at : at + 4096], np.float32) - arrays["mean"]) / arrays["scale"]
        inside = z @ basis
        part = inside / arrays["spread"]
        if basis.shape[1] < basis.shape[0]:
            left = np.sqrt(np.maximum((z * z).sum(1) - (inside * inside).sum(1), 0))
            part = np.column_stack([part, left])
        parts.append(part)
    columns = basis.shape[1] + (basis.shape[1] < basis.shape[0])
    out = np.concatenate(parts) if parts else np.zeros((0, columns))
    return np.asarray(np.clip(out, -6e4, 6e4).astype(np.float16), np.float32)  # rounded as the reference is


def arrays_of(bundle: Bundle) -> dict[str, NDArray[Any]]:
    """The reference's arrays without their prefix.

    Raises:
        BundleError: the bundle has none, and how to get one.
    """
    found = {name.removeprefix(PREFIX): value for name, value in bundle.weights.items() if name.startswith(PREFIX)}
    if {"points", "known", "logits", "labels", "mean", "scale", "basis", "spread"} - set(found):
        raise BundleError(
            "this bundle has no reference to compare with: it is older than visum monitor, or was made of fewer than "
            f"{LEAST} labelled validation pictures",
            allowed="a bundle with a reference, or labelled pictures that it was not trained on",
            next="--reference VALIDATION_DATA, or train it again",
        )
    return found


def of(bundle: Bundle, *, scored: bool = False) -> drift.Reference:
    """The reference of a bundle.

    Args:
        scored: strangeness is that of the bundle's own detector, where it has one; new pictures then come by ``sample``.
            Otherwise it is ``judge.drift.unknown.strangeness``.

    Raises:
        BundleError: none, or its parts do not fit.
    """
    a = arrays_of(bundle)
    m, k = len(a["points"]), len(bundle.classes)
    labels = np.asarray(a["labels"], np.int64)
    wanted = (m, k) if bundle.task == "multilabel" else (m,)
    if a["logits"].shape != (m, k) or labels.shape != wanted or labels.min(initial=0) < 0 or labels.max(initial=0) >= k:
        raise BundleError("the drift reference of this bundle does not fit its classes", next="train it again")
    inner, outer = a["basis"].shape if a["basis"].ndim == 2 else (0, 0)
    columns = outer + (outer < inner)
    shapes = {
        "points": (m, columns),
        "known": (len(a["known"]), columns),
        "mean": (inner,),
        "scale": (inner,),
        "spread": (outer,),
        "strange": (m,),
    }
    if wrong := [name for name, shape in shapes.items() if name in a and a[name].shape != shape]:
        raise BundleError(f"the drift reference of this bundle is damaged: {', '.join(wrong)}", next="train it again")
    if m < LEAST:
        raise NotEnoughData(f"a reference of {m} pictures", allowed=f"{LEAST} or more", next="more validation images")
    ids = np.array([str(row) for row in range(m)], object)
    logits = np.asarray(a["logits"], np.float32)
    said = Predictions(ids, logits, labels, bundle.classes, bundle.task, "", bundle.temperature, bundle.thresholds)
    return drift.reference(
        a["points"].astype(np.float32), said, a["known"].astype(np.float32), a.get("strange") if scored else None
    )


def sample(
    bundle: Bundle,
    against: drift.Reference,
    features: NDArray[np.floating[Any]],
    said: Predictions,
    labels: Integers | None,
) -> drift.Sample:
    """New pictures as the ``scored`` reference of a bundle is.

    Args:
        against: ``of`` the bundle.
        features, said: what ``features`` gives.
        labels: as in ``Predictions``; None: all unknown.
    """
    a = arrays_of(bundle)
    scores = strangeness(bundle, features, said.logits) if "strange" in a else None
    return drift.sample(against, project(a, features), said.logits, labels, scores)
