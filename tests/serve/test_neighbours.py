"""Training pictures beside answers: only where they were allowed, and nothing but them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from served import Server, start

if TYPE_CHECKING:
    from visum.workflow.outcome import Run


@pytest.mark.slow
def test_nearest_training_pictures_stand_beside_an_answer(network_run: Run, split_digits: Path, tmp_path: Path) -> None:
    run = network_run.folder
    server = start(tmp_path / "log", run, "--neighbours", run)
    try:
        picture = sorted((split_digits / "train" / "3").glob("*.png"))[0].read_bytes()
        found = server.predict(picture).json["neighbours"]
        assert len(found) == 6
        assert [each["distance"] for each in found] == sorted(each["distance"] for each in found)
        assert found[0]["label"] == "3"
        assert found[0]["distance"] < 0.02  # the picture itself
        reply = server.ask("GET", found[1]["thumbnail"])
        assert (reply.status, reply.headers["content-type"]) == (200, "image/jpeg")
        assert Image.open(io.BytesIO(reply.data)).size[0] >= 8
        for path in (
            "0" * 64 + ".jpg",
            "..%2f..%2fmanifest.parquet",
            "%2e%2e/run.json",
            found[0]["thumbnail"][15:20] + ".jpg",
        ):
            assert server.ask("GET", f"/v1/neighbours/{path}").status == 404
    finally:
        assert server.end() == 0


def test_without_leave_there_are_none(server: Server, images: dict[str, bytes]) -> None:
    assert "neighbours" not in server.predict(images["coffee"]).json
    assert server.ask("GET", f"/v1/neighbours/{'0' * 64}.jpg").status == 404
