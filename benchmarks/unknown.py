"""Strange pictures found: clothing is what a bundle knows; MNIST, CIFAR-10 and textures are what it does not.

    python benchmarks/unknown.py BUNDLE_OR_RUN

A first table judges every detector by sealed test images of clothing against each strange set; a second one uses train and
validation images alone, with each class of clothing in turn hidden from a probe and from the detectors: strange pictures are then
the validation images of the hidden class. Pictures are described through the store, so that a warm cache makes this a matter of
seconds.
"""

from __future__ import annotations

import gzip
import sys
import tarfile
from pathlib import Path

import numpy as np

from measure import SHARED

EACH = 300
TEXTURES = ("brick", "grass", "gravel", "moon", "coins", "immunohistochemistry")


def mnist() -> list[object]:
    raw = gzip.decompress((SHARED / "data" / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes())
    digits = np.frombuffer(raw, np.uint8, offset=16).reshape(-1, 28, 28)[:EACH]
    return [np.repeat(digit[..., None], 3, axis=2) for digit in digits]


def cifar() -> list[object]:
    with tarfile.open(SHARED / "data" / "cifar10-jpg.tar") as archive:
        found = [
            m for m in archive if m.isfile() and m.name.startswith("test/") and int(Path(m.name).stem) < EACH // 10
        ]
        return [archive.extractfile(member).read() for member in found[:EACH]]  # type: ignore[union-attr]


def textures() -> list[object]:
    """Random square crops, 96 to 255 pixels wide, of what is packaged with scikit-image."""
    from skimage import data

    draw, found = np.random.default_rng(0), []
    for name in TEXTURES:
        whole = np.asarray(getattr(data, name)())
        whole = whole if whole.ndim == 3 else np.repeat(whole[..., None], 3, axis=2)
        for _ in range(EACH // len(TEXTURES)):
            side = int(draw.integers(96, 256))
            top, left = (int(draw.integers(0, n - side + 1)) for n in whole.shape[:2])
            found.append(np.ascontiguousarray(whole[top : top + side, left : left + side]))
    return found


def main(place: str) -> None:
    from visum.data import load, sources
    from visum.judge import unknown
    from visum.learn import probe
    from visum.models import predict
    from visum.ship import bundle as bundles
    from visum.types import in_split, rows, targets

    bundle = bundles.read(place)
    model = predict.Model(bundle)
    data = SHARED / "data" / "clothing"
    table, _ = load.index(sources.read(data, classes=bundle.classes).manifest, bundle.preprocess)
    known = {}
    for split in ("train", "validation", "test"):
        part = rows(table, in_split(table, split))
        known[split] = np.asarray(predict.features(part, model), np.float32), targets(part)

    def logits(x: np.ndarray) -> np.ndarray:
        return np.asarray(model.head(x) / bundle.temperature, np.float32)

    def seen(pictures: list[object]) -> np.ndarray:
        rows_ = predict.asked(pictures, model.specs, lambda squares: model.with_features(squares)[1])
        return np.asarray(np.stack(list(rows_)), np.float32)

    strange = {"MNIST": seen(mnist()), "CIFAR-10": seen(cifar()), "textures": seen(textures())}
    bank = unknown.sample(len(known["train"][0]), unknown.BANK, 0)
    x, y = (part[bank] for part in known["train"])
    test = known["test"][0]
    size, n = bundle.preprocess.size, len(test)
    counts = ", ".join(f"{name} {len(part)}" for name, part in strange.items())
    print(f"{size} px; known: {n} test images of clothing; unknown: {counts}. AUROC / FPR at 95 % TPR:\n")
    print("| detector | " + " | ".join((*strange, "mean")) + " | arrays, KB |\n" + "|---" * (len(strange) + 3) + "|")
    for name, detector in unknown.DETECTORS.items():
        arrays = detector.fit(x, y, logits(x))
        own = detector.score(arrays, test, logits(test))
        cells, areas = [], []
        for part in strange.values():
            found = detector.score(arrays, part, logits(part))
            areas.append(unknown.auroc(own, found))
            cells.append(f"{areas[-1]:.3f} / {unknown.missed(own, found):.3f}")
        weight = sum(array.nbytes for array in arrays.values()) / 1024
        print(f"| {name} | {' | '.join(cells)} | {np.mean(areas):.3f} | {weight:.0f} |")

    (x, y), (held, truth) = known["train"], known["validation"]
    areas_of: dict[str, list[float]] = {name: [] for name in unknown.DETECTORS}
    for hidden in range(len(bundle.classes)):
        left = np.flatnonzero(y != hidden)
        labels = y[left] - (y[left] > hidden)
        head = probe.fit(x[left], labels, len(bundle.classes) - 1, strength=1e-2)
        some = left[unknown.sample(len(left), unknown.BANK, 0)]
        z, z_held = probe.logits(head, x[some]), probe.logits(head, held)
        for name, detector in unknown.DETECTORS.items():
            arrays = detector.fit(x[some], y[some], z)
            found = detector.score(arrays, held, z_held)
            areas_of[name].append(unknown.auroc(found[truth != hidden], found[truth == hidden]))
    print(f"\nEach class hidden in turn, {len(held)} validation images. AUROC, mean and range over classes:\n")
    print("| detector | mean | least | most |\n|---|---|---|---|")
    for name, areas in areas_of.items():
        print(f"| {name} | {np.mean(areas):.3f} | {min(areas):.3f} | {max(areas):.3f} |")


if __name__ == "__main__":
    main(sys.argv[1])
