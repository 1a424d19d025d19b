"""Maps: seconds of Grad-CAM for all test photos, of one LIME and one map of integrated gradients; which methods can be believed.

    python benchmarks/explain.py RUN seconds|believed [PHOTOS]

RUN is a run on the clothing photos. ``believed`` judges every method on the same photos and the same masks, and beside them two
that know nothing: a blob in the middle, and the Grad-CAM of another photo.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from measure import SHARED
from visum.data.pixels import fit
from visum.explain import attribution, faithfulness
from visum.explain.subject import evidence
from visum.models import predict as running
from visum.ship import bundle as bundles
from visum.workflow import maps

SLOW = ("attention", "attention_rollout", "attention_flow")


def main() -> None:
    model = running.Model(bundles.read(Path(sys.argv[1])))
    paths = sorted(str(path) for path in (SHARED / "data" / "clothing" / "test").rglob("*.jpg"))
    if sys.argv[2] == "seconds":
        return seconds(model, paths)
    number = int(sys.argv[3]) if len(sys.argv) > 3 else 24
    believed(model, paths[:: len(paths) // number][:number])


def seconds(model: running.Model, paths: list[str]) -> None:
    started = time.perf_counter()
    asked: list[maps.Asked] = [(path, path, None, None) for path in paths]
    done = sum(1 for _ in maps.explained(asked, model, method="gradcam", proof=False))
    print("| what | seconds |\n|---|---|")
    print(f"| Grad-CAM of {done} photos, loading and compiling included | {time.perf_counter() - started:.1f} |")
    for method in (
        "layercam",
        "integrated_gradients",
        "smoothgrad",
        "gradient_shap",
        "occlusion",
        "lime",
        "kernel_shap",
    ):
        taken = best(lambda method=method: list(maps.explained(asked[:1], model, method=method, proof=False)))
        print(f"| {method}, one photo | {taken:.1f} |")
    taken = best(lambda: list(maps.explained(asked[:16], model, method="layercam")))
    print(f"| layercam with proof, a photo (of 16) | {taken / 16:.1f} |")


def best(function: Callable[[], object], times: int = 2) -> float:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return min(taken)


def believed(model: running.Model, paths: list[str]) -> None:
    b = model.bundle
    plain = maps.questioned(model, "auto", "", 0)
    squares = np.stack([fit(running.pixels_of(path, b.preprocess, ()), b.preprocess) for path in paths])
    targets = plain.answer(squares).argmax(axis=1)
    none = np.full(len(squares), -1)
    kept = faithfulness.masks(squares.shape[1])
    away = 1 - np.stack([faithfulness.reduced(each) for each in kept])
    falls = []
    for square, k in zip(squares, targets, strict=True):
        shown = faithfulness.mixed(square, faithfulness.blurred(square), kept)
        told = evidence(plain.answer(np.concatenate([square[None], shown])), int(k), -1, b.task)
        falls.append(told[0] - told[1:])
    found = {}
    for method in attribution.EXPLAINERS:
        if method not in SLOW:
            subject = attribution.resolve(method, plain)[1]
            found[method + (f" at {subject.layer}" if subject.layer else "")] = attribution.EXPLAINERS[method].run(
                subject, squares, targets, none
            )
    at = (np.arange(squares.shape[1]) + 0.5) / squares.shape[1] - 0.5
    found["(a blob in the middle)"] = np.stack([np.exp(-10 * (at[:, None] ** 2 + at[None] ** 2))] * len(squares))
    found["(Grad-CAM of another photo)"] = np.roll(next(iter(found.values())), 5, axis=0)
    fields, blobs = faithfulness.fields_and_blobs(0)
    print("| method | foretells, mean r | trustworthy | weak | meaningless |\n|---|---|---|---|---|")
    for name, heats in found.items():
        words, told = [], []
        for heat, fall in zip(heats, falls, strict=True):
            told.append(faithfulness.sensitivity_n(faithfulness.reduced(heat), away, fall))
            words.append(faithfulness.verdict(*(faithfulness.beaten(told[-1], n, away, fall) for n in (fields, blobs))))
        shares = [f"{100 * words.count(word) / len(words):.0f} %" for word in ("trustworthy", "weak", "meaningless")]
        print(f"| {name} | {np.mean(told):.2f} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
