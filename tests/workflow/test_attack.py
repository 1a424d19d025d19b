"""``visum attack`` and ``visum certify`` on real digits: a network, a classical bundle, an ensemble; and what cannot be asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from visum.data import load, sources
from visum.data.pixels import fit
from visum.errors import DataError, ModelError, NotEnoughData, UsageError
from visum.judge.certify import ABSTAIN
from visum.learn import probe as learning
from visum.models import weights, zoo
from visum.models.ensemble import join
from visum.ship import bundle as bundles
from visum.types import Bundle, in_split, rows, targets
from visum.workflow.attack import attack, radius_of
from visum.workflow.certify import certify
from visum.workflow.outcome import Run
from visum.workflow.sample import answering, lead, sample

SIZE, NAME = 16, "cnn:widths=8-16"
QUICK = {"engine": "torch", "images": 24}


@pytest.fixture(scope="module")
def network(split_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe on a small network of random weights: right on most digits."""
    import torch

    base = weights.untrained(NAME, size=SIZE, seed=1)
    trunk = zoo.trunk(base.name, base.weights, base.stages, base.preprocess)
    table = sources.read(split_digits).manifest
    table, _ = load.index(rows(table, in_split(table, "train")), base.preprocess)
    squares = np.stack([fit(pixels, base.preprocess) for pixels in load.pictures(table, base.preprocess)])
    with torch.no_grad():
        seen = trunk(torch.from_numpy(squares)).numpy()
    tensors = {f"backbone.{key}": value for key, value in base.weights.items()}
    tensors |= {f"head.{key}": value for key, value in learning.fit(seen, targets(table), 10).items()}
    kind = {"kind": "probe", "backbone": NAME, "stages": list(base.stages)}
    made = Bundle("multiclass", table.classes, kind, base.preprocess, tensors)
    return Path(bundles.write(made, tmp_path_factory.mktemp("small") / "bundle", ()).folder or "")


def test_facts_page_and_pictures_agree(network: Path, split_digits: Path, tmp_path: Path) -> None:
    made = attack(network, split_digits, epsilon="32/255", out=tmp_path / "out", **QUICK)  # type: ignore[arg-type]
    facts = json.loads((tmp_path / "out" / "attack.json").read_text())
    assert facts["n"] == made.n == 24
    assert facts["radius"] == 32
    assert made.clean["value"] > 0.6
    assert made.robust["value"] < made.clean["value"]
    assert [each["attack"] for each in facts["attacks"]] == ["fgsm", "pgd10"]
    fooled = [each for each in facts["images"] if each["fooled_by"]]
    assert len(fooled) == round(24 * (made.clean["value"] - made.robust["value"]))
    for each in fooled:
        assert each["answer"] == each["label"] != each["attacked"]
        assert 0 < each["moved"] <= 32
    assert facts["engine"]["n"] == len(fooled) >= facts["engine"]["fooled"] > 0
    assert not facts["masking"]["alarm"], facts["masking"]["words"]
    page = made.page.read_text()
    assert page.count("<li>") == len(fooled)
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_classical_bundle_offers_square_which_works(run: Run, split_digits: Path, tmp_path: Path) -> None:
    forest = run.folder / "bundle"
    shipped = bundles.read(forest)
    if shipped.architecture["kind"] == "probe":
        pytest.skip("the run's winner is a network here")
    with pytest.raises(ModelError, match=r"classical model, which has no gradients.*square.*--attacks square500"):
        attack(forest, split_digits, out=tmp_path)
    made = attack(forest, split_digits, attacks=("square40",), epsilon="0.2", images=20, out=tmp_path)
    assert made.robust["value"] < made.clean["value"]
    assert made.facts["engine"]["n"] == made.facts["engine"]["fooled"] > 0  # what it answered is what is shipped
    assert all(each["moved"] == int(each["moved"]) <= 51 for each in made.facts["images"])


def test_an_ensemble_of_one_way_of_seeing_can_be_searched(network: Path, split_digits: Path, tmp_path: Path) -> None:
    member = bundles.read(network)
    folder = bundles.write(join([member, member], "probabilities"), tmp_path / "both" / "bundle", ()).folder or Path()
    with pytest.raises(ModelError, match="an ensemble of several models, which has no gradients"):
        attack(folder, split_digits, out=tmp_path)
    made = attack(folder, split_digits, attacks=("square20",), epsilon="40/255", out=tmp_path, **QUICK)  # type: ignore[arg-type]
    assert made.robust["value"] < made.clean["value"]


@pytest.mark.slow
def test_certificates_on_digits(network: Path, split_digits: Path, tmp_path: Path) -> None:
    made = certify(network, split_digits, sigma=0.05, draws=60, alpha=0.01, attacked=True, out=tmp_path / "c", **QUICK)  # type: ignore[arg-type]
    facts = json.loads((tmp_path / "c" / "certificate.json").read_text())
    assert facts["n"] == 24 == len(made.certificates)
    assert made.accuracy["value"] > 0.4
    proven = [row["certified"]["value"] for row in facts["rows"]]
    assert proven == sorted(proven, reverse=True)
    assert proven[0] == made.accuracy["value"]
    attacked = [row for row in facts["rows"] if row["attacked"]]
    assert len(attacked) == 4
    for row in attacked:  # the law: no attack deceives where it is proven that none can
        assert row["certified"]["value"] <= row["attacked"]["value"]
    assert attacked[-1]["attacked"]["value"] <= attacked[0]["attacked"]["value"]
    assert all(each.radius <= facts["largest"] for each in made.certificates)
    for each, told in zip(made.certificates, facts["images"], strict=True):
        assert (told["answer"] is None) == (each.answer == ABSTAIN)
    assert "<svg" in made.page.read_text()


def test_the_threshold_of_a_binary_bundle_is_part_of_its_answer(network: Path) -> None:
    shipped = replace(bundles.read(network), task="binary", classes=("a", "b"), temperature=2.0, thresholds=(0.8,))
    logits = np.array(
        [[0.0, 2 * np.log(4) - 0.01], [0.0, 2 * np.log(4) + 0.01]], np.float32
    )  # p just below and above 0.8
    assert (logits + lead(shipped)).argmax(1).tolist() == [0, 1]
    assert (lead(replace(shipped, thresholds=())) == 0).all()


def test_epsilon_is_a_share() -> None:
    assert radius_of("8/255") == 8 / 255
    assert radius_of("0.3") == 0.3
    for wrong in ("0", "-1/255", "8/0", "eight", "nan", "inf", ""):
        with pytest.raises(UsageError, match="a share of the range from black to white"):
            radius_of(wrong)


def test_what_cannot_be_asked_says_why(network: Path, split_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--images 5.*20 or more"):
        attack(network, split_digits, images=5, out=tmp_path)
    with pytest.raises(UsageError, match="no attack is called 'pdg'"):
        attack(network, split_digits, attacks=("pdg",), out=tmp_path)
    with pytest.raises(UsageError, match="no attack"):
        attack(network, split_digits, attacks=(), out=tmp_path)
    with pytest.raises(UsageError, match="--sigma 0"):
        certify(network, split_digits, sigma=0.0, out=tmp_path)
    with pytest.raises(UsageError, match=r"--draws 3: even if all agree.*11 or more"):
        certify(network, split_digits, draws=3, out=tmp_path)
    few, same = tmp_path / "few", tmp_path / "same"
    for number, path in enumerate(sorted(split_digits.rglob("*.png"))[:60]):
        for folder, most in ((few / path.parent.name, 12), (same / "3", 30)):
            if number < most:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(NotEnoughData, match="12 labelled images"):
        attack(network, few, out=tmp_path)
    with pytest.raises(NotEnoughData, match=r"all 30 images are of the class '3'"):
        certify(network, same, out=tmp_path)


def test_several_labels_or_several_squares_are_refused(network: Path, tmp_path: Path, split_digits: Path) -> None:
    shipped = bundles.read(network)
    several = replace(shipped, task="multilabel", thresholds=(0.5,) * 10)
    folder = bundles.write(several, tmp_path / "several" / "bundle", ()).folder or Path()
    with pytest.raises(DataError, match="several labels to a picture"):
        attack(folder, split_digits, out=tmp_path)
    other = replace(shipped, preprocess=replace(shipped.preprocess, fit="squash"))
    folder = bundles.write(join([shipped, other], "probabilities"), tmp_path / "both" / "bundle", ()).folder or Path()
    with pytest.raises(ModelError, match="see pictures in several ways"):
        attack(folder, split_digits, attacks=("square9",), out=tmp_path)


def test_the_same_seed_draws_the_same_pictures(network: Path, split_digits: Path) -> None:
    from visum.runtime import Stages

    settings = {"split": None, "path_column": "path", "label_column": "label", "engine": "torch", "extra_formats": ()}
    one, two, three = (
        sample(network, split_digits, 20, seed=seed, stages=Stages(), **settings)  # type: ignore[arg-type]
        for seed in (1, 1, 2)
    )
    assert one.table.ids.tolist() == two.table.ids.tolist() != three.table.ids.tolist()
    assert one.split == "test"
    assert one.squares.shape == (20, SIZE, SIZE, 3)
    assert answering(one.model)(one.squares[:13]).shape == (13, 10)
