"""A bundle at work: the law (a run's own predictions come back), every form of a picture, folders, failures, ImageNet."""

from __future__ import annotations

import itertools
import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

import visum
from visum.errors import BundleError, DataError, ModelError, RecipeError, UnreadableImage, UnsafeFile, VisumError
from visum.workflow import ladder
from visum.workflow.outcome import Run
from visum.workflow.predict import Answer, Classifier, load, predict
from visum.workflow.train import train

Photos = dict[str, NDArray[np.uint8]]


@pytest.fixture(scope="session")
def loaded(run: Run) -> Classifier:
    return load(run.bundle)


def law(run: Run, data: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities in the run's ``test.parquet`` and those of its bundle for the same files."""
    table = pq.read_table(run.folder / "predictions" / "test.parquet").to_pydict()
    answers = load(run.bundle).predict([data / name for name in table["id"]])
    assert [answer.label for answer in answers] == table["prediction"]
    kept = np.stack([table[f"p_{name}"] for name in load(run.bundle).classes], axis=1)
    return kept, np.stack([answer.probabilities for answer in answers])


def test_the_law_of_a_classical_bundle(run: Run, split_digits: Path) -> None:
    assert run.chosen == "hog+linear_svm"
    kept, now = law(run, split_digits)
    np.testing.assert_allclose(now, kept, rtol=0, atol=1e-5)


@pytest.mark.parametrize("rung", ["embedding+probe", pytest.param("embedding+knn", marks=pytest.mark.slow)])
def test_the_law_of_a_bundle_with_a_network(rung: str, split_digits: Path, tmp_path: Path, run: Run) -> None:
    """What comes from the store and what comes straight from the file are rounded alike."""
    made = train(split_digits, out=tmp_path / "run", size=64, ladder=("majority", rung))
    kept, now = law(made, split_digits)
    np.testing.assert_allclose(now, kept, rtol=0, atol=1e-5)
    assert visum.verify(made.folder, tolerance=1e-5).passed
    judged = visum.evaluate(made.folder, split_digits)
    block = json.loads((made.folder / "metrics.json").read_text())["splits"]["test"]
    # answers differ in the last bit; where many are equal, as with neighbours, that may turn the order of a pair around
    close = 5e-3 if rung == ladder.NEAREST else 1e-5
    for name, metric in block["metrics"].items():
        again = judged.metrics["metrics"][name]
        assert {k: again[k] for k in ("n", "method")} == {k: metric[k] for k in ("n", "method")}
        assert [again[k] for k in ("value", "low", "high")] == pytest.approx(
            [metric[k] for k in ("value", "low", "high")], abs=close
        )


def same(a: NDArray[np.float32], b: NDArray[np.float32]) -> None:
    """Equal, but for the rounding of one product in batches of other sizes."""
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_path_bytes_array_and_pillow_are_one_picture(loaded: Classifier, split_digits: Path) -> None:
    path = next((split_digits / "test" / "7").iterdir())
    image = Image.open(path)
    grey = np.asarray(image)
    rgb = np.repeat(grey[..., None], 3, axis=2)
    forms = [path, str(path), path.read_bytes(), image, image.convert("RGB"), grey, rgb, grey[..., None]]
    answers = loaded.predict(forms)
    for answer in answers:
        same(answer.probabilities, answers[0].probabilities)
        assert answer.label == "7"
    assert [answer.id for answer in answers] == [str(path), str(path), *map(str, range(2, len(forms)))]
    for form in forms:
        (alone,) = loaded.predict(form)
        same(alone.probabilities, answers[0].probabilities)
    stack = loaded.predict(np.stack([rgb, rgb[:, ::-1]]))
    same(stack[0].probabilities, answers[0].probabilities)
    assert len(stack) == 2


def test_a_folder_is_all_pictures_below_it(loaded: Classifier, split_digits: Path) -> None:
    folder = split_digits / "test" / "3"
    answers = loaded.predict(folder)
    assert sorted(answer.id for answer in answers) == sorted(path.name for path in folder.iterdir())
    both = loaded.predict([folder, split_digits / "test" / "4"])
    assert len(both) == len(answers) + sum(1 for _ in (split_digits / "test" / "4").iterdir())
    assert sum(answer.label == "3" for answer in answers) >= len(answers) - 1


def test_answers_add_up(loaded: Classifier, split_digits: Path) -> None:
    for answer in loaded.predict(split_digits / "test" / "3", top=3):
        assert answer.probabilities.sum() == pytest.approx(1, abs=1e-5)
        assert len(answer.top) == 3
        assert answer.top[0] == (answer.label, answer.probability)
        assert [p for _, p in answer.top] == sorted((p for _, p in answer.top), reverse=True)
        order = [loaded.classes[k] for k in np.argsort(-answer.probabilities, kind="stable")[:3]]
        assert [name for name, _ in answer.top] == order
    assert len(loaded.predict(split_digits / "test" / "3", top=99)[0].top) == 10


def test_order_does_not_matter_and_failures_stay_in_their_place(loaded: Classifier, split_digits: Path) -> None:
    files = sorted((split_digits / "test").rglob("*.png"))[:21]
    alone = [loaded.predict(path)[0].probabilities for path in files]
    mixed: list[object] = []
    for number, path in enumerate(files):
        mixed += [path, b"no picture"] if number % 3 == 0 else [path]
    mixed = [b"", *mixed, np.zeros((8, 8, 3)), "nowhere.jpg"]
    answers = loaded.predict(mixed)  # type: ignore[arg-type]
    assert len(answers) == len(mixed)
    read = [answer for answer in answers if not answer.error]
    for answer, wanted in zip(read, alone, strict=True):
        same(answer.probabilities, wanted)
    failed = {number: answer for number, answer in enumerate(answers) if answer.error}
    assert set(failed) == {0, *(at for at, each in enumerate(mixed) if isinstance(each, bytes) or at >= len(mixed) - 2)}
    assert "empty" in failed[0].error
    assert "float64" in failed[len(mixed) - 2].error
    assert all(
        a.label == "" and a.top == () and a.probability == 0 and len(a.probabilities) == 0 for a in failed.values()
    )


def test_a_stream_answers_while_pictures_still_come(loaded: Classifier, split_digits: Path) -> None:
    path, given = next((split_digits / "test" / "1").iterdir()), 0

    def endless() -> Iterator[Path]:
        nonlocal given
        for _ in itertools.count():
            given += 1
            yield path

    told = []
    for answer in itertools.islice(loaded.stream(endless(), step=told.append), 3):
        assert answer.label == "1"
    assert given < 200
    assert told == [1, 1, 1]


def test_nothing_in_nothing_out(loaded: Classifier, run: Run, tmp_path: Path) -> None:
    assert loaded.predict([]) == []
    with pytest.raises(DataError, match="Allowed"):
        list(predict(run.bundle, [tmp_path / "gone"]))
    with pytest.raises(DataError):
        list(predict(run.bundle, [tmp_path]))


def test_files_and_folders_through_the_function_have_short_ids(run: Run, split_digits: Path) -> None:
    answers = list(predict(run.folder, [split_digits / "test" / "3", split_digits / "test" / "4"], top=1))
    assert {answer.id.split("/")[0] for answer in answers} == {"3", "4"}
    assert all(isinstance(answer, Answer) for answer in answers)


def test_imagenet_knows_a_cat_and_a_cup(photos: Photos, tmp_path: Path) -> None:
    names = {name for answer in load("imagenet").predict([photos["chelsea"]]) for name, _ in answer.top}
    assert any("cat" in name.lower() for name in names)
    for name in ("chelsea", "coffee"):
        Image.fromarray(photos[name]).save(tmp_path / f"{name}.png")
    cat, cup = predict("imagenet", [tmp_path])
    assert "cat" in cat.label.lower()
    assert any(word in cup.label.lower() for word in ("espresso", "cup"))
    assert len(cat.top) == 5
    assert len(cat.probabilities) == 1000


def test_an_engine_that_is_not_here(run: Run) -> None:
    with pytest.raises(RecipeError, match=r"engine is 'abacus'. Allowed: auto, openvino, onnxruntime, torch"):
        load(run.bundle, engine="abacus")
    with pytest.raises(RecipeError, match="extra_formats"):
        list(predict(run.bundle, ["x"], extra_formats=("DOC",)))


# ---- what must not be loaded (M1, M5, M7), at every door


def edited(bundle: Path, **changes: object) -> None:
    facts = json.loads((bundle / "bundle.json").read_text())
    facts.update(changes)
    (bundle / "bundle.json").write_text(json.dumps(facts))


class Bomb:
    """What a pickle payload is: code that runs when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.marker), "w")


def spoil(bundle: Path, how: str, marker: Path) -> None:
    if how == "edited classes":
        edited(bundle, classes=["x"] * 10)
    elif how == "swapped weights":
        data = bytearray((bundle / "weights.safetensors").read_bytes())
        data[-1] ^= 1
        (bundle / "weights.safetensors").write_bytes(data)
    elif how == "extra file":
        (bundle / "extra.py").write_text("print(1)")
    elif how == "newer format":
        (bundle / "SHA256SUMS").unlink()
        edited(bundle, format=99)
        reseal(bundle)
    elif how == "pickle":
        (bundle / "weights.safetensors").write_bytes(pickle.dumps(Bomb(marker)))
    elif how == "sealed pickle":
        (bundle / "weights.safetensors").write_bytes(pickle.dumps(Bomb(marker)))
        reseal(bundle)
    elif how == "nothing":
        shutil.rmtree(bundle)


def reseal(bundle: Path) -> None:
    """Sums that fit: an attacker can compute them as well."""
    from visum.storage import digest_file

    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{digest_file(path)}  {path.relative_to(bundle).as_posix()}" for path in files]
    (bundle / "SHA256SUMS").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("how", "kind", "said"),
    [
        ("edited classes", BundleError, "bundle.json"),
        ("swapped weights", BundleError, "weights.safetensors"),
        ("extra file", BundleError, "extra.py"),
        ("newer format", BundleError, "99"),
        ("pickle", VisumError, "weights.safetensors"),
        ("sealed pickle", UnsafeFile, "pickle"),
        ("nothing", BundleError, "Allowed: a folder with bundle.json"),
    ],
)
def test_what_is_not_as_it_was_made_is_refused_at_every_door(
    how: str, kind: type[VisumError], said: str, run: Run, split_digits: Path, tmp_path: Path
) -> None:
    bundle, marker = tmp_path / "bundle", tmp_path / "marker"
    shutil.copytree(run.bundle, bundle)
    spoil(bundle, how, marker)
    for door in (
        lambda: load(bundle),
        lambda: visum.verify(bundle),
        lambda: visum.evaluate(bundle, split_digits),
        lambda: list(predict(bundle, [split_digits])),
        lambda: visum.doctor(next(split_digits.rglob("*.png")), bundle=bundle, out=tmp_path / "seen.png"),
    ):
        with pytest.raises(kind, match=said):
            door()
    assert not marker.exists()


@pytest.mark.parametrize("name", ["../../etc", "imagenet2", "https://example.org/bundle", "", "\0"])
def test_a_name_is_no_bundle(name: str) -> None:
    with pytest.raises((BundleError, ModelError)):
        load(name)


def test_a_folder_called_imagenet_is_that_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(run.bundle, tmp_path / "imagenet")
    monkeypatch.chdir(tmp_path)
    assert load("imagenet").classes == tuple(map(str, range(10)))


def test_errors_of_single_pictures_carry_their_reason(loaded: Classifier) -> None:
    (answer,) = loaded.predict(b"<html>")
    assert answer.error
    with pytest.raises(UnreadableImage) as told:
        raise UnreadableImage(answer.error, path="x")
    assert "x: " in str(told.value)
