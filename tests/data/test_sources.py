"""What ``read`` and ``images`` promise whatever the layout: order of classes, task, groups, arguments, paths."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sourced import kinds, only, refused, rows, table, tops

from visum.data.decode import decode
from visum.data.load import location
from visum.data.sources import images, ordered, read
from visum.errors import DataError, UsageError
from visum.types import Manifest

NAMES = st.lists(st.one_of(st.text(min_size=1, max_size=6), st.from_regex(r"[0-9]{1,5}", fullmatch=True)), max_size=12)


@given(NAMES, NAMES)
def test_a_class_more_never_moves_the_others(some: list[str], more: list[str]) -> None:
    everything = ordered([*some, *more])
    assert sorted(everything) == sorted({*some, *more})
    assert tuple(name for name in everything if name in set(some)) == ordered(some)
    shuffled = [*some, *more, *some]
    random.Random(len(some)).shuffle(shuffled)
    assert ordered(shuffled) == everything


def test_numbers_are_ordered_by_value_and_words_by_letters() -> None:
    assert ordered(["10", "9", "007", "b", "A", "a", "B", "1" * 5000]) == (
        *("007", "9", "10", "1" * 5000),
        *("A", "a", "B", "b"),
    )


def test_a_class_that_one_split_lacks_does_not_shift_the_rest(digits: Path, tmp_path: Path) -> None:
    full = read(
        tops(digits, tmp_path / "a", ["train/ant", "train/bee", "train/cow", "test/ant", "test/bee", "test/cow"])
    )
    lacking = read(tops(digits, tmp_path / "b", ["train/ant", "train/bee", "train/cow", "test/cow"]))
    assert full.manifest.classes == lacking.manifest.classes == ("ant", "bee", "cow")
    assert not full.findings
    assert not lacking.findings


def test_a_class_only_in_validation_is_named(digits: Path, tmp_path: Path) -> None:
    found = read(tops(digits, tmp_path / "d", ["train/ant", "train/cow", "val/bee", "val/cow"]))
    assert found.manifest.classes == ("ant", "bee", "cow")
    finding = only(found, "class_without_training_images")
    assert finding.severity == "serious"
    assert "“bee”: images in validation or test but none to train on" in finding.message
    assert set(finding.ids) == {i for i in found.manifest.ids if "bee" in i}


def test_data_to_judge_by_needs_no_training_images(digits: Path, tmp_path: Path) -> None:
    assert not read(tops(digits, tmp_path / "d", ["test/ant", "test/bee"])).findings


def test_the_task_is_told_from_the_data_unless_given(digits: Path, tmp_path: Path) -> None:
    two, three = (tops(digits, tmp_path / str(n), "abc"[:n]) for n in (2, 3))
    assert read(two).manifest.task == "binary"
    assert read(three).manifest.task == "multiclass"
    assert read(two, task="multiclass").manifest.task == "multiclass"
    assert read(two, task="multilabel").manifest.task == "multilabel"
    refused(three, DataError, "task binary, but there are 3 classes: “a”, “b”, “c”", "exactly 2 classes", task="binary")
    refused(three, UsageError, "task 'multilable'; did you mean “multilabel”?", "binary, multiclass", task="multilable")


def test_one_class_reads_fine(digits: Path, tmp_path: Path) -> None:
    found = read(tops(digits, tmp_path / "d", ["only"], each=1))
    assert found.manifest.classes == ("only",)
    assert len(found.manifest) == 1
    assert not found.findings


def test_classes_of_a_model_are_kept_as_they_are(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat", "dog"])
    found = read(data, classes=["zebra", "dog", "cat"])
    assert found.manifest.classes == ("zebra", "dog", "cat")
    assert found.manifest.task == "multiclass"
    assert [row[1] for row in rows(found.manifest)] == [("cat",)] * 3 + [("dog",)] * 3
    assert set(found.manifest.labels) == {(2,), (1,)}
    error = refused(data, DataError, "1 class in the data that the model does not know: “cat”", classes=["Cats", "dog"])
    assert error.allowed == "some or all of “Cats”, “dog”"
    assert error.next == "rename “cat” to “Cats”"
    refused(data, DataError, "a model trained on these classes", classes=["x", "y"])
    refused(data, UsageError, "at least one name, each once", classes=["cat", "cat"])
    refused(data, UsageError, "at least one name, each once", classes="cat")


def test_groups_from_names(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat", "dog"])
    whole = read(data, group_regex="cat|dog").manifest
    assert set(whole.groups) == {"cat", "dog"}
    first = read(data, group_regex=r"(c)at/\d+(\d)")
    assert set(first.manifest.groups) == {"c", ""}
    assert "matches nothing in 3 of 6 names" in only(first, "group_unmatched").message
    assert only(read(data, group_regex="patient"), "group_unmatched").severity == "warning"
    assert kinds(read(data, group_regex="(x)?at|dog")) == ["group_unmatched"]
    refused(data, UsageError, "“(” is not a regular expression", "at character 1", "patient7_003.png", group_regex="(")
    refused(data, UsageError, "both given", "one of the two", group_regex="a", group_column="b")


def test_arguments_are_checked_before_anything_is_read(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", UsageError, "regular expression", group_regex="[")
    refused(tmp_path / "nowhere", UsageError, "an empty delimiter", delimiter="")


def test_names_that_look_alike_are_kept_apart_and_named(digits: Path, tmp_path: Path) -> None:
    found = read(tops(digits, tmp_path / "d", ["Cat", "cat", "dog", "e\u0301", "\u00e9"]))
    assert found.manifest.classes == ("Cat", "cat", "dog", "e\u0301", "\u00e9")
    message = only(found, "similar_class_names").message
    assert "“Cat”, “cat”; “e\u0301”, “\u00e9”. They are kept apart" in message
    assert "dog" not in message


def test_a_path_where_nothing_is(digits: Path, tmp_path: Path) -> None:
    tops(digits, tmp_path / "birds", ["owl"])
    refused(tmp_path / "brids", DataError, "nothing is at", "did you mean “birds”?", "a folder of class folders")
    refused(tmp_path / "no" / "where", DataError, "nothing is at")
    refused("https://example.org/a.zip", DataError, "nothing is at", "on this machine")
    refused("a\0b", DataError, "nothing is at")


def test_files_that_are_no_data_set(digits: Path, tmp_path: Path) -> None:
    picture = sorted((digits / "3").iterdir())[0]
    refused(picture, DataError, "is a single picture (PNG)", "visum predict BUNDLE FILE")
    for name, content, what in (
        ("a.pdf", b"%PDF-1.7", "a PDF document"),
        ("notes.text", b"hello", "is text"),
        ("b.bin", b"\1\2\3\4", "a kind that is not known"),
        ("c.bin", b"", "is empty"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, DataError, what, "a CSV, Parquet, JSON Lines or JSON table")
    os.mkfifo(tmp_path / "pipe.csv")
    refused(tmp_path / "pipe.csv", DataError, "a pipe, socket or device")
    refused("/dev/zero", DataError, "a pipe, socket or device")


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may read everything")
def test_what_may_not_be_read(digits: Path, tmp_path: Path) -> None:
    csv = table(tmp_path / "a.csv", [["path", "label"], ["x.png", "y"]])
    csv.chmod(0)
    refused(csv, DataError, "may not be read", "other permissions")
    folder = tops(digits, tmp_path / "d", ["cat", "dog"])
    (folder / "dog").chmod(0)
    try:
        assert only(read(folder), "unreadable_folder").ids == ("dog",)
    finally:
        (folder / "dog").chmod(0o755)


def test_a_manifest_survives_its_file(digits: Path, tmp_path: Path) -> None:
    found = read(tops(digits, tmp_path / "d", ["train/cat", "test/dog"]), group_regex="cat|dog").manifest
    found.save(tmp_path / "m.parquet")
    again = Manifest.load(tmp_path / "m.parquet")
    assert rows(again) == rows(found)
    assert again.paths.tolist() == found.paths.tolist()
    assert again.root == found.root


def test_images_lists_files_and_folders(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat", "deep/er"], each=2)
    (data / "cat" / ".DS_Store").write_bytes(b"x")
    (data / "cat" / "notes.txt").write_text("no picture")
    (data / "cat" / "readme").write_text("who knows")
    table = images([data / "deep", data / "cat"])
    assert table.root == str(data)
    assert table.classes == ()
    assert [i.rpartition("/")[0] for i in table.ids] == ["deep/er", "deep/er", "cat", "cat", "cat"]
    assert set(table.labels) == {()}
    for row in range(4):
        assert decode(location(table, row)).format == "PNG"


def test_images_takes_what_was_named_as_it_is_and_once(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tops(digits, tmp_path / "d", ["cat"], each=2)
    (data / "notes.txt").write_text("named, so listed")
    first = sorted((data / "cat").iterdir())[0]
    monkeypatch.chdir(data / "cat")
    table = images([first, "../notes.txt", "../cat", first.name])
    assert table.ids.tolist()[:2] == [f"cat/{first.name}", "notes.txt"]
    assert len(table) == 3
    alone = images([first.name])
    assert alone.root == str(data / "cat")
    assert alone.ids.tolist() == [first.name]


def test_images_follows_a_link_that_was_named_but_none_that_was_found(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat"], each=1)
    (tmp_path / "named").symlink_to(sorted((digits / "5").iterdir())[0])
    (data / "cat" / "found").symlink_to(sorted((digits / "5").iterdir())[0])
    table = images([tmp_path / "named", data])
    assert [i for i in table.ids if "found" in i] == []
    assert decode(location(table, 0)).format == "PNG"


def test_images_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"nothing is at .*did you mean “photo\.jpg”"):
        images([tmp_path / "foto.jpg"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in"):
        images([tmp_path / "empty"])
    for nothing in ([], "a.jpg"):
        with pytest.raises(UsageError, match="no files to look at"):
            images(nothing)


def test_photos_of_garments(clothing: Path) -> None:
    found = read(clothing)
    assert not found.findings
    assert len(found.manifest) == 3781
    assert len(found.manifest.classes) == 10
    on_disk = {str(p.relative_to(clothing)) for p in clothing.rglob("*.jpg")}
    assert set(found.manifest.ids) == on_disk
    for i, label, split, _ in rows(found.manifest):
        assert i.split("/")[:2] == [split, *label]


def test_a_folder_that_moves_keeps_its_ids(digits: Path, tmp_path: Path) -> None:
    before = rows(read(tops(digits, tmp_path / "d", ["cat", "dog"])).manifest)
    shutil.move(tmp_path / "d", tmp_path / "e")
    (tmp_path / "link").symlink_to("e")
    assert rows(read(tmp_path / "e").manifest) == rows(read(tmp_path / "link").manifest) == before
