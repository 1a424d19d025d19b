"""Files of strangers, read without running a line of theirs: safetensors and JSON, bounded in size, depth and time.

Pickle (and everything that may carry one: ``.pt``, ``.ckpt``, ``.joblib``, object ``.npy``, zip archives) is never opened;
what a file is, its bytes say and not its name.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from visum.errors import CorruptFile, ModelError, UnsafeFile

HEADER_BYTES = 4 << 20  # of a safetensors header; 20,000 tensors fill half of it
TENSORS = 20_000  # in one file; the largest networks of vision have some 3,000
VALUES = 1_000_000  # numbers, strings, lists and objects in one JSON text
DEPTH = 32  # lists and objects inside each other
AXES = 16

DTYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
    "F16": "<f2",
    "BF16": "<u2",  # widened to float32, which NumPy has
    "F32": "<f4",
    "F64": "<f8",
    "C64": "<c8",
}

# First bytes, and what they are. All of these can hold a pickle (or other code), so none is opened.
_CARRIERS = (
    (rb"\x80[\x01-\x05]", "a Python pickle"),
    (rb"c[A-Za-z_][\w.]*\r?\n[\w.]+\r?\n", "a Python pickle (protocol 0)"),
    (rb"\([\(cdilpSVUXIJKLMNFGBT}\]]", "a Python pickle (protocol 0)"),
    (rb"[\]})]q[\x00-\xff]", "a Python pickle (protocol 1)"),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a zip archive"),
    (rb"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras)"),
    (rb"\x1f\x8b", "a gzip stream"),
    (rb"BZh[1-9]", "a bzip2 stream"),
    (rb"\xfd7zXZ\x00|\x5d\x00\x00", "an xz stream"),
    (rb"\x78[\x01\x5e\x9c\xda]", "a zlib stream (joblib)"),
    (rb"\x28\xb5\x2f\xfd", "a Zstandard stream"),
    (rb"\x04\x22\x4d\x18", "an LZ4 stream"),
    (rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (rb"ZF[0-9a-fx]", "a joblib file"),
    (rb"(?s).{257}ustar", "a tar archive"),
    (rb"\x7fELF|MZ|\xfe\xed\xfa[\xce\xcf]|\xcf\xfa\xed\xfe", "a program"),
    (rb"(?s).{0,4000}!!python/", "a YAML file with Python objects"),
)
# First bytes of harmless files that people mistake for safetensors.
_OTHERS = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"GGUF", "a GGUF file"),
    (rb"(?s).{4}TFL3", "a TensorFlow Lite model"),
    (rb"\x08[\x01-\x20][\x12\x3a\x22]", "an ONNX model"),
    (rb"\s*<(!doctype|html|\?xml)", "a web page or XML"),
    (rb"\s*[{\[]", "JSON text"),
)
_CONVERT = (
    'where you trust the file: python -c "import torch; from safetensors.torch import save_file; '
    "w = torch.load('FILE', weights_only=True); save_file({k: v.contiguous().clone() for k, v in w.items()}, "
    "'FILE.safetensors')\""
)


def carrier(head: bytes) -> str:
    """What kind of file that can hold code these first bytes (4 KB are enough) begin, in words; "" if none."""
    if _looks_safe(head):  # a header of 0x280 bytes begins like pickle protocol 2, but no pickle goes on with six zeros
        return ""
    if head.startswith(b"PK") and b"data.pkl" in head:
        return "a PyTorch file (a zip archive with a pickle inside)"
    if head.startswith(b"\x93NUMPY") and re.search(rb"'[|<>=]?O\d*'", head[:4096]):
        return "a NumPy array of Python objects (pickled)"
    return next((words for pattern, words in _CARRIERS if re.match(pattern, head)), "")


def refuse_pickle(path: str | Path) -> None:
    """Refuse a file that begins like a pickle or like what can hold one, whatever its name says; nothing is interpreted.

    This is for a good message. Safety rests on the readers here and in ``data.decode``, which take only what they know.

    Raises:
        UnsafeFile: and what the file is.
        ModelError: no such file.
    """
    with _regular(Path(path)) as (file, _):
        words = carrier(file.read(4096))
    if words:
        raise UnsafeFile(
            f"{path} is {words}, which can run code when it is opened", allowed="safetensors", next=_CONVERT
        )


def safe_tensors(path: str | Path) -> dict[str, NDArray[Any]]:
    """Tensors of a ``.safetensors`` file by name, mapped from disk (private: writing to them changes no file).

    bfloat16 becomes float32; the other types stay. The header is checked entirely before a tensor is looked at.

    Raises:
        ModelError: no such file, or not a regular one.
        UnsafeFile: another kind of file (and which), or a header that lies.
        CorruptFile: empty, or cut short.
    """
    path = Path(path)
    with _regular(path) as (file, size):
        header, start = _header(_prefix(file), size, str(path))
        places = _places(header, size - start, str(path))
        data: NDArray[np.uint8] = np.zeros(0, np.uint8)
        if size > start:
            data = np.asarray(np.memmap(file, np.uint8, "c", offset=0, shape=(size,)))[start:]
    return {name: _array(data, *place) for name, place in places.items()}


def tensors_of(data: bytes | bytearray, name: str) -> dict[str, NDArray[Any]]:
    """As ``safe_tensors``, of bytes that were read already; ``name`` is for messages. A bytearray gives writable tensors."""
    header, start = _header(data[: 8 + HEADER_BYTES], len(data), name)
    places = _places(header, len(data) - start, name)
    body = np.frombuffer(data, np.uint8)[start:]
    return {key: _array(body, *place) for key, place in places.items()}


def read_bytes(path: str | Path, *, limit: int) -> bytearray:
    """A whole regular file of at most ``limit`` bytes; links, pipes and devices are not followed.

    Raises:
        ModelError: no such file, or not a regular one.
        UnsafeFile: longer than ``limit``.
    """
    with _regular(Path(path), follow=False) as (file, size):
        if size > limit:
            raise UnsafeFile(f"{path} has {size:,} bytes", allowed=f"at most {limit:,}")
        out = bytearray(size)
        got = file.readinto(out)  # type: ignore[attr-defined]
        del out[got:]
        return out


def safe_json(path: str | Path, *, limit_bytes: int = 16 << 20) -> Any:
    """The value of a JSON file; see ``parse_json`` for what is refused.

    Raises:
        ModelError, UnsafeFile, CorruptFile: as ``read_bytes`` and ``parse_json``.
    """
    return parse_json(read_bytes(path, limit=limit_bytes), str(path))


def parse_json(data: bytes | bytearray, name: str) -> Any:
    """The value of strict JSON: UTF-8, no NaN or infinity (nor 1e400), no key twice, no half of a surrogate pair.

    Args:
        data: the text; its length is the caller's to bound.
        name: of the file, for messages.

    Raises:
        UnsafeFile: nested over ``DEPTH`` deep or over ``VALUES`` values: refused before a parser sees it.
        CorruptFile: not JSON, and why.
    """
    depth, values = _extent(bytes(data))
    if depth > DEPTH or values > VALUES:
        got = f"nested {depth:,} deep" if depth > DEPTH else f"JSON of {values:,} values"
        raise UnsafeFile(f"{name} is {got}", allowed=f"{DEPTH} deep and {VALUES:,} values")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_float=_finite, parse_constant=_no_constant
        )
        if b"\\ud" in data or b"\\uD" in data:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeError are ValueErrors
        raise CorruptFile(f"{name} is not valid JSON: {error}", next="the file as it was written") from error
    return value


@contextlib.contextmanager
def _regular(path: Path, *, follow: bool = True) -> Iterator[tuple[IO[bytes], int]]:
    """An open regular file and its size; never blocks on a pipe, never opens a device."""
    # the kind is asked first, and O_NONBLOCK is for a file that becomes a pipe in between
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        kind = (path.stat() if follow else path.lstat()).st_mode
        if not stat.S_ISREG(kind):
            words = "a folder" if stat.S_ISDIR(kind) else "a link" if stat.S_ISLNK(kind) else "a pipe or device"
            raise ModelError(f"{path} is {words}", allowed="a regular file")
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        why = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise ModelError(f"{path} {why}", allowed="a file that you may read") from error
    with os.fdopen(descriptor, "rb") as file:
        yield file, os.fstat(descriptor).st_size


def _looks_safe(head: bytes | bytearray) -> bool:
    return len(head) > 8 and 0 < int.from_bytes(head[:8], "little") <= HEADER_BYTES and head[8:9] == b"{"


def _prefix(file: IO[bytes]) -> bytes:
    """Length, header and no more than 4 KB after it."""
    first = file.read(8)
    return first + file.read(max(4096, min(int.from_bytes(first, "little"), HEADER_BYTES)))


def _header(head: bytes | bytearray, size: int, name: str) -> tuple[dict[str, Any], int]:
    """The parsed header and where the tensors begin; ``head`` holds at least the header, ``size`` is that of the file."""
    if size == 0:
        raise CorruptFile(f"{name} is empty", next="copy or download it again")
    if not _looks_safe(head):
        raise _stranger(bytes(head[:4096]), size, name)
    length = int.from_bytes(head[:8], "little")
    if 8 + length > size:
        raise CorruptFile(
            f"{name} is cut short: {size:,} of more than {8 + length:,} bytes", next="copy or download it again"
        )
    try:
        value = parse_json(head[8 : 8 + length], f"the header of {name}")
    except CorruptFile as error:
        raise UnsafeFile(error.got, next="save it again with safetensors") from error
    return value, 8 + length


def _stranger(head: bytes, size: int, name: str) -> UnsafeFile | CorruptFile:
    """What to say of a file that does not begin like safetensors."""
    if words := carrier(head):
        return UnsafeFile(
            f"{name} is {words}, not safetensors, and was not opened", allowed="safetensors", next=_CONVERT
        )
    if words := next((words for pattern, words in _OTHERS if re.match(pattern, head, re.IGNORECASE)), ""):
        lfs = "git lfs pull" if "LFS" in words else "save it with safetensors.numpy.save_file"
        return UnsafeFile(f"{name} is {words}, not safetensors", allowed="safetensors", next=lfs)
    if size < 9:
        return CorruptFile(f"{name} is cut short: {size} bytes", next="copy or download it again")
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length > HEADER_BYTES:
        return UnsafeFile(f"{name} claims a header of {length:,} bytes", allowed=f"at most {HEADER_BYTES:,}")
    return UnsafeFile(f"{name} is not a safetensors file", allowed="safetensors", next=_CONVERT)


_Place = tuple[str, tuple[int, ...], int, int]


def _places(header: Any, room: int, name: str) -> dict[str, _Place]:
    """Each tensor's type, shape, begin and end, after all checks; ``room`` is the number of bytes after the header."""
    if len(header) > TENSORS + 1:
        raise UnsafeFile(f"{name} lists {len(header):,} tensors", allowed=f"at most {TENSORS:,}")
    places: dict[str, _Place] = {}
    for key, entry in header.items():
        if key == "__metadata__":
            if not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
                raise UnsafeFile(f"{name}: __metadata__ is not a table of strings", next=_CONVERT)
        else:
            places[key] = _place(entry, f"{name}: tensor {_short(key)}")
    at = 0
    for key, (_, _, begin, end) in sorted(places.items(), key=lambda item: item[1][2:]):
        if begin != at:
            how = "overlaps another" if begin < at else f"leaves a hole of {begin - at:,} bytes before it"
            raise UnsafeFile(f"{name}: tensor {_short(key)} {how}", allowed="tensors end to end")
        at = end
    if at > room:
        raise CorruptFile(f"{name} is cut short: {room:,} of {at:,} bytes of tensors", next="copy or download it again")
    if at < room:
        raise UnsafeFile(f"{name} has {room - at:,} bytes after its last tensor", allowed="tensors end to end")
    return places


def _place(entry: Any, what: str) -> _Place:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise UnsafeFile(f"{what} is not described by dtype, shape and data_offsets alone")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise UnsafeFile(
            f"{what} has dtype {_short(dtype)}", allowed=", ".join(DTYPES), next="convert it to float16 or float32"
        )
    if not _counts(shape) or len(shape) > AXES:
        raise UnsafeFile(f"{what} has shape {_short(shape)}", allowed=f"at most {AXES} lengths of 0 or more")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise UnsafeFile(f"{what} has offsets {_short(offsets)}", allowed="[begin, end]")
    begin, end = offsets
    need = math.prod(shape) * np.dtype(DTYPES[dtype]).itemsize
    if need != end - begin:
        raise UnsafeFile(f"{what}: {dtype} {_short(shape)} needs {need:,} bytes, its offsets hold {end - begin:,}")
    return dtype, tuple(shape), begin, end


def _counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 1 << 63 for v in value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _array(data: NDArray[np.uint8], dtype: str, shape: tuple[int, ...], begin: int, end: int) -> NDArray[Any]:
    raw = data[begin:end]
    if dtype == "BOOL":
        return np.asarray(raw != 0).reshape(shape)  # other bytes than 0 and 1 are no bool to NumPy
    out: NDArray[Any] = raw.view(DTYPES[dtype])
    if not out.flags.aligned:
        out = out.copy()
    if dtype == "BF16":
        out = (out.astype(np.uint32) << 16).view(np.float32)
    return out.reshape(shape)


def _extent(data: bytes) -> tuple[int, int]:
    """How deep JSON is nested and about how many values it holds, by counting brackets, commas and colons outside of
    strings; linear in time, no recursion."""
    plain = np.frombuffer(data.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    inside = (np.cumsum(plain == ord('"'), dtype=np.int32) & 1).astype(bool)
    opened, closed = ((plain == ord(a)) | (plain == ord(b)) for a, b in ("[{", "]}"))
    step = (opened & ~inside).astype(np.int8) - (closed & ~inside)
    depth = int(np.cumsum(step, dtype=np.int32).max(initial=0))
    marks = opened | (plain == ord(",")) | (plain == ord(":"))
    return depth, 1 + int((marks & ~inside).sum())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {_short(twice)} stands twice")
    return out


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"number {_short(text)} is out of range")
    return value


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not a number")
