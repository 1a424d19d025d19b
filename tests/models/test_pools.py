"""Pools: laws on arrays, and the same network in halves, whole and compiled under each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from closeness import CLOSE, apart
from visum.data.pixels import fit
from visum.errors import ModelError
from visum.models import compiled, pools, prefix, weights, zoo
from visum.models.embed import Network
from visum.models.weights import Backbone
from visum.types import Pixels, Preprocess

SIZE = 64
LEARNT = (pools.ATTENTION, pools.BILINEAR)


@pytest.fixture(scope="module")
def squares(photos: dict[str, Pixels]) -> Pixels:
    spec = Preprocess(size=SIZE)
    return np.stack([fit(photos["chelsea"], spec), fit(photos["coffee"], spec), fit(photos["astronaut"], spec)])


def backbone(pool: str) -> Backbone:
    """Packaged weights under this pool, whose query is not at its start."""
    found = prefix.with_pool(weights.find(size=SIZE), pool)
    if pool != pools.ATTENTION:
        return found
    query = np.random.default_rng(0).normal(0, 0.3, 320).astype(np.float32)
    tensors = {**found.weights, "visum_pool.query": query}
    return replace(found, weights=tensors, digest=weights.digest_of_weights(tensors))


def whole(found: Backbone, squares: Pixels) -> Any:
    trunk = zoo.trunk(found.name, found.weights, found.stages, found.preprocess, found.pool)
    with torch.no_grad():
        return trunk(torch.from_numpy(squares)).numpy()


@pytest.mark.parametrize("pool", LEARNT)
@pytest.mark.parametrize("cut", ["none", "blocks.4", "blocks.6"])
def test_two_halves_are_the_whole(pool: str, cut: str, squares: Pixels) -> None:
    found = backbone(pool)
    halves, expected = prefix.split(found, cut), whole(found, squares)
    with torch.no_grad():
        x = torch.from_numpy(squares)
        told = halves.suffix(halves.prefix(x).reshape(3, *halves.shape)).numpy()
    np.testing.assert_allclose(told, expected[:, -told.shape[1] :], atol=2e-4)
    assert set(pools.names(pool)) <= set(prefix.tensors(halves.suffix))


@pytest.mark.parametrize("pool", LEARNT)
@pytest.mark.slow
def test_engines_agree(pool: str, squares: Pixels) -> None:
    found = backbone(pool)
    expected = whole(found, squares)
    compiled.write_graph(found, found.preprocess)  # here: a child would load torch again
    for name in compiled.installed():
        engine = compiled.engine(found, found.preprocess, name)
        told = engine.run(squares)
        for part in (slice(0, 304), slice(304, 624), slice(624, 1904), slice(1904, None)):
            if expected[:, part].size:
                assert apart(told[:, part], expected[:, part]) < CLOSE[engine.precision], (name, part)


def test_attention_starts_as_the_mean_and_bilinear_adds_to_it(squares: Pixels) -> None:
    plain = weights.find(size=SIZE)
    expected = whole(plain, squares)
    np.testing.assert_allclose(whole(prefix.with_pool(plain, "attention"), squares), expected, atol=1e-4)
    both = whole(prefix.with_pool(plain, "bilinear"), squares)
    np.testing.assert_array_equal(both[:, : -pools.COLUMNS], expected)
    np.testing.assert_allclose(np.linalg.norm(both[:, -pools.COLUMNS :], axis=1), 1, atol=1e-5)
    assert pools.added("bilinear") == both.shape[1] - expected.shape[1]
    turned = whole(backbone("attention"), squares)
    assert turned.shape == expected.shape
    moved = np.abs(turned - expected).max(0) > 1e-3
    assert moved[304:624].mean() > 0.9  # blocks.6, the last map
    assert not moved[:304].any()
    assert not moved[624:].any()


def test_attention_looks_where_its_query_points() -> None:
    x = torch.randn(2, 49, 8, generator=torch.Generator().manual_seed(0))
    x[:, 17] = 10 * torch.eye(8)[3]
    torch.testing.assert_close(pools.attended(x, 5 * torch.eye(8)[3]), x[:, 17], atol=1e-3, rtol=0)
    torch.testing.assert_close(pools.attended(x, torch.zeros(8)), x.mean(1))


def test_products_of_rows_are_estimates_of_all_products_of_channels() -> None:
    """Gao et al. 2016, table 1: <φ(x), φ(y)> is the mean of (x · y)² over pairs of positions, up to chance."""
    draw = np.random.default_rng(3)
    maps = torch.from_numpy(np.abs(draw.normal(size=(12, 9, 24))).astype(np.float32))
    signs = pools.POOLS["bilinear"](24)
    left, right = torch.from_numpy(signs["left"]).float(), torch.from_numpy(signs["right"]).float()
    sketch = ((maps @ left) * (maps @ right)).mean(1) / pools.COLUMNS**0.5
    full = torch.einsum("bnc,bnd->bcd", maps, maps).flatten(1) / 9
    torch.testing.assert_close(sketch @ sketch.T, full @ full.T, rtol=0.25, atol=0)
    rooted = torch.sign(sketch) * sketch.abs().sqrt()
    unit = rooted / rooted.norm(dim=1, keepdim=True)
    torch.testing.assert_close(pools.bilinear(maps, left, right), unit, atol=1e-4, rtol=0)


def test_slopes_are_finite_where_nothing_is_seen() -> None:
    signs = pools.POOLS["bilinear"](4)
    x = torch.zeros(1, 9, 4, requires_grad=True)
    pools.bilinear(x, *map(torch.from_numpy, signs.values())).square().sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())


@pytest.mark.parametrize(
    "name",
    [pytest.param("swin_tiny_patch4_window7_224", marks=pytest.mark.slow), "vit_tiny_patch16_224", "squeezenet1_1"],
)
def test_families(name: str) -> None:
    """Channels last, tokens, and a network whose own output is the last map: attention is another mean of the same columns."""
    own = weights.untrained(name)
    found = prefix.with_pool(own, "attention")
    width = len(found.weights["visum_pool.query"])
    tensors = {**found.weights, "visum_pool.query": np.ones(width, np.float32)}
    found = replace(found, weights=tensors)
    size = found.preprocess.size
    squares = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    assert whole(found, squares).shape == whole(own, squares).shape
    assert not np.allclose(whole(found, squares), whole(own, squares))


def test_each_pool_has_a_graph_and_embeddings_of_its_own() -> None:
    made = [prefix.with_pool(weights.find(size=SIZE), name) for name in pools.POOLS]
    assert len({compiled.graph_path(each, each.preprocess) for each in made}) == 3
    assert len({Network(each, each.preprocess).digest for each in made}) == 3
    cut = [replace(each, cut="blocks.4") for each in made]
    assert all(compiled.ends(each) == ["blocks.4"] for each in cut)


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(ModelError, match=r"no pool is called 'max'.*mean, attention, bilinear"):
        pools.Joined("max", {})
    with pytest.raises(ModelError, match=r"no visum_pool\.query"):
        pools.Joined("attention", {})
    with pytest.raises(ModelError, match="no map left to pool"):
        pools.last_map([torch.zeros(2, 3)])
