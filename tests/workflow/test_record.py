"""The run folder: owned by one run, told from other folders, swept after a kill, and counting looks at the test images."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from visum.errors import Interrupted, Locked, StorageError, UsageError
from visum.storage import lock
from visum.types import Manifest, column, manifest
from visum.workflow.record import FILES, data_facts, open_test, opened, openings, saving
from workflow.helping import facts

SETTINGS: dict[str, Any] = {"data": Path("d"), "out": None, "budget": None, "overwrite": False, "seed": 3, "size": 64}


def test_the_record_is_on_disk_from_the_first_moment_and_says_how_it_ended(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with opened(out, SETTINGS, "visum train d") as record:
        assert facts(out)["status"] == "running"
        assert "seed = 3" in (out / "recipe.toml").read_text()
        record["extra"] = np.float32(0.5)
    assert (facts(out)["status"], facts(out)["extra"]) == ("finished", 0.5)
    for error, status in (
        (Interrupted(15), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (ValueError(), "failed"),
    ):
        with pytest.raises(type(error)), opened(out, SETTINGS, "visum train d"):
            raise error
        assert facts(out)["status"] == status


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with lock(tmp_path), pytest.raises(Locked, match="another run is writing"), opened(tmp_path, SETTINGS, ""):
        pass
    with opened(tmp_path, SETTINGS, ""):
        pass


def test_settings_that_decide_nothing_may_change(tmp_path: Path) -> None:
    with opened(tmp_path, SETTINGS, ""):
        pass
    for change in ({"budget": 60.0}, {"out": Path("elsewhere")}):
        with opened(tmp_path, {**SETTINGS, **change}, ""):
            pass
    with pytest.raises(UsageError, match="other data or settings"), opened(tmp_path, {**SETTINGS, "seed": 4}, ""):
        pass


def test_what_was_planned_stays_planned_where_the_same_run_has_as_much_time(tmp_path: Path) -> None:
    timed = {**SETTINGS, "budget": 60.0}
    with opened(tmp_path, timed, "") as facts:
        facts.update(budget=60.0, plan={"size": 96}, finetune={"cut": "blocks.4"})
    with opened(tmp_path, timed, "") as facts:
        assert (facts["plan"], facts["finetune"]) == ({"size": 96}, {"cut": "blocks.4"})
        facts["budget"] = 60.0
    with opened(tmp_path, {**timed, "budget": 600.0}, "") as facts:
        assert (facts["plan"], facts["finetune"]) == (None, None)


def test_what_settings_merely_name_makes_another_run(tmp_path: Path) -> None:
    with opened(tmp_path, SETTINGS, "", beyond={"teacher_digest": "a"}):
        pass
    with opened(tmp_path, SETTINGS, "", beyond={"teacher_digest": "a"}):
        pass
    other = opened(tmp_path, SETTINGS, "", beyond={"teacher_digest": "b"})
    with pytest.raises(UsageError, match="other data or settings"), other:
        pass


def test_what_another_run_left_is_cleared_only_where_that_was_asked(tmp_path: Path) -> None:
    with opened(tmp_path, SETTINGS, ""):
        (tmp_path / "metrics.json").write_text("{}")
        (tmp_path / "bundle").mkdir()
        (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UsageError), opened(tmp_path, {**SETTINGS, "size": 96}, ""):
        pass
    assert (tmp_path / "metrics.json").exists()
    with opened(tmp_path, {**SETTINGS, "size": 96, "overwrite": True}, ""):
        assert not (tmp_path / "metrics.json").exists()
        assert not (tmp_path / "bundle").exists()
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_a_failed_run_without_results_may_be_followed_by_another(tmp_path: Path) -> None:
    with pytest.raises(ValueError), opened(tmp_path, SETTINGS, ""):
        raise ValueError
    with pytest.raises(OSError), opened(tmp_path, {**SETTINGS, "size": 96}, ""):  # noqa: PT012
        (tmp_path / "metrics.json").write_text("{}")
        raise OSError
    with pytest.raises(UsageError), opened(tmp_path, SETTINGS, ""):  # there is something to lose now
        pass


@pytest.mark.parametrize("text", ["{}", "[]", "", "{", '{"nodes": 3}', "\x00" * 10])
def test_a_run_json_of_something_else_is_not_ours(text: str, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(text)
    for overwrite in (False, True):
        with (
            pytest.raises(UsageError, match="holds other files"),
            opened(tmp_path, {**SETTINGS, "overwrite": overwrite}, ""),
        ):
            pass
    assert (tmp_path / "run.json").read_text() == text


def test_drafts_of_killed_runs_are_swept_and_nothing_else(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / f".{name}.x8f.tmp").write_text("half")
    (tmp_path / ".bundle.1.old").mkdir()
    (tmp_path / ".bundle.1.old" / "bundle.json").write_text("{}")
    with opened(tmp_path, SETTINGS, ""):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "run.json", "recipe.toml"}
    mine = tmp_path / ".notes.tmp"
    mine.write_text("mine")
    with opened(tmp_path, SETTINGS, ""):
        pass
    assert mine.read_text() == "mine"


def table(digests: list[str]) -> Manifest:
    n = len(digests)
    rows = manifest("/d", "multiclass", ("a", "b"), list(map(str, range(n))), [(0,)] * n, splits=["test"] * n)
    return replace(rows, sha256=column(digests))


def test_looks_at_the_same_test_images_are_counted_and_others_start_anew(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        with opened(tmp_path, SETTINGS, "") as record:
            open_test(record, table(["b", "a"]))
        assert facts(tmp_path)["test_openings"] == count
    with opened(tmp_path, SETTINGS, "") as record:
        open_test(record, table(["a", "b"]))  # another order, the same images
        assert record["test_openings"] == 4
        open_test(record, table(["a", "c"]))
        assert record["test_openings"] == 1


@pytest.mark.parametrize("count", ["many", None, [3], {}])
def test_a_count_that_is_none(count: object) -> None:
    assert openings({"test_openings": count}) == 0


def test_data_facts_count_each_class_in_each_split() -> None:
    rows = manifest(
        "/d", "multilabel", ("a", "b"), ["1", "2", "3"], [(0, 1), (), (1,)], splits=["train", "train", "test"]
    )
    found = data_facts(rows, [{"id": "x", "reason": "y"}], Path(os.fsdecode(b"/d/caf\xe9")))
    assert found["counts"] == {"train": [1, 1], "test": [0, 1]}
    assert found["splits"] == {"train": 2, "test": 1}
    assert (found["n"], found["classes"], found["path"]) == (3, ["a", "b"], "/d/caf\\xe9")
    json.dumps(found).encode()


def test_files_are_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    from safetensors import SafetensorError

    path = tmp_path / "manifest.parquet"
    path.write_text("old")
    with pytest.raises(RuntimeError), saving(path) as draft:  # noqa: PT012
        draft.write_text("half")
        raise RuntimeError
    with pytest.raises(StorageError, match="no space left while writing"), saving(path) as draft:  # noqa: PT012
        draft.write_text("half")
        raise OSError(28, "No space left on device")
    with pytest.raises(StorageError, match=r"cannot write .*manifest.parquet: I/O error"), saving(path) as draft:
        raise SafetensorError("I/O error")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["manifest.parquet"]
    with saving(path) as draft:
        pq.write_table(pa.table({"a": [1]}), str(draft))
    assert pq.read_table(path).to_pydict() == {"a": [1]}
