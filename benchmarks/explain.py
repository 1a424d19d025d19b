"""Maps: seconds of Grad-CAM for all test photos, of one LIME and one map of integrated gradients; which methods can be believed.

    python benchmarks/explain.py RUN seconds
    python benchmarks/explain.py RUN believed PHOTOS METHOD…

RUN is a run on the clothing photos. ``believed`` judges every method on the same photos and the same masks, and beside them two
that know nothing: a blob in the middle, and the Grad-CAM of another photo.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from measure import SHARED
from visum.data.pixels import fit
from visum.explain import attribution, faithfulness
from visum.explain.subject import evidence
from visum.models import predict as running
from visum.ship import bundle as bundles
from visum.workflow import maps

METHODS = ("layercam", "integrated_gradients", "smoothgrad", "gradient_shap", "occlusion", "lime", "kernel_shap")


def main() -> None:
    model = running.Model(bundles.read(Path(sys.argv[1])))
    paths = sorted(str(path) for path in (SHARED / "data" / "clothing" / "test").rglob("*.jpg"))
    if sys.argv[2] == "seconds":
        return seconds(model, paths)
    number = int(sys.argv[3])
    believed(model, paths[:: len(paths) // number][:number], sys.argv[4:])


def seconds(model: running.Model, paths: list[str]) -> None:
    asked: list[maps.Asked] = [(path, path, None, None) for path in paths]
    print("| what | seconds | of processors |\n|---|---|---|")
    row(f"Grad-CAM of {len(asked)} photos, loading and compiling included", lambda: each(asked, model, "gradcam"))
    for method in METHODS:
        row(f"{method}, one photo", lambda method=method: each(asked[:1], model, method))
    row("layercam with proof, 16 photos", lambda: each(asked[:16], model, "layercam", proof=True))


def each(asked: list[maps.Asked], model: running.Model, method: str, proof: bool = False) -> None:
    chosen, subject = maps.questioned(model, method, "", 0)
    assert all(one.heat.size for one in maps.explained(asked, model.bundle, chosen, subject, proof=proof))


def row(name: str, function: Callable[[], object]) -> None:
    started, busy = time.perf_counter(), time.process_time()
    function()
    print(f"| {name} | {time.perf_counter() - started:.1f} | {time.process_time() - busy:.1f} |", flush=True)


def believed(model: running.Model, paths: list[str], methods: list[str]) -> None:
    b = model.bundle
    plain = replace(maps.questioned(model, "auto", "", 0)[1], layer="")
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
    for method in methods:
        subject, run = attribution.resolve(method, plain)[1], attribution.EXPLAINERS[method].run
        parts = [slice(at, at + 4) for at in range(0, len(squares), 4)]
        name = method + (f" at {subject.layer}" if subject.layer else "")
        found[name] = np.concatenate([run(subject, squares[part], targets[part], none[part]) for part in parts])
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
