"""``visum explain``: its options; what it does is in ``visum.workflow.explain``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visum.cli import show
from visum.cli.progress import watching
from visum.cli.signed import as_text


def explain(
    bundle: Annotated[str, typer.Argument(help="A bundle, a run folder, or imagenet.", metavar="BUNDLE")],
    paths: Annotated[list[str], typer.Argument(help="Images and folders of images.", metavar="FILES")],
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="auto, gradcam, gradcam++, layercam, integrated_gradients, smoothgrad, gradient_shap, occlusion, lime or "
            "kernel_shap.",
        ),
    ] = "auto",
    target: Annotated[
        str | None, typer.Option("--target", help="Class to explain. [default: the answer]", metavar="CLASS")
    ] = None,
    contrast: Annotated[
        str | None, typer.Option("--contrast", help="Why the target and not this class.", metavar="CLASS")
    ] = None,
    layer: Annotated[str, typer.Option("--layer", help="Of the network, for class activation maps.")] = "",
    out: Annotated[str, typer.Option("--out", help="Folder for maps and page.")] = "explained",
    quick: Annotated[
        bool, typer.Option("--no-proof", help="Do not test the maps: no verdicts, four times as fast.")
    ] = False,
    engine: Annotated[str, typer.Option("--engine", help="auto, openvino, onnxruntime or torch.")] = "auto",
    extra_formats: Annotated[str, typer.Option("--extra-formats", help="Of TIFF,AVIF,HEIC.")] = "",
    seed: Annotated[int, typer.Option("--seed", help="Of methods that draw.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Show why a bundle says what it says of pictures: maps, each tested against chance."""
    from visum.workflow.explain import explain_images

    with watching():
        found = explain_images(
            bundle,
            paths,
            method=method,
            target=target,
            contrast=contrast,
            layer=layer,
            out=out,
            proof=not quick,
            engine=engine,
            extra_formats=tuple(part for part in extra_formats.split(",") if part),
            seed=seed,
        )
    page = Path(out) / "explain.html"
    if as_json:
        plain = ("id", "method", "target", "contrast", "probability", "verdict")
        rows = [{key: getattr(each, key) for key in plain} | {"faithfulness": each.faithfulness} for each in found]
        print(as_text({"page": str(page), "explanations": rows}))
        return
    cells = [
        (
            show.name(each.id),
            show.name(each.target) + (f" and not {show.name(each.contrast)}" if each.contrast else ""),
            f"{100 * each.probability:.0f} %",
            each.method,
            each.verdict or "–",
            f"{each.faithfulness['gain']:+.2f}" if each.faithfulness else "–",
            f"{each.faithfulness['baseline']:+.2f}" if each.faithfulness else "–",
        )
        for each in found[: show.SHOWN]
    ]
    show.table(("image", "why", "p", "method", "verdict", "gain", "baseline"), cells, right=(2, 5, 6))
    if len(found) > show.SHOWN:
        print(f"and {len(found) - show.SHOWN:,} more on the page")
    print(f"page    {show.name(str(page))}")
