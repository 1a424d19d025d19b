"""60,000 small images: memory and cost per image of whole runs on MNIST, 1,000 against 60,000.

``python benchmarks/many.py 60000`` runs one size alone.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from measure import SHARED, VISUM, fresh_cache, timed

SIZES = (1_000, 10_000, 60_000)


def write(root: Path, count: int) -> Path:
    """MNIST training digits as PNG class folders."""
    from PIL import Image

    source = SHARED / "data" / "mnist"
    pixels = np.frombuffer(gzip.decompress((source / "train-images-idx3-ubyte.gz").read_bytes())[16:], np.uint8)
    labels = np.frombuffer(gzip.decompress((source / "train-labels-idx1-ubyte.gz").read_bytes())[8:], np.uint8)
    for label in range(10):
        (root / str(label)).mkdir(parents=True)
    for number, picture in enumerate(pixels.reshape(-1, 28, 28)[:count]):
        Image.fromarray(picture).save(root / str(labels[number]) / f"{number:05d}.png")
    return root


def main() -> None:
    print(
        "| images | seconds | ms an image after start-up | CPU ms an image | peak MB | test accuracy |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for count in [int(size) for size in sys.argv[1:]] or SIZES:
            data = write(Path(folder) / f"mnist{count}", count)
            with fresh_cache() as cache:
                out = Path(folder) / f"run{count}"
                found = timed([VISUM, "train", str(data), "--out", str(out), "--json"], VISUM_CACHE=cache)
            stages = json.loads((out / "run.json").read_text())["stages"]
            work = sum(stage["seconds"] for stage in stages if stage["name"] not in ("plan",))
            score = json.loads(found.out)["scores"]["accuracy"]["value"]
            print(
                f"| {count:,} | {found.wall:.0f} | {1000 * work / count:.1f} | {1000 * found.cpu / count:.1f} "
                f"| {found.memory:,.0f} | {100 * score:.1f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
