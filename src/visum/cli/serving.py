"""``visum serve``: its options; what it does is in ``visum.serve.launch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    bundles: Annotated[
        list[str], typer.Argument(help="Bundles or run folders; NAME=FOLDER gives a name.", metavar="BUNDLE…")
    ],
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen at; 0 for a free one.")] = 8000,
    workers: Annotated[int, typer.Option("--workers", help="Decoding processes. [default: one for each core]")] = 0,
    token: Annotated[
        list[str] | None,
        typer.Option(
            "--token", help="Bearer token, several are fine; better in VISUM_TOKEN, where no process list shows it."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Another name that the server goes by, e.g. behind a proxy."),
    ] = None,
    unprotected: Annotated[
        bool, typer.Option("--open", help="Take requests from other machines without a token.")
    ] = False,
    feedback: Annotated[
        str | None, typer.Option("--feedback", help="Keep labels that clients send back here.", metavar="FILE.parquet")
    ] = None,
    neighbours: Annotated[
        str | None,
        typer.Option("--neighbours", help="Show training images of this run beside answers.", metavar="RUN"),
    ] = None,
    engine: Annotated[str, typer.Option("--engine", help="auto, openvino or onnxruntime.")] = "auto",
    extra_formats: Annotated[str, typer.Option("--extra-formats", help="Of TIFF,AVIF,HEIC.")] = "",
    max_megabytes: Annotated[int, typer.Option("--max-megabytes", help="Largest request.")] = 20,
    queue: Annotated[
        int, typer.Option("--queue", help="Pictures inside before others are turned away. [default: 2 for each core]")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Log lines as JSON.")] = False,
) -> None:
    """Serve bundles over HTTP, with a page to try them at /."""
    from visum.serve.launch import serve as run

    shown = None
    if neighbours:
        from visum.workflow.gallery import prepared

        shown = prepared(Path(neighbours))
    run(
        bundles,
        host=host,
        port=port,
        workers=workers,
        token=token or (),
        allow_host=allow_host or (),
        unprotected=unprotected,
        feedback=feedback,
        neighbours=shown,
        engine=engine,
        extra_formats=tuple(part for part in extra_formats.split(",") if part),
        max_megabytes=max_megabytes,
        queue=queue,
        as_json=as_json,
    )
