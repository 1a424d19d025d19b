"""A contact sheet: rows of small pictures with their names, as one picture. Pure: arrays and texts in, an array out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from visum.types import Pixels

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont, ImageFont

PAPER, INK, SOFT, FAINT, ACCENT = "#fdfdfc", "#1a1c1f", "#5c6168", "#d9dbde", "#17568c"
"""The colours of the report on paper."""
MARGIN, GAP, ROW_GAP, NAMES = 48, 12, 28, 190
"""Pixels: around the sheet, between tiles, between rows, and the column of names at the left."""
_LARGEST, _SMALL = 224, 160
_FACES = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf")  # for what Pillow's own face has no letters for


@dataclass(frozen=True, eq=False)
class Row:
    """One row of the sheet.

    Attributes:
        name, note: beside its tiles; the note is smaller and grey.
        tiles: uint8 ``[S, S, 3]`` each, all of one size.
        captions: some lines below each tile; none if empty.
    """

    name: str
    note: str
    tiles: Sequence[Pixels]
    captions: Sequence[Sequence[str]] = ()


def contact_sheet(title: str, note: str, headings: Sequence[str], rows: Sequence[Row]) -> Pixels:
    """Draw it.

    Args:
        title, note: at the top.
        headings: over the columns of tiles.
        rows: at least one with at least one tile.

    Returns:
        uint8 ``[H, W, 3]``. Tiles keep their pixels; small ones are enlarged by a whole factor without smoothing, those
        above 224 px are reduced.
    """
    from PIL import Image, ImageDraw

    side = shown_size(rows[0].tiles[0]).shape[0]
    columns = max(len(headings), *(len(row.tiles) for row in rows))
    lines = [max((len(caption) for caption in row.captions), default=0) for row in rows]
    heights = [side + (10 + 18 * n if n else 0) for n in lines]
    top = MARGIN + 78 + (30 if headings else 0)
    width = 2 * MARGIN + NAMES + columns * side + (columns - 1) * GAP
    width = max(width, round(2 * MARGIN + max(face(title, 26).getlength(title), face(note, 15).getlength(note))))
    height = top + sum(heights) + ROW_GAP * (len(rows) - 1) + MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)

    def write(x: int, y: int, text: str, size: int, colour: str, room: int) -> None:
        text = "".join(
            c if c.isprintable() else "\ufffd" for c in text
        )  # names of classes and files are strangers' text
        font = face(text, size)
        draw.text((x, y), fitted(text, font, room), fill=colour, font=font)

    left = MARGIN + NAMES
    write(MARGIN, MARGIN - 6, title, 26, INK, width - 2 * MARGIN)
    write(MARGIN, MARGIN + 34, note, 15, SOFT, width - 2 * MARGIN)
    for column, heading in enumerate(headings):
        write(left + column * (side + GAP), top - 26, heading, 14, SOFT, side)
    y = top
    for row, tall in zip(rows, heights, strict=True):
        write(MARGIN, y, row.name, 17, INK, NAMES - 2 * GAP)
        write(MARGIN, y + 25, row.note, 12, SOFT, NAMES - 2 * GAP)
        for column, tile in enumerate(row.tiles):
            x = left + column * (side + GAP)
            draw.rectangle((x - 1, y - 1, x + side, y + side), outline=FAINT)
            sheet.paste(Image.fromarray(shown_size(tile)), (x, y))
            for line, text in enumerate(row.captions[column] if row.captions else ()):
                write(x, y + side + 8 + 18 * line, text, 13, SOFT, side)
        y += tall + ROW_GAP
    return np.asarray(sheet, np.uint8)


def shown_size(tile: Pixels) -> Pixels:
    """A tile large enough to look at and not larger than 224 px, uint8 ``[T, T, 3]``."""
    side = tile.shape[0]
    if side > _LARGEST:
        import cv2

        return np.asarray(cv2.resize(tile, (_LARGEST, _LARGEST), interpolation=cv2.INTER_AREA), np.uint8)
    times = max(1, _SMALL // side)
    return tile.repeat(times, axis=0).repeat(times, axis=1)


def face(text: str, size: int) -> FreeTypeFont | ImageFont:
    """A typeface that has the letters of a text, as far as this machine has one."""
    from PIL import ImageFont

    for name in _FACES if not text.isascii() else ():
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def fitted(text: str, font: Any, room: float) -> str:
    """As much of a text as fits into ``room`` pixels, an ellipsis behind it where something was left out."""
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[:-1]
    return text + "..."
