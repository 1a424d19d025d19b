"""``visum explain`` where it looks inside a network: each wish runs one function of the story and shows what came back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visum.cli import show
from visum.cli.progress import watching
from visum.cli.signed import as_text
from visum.errors import UsageError

if TYPE_CHECKING:
    from visum.workflow.layers import Layers


def look(bundle: str, wishes: Mapping[str, Any], settings: Mapping[str, Any], as_json: bool) -> bool:
    """Do the one thing that was wished for; False where nothing was.

    Args:
        bundle: as it was typed.
        wishes: option → its value; what was not given is None, "" or False.
        settings: the other options.

    Raises:
        UsageError: two wishes at once, files where none are looked at, or an option whose wish is missing.
    """
    given = [name for name, value in wishes.items() if value]
    for option, takers in BESIDE.items():
        if settings.get(option) and not set(given) & set(takers):
            with_ = " or ".join(f"--{name}" for name in takers)
            raise UsageError(f"--{option} without {with_}", allowed=f"with {with_}", next="visum explain --help")
    if not given:
        return False
    if len(given) > 1:
        said = " and ".join(f"--{name}" for name in given)
        raise UsageError(f"{said} at once", allowed="one of them", next=f"visum explain {bundle} --{given[0]} …")
    if settings["paths"] and given[0] not in FILES:
        raise UsageError(
            f"FILES with --{given[0]}",
            allowed=f"files with {', '.join(f'--{name}' for name in FILES)}, or alone",
            next=f"visum explain {bundle} --{given[0]} …, without files",
        )
    with watching():
        print_found = WISHES[given[0]](bundle, wishes[given[0]], settings)
    print_found(as_json)
    return True


Printer = Callable[[bool], None]
FILES = ("neighbours", "visualise")
"""Wishes that look at files."""
BESIDE = {"against": ("layers",), "data": ("neighbours", "visualise")}
"""Options that only some wishes have."""


def _layers(bundle: str, data: Any, settings: Mapping[str, Any]) -> Printer:
    from visum.workflow.layers import explain_layers

    out, names = Path(settings["out"]), ("engine", "extra_formats", "seed")
    against = Path(settings["against"]) if settings["against"] else None
    own = {name: settings[name] for name in names}
    found = explain_layers(Path(bundle), Path(data), against=against, out=out, **own)
    page = out / "layers.html"

    def printed(as_json: bool) -> None:
        if as_json:
            print(as_text({"page": str(page), **found.as_json()}))
            return
        _table(found)
        print(f"page    {show.name(str(page))}")

    return printed


def _table(found: Layers) -> None:
    rows = []
    for stage in found.known[0].scores:
        cells = [f"{100 * v:.0f} ({100 * low:.0f}–{100 * high:.0f})" for v, low, high in _scores(found, stage)]
        rows.append((show.name(stage), *cells))
    foot = ("guessing", *(f"{100 * each.chance:.0f}" for each in found.known))
    how = "validation images" if found.how == "split" else "images, each by a probe that never saw it"
    title = f"what a linear probe reads at each layer, % right, judged by {found.judged:,} {how}"
    show.table(("layer", *(each.name for each in found.known)), rows, title, right=(1, 2, 3, 4), foot=foot)


def _scores(found: Layers, stage: str) -> list[tuple[float, float, float]]:
    return [each.scores[stage] for each in found.known]


def _neighbours(bundle: str, _: Any, settings: Mapping[str, Any]) -> Printer:
    from visum.workflow.examples import as_json as listed
    from visum.workflow.examples import explain_examples

    if not settings["paths"]:
        raise UsageError(
            "--neighbours without files", allowed="with files", next=f"visum explain {bundle} FILES --neighbours"
        )
    out = Path(settings["out"])
    data = Path(settings["data"]) if settings["data"] else None
    own = {name: settings[name] for name in ("engine", "extra_formats")}
    found = explain_examples(Path(bundle), tuple(settings["paths"]), data=data, out=out, **own)
    page = out / "examples.html"

    def printed(as_json: bool) -> None:
        if as_json:
            print(as_text({"page": str(page), "examples": listed(found)}))
            return
        rows = [
            (
                show.name(each.id),
                f"{show.name(each.answer)} {100 * each.probability:.0f} %",
                ", ".join(f"{show.name(like.label)} {like.distance:.2f}" for like in each.nearest[:3]),
                show.name(each.helped[0].label) if each.helped else "–",
                show.name(each.hurt[0].label) if each.hurt else "–",
            )
            for each in found[: show.SHOWN]
        ]
        show.table(("image", "answer", "nearest", "helped most", "hurt most"), rows)
        if len(found) > show.SHOWN:
            print(f"and {len(found) - show.SHOWN:,} more on the page")
        print(f"page    {show.name(str(page))}")

    return printed


def _prototypes(bundle: str, data: Any, settings: Mapping[str, Any]) -> Printer:
    from visum.workflow.examples import as_json as listed
    from visum.workflow.examples import explain_prototypes

    out = Path(settings["out"])
    own = {name: settings[name] for name in ("engine", "extra_formats", "seed")}
    found = explain_prototypes(Path(bundle), Path(data), out=out, **own)
    page = out / "prototypes.html"

    def printed(as_json: bool) -> None:
        if as_json:
            print(as_text({"page": str(page), "classes": listed(found)}))
            return
        rows = []
        for each in found:
            first = [show.name(row[0]) if row else "–" for row in (each.prototypes, each.criticisms)]
            rows.append((show.name(each.name), f"{each.n:,}", *first))
        show.table(("class", "n", "first prototype", "first criticism"), rows, right=(1,))
        print(f"page    {show.name(str(page))}")

    return printed


def _features(bundle: str, wanted: Any, settings: Mapping[str, Any]) -> Printer:
    from visum.workflow.features import explain_features

    asked = tuple(wanted) if isinstance(wanted, (list, tuple)) else ()
    out = Path(settings["out"])
    data = Path(settings["data"]) if settings["data"] else None
    own = {name: settings[name] for name in ("engine", "extra_formats", "seed")}
    found = explain_features(Path(bundle), asked, paths=tuple(settings["paths"]), data=data, out=out, **own)
    page = out / "features.html"

    def printed(as_json: bool) -> None:
        if as_json:
            first = {"layer": found.first, "filters": len(found.kernels)}
            features = [each.facts() for each in found.found]
            print(as_text({"page": str(page), "first": first, "features": features}))
            return
        rows = [
            (
                show.name(each.name),
                f"{each.activation:.3g}",
                f"{each.top[0][1]:.3g}" if each.top else "–",
                f"{each.noise:.3g}",
                show.name(each.top[0][0]) if each.top else "–",
            )
            for each in found.found
        ]
        if rows:
            show.table(("channel", "drawn", "best real", "noise", "the best real picture"), rows, right=(1, 2, 3))
        if found.first:
            print(f"filters {len(found.kernels)} of {show.name(found.first)}")
        print(f"page    {show.name(str(page))}")

    return printed


def _map(bundle: str, data: Any, settings: Mapping[str, Any]) -> Printer:
    from visum.workflow.atlas import explain_map

    out = Path(settings["out"])
    own = {name: settings[name] for name in ("engine", "extra_formats", "seed")}
    found = explain_map(Path(bundle), Path(data), out=out, **own)
    page = out / "map.html"

    def printed(as_json: bool) -> None:
        if as_json:
            print(as_text({"page": str(page), **found.as_json()}))
            return
        shares = f"{100 * found.agreed.mean():.0f} % of neighbours on it have the same label"
        print(f"map     of {len(found.ids):,} images; {shares}")
        print(f"page    {show.name(str(page))}")

    return printed


WISHES: dict[str, Callable[[str, Any, Mapping[str, Any]], Printer]] = {
    "layers": _layers,
    "neighbours": _neighbours,
    "prototypes": _prototypes,
    "visualise": _features,
    "filters": _features,
    "map": _map,
}
"""Option of ``visum explain`` → what does it."""
