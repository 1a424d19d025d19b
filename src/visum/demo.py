"""``make demo``: scikit-learn's 1,797 real handwritten digits, written out as PNG class folders, become a trained classifier."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path


def write_digits(root: Path) -> Path:
    """8 x 8 grey PNG files ``root/<digit>/NNNN.png``."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    source = load_digits()
    for number, (picture, label) in enumerate(zip(source.images, source.target, strict=True)):
        folder = root / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(np.rint(picture * 255 / 16))).save(folder / f"{number:04d}.png")
    return root


def command() -> str:
    """How ``visum`` is called here: with its place, if that is not on the path."""
    beside = Path(sys.executable).with_name("visum")
    if shutil.which("visum") or not beside.is_file():
        return "visum"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)


def main() -> None:
    """Write the digits below the folder given and train on them, as ``visum train`` does; then say how it is served."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    data = write_digits(folder / "digits")
    print(f"1,797 handwritten digits are in {data}\n$ visum train {data} --out {folder / 'run'}\n")
    sys.argv = ["visum", "train", str(data), "--out", str(folder / "run")]
    from visum.cli import main as visum

    try:
        visum()
    except SystemExit as end:
        if not end.code:
            print(f"Serve it: {command()} serve {folder / 'run'}")
        raise


if __name__ == "__main__":
    main()
