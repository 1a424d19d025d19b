"""What the server offers, as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.0)."""

from __future__ import annotations

from typing import Any

_TEXT, _NUMBER, _TRUTH = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
_BYTES = {"schema": {"type": "string", "format": "binary"}}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


SCHEMAS: dict[str, Any] = {
    "Answer": _object(
        id=_TEXT,
        model=_TEXT,
        version=_TEXT,
        task={"enum": ["binary", "multiclass", "multilabel"]},
        predictions=_list(_object(**{"class": _TEXT, "probability": _NUMBER})),
        labels=_list(_TEXT),
        set=_list(_TEXT),
        coverage=_NUMBER,
        unknown=_TRUTH,
        neighbours=_list(_object(label=_TEXT, distance=_NUMBER, thumbnail=_TEXT)),
        notes=_list(_TEXT),
        seconds=_object(queue=_NUMBER, decode=_NUMBER, run=_NUMBER),
    ),
    "Answers": _object(id=_TEXT, results=_list(_object(name=_TEXT, error=_object(message=_TEXT, next=_TEXT)))),
    "Error": _object(error=_object(message=_TEXT, next=_TEXT), id=_TEXT),
    "Explanation": _object(**{"class": _TEXT, "probability": _NUMBER, "map": _list(_list(_NUMBER)), "method": _TEXT}),
    "Models": _object(
        models=_list(
            _object(
                name=_TEXT,
                version=_TEXT,
                default=_TRUTH,
                task=_TEXT,
                classes=_list(_TEXT),
                size={"type": "integer"},
                fit=_TEXT,
                thresholds=_list(_NUMBER),
                created=_TEXT,
                golden={"type": "integer"},
            )
        ),
        feedback=_TRUTH,
    ),
    "Reload": _object(model=_TEXT, new=_TRUTH, versions=_list(_TEXT)),
    "Feedback": _object(id=_TEXT, label=_TEXT),
    "Inference": _object(id=_TEXT, inputs=_list({"type": "object"}), outputs=_list({"type": "object"})),
    "Any": {"type": "object"},
}

_PICTURE = {
    "application/octet-stream": _BYTES,
    "image/*": _BYTES,
}
_FORM = {"multipart/form-data": {"schema": _object(file=_list({"type": "string", "format": "binary"}))}}
_JSON = "application/json"
_REFUSED = (400, 401, 403, 404, 408, 413, 415, 503)


def _query(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": _TEXT} for name in names]


def _does(what: str, answer: str, body: dict[str, Any] | None = None, asks: list[dict[str, Any]] | None = None) -> Any:
    """One operation."""
    refused = {str(n): {"description": "refused", "content": {_JSON: {"schema": _ref("Error")}}} for n in _REFUSED}
    found: dict[str, Any] = {
        "summary": what,
        "responses": {"200": {"description": "OK", "content": {_JSON: {"schema": _ref(answer)}}}, **refused},
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": body}
    if asks:
        found["parameters"] = asks
    return found


def document(version: str, feedback: bool) -> dict[str, Any]:
    """The whole description; ``feedback``: whether labels are taken back."""
    tensors = {_JSON: {"schema": _ref("Inference")}, "application/octet-stream": _BYTES}
    name = [{"name": "name", "in": "path", "required": True, "schema": _TEXT}]
    numbered = [*name, {"name": "version", "in": "path", "required": True, "schema": _TEXT}]
    paths: dict[str, Any] = {
        "/v1/predict": {
            "post": _does(
                "What is on a picture, or on each of several",
                "Answer",
                _PICTURE | _FORM,
                _query("model", "version", "top"),
            )
        },
        "/v1/explain": {
            "post": _does(
                "Which parts of a picture speak for a class",
                "Explanation",
                _PICTURE,
                _query("model", "version", "class"),
            )
        },
        "/v1/neighbours/{name}": {"get": _does("A small training picture, only with --neighbours", "Any", asks=name)},
        "/v1/models": {"get": _does("What is served", "Models")},
        "/v1/models/{name}/reload": {"post": _does("Read a model's folder again", "Reload", asks=name)},
        "/v2": {"get": _does("The server", "Any")},
        "/v2/health/live": {"get": _does("Whether the process answers", "Any")},
        "/v2/health/ready": {"get": _does("Whether requests are taken", "Any")},
        "/metrics": {"get": _does("Counts and times for Prometheus (text)", "Any")},
        "/openapi.json": {"get": _does("This", "Any")},
        "/": {"get": _does("The page", "Any")},
        "/page/{name}": {"get": _does("A file of the page", "Any", asks=name)},
    }
    for path, asks in (("/v2/models/{name}", name), ("/v2/models/{name}/versions/{version}", numbered)):
        paths[path] = {"get": _does("What a model takes and gives", "Any", asks=asks)}
        paths[f"{path}/ready"] = {"get": _does("Whether a model takes requests", "Any", asks=asks)}
        paths[f"{path}/infer"] = {"post": _does("Tensors in, tensors out", "Any", tensors, asks)}
    if feedback:
        paths["/v1/feedback"] = {
            "post": _does("What a picture really showed", "Feedback", {_JSON: {"schema": _ref("Feedback")}})
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "visum serve", "version": version},
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }
