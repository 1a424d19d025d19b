"""``visum explain BUNDLE --visualise WHAT`` and ``--filters``: what channels and classes answer to, drawn and found."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visum import runtime, storage
from visum.data import sources
from visum.errors import ModelError, UsageError
from visum.explain import filters, visualise
from visum.models import differentiable
from visum.models import predict as running
from visum.models import stages as inside
from visum.models.embed import embed
from visum.runtime import Stages
from visum.types import Bundle, Floats, Manifest, Pixels, rows
from visum.workflow import insight, origin, ready
from visum.workflow.checked import checked
from visum.workflow.thumbnails import thumbnails

MOST = 1000
"""Real pictures that are looked through, unless told otherwise."""
TOP = 8
EACH = 4
"""Channels that are shown of a layer that is named without one: those that differ most from picture to picture."""


@dataclass(frozen=True, eq=False)
class Visualised:
    """One channel or class.

    Attributes:
        name: as it is asked for: ``blocks.4:17``, or the class.
        layer, channel: module and number; the layer is "" for a class.
        picture: uint8 ``[S, S, 3]``, drawn so that it activates the channel most.
        activation: of that picture, the mean over positions (a class: its logit).
        noise: of a picture of random pixels.
        top: ids and activations of the real pictures that activate it most, strongest first.
        n: real pictures that were looked through.
    """

    name: str
    layer: str
    channel: int
    picture: Pixels
    activation: float
    noise: float
    top: tuple[tuple[str, float], ...]
    n: int

    def facts(self) -> dict[str, Any]:
        """Everything but the picture, as plain values."""
        names = ("name", "layer", "channel", "activation", "noise", "n")
        top = [{"id": name, "activation": value} for name, value in self.top]
        return {name: getattr(self, name) for name in names} | {"top": top}


@dataclass(frozen=True, eq=False)
class Features:
    """What ``explain_features`` found.

    Attributes:
        first: name of the first convolution; "" where the network begins with something else.
        kernels: its kernels float32 ``[C, k, k, 3]``.
        found: the features, in order.
    """

    first: str
    kernels: Floats
    found: tuple[Visualised, ...]


@checked
def explain_features(
    bundle: Path,
    wanted: tuple[str, ...] = (),
    *,
    paths: tuple[str, ...] = (),
    data: Path | None = None,
    out: Path | None = None,
    steps: int = visualise.STEPS,
    smooth: float = 0.0,
    most: int = MOST,
    engine: str = "auto",
    extra_formats: tuple[str, ...] = (),
    seed: int = 0,
) -> Features:
    """Filters of the first layer; and for channels and classes the picture that activates them most, beside real ones that do.

    Args:
        bundle: folder of a bundle or of a run.
        wanted: each a class, a layer with a channel (``blocks.4:17``), or a layer, of which four channels are shown.
        paths: real pictures to look through; none: training images of the run around the bundle, or of ``data``.
        data: labelled images, of data with splits train.
        out: folder for ``features.html`` and a PNG a feature; None writes nothing.
        steps: of the ascent, >= 1.
        smooth: weight of the total variation.
        most: real pictures that are looked through, drawn where there are more.
        engine: for real pictures: auto, openvino, onnxruntime or torch.
        extra_formats: of TIFF, AVIF, HEIC, those to be read as well.
        seed: of everything that is drawn.

    Raises:
        ModelError: no such layer, channel or class; a classical bundle or an ensemble.
    """
    import torch

    ready.check_settings("explain", engine=engine, extra_formats=extra_formats)
    ready.check_machine()
    if steps < 1:
        raise UsageError(f"steps is {steps}", allowed="1 or more", next=f"steps={visualise.STEPS}")
    stages = Stages()
    with stages.stage("read"):
        shipped = origin.opened(bundle)
        inside.check(shipped, "--visualise" if wanted else "--filters")
        torch.set_num_threads(runtime.threads())
        network = differentiable.of_bundle(shipped)
        asked = [_parsed(each, shipped, network) for each in wanted]
        table = _real(bundle, paths, data, shipped, most, seed) if asked else None
    if table is not None:
        table, _ = insight.indexed(table, shipped.preprocess, stages, extra_formats)
    real = _activations(shipped, table, sorted({layer for layer, _ in asked}), engine, stages)
    chosen = [
        visualise.Feature(layer, k)
        for layer, channel in asked
        for k in ([channel] if channel is not None else _liveliest(real.get(layer), network, layer))
    ]
    chosen = list(dict.fromkeys(chosen))
    drawn: dict[visualise.Feature, Pixels] = {}
    layers = list(dict.fromkeys(each.layer for each in chosen))
    with stages.stage("draw", steps * len(layers)) as stage:
        for layer in layers:
            some = [each for each in chosen if each.layer == layer]
            made = visualise.visualise(network, some, steps=steps, smooth=smooth, seed=seed, step=stage.step)
            drawn.update(zip(some, made, strict=True))
    found = tuple(
        _visualised(each, drawn[each], shipped, network, table, real.get(each.layer), seed) for each in chosen
    )
    try:
        first, kernels = filters.first(network)
    except ModelError:
        if not wanted:
            raise
        first, kernels = "", np.zeros((0, 1, 1, 3), np.float32)
    features = Features(first, kernels, found)
    if out is not None:
        _write(features, out, origin.name(bundle), shipped, table)
    return features


def _parsed(words: str, shipped: Bundle, network: differentiable.Differentiable) -> tuple[str, int | None]:
    """Layer ("" for a class) and channel (None for any) of what was asked for.

    Raises:
        ModelError: neither a class nor a layer; the message names what there is.
    """
    if words in shipped.classes:
        return visualise.CLASS, shipped.classes.index(words)
    layer, colon, channel = words.rpartition(":")
    modules = dict(network.network.named_modules())
    if words and words in modules:
        return words, None
    if colon and layer and layer in modules and channel.isdecimal():
        wide = visualise.channels(network, layer)
        if int(channel) >= wide:
            raise ModelError(
                f"the layer {layer} has no channel {channel}", allowed=f"0 to {wide - 1}", next=f"{layer}:{wide - 1}"
            )
        return layer, int(channel)
    classes = ", ".join(shipped.classes[:20]) + (" …" if len(shipped.classes) > 20 else "")
    raise ModelError(
        f"no class and no layer is called {words!r}",
        allowed=f"the layers {', '.join(network.stages)}, with :CHANNEL or without; the classes {classes}",
        next=f"--visualise {network.stages[-1]}:0",
    )


def _real(
    place: Path, paths: Sequence[str], data: Path | None, shipped: Bundle, most: int, seed: int
) -> Manifest | None:
    """Real pictures to look through; None where none are known."""
    if paths:
        table = sources.images(list(paths))
    elif data is not None:
        table = insight.training(place, data, shipped)
    else:
        found = insight.around(place)
        if found is None or not len(found):
            return None
        table = found
    return rows(table, insight.drawn(len(table), most, seed))


def _activations(
    shipped: Bundle, table: Manifest | None, layers: Sequence[str], engine: str, stages: Stages
) -> dict[str, Floats]:
    """Layer → mean activations of its channels for each real picture float32 ``[N, C]``, from the store."""
    if table is None or not layers:
        return {}
    with stages.stage("look", len(table)) as stage:
        out: dict[str, Floats] = {}
        wanted = tuple(layer for layer in layers if layer != visualise.CLASS)
        if wanted:
            network, columns = inside.network(shipped, wanted, engine)
            vectors = embed(table, network, step=stage.step)["plain"].vectors
            out |= {name: np.asarray(vectors[:, a:b], np.float32) for name, a, b in columns if name in wanted}
        if visualise.CLASS in layers:
            out[visualise.CLASS] = running.of_table(table, running.Model(shipped, engine), step=stage.step).logits
    return out


def _liveliest(real: Floats | None, network: differentiable.Differentiable, layer: str) -> list[int]:
    """Channels that differ most from picture to picture, against their mean size; the first ones where no picture is known."""
    if real is None:
        return list(range(min(EACH, visualise.channels(network, layer))))
    order = np.argsort(-real.std(axis=0) / (np.abs(real).mean(axis=0) + 1e-3 * np.abs(real).max()), kind="stable")
    return [int(k) for k in order[:EACH]]


def _visualised(
    each: visualise.Feature,
    picture: Pixels,
    shipped: Bundle,
    network: differentiable.Differentiable,
    table: Manifest | None,
    real: Floats | None,
    seed: int,
) -> Visualised:
    noise = np.random.default_rng(seed).integers(0, 256, picture.shape).astype(np.uint8)
    own, random = visualise.activations(network, np.stack([picture, noise]), [each])[:, 0].tolist()
    top: tuple[tuple[str, float], ...] = ()
    if table is not None and real is not None:
        column = real[:, each.channel]
        top = tuple((table.ids[row], float(column[row])) for row in np.argsort(-column, kind="stable")[:TOP])
    name = f"{each.layer}:{each.channel}" if each.layer else shipped.classes[each.channel]
    return Visualised(name, each.layer, each.channel, picture, own, random, top, 0 if table is None else len(table))


def _write(features: Features, out: Path, subject: str, shipped: Bundle, table: Manifest | None) -> None:
    from PIL import Image

    from visum.explain import features_page

    out.mkdir(parents=True, exist_ok=True)
    for at, each in enumerate(features.found):
        png = io.BytesIO()
        Image.fromarray(each.picture).save(png, "PNG", optimize=True)
        stem = re.sub(r"[^\w.-]+", "_", each.name).strip("._")[-60:] or "feature"
        storage.write_atomic(out / f"feature-{at:02d}-{stem}.png", png.getvalue())
    pictures = thumbnails(table, shipped.preprocess) if table is not None else None
    insight.write_page(out, "features.html", features_page.page(features, subject, pictures))
