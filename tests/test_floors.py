"""Imports go down only, and the command line starts without the libraries that only some commands need."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    *("torch", "torchvision", "timm", "sklearn", "skimage", "pyarrow", "cv2", "scipy"),
    *("openvino", "onnx", "onnxruntime", "pandas", "matplotlib"),
)


def loaded(statement: str) -> list[str]:
    """Those of ``HEAVY`` that a fresh process has loaded after a statement."""
    code = f"import sys; {statement}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def lint(config: Path) -> subprocess.CompletedProcess[str]:
    """``lint-imports`` in a process of its own, as CI runs it."""
    code = "import sys; from importlinter.cli import lint_imports_command as run; run()"
    arguments = ["--config", str(config), "--no-cache"]
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)


def contract(layers: list[str]) -> str:
    listed = "\n".join(f"  {layer}" for layer in layers)
    return (
        "[importlinter]\nroot_package = visum\n[importlinter:contract:floors]\nname = floors\ntype = layers\n"
        f"containers = visum\nexhaustive = true\nlayers =\n{listed}\n"
    )


def floors() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    found = next(each for each in settings["contracts"] if each["id"] == "floors")
    assert found["exhaustive"]
    assert found["containers"] == [settings["root_package"]] == ["visum"]
    return list(found["layers"])


def test_imports_go_down_only() -> None:
    done = lint(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout
    assert "2 kept, 0 broken" in done.stdout


def test_the_rooms_do_not_know_each_other() -> None:
    rooms = next(layer for layer in floors() if "audit" in layer)
    assert {"audit", "learn", "judge", "explain", "ship"} <= set(rooms.replace("(", "").replace(")", "").split(" | "))


def test_the_check_notices_floors_that_are_upside_down(tmp_path: Path) -> None:
    layers = floors()
    data, models = layers.index("data"), layers.index("models")
    layers[data], layers[models] = "models", "data"
    (tmp_path / "contract.ini").write_text(contract(layers))
    done = lint(tmp_path / "contract.ini")
    assert done.returncode != 0
    assert "visum.data is not allowed to import visum.models" not in done.stdout  # the true direction is down
    assert "visum.models is not allowed to import visum.data" in done.stdout


def test_the_command_line_starts_light() -> None:
    assert loaded("import visum.cli.commands") == []


@pytest.mark.parametrize(
    "floor", ["visum.models.predict", "visum.learn.probe", "visum.judge.evaluate", "visum.data.load"]
)
def test_no_floor_loads_heavy_libraries_at_its_door(floor: str) -> None:
    assert loaded(f"import {floor}") == []


def test_help_works() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from visum.cli import main; main()", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for command in ("audit", "train", "evaluate", "predict", "verify", "models", "doctor"):
        assert command in done.stdout
