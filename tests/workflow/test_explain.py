"""``visum explain`` from files to pages, on a run of real digits; what it refuses says what works."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import visum
from visum.errors import ModelError, UnreadableImage, UsageError, VisumError
from visum.types import Explanation
from visum.workflow.explain import explain_images, explain_mistakes
from visum.workflow.outcome import Run
from visum.workflow.train import train


@pytest.fixture(scope="module")
def probe(run: Run, split_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A network's run on the same digits, whose embeddings ``run`` has left in the store."""
    ladder = ("majority", "embedding+probe")
    return train(split_digits, out=tmp_path_factory.mktemp("explained") / "probe", size=64, ladder=ladder)


@pytest.fixture(scope="module")
def files(split_digits: Path) -> list[Path]:
    return sorted((split_digits / "test").rglob("*.png"))[:2]


def test_maps_files_and_page(probe: Run, files: list[Path], tmp_path: Path) -> None:
    found = explain_images(probe.folder, files, out=tmp_path, seed=3)
    answers = list(visum.predict(probe.bundle, files))
    for each, answer in zip(found, answers, strict=True):
        assert (each.id, each.target) == (answer.id, answer.label)
        assert each.probability == pytest.approx(answer.probability, abs=2e-3)
        assert each.method == "layercam"
        assert each.layer.startswith("blocks.")
        assert each.heat.shape == each.square.shape[:2]
        assert each.verdict in ("trustworthy", "weak", "meaningless")
        assert 0 <= each.faithfulness["beats_middle"] <= 1
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 2 * 3 + 2
    facts = json.loads((tmp_path / "explain.json").read_text())
    assert next(iter(facts["randomised"])) == "head"
    for each, listed in zip(found, facts["explanations"], strict=True):
        assert {**each.facts(), "file": listed["file"]} == listed
        again = Explanation.load(tmp_path, listed["file"])
        np.testing.assert_array_equal(again.heat, each.heat)
        assert again.facts() == each.facts()
        assert Image.open(tmp_path / f"{listed['file']}.png").size == each.square.shape[:2]
    page = (tmp_path / "explain.html").read_text()
    assert page.count('class="pair"') == 2
    assert all(each.target in page for each in found)


@pytest.mark.slow
def test_a_class_against_another(probe: Run, files: list[Path]) -> None:
    plain, other = (
        explain_images(probe.bundle, files[:1], target="3", contrast=contrast, proof=False)[0]
        for contrast in (None, "8")
    )
    assert (plain.target, plain.contrast, other.contrast) == ("3", "", "8")
    assert (plain.verdict, dict(plain.faithfulness)) == ("", {})
    assert not np.allclose(plain.heat, other.heat)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"target": "eleven"}, UsageError, r"no class is called 'eleven'.*Allowed: 0, 1, 2"),
        ({"target": "3", "contrast": "3"}, UsageError, r"3 explained against itself"),
        ({"contrast": "x"}, UsageError, r"no class is called 'x'"),
        ({"layer": "blocks.99"}, ModelError, r"no layer is called 'blocks\.99'.*Allowed: blocks\.0.*--layer blocks"),
        ({"layer": "blocks.4", "method": "lime"}, UsageError, r"--layer with --method lime.*gradcam"),
        ({"method": "gradkam"}, UsageError, r"--method gradkam.*Allowed: auto, gradcam.*kernel_shap, attention"),
        ({"method": "attention_rollout"}, ModelError, r"no attention layers.*Allowed: gradcam"),
    ],
)
def test_what_cannot_be_asked(
    probe: Run, files: list[Path], asked: dict[str, str], error: type[VisumError], said: str
) -> None:
    with pytest.raises(error, match=said):
        explain_images(probe.bundle, files[:1], **asked)  # type: ignore[arg-type]


def test_what_is_no_picture_is_left_out(probe: Run, files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    found = explain_images(probe.bundle, [tmp_path / "broken.png", files[0]], proof=False)
    assert len(found) == 1
    with pytest.raises(UnreadableImage):
        explain_images(probe.bundle, tmp_path / "broken.png")


def test_the_worst_mistakes_are_in_the_report(probe: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(probe.folder, folder)
    wrong = json.loads((folder / "metrics.json").read_text())["splits"]["test"]["wrong"]
    assert wrong
    before = (folder / "report.html").read_text()
    found = explain_mistakes(folder, proof=False, number=2)
    assert [each.id for each in found] == [each["id"] for each in wrong[:2]]
    for each, one in zip(found, wrong, strict=False):
        assert (each.target, each.contrast) == (one["answer"], one["label"])
    after = (folder / "report.html").read_text()
    assert "what spoke" in after
    assert "what spoke" not in before
    assert after.count('<div class="pair">') == 2
    (folder / "explained" / "explain.json").write_text('{"explanations": [3]}')
    with pytest.raises(VisumError, match=r"explain\.json is not what visum explain writes"):
        explain_mistakes_report(folder)
    with pytest.raises(UsageError, match=r"is not a run whose mistakes.*visum explain .* FILES"):
        explain_mistakes(tmp_path)


def explain_mistakes_report(folder: Path) -> None:
    from visum.ship import report

    report.write(folder, thumbnail=lambda _: None)


def test_a_classical_model_is_asked_for_answers_only(run: Run, files: list[Path]) -> None:
    found = explain_images(run.bundle, files[:1], proof=False)
    assert (found[0].method, found[0].layer) == ("occlusion", "")
    with pytest.raises(UsageError, match=r"needs gradients.*Allowed: occlusion, lime, kernel_shap"):
        explain_images(run.bundle, files[:1], method="integrated_gradients")
    with pytest.raises(ModelError, match=r"no layers.*occlusion, lime"):
        explain_images(run.bundle, files[:1], layer="blocks.4")
