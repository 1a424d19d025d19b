"""``visum monitor``: its options; what it does is in ``visum.workflow.monitor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visum.cli import show
from visum.cli.progress import watching
from visum.cli.signed import as_text

DRIFT = 7
"""Exit code of ``--fail-on-drift`` where there is an alarm."""


def monitor(
    bundle: Annotated[str, typer.Argument(help="A bundle or a run folder.", metavar="BUNDLE")],
    data: Annotated[
        str, typer.Argument(help="New pictures: a folder or a table; or a server's feedback.", metavar="DATA")
    ],
    labels: Annotated[
        str | None,
        typer.Option("--labels", help="Table of paths and labels of some pictures; none. [default: those of DATA]"),
    ] = None,
    window: Annotated[
        str | None, typer.Option("--window", help="Pictures (200) or time (30m, 6h, 1d, 1w) of one window.")
    ] = None,
    time_column: Annotated[str | None, typer.Option("--time-column", help="Of a table. [default: time]")] = None,
    reference: Annotated[
        str | None, typer.Option("--reference", help="Labelled pictures to compare with instead of the bundle's.")
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha", help="Share of streams without drift with a false alarm.")] = 0.05,
    out: Annotated[str | None, typer.Option("--out", help="Folder for drift.json and drift.html.")] = None,
    path_column: Annotated[str, typer.Option("--path-column", help="Of a table.")] = "path",
    label_column: Annotated[str, typer.Option("--label-column", help="Of a table.")] = "label",
    engine: Annotated[str, typer.Option("--engine", help="auto, openvino, onnxruntime or torch.")] = "auto",
    extra_formats: Annotated[str, typer.Option("--extra-formats", help="Of TIFF,AVIF,HEIC.")] = "",
    seed: Annotated[int, typer.Option("--seed", help="Of everything that draws.")] = 0,
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help=f"Exit with {DRIFT} if there is an alarm.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare new pictures with those that a bundle was judged on: drift of pictures, classes, labels; strangers."""
    from visum.workflow.monitor import monitor as run

    with watching():
        found = run(
            Path(bundle),
            Path(data),
            labels=labels,
            window=window,
            time_column=time_column,
            reference=Path(reference) if reference else None,
            alpha=alpha,
            out=Path(out) if out else None,
            path_column=path_column,
            label_column=label_column,
            engine=engine,
            extra_formats=tuple(part for part in extra_formats.split(",") if part),
            seed=seed,
        )
    if as_json:
        print(as_text(found.facts))
    else:
        _printed(found.facts)
        if found.page is not None:
            print(f"page    {show.name(str(found.page))}")
    if fail_on_drift and found.alarms:
        raise typer.Exit(DRIFT)


def _printed(facts: dict[str, object]) -> None:
    print(facts)
