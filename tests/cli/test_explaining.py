"""``visum explain`` and ``visum predict --explain`` as a shell sees them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Visum
from visum.workflow.outcome import Run


def test_explain(visum: Visum, run: Run, split_digits: Path, tmp_path: Path) -> None:
    files = sorted((split_digits / "test").rglob("*.png"))[:2]
    said = visum(
        "explain", run.folder, *files, "--out", tmp_path / "maps", "--contrast", "8", "--target", "3", "--json"
    )
    assert said.code == 0, said.err
    told = json.loads(said.out)
    assert [each["contrast"] for each in told["explanations"]] == ["8", "8"]
    assert Path(told["page"]).is_file()
    said = visum("explain", run.folder, files[0], "--out", tmp_path / "maps", "--no-proof")
    assert "method  occlusion" in said.out  # what won is a classical model, which has no layers
    said = visum("explain", run.folder, "--target", "3")
    assert said.code == 2
    assert "--target without files" in said.err


@pytest.mark.slow
def test_predict_explain(visum: Visum, run: Run, split_digits: Path, tmp_path: Path) -> None:
    file = sorted((split_digits / "test").rglob("*.png"))[0]
    said = visum("predict", run.folder, file, "--json", "--explain", tmp_path / "why")
    assert said.code == 0
    assert json.loads(said.out)["label"]
    listed = json.loads((tmp_path / "why" / "explain.json").read_text())["explanations"]
    assert listed[0]["target"] == json.loads(said.out)["label"]
    assert len(list((tmp_path / "why").glob("*.png"))) == 1
