"""Monte Carlo dropout against PyTorch's own, and laws of what it says."""

from __future__ import annotations

import numpy as np
import torch

from visum.learn.transfer import Classifier
from visum.models import uncertain
from visum.types import Floats


def learnt(rate: float) -> tuple[Classifier, dict[str, Floats], Floats]:
    rng = np.random.default_rng(0)
    mean, spread = rng.normal(size=40).astype(np.float32), rng.uniform(0.5, 2, 40).astype(np.float32)
    weight, bias = rng.normal(0, 0.3, (40, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    model = Classifier(torch.nn.Identity(), mean, spread, weight, bias, rate)
    return model, model.arrays(), mean


def test_the_mean_and_spread_of_many_passes_are_those_of_a_network_left_in_training_mode() -> None:
    model, head, mean = learnt(0.3)
    x = np.random.default_rng(1).normal(size=(6, 40)).astype(np.float32)
    ours = np.stack([row @ head["weight"] + head["bias"] for row in uncertain.dropped(x, mean, 0.3, 4000)])
    torch.manual_seed(0)
    with torch.no_grad():
        theirs = np.stack([model.train()(torch.from_numpy(x)).numpy() for _ in range(4000)])
    deviation = theirs.std(axis=0)
    assert np.abs(ours.mean(axis=0) - theirs.mean(axis=0)).max() < 5 * deviation.max() / np.sqrt(4000)
    np.testing.assert_allclose(ours.std(axis=0), deviation, rtol=0.08)
    with torch.no_grad():  # and with nothing left out it is the network itself
        whole = model.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(x @ head["weight"] + head["bias"], whole, atol=1e-4)


def test_pictures_are_answered_alone_as_among_others() -> None:
    _, _, mean = learnt(0.5)
    x = np.random.default_rng(1).normal(size=(6, 40)).astype(np.float32)
    among = [rows[3] for rows in uncertain.dropped(x, mean, 0.5, 7)]
    alone = [rows[0] for rows in uncertain.dropped(x[3:4], mean, 0.5, 7)]
    np.testing.assert_array_equal(among, alone)


def test_information_is_none_where_draws_agree_and_all_where_they_are_sure_of_different_things() -> None:
    agree = np.tile(np.array([0.7, 0.2, 0.1], np.float32), (10, 4, 1))
    np.testing.assert_allclose(uncertain.mutual_information(agree), 0, atol=1e-6)
    sure = np.repeat(np.eye(3, dtype=np.float32)[:, None], 4, axis=1)
    np.testing.assert_allclose(uncertain.mutual_information(sure), np.log(3), rtol=1e-5)
    each = np.stack(
        [np.stack([sure[..., 0], 1 - sure[..., 0]], -1)] * 2, axis=2
    )  # two classes, each told by one of three
    single = np.log(3) - 2 / 3 * np.log(2)
    np.testing.assert_allclose(uncertain.mutual_information(each), 2 * single, rtol=1e-5)
