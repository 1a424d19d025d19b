"""What nobody wants to wait for: the import and the help."""

from __future__ import annotations

import statistics
import sys

from measure import VISUM, timed


def main() -> None:
    print("| command | median of 7, seconds |\n|---|---|")
    empty = statistics.median(timed([sys.executable, "-c", "pass"]).wall for _ in range(7))
    for name, command in (
        ("`import visum`", [sys.executable, "-c", "import visum"]),
        ("`visum --help`", [VISUM, "--help"]),
    ):
        print(f"| {name} | {statistics.median(timed(command).wall for _ in range(7)):.2f} |")
    print(f"| `python -c pass`, for comparison | {empty:.2f} |")


if __name__ == "__main__":
    main()
