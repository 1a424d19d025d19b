"""The API as clients meet it, against a real server: what is asked is answered, as the library answers."""

from __future__ import annotations

import base64
import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from served import BYTES, Server, expected, form

from visum.data.decode import decode
from visum.serve import guard
from visum.ship import bundle as bundles

Images = dict[str, bytes]


def test_a_picture_gets_what_the_library_says(server: Server, images: Images, bundle: Path) -> None:
    shipped = bundles.read(bundle)
    for data, wanted in zip(images.values(), expected(shipped, list(images.values())), strict=True):
        reply = server.predict(data, "?top=0")
        said = reply.json
        assert reply.status == 200
        assert (said["model"], said["version"], said["task"]) == ("things", bundles.digest(bundle)[:12], "multiclass")
        got = {each["class"]: each["probability"] for each in said["predictions"]}
        np.testing.assert_allclose([got[name] for name in shipped.classes], wanted, rtol=0, atol=1e-3)
        assert said["labels"] == [shipped.classes[int(wanted.argmax())]] == [said["predictions"][0]["class"]]
        p = [each["probability"] for each in said["predictions"]]
        assert p == sorted(p, reverse=True)
        assert set(said["seconds"]) == {"queue", "decode", "run"}
        assert said["notes"] == []
        assert reply.headers["x-request-id"] == said["id"]


def test_top_is_five_unless_said(server: Server, images: Images) -> None:
    assert len(server.predict(images["coffee"]).json["predictions"]) == 5
    assert len(server.predict(images["coffee"], "?top=2").json["predictions"]) == 2
    assert len(server.predict(images["coffee"], "?top=0").json["predictions"]) == 33
    assert server.predict(images["coffee"], "?top=-1").status == 400


def test_notes_say_what_was_altered(server: Server) -> None:
    import corpus

    said = server.predict(corpus.saved(corpus.photo(), "JPEG", exif=corpus.exif(6))).json
    assert "rotated by EXIF orientation 6" in said["notes"]


def test_one_bad_file_of_a_form_fails_alone(server: Server, images: Images) -> None:
    files = [("a.jpg", images["coffee"]), ("b\u20ac.txt", b"no picture"), ("c.jpg", images["chelsea"])]
    reply = server.ask("POST", "/v1/predict?top=1", *form(files))
    assert reply.status == 200
    first, bad, last = reply.json["results"]
    assert [each["name"] for each in reply.json["results"]] == ["a.jpg", "b\u20ac.txt", "c.jpg"]
    assert set(bad) == {"name", "error"}
    assert set(bad["error"]) == {"message", "next"}
    assert first["labels"] == server.predict(images["coffee"]).json["labels"]
    assert last["labels"] == server.predict(images["chelsea"]).json["labels"]
    assert first["id"] != last["id"]


def test_explanations_are_grids_that_point_at_something(server: Server, images: Images) -> None:
    said = server.ask("POST", "/v1/explain", images["coffee"], BYTES).json
    grid = np.array(said["map"])
    assert grid.shape == (7, 7)
    assert grid.min() >= 0
    assert grid.max() == 1
    assert said["method"] == "occlusion"
    plain = server.predict(images["coffee"]).json["predictions"][0]
    assert (said["class"], said["probability"]) == (plain["class"], pytest.approx(plain["probability"], abs=1e-4))
    other = server.ask("POST", "/v1/explain?class=espresso", images["coffee"], BYTES).json
    assert other["class"] == "espresso"
    assert server.ask("POST", "/v1/explain?class=nothing", images["coffee"], BYTES).status == 404


def test_models_are_listed(server: Server, bundle: Path) -> None:
    (one,) = server.ask("GET", "/v1/models").json["models"]
    shipped = bundles.read(bundle)
    assert (one["name"], one["default"], one["size"], one["golden"]) == ("things", True, 64, 3)
    assert one["version"] == bundles.digest(bundle)[:12]
    assert one["classes"] == list(shipped.classes)


def test_model_and_version_are_looked_up(server: Server, images: Images, bundle: Path) -> None:
    version = bundles.digest(bundle)[:12]
    assert server.predict(images["coffee"], f"?model=things&version={version}").status == 200
    for query in ("?model=other", "?model=things&version=000000000000", f"?version={version[:4]}", "?model="):
        assert server.predict(images["coffee"], query).status == 404


# ---- the Open Inference Protocol


def tensors(server: Server, body: Any, path: str = "/v2/models/things/infer", **headers: str) -> Any:
    reply = server.ask("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    return reply


def test_health_and_metadata(server: Server, bundle: Path) -> None:
    version = bundles.digest(bundle)[:12]
    assert server.ask("GET", "/v2/health/live").json == {"live": True}
    assert server.ask("GET", "/v2/health/ready").json == {"ready": True}
    assert server.ask("GET", "/v2").json["extensions"] == ["binary_tensor_data"]
    for path in ("/v2/models/things", f"/v2/models/things/versions/{version}"):
        said = server.ask("GET", path).json
        assert (said["name"], said["versions"]) == ("things", [version])
        assert said["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 33]}
        assert server.ask("GET", f"{path}/ready").json["ready"]
    assert server.ask("GET", "/v2/models/other").status == 404


def test_tensors_encoded_and_binary_agree(server: Server, images: Images) -> None:
    squares: NDArray[np.uint8] = np.stack([decode(data).pixels[:200, :200] for data in images.values()])
    n, h, w, _ = squares.shape
    plain = {"name": "image", "datatype": "UINT8", "shape": [n, h, w, 3]}
    nested = tensors(server, {"id": "seven", "inputs": [{**plain, "data": squares.tolist()}]}).json
    assert (nested["id"], nested["model_name"]) == ("seven", "things")
    p = np.array(nested["outputs"][0]["data"]).reshape(n, 33)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-4)

    head = json.dumps(
        {
            "inputs": [{**plain, "parameters": {"binary_data_size": squares.nbytes}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    reply = server.ask(
        "POST",
        "/v2/models/things/infer",
        head + squares.tobytes(),
        {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))},
    )
    size = int(reply.headers["inference-header-content-length"])
    outputs = json.loads(reply.data[:size])["outputs"]
    first = outputs[0]["parameters"]["binary_data_size"]
    floats = np.frombuffer(reply.data[size : size + first], "<f4").reshape(n, 33)
    np.testing.assert_allclose(floats, p, rtol=0, atol=1e-3)
    labels, at = [], size + first
    while at < len(reply.data):
        (length,) = struct.unpack_from("<I", reply.data, at)
        labels.append(reply.data[at + 4 : at + 4 + length].decode())
        at += 4 + length
    assert labels == nested["outputs"][1]["data"]


def test_encoded_pictures_get_what_predict_says(server: Server, images: Images) -> None:
    data = [base64.b64encode(each).decode() for each in images.values()]
    body = {
        "inputs": [{"name": "encoded", "datatype": "BYTES", "shape": [3], "data": data}],
        "outputs": [{"name": "label"}],
    }
    (output,) = tensors(server, body).json["outputs"]
    assert output["data"] == [server.predict(each).json["labels"][0] for each in images.values()]
    behind = b"".join(struct.pack("<I", len(each)) + each for each in images.values())
    del body["inputs"][0]["data"]  # type: ignore[attr-defined]
    body["inputs"][0]["parameters"] = {"binary_data_size": len(behind)}  # type: ignore[index]
    head = json.dumps(body).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    reply = server.ask("POST", "/v2/models/things/infer", head + behind, headers)
    assert reply.json["outputs"][0]["data"] == output["data"]


# ---- around the answers


def test_metrics_are_prometheus_text_and_count(server: Server, images: Images) -> None:
    before = (
        server.gauge('visum_requests_total{method="POST",route="/v1/predict",status="200"}')
        if server.predict(images["coffee"])
        else 0
    )
    server.predict(images["coffee"])
    text = server.ask("GET", "/metrics").data.decode()
    assert server.gauge('visum_requests_total{method="POST",route="/v1/predict",status="200"}') == before + 1
    sample = r'[a-z_]+(\{[a-z]+="(\\.|[^"\\])*"(,[a-z]+="(\\.|[^"\\])*")*\})? [0-9.e+-]+'
    for line in text.splitlines():
        assert line.startswith("# ") or re.fullmatch(sample, line), line
    assert server.gauge("visum_ready") == 1


def test_every_route_is_described_and_every_description_is_a_route(server: Server) -> None:
    paths = server.ask("GET", "/openapi.json").json["paths"]
    for path, operations in paths.items():
        for method in operations:
            wrong = "GET" if method == "post" else "POST"
            known = path.format(name="things", version="x")
            assert server.ask(wrong, known).status in (405, 404), path  # 404: /page/{name} and the like
            if "{" not in path:
                assert server.ask(wrong, known).status == 405
    from visum.serve import protocol, routes

    listed = {path for _, path in (*routes.ROUTES, *protocol.ROUTES)} - {"/v1/feedback"}
    assert listed <= set(paths)


def test_the_page_is_there_with_a_strict_policy(server: Server) -> None:
    reply = server.ask("GET", "/")
    assert reply.status == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    for source in re.findall(r'(?:src|href)="(page/[^"]+)"', reply.data.decode()):
        assert server.ask("GET", f"/{source}").status == 200
    policy = reply.headers["content-security-policy"]
    assert policy == guard.POLICY
    assert "unsafe" not in policy
    assert "*" not in policy
    for name, value in (("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer")):
        assert reply.headers[name] == value


def test_log_lines_are_json_with_the_ids_of_requests(server: Server, images: Images) -> None:
    id = server.predict(images["coffee"]).json["id"]
    given = server.predict(images["coffee"], **{"X-Request-Id": "mine-7"}).json["id"]
    assert given == "mine-7"
    assert server.predict(images["coffee"], **{"X-Request-Id": "not mine\t<b>"}).json["id"] != "not mine\t<b>"
    (line,) = [line for line in server.lines("request") if line["id"] == id]
    assert (line["method"], line["path"], line["status"]) == ("POST", "/v1/predict", 200)
    assert line["seconds"] > 0


def test_torch_is_never_loaded(server: Server) -> None:
    maps = Path(f"/proc/{server.process.pid}/maps").read_text()
    assert "openvino" in maps
    assert "libtorch" not in maps
    code = "import sys; import visum.serve.launch, visum.serve.app; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
