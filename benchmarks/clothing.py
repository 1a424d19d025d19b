"""From a folder of photos to a judged bundle: whole processes on the clothing photos, fresh and warm cache."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from measure import SHARED, VISUM, fresh_cache, timed

DATA = SHARED / "data" / "clothing"


def run(arguments: list[str], cache: str, out: Path) -> str:
    """One row of the table."""
    found = timed([VISUM, "train", str(DATA), "--out", str(out), "--json", *arguments], VISUM_CACHE=cache)
    result = json.loads(found.out)
    score = result["scores"]["accuracy"]
    size = json.loads((out / "run.json").read_text())["preprocess"]["size"]
    return (
        f"| `visum train` {' '.join(arguments) or '(no budget)'} | {size} px | {result['chosen']} "
        f"| {100 * score['value']:.1f} % ({100 * score['low']:.1f} to {100 * score['high']:.1f}) "
        f"| {found.wall:.1f} | {found.cpu:.1f} | {found.memory:,.0f} |"
    )


def main() -> None:
    print(
        "| command | size | chosen | test accuracy, n = 372 | seconds | CPU seconds | peak MB |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for number, arguments in enumerate(([], ["--budget", "75s"], ["--budget", "40s"])):
            with fresh_cache() as cache:
                out = Path(folder) / str(number)
                print(run(arguments, cache, out), flush=True)
                if not arguments:
                    print(run(arguments, cache, out).replace("(no budget)", "(again, warm cache)"), flush=True)


if __name__ == "__main__":
    main()
