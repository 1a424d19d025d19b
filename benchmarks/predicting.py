"""``visum predict`` on 1,000 files against the plain timm script, whole processes, start-up included."""

from __future__ import annotations

import sys
from pathlib import Path

from measure import SHARED, VISUM, fresh_cache, timed

FILES, PEER_FILES = 1_000, 200


def main() -> None:
    paths = sorted(str(path) for path in (SHARED / "data" / "clothing" / "train").rglob("*.jpg"))[::3][:FILES]
    peer = [sys.executable, str(Path(__file__).parent / "peers" / "timm_loop.py")]
    with fresh_cache() as cache:
        first = timed([VISUM, "predict", "imagenet", "--format", "csv", *paths], VISUM_CACHE=cache)
        warm = timed([VISUM, "predict", "imagenet", "--format", "csv", *paths], VISUM_CACHE=cache)
    start, more = timed([*peer, *paths[:8]]), timed([*peer, *paths[: 8 + PEER_FILES]])
    rate = (more.wall - start.wall) / PEER_FILES
    whole = start.wall + rate * (FILES - 8)
    print("| command | seconds | peak MB |\n|---|---|---|")
    print(f"| `visum predict imagenet` on {len(paths):,} files | {warm.wall:.1f} | {warm.memory:.0f} |")
    print(f"| the same, first run after installation | {first.wall:.1f} | {first.memory:.0f} |")
    loop = f"timm + PyTorch loop, from {PEER_FILES} files: {start.wall:.1f} s start, {1 / rate:.1f} images/s"
    print(f"| {loop} | {whole:.1f} | {more.memory:.0f} |")
    print(f"\ntimm / visum {whole / warm.wall:.1f} (first run {whole / first.wall:.1f})")


if __name__ == "__main__":
    main()
