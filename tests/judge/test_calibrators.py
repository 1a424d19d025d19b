"""Calibrators beside scikit-learn's, and the laws of each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from judged import predictions
from sklearn import metrics as reference

from visum.judge.calibrators import CALIBRATORS, squashed, steps
from visum.types import Task, probabilities

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", list(CALIBRATORS))
def test_what_is_fitted_is_probabilities_and_leaves_unlabelled_out(name: str, task: Task) -> None:
    given, each = predictions(task), CALIBRATORS[name]
    half = given.labels.copy()
    half[400:] = -1
    state = each.fit(given.logits, half, task)
    p = each.apply(state, given.logits, task)
    assert p.dtype == np.float32
    assert p.shape == given.logits.shape
    assert (p >= 0).all()
    assert (p <= 1).all()
    if task != "multilabel":
        assert p.sum(1) == pytest.approx(np.ones(len(p)), abs=1e-5)
    alone = each.fit(given.logits[:400], given.labels[:400], task)
    assert all(np.array_equal(state[key], alone[key]) for key in alone)


def test_temperature_and_nothing_change_no_answer() -> None:
    given = predictions("multiclass")
    answers = given.logits.argmax(1)
    for name in ("none", "temperature"):
        p = CALIBRATORS[name].apply(
            CALIBRATORS[name].fit(given.logits, given.labels, "multiclass"), given.logits, "multiclass"
        )
        assert (p.argmax(1) == answers).all()
    plain = probabilities(replace(given, temperature=1.0))
    assert CALIBRATORS["none"].apply({}, given.logits, "multiclass") == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_vector_scaling_promises_each_class_as_often_as_it_comes(task: Task) -> None:
    """The law of the optimum: the mean probability of a class is its share of the images."""
    given = predictions(task)
    state = CALIBRATORS["vector"].fit(given.logits, given.labels, task)
    p = squashed(given.logits * state["scale"] + state["shift"], task)
    y = given.labels if task == "multilabel" else given.labels[:, None] == np.arange(p.shape[1])
    assert p.mean(0) == pytest.approx(y.mean(0), abs=1e-5)
    assert ((p - y) * given.logits).mean(0) == pytest.approx(np.zeros(p.shape[1]), abs=1e-5)


def test_vector_scaling_of_one_class_is_platts_logistic_regression() -> None:
    from sklearn.linear_model import LogisticRegression

    given = predictions("multilabel")
    state = CALIBRATORS["vector"].fit(given.logits, given.labels, "multilabel")
    for k in range(4):
        model = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(
            given.logits[:, [k]].astype(float), given.labels[:, k]
        )
        assert state["scale"][k] == pytest.approx(model.coef_[0, 0], rel=1e-4)
        assert state["shift"][k] == pytest.approx(model.intercept_[0], abs=1e-4)


def test_vector_scaling_is_at_least_as_good_as_temperature_on_what_it_was_fitted_on() -> None:
    given = predictions("multiclass")
    losses = {}
    for name, each in CALIBRATORS.items():
        p = each.apply(each.fit(given.logits, given.labels, "multiclass"), given.logits, "multiclass").astype(float)
        losses[name] = reference.log_loss(given.labels, p / p.sum(1, keepdims=True))
    assert losses["vector"] < losses["temperature"] < losses["none"]


def test_vector_scaling_leaves_what_was_not_seen_alone() -> None:
    given = predictions("multiclass")
    keep = given.labels != 4
    state = CALIBRATORS["vector"].fit(given.logits[keep], given.labels[keep], "multiclass")
    t = CALIBRATORS["temperature"].fit(given.logits[keep], given.labels[keep], "multiclass")["temperature"][0]
    assert state["shift"][4] == 0
    assert state["scale"][4] == pytest.approx(1 / t)
    assert np.isfinite(state["scale"]).all()


def test_perfectly_separated_classes_have_bounded_scales() -> None:
    y = np.arange(60) % 3
    state = CALIBRATORS["vector"].fit(np.eye(3, dtype=np.float32)[y] * 5, y, "multiclass")
    assert np.isfinite(state["scale"]).all()
    assert (np.abs(state["shift"]) <= 20).all()


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_isotonic_steps_are_scikit_learns(task: Task) -> None:
    from sklearn.isotonic import IsotonicRegression

    given = predictions(task)
    logits = given.logits.round(1)  # with ties
    fitted, seen = slice(0, 500), slice(500, None)
    state = CALIBRATORS["isotonic"].fit(logits[fitted], given.labels[fitted], task)
    p = squashed(logits.astype(float) / state["temperature"], task)
    found = steps(state, p[seen])
    y = given.labels if task == "multilabel" else given.labels[:, None] == np.arange(p.shape[1])
    for k in range(p.shape[1]):
        model = IsotonicRegression(out_of_bounds="clip").fit(p[fitted, k], y[fitted, k])
        assert found[:, k] == pytest.approx(model.predict(p[seen, k]), abs=1e-6)
        assert (np.diff(found[np.argsort(p[seen, k], kind="stable"), k]) >= -1e-12).all()


def test_isotonic_never_says_never() -> None:
    given = predictions("multiclass")
    state = CALIBRATORS["isotonic"].fit(given.logits[:200], given.labels[:200], "multiclass")
    assert (steps(state, squashed(given.logits.astype(float) / state["temperature"], "multiclass")) == 0).any()
    assert (CALIBRATORS["isotonic"].apply(state, given.logits, "multiclass") > 0).all()
