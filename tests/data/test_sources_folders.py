"""Class folders: against scikit-learn's reading of the same folders, and with everything that lies about in real ones."""

from __future__ import annotations

import os
import shutil
import socket
import time
from pathlib import Path

import pytest
from sklearn.datasets import load_files
from sourced import kinds, only, refused, rows, table, tops

from visum.data.decode import decode
from visum.data.load import location
from visum.data.sources import images, read
from visum.errors import DataError, UsageError
from visum.workflow.outcome import Run


def test_the_same_files_and_labels_as_scikit_learn(digits: Path) -> None:
    ours = read(digits).manifest
    theirs = load_files(str(digits), load_content=False)
    names = {
        os.path.relpath(f, digits): theirs.target_names[t] for f, t in zip(theirs.filenames, theirs.target, strict=True)
    }
    assert {i: label[0] for i, label, _, _ in rows(ours)} == names
    assert ours.classes == tuple(theirs.target_names)
    assert ours.root == str(digits)
    assert set(ours.splits) == set(ours.groups) == {""}
    assert ours.ids.tolist() == sorted(ours.ids)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Train", "VALID", "Test"),
        ("training", "validation", "testing"),
        ("TRAIN", "dev", "test"),
    ],
)
def test_split_folders(digits: Path, tmp_path: Path, train: str, validation: str, test: str) -> None:
    given = {train: "train", validation: "validation", test: "test"}
    data = tops(digits, tmp_path / "d", [f"{split}/{name}" for split in given for name in ("cat", "dog")])
    found = read(data)
    assert not found.findings
    assert found.manifest.classes == ("cat", "dog")
    assert len(found.manifest) == 18
    for i, label, split, _ in rows(found.manifest):
        top, name, _ = i.split("/")
        assert (label, split) == ((name,), given[top])


def test_what_lies_deeper_belongs_to_the_class_above(digits: Path, tmp_path: Path) -> None:
    found = read(tops(digits, tmp_path / "d", ["train/cat/a/b", "train/cat/c", "train/dog", "test/cat", "test/dog/x"]))
    assert found.manifest.classes == ("cat", "dog")
    assert {i.rpartition("/")[0]: label[0] for i, label, _, _ in rows(found.manifest)} == {
        "train/cat/a/b": "cat",
        "train/cat/c": "cat",
        "train/dog": "dog",
        "test/cat": "cat",
        "test/dog/x": "dog",
    }


def test_a_class_may_be_called_train(digits: Path, tmp_path: Path) -> None:
    found = read(tops(digits, tmp_path / "d", ["bus", "car", "train"]))
    assert found.manifest.classes == ("bus", "car", "train")
    assert set(found.manifest.splits) == {""}
    deep = read(tops(digits, tmp_path / "e", ["bus/a", "car/a", "train/a"]))
    assert deep.manifest.classes == ("bus", "car", "train")


def test_only_a_training_split(digits: Path, tmp_path: Path) -> None:
    found = read(tops(digits, tmp_path / "d", ["train/cat", "train/dog"]))
    assert found.manifest.classes == ("cat", "dog")
    assert set(found.manifest.splits) == {"train"}


def test_folders_beside_the_splits_and_unlabelled_test_pictures_are_named(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["train/cat", "train/dog", "val/cat", "val/dog", "extra/cat", "test"])
    found = read(data)
    assert set(found.manifest.splits) == {"train", "validation"}
    finding = only(found, "image_without_class")
    assert finding.numbers == {"images": 6}
    assert {i.split("/")[0] for i in finding.ids} == {"extra", "test"}
    assert "6 images lie outside the class folders of" in finding.message


def test_two_folders_for_one_split(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["train/cat", "val/cat", "dev/cat"])
    refused(data, DataError, "the folders “dev”, “val” both mean the split validation", "one folder per split")


def test_empty_folders_add_no_class(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat", "dog"])
    for name in ("bee", "only_texts"):
        (data / name).mkdir()
    (data / "only_texts" / "a.txt").write_text("x")
    found = read(data)
    assert found.manifest.classes == ("cat", "dog")
    assert only(found, "empty_class_folder").ids == ("bee", "only_texts")
    assert "2 folders without pictures: “bee”, “only_texts”" in only(found, "empty_class_folder").message
    data = tops(digits, tmp_path / "e", ["train/cat", "train/dog", "val/cat"])
    (data / "val" / "dog").mkdir()
    (data / "test").mkdir()
    assert only(read(data), "empty_class_folder").ids == ("test", "val/dog")


@pytest.mark.parametrize("layout", ["", "train/"])
def test_runs_and_bundles_of_ours_are_no_classes(digits: Path, tmp_path: Path, run: Run, layout: str) -> None:
    data = tops(digits, tmp_path / "d", [f"{layout}cat", f"{layout}dog"])
    expected = read(data).manifest
    shutil.copytree(run.folder, data / "run")
    shutil.copytree(run.bundle, data / layout / "cat" / "shipped")
    found = read(data)
    assert rows(found.manifest) == rows(expected)
    assert found.manifest.classes == ("cat", "dog")
    assert kinds(found) == ["run_in_data"]
    told = only(found, "run_in_data")
    assert set(told.ids) == {f"{layout}cat/shipped", "run"}
    assert "2 folders are a run or a bundle that visum wrote" in told.message
    assert [row[0] for row in rows(images([data]))] == expected.ids.tolist()
    golden = sorted(path.name for path in (run.bundle / "golden").glob("*.png"))
    assert [row[0] for row in rows(images([run.bundle / "golden"]))] == golden  # asked for by name


def test_a_file_of_the_same_name_makes_no_run_of_a_class(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat", "dog"])
    for name in ("run.json", "SHA256SUMS"):
        (data / "cat" / name).write_text("{}")
    assert read(data).manifest.classes == ("cat", "dog")


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / ".hidden.png").write_bytes(b"x")
    refused(tmp_path, DataError, "holds no files", "one folder per class")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.txt").write_text("x")
    refused(tmp_path, DataError, "holds only files that are no pictures: “a/b.txt”")


def test_pictures_and_no_class_folder(digits: Path, tmp_path: Path) -> None:
    refused(
        digits / "4",
        DataError,
        "directly in it, e.g. “",
        "and no class folders",
        "cat/1.jpg",
        "a folder for each class",
    )
    data = shutil.copytree(digits / "4", tmp_path / "d")
    table(data / "labels.csv", [["path", "label"]])
    refused(data, DataError, f"give the table: “{data}/labels.csv”")
    split = tops(digits, tmp_path / "e", ["train", "test"])
    refused(split, DataError, "directly in its folder “test”", "and no class folders")


def test_leftovers_of_systems_are_silent_and_texts_are_named_once(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat", "dog", "__MACOSX", ".git/x", "cat/.ipynb_checkpoints", "dog/@eaDir"])
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "cat/.DS_Store",
        "cat/Thumbs.db",
        "dog/._1.png",
        "README.md",
        "LICENSE",
    ):
        (data / name).write_bytes(b"\0\0")
    plain = read(data)
    assert plain.manifest.classes == ("cat", "dog")
    assert len(plain.manifest) == 6
    assert not plain.findings
    for name in ("cat/a.txt", "cat/b.JSON", "dog/labels.csv"):
        (data / name).write_text("x")
    noted = read(data)
    assert rows(noted.manifest) == rows(plain.manifest)
    assert kinds(noted) == ["not_pictures"]
    assert only(noted, "not_pictures").severity == "info"
    assert only(noted, "not_pictures").ids == ("cat/a.txt", "cat/b.JSON", "dog/labels.csv")


def test_whatever_might_be_a_picture_is_a_row(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat", "dog"], each=1)
    source = sorted((data / "cat").iterdir())[0]
    for name in ("noending", "wrong.jpg", "odd.xyz", "dots.in.name.PNG"):
        shutil.copy(source, data / "cat" / name)
    (data / "dog" / "txt").write_bytes(b"no dot, so no ending")
    assert len(read(data).manifest) == 7


def test_a_picture_beside_the_class_folders_is_named(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat", "dog"])
    shutil.copy(sorted((digits / "4").iterdir())[0], data / "sample.png")
    found = read(data)
    assert only(found, "image_without_class").ids == ("sample.png",)
    assert "1 image lies beside the class folders, e.g. “sample.png”, and has no label" in found.findings[0].message


def test_a_folder_too_many(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["flowers/rose", "flowers/tulip"])
    found = read(data)
    assert found.manifest.classes == ("flowers",)
    assert f"If its folders “rose”, “tulip” are the classes, give “{data}/flowers” instead" in found.findings[0].message


ODD = [
    b"with space.png",
    "smile \N{GRINNING FACE}.png".encode(),
    b"latin1-\xe9\xff.png",
    b"two\nlines.png",
    b"-rf",
    b"<img src=x onerror=alert(1)>.png",
    b"=cmd(1)+A0.png",
    b"..png",
    b"back\\slash.png",
    b"\xe2\x80\xaeright-to-left.png",
    b"a" * 251 + b".png",
]


def test_odd_names_of_files_and_classes(digits: Path, tmp_path: Path) -> None:
    source = sorted((digits / "7").iterdir())[0].read_bytes()
    names = [name for name in ODD if not name.startswith(b".")]
    for folder in (b"plain", b"odd \xff\n<b>"):
        (tmp_path / "d" / os.fsdecode(folder)).mkdir(parents=True)
        for name in names:
            (tmp_path / "d" / os.fsdecode(folder) / os.fsdecode(name)).write_bytes(source)
    found = read(tmp_path / "d")
    assert not found.findings
    assert found.manifest.classes == ("odd \\xff\n<b>", "plain")
    assert {os.fsencode(p) for p in found.manifest.paths} == {
        folder + b"/" + name for folder in (b"plain", b"odd \xff\n<b>") for name in names
    }
    assert "plain/latin1-\\xe9\\xff.png" in found.manifest.ids
    for row, i in enumerate(found.manifest.ids):
        i.encode("utf-8")
        assert decode(location(found.manifest, row)).width == 8
    found.manifest.save(tmp_path / "m.parquet")


def test_two_files_of_one_printed_name(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat", "dog"])
    for name in (b"\xff.png", b"\\xff.png"):
        shutil.copy(sorted((digits / "1").iterdir())[0], data / "cat" / os.fsdecode(name))
    found = read(data)
    assert only(found, "same_id").ids == ("cat/\\xff.png",)
    assert len(set(found.manifest.ids)) == len(found.manifest) == 7


def test_links_pipes_and_sockets(digits: Path, tmp_path: Path) -> None:
    data = tops(digits, tmp_path / "d", ["cat", "dog"])
    inside = sorted((data / "cat").iterdir())[0]
    secret = shutil.copy(sorted((digits / "3").iterdir())[0], tmp_path / "secret.png")
    (tmp_path / "dd").mkdir()
    shutil.copy(secret, tmp_path / "dd" / "near.png")
    (data / "dog" / "good.png").symlink_to(inside)
    (data / "dog" / "good2.png").symlink_to(f"../cat/{inside.name}")
    (data / "dog" / "out.png").symlink_to(secret)
    (data / "dog" / "near.png").symlink_to("../../dd/near.png")  # a folder whose name begins like the root's
    (data / "dog" / "twice.png").symlink_to("out.png")
    (data / "dog" / "loop.png").symlink_to("loop.png")
    (data / "dog" / "dangling.png").symlink_to("nowhere.png")
    (data / "dog" / "up").symlink_to("..")
    (data / "dog" / "device.png").symlink_to("/dev/zero")
    (data / "fox").symlink_to(digits / "5")
    os.mkfifo(data / "dog" / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server, pytest.MonkeyPatch.context() as patch:
        patch.chdir(data / "dog")
        server.bind("socket.png")
        start = time.monotonic()
        found = read(data)
    assert time.monotonic() - start < 2
    assert {i for i in found.manifest.ids if "good" in i} == {"dog/good.png", "dog/good2.png"}
    assert len(found.manifest) == 8
    assert found.manifest.classes == ("cat", "dog")
    ids = {each.kind: each.ids for each in found.findings}
    assert ids == {
        "broken_link": ("dog/dangling.png", "dog/loop.png"),
        "link_to_folder": ("dog/up",),
        "link_out_of_folder": ("dog/device.png", "dog/near.png", "dog/out.png", "dog/twice.png", "fox"),
        "special_file": ("dog/pipe.png", "dog/socket.png"),
    }
    assert "5 links lead out of the folder and were passed over. Copy the pictures there instead." in [
        each.message for each in found.findings
    ]


def test_a_data_set_of_links_alone_says_why_it_is_empty(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "cat").symlink_to(digits / "1")
    refused(tmp_path, DataError, "holds no files", "1 link leads out of the folder and was passed over")


def test_a_group_column_needs_a_table(digits: Path) -> None:
    refused(digits, UsageError, "group column “patient”", "--group-regex with folders", group_column="patient")


@pytest.mark.slow
def test_sixty_thousand_files_are_listed_in_about_a_second(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        for each in range(6000):
            (tmp_path / str(number) / f"{each:05d}.png").touch()
    start = time.monotonic()
    found = read(tmp_path)
    assert len(found.manifest) == 60_000
    assert time.monotonic() - start < 2
