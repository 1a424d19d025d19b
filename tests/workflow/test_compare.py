"""Run folders made of real predictions: which images they share, whatever their order, folders and classes are called."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import visum
from visum.errors import DataError, NotEnoughData, RecipeError, UsageError
from visum.judge.sound import taken
from visum.types import Predictions, column, decisions, manifest
from visum.workflow.compare import called, compare, reordered


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visum.judge.compare.RESAMPLES", 200)


@pytest.fixture(scope="module")
def digits() -> tuple[Predictions, Predictions]:
    """What logistic regression and nearest neighbours say of 300 handwritten digits."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    source = load_digits()
    x = source.data / 16 + np.random.default_rng(5).normal(0, 0.3, source.data.shape)
    y, names = source.target, tuple(f"digit {k}" for k in range(10))
    ids = column([f"test/{row:04d}.png" for row in range(300)])

    def said(model: object) -> Predictions:
        p = model.fit(x[:700], y[:700]).predict_proba(x[700:1000])  # type: ignore[attr-defined]
        return Predictions(ids, np.log(p + 1e-3).astype(np.float32), y[700:1000].astype(np.int64), names, "multiclass")

    return said(LogisticRegression(C=0.02, max_iter=300)), said(KNeighborsClassifier(9))


def saved(folder: Path, given: Predictions, *, split: str = "test", digests: list[str] | None = None) -> Path:
    """As much of a run folder as a comparison reads."""
    given.save(folder / "predictions", split)
    if digests is not None:
        labels = [(int(k),) if k >= 0 else () for k in given.labels]
        table = manifest("/", given.task, given.classes, list(given.ids), labels)
        replace(table, sha256=column(digests)).save(folder / "manifest.parquet")
    return folder


def numbered(given: Predictions, prefix: str = "d") -> list[str]:
    return [f"{prefix}{name[-8:-4]}" for name in given.ids]


def test_two_runs_and_their_page(digits: tuple[Predictions, Predictions], tmp_path: Path) -> None:
    runs = [saved(tmp_path / name, each) for name, each in zip(("linear", "near"), digits, strict=True)]
    made = visum.compare(runs)
    assert made.page == tmp_path / "compare.html"
    assert (made.n, made.split, made.own, made.notes) == (300, "test", {"linear": 300, "near": 300}, ())
    right = {name: int((decisions(each) == each.labels).sum()) for name, each in zip(made.runs, digits, strict=True)}
    assert made.best == max(right, key=lambda name: right[name])
    assert made.scores["near"]["accuracy"].value == right["near"] / 300
    assert made.settled == made.others[0].differences[0].different
    page = made.page.read_text("utf-8")
    assert "<script" not in page
    assert "linear" in page
    assert "300 images" in page
    assert page.count("<svg") == 2 * 2 + 4 + 1


def test_images_are_the_same_by_their_bytes(digits: tuple[Predictions, Predictions], tmp_path: Path) -> None:
    """Another folder, another order, more images, two copies of one file: what is shared is found and said."""
    first, second = digits
    order = np.random.default_rng(0).permutation(300)[:250]
    moved = taken(second, order)
    moved = replace(moved, ids=column([f"elsewhere/{name[-8:]}" for name in moved.ids]))
    copies = numbered(first)
    copies[7] = copies[3]
    a = saved(tmp_path / "a", first, digests=copies)
    b = saved(tmp_path / "b", moved, digests=[copies[row] for row in order])
    made = compare((a, b), out=tmp_path / "page.html")
    assert made.n == 250
    assert made.notes == ("Only the 250 images that all runs share are compared (300 of a, 250 of b).",)
    assert made.notes[0] in made.page.read_text("utf-8")
    again = compare(
        (saved(tmp_path / "c", taken(first, np.sort(order))), saved(tmp_path / "d", taken(second, np.sort(order))))
    )
    assert made.scores["a"]["accuracy"] == again.scores["c"]["accuracy"]
    assert made.scores["b"]["accuracy"] == again.scores["d"]["accuracy"]
    assert (made.others[0].only_best, made.others[0].only_this) == (
        again.others[0].only_best,
        again.others[0].only_this,
    )


def test_the_same_names_for_other_bytes_are_other_images(
    digits: tuple[Predictions, Predictions], tmp_path: Path
) -> None:
    a = saved(tmp_path / "a", digits[0], digests=numbered(digits[0]))
    b = saved(tmp_path / "b", digits[1], digests=numbered(digits[1], "e"))
    with pytest.raises(
        NotEnoughData, match=r"share 0 images \(300 of a, 300 of b; by the same bytes\). Allowed: 30 or more"
    ):
        compare((a, b))
    (b / "manifest.parquet").unlink()
    assert compare((a, b)).n == 300


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_the_order_of_classes_makes_no_difference(task: str) -> None:
    rng = np.random.default_rng(0)
    k = 2 if task == "binary" else 4
    labels = rng.integers(0, 2, (50, k)) if task == "multilabel" else np.append(rng.integers(0, k, 49), -1)
    thresholds = {"binary": (0.3,), "multilabel": (0.2, 0.4, 0.6, 0.8)}.get(task, ())
    names = tuple("abcd"[:k])
    given = Predictions(
        column(list(map(str, range(50)))),
        rng.normal(0, 1, (50, k)).astype(np.float32),
        labels,
        names,
        task,
        "",
        1.0,
        thresholds,
    )  # type: ignore[arg-type]
    turned = reordered(given, names[::-1])
    back = decisions(turned)
    assert turned.classes == names[::-1]
    if task == "multilabel":
        assert (back[:, ::-1] == decisions(given)).all()
        assert (turned.labels[:, ::-1] == labels).all()
    else:
        assert (k - 1 - back == decisions(given)).all()
        assert (np.where(turned.labels < 0, -1, k - 1 - turned.labels) == labels).all()


def test_any_order_of_classes_gives_the_same_scores(digits: tuple[Predictions, Predictions], tmp_path: Path) -> None:
    first, second = digits
    names = (*second.classes[3:], *second.classes[:3])
    turned = replace(second, classes=names, logits=np.roll(second.logits, -3, axis=1), labels=(second.labels - 3) % 10)
    plain = compare((saved(tmp_path / "a", first), saved(tmp_path / "b", second)))
    other = compare((saved(tmp_path / "a", first), saved(tmp_path / "c", turned)))
    assert plain.scores["b"] == other.scores["c"]
    assert plain.others[0].apart == other.others[0].apart


def test_runs_that_cannot_be_compared(digits: tuple[Predictions, Predictions], tmp_path: Path) -> None:
    first, second = digits
    a = saved(tmp_path / "a", first)
    with pytest.raises(UsageError, match="one run alone"):
        compare((a,))
    with pytest.raises(UsageError, match="more than once"):
        compare((a, tmp_path / "." / "a"))
    with pytest.raises(UsageError, match=r"holds no predictions.*visum evaluate BUNDLE DATA --out FOLDER"):
        compare((a, tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"holds no predictions of validation.*here: test"):
        compare((a, saved(tmp_path / "b", second)), split="validation")
    with pytest.raises(UsageError, match="is a folder"):
        compare((a, tmp_path / "b"), out=tmp_path)
    renamed = replace(second, classes=("zero", *second.classes[1:]))
    with pytest.raises(DataError, match="c has other classes than a: only a has 'digit 0'; only c has 'zero'"):
        compare((a, saved(tmp_path / "c", renamed)))
    other = second.labels.copy()
    other[[4, 9]] = (other[[4, 9]] + 1) % 10
    with pytest.raises(
        DataError, match=r"other labels for 2 of 300 images that they share: test/0004.png, test/0009.png"
    ):
        compare((a, saved(tmp_path / "d", replace(second, labels=other))))
    task = replace(second, task="multilabel", labels=np.eye(10, dtype=np.int64)[second.labels])
    with pytest.raises(DataError, match="e is multilabel and a is multiclass"):
        compare((a, saved(tmp_path / "e", task)))
    broken = second.logits.copy()
    broken[:3] = np.nan
    with pytest.raises(DataError, match="3 of 300 images are NaN"):
        compare((a, saved(tmp_path / "f", replace(second, logits=broken))))
    with pytest.raises(RecipeError, match="split"):
        compare((a, tmp_path / "b"), split="testing")  # type: ignore[arg-type]


def test_validation_scores_are_said_to_flatter(digits: tuple[Predictions, Predictions], tmp_path: Path) -> None:
    runs = [saved(tmp_path / name, each, split="validation") for name, each in zip("ab", digits, strict=True)]
    made = compare(tuple(runs))
    assert made.split == "validation"
    assert made.notes[0] == "a: validation images, which it was chosen by; scores flatter."


def test_names_are_as_short_as_tells_them_apart() -> None:
    assert called([Path("/x/a"), Path("/x/b")]) == ["a", "b"]
    assert called([Path("/x/run"), Path("/y/run"), Path("/y/z")]) == ["x/run", "y/run", "y/z"]


def test_names_of_strangers_stay_text_on_the_page(digits: tuple[Predictions, Predictions], tmp_path: Path) -> None:
    odd = replace(digits[0], ids=column(["<b>&amp;" + name for name in digits[0].ids]))
    runs = (saved(tmp_path / "<i>", odd), saved(tmp_path / "b", replace(digits[1], ids=odd.ids)))
    page = compare(runs).page.read_text("utf-8")
    assert "<b>&amp;" not in page
    assert "<i>" not in page
    assert "&lt;i&gt;" in page


def test_the_command(
    digits: tuple[Predictions, Predictions], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from visum.cli.comparing import compare as run

    runs = tuple(saved(tmp_path / name, each) for name, each in zip(("linear", "near"), digits, strict=True))
    run({"runs": runs}, True)
    told = json.loads(capsys.readouterr().out)
    assert told["n"] == 300
    assert told["others"][0]["differences"][0]["metric"] == "accuracy"
    run({"runs": runs}, False)
    said = capsys.readouterr().out
    for words in ("The same 300 images", "Difference from", "images needed", "compare.html"):
        assert words in said
