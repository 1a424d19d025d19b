"""``visum explain``: its options; what it does is in ``visum.workflow.explain``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from visum.cli import show
from visum.cli.progress import watching
from visum.cli.signed import as_text
from visum.errors import UsageError

if TYPE_CHECKING:
    from visum.types import Explanation


def explain(
    bundle: Annotated[str, typer.Argument(help="A bundle, a run folder, or imagenet.", metavar="BUNDLE")],
    paths: Annotated[
        list[str] | None,
        typer.Argument(help="Images and folders of images; none: the worst mistakes of a run.", metavar="FILES"),
    ] = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="auto, gradcam, gradcam++, layercam, integrated_gradients, smoothgrad, gradient_shap, occlusion, lime, "
            "kernel_shap, attention, attention_rollout or attention_flow.",
        ),
    ] = "auto",
    target: Annotated[
        str | None, typer.Option("--target", help="Class to explain. [default: the answer]", metavar="CLASS")
    ] = None,
    contrast: Annotated[
        str | None, typer.Option("--contrast", help="Why the target and not this class.", metavar="CLASS")
    ] = None,
    layer: Annotated[str, typer.Option("--layer", help="Of the network, for class activation maps.")] = "",
    out: Annotated[
        str | None, typer.Option("--out", help="Folder for maps and page. [default: explained]", metavar="FOLDER")
    ] = None,
    quick: Annotated[bool, typer.Option("--no-proof", help="Do not test the maps: no verdicts, but quick.")] = False,
    engine: Annotated[str, typer.Option("--engine", help="auto, openvino, onnxruntime or torch.")] = "auto",
    extra_formats: Annotated[str, typer.Option("--extra-formats", help="Of TIFF,AVIF,HEIC.")] = "",
    seed: Annotated[int, typer.Option("--seed", help="Of methods that draw, and of the tests.")] = 0,
    layers: Annotated[
        str | None, typer.Option("--layers", help="What each layer knows, measured on these images.", metavar="DATA")
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="With --layers: compare with those of this.", metavar="BUNDLE")
    ] = None,
    atlas: Annotated[
        str | None, typer.Option("--map", help="These images, laid out as the network sees them.", metavar="DATA")
    ] = None,
    visualise: Annotated[
        list[str] | None,
        typer.Option("--visualise", help="What activates LAYER, LAYER:CHANNEL or a class most.", metavar="WHAT"),
    ] = None,
    filters: Annotated[bool, typer.Option("--filters", help="The filters of the first layer.")] = False,
    neighbours: Annotated[
        bool, typer.Option("--neighbours", help="The nearest training images, and those that helped or hurt.")
    ] = False,
    prototypes: Annotated[
        str | None, typer.Option("--prototypes", help="What stands for each class, of these images.", metavar="DATA")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Training images, where no run is around the bundle.", metavar="DATA")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Show why a bundle says what it says of pictures: maps, each tested against chance; or look inside its network."""
    from visum.cli import insight
    from visum.workflow.explain import FOLDER, QUESTIONS

    wishes: dict[str, Any] = {"layers": layers, "neighbours": neighbours, "prototypes": prototypes}
    wishes |= {"map": atlas, "visualise": visualise, "filters": filters}
    settings: dict[str, Any] = {"paths": paths or [], "out": out or "explained", "engine": engine, "seed": seed}
    settings |= {"extra_formats": tuple(part for part in extra_formats.split(",") if part), "against": against}
    settings["data"] = data
    if insight.look(bundle, wishes, settings, as_json):
        return
    common = {"method": method, "layer": layer, "proof": not quick, "engine": engine, "seed": seed}
    folder = Path(out or "explained")
    with watching():
        if paths:
            extra = tuple(part for part in extra_formats.split(",") if part)
            own = {"target": target, "contrast": contrast, "out": folder, "extra_formats": extra}
            found = QUESTIONS["maps"](bundle, paths, **common, **own)
        else:
            for flag, given in (("--target", target), ("--contrast", contrast), ("--out", out)):
                if given is not None:
                    raise UsageError(
                        f"{flag} without files", allowed="with files", next=f"visum explain {bundle} FILES"
                    )
            found = QUESTIONS["mistakes"](bundle, **common)
            run = Path(bundle) if (Path(bundle) / "metrics.json").is_file() else Path(bundle).parent
            folder = run / FOLDER
    page = folder / "explain.html"
    if as_json:
        print(as_text({"page": str(page), "explanations": [each.facts() for each in found]}))
        return
    table(found)
    print(f"page    {show.name(str(page))}")
    if not paths:
        print(f"report  {show.name(str(folder.parent / 'report.html'))}, which shows them too")


def beside(bundle: str, paths: Sequence[str], folder: str, engine: str, extra_formats: tuple[str, ...]) -> None:
    """``visum predict --explain FOLDER``: the maps of what was answered, and their page."""
    from visum.workflow.explain import explain_images

    with watching():
        explain_images(bundle, list(paths), out=folder, engine=engine, extra_formats=extra_formats)
    print(f"visum: maps in {show.name(str(Path(folder) / 'explain.html'))}", file=sys.stderr)


def table(found: Sequence[Explanation]) -> None:
    """One line a picture."""
    cells = []
    for each in found[: show.SHOWN]:
        numbers = each.faithfulness
        beats = [f"{100 * numbers[name]:.0f} %" if numbers else "–" for name in ("beats_random", "beats_middle")]
        why = show.name(each.target) + (f" and not {show.name(each.contrast)}" if each.contrast else "")
        cells.append((show.name(each.id), why, f"{100 * each.probability:.0f} %", each.verdict or "–", *beats))
    show.table(("image", "why", "p", "verdict", "beats random", "beats middle"), cells, right=(2, 4, 5))
    if len(found) > show.SHOWN:
        print(f"and {len(found) - show.SHOWN:,} more on the page")
    for method, layer in dict.fromkeys((each.method, each.layer) for each in found):
        print(f"method  {method}" + (f" at {layer}" if layer else ""))
