"""A request of the Open Inference Protocol (v2, https://github.com/kserve/open-inference-protocol), read without trust.

One input, either ``UINT8 [N, H, W, 3]`` (RGB pixels) or ``BYTES [N]`` (encoded pictures); its data stand in the JSON (numbers,
nested or not; base64) or behind it (the binary tensor data extension: ``binary_data_size``). Pure; runs in a decoder.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visum import safefile
from visum.data.decode import limits
from visum.errors import VisumError
from visum.serve.refusal import Refusal
from visum.types import Pixels

PICTURES = 64
"""In one request."""

INPUTS = "one input: UINT8 [N, H, W, 3], or BYTES [N] with encoded pictures"
OUTPUTS = ("probabilities", "label")

Encoded = bytes


def pictures_of(body: bytes, head: int) -> tuple[dict[str, Any], list[Encoded | Pixels]]:
    """The pictures of a request, and what it says besides.

    Args:
        body: the whole request.
        head: bytes of its JSON (``Inference-Header-Content-Length``); 0: all of it.

    Returns:
        ``{"id": str, "outputs": [[name, binary], …]}``, and N encoded pictures or uint8 ``[H, W, 3]`` each.

    Raises:
        Refusal: 400, and what is wrong.
    """
    if head > len(body):
        raise Refusal(400, f"Inference-Header-Content-Length is {head:,}, the request has {len(body):,} bytes")
    text, rest = (body[:head], body[head:]) if head else (body, b"")
    request = _parsed(text)
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(400, "inputs is no list of one tensor", INPUTS)
    tensor = inputs[0]
    kind, shape, asked = tensor.get("datatype"), _shape(tensor.get("shape")), request.get("id", "")
    if not isinstance(asked, str) or len(asked) > 128:
        raise Refusal(400, "id is no text of at most 128 characters")
    parameters = _parameters(tensor)
    if "binary_data_size" in parameters:
        size = parameters["binary_data_size"]
        if type(size) is not int or size != len(rest):
            raise Refusal(400, f"binary_data_size is {_short(size)}, {len(rest):,} bytes are behind the JSON")
        if "data" in tensor:
            raise Refusal(400, "data stands in the JSON and behind it", "one of the two")
        data: Any = rest
    elif rest:
        raise Refusal(400, f"{len(rest):,} bytes behind the JSON that no input claims", "binary_data_size")
    else:
        data = tensor.get("data")
    said = {"id": asked, "outputs": _outputs(request)}
    if kind == "BYTES":
        return said, list(_encoded(data, shape))
    if kind == "UINT8":
        return said, list(_pixels(data, shape))
    raise Refusal(400, f"datatype is {_short(kind)}", INPUTS)


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        request = safefile.parse_json(text, "the request")
    except VisumError as error:
        many = "values" in error.got
        next = "pixels as binary tensor data, or encoded pictures (BYTES)" if many else "valid JSON"
        raise Refusal(400, error.got, next) from error
    if not isinstance(request, dict):
        raise Refusal(400, "the request is no JSON object", '{"inputs": [{"name", "shape", "datatype", "data"}]}')
    return request


def _shape(shape: Any) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(n) is int and 0 < n < 1 << 31 for n in shape) or len(shape) > 4:
        raise Refusal(400, f"shape is {_short(shape)}", INPUTS)
    if not shape or shape[0] > PICTURES:
        raise Refusal(400, f"shape is {_short(shape)}", f"1 to {PICTURES} pictures in one request")
    return tuple(shape)


def _parameters(of: Mapping[str, Any]) -> Mapping[str, Any]:
    found = of.get("parameters", {})
    if not isinstance(found, dict):
        raise Refusal(400, "parameters is no JSON object")
    return found


def _outputs(request: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """(name, whether its data come behind the JSON) of each output that is wanted; all where none is named."""
    binary = _parameters(request).get("binary_data_output", False) is True
    wanted = request.get("outputs", [{"name": name} for name in OUTPUTS])
    if not isinstance(wanted, list) or not all(isinstance(one, dict) for one in wanted) or len(wanted) > len(OUTPUTS):
        raise Refusal(400, "outputs is no list of tensors", f"of {', '.join(OUTPUTS)}")
    found = []
    for one in wanted:
        if one.get("name") not in OUTPUTS:
            raise Refusal(400, f"no output {_short(one.get('name'))}", f"{', '.join(OUTPUTS)}")
        found.append((str(one["name"]), _parameters(one).get("binary_data", binary) is True))
    return found


def _encoded(data: Any, shape: Sequence[int]) -> list[Encoded]:
    if math.prod(shape) != shape[0]:
        raise Refusal(400, f"shape is {list(shape)}", "BYTES [N]")
    if isinstance(data, bytes):
        parts, at = [], 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "little")
            if at + 4 + size > len(data):
                raise Refusal(400, "a length within the binary data points behind their end")
            parts.append(data[at + 4 : at + 4 + size])
            at += 4 + size
            if len(parts) > PICTURES:
                break
    elif isinstance(data, list) and all(isinstance(one, str) for one in data):
        try:
            parts = [base64.b64decode(one, validate=True) for one in data]
        except (binascii.Error, ValueError) as error:
            raise Refusal(400, "data are not base64", "each picture's bytes in base64") from error
    else:
        raise Refusal(400, "data is no list of texts", "each picture's bytes in base64")
    if len(parts) != shape[0]:
        raise Refusal(400, f"shape says {shape[0]} pictures, data hold {len(parts)}")
    return parts


def _pixels(data: Any, shape: Sequence[int]) -> Pixels:
    if len(shape) != 4 or shape[3] != 3:
        raise Refusal(400, f"shape is {list(shape)}", "UINT8 [N, H, W, 3]")
    limits.check_size("tensor", shape[2], shape[1])
    if isinstance(data, bytes):
        found = np.frombuffer(data, np.uint8)
    else:
        try:
            numbers = np.asarray(data)
        except ValueError as error:
            raise Refusal(400, "data are ragged", "as many numbers in each list") from error
        if numbers.dtype.kind not in "iu" or (numbers.size and (numbers.min() < 0 or numbers.max() > 255)):
            raise Refusal(400, "data are no whole numbers from 0 to 255", "UINT8")
        if numbers.ndim != 1 and numbers.shape != tuple(shape):
            raise Refusal(400, f"data are {list(numbers.shape)}, shape is {list(shape)}")
        found = numbers.astype(np.uint8).reshape(-1)
    if found.size != math.prod(shape):
        raise Refusal(400, f"shape needs {math.prod(shape):,} numbers, data hold {found.size:,}")
    return found.reshape(shape)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
