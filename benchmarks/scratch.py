"""From random weights, by the recipes: MNIST, Fashion-MNIST, and CIFAR-10 against timm's ResNet-18. Whole processes, fresh cache.

``scratch.py mnist``, ``scratch.py fashion`` (half an hour); ``scratch.py cifar PEERS [SECONDS]``: PEERS is the folder of a
virtual environment with timm and torch; its ResNet-18 has SECONDS (600), visum a third of what it took.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from measure import ROOT, SHARED, VISUM, fresh_cache, timed

DATA = SHARED / "data"
PEER = Path(__file__).with_name("peers") / "timm_resnet18.py"
Half = tuple[str, NDArray[np.uint8], NDArray[np.uint8]]


def mnist() -> Iterator[Half]:
    """(split, pixels, labels) of MNIST."""
    for split, name in (("train", "train"), ("test", "t10k")):
        pixels = gzip.decompress((DATA / "mnist" / f"{name}-images-idx3-ubyte.gz").read_bytes())[16:]
        labels = gzip.decompress((DATA / "mnist" / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
        yield split, np.frombuffer(pixels, np.uint8).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8)


def fashion() -> Iterator[Half]:
    """The same of Fashion-MNIST."""
    with np.load(DATA / "fashion_mnist.npz") as arrays:
        for split in ("train", "test"):
            yield split, arrays[f"x_{split}"].reshape(-1, 28, 28), arrays[f"y_{split}"].ravel()


def write(root: Path, halves: Iterator[Half]) -> Path:
    """``root/split/class/number.png``."""
    from PIL import Image

    for split, pixels, labels in halves:
        for label in np.unique(labels):
            (root / split / str(label)).mkdir(parents=True)
        for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
            Image.fromarray(picture).save(root / split / str(label) / f"{number:05d}.png")
    return root


def row(data: Path, recipe: str, *arguments: str) -> str:
    """One run of ours."""
    with fresh_cache() as cache, tempfile.TemporaryDirectory() as folder:
        command = [
            VISUM,
            "train",
            str(data),
            "--recipe",
            str(ROOT / "recipes" / recipe),
            "--out",
            f"{folder}/run",
            "--json",
        ]
        found = timed([*command, *arguments], VISUM_CACHE=cache)
    score = json.loads(found.out)["scores"]["accuracy"]
    return (
        f"| `--recipe recipes/{recipe}` {' '.join(arguments)} | {100 * score['value']:.2f} % ({100 * score['low']:.2f} to "
        f"{100 * score['high']:.2f}), n = {score['n']:,} | {found.wall:.0f} | {found.memory:,.0f} |"
    )


def main() -> None:
    what, more = sys.argv[1], sys.argv[2:]
    print("| run | test accuracy | seconds | peak MB |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        if what == "mnist":
            print(row(write(Path(folder) / "data", mnist()), "mnist.toml"))
        elif what == "fashion":
            print(row(write(Path(folder) / "data", fashion()), "fashion-mnist.toml", "--budget", "24m"))
        else:
            with tarfile.open(DATA / "cifar10-jpg.tar") as archive:
                archive.extractall(folder, filter="data")
            data = next(place.parent for place in sorted(Path(folder).rglob("train")))
            seconds = float(more[1]) if more[1:] else 600.0
            command = [f"{more[0]}/bin/python", str(PEER), str(data), str(seconds), "32"]
            peer = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            print(
                f"| timm resnet18, 32 px, {peer['epochs']} epochs | {100 * peer['test_accuracy']:.2f} % "
                f"| {peer['seconds']:.0f} | |",
                flush=True,
            )
            print(row(data, "cifar10.toml", "--budget", f"{peer['seconds'] / 3:.0f}s"))


if __name__ == "__main__":
    main()
