"""The block of metrics.json: its shape, its agreement with itself and with scikit-learn, and odd splits."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from judged import predictions
from sklearn import metrics as reference

from visum.errors import DataError, NotEnoughData, UsageError
from visum.judge.evaluate import evaluate, headline, score
from visum.judge.metrics import METRICS
from visum.judge.mistakes import confused, wrong
from visum.storage import write_json
from visum.types import Predictions, Task, column, decisions, probabilities

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")
SCORE = {"value", "low", "high", "n", "method"}
CLASS = {"class", "n", "precision", "recall", "f1", "auc_roc", "average_precision", "threshold"}


def rows(given: Predictions, where: np.ndarray) -> Predictions:
    return replace(given, ids=given.ids[where], logits=given.logits[where], labels=given.labels[where])


def plain(value: object) -> bool:
    """Whether a block is made of Python's own types throughout."""
    if isinstance(value, dict):
        return all(type(k) is str and plain(v) for k, v in value.items())
    if isinstance(value, list):
        return all(plain(v) for v in value)
    return value is None or type(value) in (str, int, float)


@pytest.mark.parametrize("task", TASKS)
def test_the_block_has_the_shape_of_the_design(task: Task) -> None:
    given = predictions(task)
    block = evaluate(given)
    assert plain(block)
    names = {"n", "unlabelled", "metrics", "per_class", "confusion", "confused", "reliability", "wrong"}
    assert set(block) == names
    absent = {
        "multiclass": {"hamming_loss"},
        "binary": {"hamming_loss", "top5_accuracy"},
        "multilabel": {"top5_accuracy"},
    }
    assert set(block["metrics"]) == set(METRICS) - absent[task]
    for found in block["metrics"].values():
        assert set(found) == SCORE
        assert found["low"] <= found["value"] <= found["high"]
        assert found["low"] < found["high"]
        assert found["n"] == 797
        assert found["method"]
    assert [row["class"] for row in block["per_class"]] == list(given.classes)
    for k, row in enumerate(block["per_class"]):
        assert set(row) == CLASS
        assert (
            row["threshold"] == {"multilabel": (0.4, 0.5, 0.6, 0.35), "binary": (None, 0.3)}.get(task, (None,) * 10)[k]
        )
        for name in ("precision", "recall", "f1", "auc_roc", "average_precision"):
            assert row[name]["low"] <= row[name]["value"] <= row[name]["high"]
            assert row[name]["low"] < row[name]["high"]
    assert (block["confusion"] is None) == (task == "multilabel")
    assert headline(task) in block["metrics"]


@pytest.mark.parametrize("task", TASKS)
def test_per_class_is_scikit_learns(task: Task) -> None:
    given = predictions(task)
    p, y, a = probabilities(given), given.labels, decisions(given)
    theirs = reference.precision_recall_fscore_support(y, a, average=None)
    for k, row in enumerate(evaluate(given)["per_class"]):
        truth = y[:, k] if task == "multilabel" else y == k
        mine = [row["precision"]["value"], row["recall"]["value"], row["f1"]["value"], row["n"]]
        assert mine == pytest.approx([part[k] for part in theirs])
        assert row["auc_roc"]["value"] == pytest.approx(reference.roc_auc_score(truth, p[:, k]))
        assert row["average_precision"]["value"] == pytest.approx(reference.average_precision_score(truth, p[:, k]))
        assert row["recall"]["n"] == row["auc_roc"]["n"] == row["n"]


def test_binary_threshold_is_applied() -> None:
    given = predictions("binary")
    low, high = evaluate(replace(given, thresholds=(0.05,))), evaluate(replace(given, thresholds=(0.9,)))
    assert sum(low["confusion"][1]) == sum(high["confusion"][1])
    assert low["per_class"][1]["recall"]["value"] > high["per_class"][1]["recall"]["value"]
    assert low["metrics"]["ece"] == high["metrics"]["ece"]
    assert low["confusion"] == reference.confusion_matrix(given.labels, probabilities(given)[:, 1] >= 0.05).tolist()


@pytest.mark.parametrize("task", TASKS)
def test_score_is_the_blocks(task: Task) -> None:
    given = predictions(task)
    block = evaluate(given, seed=4)["metrics"]
    for name, found in block.items():
        alone = score(given, name, seed=4)
        assert (alone.name, alone.value, alone.n, alone.method) == (name, found["value"], 797, found["method"])
        assert (alone.low, alone.high) == pytest.approx((found["low"], found["high"]), abs=1e-6)
    with pytest.raises(UsageError, match="accuracy"):
        score(given, "acuracy")


def test_same_seed_same_bytes() -> None:
    given = predictions("multiclass")
    assert json.dumps(evaluate(given, seed=1)) == json.dumps(evaluate(given, seed=1))
    assert json.dumps(evaluate(given, seed=1)) != json.dumps(evaluate(given, seed=2))


def test_unlabelled_images_are_left_out_and_counted() -> None:
    given = predictions("multiclass")
    labels = given.labels.copy()
    labels[::4] = -1
    block = evaluate(replace(given, labels=labels))
    known = evaluate(rows(given, labels >= 0))
    assert block["unlabelled"] == 200
    assert json.dumps(block) == json.dumps({**known, "unlabelled": 200})
    with pytest.raises(NotEnoughData, match="none of 797 images has a label"):
        evaluate(replace(given, labels=np.full(797, -1)))
    with pytest.raises(NotEnoughData, match="there are no images"):
        evaluate(rows(given, np.zeros(797, bool)))


def test_broken_logits_are_named() -> None:
    given = predictions("multiclass")
    logits = given.logits.copy()
    logits[7, 3], logits[11, 0] = np.nan, np.inf
    with pytest.raises(DataError, match=r"2 of 797 images.*digits/0007.png, digits/0011.png"):
        evaluate(replace(given, logits=logits))
    with pytest.raises(DataError, match="9 classes"):
        score(replace(given, classes=given.classes[:9]), "accuracy")


@pytest.mark.parametrize("task", TASKS)
def test_odd_splits_have_a_block(task: Task, tmp_path: object) -> None:
    """One image, one class only, everything right, everything wrong: no warning, no interval without its value."""
    given = predictions(task)
    right = (
        np.where(given.labels == 1, 9, -9) if task == "multilabel" else 18 * np.eye(len(given.classes))[given.labels]
    )
    one_class = given.labels[:, 0] == 1 if task == "multilabel" else given.labels == 1
    perfect = replace(given, logits=right.astype(np.float32), temperature=1.0)
    awry = replace(perfect, logits=-perfect.logits)
    cases = [rows(given, np.arange(1)), rows(given, np.arange(2)), rows(given, one_class), perfect, awry]
    for case in cases:
        block = evaluate(case)
        for name, found in block["metrics"].items():
            value, low, high = found["value"], found["low"], found["high"]
            if value == value:
                assert found["method"] == "" if low != low else low <= value <= high, name
        write_json(tmp_path / "metrics.json", block)
    block = evaluate(perfect)
    assert block["wrong"] == block["confused"] == []
    for name in (
        "accuracy",
        "macro_f1",
        "micro_f1",
        "weighted_f1",
        "balanced_accuracy",
        "auc_roc",
        "average_precision",
    ):
        found = block["metrics"][name]
        assert found["value"] == pytest.approx(1)
        assert 0.9 < found["low"] < 1, name
    assert evaluate(awry)["metrics"]["accuracy"]["high"] > 0


def test_a_class_without_images_is_empty_not_zero() -> None:
    given = predictions("multiclass")
    block = evaluate(rows(given, given.labels != 5))
    row = block["per_class"][5]
    assert row["n"] == 0
    assert all(
        np.isnan(row[kind]["value"]) and row[kind]["n"] == 0 for kind in ("precision", "recall", "f1", "auc_roc")
    )
    assert sum(block["confusion"][5]) == 0
    assert len(block["confusion"]) == 10


def test_wrong_images_worst_first() -> None:
    given = predictions("multiclass")
    p, a, y = probabilities(given), decisions(given), given.labels
    found = wrong(given, 1000)
    assert len(found) == (a != y).sum()
    gaps = [entry["p_answer"] - entry["p_label"] for entry in found]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[0] == pytest.approx((p.max(1) - p[np.arange(797), y])[a != y].max())
    first = int(np.flatnonzero(given.ids == found[0]["id"])[0])
    assert (found[0]["label"], found[0]["answer"]) == (f"digit-{y[first]}", f"digit-{a[first]}")
    assert wrong(given, 3) == found[:3]


def test_wrong_sets_of_labels() -> None:
    given = predictions("multilabel")
    found = wrong(given, 1000)
    assert len(found) == (decisions(given) != given.labels).any(1).sum()
    tells = [entry["p_label"] for entry in found]
    assert tells == sorted(tells)
    row = int(np.flatnonzero(given.ids == found[0]["id"])[0])
    p, y = probabilities(given)[row], given.labels[row]
    assert found[0]["label"] == "|".join(np.array(given.classes)[y == 1])
    assert -np.log(found[0]["p_label"]) == pytest.approx(reference.log_loss(y, p, normalize=False), rel=1e-4)


def test_confused_pairs() -> None:
    given = predictions("multiclass")
    table = np.array(evaluate(given)["confusion"])
    np.fill_diagonal(table, 0)
    found = confused(given, 1000)
    assert sum(pair["count"] for pair in found) == table.sum()
    assert [pair["count"] for pair in found] == sorted(table[table > 0].tolist(), reverse=True)
    for pair in found:
        i, j = given.classes.index(pair["truth"]), given.classes.index(pair["answer"])
        assert pair["count"] == table[i, j]
        at = np.isin(given.ids, pair["ids"])
        assert at.sum() == len(pair["ids"]) == min(pair["count"], 24)
        assert (given.labels[at] == i).all()
        assert (decisions(given)[at] == j).all()


def test_confused_pairs_of_several_labels() -> None:
    z = np.array([[-2, 3, -1], [-1, 2, -3], [1, 1, -2], [3, -3, 2]], np.float32)
    y = np.array([[1, 0, 0], [1, 0, 0], [1, 1, 0], [1, 0, 0]])
    given = Predictions(column(["p", "q", "r", "s"]), z, y, ("a", "b", "c"), "multilabel")
    assert confused(given, 5) == [{"truth": "a", "answer": "b", "count": 2, "ids": ["p", "q"]}]
    assert [entry["id"] for entry in wrong(given, 5)] == ["p", "q", "s"]
    assert wrong(given, 5)[2]["answer"] == "a|c"


def test_quick() -> None:
    """The block of an ordinary split takes well under a second, with all its intervals."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 10_000)
    z = rng.normal(size=(10_000, 10)).astype(np.float32)
    z[np.arange(10_000), y] += 3
    names = tuple("abcdefghij")
    given = Predictions(column([str(i) for i in range(10_000)]), z, y, names, "multiclass")
    for part, seconds in ((372, 0.3), (10_000, 2.0)):
        started = time.perf_counter()
        evaluate(rows(given, np.arange(part)))
        assert time.perf_counter() - started < seconds * 2  # other work on the machine
