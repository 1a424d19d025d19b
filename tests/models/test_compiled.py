"""Three engines, one embedding: held to timm's own network run by PyTorch, and to the laws of batches and threads."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from closeness import CLOSE, apart
from visum.data.pixels import fit, tensor
from visum.errors import ModelError, StorageError
from visum.models import compiled, weights, zoo
from visum.models.weights import Backbone
from visum.types import Floats, Pixels

SIZE = 64


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return weights.find(size=SIZE)


@pytest.fixture(scope="module")
def squares(photos: dict[str, Pixels], backbone: Backbone) -> Pixels:
    """18 different parts of three photos, fitted."""
    parts = [
        photo[top : top + 100, left : left + 100 + 20 * number]
        for number, photo in enumerate(photos.values())
        for top in (0, 120)
        for left in (0, 100, 200)
    ]
    return np.stack([fit(part, backbone.preprocess) for part in parts])


@pytest.fixture(scope="module", params=["openvino", "onnxruntime", "torch"])
def engine(request: pytest.FixtureRequest, backbone: Backbone) -> compiled.Engine:
    return compiled.engine(backbone, backbone.preprocess, request.param)


@pytest.fixture(scope="module")
def expected(backbone: Backbone, squares: Pixels) -> Floats:
    """The last stage by timm and PyTorch alone: nothing of ours but the pixels."""
    import timm
    import torch

    network = timm.create_model(backbone.name, pretrained=False).eval()
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in backbone.weights.items()})
    with torch.inference_mode():
        x = torch.from_numpy(tensor(squares, backbone.preprocess))
        return np.asarray(network.forward_head(network.forward_features(x), pre_logits=True).numpy())


def whole(engine: compiled.Engine, pictures: Pixels, *sizes: int) -> Floats:
    """Embeddings of all pictures, cut into batches of these sizes."""
    parts = [engine.run(part) for part in np.split(pictures, np.cumsum(sizes)[:-1])]
    assert [len(part) for part in parts] == list(sizes)
    return np.concatenate(parts)


def test_engines_agree_with_timm(engine: compiled.Engine, squares: Pixels, expected: Floats) -> None:
    found = whole(engine, squares, 8, 8, 2)
    assert found.dtype == np.float32
    assert found.shape == (18, 112 + 192 + 320 + 1280)
    assert apart(found[:, -1280:], expected) < CLOSE[engine.precision]


def test_a_picture_is_told_the_same_however_batches_are_cut(engine: compiled.Engine, squares: Pixels) -> None:
    found, alone = whole(engine, squares, 1, 8, 3, 2, 1, 1, 2), whole(engine, squares, *[1] * 18)
    assert apart(found, alone) < CLOSE[engine.precision]
    between = np.sqrt(2) * np.linalg.norm(alone[:, None] - alone[None], axis=2) / np.linalg.norm(alone)
    assert between[~np.eye(18, dtype=bool)].min() > 2 * CLOSE[engine.precision]  # or a mix-up would go unseen


def test_views_that_are_not_contiguous_are_read_as_they_look(engine: compiled.Engine, squares: Pixels) -> None:
    for view in (squares[:4, :, ::-1], squares[:3, ::-1], squares[:16:4]):
        assert not view.flags.c_contiguous
        np.testing.assert_array_equal(engine.run(view), engine.run(np.ascontiguousarray(view)))


def test_threads_share_an_engine(engine: compiled.Engine, squares: Pixels) -> None:
    alone = [engine.run(squares[at : at + 2]) for at in range(0, 18, 2)]
    with ThreadPoolExecutor(2 * compiled.threads()) as pool:  # more than there are cores: some wait for a request
        for _ in range(3):
            together = list(pool.map(engine.run, [squares[at : at + 2] for at in range(0, 18, 2)]))
            assert apart(np.array(together), np.array(alone)) < CLOSE[engine.precision]


def test_threads_may_come_first(backbone: Backbone, squares: Pixels) -> None:
    for name in compiled.installed():
        fresh = compiled.engine(backbone, backbone.preprocess, name)
        with ThreadPoolExecutor(compiled.threads()) as pool:
            one, *others = pool.map(fresh.run, [squares[:4]] * 4)
        assert all(apart(other, one) < CLOSE[fresh.precision] for other in others)


def test_a_batch_that_does_not_fit_is_refused_and_the_next_is_unharmed(
    engine: compiled.Engine, squares: Pixels
) -> None:
    before = engine.run(squares[:8])
    for _ in range(2 * compiled.threads()):  # a request that got lost would be missing now
        with pytest.raises(Exception, match=r"."):
            engine.run(squares[:8, ..., :2])
    np.testing.assert_array_equal(engine.run(squares[:8]), before)


def test_colour_order_is_in_the_graph(backbone: Backbone, squares: Pixels) -> None:
    spec = replace(backbone.preprocess, channels="BGR")
    turned = compiled.engine(backbone, spec, "torch").run(squares[:4, ..., ::-1])
    straight = compiled.engine(backbone, backbone.preprocess, "torch").run(squares[:4])
    np.testing.assert_allclose(turned, straight, atol=1e-4)


def test_one_graph_for_each_network_size_and_normalisation(backbone: Backbone) -> None:
    spec = backbone.preprocess
    path = compiled.graph_path(backbone, spec)
    assert path == compiled.graph_path(backbone, replace(spec, fit="crop", filter="bilinear", background=(0, 0, 0)))
    others = [
        compiled.graph_path(backbone, replace(spec, size=128)),
        compiled.graph_path(backbone, replace(spec, mean=(1.0, 2.0, 3.0))),
        compiled.graph_path(backbone, replace(spec, channels="BGR")),
        compiled.graph_path(replace(backbone, stages=()), spec),
        compiled.graph_path(replace(backbone, digest="0" * 64), spec),
    ]
    assert len({path, *others}) == 6


def test_a_graph_is_exported_once_and_then_torch_is_not_needed(backbone: Backbone, cache: Path) -> None:
    path = compiled.graph(backbone, backbone.preprocess)
    before = path.stat().st_mtime_ns
    code = (
        "import sys, numpy as np\n"
        "sys.modules['torch'] = sys.modules['timm'] = None  # an import of either would fail\n"
        "from visum.models import compiled, weights\n"
        f"backbone = weights.find(size={SIZE})\n"
        "for name in ('openvino', 'onnxruntime'):\n"
        "    engine = compiled.engine(backbone, backbone.preprocess, name)\n"
        f"    print(engine.run(np.zeros((2, {SIZE}, {SIZE}, 3), np.uint8)).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "VISUM_CACHE": str(cache)}
    )
    assert done.stdout.splitlines() == ["(2, 1904)"] * 2, done.stderr
    assert path.stat().st_mtime_ns == before


def test_auto_is_the_first_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled.installed() == tuple(compiled.ENGINES)
    assert compiled.resolve() == compiled.resolve("openvino") == "openvino"
    monkeypatch.setattr(compiled, "installed", lambda: ("onnxruntime", "torch"))
    assert compiled.resolve() == "onnxruntime"
    with pytest.raises(ModelError, match=r"no engine 'openvino' here\. Allowed: auto, onnxruntime, torch\."):
        compiled.resolve("openvino")


def test_an_unknown_engine_names_the_known_ones(backbone: Backbone) -> None:
    message = r"no engine 'tensorrt' here\. Allowed: auto, openvino, onnxruntime, torch\. Try: --engine auto"
    with pytest.raises(ModelError, match=message):
        compiled.engine(backbone, backbone.preprocess, "tensorrt")


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("vit_tiny_patch16_224", 70, r"its patches of 16 px would not see the last 6\. Allowed: 64, 80, 224 px"),
        ("squeezenet1_1", 12, r".*too small\. Allowed: 28 px, among others\. Try: --size 28"),
    ],
)
def test_a_size_that_a_network_refuses_is_a_sentence_that_names_others(name: str, size: int, words: str) -> None:
    tensors = {key: value.numpy() for key, value in zoo.build(name).state_dict().items()}
    strange = Backbone(name, tensors, replace(weights.spec(), size=size), (), "0" * 64)
    for way in (compiled.exported, compiled.torch):
        with pytest.raises(ModelError, match=rf"^{name} does not take pictures of {size} px: {words}"):
            way(strange, strange.preprocess)


@pytest.mark.parametrize("size", [1, 7, (3, 5), (None, 2), 14])
def test_cells_are_those_of_torch(size: Any) -> None:
    import torch

    pool = torch.nn.functional.adaptive_avg_pool2d
    x = torch.randn(2, 3, 10, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(compiled.cell_means(pool, x, size), pool(x, size))


def test_weights_reach_the_exporter_as_they_are(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = {"gain": np.array(0.5, np.float32), "turned": np.arange(6.0).reshape(2, 3).T, "half": np.ones(3, np.float16)}
    arrived: dict[str, NDArray[Any]] = {}
    monkeypatch.setattr(compiled.aside, "run", lambda job, order: arrived.update(load_file(order["weights"])))
    strange = replace(backbone, weights=odd, digest="2" * 64)
    compiled.graph(strange, strange.preprocess)
    assert {name: (value.shape, value.dtype) for name, value in arrived.items()} == {
        name: (value.shape, value.dtype)
        for name, value in odd.items()  # NFNets have gains without an axis
    }
    for name, value in odd.items():
        np.testing.assert_array_equal(arrived[name], value)


def test_a_full_disk_on_the_way_to_the_exporter_is_a_sentence(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def never(job: str, order: object) -> None:
        raise AssertionError("the child got half of the weights")

    monkeypatch.setattr(compiled.aside, "run", never)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    large = replace(backbone, weights={"gain": np.zeros(10_000, np.float32)}, digest="3" * 64)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StorageError, match=r"no space left while writing .*safetensors.* TMPDIR to a larger disk"):
            compiled.graph(large, large.preprocess)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_exported_is_one_sentence_and_prints_nothing(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import torch

    class Odd(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvalsh(pixels[..., 0].float())  # ONNX has no such operator

    monkeypatch.setattr(zoo, "trunk", lambda *_: Odd())
    strange = replace(backbone, digest="1" * 64)
    with pytest.raises(ModelError, match=r"cannot be exported as a graph at 64 px: .*eigh?.* Try: .*--engine torch"):
        compiled.write_graph(strange, strange.preprocess)
    assert capfd.readouterr().out == ""
    assert not compiled.graph_path(strange, strange.preprocess).exists()
    assert torch.backends.mha.get_fastpath_enabled()
