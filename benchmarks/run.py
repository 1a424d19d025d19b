"""``make bench``: every measurement, as the Markdown of ``benchmarks/README.md``. Takes more than half an hour on 2 cores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from measure import SHARED, machine

BENCHMARKS = ("startup", "clothing", "embedding", "predicting", "many", "suffix", "finetune")


def main() -> None:
    """All of them, or those named on the command line."""
    if not (SHARED / "data").is_dir():
        raise SystemExit(f"the photos are not beside the checkout: {SHARED / 'data'}")
    print(f"{machine()}\n", flush=True)
    for name in sys.argv[1:] or BENCHMARKS:
        script = Path(__file__).with_name(f"{name}.py")
        print(f"## {name}\n", flush=True)
        subprocess.run([sys.executable, str(script)], check=True)
        print(flush=True)


if __name__ == "__main__":
    main()
