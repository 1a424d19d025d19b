"""Files of strangers: held to the safetensors library where files are sound, and refused without running a line where not."""

from __future__ import annotations

import io
import json
import os
import pickle
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save, save_file

from visum import safefile
from visum.errors import CorruptFile, ModelError, UnsafeFile, VisumError

TENSORS = {
    "f4": np.arange(12, dtype=np.float32).reshape(3, 4),
    "f2": np.array([1.5, -2], np.float16),
    "f8": np.array([np.pi]),
    "i8": np.array([[-(2**60)]]),
    "u1": np.arange(5, dtype=np.uint8),
    "bool": np.array([True, False, True]),
    "scalar": np.array(7, np.int32),
    "none": np.zeros((0, 4), np.float32),
    "a name: ü\n": np.ones(1, np.int16),
}


def packed(header: Any, data: bytes = b"") -> bytes:
    """A safetensors file by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize("read", [safefile.safe_tensors, lambda p: safefile.tensors_of(p.read_bytes(), "x")])
def test_sound_files_read_as_the_reference_reads_them(tmp_path: Path, read: Callable[[Path], dict[str, Any]]) -> None:
    path = tmp_path / "a.safetensors"
    save_file(TENSORS, path, metadata={"any": '"words" {[,'})
    ours, reference = read(path), load_file(path)
    assert set(ours) == set(reference) == set(TENSORS)
    for name, value in reference.items():
        assert ours[name].dtype == value.dtype
        assert ours[name].shape == value.shape
        np.testing.assert_array_equal(ours[name], value)


@pytest.mark.parametrize("length", [640, 896, 1152, 1280, 1408, 0x9C78, 0x4B50])
def test_a_header_whose_length_spells_another_format_is_read(tmp_path: Path, length: int) -> None:
    text = json.dumps({"a": entry()}).encode().ljust(length)
    path = tmp_path / "a.safetensors"
    path.write_bytes(packed(text, np.float32(2).tobytes()))
    assert load_file(path)["a"] == safefile.safe_tensors(path)["a"] == 2
    safefile.refuse_pickle(path)


def test_bfloat16_becomes_float32() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.array([1.0, -3.140625, 1e-30, np.inf, 0.0]).astype(ml_dtypes.bfloat16)
    read = safefile.tensors_of(packed({"a": entry("BF16", (5,), (0, 10))}, values.tobytes()), "x")["a"]
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values.astype(np.float32))


def test_a_bool_that_is_neither_0_nor_1_is_true() -> None:
    read = safefile.tensors_of(packed({"a": entry("BOOL", (4,))}, b"\0\1\2\xff"), "x")["a"]
    assert read.tolist() == [False, True, True, True]
    assert read.view(np.uint8).max() == 1


def test_tensors_that_lie_askew_are_readable() -> None:
    header = {"a": entry("U8", (1,), (0, 1)), "b": entry("F64", (2,), (1, 17))}
    read = safefile.tensors_of(packed(header, b"\7" + np.array([1.5, 2.5]).tobytes()), "x")
    assert read["b"].flags.aligned
    assert read["b"].tolist() == [1.5, 2.5]


def test_the_map_is_private(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(TENSORS, path)
    before = path.read_bytes()
    safefile.safe_tensors(path)["f4"][:] = 9
    assert path.read_bytes() == before


class Payload:
    """Unpickling it makes the marker file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.marker),))


def _zipped(blob: bytes, name: str = "archive/data.pkl") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, blob)
    return out.getvalue()


def _npy(payload: Payload) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([payload], dtype=object), allow_pickle=True)
    return out.getvalue()


def _npy_fields(payload: Payload) -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([(1, payload)], dtype=[("a", "i4"), ("b", "O")]), allow_pickle=True)
    return out.getvalue()


def _joblib(payload: Payload, **how: Any) -> bytes:
    import joblib

    out = io.BytesIO()
    joblib.dump(payload, out, **how)
    return out.getvalue()


CARRIERS: dict[str, Callable[[Payload], bytes]] = {
    **{f"protocol-{n}.ckpt": (lambda p, n=n: pickle.dumps(p, protocol=n)) for n in range(6)},
    **{f"list-protocol-{n}.pt": (lambda p, n=n: pickle.dumps([p], protocol=n)) for n in range(6)},
    "renamed.safetensors": pickle.dumps,
    "zip.pt": lambda p: _zipped(pickle.dumps(p)),
    "nested.zip": lambda p: _zipped(_zipped(pickle.dumps(p)), "inner.zip"),
    "exported.pt2": lambda p: _zipped(pickle.dumps(p), "model/extra/x.pkl"),
    "object.npy": _npy,
    "fields.npy": _npy_fields,
    "plain.joblib": _joblib,
    "zlib.joblib": lambda p: _joblib(p, compress=("zlib", 3)),
    "gzip.joblib": lambda p: _joblib(p, compress=("gzip", 3)),
    "bz2.joblib": lambda p: _joblib(p, compress=("bz2", 3)),
    "xz.joblib": lambda p: _joblib(p, compress=("xz", 3)),
    "lzma.joblib": lambda p: _joblib(p, compress=("lzma", 3)),
    "hand.pkl": lambda p: f"cos\nmkdir\n(S'{p.marker}'\ntR.".encode(),
    "model.yaml": lambda p: f"a: !!python/object/apply:os.mkdir ['{p.marker}']".encode(),
}


@pytest.mark.parametrize("name", CARRIERS)
def test_files_that_can_run_code_are_named_and_never_run(tmp_path: Path, name: str) -> None:
    marker = tmp_path / "ran"
    path = tmp_path / name
    path.write_bytes(CARRIERS[name](Payload(marker)))
    for refuse in (safefile.refuse_pickle, safefile.safe_tensors):
        with pytest.raises(UnsafeFile, match=r"safetensors") as caught:
            refuse(path)
        assert str(path) in caught.value.got
        assert any(word in caught.value.got for word in ("pickle", "zip", "stream", "YAML"))
    assert not marker.exists()


def test_the_payload_would_have_run(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))  # noqa: S301 - proves that the tests above can fail
    assert (tmp_path / "ran").exists()


def test_torch_files_of_both_kinds_are_refused_with_the_way_out(tmp_path: Path) -> None:
    import torch

    for name, modern in (("new.pt", True), ("old.pt", False)):
        torch.save({"w": torch.zeros(2)}, tmp_path / name, _use_new_zipfile_serialization=modern)
        with pytest.raises(UnsafeFile, match=r"weights_only=True.*save_file"):
            safefile.safe_tensors(tmp_path / name)


def test_harmless_strangers_are_named(tmp_path: Path) -> None:
    npy = io.BytesIO()
    np.save(npy, np.zeros(3))
    for blob, words in {
        npy.getvalue(): "NumPy array",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n": "git lfs pull",
        b"<!DOCTYPE html><html>not found": "web page",
        b'{"model": 1}      ': "JSON",
        b"GGUF\3\0\0\0\0\0\0\0": "GGUF",
        b"\x89HDF\r\n\x1a\n": "HDF5",
        b"just some text, thank you": "not a safetensors file",
    }.items():
        (tmp_path / "model").write_bytes(blob)
        with pytest.raises(UnsafeFile, match=words):
            safefile.safe_tensors(tmp_path / "model")
    (tmp_path / "model").write_bytes(npy.getvalue())
    safefile.refuse_pickle(tmp_path / "model")


LIES: dict[str, tuple[bytes, str]] = {
    "an 8 EB header": ((2**63).to_bytes(8, "little") + b"{}", "claims a header"),
    "a 5 MB header": ((5 << 20).to_bytes(8, "little") + b"{" + b" " * (5 << 20), "claims a header"),
    "nearly a million values": (packed(b'{"a":[' + b"1," * 999_990 + b"1]}"), "not described"),
    "30,000 tensors": (
        packed({str(i): entry("U8", (1,), (i, i + 1)) for i in range(30_000)}, bytes(30_000)),
        "30,000 tensors",
    ),
    "100,000 deep": (packed(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "nested 100,001 deep"),
    "4 MB of empty lists": (packed(b'{"a":[' + b"[]," * 1_390_000 + b"[]]}"), r"JSON of [\d,]+ values"),
    "4 MB of escaped quotes": (packed(b'{"' + b'\\"' * 2_000_000), "not valid JSON"),
    "4 MB of backslashes": (packed(b'{"' + b"\\" * 4_000_000), "not valid JSON"),
    "a number of a million digits": (packed(b'{"a":' + b"1" * 1_000_000 + b"}"), "not valid JSON"),
    "no JSON": (packed(b"{not json"), "not valid JSON"),
    "bad UTF-8": (packed(b'{"\xff":1}'), "not valid JSON"),
    "one key twice": (packed(b'{"a":1,"a":2}'), "'a' stands twice"),
    "NaN": (packed(b'{"a":NaN}'), "NaN is not a number"),
    "an entry that is a number": (packed({"a": 1}), "tensor 'a' is not described"),
    "a missing shape": (packed({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4)), "not described"),
    "an extra word": (packed({"a": {**entry(), "pickle": 1}}, bytes(4)), "not described"),
    "an unknown dtype": (packed({"a": entry("O")}, bytes(4)), "dtype 'O'"),
    "a dtype that is a list": (packed({"a": {**entry(), "dtype": ["F32"]}}, bytes(4)), "has dtype"),
    "a negative side": (packed({"a": entry(shape=(-1, -1))}, bytes(4)), r"shape \[-1, -1\]"),
    "a side of 2**70": (packed({"a": entry(shape=(2**70,))}, bytes(4)), "has shape"),
    "a side that is true": (packed({"a": entry(shape=(True,))}, bytes(4)), "has shape"),
    "sides that overflow 64 bits": (packed({"a": entry(shape=(2**32, 2**32), offsets=(0, 0))}), "needs"),
    "sixty axes": (packed({"a": entry(shape=[1] * 60)}, bytes(4)), "has shape"),
    "a shape that needs more": (packed({"a": entry(shape=(2,))}, bytes(4)), "needs 8 bytes, its offsets hold 4"),
    "offsets backwards": (packed({"a": entry(offsets=(4, 0))}, bytes(4)), "has offsets"),
    "three offsets": (packed({"a": entry(offsets=(0, 4, 8))}, bytes(4)), "has offsets"),
    "offsets past the end": (packed({"a": entry(shape=(100,), offsets=(0, 400))}, bytes(4)), "cut short"),
    "two on one place": (packed({"a": entry(), "b": entry()}, bytes(4)), "overlaps another"),
    "half on another": (packed({"a": entry("U8", (4,), (0, 4)), "b": entry("U8", (4,), (2, 6))}, bytes(6)), "overlaps"),
    "a hole": (packed({"a": entry(), "b": entry(offsets=(8, 12))}, bytes(12)), "hole of 4 bytes"),
    "a late start": (packed({"a": entry(offsets=(4, 8))}, bytes(8)), "hole of 4 bytes"),
    "bytes at the end": (packed({"a": entry()}, bytes(9)), "5 bytes after its last tensor"),
    "metadata that is no table": (packed({"__metadata__": 1}), "__metadata__"),
    "metadata of numbers": (packed({"__metadata__": {"a": 1}}), "__metadata__"),
}


@pytest.mark.parametrize("name", LIES)
def test_headers_that_lie_are_refused_soon_and_in_little_memory(tmp_path: Path, name: str) -> None:
    blob, words = LIES[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(blob)
    started = time.process_time()
    with pytest.raises((UnsafeFile, CorruptFile), match=words):
        safefile.safe_tensors(path)
    assert time.process_time() - started < 1
    tracemalloc.start()
    try:
        with pytest.raises((UnsafeFile, CorruptFile)):
            safefile.safe_tensors(path)
        assert tracemalloc.get_traced_memory()[1] < 150 << 20
    finally:
        tracemalloc.stop()


def test_as_many_tensors_as_are_allowed_are_read_soon() -> None:
    header = {f"layer.{i}.weight": entry(offsets=(4 * i, 4 * i + 4)) for i in range(20_000)}
    blob = packed({**header, "__metadata__": {}}, bytes(80_000))
    started = time.process_time()
    assert len(safefile.tensors_of(blob, "x")) == 20_000
    assert time.process_time() - started < 1.5


def test_every_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    whole = save({"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 2))})
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CorruptFile, match=r"cut short|is empty"):
            safefile.safe_tensors(path)


def test_no_changed_byte_passes_that_the_reference_refuses() -> None:
    whole = save({"a": np.arange(6, dtype=np.float32), "b": np.ones((2, 2))}, metadata={"k": "v"})
    rng, refused = np.random.default_rng(0), 0
    for at in range(len(whole)):
        for value in rng.integers(0, 256, 6):
            blob = bytearray(whole)
            blob[at] = value
            try:
                ours: Any = safefile.tensors_of(blob, "x")
            except VisumError:
                ours, refused = None, refused + 1
            try:
                reference = {name: info["shape"] for name, info in safetensors.deserialize(bytes(blob))}
            except safetensors.SafetensorError:
                assert ours is None, f"byte {at} = {value}"
            else:
                assert ours is None or {k: list(v.shape) for k, v in ours.items()} == reference
    assert refused > 100


def test_what_is_no_regular_file_is_neither_opened_nor_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name, words in (("pipe", "pipe"), (".", "a folder"), ("nothing", "does not exist"), ("link", "does not exist")):
        for read in (safefile.safe_tensors, safefile.refuse_pickle, safefile.safe_json):
            with pytest.raises(ModelError, match=rf"is a link|{words}"):
                read(tmp_path / name)
    with pytest.raises(ModelError, match="cannot be read"):
        safefile.safe_tensors("a\0b")


def test_read_bytes_follows_no_link_and_stops_at_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert safefile.read_bytes(tmp_path / "a", limit=5) == b"12345"
    with pytest.raises(UnsafeFile, match="5 bytes"):
        safefile.read_bytes(tmp_path / "a", limit=4)
    with pytest.raises(ModelError, match="is a link"):
        safefile.read_bytes(tmp_path / "b", limit=5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def _deep(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_deep, inner), default=0)


@settings(max_examples=80, deadline=None)
@given(JSON, st.booleans())
def test_json_survives_and_its_depth_is_measured(value: Any, ascii_only: bool) -> None:
    blob = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert safefile.parse_json(blob, "x") == value
    assert safefile._extent(blob)[0] == _deep(value)


@pytest.mark.parametrize("text", ["[", '"[', '\\"[', "\\\\[", '\\\\"[[', "]]", '"]["'])
def test_brackets_in_strings_are_no_depth(text: str) -> None:
    assert safefile._extent(json.dumps({text: [text]}).encode())[0] == 2


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"nul", b'{"a":1}{', b"[1,]", b"[NaN]", b"[-Infinity]", b"[1e400]", b'{"a":1,"a":1}', b'["\xff"]',
     b'["\\ud800"]', b"\xef\xbb\xbf[]", b"[" + b"9" * 5000 + b"]", b"['a']", b'["a\nb"]', b"// a\n[]"],
)  # fmt: skip
def test_what_is_not_strict_json_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(CorruptFile, match=r"a\.json is not valid JSON"):
        safefile.safe_json(tmp_path / "a.json")


def test_json_is_bounded_in_size_depth_and_values(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"[" * 32 + b"]" * 32)
    assert safefile._extent(path.read_bytes())[0] == 32
    assert _deep(safefile.safe_json(path)) == 32
    path.write_bytes(b"[" * 33 + b"]" * 33)
    with pytest.raises(UnsafeFile, match="nested 33 deep"):
        safefile.safe_json(path)
    with pytest.raises(UnsafeFile, match="66 bytes"):
        safefile.safe_json(path, limit_bytes=65)
    path.write_bytes(b"[" + b"1," * 1_000_000 + b"1]")
    with pytest.raises(UnsafeFile, match=r"1,000,00\d values"):
        safefile.safe_json(path)
