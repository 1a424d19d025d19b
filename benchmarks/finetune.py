"""Longer budgets on the clothing photos: whole processes, fresh cache, one run a seed: 14 minutes a seed.

``python benchmarks/finetune.py 4m`` runs one budget, ``python benchmarks/finetune.py 4m 0 1 2`` several seeds of it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import clothing
from measure import fresh_cache

BUDGETS = ("4m", "10m")


def main() -> None:
    budgets = sys.argv[1:2] or BUDGETS
    seeds = sys.argv[2:] or ["0"]
    print(
        "| command | size | chosen | test accuracy, n = 372 | seconds | CPU seconds | peak MB |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for budget in budgets:
            for seed in seeds:
                with fresh_cache() as cache:
                    arguments = ["--budget", budget, "--seed", seed]
                    print(clothing.run(arguments, cache, Path(folder) / f"{budget}-{seed}"), flush=True)


if __name__ == "__main__":
    main()
