"""Tables and annotation files: against pandas' reading of the same file, and with every fault that people make in them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sourced import kinds, only, pictures, refused, rows, table, tops

from visum.data.sources import read
from visum.data.sources import tables as tables_module
from visum.data.sources.places import locate
from visum.errors import DataError


@pytest.fixture
def folder(digits: Path, tmp_path: Path) -> Path:
    """Twelve pictures in four folders whose names are not to be taken for classes by any table test."""
    return tops(digits, tmp_path / "d", ["a", "b", "c", "d"])


def labelled(folder: Path) -> list[list[object]]:
    return [[path, {"a": "cat", "b": "dog"}.get(path[0], "fox"), path[0]] for path in pictures(folder)]


@pytest.mark.parametrize(
    ("delimiter", "encoding", "name"),
    [
        (",", "utf-8", "t.csv"),
        (";", "utf-8", "t.csv"),
        ("\t", "utf-8", "t.tsv"),
        (",", "utf-8-sig", "T.CSV"),
        ("\t", "utf-16", "t.txt"),
    ],
)
def test_csv_says_what_pandas_reads(folder: Path, delimiter: str, encoding: str, name: str) -> None:
    lines = [["label", "note", "path"], *([label, 'a, b; "c"\td', p] for p, label, _ in labelled(folder))]
    path = table(folder / name, lines, delimiter=delimiter, encoding=encoding)
    found = read(path)
    theirs = pd.read_csv(path, sep=delimiter, encoding=encoding)
    assert [(i, label[0]) for i, label, _, _ in rows(found.manifest)] == list(
        zip(theirs.path, theirs.label, strict=True)
    )
    assert found.manifest.root == str(folder)
    assert found.manifest.task == "multiclass"
    assert not found.findings


def test_a_table_equals_the_folders_it_describes(digits: Path) -> None:
    other = read(digits).manifest
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(digits.parent)
        path = table(digits / ".all.csv", [["path", "label"], *([i, label[0]] for i, label, _, _ in rows(other))])
        found = read(os.path.relpath(path)).manifest
    path.unlink()
    assert rows(found) == rows(other)
    assert found.classes == other.classes


def test_named_columns_splits_and_groups(folder: Path) -> None:
    splits = ["Train", " TEST", "val", ""] * 3
    lines = [[p, label, s, g] for (p, label, g), s in zip(labelled(folder), splits, strict=True)]
    path = table(folder / "t.csv", [["file", "what", "part", "who"], *lines])
    options = {"path_column": "file", "label_column": "what", "split_column": "part"}
    found = read(path, group_column="who", **options)
    meaning = {"Train": "train", " TEST": "test", "val": "validation", "": ""}
    assert rows(found.manifest) == [(p, (label,), meaning[s], g) for p, label, s, g in lines]
    assert set(read(path, **options).manifest.groups) == {""}


@pytest.mark.parametrize("ending", ["parquet", "jsonl", "json", "odd"])
def test_the_same_rows_in_every_kind_of_table(folder: Path, ending: str) -> None:
    frame = pd.DataFrame(labelled(folder), columns=["path", "label", "group"])
    splits = ["train", None, "test"] * 4
    frame["split"] = splits
    path = folder / f"t.{ending}"
    if ending in ("parquet", "odd"):
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=ending == "jsonl")
    found = read(path, group_column="group").manifest
    expected = [(p, (label,), s or "", g) for (p, label, g), s in zip(labelled(folder), splits, strict=True)]
    assert rows(found) == expected


def test_numbers_as_labels(folder: Path) -> None:
    paths = pictures(folder)
    numbers = [10, 9, 2] * 4
    frames = {
        "whole": pd.Series(numbers),
        "with_gaps": pd.Series([np.nan, *numbers[1:]]),
        "text": pd.Series([str(n) for n in numbers]),
    }
    for name, column in frames.items():
        pd.DataFrame({"path": paths, "label": column}).to_parquet(folder / f"{name}.parquet")
        found = read(folder / f"{name}.parquet").manifest
        assert found.classes == ("2", "9", "10")
        assert [label for _, label, _, _ in rows(found)][1:] == [(str(n),) for n in numbers[1:]]
    assert read(folder / "with_gaps.parquet").manifest.labels[0] == ()
    records = [
        {"path": path, "label": number} for path, number in zip(paths, [float("nan"), 3, 4.0, 0.5] * 3, strict=True)
    ]
    (folder / "nan.jsonl").write_text("\n".join(map(json.dumps, records)))
    found = read(folder / "nan.jsonl").manifest
    assert [label for _, label, _, _ in rows(found)] == [(), ("3",), ("4",), ("0.5",)] * 3
    pd.DataFrame({"path": paths, "label": [True, False] * 6}).to_parquet(folder / "flags.parquet")
    assert read(folder / "flags.parquet").manifest.classes == ("False", "True")


@pytest.mark.parametrize("mark", ["|", ";"])
def test_labels_in_one_cell_are_recognised(folder: Path, mark: str) -> None:
    cells = ["cat", f"cat{mark}dog", f"dog {mark} fox{mark}", ""] * 3
    lines = list(zip(pictures(folder), cells, strict=True))
    found = read(table(folder / "t.csv", [["path", "label"], *lines]))
    assert found.manifest.task == "multilabel"
    assert found.manifest.classes == ("cat", "dog", "fox")
    assert [label for _, label, _, _ in rows(found.manifest)] == [("cat",), ("cat", "dog"), ("dog", "fox"), ()] * 3
    assert f"Labels are taken apart at “{mark}”, as in “cat{mark}dog”" in only(found, "labels_split").message
    whole = read(folder / "t.csv", task="multiclass")
    assert f"cat{mark}dog" in whole.manifest.classes
    assert not whole.findings


def test_labels_in_one_cell_are_told(folder: Path) -> None:
    lines = list(zip(pictures(folder), ["cat", "cat, dog"] * 6, strict=True))
    path = table(folder / "t.csv", [["path", "label"], *lines])
    assert read(path).manifest.classes == ("cat", "cat, dog")
    assert read(path, task="multilabel").manifest.classes == ("cat", "dog")
    assert read(path, delimiter=",").manifest.classes == ("cat", "dog")
    assert read(path, delimiter="&").manifest.classes == ("cat", "cat, dog")
    assert read(path, delimiter="&").manifest.task == "multilabel"
    refused(path, DataError, "has 2 classes: “cat”, “dog”", "--task multilabel", task="binary", delimiter=",")


def test_lists_of_labels(folder: Path) -> None:
    cells = [["cat"], ["dog", "cat"], [], None] * 3
    pq.write_table(pa.table({"path": pictures(folder), "label": cells}), folder / "t.parquet")
    found = read(folder / "t.parquet").manifest
    assert found.task == "multilabel"
    assert [set(label) for _, label, _, _ in rows(found)] == [{"cat"}, {"dog", "cat"}, set(), set()] * 3


def test_one_hot_columns(folder: Path) -> None:
    frame = pd.DataFrame(
        {"path": pictures(folder), "fox": [0, 1, 0] * 4, "cat": [1, 1, 0] * 4, "split": ["train"] * 12}
    )
    frame.to_csv(folder / "t.csv", index=False)
    frame.astype({"fox": float, "cat": bool}).to_parquet(folder / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        found = read(folder / name).manifest
        assert found.task == "multilabel"
        assert found.classes == ("cat", "fox")
        assert [set(label) for _, label, _, _ in rows(found)] == [{"cat"}, {"cat", "fox"}, set()] * 4
        assert set(found.splits) == {"train"}
    frame["fox"] = 1 - frame["cat"]
    frame.to_csv(folder / "one.csv", index=False)
    assert read(folder / "one.csv", task="binary").manifest.task == "binary"
    assert read(folder / "one.csv").manifest.task == "multilabel"


def test_no_column_of_labels(folder: Path) -> None:
    paths = pictures(folder)
    for header, cells, words in (
        (
            ["path", "lable"],
            ["cat"],
            ["no column “label”; did you mean “lable”?", "--label-column NAME, one of “lable”"],
        ),
        (["path", "x", "y"], [1, 2], ["nor is it one-hot, since “y” is not 0 or 1 throughout"]),
        (["path", "x", "y"], [1, ""], ["since “y” is not 0 or 1 throughout"]),
        (["path", "defect"], [1], ["no column “label”", "one of “defect”"]),
        (["path"], [], ["no column “label”", "a table with labels"]),
    ):
        refused(table(folder / "t.csv", [header, *([p, *cells] for p in paths)]), DataError, *words)
    refused(folder / "t.csv", DataError, "no column “labels”", "--label-column NAME", label_column="labels")


def test_no_column_of_paths(folder: Path) -> None:
    path = table(folder / "t.csv", [["image_path", "Label", "Paths"], ["a", "b", "c"]])
    error = refused(path, DataError, "has no column “path”; did you mean “Paths”?")
    assert error.allowed == "one of its columns: “image_path”, “Label”, “Paths”"
    assert error.next == "--path-column NAME, or a header that says path"
    refused(path, DataError, "no column “file”", path_column="file")
    good = table(folder / "t.csv", [["path", "label"], *(r[:2] for r in labelled(folder))])
    refused(good, DataError, "no column “patient”", "--group-column NAME", group_column="patient")
    refused(good, DataError, "no column “fold”", "--split-column NAME", split_column="fold")


def test_a_column_that_holds_no_paths(folder: Path) -> None:
    names = [[Path(p).stem, label] for p, label, _ in labelled(folder)]
    path = table(folder / "t.csv", [["path", "label"], *names])
    words = [f"none of 12 paths in the column “path” of “{path}” is a file", f"looked for at “{folder}/{names[0][0]}”"]
    refused(path, DataError, *words, "with the endings of the files", "--path-column NAME, one of “path”, “label”")
    refused(table(folder / "t.csv", [["path", "label"], ["", "x"]]), DataError, "is filled")


def test_all_rows_unlabelled(folder: Path) -> None:
    path = table(folder / "t.csv", [["path", "label"], *([p, " "] for p in pictures(folder))])
    refused(path, DataError, "none of 12 images", "has a label", "at least one labelled image", "fill the label column")


def test_unlabelled_rows_stay(folder: Path) -> None:
    cells = ["cat", "dog", ""] * 4
    found = read(table(folder / "t.csv", [["path", "label"], *zip(pictures(folder), cells, strict=True)])).manifest
    assert [label for _, label, _, _ in rows(found)] == [("cat",), ("dog",), ()] * 4
    assert found.task == "binary"


def test_an_unknown_split(folder: Path) -> None:
    path = table(folder / "t.csv", [["path", "label", "split"], *([p, "x", "trian"] for p in pictures(folder))])
    refused(
        path,
        DataError,
        "names splits that are not known: “trian”",
        "validation (val, valid, dev)",
        "--split-column NAME",
    )


def test_paths_out_of_the_folder_are_never_looked_at(
    folder: Path, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [line[:2] for line in labelled(folder)]
    outside = folder.parent / "d-secret"
    shutil.copytree(digits / "1", outside)
    inner = sorted(outside.iterdir())[0].name
    (folder / "link").symlink_to(outside)
    (folder / "a" / "out.png").symlink_to(outside / inner)
    (folder / "a" / "in.png").symlink_to(folder / pictures(folder)[0])
    bad = [
        f"../d-secret/{inner}",
        f"a/../../d-secret/{inner}",
        str(outside / inner),
        f"link/{inner}",
        "a/out.png",
        "/etc/passwd",
        f"{folder}/../d-secret/{inner}",
    ]
    looked: list[str] = []
    lstat = os.lstat
    monkeypatch.setattr(os, "lstat", lambda path, **k: (looked.append(os.fspath(path)), lstat(path, **k))[1])
    lines = [["path", "label"], *([p, "x"] for p in bad), ["a/in.png", "x"], *good]
    found = read(table(folder / "t.csv", lines))
    finding = only(found, "path_out_of_folder")
    assert finding.ids == tuple(bad)
    assert finding.severity == "serious"
    assert "7 paths of" in finding.message
    assert "lead out of its folder: left out. Move the table into the folder that holds the images" in finding.message
    assert "a/in.png" in found.manifest.ids
    assert len(found.manifest) == 13
    assert f"{folder}/link/{inner}" not in looked
    assert "/etc/passwd" not in looked
    alone = table(folder / "t.csv", lines[:8])
    refused(alone, DataError, "leads out of the folder", "or absolute ones inside it", "move the table into the folder")


def test_other_spellings_of_a_path_inside(folder: Path) -> None:
    first, second, third, fourth, *_ = pictures(folder)
    (folder.parent / "alias").symlink_to(folder)
    cells = [str(folder / first), f"./{second}", f"a/../{third}", " " + fourth.replace("/", "\\") + " "]
    path = table(folder / "t.csv", [["path", "label"], *([c, "x"] for c in cells)])
    assert read(path).manifest.ids.tolist() == [first, second, third, fourth]
    assert read(folder.parent / "alias" / "t.csv").manifest.ids.tolist() == [first, second, third, fourth]


def test_rows_without_a_file(folder: Path) -> None:
    os.mkfifo(folder / "a" / "pipe")
    bad = ["a/none.png", "", "a\0b", "https://example.org/a.png", "x" * 5000]
    special = ["a", "a/pipe", "."]
    lines = [["path", "label"], *([p, "ghost"] for p in [*bad, *special]), *(r[:2] for r in labelled(folder))]
    found = read(table(folder / "t.csv", lines))
    assert only(found, "missing_file").ids == tuple(bad)
    assert only(found, "special_file").ids == tuple(special)
    assert only(found, "missing_file").numbers["rows"] == 5
    assert len(found.manifest) == 12
    assert "ghost" not in found.manifest.classes


def test_rows_that_repeat_or_contradict(folder: Path) -> None:
    (first, *_), (second, *_), *others = labelled(folder)
    lines = [[first, "cat"], [f"./{first}", "cat"], [second, "cat"], [second, "dog"], *(o[:2] for o in others)]
    path = table(folder / "t.csv", [["path", "label"], *lines])
    found = read(path)
    assert only(found, "repeated_row").ids == (first,)
    assert only(found, "contradicting_rows").ids == (second,)
    assert only(found, "contradicting_rows").severity == "serious"
    assert found.manifest.ids.tolist() == [first, *(o[0] for o in others)]
    several = read(path, task="multilabel")
    assert dict(zip(several.manifest.ids, (r[1] for r in rows(several.manifest)), strict=True))[second] == (
        "cat",
        "dog",
    )
    assert kinds(several) == ["repeated_row"]
    split = table(folder / "t.csv", [["path", "label", "split"], [first, "cat", "train"], [first, "cat", "test"]])
    for task in (None, "multilabel"):
        words = ["listed more than once with different labels, splits or groups", "one row per image"]
        refused(split, DataError, *words, task=task)


def test_cells_that_a_spreadsheet_would_run_stay_text(folder: Path, digits: Path) -> None:
    formula = '=HYPERLINK("http:evil","x")'
    shutil.copy(sorted((digits / "1").iterdir())[0], folder / formula)
    path = table(folder / "t.csv", [["path", "label"], [formula, "@SUM(1)"], *(r[:2] for r in labelled(folder))])
    found = read(path).manifest
    assert formula in found.ids
    assert "@SUM(1)" in found.classes


def test_bytes_that_are_no_utf_8(folder: Path, digits: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy(sorted((digits / "1").iterdir())[0], folder / name)
    path = table(folder / "t.csv", [["path", "label"], [name, os.fsdecode(b"\xe9t\xe9")], [pictures(folder)[0], "x"]])
    found = read(path).manifest
    assert found.paths[0] == name
    assert found.ids[0] == "caf\\xe9.png"
    assert found.classes == ("\\xe9t\\xe9", "x")
    (folder / "t.jsonl").write_text(
        json.dumps({"path": "\ud800.png", "label": "x"})
        + "\n"
        + json.dumps({"path": pictures(folder)[0], "label": "\ud800"})
    )
    odd = read(folder / "t.jsonl")
    assert odd.manifest.classes == ("\\ud800",)
    assert only(odd, "missing_file").ids == ("\\ud800.png",)


def test_broken_csv(folder: Path) -> None:
    path = folder / "t.csv"
    for content, words in (
        (b"", ["has no header"]),
        (b"\n\n", ["has no header"]),
        (b"path,label\n", ["has no rows", "one row per image"]),
        (b"path,label\na/x.png,cat, dog\n", ["line 2 of", "has 3 cells, its header 2", "quotation marks"]),
        (b"path,path,label\n", ["names “path” more than once"]),
        (b'path,label\n"a' + b"b" * 200_000, ["field larger than field limit", "quotation marks closed"]),
        (b"\xff\xfepath\xd8", ["is no CSV that can be read"]),
    ):
        path.write_bytes(content)
        refused(path, DataError, *words)


def test_short_rows_and_blank_lines(folder: Path) -> None:
    first, second, *_ = pictures(folder)
    (folder / "t.csv").write_text(f"path,label,split\n{first},cat\n\n{second},dog,test,,\n")
    found = read(folder / "t.csv").manifest
    assert rows(found) == [(first, ("cat",), "", ""), (second, ("dog",), "test", "")]


def test_too_many_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [r[:2] for r in labelled(folder)]
    frame = pd.DataFrame(lines, columns=["path", "label"])
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    frame.to_json(folder / "t.jsonl", orient="records", lines=True)
    monkeypatch.setattr(tables_module, "MAX_ROWS", 11)
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        refused(folder / name, DataError, "has 12 rows", "at most 11")
    monkeypatch.setattr(tables_module, "MAX_ROWS", 12)
    assert len(read(folder / "t.csv").manifest) == 12
    monkeypatch.setattr(tables_module, "MAX_PARQUET_BYTES", 10)
    monkeypatch.setattr(tables_module, "MAX_JSON_BYTES", 10)
    for name in ("t.parquet", "t.jsonl"):
        refused(folder / name, DataError, "of cells", "only the columns of paths, labels, splits and groups")


def test_a_value_repeated_a_million_times_is_held_once(folder: Path) -> None:
    text = "long label " * 100
    pq.write_table(pa.table({"path": [pictures(folder)[0]] * 300_000, "label": [text] * 300_000}), folder / "t.parquet")
    cells = tables_module.read_parquet(str(folder / "t.parquet")).columns["label"]
    assert len(cells) == 300_000
    assert len({id(cell) for cell in cells}) == 1
    assert cells[0] == text


class Trap(pa.ExtensionType):  # type: ignore[misc]
    """An extension type that would be found out if anything called it."""

    def __init__(self) -> None:
        super().__init__(pa.string(), "visum.trap")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> Any:
        return cls()


def test_arrow_extension_types_and_nested_columns_are_refused(folder: Path) -> None:
    paths = pictures(folder)
    pa.register_extension_type(Trap())
    try:
        trap = pa.ExtensionArray.from_storage(Trap(), pa.array(["x"] * 12))
        pq.write_table(pa.table({"path": paths, "label": trap}), folder / "t.parquet")
        refused(
            folder / "t.parquet",
            DataError,
            "the column “label” of",
            "holds extension<visum.trap",
            "--label-column NAME",
        )
    finally:
        pa.unregister_extension_type("visum.trap")
    nested = pa.array([{"bytes": b"x", "path": "y"}] * 12)
    pq.write_table(pa.table({"path": nested, "label": ["x"] * 12}), folder / "t.parquet")
    refused(folder / "t.parquet", DataError, "the column “path” of", "holds struct<", "text, numbers, or lists of text")
    pq.write_table(pa.table({"path": paths, "a": [0] * 12, "b": nested}), folder / "t.parquet")
    refused(folder / "t.parquet", DataError, "nor is it one-hot, since “b” is not 0 or 1 throughout")


def test_a_pickle_in_a_parquet_schema_is_never_opened(folder: Path) -> None:
    marker = folder / "ran"
    pickled = b"cos\nsystem\n(S'touch " + os.fsencode(marker) + b"'\ntR."
    kind = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": pickled}
    schema = pa.schema([pa.field("path", pa.string()), pa.field("label", pa.string(), metadata=kind)])
    pq.write_table(pa.table([pictures(folder), ["x"] * 12], schema=schema), folder / "t.parquet")
    assert read(folder / "t.parquet").manifest.classes == ("x",)
    assert not marker.exists()


def test_damaged_parquet(folder: Path) -> None:
    frame = pd.DataFrame([r[:2] for r in labelled(folder)], columns=["path", "label"])
    frame.to_parquet(folder / "t.parquet")
    whole = (folder / "t.parquet").read_bytes()
    expected = rows(read(folder / "t.parquet").manifest)
    for at in range(0, len(whole), 37):
        (folder / "t.parquet").write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with contextlib.suppress(DataError):  # and no other error, and no crash
            read(folder / "t.parquet")
    for cut in (4, 100, len(whole) - 1):
        (folder / "t.parquet").write_bytes(whole[:cut])
        refused(
            folder / "t.parquet", DataError, "is no Parquet file that can be read", "a whole, unencrypted Parquet file"
        )
    (folder / "t.parquet").write_bytes(whole)
    assert rows(read(folder / "t.parquet").manifest) == expected


def test_broken_json(folder: Path) -> None:
    for name, content, words in (
        ("t.jsonl", b'{"path": 1}\n{"path"', ["line 2 of", "is no JSON"]),
        ("t.jsonl", b"[1]\n", ["record 1 of", "is list, not an object"]),
        ("t.jsonl", b"", ["has no rows"]),
        ("t.json", b"[" * 100_000, ["is no JSON: nested too deeply"]),
        ("t.json", b"{}", ["JSON of no known shape", "COCO, Label Studio"]),
        ("t.json", b"[]", ["JSON of no known shape"]),
        ("t.json", b"\xff\xff", ["is no JSON"]),
        ("t.json", b'{"images": [{"id": 1}]}', ["looks like COCO", "images with id and file_name"]),
        ("t.json", b'{"images": [{"id": [], "file_name": "x"}]}', ["looks like COCO"]),
        ("t.json", b'[{"path": "x", "label": {"a": 1}}]', ["the column “label” of", "holds nested objects"]),
    ):
        (folder / name).write_bytes(content)
        refused(folder / name, DataError, *words)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_hugging_face_metadata(folder: Path, ending: str) -> None:
    frame = pd.DataFrame([r[:2] for r in labelled(folder)], columns=["file_name", "label"])
    save = {"csv": frame.to_csv, "parquet": frame.to_parquet}
    if ending == "jsonl":
        frame.to_json(folder / "metadata.jsonl", orient="records", lines=True)
    else:
        save[ending](folder / f"metadata.{ending}", index=False)
    found = read(folder)
    assert [(i, label[0]) for i, label, _, _ in rows(found.manifest)] == list(frame.itertuples(index=False, name=None))
    assert found.manifest.root == str(folder)
    assert not found.findings


def test_hugging_face_metadata_in_split_folders(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["train", "validation", "test"], each=4)
    for split in ("train", "validation", "test"):
        names = pictures(data / split)
        lines = [[n, c] for n, c in zip(names, ["cat", "dog", "dog", "fox"], strict=True)]
        table(data / split / "metadata.csv", [["file_name", "label"], *lines, ["gone.png", "cat"]])
    found = read(data)
    assert len(found.manifest) == 12
    for i, _, split, _ in rows(found.manifest):
        assert i.startswith(split + "/")
        assert (data / i).is_file()
    missing = [each.ids for each in found.findings if each.kind == "missing_file"]
    assert sorted(missing) == [("test/gone.png",), ("train/gone.png",), ("validation/gone.png",)]


def test_coco(folder: Path) -> None:
    paths = pictures(folder)
    document = {
        "images": [{"id": n, "file_name": p} for n, p in enumerate(paths)],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 4, "name": "never"}],
        "annotations": [{"id": n, "image_id": n // 2, "category_id": 7 if n % 4 < 2 else 3} for n in range(22)],
    }
    (folder / "t.json").write_text(json.dumps(document))
    found = read(folder / "t.json").manifest
    assert found.task == "binary"
    assert [label for _, label, _, _ in rows(found)] == [*[("dog",), ("cat",)] * 5, ("dog",), ()]
    document["annotations"].append({"id": 99, "image_id": 0, "category_id": 3})
    (folder / "t.json").write_text(json.dumps(document))
    found = read(folder / "t.json").manifest
    assert found.task == "multilabel"
    assert rows(found)[0] == (paths[0], ("cat", "dog"), "", "")


def test_label_studio(folder: Path) -> None:
    first, second, third, fourth, *_ = pictures(folder)
    for path in (third, fourth):
        shutil.move(folder / path, folder / Path(path).name)

    def choice(*choices: str, **more: bool) -> dict[str, Any]:
        return {"result": [{"type": "choices", "value": {"choices": list(choices)}}], **more}

    tasks = [
        {"data": {"image": f"/data/local-files/?d={first}"}, "annotations": [choice("dog"), choice("cat")]},
        {"data": {"id": "x", "image": second}, "annotations": [choice("dog"), choice("cat", was_cancelled=True)]},
        {"data": {"image": f"/data/upload/3/0a1b2c3d-{Path(third).name}"}, "annotations": [choice("fox")]},
        {"data": {"image": f"http://localhost:8080/data/upload/{Path(fourth).name}"}, "annotations": []},
        {"data": {"image": "../../etc/passwd"}, "annotations": [choice("fox")]},
        {"data": {"image": "nowhere.png"}, "annotations": [choice("fox")]},
    ]
    (folder / "t.json").write_text(json.dumps(tasks))
    found = read(folder / "t.json")
    assert [(i, label) for i, label, _, _ in rows(found.manifest)] == [
        (first, ("cat",)),
        (second, ("dog",)),
        (Path(third).name, ("fox",)),
        (Path(fourth).name, ()),
    ]
    assert only(found, "path_out_of_folder").ids == ("../../etc/passwd",)
    assert only(found, "missing_file").ids == ("nowhere.png",)


def test_locate_looks_before_it_leaps(folder: Path) -> None:
    first = pictures(folder)[0]
    found = locate(str(folder), [first, "//etc/passwd", "a/..", "..", "", "a//" + first[2:]])
    assert [why for _, why in found] == ["", "outside", "special", "outside", "missing", ""]
    assert found[0][0] == found[5][0] == first
