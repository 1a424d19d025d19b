"""The one decoder against Pillow, against known originals, and against files that mean harm."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

import corpus
from corpus import cmyk, cmyk_jpegs, exif, photo, png, saved
from visum.data.decode import EXTRA_FORMATS, FORMATS, HEAD, decode, limits, read_bytes, sniff
from visum.data.decode.jpeg import dct_scale
from visum.errors import UnreadableImage, UsageError

BUILT_IN = [*FORMATS, "TIFF", "AVIF"]
PLAIN = {kind: saved(photo(40, 24), kind.upper()) for kind in BUILT_IN}


def read(data: bytes, **options: object) -> NDArray[np.uint8]:
    return decode(data, extra_formats=EXTRA_FORMATS, **options).pixels


def by_pillow(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB"))


def reason(data: bytes) -> str:
    with pytest.raises(UnreadableImage) as caught:
        read(data)
    assert caught.value.allowed
    assert caught.value.next
    assert len(caught.value.reason) < 160
    return caught.value.reason


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> list[corpus.Odd]:
    return corpus.make(tmp_path_factory.mktemp("odd"))


@pytest.fixture
def alarm() -> Iterator[None]:
    """A test that blocks fails after five seconds instead of never ending."""

    def ring(*_: object) -> None:
        raise TimeoutError("blocked")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(5)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# What is read, and how


def test_the_odd_corpus_is_read_or_refused_as_stated(odd: list[corpus.Odd]) -> None:
    assert len(odd) >= 30
    for item in odd:
        if item.readable:
            found = decode(item.path)
            notes = "; ".join(found.notes)
            assert item.why in notes, item.name
            assert item.why or not notes, (item.name, notes)
            assert found.pixels.dtype == np.uint8
            assert found.pixels.shape == (found.height, found.width, 3)
            assert found.pixels.flags.c_contiguous
            assert not found.pixels.flags.writeable
        else:
            with pytest.raises(UnreadableImage, match=re.escape(item.why)) as caught:
                decode(item.path)
            assert caught.value.allowed, item.name
            assert caught.value.next, item.name
            str(caught.value).encode()  # printable, whatever the name's bytes are


def test_real_photos_equal_pillows_within_two_levels(clothing: Path) -> None:
    for path in sorted((clothing / "train").glob("*/*"))[::60]:
        found = decode(path)
        expected = by_pillow(path.read_bytes())
        assert np.abs(found.pixels.astype(int) - expected).max() <= 2
        assert (found.width, found.height, found.format, found.notes) == (*expected.shape[1::-1], "JPEG", ())


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"subsampling": 1}, {"quality": 15}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_flavours_of_jpeg_equal_pillows(mode: str, options: dict[str, int]) -> None:
    data = saved(photo(95, 63).convert(mode), "JPEG", **options)
    assert np.abs(read(data).astype(int) - by_pillow(data)).max() <= 2


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF"])
def test_lossless_formats_give_the_pixels_that_were_saved(kind: str, mode: str) -> None:
    image = photo().quantize(256) if mode == "P" or (kind == "GIF" and mode == "RGB") else photo().convert(mode)
    found = decode(saved(image, kind), extra_formats=EXTRA_FORMATS)
    assert np.array_equal(found.pixels, np.asarray(image.convert("RGB")))
    assert found.format == kind
    assert found.notes == ()


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_webp_and_avif_equal_pillows(kind: str) -> None:
    data = saved(photo(), kind)
    assert np.array_equal(read(data), by_pillow(data))


def test_formats_beyond_the_list_are_read_only_when_named() -> None:
    for kind in EXTRA_FORMATS[:2]:
        with pytest.raises(UnreadableImage, match=f"{kind} is off"):
            decode(PLAIN[kind])
        assert decode(PLAIN[kind], extra_formats=(kind,)).format == kind


def test_heic_is_recognised_and_says_what_is_missing() -> None:
    head = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + bytes(100)
    assert sniff(head) == "HEIC"
    with pytest.raises(UnreadableImage, match="HEIC is off"):
        decode(head)
    with pytest.raises(UnreadableImage, match="HEIC"):
        decode(head, extra_formats=("HEIC",))


def test_sniff_names_kinds_from_bytes_alone() -> None:
    assert [sniff(PLAIN[kind][:HEAD]) for kind in BUILT_IN] == BUILT_IN
    known = {
        b"%PDF-1.4": "PDF",
        b"8BPS": "PSD",
        b"%!PS-Adobe": "EPS",
        b"<svg>": "SVG",
        b" <HTML>": "HTML",
        b"a": "text",
    }
    known |= {b"BM, a car maker": "text", b"RIFF1234WAVE": "audio", b'{"a": 1}': "JSON", b"P6 1 1 255 ": "PNM"}
    assert {head: sniff(head) for head in known} == known
    assert sniff(b"") is None
    assert sniff("ä".encode() * HEAD) == "text"
    assert sniff(b"x" + "ä".encode() * HEAD) == "text"  # the head ends within a letter
    assert sniff(b"\x01\x02\x03") is None


def test_arguments_that_cannot_be_are_usage_errors() -> None:
    for options in (
        {"background": (0, 0, 256)},
        {"shortest": 0},
        {"extra_formats": ("SVG",)},
        {"extra_formats": "TIFF"},
    ):
        with pytest.raises(UsageError):
            decode(PLAIN["PNG"], **options)


# Orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_eight_orientations_give_the_same_pixels(kind: str) -> None:
    upright = photo(96, 64)
    undo = [None, 0, 3, 1, 5, 2, 6, 4]  # orientation k is stored as the upright picture after this transposition
    lossless = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}, "AVIF": {"quality": 95}}
    for turn, method in enumerate(undo, start=1):
        stored = upright if method is None else upright.transpose(Image.Transpose(method))
        data = saved(stored, kind, exif=exif(turn), **lossless.get(kind, {}))
        found = decode(data, extra_formats=EXTRA_FORMATS)
        assert (found.width, found.height) == (96, 64)
        assert np.array_equal(found.pixels, by_pillow(data))
        assert np.abs(found.pixels.astype(int) - np.asarray(upright)).mean() < (2 if kind in ("JPEG", "AVIF") else 1e-9)
        assert found.notes == ((f"rotated by EXIF orientation {turn}",) if turn > 1 else ())


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_in_either_byte_order_and_nonsense_is_ignored(order: str) -> None:
    def tagged(value: int) -> bytes:
        mark = b"II" if order == "<" else b"MM"
        body = mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, value, 0, 0)
        return saved(photo(), "JPEG", exif=b"Exif\x00\x00" + body)

    assert decode(tagged(6)).width == 64
    for nonsense in (0, 9, 65535):
        assert decode(tagged(nonsense)).notes == ()
    for broken in (
        b"Exif\x00\x00",
        b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff",
    ):
        assert decode(saved(photo(), "JPEG", exif=broken)).notes == ()


# Colour, depth, transparency, frames


def test_cmyk_inverted_cmyk_and_ycck_agree_with_the_original() -> None:
    inks = cmyk(photo())
    expected = np.asarray(Image.frombytes("CMYK", (96, 64), inks.tobytes()).convert("RGB")).astype(int)
    files = cmyk_jpegs(inks)
    found = {name: read(data).astype(int) for name, data in files.items()}
    for name, pixels in found.items():
        assert np.abs(pixels - expected).max() <= (8 if name == "ycck" else 4), name
    for name in ("inverted", "ycck"):  # Pillow reads every CMYK JPEG as inverted, which is right for these two
        assert np.array_equal(found[name], by_pillow(files[name]))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_its_256_levels(kind: str) -> None:
    ramp = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    found = decode(saved(Image.fromarray(ramp), kind), extra_formats=EXTRA_FORMATS)
    assert np.array_equal(found.pixels[..., 0], np.arange(256, dtype=np.uint8)[:, None].repeat(256, 1))
    assert (found.pixels == found.pixels[..., :1]).all()
    assert found.notes == ("16-bit grey scaled to 8 bits",)


def test_sixteen_bit_colour_keeps_its_high_byte() -> None:
    samples = np.random.default_rng(0).integers(0, 2**16, (5, 7, 3), dtype=np.uint16)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in samples)
    found = decode(png(7, 5, depth=16, colour=2, rows=rows))
    assert np.array_equal(found.pixels, samples >> 8)
    assert found.notes == ("16-bit samples scaled to 8 bits",)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_samples_of_unknown_range_are_refused(mode: str) -> None:
    values = Image.fromarray(np.asarray(photo().convert("L")).astype({"F": np.float32, "I": np.int32}[mode]))
    assert "unsupported TIFF: 32-bit" in reason(saved(values, "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_composited_on_the_stated_background(kind: str, mode: str) -> None:
    image = photo().convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image = image.convert(mode)
    colour, alpha = np.split(np.asarray(image.convert("RGBA")).astype(float), [3], axis=2)
    background = (10, 200, 90)
    expected = (colour * alpha + np.array(background) * (255 - alpha)) / 255
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    found = decode(saved(image, kind, **options), background=background, extra_formats=EXTRA_FORMATS)
    assert np.abs(found.pixels - expected).max() <= 1
    assert found.notes == ("transparent pixels on background 10,200,90",)


def test_opaque_alpha_is_no_alteration() -> None:
    found = decode(saved(photo().convert("RGBA"), "PNG"))
    assert found.notes == ()
    assert np.array_equal(found.pixels, np.asarray(photo()))


@pytest.mark.parametrize(("depth", "key", "grey"), [(1, 1, 255), (2, 2, 170), (4, 7, 119), (8, 200, 200), (16, 513, 2)])
def test_a_transparent_grey_level_is_found_at_every_depth(depth: int, key: int, grey: int) -> None:
    samples = 2**depth - 1
    row = [key, 0, samples] if depth != 1 else [1, 0, 1]
    bits = "".join(f"{value:0{depth}b}" for value in row).ljust(48, "0")
    packed = int(bits, 2).to_bytes(6, "big")[: (3 * depth + 7) // 8]
    mark = corpus.chunk(b"tRNS", key.to_bytes(2, "big"))
    whole = read(png(3, 1, depth=depth, rows=b"\x00" + packed))[0, :, 0].tolist()
    keyed = read(png(3, 1, mark, depth=depth, rows=b"\x00" + packed), background=(9, 9, 9))[0, :, 0].tolist()
    assert whole[0] == grey
    assert keyed == [9 if value == row[0] else level for value, level in zip(row, whole, strict=True)]


def test_a_transparent_colour_and_palette_entries_show_the_background() -> None:
    rows = bytes((0, 1, 2, 3, 1, 2, 4))
    keyed = png(2, 1, corpus.chunk(b"tRNS", bytes((0, 1, 0, 2, 0, 3))), colour=2, rows=rows)
    assert read(keyed, background=(7, 8, 9)).tolist() == [[[7, 8, 9], [1, 2, 4]]]
    image = photo().quantize(16)
    clear = np.asarray(image) == 3
    found = read(saved(image, "PNG", transparency=3), background=(7, 8, 9))
    assert (found[clear] == (7, 8, 9)).all()
    assert np.array_equal(found[~clear], np.asarray(image.convert("RGB"))[~clear])


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_the_first_of_several_frames_is_taken_and_stated(kind: str) -> None:
    first, others = photo(), [photo().rotate(90), photo().rotate(180)]
    several = saved(first, kind, save_all=True, append_images=others)
    found = decode(several, extra_formats=EXTRA_FORMATS)
    assert found.notes == (f"first of 3 {'pages' if kind == 'TIFF' else 'frames'}",)
    assert np.abs(found.pixels.astype(int) - np.asarray(first)).mean() < 12
    assert np.array_equal(found.pixels, by_pillow(several))


def test_a_first_frame_smaller_than_its_canvas_stands_on_the_background() -> None:
    small = saved(Image.new("P", (4, 3), 5), "GIF")
    at = small.index(b",\x00\x00\x00\x00\x04\x00\x03\x00")
    moved = small[:6] + b"\x0a\x00\x08\x00" + small[10:at] + b",\x02\x00\x01\x00" + small[at + 5 :]
    found = decode(moved, background=(1, 2, 3))
    assert (found.width, found.height) == (10, 8)
    outside = np.ones((8, 10), bool)
    outside[1:4, 2:6] = False
    assert (found.pixels[outside] == (1, 2, 3)).all()
    assert (found.pixels[1:4, 2:6] != (1, 2, 3)).any()
    assert "first frame covers a part" in found.notes[0]


def test_a_profile_is_noted_unless_it_is_srgb() -> None:
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF"):
        for profile, notes in ((srgb, ()), (b"Display P3", ("colour profile not applied",))):
            data = saved(photo(), kind, icc_profile=profile)
            assert decode(data, extra_formats=EXTRA_FORMATS).notes == notes, kind


# DCT scale


@pytest.mark.parametrize(("size", "shortest", "scale"), [
    ((900, 601), 150, 2), ((900, 601), 151, 1), ((900, 601), 38, 8), ((900, 601), 39, 4), ((601, 900), 75, 4),
    ((900, 601), None, 1), ((90, 60), 224, 1),
])  # fmt: skip
def test_a_jpeg_is_scaled_only_as_far_as_twice_the_wanted_size(
    size: tuple[int, int], shortest: int, scale: int
) -> None:
    assert dct_scale(*size, shortest) == scale
    image = photo(*size)
    found = decode(saved(image, "JPEG", quality=95, exif=exif(6)), shortest=shortest)
    height, width = (-(-side // scale) for side in size)  # turned
    assert found.pixels.shape[:2] == (height, width)
    assert (found.height, found.width) == size
    assert scale == 1 or min(found.pixels.shape[:2]) >= 2 * shortest
    note = (f"decoded at 1/{scale} scale",) if scale > 1 else ()
    assert found.notes == ("rotated by EXIF orientation 6", *note)
    box = np.asarray(image.reduce(scale).rotate(-90, expand=True)).astype(int)
    assert np.abs(found.pixels - box).mean() < 2.5


def test_other_formats_ignore_the_wanted_size() -> None:
    assert decode(saved(photo(900, 601), "PNG"), shortest=10).pixels.shape == (601, 900, 3)


# Truncation and damage


@pytest.mark.parametrize("kind", BUILT_IN)
def test_every_truncation_is_noticed(kind: str) -> None:
    data = PLAIN[kind]
    points = range(len(data)) if len(data) < 2500 else {*range(0, len(data), 7), *range(len(data) - 64, len(data))}
    for length in points:
        with pytest.raises(UnreadableImage):
            read(data[:length])
    read(data)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.99, 1.0])
def test_a_truncated_photo_is_called_truncated(kind: str, part: float) -> None:
    data = saved(photo(300, 200), kind.upper())
    assert reason(data[: min(int(len(data) * part), len(data) - 1)]).startswith(f"truncated {kind}")


def test_truncated_flavours_are_noticed() -> None:
    two = [photo(), photo().rotate(180)]
    for data in (
        saved(photo(), "JPEG", progressive=True),
        saved(photo().convert("L"), "JPEG"),
        cmyk_jpegs(cmyk(photo()))["inverted"],
        *(saved(two[0], kind, save_all=True, append_images=two[1:]) for kind in ("GIF", "WEBP", "PNG")),
        saved(photo(), "WEBP", lossless=True),
    ):
        read(data)
        for part in (0.1, 0.5, 0.9, 0.99):
            reason(data[: int(len(data) * part)])
        reason(data[:-1])


def test_a_jpeg_may_hold_a_thumbnail_and_be_followed_by_other_bytes() -> None:
    thumbnail = saved(photo(32, 24), "JPEG")
    plain = saved(photo(), "JPEG")
    segment = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00" + thumbnail
    data = plain[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + plain[2:]
    assert np.array_equal(read(data), read(plain))
    assert np.array_equal(read(data + b"\x00" * 999 + thumbnail), read(plain))
    reason(data[:-2])


def test_corrupt_entropy_data_is_refused_and_stray_bytes_before_the_end_are_stated() -> None:
    data = saved(photo(300, 200), "JPEG", subsampling=0)
    middle = len(data) // 2
    assert "damaged JPEG" in reason(data[:middle] + b"\xff\xd9" + data[middle:])
    found = decode(data[:-2] + bytes(33) + data[-2:], shortest=50)
    assert np.array_equal(found.pixels, decode(data, shortest=50).pixels)
    assert found.notes == ("decoded at 1/2 scale", "stray bytes before the end marker skipped")


def test_odd_header_fields_and_rare_subsamplings_are_read_and_stated() -> None:
    data = saved(photo(), "JPEG")
    revision, scan, frame = data.index(b"JFIF\x00") + 5, data.index(b"\xff\xda"), data.index(b"\xff\xc0")
    spectral = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big") - 3
    fields = {
        data[:revision] + b"\x07" + data[revision + 1 :]: read(data),
        data[:spectral] + bytes(3) + data[spectral + 3 :]: read(data),
    }
    rare = data[: frame + 11] + b"\x31" + data[frame + 12 :]
    for changed, expected in (fields | {rare: by_pillow(rare)}).items():
        found = decode(changed)
        assert np.array_equal(found.pixels, expected)
        assert found.notes == ("odd header fields ignored",)
        for length in (len(changed) - 1, len(changed) - 2, len(changed) // 2):
            assert reason(changed[:length]) == "truncated JPEG"


def test_flavours_that_are_not_read_are_named() -> None:
    data = saved(photo(), "JPEG")
    at = data.index(b"\xff\xc0")
    assert "12 bits" in reason(data[: at + 4] + b"\x0c" + data[at + 5 :])
    assert "lossless" in reason(data[:at] + b"\xff\xc3" + data[at + 2 :])
    assert "hierarchical" in reason(data[:at] + b"\xff\xc5" + data[at + 2 :])


@pytest.mark.parametrize("kind", BUILT_IN)
def test_flipped_bytes_are_read_or_refused(kind: str) -> None:
    rng = np.random.default_rng(0)
    data = saved(photo(64, 48), kind.upper())
    head = min(len(data), 200)
    for trial in range(300):
        hurt = np.frombuffer(data, np.uint8).copy()
        places = rng.integers(0, head if trial % 2 else len(data), 1 + trial % 4)
        hurt[places] ^= rng.integers(1, 256, len(places), dtype=np.uint8)
        try:
            found = decode(hurt.tobytes(), extra_formats=EXTRA_FORMATS)
        except UnreadableImage:
            continue
        assert found.pixels.ndim == 3


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(BUILT_IN), keep=st.integers(0, 60), tail=st.binary(max_size=200))
def test_any_bytes_behind_a_true_head_are_read_or_refused(kind: str, keep: int, tail: bytes) -> None:
    with contextlib.suppress(UnreadableImage):
        read(PLAIN[kind][:keep] + tail)


def test_odd_tags_do_not_warn_and_filters_stay_as_they_were() -> None:
    data = bytearray(PLAIN["TIFF"])
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack_from("<H", data, at)[0] in (282, 296, 305):
            struct.pack_into("<HI", data, at + 2, 2, 10**6)  # a text of a million bytes
    filters = list(warnings.filters)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(lambda _: _outcome(bytes(data)), range(20)))
    assert seen == []
    assert len(set(outcomes)) == 1
    assert list(warnings.filters) == filters


def _outcome(data: bytes) -> str:
    try:
        return str(read(data).sum())
    except UnreadableImage as error:
        return error.reason


# Bombs

MEASURE = """
import resource, sys, time
from visum.data.decode import decode
from visum.errors import UnreadableImage
import simplejpeg
decode(open(sys.argv[1], "rb").read())
for path in sys.argv[2:]:
    data = open(path, "rb").read()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    try:
        decode(data, extra_formats=("TIFF", "AVIF")); outcome = "read"
    except UnreadableImage as error:
        outcome = error.reason
    seconds = time.perf_counter() - start
    print(f"{seconds} {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024} {outcome}")
"""


def test_bombs_cost_neither_time_nor_memory(tmp_path: Path) -> None:
    jpeg = bytearray(PLAIN["JPEG"])
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = b"\xff\xff\xff\xff"
    gif = bytearray(PLAIN["GIF"])
    gif[6:10] = b"\xff\xff\xff\xff"
    bmp = bytearray(PLAIN["BMP"])
    bmp[18:26] = (50_000).to_bytes(4, "little") * 2
    webp = bytearray(saved(photo(), "WEBP", exif=exif(1)))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = b"\xff\x3f\x00\xff\x3f\x00"
    tiff = bytearray(PLAIN["TIFF"])
    start = int.from_bytes(tiff[4:8], "little")
    for entry in range(start + 2, start + 26, 12):
        tiff[entry + 2 : entry + 12] = b"\x04\x00\x01\x00\x00\x00\x50\xc3\x00\x00"
    bomb = zlib.compress(bytes(200 * 2**20), 9)
    text, profile = corpus.chunk(b"zTXt", b"a\x00\x00" + bomb), corpus.chunk(b"iCCP", b"a\x00\x00" + bomb)
    bombs = {
        "too large: 50000 x 50000 PNG": corpus.huge_png(),
        "too thin: 1 x 100000 PNG": png(1, 100_000),
        "too large: 65535 x 65535 JPEG": bytes(jpeg),
        "too large: 65535 x 65535 GIF": bytes(gif),
        "too large: 50000 x 50000 BMP": bytes(bmp),
        "too large: 16384 x 16384 WebP": bytes(webp),
        "too large: 50000 x 50000 TIFF": bytes(tiff),
        "too many scans: over 200 in one JPEG": corpus.many_scans(20_000),
        "damaged JPEG: more than 10,000 header segments": b"\xff\xd8" + b"\xff\xe0\x00\x02" * 10**6,
        "read": png(8, 8, text, profile),
    }
    plain, *paths = [tmp_path / str(number) for number in range(len(bombs) + 1)]
    plain.write_bytes(PLAIN["PNG"])
    for path, data in zip(paths, bombs.values(), strict=True):
        path.write_bytes(data)
    command = [sys.executable, "-c", MEASURE, str(plain), *map(str, paths)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    lines = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()
    for line, expected in zip(lines, bombs, strict=True):
        seconds, megabytes, outcome = line.split(" ", 2)
        assert outcome == expected
        assert float(seconds) < 0.05, line
        assert float(megabytes) < 50, line


def test_scans_are_counted_up_to_the_end_marker_only() -> None:
    data = corpus.many_scans(100, (64, 48))
    with pytest.raises(UnreadableImage, match="damaged JPEG"):  # a repeated scan is bogus, but not a bomb
        decode(data)
    plain = saved(photo(), "JPEG", progressive=True)
    assert np.array_equal(read(plain + b"\xff\xda" * 10**5), read(plain))
    assert "too many scans" in reason(corpus.many_scans(limits.MAX_SCANS + 1))


def test_as_many_scans_as_are_allowed_take_under_a_second() -> None:
    data = corpus.many_scans(limits.MAX_SCANS - 20, (1000, 1000))
    start = time.perf_counter()
    reason(data)
    assert time.perf_counter() - start < 1


@pytest.mark.slow
def test_a_picture_just_under_the_limit_is_read_without_warning() -> None:
    side = 10_900
    found = decode(png(side, side, depth=1))
    assert found.pixels.shape == (side, side, 3)


def test_run_lengths_in_bmp_are_bounded() -> None:
    bmp = bytearray(saved(photo().quantize(16), "BMP"))
    bmp[18:26], bmp[30:34] = (5000).to_bytes(4, "little") * 2, b"\x01\x00\x00\x00"
    assert "run lengths" in reason(bytes(bmp))


# Paths


def test_pipes_folders_and_loops_never_block(tmp_path: Path, alarm: None) -> None:
    for item in corpus.make_special(tmp_path):
        for function in (decode, read_bytes):
            with pytest.raises(UnreadableImage, match=item.why) as caught:
                function(item.path)
            assert caught.value.path == str(item.path)
            assert caught.value.next


def test_sockets_devices_and_impossible_names_never_block(alarm: None) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/s")
        with pytest.raises(UnreadableImage, match="a socket"):
            decode(f"{folder}/s")
    for path, why in (("/dev/zero", "a device"), ("a\x00b", "null"), ("x" * 5000, "too long"), ("", "no such file")):
        with pytest.raises(UnreadableImage, match=why):
            decode(path)


def test_a_path_may_be_a_string_a_path_or_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "a.jpg", tmp_path / "link.jpg"
    path.write_bytes(PLAIN["JPEG"])
    link.symlink_to(path)
    for source in (path, str(path), link):
        assert np.array_equal(decode(source).pixels, read(PLAIN["JPEG"]))
        assert read_bytes(source) == PLAIN["JPEG"]


def test_a_file_beyond_the_size_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sparse.jpg"
    with path.open("wb") as file:
        file.truncate(limits.MAX_BYTES + 1)
    with pytest.raises(UnreadableImage, match="512 MB"):
        read_bytes(path)
    monkeypatch.setattr(limits, "MAX_BYTES", 100)
    with pytest.raises(UnreadableImage, match="too large"):
        decode(PLAIN["JPEG"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(PLAIN["JPEG"])
    path.chmod(0)
    with pytest.raises(UnreadableImage, match="permission denied"):
        decode(path)


def test_threads_agree_with_one_thread(odd: list[corpus.Odd]) -> None:
    readable = [item.path for item in odd if item.readable] * 4
    alone = [decode(path).pixels for path in readable]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(alone, pool.map(lambda path: decode(path).pixels, readable), strict=True):
            assert np.array_equal(one, other)
