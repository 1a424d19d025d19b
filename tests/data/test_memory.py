"""Pictures in memory are held to the decoder: the same picture saved as a file gives the same pixels."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from visum.data.decode import decode
from visum.data.memory import from_array, from_pillow
from visum.errors import UnreadableImage
from visum.types import Pixels

PINK = (255, 0, 128)


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


@pytest.fixture
def cat(photos: dict[str, Pixels]) -> Pixels:
    return np.ascontiguousarray(photos["chelsea"][:120, :160])


@pytest.fixture
def faded(cat: Pixels) -> Pixels:
    """The cat with an alpha channel that runs from clear to opaque."""
    alpha = np.broadcast_to(np.linspace(0, 255, 160).astype(np.uint8), (120, 160))
    return np.dstack([cat, alpha])


def test_arrays_equal_their_png(cat: Pixels, faded: Pixels) -> None:
    for array in (cat, cat[..., 0], faded):
        np.testing.assert_array_equal(
            from_array(array, PINK), decode(saved(Image.fromarray(array)), background=PINK).pixels
        )
    np.testing.assert_array_equal(from_array(cat[..., :1]), from_array(cat[..., 0]))


def test_sixteen_bits_equal_their_png(cat: Pixels) -> None:
    deep = (cat[..., 0].astype(np.uint16) << 8) + cat[..., 1]
    np.testing.assert_array_equal(from_array(deep), decode(saved(Image.fromarray(deep))).pixels)
    np.testing.assert_array_equal(from_array(deep)[..., 0], cat[..., 0])
    np.testing.assert_array_equal(from_array(cat.astype(np.uint16) << 8), cat)


def test_strides_do_not_matter(cat: Pixels, faded: Pixels) -> None:
    for view in (cat[:, ::-1], cat[::2, ::3], cat.transpose(1, 0, 2), faded[:, ::-1]):
        found = from_array(view)
        assert found.flags.c_contiguous
        np.testing.assert_array_equal(found, from_array(np.ascontiguousarray(view)))


def test_transparent_pixels_show_the_background(faded: Pixels) -> None:
    pixels = from_array(faded, PINK)
    np.testing.assert_array_equal(pixels[:, 0], np.broadcast_to(PINK, (120, 3)))
    np.testing.assert_array_equal(pixels[:, -1], faded[:, -1, :3])
    alpha = faded[..., 3:] / 255  # Porter and Duff 1984, "over"
    np.testing.assert_allclose(pixels, faded[..., :3] * alpha + np.array(PINK) * (1 - alpha), atol=1)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int8", "bool", "complex64"])
def test_other_numbers_are_refused(cat: Pixels, dtype: str) -> None:
    with pytest.raises(UnreadableImage, match=rf"an array of {dtype}\. Allowed: uint8 or uint16 .* Try: \(x \* 255\)"):
        from_array(cat.astype(dtype))


@pytest.mark.parametrize("shape", [(3, 20, 30), (20,), (20, 30, 2), (2, 20, 30, 3), (), (20, 30, 5)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UnreadableImage, match=r"an array of shape \[.*Allowed: .*\[H, W, 3\].*Try: x\.transpose"):
        from_array(np.zeros(shape, np.uint8))


def test_arrays_beyond_the_limits_are_refused() -> None:
    with pytest.raises(UnreadableImage, match="0 x 5 pixels"):
        from_array(np.zeros((5, 0, 3), np.uint8))
    with pytest.raises(UnreadableImage, match="too thin: 1000 x 2 array"):
        from_array(np.zeros((2, 1000, 3), np.uint8))
    huge = np.broadcast_to(np.zeros(3, np.uint8), (20_000, 20_000, 3))  # three bytes that say they are 1.2 GB
    with pytest.raises(UnreadableImage, match="too large: 20000 x 20000 array"):
        from_array(huge)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV"])
def test_pillow_modes(faded: Pixels, mode: str) -> None:
    image = Image.fromarray(faded).convert(mode)
    pixels = from_pillow(image, PINK)
    if mode in ("1", "L", "P", "RGB", "RGBA", "LA"):  # what PNG can hold
        np.testing.assert_array_equal(pixels, decode(saved(image), background=PINK).pixels)
    else:
        np.testing.assert_array_equal(pixels, np.asarray(image.convert("RGB")))


def test_palettes_with_a_clear_entry_equal_their_file(cat: Pixels) -> None:
    image = Image.fromarray(cat).quantize(32)
    for data in (saved(image, "PNG", transparency=3), saved(image, "GIF", transparency=3)):
        np.testing.assert_array_equal(
            from_pillow(Image.open(io.BytesIO(data)), PINK), decode(data, background=PINK).pixels
        )


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_exif_orientations_equal_the_decoder_and_pillow(cat: Pixels, turn: int, form: str) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    data = saved(Image.fromarray(cat), form, exif=exif)
    pixels = from_pillow(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(pixels, decode(data).pixels)
    np.testing.assert_array_equal(
        pixels, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    )


def test_an_orientation_set_in_memory_counts(cat: Pixels) -> None:
    image = Image.fromarray(cat)
    image.getexif()[ExifTags.Base.Orientation] = 6
    np.testing.assert_array_equal(from_pillow(image), np.rot90(cat, -1))


@pytest.mark.parametrize("value", [0, 9, 700])
def test_nonsense_orientations_are_as_stored(cat: Pixels, value: int) -> None:
    image = Image.fromarray(cat)
    image.getexif()[ExifTags.Base.Orientation] = value
    np.testing.assert_array_equal(from_pillow(image), cat)


def test_xmp_is_not_consulted_just_as_in_files(cat: Pixels) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:Description xmlns:r="r" tiff:Orientation="6"/></x:xmpmeta>'
    data = saved(Image.fromarray(cat), "JPEG", xmp=xmp)
    assert Image.open(io.BytesIO(data)).getexif()[ExifTags.Base.Orientation] == 6  # as Pillow would have it
    np.testing.assert_array_equal(from_pillow(Image.open(io.BytesIO(data))), decode(data).pixels)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    both = saved(Image.fromarray(cat), "JPEG", xmp=xmp, exif=exif)
    np.testing.assert_array_equal(from_pillow(Image.open(io.BytesIO(both))), decode(both).pixels)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_samples_of_unknown_range_are_refused(mode: str) -> None:
    with pytest.raises(UnreadableImage, match=r"unsupported image: (32-bit integer|float) samples"):
        from_pillow(Image.new(mode, (8, 8)))


def test_files_that_pillow_opens_but_cannot_read_are_refused(cat: Pixels) -> None:
    data = saved(Image.fromarray(cat), "JPEG")
    with pytest.raises(UnreadableImage, match="truncated JPEG"):
        from_pillow(Image.open(io.BytesIO(data[: len(data) // 2])))
    png = saved(Image.fromarray(cat))
    with pytest.raises(UnreadableImage, match=r"(truncated|damaged) PNG"):
        from_pillow(Image.open(io.BytesIO(png[:2000] + bytes(300) + png[2300:])))
    closed = Image.open(io.BytesIO(data))
    closed.close()
    with pytest.raises(UnreadableImage, match="damaged JPEG: Operation on closed image"):
        from_pillow(closed)


@pytest.mark.parametrize("thing", [None, 3, [[1, 2], [3, 4]]])
def test_things_that_are_no_pictures_are_refused(thing: Any) -> None:
    with pytest.raises(UnreadableImage, match=rf"a {type(thing).__name__}\. Allowed: a path, the bytes"):
        from_pillow(thing)


def test_pictures_given_are_not_altered(faded: Pixels) -> None:
    before: NDArray[np.uint8] = faded.copy()
    image = Image.fromarray(faded)
    from_array(faded, PINK)
    from_pillow(image, PINK)
    np.testing.assert_array_equal(faded, before)
    np.testing.assert_array_equal(np.asarray(image), before)
