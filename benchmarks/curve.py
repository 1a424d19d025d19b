"""Accuracy against time on the clothing photos: ``visum train --budget …`` and fastai's ``fine_tune`` in one plot.

``curve.py PEERS [BUDGET:SEED …]``: PEERS is the folder of a virtual environment with fastai, timm, torch and the weights,
or ``-`` to leave it out; every finished run is appended to ``curve.jsonl``, and what stands there is not run again. Draws
``curve.png``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from clothing import DATA
from measure import SHARED, VISUM, fresh_cache, timed

HERE = Path(__file__).parent
SEEN, PLOT = HERE / "curve.jsonl", HERE / "curve.png"
RUNS = ("30s:0", "60s:0", *(f"{budget}:{seed}" for budget in ("2m", "4m", "10m") for seed in (0, 1, 2)))
PEER_RUNS = ((1, 96), (1, 128), (1, 160))
"""(epochs behind the first, pixels) of fastai: what ends within about ten minutes."""


def ours(budget: str, seed: str) -> dict[str, Any]:
    """One whole process with an empty cache."""
    with fresh_cache() as cache, tempfile.TemporaryDirectory() as folder:
        command = [VISUM, "train", str(DATA), "--budget", budget, "--seed", seed, "--out", f"{folder}/run", "--json"]
        found = timed(command, VISUM_CACHE=cache)
        record = json.loads(Path(folder, "run", "run.json").read_text())
    trained = [f"{each['name']}: {each['detail']}" for each in record["stages"] if "finetune" in each["name"]]
    told = json.loads(found.out)
    return {
        "name": "visum",
        "budget": budget,
        "seed": seed,
        "size": record["preprocess"]["size"],
        "seconds": round(found.wall, 1),
        "chosen": told["chosen"],
        "test_accuracy": told["scores"]["accuracy"]["value"],
        "cpu_seconds": round(found.cpu, 1),
        "peak_mb": round(found.memory),
        "trained": trained,
    }


def peer(python: str, epochs: int, size: int) -> dict[str, Any]:
    """The same of fastai."""
    command = [python, str(SHARED / "peers" / "fastai_curve.py"), str(DATA), str(epochs), str(size)]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    return {"name": "fastai", **said}


def seen() -> list[dict[str, Any]]:
    """All finished runs."""
    return [json.loads(line) for line in SEEN.read_text().splitlines()] if SEEN.exists() else []


def draw(found: list[dict[str, Any]]) -> None:
    """All runs as points, the mean of each budget as a line."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.6), dpi=110)
    for name, colour in (("visum", "#1f6feb"), ("fastai", "#d1572c")):
        mine = [run for run in found if run["name"] == name]
        groups: dict[Any, list[dict[str, Any]]] = {}
        for run in mine:
            groups.setdefault(run.get("budget", (run.get("epochs"), run["size"])), []).append(run)
        means = sorted(
            (statistics.mean(r["seconds"] for r in g), 100 * statistics.mean(r["test_accuracy"] for r in g))
            for g in groups.values()
        )
        axes.plot(*zip(*means, strict=True), "-", color=colour, label=name, linewidth=2)
        axes.plot(
            [r["seconds"] for r in mine],
            [100 * r["test_accuracy"] for r in mine],
            "o",
            color=colour,
            alpha=0.5,
            markersize=5,
        )
    axes.set(
        xscale="log",
        xlabel="seconds, whole process, empty cache",
        ylabel="test accuracy, %",
        title="Clothing photos, 2 cores, the same ImageNet weights",
    )
    ticks = [30, 60, 120, 240, 600]
    axes.set_xticks(ticks, [f"{t} s" if t < 60 else f"{t // 60} min" for t in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(PLOT)


def main() -> None:
    peers, wanted = sys.argv[1], sys.argv[2:] or list(RUNS)
    for run in wanted:
        budget, seed = run.split(":")
        if not any(r["name"] == "visum" and (r["budget"], r["seed"]) == (budget, seed) for r in seen()):
            _append(ours(budget, seed))
    for epochs, size in PEER_RUNS if peers != "-" else ():
        if not any(r["name"] == "fastai" and (r["epochs"], r["size"]) == (epochs, size) for r in seen()):
            _append(peer(f"{peers}/bin/python", epochs, size))
    draw(seen())


def _append(run: dict[str, Any]) -> None:
    with SEEN.open("a") as file:
        file.write(json.dumps(run) + "\n")
    print(run, flush=True)


if __name__ == "__main__":
    main()
