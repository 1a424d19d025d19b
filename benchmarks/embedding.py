"""Embedding JPEG files from disk, against the additive limit of the machine and against timm behind a DataLoader."""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import chain, repeat
from pathlib import Path

import numpy as np

from measure import SHARED, fresh_cache, timed

DATA = SHARED / "data" / "clothing" / "train"
IMAGES, PEER_IMAGES, ROUNDS = 1_500, 256, 3


def seconds(function: object) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main() -> None:
    with fresh_cache() as cache:
        os.environ["VISUM_CACHE"] = cache
        from visum.data import decode, load
        from visum.data.pixels import fit, fit_batch
        from visum.data.sources import images
        from visum.models import compiled, predict, weights
        from visum.models.embed import Network

        table = images([DATA])
        paths = [load.location(table, row) for row in range(len(table))][:: len(table) // IMAGES][:IMAGES]
        bundle = predict.imagenet()
        spec, network = bundle.preprocess, Network(weights.find(), bundle.preprocess)
        squares = fit_batch([decode.decode(path).pixels for path in paths[: compiled.BATCH]], spec)
        list(load.in_order(network.engine.run, repeat(squares, 4)))

        def decoding() -> None:
            for _ in load.in_order(
                lambda path: fit(decode.decode(path, shortest=spec.size).pixels, spec), paths, ahead=16
            ):
                pass

        def computing() -> None:
            for _ in load.in_order(network.engine.run, repeat(squares, len(paths) // compiled.BATCH)):
                pass

        model = predict.Model(bundle)
        model.network.engine  # noqa: B018 - compiled before the clock starts

        def both() -> None:
            for _ in predict.stream(paths, model):
                pass

        # in turn, so that a change of the machine's speed hits all three
        rows = [[seconds(decoding), seconds(computing), seconds(both)] for _ in range(ROUNDS)]
        decode_s, compute_s, both_s = np.median(rows, axis=0) / len(paths)
        ratio = np.median([(r[0] + r[1]) / r[2] for r in rows])
        engine = f"{network.engine.name} {network.engine.precision}"
    peer_file = Path(__file__).parent / "peers" / "timm_loader.py"
    peer = json.loads(timed([sys.executable, str(peer_file), str(PEER_IMAGES), *chain(paths)]).out)
    peer_s = peer["seconds"] / peer["images"]
    print("| what | images/s |\n|---|---|")
    print(f"| decode and fit alone, both cores | {1 / decode_s:.0f} |")
    print(f"| {engine} alone, both cores | {1 / compute_s:.0f} |")
    print(f"| additive limit, 1 / (sum of both) | {1 / (decode_s + compute_s):.0f} |")
    print(f"| visum, from JPEG files | {1 / both_s:.0f} |")
    print(f"| timm, DataLoader with 2 workers, eager float32 | {1 / peer_s:.1f} |")
    print(f"\nvisum / limit {ratio:.2f}, visum / timm {peer_s / both_s:.1f}")


if __name__ == "__main__":
    main()
