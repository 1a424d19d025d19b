"""The client and the server together: what comes through is what the bundle says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served import Server

import visum
from visum.errors import UnreadableImage, UsageError
from visum.serve.client import GROUP, Client


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{server.port}") as made:
        yield made


def test_answers_are_those_of_the_bundle(client: Client, bundle: Path, images: dict[str, bytes]) -> None:
    data = list(images.values())
    expected = visum.load(bundle).predict(data, top=100)
    replies = client.predict(data, top=0)
    for reply, plain, picture in zip(replies, expected, data, strict=True):
        assert reply.label == plain.label
        assert dict(reply.top) == pytest.approx(dict(plain.top), abs=0.02)
        alone = client.predict(picture, top=0)  # in a batch of its own, where sums may be of another order
        assert dict(alone.top) == pytest.approx(dict(reply.top), abs=1e-5)
        assert len(client.predict(picture, top=1).top) == 1
        assert (reply.model, reply.task) == ("things", "multiclass")
        assert reply.seconds["run"] > 0
    many = client.predict(data * GROUP)
    assert [reply.label for reply in many] == [plain.label for plain in expected] * GROUP


def test_what_is_served(client: Client, bundle: Path) -> None:
    assert client.ready()
    [one] = client.models()
    kept = visum.load(bundle).bundle
    assert (one.name, one.classes, one.size, one.fit) == (
        "things",
        kept.classes,
        kept.preprocess.size,
        kept.preprocess.fit,
    )
    assert (one.default, one.thresholds) == (True, kept.thresholds)


def test_explanations(client: Client, images: dict[str, bytes]) -> None:
    picture = next(iter(images.values()))
    label = client.predict(picture, top=0).top[-1][0]
    seen = client.explain(picture, label)
    assert seen.label == label
    assert all(0 <= value <= 1 for row in seen.map for value in row)
    assert len(seen.map) == len(seen.map[0]) > 3


def test_refusals(client: Client, images: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    with pytest.raises(UnreadableImage, match=r"text\.jpg: ") as caught:
        client.predict(tmp_path / "text.jpg")
    assert caught.value.next
    good, bad = client.predict([next(iter(images.values())), tmp_path / "text.jpg"])
    assert good.label
    assert bad.error
    with pytest.raises(UsageError, match="No model of that name"):
        client.predict(b"x", model="../../etc/passwd")
    with pytest.raises(UsageError, match="takes no feedback"):
        client.feedback("x", "y")
