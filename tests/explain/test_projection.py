"""Maps: scikit-learn's PCA, neighbours counted one by one, and cells that nobody shares."""

from __future__ import annotations

import numpy as np

from visum.explain import projection

DRAW = np.random.default_rng(2)
X = np.concatenate([DRAW.normal(size=(25, 8)) + 9 * centre for centre in np.eye(8)[:3]])
LABELS = np.repeat([0, 1, 2], 25)


def test_pca_is_scikit_learns_up_to_sign() -> None:
    from sklearn.decomposition import PCA

    ours, theirs = projection.pca(X), PCA(2).fit_transform(X)
    for axis in (0, 1):
        assert abs(np.corrcoef(ours[:, axis], theirs[:, axis])[0, 1]) > 1 - 1e-9
        assert np.isclose(ours[:, axis].std(), theirs[:, axis].std())
    assert projection.pca(X[:, :1]).shape == (75, 2)


def test_tsne_keeps_groups_and_one_seed_gives_one_map() -> None:
    places = projection.tsne(X, seed=1)
    np.testing.assert_array_equal(places, projection.tsne(X, seed=1))
    assert projection.agreed(places, LABELS).mean() > 0.95


def test_what_is_kept_is_counted() -> None:
    assert projection.kept(X, X[:, :8]) == 1
    assert projection.kept(X, DRAW.normal(size=(75, 2))) < 0.3
    far = np.linalg.norm(X[:, None] - X[None], axis=2)
    two = projection.pca(X)
    flat = np.linalg.norm(two[:, None] - two[None], axis=2)
    shares = [len(set(np.argsort(far[i])[1:6]) & set(np.argsort(flat[i])[1:6])) / 5 for i in range(75)]
    assert np.isclose(projection.kept(X, two, near=5), np.mean(shares))


def test_each_picture_has_a_cell_of_its_own_near_its_place() -> None:
    places = DRAW.uniform(size=(60, 2)) * [11, 8]
    found = projection.cells(places, 12, 9)
    assert len({tuple(each) for each in found.tolist()}) == 60
    assert found.min() >= 0
    assert (found.max(axis=0) <= [11, 8]).all()
    assert np.abs(found - places).mean() < 1
    corners = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    assert projection.cells(corners, 3, 3).tolist() == [[0, 0], [2, 0], [0, 2], [2, 2]]
