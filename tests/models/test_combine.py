"""Combining answers: laws of every way, the inequality that makes averaging worth while, and scikit-learn's voting."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from visum.judge.metrics import log_losses
from visum.models.combine import COMBINE
from visum.types import Predictions, Task, column, probabilities

TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")
Array = NDArray[np.float64]


def drawn(task: Task, members: int = 5, n: int = 200, seed: int = 0) -> Array:
    k = 2 if task == "binary" else 4
    return np.random.default_rng(seed).normal(0, 3, (members, n, k))


def votes(z: Array, task: Task) -> NDArray[np.bool_]:
    return z >= 0 if task == "multilabel" else z.argmax(2)[..., None] == np.arange(z.shape[2])


def p_of(z: NDArray[np.floating], task: Task) -> NDArray[np.float32]:
    n, k = z.shape
    names = tuple("abcd"[:k])
    return probabilities(Predictions(column([""] * n), np.asarray(z, np.float32), np.zeros(n, np.int64), names, task))


def say(name: str, z: Array, task: Task) -> NDArray[np.float32]:
    return COMBINE[name](z, votes(z, task), task)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", COMBINE)
def test_the_order_of_members_changes_nothing(name: str, task: Task) -> None:
    z = drawn(task)
    said = say(name, z, task)
    assert said.dtype == np.float32
    assert said.shape == z.shape[1:]
    np.testing.assert_allclose(say(name, z[[3, 0, 4, 2, 1]], task), said, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", ["probabilities", "logits"])
def test_one_member_asked_thrice_says_what_it_says_alone(name: str, task: Task) -> None:
    z = drawn(task, members=1)
    np.testing.assert_allclose(p_of(say(name, np.repeat(z, 3, 0), task), task), p_of(z[0], task), atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("members", [1, 2, 3])
def test_one_member_that_votes_several_times_decides(members: int, task: Task) -> None:
    z = drawn(task, members=1)
    said = say("vote", np.repeat(z, members, 0), task)
    np.testing.assert_array_equal(votes(said[None].astype(float), task)[0], votes(z, task)[0])


@pytest.mark.parametrize("task", TASKS)
def test_the_mean_of_probabilities_loses_no_more_than_the_members_do_on_average(task: Task) -> None:
    z = drawn(task)
    rng = np.random.default_rng(1)
    k = z.shape[2]
    y = rng.integers(0, 2, (200, k)) if task == "multilabel" else rng.integers(0, k, 200)
    alone = np.mean([log_losses(p_of(each, task), y, task) for each in z], axis=0)
    together = log_losses(p_of(say("probabilities", z, task), task), y, task)
    assert (together <= alone + 1e-5).all()
    assert together.mean() < alone.mean() - 0.1  # and where they disagree it is better by far


@pytest.mark.parametrize("task", TASKS)
def test_means_are_those_that_their_names_say(task: Task) -> None:
    z = drawn(task)
    mean = np.mean([p_of(each, task) for each in z], axis=0)
    np.testing.assert_allclose(p_of(say("probabilities", z, task), task), mean, atol=1e-6)
    np.testing.assert_allclose(say("logits", z, task), z.mean(0), rtol=1e-6, atol=1e-6)


def test_a_majority_is_never_overruled_and_the_mean_decides_between_equals() -> None:
    sure, unsure = np.array([[-40.0, 40.0, 0.0]]), np.array([[0.01, 0.0, 0.0]])
    said = say("vote", np.stack([sure, unsure, unsure]), "multiclass")
    assert said.argmax() == 0
    assert say("vote", np.stack([sure, unsure]), "multiclass").argmax() == 1
    shy = np.log(np.array([[[0.98, 0.02]], [[0.98, 0.02]], [[0.995, 0.005]]]))  # two say yes, at a threshold of 0.01
    assert COMBINE["vote"](shy, np.array([[[False, True]], [[False, True]], [[True, False]]]), "binary").argmax() == 1
    assert say("probabilities", np.stack([sure, unsure, unsure]), "multiclass").argmax() == 1
    wide = drawn("multiclass", members=4)
    p = np.exp(say("vote", wide, "multiclass").astype(float))
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)  # a distribution without being normalised
    count = votes(wide, "multiclass").sum(0)
    assert (count[np.arange(200), p.argmax(1)] == count.max(1)).all()


def test_more_than_half_say_yes_when_there_are_several_labels() -> None:
    for members in (2, 3, 4):
        z = drawn("multilabel", members)
        share = votes(z, "multilabel").mean(0)
        said = say("vote", z, "multilabel")
        assert (said[share > 0.5] > 0).all()
        assert (said[share < 0.5] < 0).all()
        mean = np.mean([p_of(each, "multilabel") for each in z], axis=0)
        np.testing.assert_array_equal(said[share == 0.5] > 0, mean[share == 0.5] > 0.5)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", COMBINE)
def test_logits_beyond_all_measure_stay_numbers(name: str, task: Task) -> None:
    z = drawn(task) * 1e5
    assert np.isfinite(say(name, z, task)).all()
    assert np.isfinite(say(name, np.zeros_like(z), task)).all()


@pytest.mark.parametrize(("name", "voting"), [("probabilities", "soft"), ("vote", "hard")])
def test_scikit_learn_says_the_same_of_real_digits(name: str, voting: str) -> None:
    x, y = load_digits(return_X_y=True)
    models = [
        ("knn", KNeighborsClassifier(15)),
        ("line", LogisticRegression(max_iter=5, C=1e-4)),
        ("bayes", GaussianNB()),
    ]
    with pytest.warns(ConvergenceWarning):  # five steps are not enough, which is what makes the three disagree
        theirs = VotingClassifier(models, voting=voting).fit(x[:200], y[:200])
    z = np.stack([np.log(m.predict_proba(x[200:]) + 1e-300) for m in theirs.estimators_])
    ours = say(name, z, "multiclass").argmax(1)
    count = votes(z, "multiclass").sum(0)
    clear = (count == count.max(1, keepdims=True)).sum(1) == 1  # theirs breaks ties by number
    clear |= name == "probabilities"
    assert clear.mean() > 0.9
    assert (votes(z, "multiclass").sum(0).max(1) < 3).sum() > 100
    np.testing.assert_array_equal(ours[clear], theirs.predict(x[200:])[clear])
