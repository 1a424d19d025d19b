"""Ensembles end to end on real digits: laws, splits that no member was trained on, soups, and one message for each misfit."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

import visum
from visum.errors import BundleError, DataError, NotEnoughData, RecipeError, UsageError
from visum.learn import probe as learning
from visum.models import weights
from visum.models.combine import COMBINE
from visum.models.embed import Network, embed
from visum.ship import bundle as bundles
from visum.types import Bundle, Manifest, Predictions, in_split, network_weights, rows, targets
from visum.workflow import origin
from visum.workflow.ensemble import Ensemble, ensemble
from visum.workflow.outcome import Run
from visum.workflow.train import train
from workflow.helping import facts


@pytest.fixture(scope="module")
def other(run: Run, split_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on the same digits, seen in another way, that errs elsewhere."""
    folder = tmp_path_factory.mktemp("other") / "run"
    return train(split_digits, out=folder, size=64, fit="squash", ladder=("colour_histogram+knn",))


@pytest.fixture(scope="module")
def probe(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A probe on what ``run`` embedded."""
    table = Manifest.load(run.folder / "manifest.parquet")
    table = rows(table, in_split(table, "train"))
    backbone = weights.find(size=64)
    x = embed(table, Network(backbone, backbone.preprocess))["plain"].vectors
    tensors = {f"head.{name}": value for name, value in learning.fit(x, targets(table), 10).items()}
    tensors |= {f"backbone.{name}": value for name, value in backbone.weights.items()}
    architecture = {"kind": "probe", "backbone": backbone.name, "stages": list(backbone.stages)}
    made = Bundle("multiclass", table.classes, architecture, backbone.preprocess, tensors)
    return bundles.write(made, tmp_path_factory.mktemp("probe") / "bundle", [])


@pytest.fixture(scope="module")
def made(run: Run, other: Run, split_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Ensemble:
    return ensemble((run.folder, other.bundle), data=split_digits, out=tmp_path_factory.mktemp("made") / "ensemble")


def shaken(bundle: Bundle, folder: Path, seed: int, by: float) -> Path:
    """The same probe with noise on its head, as a bundle of its own."""
    noise = np.random.default_rng(seed).normal(0, by, bundle.weights["head.weight"].shape).astype(np.float32)
    weight = bundle.weights["head.weight"] * (1 + noise)
    return (
        bundles.write(replace(bundle, weights={**bundle.weights, "head.weight": weight}), folder, []).folder or folder
    )


def test_an_ensemble_is_a_bundle_like_any_other(made: Ensemble, split_digits: Path) -> None:
    assert visum.verify(made.folder, tolerance=1e-5).passed
    judged = visum.evaluate(made.folder, split_digits)
    written = facts(made.folder, "metrics.json")
    assert judged.metrics["metrics"]["accuracy"] == pytest.approx(written["splits"]["test"]["metrics"]["accuracy"])
    assert judged.metrics["metrics"]["accuracy"]["value"] == made.test["accuracy"].value
    held = visum.evaluate(made.folder, split_digits, split="validation").metrics["metrics"]
    assert held["log_loss"]["value"] == pytest.approx(made.validation["log_loss"].value, abs=1e-5)
    files = sorted((split_digits / "test").rglob("*.png"))
    answers = visum.load(made.bundle).predict(files)
    assert accuracy_score([f.parent.name for f in files], [a.label for a in answers]) == made.test["accuracy"].value
    assert [a.label for a in visum.predict(made.folder, files)] == [a.label for a in answers]
    assert not any(answer.error for answer in answers)


def test_what_is_told_is_what_members_score_alone(made: Ensemble, run: Run, other: Run) -> None:
    for member, alone in zip(made.members, (run, other), strict=True):
        score = alone.ladder[alone.chosen]
        assert (member.scores["accuracy"], member.kept, member.trained_on) == (score, True, 0)
    ladder = facts(made.folder, "metrics.json")["ladder"]
    assert [each["name"] for each in ladder] == [str(run.folder), str(other.bundle), "ensemble"]
    assert [each["chosen"] for each in ladder] == [False, False, True]
    assert ladder[2]["metrics"]["accuracy"]["value"] == made.validation["accuracy"].value
    assert made.validation["accuracy"].n == 72
    card = (made.bundle / "MODEL_CARD.md").read_text()
    assert "An ensemble of 2 models" in card
    assert "mean of probabilities" in card


def test_the_test_images_are_opened_once_and_each_look_is_counted(
    made: Ensemble, split_digits: Path, tmp_path: Path
) -> None:
    shutil.copytree(made.folder, tmp_path / "copy")
    before = facts(tmp_path / "copy")["test_openings"]
    visum.evaluate(tmp_path / "copy", split_digits)
    assert facts(tmp_path / "copy")["test_openings"] == before + 1
    assert facts(tmp_path / "copy")["status"] == "finished"


def test_what_members_were_trained_on_is_known_of_the_ensemble(made: Ensemble, run: Run, split_digits: Path) -> None:
    found = visum.evaluate(made.folder, split_digits, split="train")
    assert found.trained_on == len(found.predictions) == facts(run.folder)["data"]["splits"]["train"]
    assert visum.evaluate(made.folder, split_digits, split="validation").trained_on == 0


@pytest.mark.parametrize("combine", COMBINE)
def test_one_bundle_twice_answers_like_the_bundle(combine: str, other: Run, split_digits: Path, tmp_path: Path) -> None:
    twice = ensemble((other.folder, other.bundle), data=split_digits, out=tmp_path / "out", combine=combine)  # type: ignore[arg-type]
    assert facts(twice.folder)["test_openings"] == 1
    assert twice.validation["accuracy"] == other.ladder[other.chosen]
    assert twice.test["accuracy"] == other.scores["accuracy"]
    if combine != "vote":
        assert twice.test["log_loss"].value == pytest.approx(other.scores["log_loss"].value, abs=1e-3)


def test_the_mean_of_probabilities_loses_no_more_than_the_members_on_average(made: Ensemble) -> None:
    alone = np.mean([member.scores["log_loss"].value for member in made.members])
    assert made.validation["log_loss"].value <= alone + 1e-6


def test_a_soup_of_copies_is_the_bundle(probe: Bundle, split_digits: Path, tmp_path: Path) -> None:
    place = probe.folder or Path()
    soup = ensemble((place, place), data=split_digits, out=tmp_path / "soup", combine="soup")
    read = bundles.read(soup.bundle)
    assert dict(read.architecture) == dict(probe.architecture)
    assert (
        network_weights(read).keys() == probe.weights.keys()
    )  # beside them stands what was seen of the validation images
    assert all(np.array_equal(read.weights[name], value) for name, value in probe.weights.items())
    assert [member.kept for member in soup.members] == [True, True]


@pytest.mark.slow
def test_a_soup_keeps_what_does_no_harm(probe: Bundle, split_digits: Path, tmp_path: Path) -> None:
    """Two heads with a little noise and one that is nothing but noise: the last is left out, the others averaged."""
    places = [shaken(probe, tmp_path / f"b{seed}", seed, by) for seed, by in ((0, 0.3), (1, 50.0), (2, 0.3))]
    soup = ensemble(tuple(places), data=split_digits, out=tmp_path / "soup", combine="soup")
    assert [member.kept for member in soup.members] == [True, False, True]
    best = max(member.scores["accuracy"].value for member in soup.members)
    assert soup.validation["accuracy"].value >= best
    heads = [bundles.read(place).weights["head.weight"] for place in (places[0], places[2])]
    np.testing.assert_allclose(
        bundles.read(soup.bundle).weights["head.weight"], np.mean(heads, axis=0), rtol=1e-5, atol=1e-7
    )
    text = (soup.bundle / "MODEL_CARD.md").read_text()
    assert "b1" not in text.split("Members")[1].split("\n")[0]


@pytest.mark.slow
def test_a_soup_of_networks_that_were_trained_apart(probe: Bundle, split_digits: Path, tmp_path: Path) -> None:
    """Backbones differ, so that every mean is a network of its own, asked through the store; by torch, which compiles nothing."""
    places = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        moved = {
            name: value * (1 + rng.normal(0, 0.01, value.shape).astype(np.float32)) if value.ndim == 4 else value
            for name, value in probe.weights.items()
        }
        places.append(bundles.write(replace(probe, weights=moved), tmp_path / str(seed), []).folder or Path())
    soup = ensemble(tuple(places), data=split_digits, out=tmp_path / "soup", combine="soup", engine="torch")
    read, parts = bundles.read(soup.bundle), [bundles.read(place) for place in places]
    name = next(name for name, value in probe.weights.items() if value.ndim == 4)
    if all(member.kept for member in soup.members):
        np.testing.assert_allclose(
            read.weights[name], np.mean([p.weights[name] for p in parts], 0), rtol=1e-5, atol=1e-7
        )
    assert soup.validation["accuracy"].value >= max(m.scores["accuracy"].value for m in soup.members)
    assert visum.verify(soup.folder, engine="torch").passed


@pytest.mark.slow
def test_classes_in_another_order_make_no_difference(probe: Bundle, split_digits: Path, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(10)
    head = {f"head.{name}": probe.weights[f"head.{name}"][..., order].copy() for name in ("weight", "bias")}
    names = tuple(probe.classes[k] for k in order)
    turned = replace(probe, classes=names, weights={**probe.weights, **head})
    place = bundles.write(turned, tmp_path / "turned", []).folder or Path()
    for combine in ("probabilities", "soup"):
        made = ensemble((probe.folder or Path(), place), data=split_digits, out=tmp_path / combine, combine=combine)  # type: ignore[arg-type]
        assert made.members[0].scores["accuracy"] == made.members[1].scores["accuracy"] == made.validation["accuracy"]
        assert (
            visum.evaluate(made.folder, split_digits).metrics["metrics"]["accuracy"]["value"]
            == made.test["accuracy"].value
        )
    assert bundles.read(tmp_path / "soup").classes == probe.classes


# ---- splits


@pytest.fixture(scope="module")
def seeds(run: Run, digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs whose tables say what two seeds would have said of digits without splits: each splits them its own way."""
    places = []
    for seed in (0, 1):
        place = tmp_path_factory.mktemp("seeds") / str(seed)
        shutil.copytree(run.folder, place)
        table = Manifest.load(place / "manifest.parquet")
        drawn = np.random.default_rng(seed).choice(
            np.array(["train", "validation", "test"], object), len(table), p=(0.6, 0.2, 0.2)
        )
        replace(table, splits=drawn).save(place / "manifest.parquet")
        places.append(place)
    return places


def test_without_splits_only_images_that_no_member_was_trained_on_count(
    seeds: list[Path], digits: Path, tmp_path: Path
) -> None:
    runs = [Manifest.load(each / "manifest.parquet") for each in seeds]
    trained = set[str]().union(*(origin.trained(each) for each in runs))
    made = ensemble(tuple(seeds), data=digits, out=tmp_path / "out")
    both = set(runs[0].sha256.tolist()) - trained
    n = made.validation["accuracy"].n + (made.test["accuracy"].n if made.test else 0)
    assert 20 < n == len(both) < 80
    assert all(member.trained_on == 0 for member in made.members)
    kept = Manifest.load(made.folder / "manifest.parquet")
    assert set(kept.sha256.tolist()) == trained
    assert len(kept) == len(trained)
    assert in_split(kept, "train").all()
    shutil.copytree(seeds[1] / "bundle", tmp_path / "shipped")
    with pytest.raises(NotEnoughData, match=r"no validation images, and no run lies around .*shipped .*which images"):
        ensemble((seeds[0], tmp_path / "shipped"), data=digits, out=tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_members_that_know_the_judged_images_are_told(
    seeds: list[Path], run: Run, split_digits: Path, tmp_path: Path
) -> None:
    found = ensemble((run.folder, seeds[0]), data=split_digits, out=tmp_path / "out")
    judged = found.validation["accuracy"].n + found.test["accuracy"].n
    assert found.members[0].trained_on == 0
    assert 0.4 * judged < found.members[1].trained_on < 0.8 * judged


def test_no_test_images(run: Run, other: Run, split_digits: Path, tmp_path: Path) -> None:
    shutil.copytree(split_digits / "train", tmp_path / "data" / "train")
    shutil.copytree(split_digits / "valid", tmp_path / "data" / "valid")
    found = ensemble((run.folder, other.folder), data=tmp_path / "data", out=tmp_path / "out")
    assert found.test == {}
    assert list(facts(found.folder, "metrics.json")["splits"]) == ["validation"]
    assert facts(found.folder)["test_openings"] == 0


def test_unreadable_images_are_told_and_left_out(run: Run, other: Run, split_digits: Path, tmp_path: Path) -> None:
    shutil.copytree(split_digits, tmp_path / "data")
    (tmp_path / "data" / "valid" / "3" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = ensemble((run.folder, other.folder), data=tmp_path / "data", out=tmp_path / "out")
    assert [name for name, _ in found.unreadable] == ["valid/3/bad.png"]
    assert found.validation["accuracy"].n == 72


# ---- what cannot be


def test_one_clear_message_each(
    run: Run, other: Run, probe: Bundle, made: Ensemble, split_digits: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    place = probe.folder or Path()
    few = replace(probe, classes=(*probe.classes[:9], "nine"))
    renamed = bundles.write(few, tmp_path / "renamed", []).folder or Path()
    several = bundles.write(replace(probe, task="multilabel"), tmp_path / "several", []).folder or Path()
    spec = bundles.write(replace(probe, preprocess=replace(probe.preprocess, size=96)), tmp_path / "spec", []).folder
    short = {**probe.weights, "head.weight": probe.weights["head.weight"][:-1]}
    cut = bundles.write(replace(probe, weights=short), tmp_path / "cut", []).folder or Path()
    for places, way, kind, words in (
        ((run.folder,), "vote", UsageError, r"1 bundle\. Allowed: 2 to 64.*visum ensemble RUN1 RUN2"),
        ((), "vote", UsageError, "0 bundles"),
        ((run.folder, renamed), "vote", BundleError, r"only .*digits has '9'; only .*renamed has 'nine'"),
        ((run.folder, several), "vote", BundleError, r"several is multilabel and .*digits is multiclass"),
        ((run.folder, made.folder), "vote", BundleError, "is an ensemble itself"),
        ((place, run.folder), "soup", UsageError, r"digits is hog\+linear_svm, which has no weights that could be averaged"),
        ((place, spec), "soup", UsageError, "see pictures differently: size 64 and 96"),
        ((place, cut), "soup", UsageError, r"are different networks: tensor head\.weight is float32"),
        ((run.folder, tmp_path / "gone"), "vote", BundleError, "gone does not exist"),
    ):  # fmt: skip
        with pytest.raises(kind, match=words):
            ensemble(places, data=split_digits, out=out, combine=way)  # type: ignore[arg-type]
        assert not out.exists()
    with pytest.raises(RecipeError, match=r"combine is 'guess'\. Allowed: one of probabilities, logits, vote, soup"):
        ensemble((run.folder, other.folder), data=split_digits, out=out, combine="guess")  # type: ignore[arg-type]
    shutil.copytree(split_digits, tmp_path / "data")
    (tmp_path / "data" / "valid" / "3").rename(tmp_path / "data" / "valid" / "eleven")
    with pytest.raises(DataError, match="eleven"):
        ensemble((run.folder, other.folder), data=tmp_path / "data", out=out)


def test_a_place_that_holds_something_else_is_left_alone(
    run: Run, other: Run, made: Ensemble, split_digits: Path, tmp_path: Path
) -> None:
    both = (run.folder, other.folder)
    with pytest.raises(UsageError, match="holds the bundle"):
        ensemble(both, data=split_digits, out=run.folder, overwrite=True)
    with pytest.raises(UsageError, match="holds the bundle"):
        ensemble((run.bundle, other.folder), data=split_digits, out=run.bundle)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UsageError, match="holds other files"):
        ensemble(both, data=split_digits, out=tmp_path / "mine")
    shutil.copytree(made.folder, tmp_path / "copy")
    with pytest.raises(UsageError, match=r"other data or settings.*--overwrite"):
        ensemble(both, data=split_digits, out=tmp_path / "copy", combine="vote")
    again = ensemble(both, data=split_digits, out=tmp_path / "copy", combine="vote", overwrite=True)
    assert bundles.read(again.folder).architecture["combine"] == "vote"


def test_a_tampered_member_is_refused_before_anything_is_answered(
    made: Ensemble, split_digits: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(made.bundle, tmp_path / "copy"))
    head = json.loads((copy / "bundle.json").read_text())
    head["architecture"]["members"][1]["temperature"] = 9.0
    (copy / "bundle.json").write_text(json.dumps(head))
    for look in (lambda: visum.load(copy), lambda: visum.verify(copy), lambda: visum.evaluate(copy, split_digits)):
        with pytest.raises(BundleError, match=r"bundle\.json is not the file that was written"):
            look()


def test_the_answers_for_the_test_images_can_be_read_back(made: Ensemble, split_digits: Path, tmp_path: Path) -> None:
    visum.evaluate(made.bundle, split_digits, out=tmp_path / "judged")
    said = Predictions.load(tmp_path / "judged" / "predictions", "test")
    assert said.model == bundles.digest(made.bundle)
    assert said.temperature == bundles.read(made.bundle).temperature
