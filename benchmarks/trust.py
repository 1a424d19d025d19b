"""Seconds of each step of the trust page, for bundles of garments at several sizes.

    .venv/bin/python benchmarks/trust.py RUN [RUN …] --data ../shared/data/clothing --budget 180

One process a run, the store warm; prints, for each step, its seconds, its verdict and how many images it looked at. On a machine
that does other things as well, the seconds of processors tell more than those of the clock.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    asked = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    asked.add_argument("runs", nargs="+", type=Path)
    asked.add_argument("--data", type=Path, default=Path("../shared/data/clothing"))
    asked.add_argument("--budget", default="180s")
    given = asked.parse_args()
    for run in given.runs:
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "visum", "evaluate", run / "bundle", given.data, "--trust"]
            begin, before = time.monotonic(), _processor()
            subprocess.run([*command, "--budget", given.budget, "--out", out], check=True, capture_output=True)
            seconds, processor = time.monotonic() - begin, _processor() - before
            made = json.loads((Path(out) / "trust.json").read_text())
        print(f"\n{run.name}: {made['n']} images, budget {given.budget}")
        print(f"  whole process {seconds:.1f} s, {processor:.0f} s of processors")
        for name, block in made["steps"].items():
            looked = f"{block['n']} images" if "n" in block else block.get("skipped", "")
            print(f"  {name:<12} {block['seconds']:7.1f} s  {block['verdict']:<16} {looked}")


if __name__ == "__main__":
    main()
