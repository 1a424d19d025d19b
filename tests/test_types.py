"""The nouns: what is saved comes back the same, damage is named, and probabilities agree with SciPy."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy.special import expit, softmax

from visum.errors import CorruptFile, StorageError
from visum.types import (
    Embeddings,
    Manifest,
    Predictions,
    Preprocess,
    Task,
    column,
    decisions,
    digest_of,
    in_split,
    manifest,
    printable,
    probabilities,
    rows,
    targets,
)

ODD = ["plain.png", "zwölf \U0001f600.jpg", "new\nline.png", "-flag", "<img onerror>", os.fsdecode(b"raw-\xff\xfe.png")]


def same(a: Manifest, b: Manifest) -> None:
    for field in dataclasses.fields(Manifest):
        one, two = getattr(a, field.name), getattr(b, field.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype, field.name
            assert one.tolist() == two.tolist(), field.name
        else:
            assert one == two, field.name


def odd_table(task: Task = "multilabel") -> Manifest:
    labels = [(0, 2), (), (1,), (2,), (0, 1, 2), ()] if task == "multilabel" else [(0,), (), (1,), (2,), (0,), ()]
    table = manifest(
        "/data/ä", task, ["a", "b", "c ü"], ODD, labels, splits=["train", "", "test"] * 2, groups=["g"] * 6
    )
    return dataclasses.replace(
        table,
        widths=np.arange(6, dtype=np.int32),
        heights=np.arange(6, dtype=np.int32)[::-1].copy(),
        notes=column(["", "a; b", "", "", "", ""]),
        sha256=column(["ab" * 32] * 6),
    )


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_manifest_comes_back(tmp_path: Path, task: Task) -> None:
    table = odd_table(task)
    table.save(tmp_path / "m.parquet")
    same(Manifest.load(tmp_path / "m.parquet"), table)
    none = rows(table, np.zeros(6, bool))
    none.save(tmp_path / "none.parquet")
    same(Manifest.load(tmp_path / "none.parquet"), none)
    plain = pq.read_table(tmp_path / "m.parquet")  # others can read it, too
    assert plain["ids"].to_pylist()[5] == "raw-\\xff\\xfe.png"
    assert plain["labels"].to_pylist()[0] == list(table.labels[0])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.sets(st.integers(0, 4)), st.text(max_size=3)), max_size=6)
)
def test_any_manifest_comes_back(tmp_path: Path, cells: list[tuple[bytes, set[int], str]]) -> None:
    table = manifest(
        "/x", "multilabel", list("abcde"), [os.fsdecode(path) for path, _, _ in cells],
        [tuple(sorted(label)) for _, label, _ in cells],
        groups=[group.encode("utf-8", "ignore").decode() for _, _, group in cells],
    )  # fmt: skip
    table.save(tmp_path / "m.parquet")
    same(Manifest.load(tmp_path / "m.parquet"), table)


def test_rows_and_splits() -> None:
    table = odd_table()
    assert rows(table, np.array([2, 0])).ids.tolist() == [printable(ODD[2]), printable(ODD[0])]
    assert rows(table, in_split(table, "test")).widths.tolist() == [2, 5]
    assert in_split(table, "").tolist() == [False, True, False, False, True, False]
    assert rows(table, in_split(table, "train")).labels.tolist() == [(0, 2), (2,)]


def test_targets() -> None:
    assert targets(odd_table()).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]]
    assert targets(odd_table("multiclass")).tolist() == [0, -1, 1, 2, 0, -1]
    assert targets(odd_table()).dtype == targets(odd_table("multiclass")).dtype == np.int64
    assert targets(rows(odd_table(), np.zeros(6, bool))).shape == (0, 3)


@pytest.mark.parametrize("values", [[], ["a"], [(1,), ()], [(1, 2), (3, 4)], [(), (1, 2)], [None, "x"]])
def test_columns_have_one_axis(values: list[object]) -> None:
    made = column(values)
    assert made.shape == (len(values),)
    assert made.dtype == object
    assert made.tolist() == values


@given(st.binary(min_size=1))
def test_printable_is_text_and_tells_paths_apart(raw: bytes) -> None:
    text = printable(os.fsdecode(raw))
    text.encode()
    try:
        assert text == raw.decode()
    except UnicodeDecodeError:
        assert "\\x" in text


def predictions(task: Task, n: int = 50, k: int = 4) -> Predictions:
    random = np.random.default_rng(2)
    k = 2 if task == "binary" else k
    logits = (random.standard_normal((n, k)) * 30).astype(np.float32)
    labels = random.integers(0, 2, (n, k)) if task == "multilabel" else random.integers(-1, k, n)
    classes = tuple(f"class {at}" for at in range(k))
    return Predictions(column([f"{at}.png" for at in range(n)]), logits, labels, classes, task, "digest", 1.7)


TASKS: tuple[Task, ...] = ("binary", "multiclass", "multilabel")


@pytest.mark.parametrize("task", TASKS)
def test_probabilities_are_scipys(task: Task) -> None:
    given_ = predictions(task)
    z = given_.logits.astype(np.float64) / 1.7
    p = probabilities(given_)
    assert p.dtype == np.float32
    np.testing.assert_allclose(p, expit(z) if task == "multilabel" else softmax(z, axis=1), rtol=1e-5, atol=1e-30)
    huge = dataclasses.replace(given_, logits=np.full_like(given_.logits, 3e38))
    assert np.isfinite(probabilities(huge)).all()


def test_decisions_follow_thresholds() -> None:
    many = predictions("multiclass")
    assert (decisions(many) == many.logits.argmax(1)).all()
    two = dataclasses.replace(predictions("binary"), thresholds=(0.9,))
    assert (decisions(two) == (softmax(two.logits / np.float32(1.7), axis=1)[:, 1] >= 0.9)).all()
    assert (decisions(dataclasses.replace(two, thresholds=())) == two.logits.argmax(1)).all()
    tags = dataclasses.replace(predictions("multilabel"), thresholds=(0.5, 0.999, 0.001, 1e-30))
    p = probabilities(tags)
    assert (decisions(tags)[:, 1] == (p[:, 1] >= np.float32(0.999))).all()
    assert 0 < decisions(tags)[:, 1].sum() < decisions(tags)[:, 2].sum() < 50
    assert (decisions(dataclasses.replace(tags, thresholds=())) == (tags.logits >= 0)).all()


@pytest.mark.parametrize("task", TASKS)
def test_predictions_come_back(tmp_path: Path, task: Task) -> None:
    made = dataclasses.replace(predictions(task), thresholds=(0.25,))
    made.save(tmp_path / "p", "test")
    again = Predictions.load(tmp_path / "p", "test")
    for field in dataclasses.fields(Predictions):
        one, two = getattr(made, field.name), getattr(again, field.name)
        np.testing.assert_array_equal(one, two) if isinstance(one, np.ndarray) else None
        assert isinstance(one, np.ndarray) or one == two
    plain = tmp_path / "plain"
    plain.touch()
    for path in (tmp_path / "p").iterdir():  # whoever may read files of this user may read these
        assert path.stat().st_mode == plain.stat().st_mode
    assert load_file(tmp_path / "p" / "test.safetensors")["logits"].tobytes() == made.logits.tobytes()
    shown = pq.read_table(tmp_path / "p" / "test.parquet").to_pandas()
    np.testing.assert_allclose(shown["p_class 1"], probabilities(made)[:, 1])
    if task != "multilabel":
        assert shown["prediction"].tolist() == [made.classes[k] for k in decisions(made)]
        assert shown["label"].isna().tolist() == (made.labels < 0).tolist()


def test_embeddings_come_back_mapped(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((5, 7)).astype(np.float16)
    made = Embeddings(column(list("abcde")), vectors, "net", "spec", (("one", 0, 3), ("two", 3, 7)))
    made.save(tmp_path / "e")
    again = Embeddings.load(tmp_path / "e")
    assert isinstance(again.vectors, np.memmap)
    np.testing.assert_array_equal(again.vectors, vectors, strict=True)
    assert (again.ids.tolist(), again.backbone, again.preprocess, again.stages) == (
        list("abcde"), "net", "spec", made.stages,
    )  # fmt: skip
    assert len(again) == 5


def test_damage_is_named(tmp_path: Path) -> None:
    odd_table().save(tmp_path / "m.parquet")
    whole = (tmp_path / "m.parquet").read_bytes()
    for blob in (b"", b"PAR1", whole[:-9], whole[: len(whole) // 2], b"PAR1" + bytes(100) + b"PAR1"):
        (tmp_path / "m.parquet").write_bytes(blob)
        with pytest.raises(CorruptFile, match=r"m\.parquet is not what visum wrote"):
            Manifest.load(tmp_path / "m.parquet")
    with pytest.raises(StorageError, match=r"none\.parquet does not exist"):
        Manifest.load(tmp_path / "none.parquet")
    pq.write_table(pq.read_table(_plain_table(tmp_path)), tmp_path / "other.parquet")
    with pytest.raises(CorruptFile, match=r"other\.parquet is not what"):
        Manifest.load(tmp_path / "other.parquet")

    predictions("multiclass").save(tmp_path, "a")
    dataclasses.replace(predictions("multiclass", n=9)).save(tmp_path, "b")
    (tmp_path / "b.parquet").replace(tmp_path / "a.parquet")
    with pytest.raises(CorruptFile, match="as many ids as logits"):
        Predictions.load(tmp_path, "a")
    (tmp_path / "a.safetensors").write_bytes(b"\x10")
    with pytest.raises(CorruptFile, match=r"a\.safetensors"):
        Predictions.load(tmp_path, "a")

    Embeddings(column(["a"]), np.ones((1, 2), np.float32), "", "").save(tmp_path / "e")
    (tmp_path / "e" / "vectors.npy").write_bytes(b"\x80\x04N.")
    with pytest.raises(CorruptFile, match="e is not what visum wrote"):
        Embeddings.load(tmp_path / "e")
    np.save(tmp_path / "e" / "vectors.npy", np.ones((2, 2)))
    with pytest.raises(CorruptFile, match="as many ids as vectors"):
        Embeddings.load(tmp_path / "e")


def _plain_table(folder: Path) -> Path:
    import pyarrow as pa

    pq.write_table(pa.table({"ids": ["a"]}), folder / "plain.parquet")
    return folder / "plain.parquet"


def test_preprocess_comes_back(tmp_path: Path) -> None:
    spec = Preprocess(size=160, fit="crop", filter="bilinear", channels="BGR", mean=(1, 2.5, 3), std=(4, 5, 6))
    spec.save(tmp_path / "p.json")
    assert Preprocess.load(tmp_path / "p.json") == spec
    assert Preprocess.from_json(json.loads(json.dumps(dataclasses.asdict(spec)))) == spec


def test_digests_follow_content_and_not_the_order_of_keys() -> None:
    spec = Preprocess()
    assert digest_of(spec) == digest_of(dataclasses.asdict(spec)) == digest_of(Preprocess())
    others = {"size": 225, "fit": "crop", "filter": "bilinear", "background": (0, 0, 0), "mean": (0.0, 0.0, 0.0)}
    changed = {digest_of(dataclasses.asdict(spec) | {key: value}) for key, value in others.items()}
    assert len(changed | {digest_of(spec)}) == 6
    assert digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})


def test_nouns_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        odd_table().task = "binary"  # type: ignore[misc]
